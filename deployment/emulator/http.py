"""The emulator's HTTP port, on loopback: the event log as controllers serve it, and what people do at a cabinet.

GET  /v1/asclog/xml/full[?since=MM-DD-YYYY HH:MM:SS.f]   the event log
GET  /v1/status                                          time, lamps, phases, commands, faults
POST /v1/advance?seconds=S                               let time go on, with --speed 0 only; whole tenths
POST /v1/input?preempt=N&on=0|1, ?flash=0|1, ?manual=0|1, ?advance=1   the cabinet's inputs and switches
POST /v1/detector?number=N&failure=on|off|chatter|none   break a detector, or repair it
POST /v1/mmu/reset                                       the conflict monitor's reset button
POST /v1/reboot                                          the controller loses power and comes back
POST /v1/stop                                            end the run; answers with its outcome
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from urllib.parse import parse_qs, urlsplit

from deployment.emulator.events import parse_since

Parameters = dict[str, str]
Handler = Callable[[Parameters], Awaitable[tuple[str, str]]]
"""From a request's parameters to content type and body."""
MOST_HEADER = 64 * 1024
JSON, XML = "application/json", "application/xml"


class BadRequest(ValueError):
    """The request makes no sense; the message says why."""


class Http:
    """A server of few routes, one request per connection."""

    def __init__(self, routes: dict[tuple[str, str], Handler]) -> None:
        self.routes = routes
        self._server: asyncio.Server | None = None

    async def open(self, host: str, port: int) -> int:
        """Listen; returns the port (which 0 leaves to the system).

        Raises:
            OSError: it is taken.
        """
        self._server = await asyncio.start_server(self._serve, host, port)
        return int(self._server.sockets[0].getsockname()[1])

    def close(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), timeout=10)
            method, target, _ = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ", 2)
            status, kind, body = await self._respond(method, target)
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError, ValueError, ConnectionError):
            status, kind, body = "400 Bad Request", JSON, '{"error": "no HTTP request"}'
        payload = body.encode()
        try:
            writer.write(
                f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(payload)}\r\n"
                f"Connection: close\r\n\r\n".encode()
                + payload
            )
            await writer.drain()
            writer.close()
        except ConnectionError:
            pass

    async def _respond(self, method: str, target: str) -> tuple[str, str, str]:
        parts = urlsplit(target)
        handler = self.routes.get((method, parts.path))
        if handler is None:
            known = {path for _, path in self.routes}
            status = "405 Method Not Allowed" if parts.path in known else "404 Not Found"
            return status, JSON, json.dumps({"error": f"no {method} {parts.path}", "paths": sorted(known)})
        try:
            kind, body = await handler({name: values[-1] for name, values in parse_qs(parts.query).items()})
        except BadRequest as error:
            return "400 Bad Request", JSON, json.dumps({"error": str(error)})
        return "200 OK", kind, body


def since_of(parameters: Parameters):  # type: ignore[no-untyped-def]
    """The moment that a request for the log names, or None.

    Raises:
        BadRequest: it is none.
    """
    text = parameters.get("since")
    try:
        return parse_since(text) if text else None
    except ValueError as error:
        raise BadRequest(f"since={text!r} is no moment such as 01-01-2000 00:05:00.0") from error


def number_of(parameters: Parameters, name: str, low: float, high: float) -> float:
    """A number of a request.

    Raises:
        BadRequest: it is missing, no number, or out of range.
    """
    try:
        value = float(parameters[name])
    except (KeyError, ValueError) as error:
        raise BadRequest(f"give {name} as a number") from error
    if not low <= value <= high:
        raise BadRequest(f"{name} is {value:g}; it must lie between {low:g} and {high:g}")
    return value

"""The one clock of a run: monotonic, in whole milliseconds, so that a log holds exactly what was computed with."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Protocol
from urllib.parse import urlsplit

from deployment.field.link import expect_loopback
from plumbing.errors import InputError
from plumbing.plain import misfit, one_of, parse, record, text

_ANSWER = record({}, {"error": text(), "done": one_of(True, False)})


class Clock(Protocol):
    """Seconds since the start of the run."""

    speed: float
    """Seconds of this clock per second of wall time."""

    def __call__(self) -> float:
        """Seconds since the start."""

    async def until(self, moment_s: float, stop: asyncio.Event) -> None:
        """Wait for this moment, or for `stop`; not at all if it has passed."""


class RunningClock:
    """The monotonic clock, which ignores jumps of the wall clock."""

    def __init__(self, speed: float = 1.0) -> None:
        """See the class.

        Args:
            speed: other than 1 only against an emulator that runs as fast.
        """
        self.speed = speed
        self._start_s = time.monotonic()

    def __call__(self) -> float:
        """Seconds since the start."""
        return round((time.monotonic() - self._start_s) * self.speed, 3)

    async def until(self, moment_s: float, stop: asyncio.Event) -> None:
        """See `Clock`."""
        wait_s = (moment_s - self()) / self.speed
        if wait_s <= 0:
            await asyncio.sleep(0)  # signals are seen all the same
            return
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), wait_s)


class SteppedClock:
    """An emulator's clock that goes on only when it is told to: a run that can be repeated exactly."""

    speed = 1.0

    def __init__(self, url: str) -> None:
        """See the class.

        Raises:
            InputError: it is no address, or not one of this machine.
        """
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError:  # a port that is no number
            host = port = None
        if host is None or not port or parts.scheme != "http":
            raise InputError(f"--step is {url!r}; give an emulator's HTTP address, such as http://127.0.0.1:8610")
        self._host, self._port = expect_loopback(host, "--step"), port
        self._tenths = 0
        self.done = False
        """Whether the emulator has come to its end."""

    def __call__(self) -> float:
        """Seconds since the start."""
        return self._tenths / 10

    async def until(self, moment_s: float, stop: asyncio.Event) -> None:
        """See `Clock`; `stop` is set when the emulator has come to its end.

        Raises:
            InputError: the emulator is gone, or runs by itself.
        """
        ahead = round(moment_s * 10) - self._tenths
        if ahead <= 0:
            return
        try:
            reader, writer = await asyncio.open_connection(self._host, self._port)
            writer.write(f"POST /v1/advance?seconds={ahead / 10:g} HTTP/1.1\r\nHost: emulator\r\n\r\n".encode())
            answer = await reader.read()
            writer.close()
            found = parse(answer.partition(b"\r\n\r\n")[2])
            misfit(_ANSWER, found)
        except (OSError, ValueError) as error:
            raise InputError(
                f"--step: the emulator at {self._host}:{self._port} does not answer ({error})"
            ) from error
        if "error" in found:
            raise InputError(f"--step: {found['error']}")
        self._tenths += ahead
        if found.get("done", False):
            self.done = True
            stop.set()

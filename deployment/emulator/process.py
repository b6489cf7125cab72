"""An emulator as a child process, for tests and demos: start, advance, reboot, kill, stop.

with EmulatorProcess("single", end_s=600) as emulator:
    emulator.advance(30)
    ...SNMP to 127.0.0.1:emulator.port...
    print(emulator.stop()["delay_s"])
"""

from __future__ import annotations

import json
import signal
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from plumbing.errors import InputError
from plumbing.interpreter import ROOT, command, environment, last_line
from scenarios.loading import names

ANSWER_S = 600.0
"""How long an advance may take."""


class EmulatorProcess:
    """A running emulator."""

    def __init__(
        self,
        scenario: str = "single",
        *,
        tls_id: str | None = None,
        port: int = 0,
        http_port: int = 0,
        speed: float = 0.0,
        seed: int = 1,
        end_s: float | None = None,
        users: Path | None = None,
        backup_s: int | None = None,
        engine_id: str | None = None,
        out: Path | None = None,
        more: Sequence[str] = (),
    ) -> None:
        """Start it and wait until it listens. A port of 0 takes any free one.

        Raises:
            InputError: it did not start; the message is the last line of its own.
        """
        if scenario not in names() and Path(scenario).is_file():
            scenario = str(Path(scenario).absolute())
        given: dict[str, object] = {
            "--scenario": scenario, "--tls": tls_id, "--port": port, "--log-port": http_port, "--speed": speed,
            "--seed": seed, "--end": end_s, "--users": users and users.absolute(), "--backup": backup_s,
            "--engine-id": engine_id, "--out": out and out.absolute(),
        }  # fmt: skip
        words = [str(word) for pair in given.items() if pair[1] is not None for word in pair]
        self.process = subprocess.Popen(
            command("deployment.emulator", *words, "--json", *more),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT, env=environment(),
        )  # fmt: skip
        assert self.process.stdout is not None
        line = self._first_line()
        self.about: dict[str, Any] = json.loads(line)
        self.host, _, text = str(self.about["snmp"]).rpartition(":")
        self.port = int(text)
        self.url = str(self.about["http"])
        self.engine_id = str(self.about["engine_id"])
        """Hexadecimal, as `engine:` has it in a bundle's controller."""

    def _first_line(self) -> str:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("{"):  # SUMO may have something to say before
                return line
        _, errors = self.process.communicate()
        lines = [row for row in errors.splitlines() if row.startswith("error: ")]
        raise InputError(
            lines[-1].removeprefix("error: ") if lines else f"the emulator did not start: {last_line(errors)}"
        )

    def advance(self, seconds: float) -> bool:
        """Let time go on (speed 0 only). Returns whether the horizon is reached."""
        return bool(self.request("POST", "/v1/advance", seconds=round(seconds, 1))["done"])

    def status(self) -> dict[str, Any]:
        """Time, lamps, phases, commands and faults."""
        return self.request("GET", "/v1/status")

    def input(self, **inputs: int) -> dict[str, Any]:
        """The cabinet's inputs: `preempt=1, on=1`, `flash=1`, `manual=1`, `advance=1`."""
        return self.request("POST", "/v1/input", **inputs)

    def break_detector(self, number: int, failure: str) -> None:
        """From now on it is stuck "on", "off", or chatters ("chatter"); "none" repairs it."""
        self.request("POST", "/v1/detector", number=number, failure=failure)

    def reset_monitor(self) -> dict[str, Any]:
        """The conflict monitor's reset button."""
        return self.request("POST", "/v1/mmu/reset")

    def reboot(self) -> None:
        """The controller loses power and comes back; the traffic goes on."""
        self.request("POST", "/v1/reboot")

    def log(self, since: str | None = None) -> str:
        """The event log's XML."""
        query = {} if since is None else {"since": since}
        return self._fetch("GET", "/v1/asclog/xml/full", query).decode()

    def request(self, method: str, path: str, **parameters: object) -> dict[str, Any]:
        """A request to the HTTP port, answered in JSON.

        Raises:
            InputError: it was refused; the message is the emulator's.
        """
        found: dict[str, Any] = json.loads(self._fetch(method, path, parameters))
        return found

    def _fetch(self, method: str, path: str, parameters: dict[str, Any]) -> bytes:
        query = urllib.parse.urlencode(parameters)
        request = urllib.request.Request(f"{self.url}{path}?{query}", method=method)
        try:
            with urllib.request.urlopen(request, timeout=ANSWER_S) as answer:
                body: bytes = answer.read()
                return body
        except urllib.error.HTTPError as error:
            raise InputError(f"{method} {path}: {json.loads(error.read()).get('error', error)}") from error

    def stop(self) -> dict[str, Any]:
        """End the run in order. Returns its outcome: delay_s, vehicles, arrived, monitor_findings, …"""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        output, errors = self.process.communicate(timeout=ANSWER_S)
        rows = [row for row in output.splitlines() if row.startswith("{")]
        if not rows:
            raise InputError(f"the emulator ended without an outcome: {last_line(errors)}")
        outcome: dict[str, Any] = json.loads(rows[-1])
        return outcome

    def kill(self) -> None:
        """As a power cut: nothing is tidied up."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()

    def __enter__(self) -> EmulatorProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

"""The running emulator: SNMP and HTTP in front, a clock behind, in one asyncio loop."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Callable
from typing import Any

from deployment.emulator.access import Access
from deployment.emulator.agent import Agent
from deployment.emulator.cabinet import FAILURES
from deployment.emulator.http import JSON, XML, BadRequest, Handler, Http, Parameters, number_of, since_of
from deployment.emulator.mib import Mib
from deployment.emulator.run import Emulator, Outcome, outcome_json
from deployment.emulator.settings import TICKS_PER_S, members
from plumbing.errors import InputError

HOST = "127.0.0.1"
MOST_ADVANCE_S = 86_400.0
BREATH_TICKS = 100
"""Between two looks at the network while time runs as fast as it can."""


class Server:
    """One emulator on its ports."""

    def __init__(self, emulator: Emulator, access: Access, port: int, http_port: int, speed: float) -> None:
        """`speed` times real time; 0: time goes on only when a client says so."""
        self.emulator, self.speed = emulator, speed
        self.cabinet = emulator.cabinet
        self.agent = Agent(Mib(self.cabinet), access, HOST, port, self._written)
        self.http = Http(self._routes())
        self.http_port = http_port
        self.stopping = asyncio.Event()
        self.lock = asyncio.Lock()
        """Held while time goes on."""

    async def serve(self, ready: Callable[[dict[str, Any]], None]) -> Outcome:
        """Run until the horizon, a signal, or someone says stop.

        Raises:
            InputError: a port is taken.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.stopping.set)
        try:
            self.agent.open()
            try:
                self.http_port = await self.http.open(HOST, self.http_port)
            except OSError as error:
                raise InputError(
                    f"cannot listen for HTTP on {HOST}:{self.http_port} ({error.strerror}); choose another --log-port"
                ) from error
            ready(self.about())
            clock = asyncio.create_task(self._run() if self.speed else self.stopping.wait())
            stop = asyncio.create_task(self.stopping.wait())
            done, _ = await asyncio.wait({clock, stop}, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            clock.cancel()
            stop.cancel()
            return self.emulator.end()
        finally:
            self.http.close()
            self.agent.close()

    def about(self) -> dict[str, Any]:
        """Where it listens, and for what."""
        return {
            "scenario": self.emulator.scenario.name,
            "tls_id": self.cabinet.installation.plan.tls_id,
            "snmp": f"{HOST}:{self.agent.port}",
            "engine_id": self.cabinet.engine_id.hex(),
            "http": f"http://{HOST}:{self.http_port}",
            "begin_s": self.emulator.scenario.begin_s,
            "end_s": self.emulator.scenario.end_s,
            "speed": self.speed,
            "folder": str(self.emulator.folder),
        }

    async def _run(self) -> None:
        """Time goes on by itself: tick by tick on the wall clock, without drifting away from it."""
        loop = asyncio.get_running_loop()
        begin, first = loop.time(), self.cabinet.now
        while not self.emulator.done:
            due = begin + (self.cabinet.now + 1 - first) / TICKS_PER_S / self.speed
            await asyncio.sleep(max(due - loop.time(), 0))
            async with self.lock:
                self.emulator.tick()

    def _written(self) -> None:
        if not self.speed:
            self.cabinet.settle()

    # HTTP

    def _routes(self) -> dict[tuple[str, str], Handler]:
        return {
            ("GET", "/v1/asclog/xml/full"): self._log,
            ("GET", "/v1/status"): self._status,
            ("POST", "/v1/advance"): self._advance,
            ("POST", "/v1/input"): self._input,
            ("POST", "/v1/detector"): self._detector,
            ("POST", "/v1/mmu/reset"): self._reset,
            ("POST", "/v1/reboot"): self._reboot,
            ("POST", "/v1/stop"): self._stop,
        }

    async def _log(self, parameters: Parameters) -> tuple[str, str]:
        return XML, self.cabinet.log.xml(since_of(parameters))

    async def _status(self, parameters: Parameters) -> tuple[str, str]:
        del parameters
        return JSON, json.dumps(self.status())

    def status(self) -> dict[str, Any]:
        """The state of affairs."""
        controller = self.cabinet.controller
        commands = controller.commands
        return {
            "time_s": self.emulator.now_s,
            "done": self.emulator.done,
            "lamps": self.cabinet.state,
            "greens": list(members(controller.rings.greens())),
            "on": list(members(controller.rings.on())),
            "commands": {name: getattr(commands, name) for name in commands.__slots__},
            "pattern": controller.running_pattern,
            "control_status": controller.control_status,
            "flash_status": controller.flashing,
            "preempt": controller.preempted,
            "boots": self.cabinet.boots,
            "faults": [
                f"{fault.tick / TICKS_PER_S:g} s {fault.kind}: {fault.message}" for fault in self.cabinet.faults
            ],
        }

    async def _advance(self, parameters: Parameters) -> tuple[str, str]:
        if self.speed:
            raise BadRequest("time goes on by itself; start with --speed 0 to advance it")
        ticks = number_of(parameters, "seconds", 0.1, MOST_ADVANCE_S) * TICKS_PER_S
        if abs(ticks - round(ticks)) > 1e-6:
            raise BadRequest("seconds must be whole tenths")
        async with self.lock:
            for n in range(1, round(ticks) + 1):
                if self.emulator.done:
                    break
                self.emulator.tick()
                if n % BREATH_TICKS == 0:
                    await asyncio.sleep(0)
        return JSON, json.dumps({"time_s": self.emulator.now_s, "done": self.emulator.done})

    async def _input(self, parameters: Parameters) -> tuple[str, str]:
        inputs = self.cabinet.controller.inputs
        for name, text in parameters.items():
            value = int(number_of(parameters, name, 0, 255))
            if name == "preempt":
                bit = 1 << value - 1 if 0 < value <= len(self.cabinet.installation.preempts) else 0
                if not bit:
                    raise BadRequest(f"preempt={text}: there are {len(self.cabinet.installation.preempts)} preempts")
                on = number_of(parameters, "on", 0, 1) if "on" in parameters else 1
                inputs.preempt = inputs.preempt | bit if on else inputs.preempt & ~bit
            elif name in ("flash", "manual", "advance"):
                setattr(inputs, name, bool(value))
            elif name != "on":
                raise BadRequest(f"no input {name!r}; there are preempt (with on), flash, manual and advance")
        self._written()
        return JSON, json.dumps(self.status())

    async def _detector(self, parameters: Parameters) -> tuple[str, str]:
        number = int(number_of(parameters, "number", 1, len(self.cabinet.installation.detectors)))
        failure = parameters.get("failure", "none")
        if failure not in (*FAILURES, "none"):
            raise BadRequest(f"failure={failure!r}; choose of {', '.join(FAILURES)}, none")
        if failure == "none":
            self.cabinet.broken.pop(number, None)
        else:
            self.cabinet.broken[number] = failure
        return JSON, json.dumps({"broken": self.cabinet.broken})

    async def _reset(self, parameters: Parameters) -> tuple[str, str]:
        del parameters
        self.cabinet.reset_monitor()
        return JSON, json.dumps(self.status())

    async def _reboot(self, parameters: Parameters) -> tuple[str, str]:
        del parameters
        self.cabinet.reboot()
        self.agent.reboot(1)
        return JSON, json.dumps(self.status())

    async def _stop(self, parameters: Parameters) -> tuple[str, str]:
        del parameters
        async with self.lock:
            outcome = self.emulator.end()
        self.stopping.set()
        return JSON, json.dumps(outcome_json(outcome))

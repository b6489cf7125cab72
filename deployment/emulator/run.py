"""A cabinet on a SUMO intersection: lamps out, detectors and push buttons in, and what the run came to.

Simulation steps last a second, the controller's ticks a tenth. At a whole second the lamps are shown and SUMO goes on
by one step; the loops' entry and exit times within it become what the detectors read at the ten ticks that follow.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

from deployment.emulator.cabinet import Cabinet
from deployment.emulator.mmu import Card
from deployment.emulator.settings import TICKS_PER_S
from deployment.emulator.setup import Installation, engine_id_for
from envs.sumo.lamps import LampSimulation
from envs.sumo.outputs import read_statistics, read_trips, trip_options
from plumbing.errors import InputError, did_you_mean
from plumbing.held import scratch
from plumbing.interpreter import ROOT, command, environment, last_line
from scenarios.scenario import Scenario
from signals.intersection import compile_signals
from signals.nema import nema_plan
from signals.timing import Timing


@dataclass(frozen=True)
class Outcome:
    """What a run came to."""

    end_s: float
    delay_s: float
    """Mean over every vehicle that was to depart: time loss and departure delay, arrived or not."""
    vehicles: int
    arrived: int
    collisions: int
    teleported: int
    emergency_stops: int
    mmu_faults: tuple[str, ...]
    monitor_findings: tuple[str, ...]
    """Of the independent monitor (`python -m evaluation.monitor`) in the states that SUMO recorded."""


class Emulator:
    """One run of one cabinet."""

    def __init__(
        self,
        scenario: Scenario,
        tls_id: str | None = None,
        *,
        seed: int = 1,
        out: Path | None = None,
        backup_s: int | None = None,
        engine_id: bytes | None = None,
    ) -> None:
        """Compile the intersection and start SUMO.

        Raises:
            InputError: there is no such signal, or it does not fit a controller of eight NEMA phases.
        """
        self.scenario, timing = scenario, Timing()
        tls_id = _choose(scenario, tls_id, timing)
        self._temporary = scratch("emulator") if out is None else None
        # absolute: SUMO takes a name within a file as relative to that file, and the monitor runs elsewhere
        self.folder = Path(self._temporary.path if out is None else out).absolute()  # type: ignore[union-attr]
        self.folder.mkdir(parents=True, exist_ok=True)
        self.simulation = LampSimulation(
            scenario, tls_id, timing, outputs=_outputs(self.folder), extra_additional=[_recording(self.folder)]
        )
        item = self.simulation.item
        plan = nema_plan(item)
        installation = Installation.of(plan, item, self.simulation.loops)
        engine_id = engine_id or engine_id_for(scenario.name, tls_id)
        self.cabinet = Cabinet(installation, Card.of(item), scenario.begin_s, backup_s, engine_id)
        self._walks = [
            sum(1 << p.number - 1 for p in plan.phases if set(p.crossings) & set(button.links))
            for button in self.simulation.buttons
        ]
        self._detectors = [0] * TICKS_PER_S
        self._buttons = 0
        self.outcome: Outcome | None = None
        self.simulation.begin(seed)

    @property
    def now_s(self) -> float:
        """The controller's clock [s of simulation]."""
        return self.cabinet.now / TICKS_PER_S

    @property
    def done(self) -> bool:
        """Whether the horizon is reached."""
        return self.simulation.done and self.cabinet.now % TICKS_PER_S == 0

    def tick(self) -> None:
        """Go on by a tenth of a second."""
        if self.done:
            return
        place = self.cabinet.now % TICKS_PER_S
        if place == 0:
            self.simulation.show(self.cabinet.state)
            self.simulation.step()
            self._sense()
        self.cabinet.tick(self._detectors[place], self._buttons)

    def _sense(self) -> None:
        end = self.simulation.now_s
        bits = [0] * TICKS_PER_S
        for number, passages in enumerate(self.simulation.passages()):
            for entered, left in passages:
                for place in range(TICKS_PER_S):
                    begin = end - 1 + place / TICKS_PER_S
                    if entered < begin + 1 / TICKS_PER_S and (left < 0 or left > begin):
                        bits[place] |= 1 << number
        self._detectors = bits
        self._buttons = 0
        for waiting, phases in zip(self.simulation.waiting(), self._walks, strict=True):
            if waiting:
                self._buttons |= phases

    def end(self) -> Outcome:
        """Close SUMO and judge the run."""
        if self.outcome is None:
            self.simulation.end()
            self.outcome = self._judge()
            if self._temporary is not None:
                self._temporary.close()
        return self.outcome

    def _judge(self) -> Outcome:
        end_s = self.simulation.now_s
        trips = read_trips(self.folder / "tripinfo.xml", end_s).vehicles
        counted = read_statistics(self.folder / "statistics.xml")
        return Outcome(
            end_s,
            sum(trips["delay_s"]) / len(trips) if len(trips) else 0.0,
            len(trips),
            trips["arrival_s"].count(),
            counted.collisions,
            counted.teleported_veh,
            counted.emergency_stops,
            tuple(f"{f.tick / TICKS_PER_S:g} s {f.kind}: {f.message}" for f in self.cabinet.faults),
            self._monitor(),
        )

    def _monitor(self) -> tuple[str, ...]:
        """In a process of its own: nothing here can influence its judgement."""
        states = self.folder / "tls_states.xml"
        judge = command("evaluation.monitor", str(self.scenario.net_file), str(states))
        judge += ["--tls", self.simulation.item.tls_id, "--json"]
        done = subprocess.run(judge, capture_output=True, text=True, cwd=ROOT, env=environment(), check=False)
        if done.returncode not in (0, 1) or not done.stdout:  # a traceback leaves with 1, too
            return (f"the independent monitor failed: {last_line(done.stderr)}",)
        return tuple(
            f"{row['time_s']:g} s {row['kind']}: {row['message']}" for row in json.loads(done.stdout)["findings"]
        )


def outcome_json(outcome: Outcome) -> dict[str, Any]:
    """For machines."""
    return dataclasses.asdict(outcome)


def _choose(scenario: Scenario, tls_id: str | None, timing: Timing) -> str:
    plan = compile_signals(scenario.network, timing)
    if tls_id is None:
        if len(plan.intersections) == 1:
            return plan.intersections[0].tls_id
        raise InputError(
            f"scenario {scenario.name!r} has {len(plan.intersections)} signals that can be controlled; choose one "
            f"with --tls: {', '.join(plan.tls_ids[:8])}"
        )
    if tls_id not in plan.tls_ids and tls_id not in {refusal.tls_id for refusal in plan.refusals}:
        raise InputError(
            f"scenario {scenario.name!r} has no signal {tls_id!r}; choose of {', '.join(plan.tls_ids[:8])}."
            f"{did_you_mean(tls_id, plan.tls_ids)}"
        )
    return tls_id


def _outputs(folder: Path) -> list[str]:
    """As an evaluation has them, so that delays can be compared."""
    return [
        *trip_options(folder / "tripinfo.xml"),
        "--statistic-output", str(folder / "statistics.xml"),
    ]  # fmt: skip


def _recording(folder: Path) -> Path:
    path = folder / "record.add.xml"
    states = quoteattr(str(folder / "tls_states.xml"))
    path.write_text(f'<additional>\n    <timedEvent type="SaveTLSStates" dest={states}/>\n</additional>\n')
    return path

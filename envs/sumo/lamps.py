"""One signal of a simulation, lit from outside: a controller that is no part of SUMO shows its lamps here.

Every other signal keeps its own program. What the controller gets back is what its detectors and push buttons tell:
loops as `signals.loops` places them, and people who wait at the crossings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from envs.sumo.loops import with_loops
from envs.sumo.setup import SimulationOptions, SimulationSetup, make_setup
from envs.sumo.simulation import SimulationError
from scenarios.scenario import Scenario
from signals.intersection import Intersection
from signals.loops import LoopPlan, plan_loops
from signals.snapshot import HALTING_MPS
from signals.timing import Timing


@dataclass(frozen=True, slots=True)
class Button:
    """Where people wait for a crossing, and the link indices of its signal."""

    area: str
    crossing: str
    links: tuple[int, ...]


class LampSimulation:
    """One run. One process holds one simulation, as everywhere in this package."""

    def __init__(
        self,
        scenario: Scenario,
        tls_id: str,
        timing: Timing,
        *,
        outputs: Sequence[str] = (),
        extra_additional: Sequence[Path] = (),
    ) -> None:
        """Compile the signal.

        Raises:
            InputError: it cannot be controlled.
        """
        setup = make_setup(
            scenario, SimulationOptions(timing=timing, tls_ids=[tls_id]), outputs=outputs,
            extra_additional=extra_additional,
        )  # fmt: skip
        self.setup: SimulationSetup = replace(setup)
        self.item: Intersection = setup.plan.intersections[0]
        self.loops: LoopPlan = plan_loops(setup.plan.intersections, scenario.network)
        self.loop_ids = tuple(
            dict.fromkeys([*self.loops.stop_bar, *(name for group in self.loops.advance for name, _ in group)])
        )
        self.buttons = tuple(
            Button(area, crossing, self.item.movements[movement].links)
            for _, movement, area, crossing in setup.layout.crossing_edges
        )
        self.now_s = setup.begin_s
        self.running = False
        self._low: Any = None
        self._sumo: Any = None
        self._shown = ""

    @property
    def done(self) -> bool:
        """Whether the horizon is reached."""
        return self.now_s >= self.setup.end_s - 1e-9

    def begin(self, seed: int) -> None:
        """Start SUMO.

        Raises:
            SimulationError: SUMO refused to.
        """
        import libsumo
        from libsumo import _libsumo

        self._sumo, self._low = libsumo, _libsumo
        args = ["sumo", *self.setup.sumo_args, "--seed", str(seed), *self.setup.outputs]
        try:
            with with_loops(args, self.loops.places) as words:
                self._sumo.start(words)
        except Exception as error:  # libsumo raises several types without a common base
            raise SimulationError(f"SUMO did not start: {error}") from error
        self.running = True
        self.now_s = self._low.simulation_getTime()

    def show(self, state: str) -> None:
        """Light the lamps for the steps to come."""
        if state != self._shown:
            self._low.trafficlight_setRedYellowGreenState(self.item.tls_id, state)
            self._shown = state

    def step(self) -> None:
        """One simulation step.

        Raises:
            SimulationError: SUMO failed.
        """
        target = round(self.now_s + self.setup.timing.sim_step_s, 3)
        try:
            self._low.simulation_step(target)
        except Exception as error:
            raise SimulationError(f"SUMO failed at {self.now_s:g} s: {error}") from error
        self.now_s = target

    def passages(self) -> list[list[tuple[float, float]]]:
        """Per loop, when vehicles were on it during the last step: entered, left [s of simulation]; left is -1 for
        one that is still there."""
        found = []
        read = self._sumo.inductionloop.getVehicleData
        for name in self.loop_ids:
            found.append([(data[2], data[3]) for data in read(name)])
        return found

    def waiting(self) -> list[int]:
        """Per button, how many people wait there for its crossing."""
        low = self._low
        on_area: dict[str, list[str]] = {}
        counts = []
        for button in self.buttons:
            if button.area not in on_area:
                people = low.edge_getLastStepPersonIDs(button.area)
                on_area[button.area] = [
                    low.person_getNextEdge(p) for p in people if low.person_getSpeed(p) < HALTING_MPS
                ]
            counts.append(on_area[button.area].count(button.crossing))
        return counts

    def end(self) -> None:
        """Close SUMO, so that its outputs are complete."""
        if self.running:
            self.running = False
            self._sumo.close()

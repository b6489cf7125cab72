"""SUMO, stepped from decision to decision. The only module that talks to libsumo.

One process can hold one simulation: a second start silently replaces the first, and a reload in the same
process is not exact. `envs.workers.server` therefore runs each episode in a process of its own; use
`envs.workers.client` from outside.
"""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from envs.sumo.approaches import ApproachReader
from envs.sumo.compiled import native
from envs.sumo.decision import CompiledDecision
from envs.sumo.foreseeing import ForecastReader
from envs.sumo.gridlock import head_of
from envs.sumo.gui import GuiBackend
from envs.sumo.loops import with_loops
from envs.sumo.reading import read_lane, read_lanes, read_loops
from envs.sumo.setup import SimulationSetup
from envs.sumo.waiting import vehicles_waiting, walkers_waiting
from native.library import parts_used
from plumbing.errors import InputError
from signals.loops import LoopReader
from signals.machine import SignalMachine
from signals.measures import ApproachMeasures, detector_calls, pedestrian_demand, streams_green
from signals.snapshot import HALTING_MPS, Snapshot
from signals.spillback import blocked

Readings = tuple[float, npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]
log = logging.getLogger("intergreen.native")
STUCK_S = 300.0  # [s] a vehicle that has stood still for so long is stuck: no sane cycle lasts half of that


class SimulationError(RuntimeError):
    """SUMO failed while it ran; the message says when, and what it said last."""


@dataclass
class EpisodeSummary:
    """The state in which an episode ended; what happened on the way is in SUMO's own outputs."""

    end_s: float = 0.0
    running_veh: int = 0
    stuck_veh: int = 0
    """Of the running ones, those that at the end had stood still for at least `STUCK_S`."""
    uninserted_veh: int = 0
    stuck_at: str = ""
    """The junction at the head of the queue of the one that has stood for longest."""
    stuck_since_s: float = math.nan
    """Since when that one stands."""
    stuck_circle: int = 0
    """How many junctions wait for each other in a circle at that head; 0 where they do not."""
    vehicles_waiting: Mapping[tuple[str, int], int] = field(default_factory=dict)
    """See `envs.sumo.waiting`."""
    walkers_waiting: Mapping[str, int] = field(default_factory=dict)


class Simulation:
    """One run of SUMO at a time: `begin`, then `decide` until `done`, then `end`.

    Args:
        setup: what is run.
        snapshot: the arrays that each decision fills; by default its own.
        sumo_s: [1] to which is added how long SUMO's own steps take; whatever else a decision takes is ours.
    """

    def __init__(
        self,
        setup: SimulationSetup,
        snapshot: Snapshot | None = None,
        sumo_s: npt.NDArray[np.float64] | None = None,
    ) -> None:
        self._sumo: Any
        self._low: Any
        if setup.render:
            self._sumo = self._low = GuiBackend(setup.render, setup.layout.controlled)
        else:
            import libsumo
            from libsumo import _libsumo  # the same calls without the wrapper's half microsecond

            self._sumo, self._low = libsumo, _libsumo
        self.setup = setup
        self.layout = layout = setup.layout
        self.machine = SignalMachine(setup.plan.intersections, setup.timing, layout.shape[1])
        self.snapshot = snapshot if snapshot is not None else Snapshot.empty(setup.layout)
        self._sumo_s = sumo_s if sumo_s is not None else np.zeros(1)
        self._late_s = setup.faults.latency_s if setup.loops is not None else 0.0
        self._loops = None if setup.loops is None else LoopReader(setup.loops, layout, setup.faults)
        self._approaches = ApproachReader(layout, ahead=setup.ahead) if self._loops is None else None
        self._forecast = None if setup.foresight is None else ForecastReader(setup.foresight, layout)
        self.now_s = setup.begin_s
        self.running = False
        self.summary = EpisodeSummary()
        compiled = None if setup.render else native()
        self._decision = None
        if compiled is not None:
            self._decision = CompiledDecision(
                compiled, layout, self.machine, self.snapshot, self._sumo_s,
                end_s=setup.end_s, measures=self._loops is None, ahead=setup.ahead,
            )  # fmt: skip
        self._bind_parts()
        self._vehicles_agree = False
        self._readings: Readings | None = None
        self._logics = [] if setup.render else self._make_logics()  # sumo-gui knows none of it before it runs

    @property
    def done(self) -> bool:
        """Whether the horizon is reached."""
        return self.now_s >= self.setup.end_s - 1e-9

    def begin(self, seed: int) -> None:
        """Start an episode and take the first snapshot.

        Raises:
            SimulationError: SUMO refused to start.
        """
        setup = self.setup
        args = setup.args_of(seed)
        try:
            with contextlib.ExitStack() as files:
                if setup.vary_turns:
                    from scenarios.turning import turned  # a worker that needs none starts without it

                    args = files.enter_context(turned(args, setup.begin_s, setup.end_s, seed, setup.vary_turns))
                places = dict(setup.loops.places) if setup.loops is not None else {}
                places |= self._forecast.places if self._forecast is not None else {}
                if places:
                    args = files.enter_context(with_loops(args, places))
                self._sumo.start(args)
            self.running = True
            self._install_programs()
        except InputError:
            raise
        except Exception as error:  # libsumo raises several types without a common base
            raise SimulationError(f"SUMO did not start: {error}") from error
        self.now_s = self._low.simulation_getTime()
        self.machine.reset(self.now_s)
        self.summary = EpisodeSummary()
        self.snapshot.share[:] = self.layout.stream_share
        self.snapshot.arriving[:], self.snapshot.lead[:] = 0.0 if self.setup.ahead else np.nan, 1.0
        self.snapshot.expected_vph[:] = np.nan
        if self._forecast is not None:
            self._forecast.reset(self.now_s, seed)
        if self._approaches is not None:
            self._approaches.reset()
        if self._decision is not None:
            self._decision.reset()
        self._vehicles_agree = False
        self._readings = None
        if self._loops is not None:
            self._loops.reset(self.now_s, setup.end_s, seed)
        if setup.warm_up_s:
            self._warm_up()
        self._check_compiled()
        self.read()

    def _bind_parts(self) -> None:
        """Which parts of a decision are compiled; None where Python does the same call by call."""
        parts = parts_used() if self._decision is not None else frozenset[str]()
        # who senses late has to look in the middle of a step
        self._step_compiled = self._decision if "step" in parts and not self._late_s else None
        self._look_compiled = self._decision if "look" in parts else None
        observes = {"look", "observe"} <= parts and self._loops is None
        self.observe_compiled = self._decision.observe if self._decision is not None and observes else None
        """Writes the rows of a `PhaseObservation`."""

    def _check_compiled(self) -> None:
        """Do without compiled code in this episode if SUMO does not say the same through both of its interfaces."""
        if self._decision is None or not self.layout.lanes:
            return
        lane = self.layout.lanes[0]
        if not self._decision.agrees(lane, read_lane(self._low, lane)):
            log.debug("SUMO says something else of lane %s when compiled code asks, which is not used", lane)
            self._decision = None
            self._bind_parts()

    def _check_vehicles(self, reader: ApproachReader) -> None:
        """The same for what SUMO says of vehicles, until the first that drive towards a signal have been compared."""
        assert self._decision is not None
        found = self.snapshot.copy()
        reader.read(self._low, self.snapshot)
        names = ("arriving", "share", "lead")
        agree = all(np.array_equal(getattr(found, n), getattr(self.snapshot, n), equal_nan=True) for n in names)
        # before, nobody's place was asked for
        asked = self.snapshot.arriving if self.setup.ahead else self.snapshot.share - self.layout.stream_share
        self._vehicles_agree = agree and (bool(asked.any()) or not (self.setup.ahead or self.layout.shared))
        if not agree:
            log.debug("SUMO says something else of vehicles when compiled code asks, which is not used")
            self._decision = None
            self._bind_parts()
            self.read()

    def _make_logics(self) -> list[Any]:
        """Each signal's program as SUMO takes it; to put these together takes longer than to hand them over."""
        logics, make = [], self._sumo.trafficlight.Phase
        for rows in self.machine.rows:
            phases = [make(row.duration_s, row.state, row.duration_s, row.duration_s, (row.next,)) for row in rows]
            logics.append(self._sumo.trafficlight.Logic(self.setup.program_id, 0, 0, phases))
        return logics

    def _install_programs(self) -> None:
        logics = self._logics or self._make_logics()
        for intersection, logic in zip(self.setup.plan.intersections, logics, strict=True):
            self._sumo.trafficlight.setProgramLogic(intersection.tls_id, logic)
            self._sumo.trafficlight.setPhase(intersection.tls_id, 0)

    def _warm_up(self) -> None:
        """Let traffic build up: every signal goes round its phases for as long as its own program shows them."""
        machine, until = self.machine, self.now_s + self.setup.warm_up_s
        calls = np.zeros_like(machine.exists)
        while self.now_s < until - 1e-9:
            signals = np.arange(len(machine.phase))
            over = machine.green_age_s >= machine.own_green_s[signals, machine.phase]
            wanted = np.where(over & ~machine.changing, (machine.phase + 1) % machine.phase_count, machine.phase)
            self._apply(machine.request(wanted, calls))
            self._step()

    def decide(self, phases: npt.NDArray[np.integer]) -> None:
        """Ask for a phase per signal, run to the next decision and take a snapshot.

        Raises:
            SimulationError: SUMO failed on the way.
        """
        try:
            if self._step_compiled is not None:
                self.now_s = self.machine.now_s = self._step_compiled.step(self.now_s, phases)
            else:
                self._apply(self.machine.request(phases, self.snapshot.calls))
                self._step()
        except Exception as error:
            raise SimulationError(f"SUMO failed at {self.now_s:g} s: {error}") from error
        self.read()

    def _apply(self, rows: list[tuple[int, int]]) -> None:
        set_phase = self._low.trafficlight_setPhase
        for signal, row in rows:
            set_phase(self.layout.tls_ids[signal], row)

    def _step(self) -> None:
        # SUMO counts whole milliseconds; sums of floats would drift away from them
        target = min(round(self.now_s + self.setup.timing.decision_interval_s, 3), self.setup.end_s)
        if self._late_s:
            sensed = max(target - self._late_s, self.now_s)
            if sensed > self.now_s:
                self._step_until(sensed)
            self._readings = self._sense(sensed)
        self._step_until(target)
        self.now_s = target
        self.machine.advance(target)

    def _step_until(self, until_s: float) -> None:
        began = time.perf_counter()
        self._low.simulation_step(until_s)
        self._sumo_s[0] += time.perf_counter() - began

    def read(self) -> None:
        """Fill the snapshot from the simulation's present state."""
        layout, snapshot, machine = self.layout, self.snapshot, self.machine
        if layout.crossing_edges:
            self._read_pedestrians()
        if self._forecast is not None:
            self._forecast.read(self._low, self.now_s, snapshot)
        if self._look_compiled is None or not self._look_compiled.look(self.now_s):
            # this also says which lane SUMO does not know, where that is why the other could not
            read_lanes(self._low, layout.lanes, layout.lane_speed_mps, snapshot.lanes)
            if self._approaches is not None:
                self._approaches.read(self._low, snapshot)
            snapshot.time_s[0] = self.now_s
            machine.show(snapshot)
        elif self._approaches is not None:
            if not self._vehicles_agree and snapshot.vehicles.any():
                self._check_vehicles(self._approaches)
            if self.setup.timing.spillback_guard:
                machine.block(blocked(ApproachMeasures(layout, snapshot)))
                machine.show_mask(snapshot)
            return
        if self._loops is not None:
            self._read_loops(self._loops)
        snapshot.calls[:] = self._calls()
        machine.show_mask(snapshot)

    def _calls(self) -> npt.NDArray[np.bool_]:
        """[S, P] calls; and tells the machine which phases are blocked."""
        layout, snapshot = self.layout, self.snapshot
        if self._loops is not None:
            return detector_calls(layout, snapshot)
        seen = ApproachMeasures(layout, snapshot)
        if self.setup.timing.spillback_guard:
            self.machine.block(blocked(seen))
        called: npt.NDArray[np.bool_] = seen.phases[-1] > 0
        return called | (pedestrian_demand(layout, snapshot) > 0) if layout.crossing_edges else called

    def _read_pedestrians(self) -> None:
        low, waiting = self._low, self.snapshot.pedestrians
        waiting[:] = 0.0
        on_area: dict[str, list[str]] = {}
        for signal, movement, area, crossing in self.layout.crossing_edges:
            if area not in on_area:
                people = low.edge_getLastStepPersonIDs(area)
                on_area[area] = [low.person_getNextEdge(p) for p in people if low.person_getSpeed(p) < HALTING_MPS]
            waiting[signal, movement] += on_area[area].count(crossing)

    @property
    def sumo(self) -> Any:
        """libsumo, or what stands in for it where sumo-gui runs."""
        return self._sumo

    def frame(self) -> npt.NDArray[np.uint8]:
        """The picture of the last decision; only with render "rgb_array"."""
        picture: npt.NDArray[np.uint8] = self._low.frame()
        return picture

    def time_losses(self) -> dict[str, float]:
        """What each vehicle that is under way has lost so far [s]."""
        low = self._low
        return {vehicle: low.vehicle_getTimeLoss(vehicle) for vehicle in low.vehicle_getIDList()}

    def pending_veh(self) -> int:
        """Vehicles that wait to be let in."""
        return len(self._low.simulation_getPendingVehicles())

    def end(self) -> EpisodeSummary:
        """Close SUMO, so that its outputs are complete, and return what it counted.

        Raises:
            SimulationError: it could not be asked; its outputs are complete all the same.
        """
        if not self.running:
            return self.summary
        self.running = False
        try:
            self._sum_up()
        except Exception as error:  # libsumo raises several types without a common base
            raise SimulationError(f"SUMO failed at the end, at {self.now_s:g} s: {error}") from error
        finally:
            self._sumo.close()
        return self.summary

    def _sum_up(self) -> None:
        """Count who is still there, and who is stuck."""
        low, summary = self._low, self.summary
        summary.end_s = self.now_s
        ids = low.vehicle_getIDList()
        summary.running_veh = len(ids)
        summary.uninserted_veh = len(low.simulation_getPendingVehicles())
        summary.vehicles_waiting = vehicles_waiting(self._sumo)
        summary.walkers_waiting = walkers_waiting(self._sumo)
        stuck = {v: stood for v in ids if (stood := low.vehicle_getWaitingTime(v)) >= STUCK_S}
        summary.stuck_veh = len(stuck)
        if stuck:
            summary.stuck_since_s = self.now_s - max(stuck.values())
            head = head_of(low, stuck)
            summary.stuck_at, summary.stuck_circle = head.junction, head.circle

    def _read_loops(self, reader: LoopReader) -> None:
        readings = self._readings if self._readings is not None else self._sense(self.now_s)
        reader.read(self.snapshot, streams_green(self.layout, self.snapshot), *readings)

    def _sense(self, now_s: float) -> Readings:
        """When, and per loop: vehicles counted, seconds occupied, time since the last vehicle."""
        elapsed = now_s - self.setup.begin_s
        assert self._loops is not None
        counts, percent, gaps = read_loops(self._low, self._loops.ids)
        return now_s, counts, percent / 100.0 * elapsed, gaps

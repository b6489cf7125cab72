"""Running one episode while writing down all that SUMO shows and all that is decided."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol
from xml.sax.saxutils import quoteattr

import numpy as np
import numpy.typing as npt

from controllers.base import Controller, Phases
from envs.sumo.setup import SimulationOptions, literal, make_setup
from envs.sumo.simulation import EpisodeSummary
from envs.workers.client import RemoteSimulation
from envs.workers.server import WorkerSetup
from playback.outputs import (
    PERSONS,
    STATES,
    TRIPS,
    VEHICLES,
    Motion,
    SignalStates,
    Trips,
    output_options,
    read_motion,
    read_states,
    read_trips,
)
from plumbing.errors import InputError
from plumbing.held import scratch
from scenarios.scenario import Scenario
from signals.intersection import SignalPlan
from signals.layout import Layout
from signals.measures import ApproachMeasures, detector_demand
from signals.snapshot import Snapshot
from signals.timing import Timing

Scores = npt.NDArray[np.float64]
Arrays = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Episode:
    """An episode: everything that determines it except the decisions."""

    scenario: Scenario
    seed: int
    timing: Timing = field(default_factory=Timing)
    sensing: str = "full"
    programs: str | None = None
    """The additional file of a controller that leaves the signals to SUMO's own programs ("" for the network's
    own ones); None where phases are decided on."""
    tls_ids: tuple[str, ...] | None = None
    """The signals that are controlled; None for all that can be."""

    @property
    def steps(self) -> int:
        """Number of simulation steps; the last one may end after the episode's end."""
        return math.ceil(self.scenario.horizon_s / self.timing.sim_step_s - 1e-9)


class Decider(Protocol):
    """Chooses the phases at each decision."""

    def begin(self, plan: SignalPlan, layout: Layout, seed: int) -> None:
        """Start an episode with these signals."""

    def decide(self, number: int, snapshot: Snapshot) -> tuple[Phases, Scores | None]:
        """[S] the phases wanted at decision `number`, and [S, P] what the decider thinks of each."""


class ControllerDecider:
    """A controller decides."""

    def __init__(self, controller: Controller) -> None:
        self.controller = controller

    def begin(self, plan: SignalPlan, layout: Layout, seed: int) -> None:
        """Reset the controller."""
        self.controller.reset(plan.intersections, layout, seed)

    def decide(self, number: int, snapshot: Snapshot) -> tuple[Phases, Scores | None]:
        """The controller's phases, and its `last_scores` if it has them."""
        del number
        phases = self.controller.decide(snapshot)
        return phases, getattr(self.controller, "last_scores", None)


class RecordedDecider:
    """The decisions of a recording; from decision `until` on those of `then`, which sees every snapshot before."""

    def __init__(
        self,
        decisions: Mapping[str, npt.NDArray[Any]],
        until: int | None = None,
        then: ControllerDecider | None = None,
    ) -> None:
        self.wanted = decisions["wanted"]
        self._scores = decisions.get("scores")
        self._until = len(self.wanted) if until is None else until
        self._then = then

    def begin(self, plan: SignalPlan, layout: Layout, seed: int) -> None:
        """Check that there is a decision for each of these signals."""
        if self.wanted.shape[1] != len(plan.intersections):
            raise InputError(
                f"the replay decides for {self.wanted.shape[1]} signals, this version finds "
                f"{len(plan.intersections)} that can be controlled; use the version that recorded it"
            )
        phases = np.array([len(intersection.phases) for intersection in plan.intersections])
        if (self.wanted >= phases).any():
            raise InputError("the replay decides for a phase that its signal does not have; record it anew")
        if self._then is not None:
            self._then.begin(plan, layout, seed)

    def decide(self, number: int, snapshot: Snapshot) -> tuple[Phases, Scores | None]:
        """The recorded phases, then those of `then`."""
        other = None if self._then is None else self._then.decide(number, snapshot)
        if number >= self._until and other is not None:
            return other
        wanted = self.wanted[min(number, len(self.wanted) - 1)].astype(np.int64)
        return wanted, None if self._scores is None else self._scores[number].astype(float)


class ProgramDecider:
    """SUMO's own programs run."""

    def begin(self, plan: SignalPlan, layout: Layout, seed: int) -> None:
        """Nothing to do."""

    def decide(self, number: int, snapshot: Snapshot) -> tuple[Phases, Scores | None]:
        """Nothing is decided."""
        del number, snapshot
        return np.zeros(0, np.int64), None


@dataclass(frozen=True)
class Played:
    """One run, as SUMO showed it."""

    vehicles: Motion
    persons: Motion
    signals: SignalStates
    trips: Trips
    decisions: Arrays
    """See `DecisionLog`."""
    summary: EpisodeSummary
    plan: SignalPlan

    @property
    def digests(self) -> dict[str, str]:
        """SHA-256 of each output as SUMO printed it."""
        return {
            "vehicles": self.vehicles.sha256,
            "persons": self.persons.sha256,
            "signals": self.signals.sha256,
            "trips": self.trips.sha256,
        }


class DecisionLog:
    """The log of snapshots and decisions: D decisions, one after each decision interval; S signals, P phases.

    | array | shape | meaning |
    |---|---|---|
    | wanted | D, S | the phase that was asked for |
    | shown | D, S | the phase that the state machine then went to or stayed in |
    | phase | D, S | the one before |
    | changing | D, S | 1 where a change was on |
    | green_age_s | D, S | how long it had been green |
    | mask | D, S, P | 1 where a phase could be chosen |
    | seen_veh | D, S, P | vehicles that a phase would serve: with sensing `full` all on its approaches, with `detectors` those counted since its red began |
    | queue_veh | D, S, P | of all on its approaches, those slower than 0.1 m/s, sensed or not |
    | scores | D, S, P | what the controller thought of each phase; only where it says so |
    """  # noqa: E501

    def __init__(self, layout: Layout, sensing: str) -> None:
        self._layout, self._sensing = layout, sensing
        self._rows: dict[str, list[npt.NDArray[Any]]] = {}
        self._no_scores = np.full(layout.phase_exists.shape, np.nan)
        self._scored = False

    def before(self, snapshot: Snapshot, wanted: Phases, scores: Scores | None) -> None:
        """Note what was seen, and what is wanted of it."""
        layout, measures = self._layout, ApproachMeasures(self._layout, snapshot)
        seen, queue = measures.phases[:2]
        if self._sensing == "detectors":
            seen = layout.phase_streams.sum(detector_demand(layout, snapshot))
        self._scored |= scores is not None
        rows: Arrays = {
            "wanted": np.asarray(wanted).astype(np.int16),
            "phase": snapshot.phase.astype(np.int16),
            "changing": snapshot.changing.astype(np.uint8),
            "green_age_s": snapshot.green_age_s.astype(np.float32),
            "mask": snapshot.mask.astype(np.uint8),
            "seen_veh": _rounded(seen),
            "queue_veh": _rounded(queue),
            "scores": _rounded(self._no_scores if scores is None else scores),
        }
        for name, row in rows.items():
            self._rows.setdefault(name, []).append(row)

    def after(self, snapshot: Snapshot) -> None:
        """Note what became of it."""
        self._rows.setdefault("shown", []).append(snapshot.phase.astype(np.int16))

    def arrays(self) -> Arrays:
        """All of it; without scores where the controller shows none."""
        arrays = {name: np.array(rows) for name, rows in self._rows.items()}
        if not self._scored:
            arrays.pop("scores", None)
        return arrays


def _rounded(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """To 12 binary digits, some three and a half decimal ones: enough to look at, and it packs."""
    mantissa, exponent = np.frexp(values)
    result: npt.NDArray[np.float32] = np.ldexp(np.round(mantissa * 4096), exponent - 12).astype(np.float32)
    return result


def play(
    episode: Episode,
    decider: Decider,
    on_progress: Callable[[float], None] = lambda share: None,
) -> Played:
    """Run an episode to its end.

    Raises:
        InputError: SUMO refuses the scenario, or its outputs are not whole.
        SimulationError: SUMO failed on the way.
    """
    scenario, timing = episode.scenario, episode.timing
    with scratch("replay") as folder:
        with open_simulation(episode, folder) as simulation:
            log = DecisionLog(simulation.layout, episode.sensing)
            summary = run_through(simulation, decider, episode, on_progress, log)
        clock = scenario.begin_s, timing.sim_step_s, episode.steps
        return Played(
            read_motion(folder / VEHICLES, *clock),
            read_motion(folder / PERSONS, *clock),
            read_states(folder / STATES, *clock),
            read_trips(folder / TRIPS, scenario.end_s),
            log.arrays() if episode.programs is None else {},
            summary,
            simulation.setup.simulation.plan,
        )


def run_through(
    simulation: RemoteSimulation,
    decider: Decider,
    episode: Episode,
    on_progress: Callable[[float], None] = lambda share: None,
    log: DecisionLog | None = None,
) -> EpisodeSummary:
    """Begin, decide until the end, end."""
    scenario = episode.scenario
    simulation.begin(episode.seed)
    decider.begin(simulation.setup.simulation.plan, simulation.layout, episode.seed)
    number = 0
    while not simulation.done:
        wanted, scores = decider.decide(number, simulation.snapshot)
        if log is not None:
            log.before(simulation.snapshot, wanted, scores)
        simulation.decide(wanted)
        if log is not None:
            log.after(simulation.snapshot)
        number += 1
        on_progress((simulation.snapshot.time_s[0] - scenario.begin_s) / scenario.horizon_s)
    return simulation.end()


@contextmanager
def open_simulation(episode: Episode, folder: Path | None, render: str = "") -> Iterator[RemoteSimulation]:
    """The episode's simulation, set up as an evaluation does; its outputs go to `folder`, if given."""
    extra: list[Path] = []
    with scratch("programs") as programs:
        outputs: Sequence[str] = ()
        if folder is not None:
            extra.append(programs / "record.add.xml")
            dest = quoteattr(str(folder / STATES))
            extra[-1].write_text(f'<additional>\n  <timedEvent type="SaveTLSStates" dest={dest}/>\n</additional>\n')
            outputs = literal(output_options(folder))
        setup = make_setup(
            episode.scenario,
            SimulationOptions(timing=episode.timing, sensing=episode.sensing, tls_ids=episode.tls_ids),
            controlled=episode.programs is None,
            programs=episode.programs or "",
            extra_additional=extra,
            outputs=outputs,
            render=render,
        )
        with RemoteSimulation(WorkerSetup(setup, reward="", observation="")) as simulation:
            yield simulation

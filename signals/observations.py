"""What an agent is shown of a snapshot: one row of numbers per signal.

Every observation is a subclass of `Observation`. The agents' networks read those of `PhaseObservation`'s plan, which
is the same for every intersection: a block per phase, a block per movement, and the table of which phase serves
which movement. Unused slots are 0 and say so (`exists`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from plumbing.errors import InputError, did_you_mean
from signals.intersection import SignalPlan
from signals.layout import Layout
from signals.measures import ApproachMeasures, streams_green
from signals.snapshot import Snapshot

FloatArray = npt.NDArray[np.float64]
Rows = npt.NDArray[np.float32]
LIMIT = 10.0
"""Every element lies within 0 and this bound after scaling, unless its observation says otherwise."""
CONSTANT = ("exists", "crossing", "lanes")
"""Features that never change, of phases or movements."""
SENSED = 8
"""The first of a phase's features that are of traffic; those before are of the signal, whatever its sensing."""


@dataclass(frozen=True)
class ObservationShape:
    """How one signal's row is cut: [P, phase features], [P, K] service, [K, movement features], flattened."""

    phases: int
    movements: int
    phase_features: int
    movement_features: int
    demand: int = 8
    """Index of the phase feature that counts the vehicles which a phase would serve."""
    regret: int | None = None
    """Index of the phase feature that tells how much more the best plan that begins with a phase costs than the best
    of all; None where there is none."""

    @property
    def size(self) -> int:
        """Length of a row."""
        return (
            self.phases * self.phase_features + self.phases * self.movements + self.movements * self.movement_features
        )


@dataclass(frozen=True)
class RowShape:
    """The shape of a row that has no plan."""

    phases: int
    """Of the signal with the most."""
    movements: int
    size: int
    """Length of a row."""


class Observation:
    """Writes what an agent is shown. A subclass defines `width` and `write`, and tells in a table what is where.

    Args:
        layout: which element of a snapshot is what.
        rows: [S, size] where to write; by default an array of its own.
    """

    sensing: ClassVar[str] = "full"
    """What it looks at: "full", true values; or "detectors"."""
    low: ClassVar[float] = 0.0
    high: ClassVar[float] = LIMIT
    """Bounds of every element."""
    ahead: ClassVar[bool] = False
    """Whether it looks at `Snapshot.arriving`, which is read only where somebody does."""
    foresees: ClassVar[bool] = False
    """Whether it looks at `Snapshot.expected_vph`, and so wants a forecast."""
    sumo_options: ClassVar[tuple[str, ...]] = ()
    """Further options of SUMO's that it needs."""

    def __init__(self, layout: Layout, rows: Rows | None = None) -> None:
        self.layout = layout
        self.rows = np.zeros((layout.shape[0], self.width(layout)), np.float32) if rows is None else rows

    @classmethod
    def width(cls, layout: Layout) -> int:
        """Length of a row."""
        raise NotImplementedError(f"{cls.__name__} defines no width(layout)")

    @classmethod
    def sizes(cls, layout: Layout, plan: SignalPlan) -> Sequence[int]:
        """[S] how much of its row each signal uses; what is left is 0 and not shown where a signal is alone."""
        del plan
        return [cls.width(layout)] * layout.shape[0]

    @classmethod
    def shape_of(cls, layout: Layout, plan: SignalPlan) -> ObservationShape | RowShape:
        """The shape of a row."""
        _, phases, movements = layout.shape
        return RowShape(phases, movements, max(cls.sizes(layout, plan)))

    def begin(self, simulation: Any) -> None:
        """An episode begins, in this running `envs.sumo.simulation.Simulation`."""

    def write(self, snapshot: Snapshot) -> None:
        """Bring `rows` up to this snapshot, which must not be changed."""
        raise NotImplementedError(f"{type(self).__name__} defines no write(snapshot)")

    def __call__(self, snapshot: Snapshot) -> Rows:
        """[S, size] rows; a new array each time."""
        self.write(snapshot)
        return self.rows.copy()


class PhaseObservation(Observation):
    """Sensing `full`: every vehicle within the detection zone of each approach.

    Phase block, for each of P phases (unit before scaling, divisor):

    | index | feature | meaning | unit | scaled by |
    |---|---|---|---|---|
    | 0 | exists | the signal has this phase | 0/1 | 1 |
    | 1 | selectable | it may be chosen now | 0/1 | 1 |
    | 2 | current | it is green, or comes next during a change | 0/1 | 1 |
    | 3 | changing | it comes next during a change | 0/1 | 1 |
    | 4 | green_age | how long it has been green | s | 60 |
    | 5 | since_served | how long ago it was last green | s | 120 |
    | 6 | change | how long the change to it would take from the current phase | s | 10 |
    | 7 | lanes | that it serves | lanes | 4 |
    | 8 | vehicles | on the approaches of the lanes that it serves | veh | 20 |
    | 9 | halting | of these, slower than 0.1 m/s | veh | 20 |
    | 10 | waiting | their current stops' waiting time | s | 600 |
    | 11 | loss | the rate at which they lose time: the sum of 1 - v / v_max | veh | 20 |
    | 12 | new_vehicles | vehicles that it would serve and the current phase does not | veh | 20 |
    | 13 | downstream_halting | mean over the exit lanes that it leads to | veh | 10 |

    Movement block, for each of K movements:

    | index | feature | meaning | unit | scaled by |
    |---|---|---|---|---|
    | 0 | exists | the signal has this movement | 0/1 | 1 |
    | 1 | crossing | it is a crossing for pedestrians | 0/1 | 1 |
    | 2 | lanes | that it has; of one that it shares, its share | lanes | 2 |
    | 3 | vehicles | its share of the vehicles on its lanes' approaches | veh | 10 |
    | 4 | halting | of these, slower than 0.1 m/s | veh | 10 |
    | 5 | waiting | their current stops' waiting time | s | 300 |
    | 6 | loss | the rate at which they lose time: the sum of 1 - v / v_max | veh | 10 |
    | 7 | downstream_halting | mean over its exit lanes | veh | 10 |
    | 8 | pedestrians | who wait at the crossing | persons | 5 |
    """

    PHASE_FEATURES: tuple[str, ...] = (
        "exists", "selectable", "current", "changing", "green_age", "since_served", "change", "lanes",
        "vehicles", "halting", "waiting", "loss", "new_vehicles", "downstream_halting",
    )  # fmt: skip
    MOVEMENT_FEATURES: tuple[str, ...] = (
        "exists", "crossing", "lanes", "vehicles", "halting", "waiting", "loss", "downstream_halting", "pedestrians",
    )  # fmt: skip
    DEMAND = "vehicles"
    """The phase feature that counts the vehicles which a phase would serve."""
    REGRET: str | None = None
    """The phase feature that tells how much more the best plan that begins with a phase costs than the best one."""
    PHASE_SCALE = np.array([1, 1, 1, 1, 60, 120, 10, 4, 20, 20, 600, 20, 20, 10], float)
    MOVEMENT_SCALE = np.array([1, 1, 2, 10, 10, 300, 10, 10, 5], float)

    def __init__(self, layout: Layout, rows: Rows | None = None) -> None:
        super().__init__(layout, rows)
        s, p, k = layout.shape
        self.shape = self.shape_for(p, k)
        self._cut()
        first = p * len(self.PHASE_FEATURES)
        self.rows[:, first : first + p * k] = layout.service.reshape(s, p * k)
        self.phase[:, :, 0] = layout.phase_exists
        self.movement[:, :, 0] = layout.movement_exists
        self.movement[:, :, 1] = layout.crossing
        self._signals = np.arange(s)
        self._sizes = layout.phase_size, layout.movement_size
        self._phase_factor = (1.0 / self.PHASE_SCALE).astype(np.float32)
        self._movement_factor = (1.0 / self.MOVEMENT_SCALE).astype(np.float32)

    def _cut(self) -> None:
        """The blocks are views into the rows: what is written there is written once."""
        s, p, k = self.layout.shape
        first = p * len(self.PHASE_FEATURES)
        self.phase = self.rows[:, :first].reshape(s, p, len(self.PHASE_FEATURES))
        """[S, P, features] the phase block."""
        self.movement = self.rows[:, first + p * k :].reshape(s, k, len(self.MOVEMENT_FEATURES))
        """[S, K, features] the movement block."""

    def __getstate__(self) -> dict[str, Any]:
        """For `copy` and `pickle`: without the blocks, which would become arrays of their own."""
        return {name: value for name, value in vars(self).items() if name not in ("phase", "movement")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._cut()

    @classmethod
    def width(cls, layout: Layout) -> int:
        """Length of a row."""
        return cls.shape_for(*layout.shape[1:]).size

    @classmethod
    def shape_of(cls, layout: Layout, plan: SignalPlan) -> ObservationShape:
        """The shape of a row."""
        del plan
        return cls.shape_for(*layout.shape[1:])

    @classmethod
    def shape_for(cls, phases: int, movements: int) -> ObservationShape:
        """How a row is cut that has room for so many."""
        demand = cls.PHASE_FEATURES.index(cls.DEMAND)
        regret = cls.PHASE_FEATURES.index(cls.REGRET) if cls.REGRET else None
        return ObservationShape(
            phases, movements, len(cls.PHASE_FEATURES), len(cls.MOVEMENT_FEATURES), demand, regret
        )

    def raw(self, snapshot: Snapshot) -> Rows:
        """[S, size] rows in the units of the table, neither scaled nor limited; a new array each time."""
        self._write_raw(snapshot)
        return self.rows.copy()

    def write(self, snapshot: Snapshot) -> None:
        """Bring the rows up to this snapshot."""
        self._write_raw(snapshot)
        np.multiply(self.phase, self._phase_factor, out=self.phase)
        np.multiply(self.movement, self._movement_factor, out=self.movement)
        np.minimum(self.rows, LIMIT, out=self.rows)

    def _write_raw(self, snapshot: Snapshot) -> None:
        s, current, phase = self._signals, snapshot.phase, self.phase
        phase[:, :, 1] = snapshot.mask
        phase[:, :, 2:5] = 0.0
        phase[s, current, 2] = 1.0
        phase[s, current, 3] = snapshot.changing
        phase[s, current, 4] = snapshot.green_age_s
        phase[:, :, 5] = snapshot.since_served_s
        phase[:, :, 6] = self.layout.change_s[s, current]
        phase[:, :, 7], self.movement[:, :, 2] = self._sizes
        self.fill(snapshot)

    def fill(self, snapshot: Snapshot) -> None:
        """Write what is sensed into the phase block from 8 on and the movement block from 3 on, in the table's units.

        A subclass that adds features at the ends of the blocks calls this one first.
        """
        layout, seen = self.layout, ApproachMeasures(self.layout, snapshot)
        self.phase[:, :, 8:13] = seen.phases.transpose(1, 2, 0)
        self.phase[:, :, 13] = layout.phase_exits.sum(snapshot.halting)
        self.movement[:, :, 3:7] = seen.movements.transpose(1, 2, 0)
        self.movement[:, :, 7] = layout.movement_exits.sum(snapshot.halting)
        self.movement[:, :, 8] = snapshot.pedestrians


class DetectorObservation(PhaseObservation):
    """Sensing `detectors`: what stop-bar and advance detectors tell a controller in the field.

    Phase block, for each of P phases (0 to 7 as in `PhaseObservation`):

    | index | feature | meaning | unit | scaled by |
    |---|---|---|---|---|
    | 0 | exists | the signal has this phase | 0/1 | 1 |
    | 1 | selectable | it may be chosen now | 0/1 | 1 |
    | 2 | current | it is green, or comes next during a change | 0/1 | 1 |
    | 3 | changing | it comes next during a change | 0/1 | 1 |
    | 4 | green_age | how long it has been green | s | 60 |
    | 5 | since_served | how long ago it was last green | s | 120 |
    | 6 | change | how long the change to it would take from the current phase | s | 10 |
    | 7 | lanes | that it serves | lanes | 4 |
    | 8 | occupied | stop bars occupied of the lanes that it serves | lanes | 4 |
    | 9 | occupancy | sum of these stop bars' occupancy in the last interval | - | 4 |
    | 10 | arrivals | advance counts since the lanes' greens ended (or began) | veh | 20 |
    | 11 | new_arrivals | of these, on lanes that the current phase does not serve | veh | 20 |
    | 12 | flow | advance counts in the last interval | veh | 10 |
    | 13 | backed_up | sum of the advance detectors' occupancy in the last interval | - | 4 |

    Movement block, for each of K movements:

    | index | feature | meaning | unit | scaled by |
    |---|---|---|---|---|
    | 0 | exists | the signal has this movement | 0/1 | 1 |
    | 1 | crossing | it is a crossing for pedestrians | 0/1 | 1 |
    | 2 | lanes | that it has; of one that it shares, its share | lanes | 2 |
    | 3 | occupied | its share of its lanes' stop bars | lanes | 2 |
    | 4 | occupancy | the same of their occupancy in the last interval | - | 2 |
    | 5 | arrivals | the same of the advance counts since the greens ended (or began) | veh | 10 |
    | 6 | gap | the same of the time since the stop bars were left, at most 60 s each | s | 60 |
    | 7 | healthy | share of its lanes whose detectors are plausible | - | 1 |
    | 8 | call | the pedestrians' button has been pressed | 0/1 | 1 |
    | 9 | backed_up | its share of its lanes' advance detectors' occupancy in the last interval | - | 2 |
    """

    sensing = "detectors"
    PHASE_FEATURES: tuple[str, ...] = (
        "exists", "selectable", "current", "changing", "green_age", "since_served", "change", "lanes",
        "occupied", "occupancy", "arrivals", "new_arrivals", "flow", "backed_up",
    )  # fmt: skip
    MOVEMENT_FEATURES: tuple[str, ...] = (
        "exists", "crossing", "lanes", "occupied", "occupancy", "arrivals", "gap", "healthy", "call", "backed_up",
    )  # fmt: skip
    DEMAND = "arrivals"
    PHASE_SCALE = np.array([1, 1, 1, 1, 60, 120, 10, 4, 4, 4, 20, 20, 10, 4], float)
    MOVEMENT_SCALE = np.array([1, 1, 2, 2, 2, 10, 60, 1, 1, 2], float)

    def fill(self, snapshot: Snapshot) -> None:
        layout, lane, share = self.layout, self.layout.stream_lane, snapshot.share
        arrivals, gap_s = snapshot.arrivals_veh, snapshot.gap_s[lane] * share
        new = np.where(streams_green(layout, snapshot), 0.0, arrivals)
        occupied, occupancy = snapshot.occupied[lane] * share, snapshot.occupancy[lane] * share
        flow_veh, backed_up = snapshot.flow_veh[lane] * share, snapshot.backed_up[lane] * share
        on_phases = np.stack((occupied, occupancy, arrivals, new, flow_veh, backed_up))
        self.phase[:, :, 8:14] = layout.phase_streams.sum(on_phases).transpose(1, 2, 0)
        on_movements = np.stack(
            (occupied, occupancy, arrivals, gap_s, backed_up, snapshot.healthy[lane] * share, share)
        )
        movements = layout.movement_streams.sum(on_movements).transpose(1, 2, 0)
        self.movement[:, :, 3:7], self.movement[:, :, 9] = movements[:, :, :4], movements[:, :, 4]
        self.movement[:, :, 7] = movements[:, :, 5] / np.maximum(movements[:, :, 6], 1e-9)
        self.movement[:, :, 8] = snapshot.pedestrians > 0


OBSERVATIONS: dict[str, type[PhaseObservation]] = {"full": PhaseObservation, "detectors": DetectorObservation}
"""By sensing level, each level's own."""
NAMED: dict[str, type[Observation] | str] = {
    "phases": PhaseObservation,
    "planned": "signals.planner.observation:PlannedObservation",
    "detectors": DetectorObservation,
    "sumo-rl": "envs.sumo.sumo_rl:SumoRlObservation",
    "phases+forecast": "signals.foreseeing:ForeseeingPhases",
    "planned+forecast": "signals.foreseeing:ForeseeingPlanned",
    "detectors+forecast": "signals.foreseeing:ForeseeingDetectors",
}
"""By name, or where they are: one plans, sumo-rl's reads the running simulation, some look at a forecast.
`signals.observation_names` finds them."""


def observation_for(kind: str | type[PhaseObservation], layout: Layout, rows: Rows | None = None) -> PhaseObservation:
    """The observation of a sensing level, or of this class, which writes into `rows` if given.

    Raises:
        InputError: no such level.
    """
    if not isinstance(kind, str):
        return kind(layout, rows)
    if kind not in OBSERVATIONS:
        raise InputError(f"unknown sensing {kind!r}; choose full or detectors.{did_you_mean(kind, OBSERVATIONS)}")
    return OBSERVATIONS[kind](layout, rows)

"""What an agent is shown of a snapshot: one row of numbers per signal, the same for every intersection.

Both observations have the same plan, so that one network reads any signal: a block per phase, a block per
movement, and the table of which phase serves which movement. Unused slots are 0 and say so (`exists`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from signals.errors import InputError, did_you_mean
from signals.layout import Layout
from signals.measures import ApproachMeasures, lanes_green
from signals.snapshot import Snapshot

FloatArray = npt.NDArray[np.float64]
Rows = npt.NDArray[np.float32]
LIMIT = 10.0
"""Every element lies within 0 and this bound after scaling."""


@dataclass(frozen=True)
class ObservationShape:
    """How one signal's row is cut: [P, phase features], [P, K] service, [K, movement features], flattened."""

    phases: int
    movements: int
    phase_features: int
    movement_features: int
    demand: int = 6
    """Index of the phase feature that counts the vehicles which a phase would serve."""

    @property
    def size(self) -> int:
        """Length of a row."""
        return (
            self.phases * self.phase_features + self.phases * self.movements + self.movements * self.movement_features
        )


class PhaseObservation:
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
    | 6 | vehicles | on the approaches of the lanes that it serves | veh | 20 |
    | 7 | halting | of these, slower than 0.1 m/s | veh | 20 |
    | 8 | waiting | their current stops' waiting time | s | 600 |
    | 9 | new_vehicles | vehicles that it would serve and the current phase does not | veh | 20 |
    | 10 | downstream_halting | mean over the exit lanes that it leads to | veh | 10 |

    Movement block, for each of K movements:

    | index | feature | meaning | unit | scaled by |
    |---|---|---|---|---|
    | 0 | exists | the signal has this movement | 0/1 | 1 |
    | 1 | crossing | it is a crossing for pedestrians | 0/1 | 1 |
    | 2 | vehicles | its share of the vehicles on its lanes' approaches | veh | 10 |
    | 3 | halting | of these, slower than 0.1 m/s | veh | 10 |
    | 4 | waiting | their current stops' waiting time | s | 300 |
    | 5 | downstream_halting | mean over its exit lanes | veh | 10 |
    | 6 | pedestrians | who wait at the crossing | persons | 5 |
    """

    PHASE_FEATURES: tuple[str, ...] = (
        "exists", "selectable", "current", "changing", "green_age", "since_served",
        "vehicles", "halting", "waiting", "new_vehicles", "downstream_halting",
    )  # fmt: skip
    MOVEMENT_FEATURES: tuple[str, ...] = (
        "exists", "crossing", "vehicles", "halting", "waiting", "downstream_halting", "pedestrians",
    )  # fmt: skip
    DEMAND = "vehicles"
    """The phase feature that counts the vehicles which a phase would serve."""
    PHASE_SCALE = np.array([1, 1, 1, 1, 60, 120, 20, 20, 600, 20, 10], float)
    MOVEMENT_SCALE = np.array([1, 1, 10, 10, 300, 10, 5], float)

    def __init__(self, layout: Layout, rows: Rows | None = None) -> None:
        """See the class.

        Args:
            rows: [S, size] where to write; by default an array of its own.
        """
        self.layout = layout
        s, p, k = layout.shape
        self.shape = self.shape_for(p, k)
        self._rows = np.zeros((s, self.shape.size), np.float32) if rows is None else rows
        first = p * len(self.PHASE_FEATURES)
        # views into the rows: what is written there is written once
        self._phase = self._rows[:, :first].reshape(s, p, len(self.PHASE_FEATURES))
        self._movement = self._rows[:, first + p * k :].reshape(s, k, len(self.MOVEMENT_FEATURES))
        self._rows[:, first : first + p * k] = layout.service.reshape(s, p * k)
        self._phase[:, :, 0] = layout.phase_exists
        self._movement[:, :, 0] = layout.movement_exists
        self._movement[:, :, 1] = layout.crossing
        self._signals = np.arange(s)
        self._phase_factor = (1.0 / self.PHASE_SCALE).astype(np.float32)
        self._movement_factor = (1.0 / self.MOVEMENT_SCALE).astype(np.float32)

    @classmethod
    def shape_for(cls, phases: int, movements: int) -> ObservationShape:
        """How a row is cut that has room for so many."""
        demand = cls.PHASE_FEATURES.index(cls.DEMAND)
        return ObservationShape(phases, movements, len(cls.PHASE_FEATURES), len(cls.MOVEMENT_FEATURES), demand)

    def __call__(self, snapshot: Snapshot) -> Rows:
        """[S, size] rows; a new array each time."""
        self.write(snapshot)
        return self._rows.copy()

    def raw(self, snapshot: Snapshot) -> Rows:
        """[S, size] rows in the units of the table, neither scaled nor limited; a new array each time."""
        self._write_raw(snapshot)
        return self._rows.copy()

    def write(self, snapshot: Snapshot) -> None:
        """Bring the rows up to this snapshot."""
        self._write_raw(snapshot)
        np.multiply(self._phase, self._phase_factor, out=self._phase)
        np.multiply(self._movement, self._movement_factor, out=self._movement)
        np.minimum(self._rows, LIMIT, out=self._rows)

    def _write_raw(self, snapshot: Snapshot) -> None:
        s, current, phase = self._signals, snapshot.phase, self._phase
        phase[:, :, 1] = snapshot.mask
        phase[:, :, 2:5] = 0.0
        phase[s, current, 2] = 1.0
        phase[s, current, 3] = snapshot.changing
        phase[s, current, 4] = snapshot.green_age_s
        phase[:, :, 5] = snapshot.since_served_s
        self._fill(snapshot)

    def _fill(self, snapshot: Snapshot) -> None:
        """Write what is sensed into the phase block from 6 on and the movement block from 2 on."""
        layout, seen = self.layout, ApproachMeasures(self.layout, snapshot)
        self._phase[:, :, 6:10] = seen.phases.transpose(1, 2, 0)
        self._phase[:, :, 10] = layout.phase_exits.sum(snapshot.halting)
        self._movement[:, :, 2:5] = seen.movements.transpose(1, 2, 0)
        self._movement[:, :, 5] = layout.movement_exits.sum(snapshot.halting)
        self._movement[:, :, 6] = snapshot.pedestrians


class DetectorObservation(PhaseObservation):
    """Sensing `detectors`: what stop-bar and advance detectors tell a controller in the field.

    Phase block, for each of P phases (0 to 5 as in `PhaseObservation`):

    | index | feature | meaning | unit | scaled by |
    |---|---|---|---|---|
    | 0 | exists | the signal has this phase | 0/1 | 1 |
    | 1 | selectable | it may be chosen now | 0/1 | 1 |
    | 2 | current | it is green, or comes next during a change | 0/1 | 1 |
    | 3 | changing | it comes next during a change | 0/1 | 1 |
    | 4 | green_age | how long it has been green | s | 60 |
    | 5 | since_served | how long ago it was last green | s | 120 |
    | 6 | occupied | stop bars occupied of the lanes that it serves | lanes | 4 |
    | 7 | occupancy | sum of these stop bars' occupancy in the last interval | - | 4 |
    | 8 | arrivals | advance counts since the lanes' greens ended (or began) | veh | 20 |
    | 9 | new_arrivals | of these, on lanes that the current phase does not serve | veh | 20 |
    | 10 | flow | advance counts in the last interval | veh | 10 |
    | 11 | backed_up | sum of the advance detectors' occupancy in the last interval | - | 4 |

    Movement block, for each of K movements:

    | index | feature | meaning | unit | scaled by |
    |---|---|---|---|---|
    | 0 | exists | the signal has this movement | 0/1 | 1 |
    | 1 | crossing | it is a crossing for pedestrians | 0/1 | 1 |
    | 2 | occupied | its share of its lanes' stop bars | lanes | 2 |
    | 3 | occupancy | the same of their occupancy in the last interval | - | 2 |
    | 4 | arrivals | the same of the advance counts since the greens ended (or began) | veh | 10 |
    | 5 | gap | the same of the time since the stop bars were left, at most 60 s each | s | 60 |
    | 6 | healthy | share of its lanes whose detectors are plausible | - | 1 |
    | 7 | call | the pedestrians' button has been pressed | 0/1 | 1 |
    | 8 | backed_up | its share of its lanes' advance detectors' occupancy in the last interval | - | 2 |
    """

    PHASE_FEATURES: tuple[str, ...] = (
        "exists", "selectable", "current", "changing", "green_age", "since_served",
        "occupied", "occupancy", "arrivals", "new_arrivals", "flow", "backed_up",
    )  # fmt: skip
    MOVEMENT_FEATURES: tuple[str, ...] = (
        "exists", "crossing", "occupied", "occupancy", "arrivals", "gap", "healthy", "call", "backed_up",
    )  # fmt: skip
    DEMAND = "arrivals"
    PHASE_SCALE = np.array([1, 1, 1, 1, 60, 120, 4, 4, 20, 20, 10, 4], float)
    MOVEMENT_SCALE = np.array([1, 1, 2, 2, 10, 60, 1, 1, 2], float)

    def _fill(self, snapshot: Snapshot) -> None:
        layout = self.layout
        new = np.where(lanes_green(layout, snapshot), 0.0, snapshot.arrivals_veh)
        occupied, occupancy, arrivals = snapshot.occupied, snapshot.occupancy, snapshot.arrivals_veh
        lanes = np.stack((occupied, occupancy, arrivals, new, snapshot.flow_veh, snapshot.backed_up))
        self._phase[:, :, 6:12] = layout.phase_lanes.sum(lanes).transpose(1, 2, 0)
        shares = np.stack((occupied, occupancy, arrivals, snapshot.gap_s, snapshot.backed_up))
        movements = layout.movement_lanes.sum(shares).transpose(1, 2, 0)
        self._movement[:, :, 2:6], self._movement[:, :, 8] = movements[:, :, :4], movements[:, :, 4]
        lanes_of = np.maximum(layout.movement_lanes.weight.sum(-1), 1e-9)
        self._movement[:, :, 6] = layout.movement_lanes.sum(snapshot.healthy) / lanes_of
        self._movement[:, :, 7] = snapshot.pedestrians > 0


OBSERVATIONS = {"full": PhaseObservation, "detectors": DetectorObservation}


def observation_for(sensing: str, layout: Layout, rows: Rows | None = None) -> PhaseObservation:
    """The observation of a sensing level, which writes into `rows` if given.

    Raises:
        InputError: no such level.
    """
    if sensing not in OBSERVATIONS:
        raise InputError(
            f"unknown sensing {sensing!r}; choose full or detectors.{did_you_mean(sensing, OBSERVATIONS)}"
        )
    return OBSERVATIONS[sensing](layout, rows)

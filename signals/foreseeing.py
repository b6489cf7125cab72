"""What a policy is shown that knows a forecast: each observation once more, with the flows that are expected."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from plumbing.errors import InputError
from signals.layout import Layout
from signals.observations import LIMIT, DetectorObservation, PhaseObservation, Rows
from signals.planner.observation import PlannedObservation
from signals.snapshot import Snapshot

FORESEEN = ("expected_soon", "expected_later", "foreseen")
SCALE = (900.0, 900.0, 1.0)
"""Divisors. [veh/h] A lane that discharges 1,800 an hour (Highway Capacity Manual) carries 900 with half of the
time green: 1 stands for that much on a movement of one lane."""


class Foreseeing(PhaseObservation):
    """Writes what a forecast tells into the last three features of the movement block.

    A lane that several movements share gives each of them its part, as long as nothing is known of its vehicles.
    What is not foreseen counts as 0.
    """

    foresees = True

    def __init__(self, layout: Layout, rows: Rows | None = None) -> None:
        super().__init__(layout, rows)
        self._all = np.maximum(layout.movement_streams.sum(layout.stream_share), 1e-9)

    def fill(self, snapshot: Snapshot) -> None:
        """Write what is sensed, in the table's units."""
        super().fill(snapshot)
        self.movement[:, :, -len(FORESEEN) :] = self.foreseen(snapshot)

    def foreseen(self, snapshot: Snapshot) -> npt.NDArray[np.float64]:
        """[S, K, 3] in the table's units.

        Raises:
            InputError: nobody forecasts here.
        """
        expected, layout = snapshot.expected_vph, self.layout
        known = np.isfinite(expected[0])
        if not known.any():
            raise InputError(
                "this observation shows a forecast, and none is made here; give the environment forecast=MODEL_DIR"
            )
        lanes = np.concatenate((np.where(known, expected, 0.0), known[None]))
        found = layout.movement_streams.sum(lanes[:, layout.stream_lane] * layout.stream_share)
        found[2] /= self._all
        return found.transpose(1, 2, 0)


class ForeseeingPhases(Foreseeing):
    """As `PhaseObservation`, with a forecast. Sensing `full`.

    Movement block, after its features 0 to 8:

    | index | feature | meaning | unit | scaled by |
    |---|---|---|---|---|
    | 9 | expected_soon | flow in the next interval that the forecast tells | veh/h | 900 |
    | 10 | expected_later | flow in the last interval that it tells | veh/h | 900 |
    | 11 | foreseen | share of its lanes of which it tells something | - | 1 |
    """

    MOVEMENT_FEATURES = (*PhaseObservation.MOVEMENT_FEATURES, *FORESEEN)
    MOVEMENT_SCALE = np.array([*PhaseObservation.MOVEMENT_SCALE, *SCALE], float)


class ForeseeingPlanned(Foreseeing, PlannedObservation):
    """As `PlannedObservation`, with a forecast. Sensing `full`.

    Movement block, after its features 0 to 12:

    | index | feature | meaning | unit | scaled by |
    |---|---|---|---|---|
    | 13 | expected_soon | flow in the next interval that the forecast tells | veh/h | 900 |
    | 14 | expected_later | flow in the last interval that it tells | veh/h | 900 |
    | 15 | foreseen | share of its lanes of which it tells something | - | 1 |
    """

    MOVEMENT_FEATURES = (*PlannedObservation.MOVEMENT_FEATURES, *FORESEEN)
    MOVEMENT_SCALE = np.array([*PlannedObservation.MOVEMENT_SCALE, *SCALE], float)

    def write(self, snapshot: Snapshot) -> None:
        """Bring the rows up to this snapshot: `PlannedObservation` does so without `fill`."""
        super().write(snapshot)
        last = slice(-len(FORESEEN), None)
        scaled = self.foreseen(snapshot) * self._movement_factor[last]
        self.movement[:, :, last] = np.minimum(scaled, LIMIT)


class ForeseeingDetectors(Foreseeing, DetectorObservation):
    """As `DetectorObservation`, with a forecast. Sensing `detectors`.

    Movement block, after its features 0 to 9:

    | index | feature | meaning | unit | scaled by |
    |---|---|---|---|---|
    | 10 | expected_soon | flow in the next interval that the forecast tells | veh/h | 900 |
    | 11 | expected_later | flow in the last interval that it tells | veh/h | 900 |
    | 12 | foreseen | share of its lanes of which it tells something | - | 1 |
    """

    MOVEMENT_FEATURES = (*DetectorObservation.MOVEMENT_FEATURES, *FORESEEN)
    MOVEMENT_SCALE = np.array([*DetectorObservation.MOVEMENT_SCALE, *SCALE], float)

"""What a policy is shown that begins as the planner: what each phase costs, and when vehicles arrive."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from signals.layout import Layout
from signals.observations import LIMIT, DetectorObservation, PhaseObservation, Rows
from signals.planner.planner import Planner
from signals.snapshot import ARRIVAL_BIN_S, Snapshot

FloatArray = npt.NDArray[np.float64]
PLAN_SCALE = (50.0, 500.0)  # [veh s] of regret and cost
WITHIN_S = (5.0, 10.0, 20.0, 60.0)
"""[s] to which time to the stop line each of the movement block's arrivals reaches, from that of the one before."""


class PlannedObservation(PhaseObservation):
    """As `PhaseObservation`, with what the planner makes of it. Sensing `full`.

    Phase block, for each of P phases (0 to 13 as in `PhaseObservation`):

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
    | 14 | regret | how much more the best plan costs that begins with it than the best of all | veh s | 50 |
    | 15 | plan_cost | the delay until the horizon of the best plan that begins with it | veh s | 500 |

    Both are 0 where there is no choice, and at their limit where a phase may be chosen and no plan begins with it.

    Movement block, for each of K movements (0 to 8 as in `PhaseObservation`):

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
    | 9 | arrive_5 | of those who move, who reach the stop line within 5 s | veh | 5 |
    | 10 | arrive_10 | within 5 to 10 s | veh | 5 |
    | 11 | arrive_20 | within 10 to 20 s | veh | 5 |
    | 12 | arrive_60 | later | veh | 5 |
    """

    ahead = True
    PHASE_FEATURES = (*PhaseObservation.PHASE_FEATURES, "regret", "plan_cost")
    MOVEMENT_FEATURES = (*PhaseObservation.MOVEMENT_FEATURES, *(f"arrive_{until_s:g}" for until_s in WITHIN_S))
    REGRET = "regret"
    PHASE_SCALE = np.array([*PhaseObservation.PHASE_SCALE, *PLAN_SCALE], float)
    MOVEMENT_SCALE = np.array([*PhaseObservation.MOVEMENT_SCALE, 5, 5, 5, 5], float)

    def __init__(self, layout: Layout, rows: Rows | None = None) -> None:
        super().__init__(layout, rows)
        self._planner = Planner(layout)
        self._seen = PhaseObservation(layout)
        self._simulation: Any = None
        self._bins = np.cumsum([0, *np.diff((0.0, *WITHIN_S)) / ARRIVAL_BIN_S]).astype(np.int64)[:-1]

    def begin(self, simulation: Any) -> None:
        """An episode begins: compiled code, where there is any, writes what `PhaseObservation` has, too."""
        self._simulation = simulation

    def __getstate__(self) -> dict[str, Any]:
        """Without the running simulation, which stays where it is."""
        return super().__getstate__() | {"_simulation": None}

    def write(self, snapshot: Snapshot) -> None:
        """Bring the rows up to this snapshot."""
        seen = self._seen
        # asked for each time: the simulation may find out on the way that it has to do without
        compiled: Callable[[Rows], None] | None = getattr(self._simulation, "observe_compiled", None)
        if compiled is not None:
            compiled(seen.rows)
        else:
            seen.write(snapshot)
        phase, movement = seen.phase.shape[2], seen.movement.shape[2]
        self.phase[:, :, :phase], self.movement[:, :, :movement] = seen.phase, seen.movement
        plans, arrivals = self._plans(snapshot), self._arrivals(snapshot)
        self.phase[:, :, phase:] = np.minimum(plans * self._phase_factor[phase:], LIMIT)
        arrive = slice(movement, movement + len(WITHIN_S))  # a subclass may have further features
        self.movement[:, :, arrive] = np.minimum(arrivals * self._movement_factor[arrive], LIMIT)

    def fill(self, snapshot: Snapshot) -> None:
        """Write what is sensed, in the table's units."""
        super().fill(snapshot)
        seen = self._seen
        self.phase[:, :, seen.phase.shape[2] :] = self._plans(snapshot)
        first = seen.movement.shape[2]
        self.movement[:, :, first : first + len(WITHIN_S)] = self._arrivals(snapshot)

    def _plans(self, snapshot: Snapshot) -> FloatArray:
        return plan_features(self._planner, snapshot)

    def _arrivals(self, snapshot: Snapshot) -> FloatArray:
        """[S, K, len(WITHIN_S)] vehicles on their way."""
        by_stream = np.add.reduceat(snapshot.arriving, self._bins, axis=1)
        return self.layout.movement_streams.sum(by_stream.T).transpose(1, 2, 0)


class PlannedDetectorObservation(DetectorObservation):
    """As `DetectorObservation`, with what the planner makes of the estimate of `signals.queues`. Sensing `detectors`.

    Phase block, for each of P phases (0 to 13 as in `DetectorObservation`):

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
    | 14 | regret | how much more the best plan costs that begins with it than the best of all | veh s | 50 |
    | 15 | plan_cost | the delay until the horizon of the best plan that begins with it | veh s | 500 |

    Both are 0 where there is no choice, and at their limit where a phase may be chosen and no plan begins with it.

    Movement block, for each of K movements (0 to 9 as in `DetectorObservation`):

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
    | 10 | queue | its share of its lanes' estimated queues | veh | 10 |
    | 11 | expected | who is expected within a minute, by the mean flow | veh | 10 |
    """

    ahead = True
    PHASE_FEATURES = (*DetectorObservation.PHASE_FEATURES, "regret", "plan_cost")
    MOVEMENT_FEATURES = (*DetectorObservation.MOVEMENT_FEATURES, "queue", "expected")
    REGRET = "regret"
    PHASE_SCALE = np.array([*DetectorObservation.PHASE_SCALE, *PLAN_SCALE], float)
    MOVEMENT_SCALE = np.array([*DetectorObservation.MOVEMENT_SCALE, 10, 10], float)

    def __init__(self, layout: Layout, rows: Rows | None = None) -> None:
        super().__init__(layout, rows)
        self._planner = Planner(layout, sensing="detectors")

    def fill(self, snapshot: Snapshot) -> None:
        """Write what is sensed, in the table's units."""
        super().fill(snapshot)
        self.phase[:, :, 14:16] = plan_features(self._planner, snapshot)
        estimated = np.stack((snapshot.queue_veh, snapshot.arriving.sum(axis=1)))
        self.movement[:, :, 10:12] = self.layout.movement_streams.sum(estimated).transpose(1, 2, 0)


def plan_features(planner: Planner, snapshot: Snapshot) -> FloatArray:
    """[S, P, 2] regret and cost [veh s]."""
    costs = planner.costs(snapshot)
    planned = np.isfinite(costs)
    best = np.min(costs, axis=1, keepdims=True, where=planned, initial=np.inf)
    best = np.where(np.isfinite(best), best, 0.0)
    limit = LIMIT * np.array(PLAN_SCALE)[:, None, None]
    regret, cost = np.where(planned, np.where(planned, costs, 0.0) - np.stack((best, np.zeros_like(best))), limit)
    choice = snapshot.mask & (snapshot.mask.sum(axis=1) > 1)[:, None]
    return np.where(choice[..., None], np.stack((regret, cost), axis=2), 0.0)

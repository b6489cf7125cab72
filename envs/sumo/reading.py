"""Reading many lanes or loops of a running SUMO. Plain calls of its lowest layer beat its subscriptions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


def read_lanes(low: Any, lanes: Sequence[str], speed_mps: FloatArray, out: FloatArray) -> None:
    """Fill `out` [4, L]: vehicles, halting vehicles, waiting time and rate of time loss of each lane.

    Args:
        low: libsumo's lowest layer, or what answers the same calls.
        lanes: [L] names.
        speed_mps: [L] limits.
    """
    # every lane's count, then the rest of the few that hold anybody
    vehicles = np.fromiter(map(low.lane_getLastStepVehicleNumber, lanes), float, len(lanes))
    busy = vehicles.nonzero()[0]
    out[:] = 0.0
    if busy.size:
        names = [lanes[n] for n in busy.tolist()]
        seen = vehicles[busy]
        share = np.array(list(map(low.lane_getLastStepMeanSpeed, names))) / speed_mps[busy]
        out[:, busy] = (
            seen,
            list(map(low.lane_getLastStepHaltingNumber, names)),
            list(map(low.lane_getWaitingTime, names)),
            seen * np.maximum(1.0 - share, 0.0),
        )


def read_lane(low: Any, lane: str) -> tuple[int, int, float, float]:
    """Vehicles, halting vehicles, waiting time [s] and mean speed [m/s] of one lane."""
    return (
        low.lane_getLastStepVehicleNumber(lane),
        low.lane_getLastStepHaltingNumber(lane),
        low.lane_getWaitingTime(lane),
        low.lane_getLastStepMeanSpeed(lane),
    )


def read_counts(low: Any, loops: Sequence[str]) -> FloatArray:
    """Of each induction loop, the vehicles of the interval so far."""
    return np.array([low.inductionloop_getIntervalVehicleNumber(name) for name in loops], float)


def read_loops(low: Any, loops: Sequence[str]) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Of each induction loop: vehicles and occupancy [%] of the interval so far, time since the last vehicle [s]."""
    return (
        read_counts(low, loops),
        np.array([low.inductionloop_getIntervalOccupancy(name) for name in loops], float),
        np.array([low.inductionloop_getTimeSinceDetection(name) for name in loops], float),
    )

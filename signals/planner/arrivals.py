"""When the vehicles that are seen on their way will reach the stop line, in the steps of a plan."""

from __future__ import annotations

import numpy as np

from signals.planner.search import FloatArray
from signals.snapshot import ARRIVAL_BIN_S


def arrivals(binned_veh: FloatArray, step_s: float, steps: int) -> FloatArray:
    """[B, N] vehicles of each stream that arrive in each step: those of a bin evenly over its time.

    Args:
        binned_veh: [B, bins] by the time to the stop line, `Snapshot.arriving`.
        step_s: length of a step [s].
        steps: N. After the last bin nobody arrives.
    """
    bins = binned_veh.shape[1]
    until = np.zeros((len(binned_veh), bins + 1))
    np.cumsum(binned_veh, axis=1, out=until[:, 1:])
    ends = np.minimum(np.arange(steps + 1) * (step_s / ARRIVAL_BIN_S), bins)
    whole = np.minimum(ends.astype(np.int64), bins - 1)
    # in this form nothing comes of bins without vehicles, whatever is rounded
    reached = until[:, whole] + (ends - whole) * (until[:, whole + 1] - until[:, whole])
    result: FloatArray = np.maximum(np.diff(reached, axis=1), 0.0)
    return result

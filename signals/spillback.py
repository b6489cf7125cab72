"""The spillback guard's rule: which phases would be green for nobody, since no exit can take another vehicle.

An exit lane is full while its standing queue reaches back to its beginning. A stream flows unless all exit lanes that
it leads to are full. A phase is blocked while somebody comes to the stop lines that it serves and none of these
streams flows. Streams that every phase serves do not count: no choice helps or harms them. Nor is a phase blocked for
which a pedestrian waits.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from signals.layout import Layout
from signals.measures import ApproachMeasures

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
JAM_SPACING_M = 7.5
"""From front to front in a standing queue [m]: SUMO's default car, length 5.0 + minGap 2.5."""


def capacity_veh(layout: Layout) -> FloatArray:
    """[L] how many vehicles each lane holds when they stand; at least 1."""
    result: FloatArray = np.maximum(np.floor(layout.lane_length_m / JAM_SPACING_M), 1.0)
    return result


def blocked(seen: ApproachMeasures) -> BoolArray:
    """[S, P] which phases are blocked, by true values (sensing `full`)."""
    layout, snapshot = seen.layout, seen.snapshot
    room = snapshot.halting < capacity_veh(layout)  # [L]
    comes = (seen.vehicles > 0) & layout.stream_chosen
    flows = comes & (layout.stream_exits.sum(room.astype(float)) > 0)
    both = layout.phase_streams.sum(np.stack((comes, flows)).astype(float)) > 0
    result: BoolArray = both[0] & ~both[1]
    if layout.crossing_edges:
        result &= ~((layout.service > 0) & (snapshot.pedestrians > 0)[:, None, :]).any(axis=-1)
    return result

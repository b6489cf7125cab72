"""When the vehicles that are seen on their way will reach the stop line."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from signals.intersection import Intersection
from signals.layout import Layout
from signals.planner.search import FloatArray
from signals.snapshot import Snapshot

LEAST_S = 1e-6


class Arrivals:
    """Moving vehicles by the step in which they arrive: spread evenly over their lane, at its speed limit."""

    def __init__(self, intersections: Sequence[Intersection], layout: Layout) -> None:
        self._layout = layout
        self._way_s = _way_s(intersections, layout)

    def prepare(self, step_s: float, steps: int) -> None:
        """Say how long a step is, and how many there are."""
        nearest, farthest = self._way_s  # [C, n] [s]
        ends, long_s = np.arange(steps + 1) * step_s, np.maximum(farthest - nearest, LEAST_S)
        reached = (ends - nearest[..., None]) / long_s[..., None]
        self._share = np.diff(np.clip(reached, 0.0, 1.0), axis=-1)  # [C, n, N]
        self._share[..., 0] += np.clip(-nearest / long_s, 0.0, 1.0)  # a lane that begins at the stop line itself

    def __call__(self, snapshot: Snapshot) -> FloatArray:
        """[B, N] vehicles of each stream in each step."""
        layout, zone = self._layout, self._layout.zone
        moving = (snapshot.vehicles - snapshot.halting)[zone.index] * zone.weight  # [C, n]
        arriving: FloatArray = (moving[..., None] * self._share).sum(axis=1)
        return arriving[layout.stream_lane] * snapshot.share[:, None]


def _way_s(intersections: Sequence[Intersection], layout: Layout) -> tuple[FloatArray, FloatArray]:
    """[C, n] the time from each lane's downstream and upstream end to the stop line [s]."""
    index = layout.zone.index
    metres = np.zeros(index.shape)
    zones = [zone for item in intersections for zone in item.zones]
    for c, zone in enumerate(zones):
        distance = dict(zone.upstream)
        for n, lane in enumerate(index[c]):
            metres[c, n] = distance.get(layout.lanes[lane], 0.0)
    speed, length = layout.lane_speed_mps[index], layout.lane_length_m[index]
    return metres / speed, (metres + length) / speed

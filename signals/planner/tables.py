"""What a planner knows before it sees traffic: how fast each phase serves a stream, and how long greens last."""

from __future__ import annotations

import numpy as np

from signals.layout import Layout
from signals.planner.search import FloatArray, IntArray

LEAST_SERVICE = 0.1
"""Share of its saturation flow that a stream keeps on green where all of its movements have to yield."""
LEAST_SHARE = 1e-6


def stream_first(layout: Layout) -> IntArray:
    """[S + 1] where each signal's streams begin: they lie signal by signal."""
    result: IntArray = np.searchsorted(layout.stream_signal, np.arange(layout.shape[0] + 1)).astype(np.int64)
    return result


def stream_service(layout: Layout) -> FloatArray:
    """[B, P] the share of its saturation flow that a stream has in a phase: the mean over its movements."""
    total, count = np.zeros(layout.stream_served.shape), np.zeros(len(layout.streams))
    for s, k in np.ndindex(layout.movement_exists.shape):
        found = layout.movement_streams.index[s, k][layout.movement_streams.weight[s, k] > 0]
        total[found] += layout.service[s, :, k]
        count[found] += 1
    return np.where(layout.stream_served, np.maximum(total / np.maximum(count, 1)[:, None], LEAST_SERVICE), 0.0)


def lane_room(layout: Layout, share: FloatArray) -> FloatArray:
    """[B, P] the share of its lane's saturation flow that a stream has: all where the lane's others are red.

    Args:
        share: [B] the share of its lane's vehicles that each stream has.
    """
    green = layout.stream_served * np.maximum(share, LEAST_SHARE)[:, None]
    together = np.zeros((len(layout.controlled), green.shape[1]))
    np.add.at(together, layout.stream_lane, green)
    room: FloatArray = green / np.maximum(together, LEAST_SHARE)[layout.stream_lane]
    return room

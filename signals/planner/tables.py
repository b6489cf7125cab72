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


def stream_rates(layout: Layout, service: FloatArray, share: FloatArray, lead: FloatArray) -> FloatArray:
    """[B, P] the share of its lane's saturation flow that a stream has in a phase.

    The vehicles of a lane go one after another, in the mix of its streams: who yields holds up those behind. Where
    another stream of the lane is red, only those go who have none of its vehicles ahead of them.

    Args:
        service: [B, P] as `stream_service` has it.
        share: [B] the share of its lane's vehicles that each stream has.
        lead: [B] as `Snapshot.lead`.
    """
    lane, width = layout.stream_lane, service.shape[1]
    served = layout.stream_served * np.maximum(share, LEAST_SHARE)[:, None]
    takes = np.divide(served, service, out=np.zeros_like(served), where=service > 0)
    together, streams = np.zeros((2, len(layout.controlled), width)), np.bincount(lane)
    np.add.at(together[0], lane, takes)
    np.add.at(together[1], lane, layout.stream_served)
    rates: FloatArray = served / np.maximum(together[0], LEAST_SHARE)[lane]
    partly = together[1][lane] < streams[lane][:, None]
    return np.where(partly, rates * lead[:, None], rates)

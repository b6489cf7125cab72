"""Rewards: pure functions of two snapshots, one value per signal; greater is better.

They use true values in every sensing level: a reward exists in simulation only, where these are known.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from plumbing.errors import InputError, did_you_mean
from signals.layout import Layout
from signals.snapshot import Snapshot

FloatArray = npt.NDArray[np.float64]
Reward = Callable[[Layout, Snapshot, Snapshot], FloatArray]


def time_loss(layout: Layout, before: Snapshot, after: Snapshot) -> FloatArray:
    """[S] minus the rate at which the approaches' vehicles lose time, at the later moment [s/s].

    The sum over vehicles of 1 - v / v_max. Its integral over a run is SUMO's time loss on the approaches, so
    what is learned is what is judged.
    """
    del before
    return -layout.signal_lanes.sum(layout.zone.sum(after.loss_veh))


def queue(layout: Layout, before: Snapshot, after: Snapshot) -> FloatArray:
    """[S] minus the halting vehicles on the approaches [veh]."""
    del before
    return -layout.signal_lanes.sum(layout.zone.sum(after.halting))


def waiting_time_saved(layout: Layout, before: Snapshot, after: Snapshot) -> FloatArray:
    """[S] how much less waiting time stands on the approaches than before [s]."""
    return layout.signal_lanes.sum(layout.zone.sum(before.waiting_s - after.waiting_s))


def pressure(layout: Layout, before: Snapshot, after: Snapshot) -> FloatArray:
    """[S] minus the absolute pressure, upstream less downstream vehicles, summed over movements [veh].

    Source: Wei et al. 2019, PressLight, section 4; pressure after Varaiya 2013.
    """
    del before
    upstream = layout.movement_lanes.sum(layout.zone.sum(after.vehicles))
    downstream = layout.movement_exits.sum(after.vehicles)
    apart = np.where(layout.movement_exists & ~layout.crossing, upstream - downstream, 0.0)
    total: FloatArray = -np.abs(apart).sum(axis=1)
    return total


COMPARING = frozenset({"waiting_time_saved"})
"""The rewards that look at the earlier moment, too; the others can be given the later one twice."""
REWARDS: dict[str, Reward] = {
    "time_loss": time_loss,
    "queue_veh": queue,
    "waiting_time_saved": waiting_time_saved,
    "pressure_veh": pressure,
}


def reward_for(name: str) -> Reward:
    """The reward of that name.

    Raises:
        InputError: no such reward.
    """
    if name not in REWARDS:
        raise InputError(f"unknown reward {name!r}; choose one of {', '.join(REWARDS)}.{did_you_mean(name, REWARDS)}")
    return REWARDS[name]

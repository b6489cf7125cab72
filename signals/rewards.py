"""Rewards: functions of two snapshots, one value per signal; greater is better.

They use true values in every sensing level: a reward exists in simulation only, where these are known.
`signals.reward_sum` makes weighted sums of them, and takes rewards from outside.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from signals.layout import Layout
from signals.measures import ApproachMeasures
from signals.snapshot import Snapshot

FloatArray = npt.NDArray[np.float64]
Reward = Callable[[Layout, Snapshot, Snapshot], FloatArray]
"""`reward(layout, before, after)` gives [S] values and changes neither snapshot.

A class is made anew, without arguments, for each simulation. What is called may have `begin(simulation)`, called
with the running `envs.sumo.simulation.Simulation` when an episode begins; and `sumo_options`, further options of
SUMO's.
"""


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
    upstream = layout.movement_streams.sum(ApproachMeasures(layout, after).vehicles)
    downstream = layout.movement_exits.sum(after.vehicles)
    apart = np.where(layout.movement_exists & ~layout.crossing, upstream - downstream, 0.0)
    total: FloatArray = -np.abs(apart).sum(axis=1)
    return total


REWARDS: dict[str, Reward | str] = {
    "time_loss": time_loss,
    "queue_veh": queue,
    "waiting_time_saved": waiting_time_saved,
    "pressure_veh": pressure,
    "diff-waiting-time": "envs.sumo.sumo_rl:DiffWaitingTime",
    "average-speed": "envs.sumo.sumo_rl:AverageSpeed",
    "queue": "envs.sumo.sumo_rl:Queue",
    "pressure": "envs.sumo.sumo_rl:Pressure",
}
"""By name, or where they are: sumo-rl's read the running simulation."""
COMPARING = frozenset({"waiting_time_saved"})
"""The rewards of these that look at the earlier moment, too; the others can be given the later one twice."""

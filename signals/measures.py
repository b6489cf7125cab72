"""What follows from one snapshot: the quantities that observations, rewards and controllers share."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from signals.layout import Layout
from signals.snapshot import Snapshot

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


class ApproachMeasures:
    """True values on the approaches (sensing `full`), computed once per snapshot."""

    def __init__(self, layout: Layout, snapshot: Snapshot) -> None:
        lanes = np.stack((snapshot.vehicles, snapshot.halting, snapshot.waiting_s, snapshot.loss_veh))
        zones = layout.zone.sum(lanes)
        self.layout = layout
        self.snapshot = snapshot
        self.vehicles: FloatArray = zones[0]
        """[C] vehicles on the way to each stop line."""
        self.halting: FloatArray = zones[1]
        """[C]"""
        self.waiting_s: FloatArray = zones[2]
        """[C]"""
        self.loss_veh: FloatArray = zones[3]
        """[C] rate of time loss."""

    def new_to(self, present: FloatArray) -> FloatArray:
        """[S, P] of what is present on controlled lanes, what a phase would serve and the current one does not."""
        layout = self.layout
        waiting = np.where(lanes_green(layout, self.snapshot), 0.0, present)
        return layout.phase_lanes.sum(waiting)


def lanes_green(layout: Layout, snapshot: Snapshot) -> BoolArray:
    """[C] whether the current phase serves each controlled lane."""
    current = snapshot.phase[layout.controlled_signal]
    result: BoolArray = layout.lane_served[np.arange(len(current)), current]
    return result


def pedestrian_demand(layout: Layout, snapshot: Snapshot) -> FloatArray:
    """[S, P] waiting pedestrians whom a phase would serve and the current one does not."""
    if not layout.crossing_edges:
        return np.zeros(layout.phase_exists.shape)
    signals = np.arange(len(snapshot.phase))
    served_now = layout.service[signals, snapshot.phase] > 0  # [S, K]
    waiting = np.where(served_now, 0.0, snapshot.pedestrians)
    result: FloatArray = np.einsum("spk,sk->sp", (layout.service > 0).astype(float), waiting)
    return result

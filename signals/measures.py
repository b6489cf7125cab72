"""Quantities of one snapshot that observations, rewards and controllers share."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import numpy.typing as npt

from signals.layout import Layout
from signals.snapshot import Snapshot

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


class ApproachMeasures:
    """True values on the approaches (sensing `full`), computed once per snapshot."""

    def __init__(self, layout: Layout, snapshot: Snapshot) -> None:
        self.layout = layout
        self.snapshot = snapshot
        self.zones: FloatArray = layout.zone.sum(snapshot.lanes)
        """[4, C] vehicles, halting, waiting time and rate of time loss on the way to each stop line."""

    @property
    def vehicles(self) -> FloatArray:
        """[C] vehicles on the way to each stop line."""
        row: FloatArray = self.zones[0]
        return row

    @property
    def halting(self) -> FloatArray:
        """[C] of these, slower than 0.1 m/s."""
        row: FloatArray = self.zones[1]
        return row

    @cached_property
    def phases(self) -> FloatArray:
        """[5, S, P] vehicles, halting, waiting time and rate of time loss on what a phase serves; and of the vehicles
        those whom the current phase does not serve."""
        new = np.where(lanes_green(self.layout, self.snapshot), 0.0, self.vehicles)
        return self.layout.phase_lanes.sum(np.concatenate((self.zones, new[None])))

    @cached_property
    def movements(self) -> FloatArray:
        """[4, S, K] a movement's share of vehicles, halting, waiting time and rate of time loss."""
        return self.layout.movement_lanes.sum(self.zones)


def lanes_green(layout: Layout, snapshot: Snapshot) -> BoolArray:
    """[C] whether the current phase serves each controlled lane."""
    current = snapshot.phase[layout.controlled_signal]
    result: BoolArray = layout.lane_served[np.arange(len(current)), current]
    return result


def detector_calls(layout: Layout, snapshot: Snapshot) -> BoolArray:
    """[S, P] whether detectors report a waiting vehicle that a phase serves and the current one does not."""
    # a loop that is not believed calls all the time, as a controller's failed detectors do
    present = snapshot.arrivals_veh + snapshot.occupied + (1.0 - snapshot.healthy)
    red = np.where(lanes_green(layout, snapshot), 0.0, present)
    called: BoolArray = layout.phase_lanes.sum(red) > 0
    return called | (pedestrian_demand(layout, snapshot) > 0) if layout.crossing_edges else called


def pedestrian_demand(layout: Layout, snapshot: Snapshot) -> FloatArray:
    """[S, P] waiting pedestrians that a phase would serve and the current one does not."""
    if not layout.crossing_edges:
        return np.zeros(layout.phase_exists.shape)
    signals = np.arange(len(snapshot.phase))
    served_now = layout.service[signals, snapshot.phase] > 0  # [S, K]
    waiting = np.where(served_now, 0.0, snapshot.pedestrians)
    result: FloatArray = np.einsum("spk,sk->sp", (layout.service > 0).astype(float), waiting)
    return result

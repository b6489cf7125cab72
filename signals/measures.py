"""Quantities of one snapshot that observations, rewards and controllers share."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import numpy.typing as npt

from signals.layout import Layout
from signals.snapshot import Snapshot

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
STANDS = 0.95  # a stop bar that was occupied for so much of an interval holds a vehicle that stands


class ApproachMeasures:
    """True values on the approaches (sensing `full`), computed once per snapshot."""

    def __init__(self, layout: Layout, snapshot: Snapshot) -> None:
        self.layout = layout
        self.snapshot = snapshot
        self.streams: FloatArray = layout.zone.sum(snapshot.lanes)[:, layout.stream_lane] * snapshot.share
        """[4, B] vehicles, halting, waiting time and rate of time loss on the way to each stop line, by stream."""

    @property
    def vehicles(self) -> FloatArray:
        """[B] vehicles on the way to each stop line."""
        row: FloatArray = self.streams[0]
        return row

    @property
    def halting(self) -> FloatArray:
        """[B] of these, slower than 0.1 m/s."""
        row: FloatArray = self.streams[1]
        return row

    @cached_property
    def phases(self) -> FloatArray:
        """[5, S, P] vehicles, halting, waiting time and rate of time loss on what a phase serves; and of the vehicles
        those whom the current phase does not serve."""
        new = np.where(streams_green(self.layout, self.snapshot), 0.0, self.vehicles)
        return self.layout.phase_streams.sum(np.concatenate((self.streams, new[None])))

    @cached_property
    def movements(self) -> FloatArray:
        """[4, S, K] a movement's share of vehicles, halting, waiting time and rate of time loss."""
        return self.layout.movement_streams.sum(self.streams)


def streams_green(layout: Layout, snapshot: Snapshot) -> BoolArray:
    """[B] whether the current phase serves each stream."""
    current = snapshot.phase[layout.stream_signal]
    result: BoolArray = layout.stream_served[np.arange(len(current)), current]
    return result


def detector_demand(layout: Layout, snapshot: Snapshot) -> FloatArray:
    """[B] greater than 0 where detectors report a vehicle, or may hide one, that the current phase does not serve.

    While another stream of the same lane has green, a vehicle on its stop bar may belong to that one. It is one that
    waits if the stop bar was occupied all the time, or if the counts amount to a whole vehicle for this stream.
    """
    green, lane = streams_green(layout, snapshot), layout.stream_lane
    seen = snapshot.arrivals_veh + snapshot.occupied[lane]
    if layout.shared:
        moving = np.zeros(len(layout.controlled), bool)
        moving[lane[green]] = True
        stands = snapshot.occupancy[lane] >= STANDS
        seen = np.where(moving[lane], np.floor(snapshot.arrivals_veh) + stands, seen)
    # a loop that is not believed calls all the time, as a controller's failed detectors do
    result: FloatArray = np.where(green, 0.0, seen + (1.0 - snapshot.healthy[lane]))
    return result


def detector_calls(layout: Layout, snapshot: Snapshot) -> BoolArray:
    """[S, P] whether detectors report a waiting vehicle that a phase serves and the current one does not."""
    called: BoolArray = layout.phase_streams.sum(detector_demand(layout, snapshot)) > 0
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

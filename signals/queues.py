"""How many vehicles wait, and how many will come: an estimate from loops, for a planner.

What came over the advance loops less what left over the stop bar is between the two. Such a balance drifts, so it is
anchored where a loop says for certain where the queue ends.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from signals.layout import Layout
from signals.measures import STANDS
from signals.snapshot import ARRIVAL_BIN_S, ARRIVAL_BINS, Snapshot

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
JAM_SPACING_M = 7.5  # SUMO default car: length 5.0 + minGap 2.5
OVER_AFTER_S = 3.0
"""[s] a loop that nobody has been on for so long is not left by a queue: vehicles of one follow at about 2 s."""
DISCHARGE_VPS = 0.5  # [veh/s] what leaves a queue on one lane, about 1,900 an hour
LEAVING, LEAVING_VEH = 0.8, 2.0
"""A queue still leaves where so much of that is counted; then so many vehicles are left of it, at a guess."""
MEMORY_S = 300.0  # [s] a mean flow follows the last minutes: some cycles
PRIOR_VPS, PRIOR_S = 0.1, 60.0  # [veh/s] a lane's flow as long as nothing is known, and how long that counts
ALONE_VEH = 3.0
"""[veh] one loop of a lane counted so many more than there is room for between them, the other nothing: it is dead,
or stuck."""
STUCK_GREEN_S = 12.0  # [s] nobody stands on a stop bar for so long while all of its lane has green


@dataclass(frozen=True)
class LoopNews:
    """What a lane's loops have told since the last reading. All [C]."""

    came: FloatArray
    """[veh] over the advance loops, by the lane's share of them."""
    left: FloatArray
    """[veh] over the stop bar."""
    occupied: BoolArray
    """The stop bar is."""
    occupancy: FloatArray
    """Share of the time that the stop bar was."""
    gap_s: FloatArray
    """Since the stop bar was left; 0 while it is occupied."""
    advance_gap_s: FloatArray
    """The least over the advance loops."""
    backed_up: FloatArray
    """Share of the time that an advance loop was occupied."""
    trusted: BoolArray
    """[2, C] whether stop bar and advance loops neither chatter nor are known to have failed."""
    alone_veh: FloatArray
    """[2, C] what stop bar and advance loops have counted since the other counted anything."""

    @property
    def empty(self) -> BoolArray:
        """Whether the stop bar has been empty for some time."""
        return ~self.occupied & (self.gap_s >= OVER_AFTER_S)

    @property
    def reached(self) -> BoolArray:
        """Whether somebody stood on an advance loop all the time."""
        return self.backed_up >= STANDS


class QueueEstimate:
    """Per lane, the vehicles between its loops and the queue's tail beyond; told by stream.

    Args:
        layout: the signals.
        advance_m: [C] from the stop line to the advance loops [m].
        stop_bar_m: [C] from the stop line to the stop bar's loop [m].
    """

    def __init__(self, layout: Layout, advance_m: FloatArray, stop_bar_m: FloatArray) -> None:
        self.layout = layout
        self._room_veh = np.maximum((advance_m - stop_bar_m) / JAM_SPACING_M, 1.0)
        lane = layout.controlled_lane
        reach_m = (layout.zone.weight * layout.lane_length_m[layout.zone.index]).sum(axis=1)
        self._most_behind_veh = np.maximum((reach_m - advance_m) / JAM_SPACING_M, 0.0)
        self._drive_s = advance_m / layout.lane_speed_mps[lane]
        ends = np.arange(1, ARRIVAL_BINS + 1) * ARRIVAL_BIN_S
        self._open_s = np.clip(ends - self._drive_s[:, None], 0.0, ARRIVAL_BIN_S)
        """[C, bins] the part of each bin in which those arrive who are not yet at the advance loops."""

    def reset(self) -> None:
        """Forget everything."""
        lanes = len(self.layout.controlled)
        self._between, self._behind = np.zeros(lanes), np.zeros(lanes)
        self._counted, self._counted_s = np.full((2, lanes), PRIOR_VPS * PRIOR_S), np.full((2, lanes), PRIOR_S)
        self._stuck_s = np.zeros(lanes)
        self._doubted = np.zeros((2, lanes), bool)

    def update(self, snapshot: Snapshot, green: BoolArray, news: LoopNews, elapsed_s: float) -> None:
        """Take the news over, and write `queue_veh` and `arriving`.

        Args:
            green: [B] whether each stream has green, or comes next during a change.
            elapsed_s: since the last reading.
        """
        layout, lane, lanes = self.layout, self.layout.stream_lane, len(self._between)
        shown = green & ~snapshot.changing[layout.stream_signal]
        some, every = np.bincount(lane, shown, lanes) > 0, np.bincount(lane, ~shown, lanes) == 0
        stop_ok, advance_ok = trusted = self._trusted(news, every, elapsed_s)
        flow_vps = self._flow_vps(news, trusted, elapsed_s)
        came = np.where(advance_ok, news.came, flow_vps * elapsed_s)
        left = np.where(stop_ok, news.left, np.where(some, DISCHARGE_VPS * elapsed_s, 0.0))
        between = np.maximum(self._between + came - left, 0.0)
        # where the stop bar is empty there is no queue, but for who is on the way to it
        between = np.where(stop_ok & news.empty, np.minimum(between, came), between)
        # who still leaves one after another is followed by more
        leaves = stop_ok & ~advance_ok & some & (news.left >= LEAVING * DISCHARGE_VPS * elapsed_s)
        between = np.where(leaves, np.maximum(between, LEAVING_VEH), between)
        reached = advance_ok & news.reached
        self._between = np.where(reached & ~some, self._room_veh, np.minimum(between, self._room_veh))
        over = ~advance_ok | (news.advance_gap_s >= OVER_AFTER_S)
        grown = np.clip(self._behind + flow_vps * elapsed_s - came, 0.0, self._most_behind_veh)
        self._behind = np.where(~over & (reached | (self._behind > 0)), grown, 0.0)
        queue = self._between + self._behind + (stop_ok & news.occupied)
        queue = np.where(stop_ok | advance_ok | some, queue, np.maximum(queue, 1.0))  # somebody may wait
        snapshot.queue_veh[:] = queue[lane] * snapshot.share
        snapshot.arriving[:] = (flow_vps[:, None] * self._open_s)[lane] * snapshot.share[:, None]

    def _flow_vps(self, news: LoopNews, trusted: BoolArray, elapsed_s: float) -> FloatArray:
        """[C] the mean flow: over the stop bar, where that is believed; what is not leaves its mean as it was."""
        fade = max(1.0 - elapsed_s / MEMORY_S, 0.0)  # no exponential, whose last bit differs between machines
        self._counted = np.where(trusted, self._counted * fade + np.stack((news.left, news.came)), self._counted)
        self._counted_s = np.where(trusted, self._counted_s * fade + elapsed_s, self._counted_s)
        flows_vps = self._counted / self._counted_s
        # a stop bar alone tells of no more than its green lets go
        alone_vps = np.where(trusted[1], flows_vps[0], flows_vps.max(axis=0))
        result: FloatArray = np.where(trusted[0], alone_vps, flows_vps[1])
        return result

    def _trusted(self, news: LoopNews, every: BoolArray, elapsed_s: float) -> BoolArray:
        """[2, C] whether stop bar and advance loops tell the truth.

        Args:
            every: [C] whether all of a lane has green.
        """
        stood = news.occupancy >= STANDS
        self._stuck_s = np.where(every & stood & (news.left < 1), self._stuck_s + elapsed_s, 0.0)
        # a doubted loop is believed again once it has told of a vehicle, or of the end of one
        stop, advance = self._doubted
        stop = (stop & (news.left < 1) & (news.empty | stood)) | (self._stuck_s >= STUCK_GREEN_S)
        advance = advance & (news.came <= 0)
        # no queue reaches back from an empty stop bar: one of both loops has failed, which counted nothing since
        strange, since = news.empty & news.reached, news.alone_veh[0] > 0
        self._doubted = np.stack((stop | (strange & ~since), advance | (strange & since)))
        alone = news.alone_veh[::-1] >= self._room_veh + ALONE_VEH
        result: BoolArray = news.trusted & ~self._doubted & ~alone
        return result

"""Loops in the road, as in the field: where they lie, what they tell at a decision, and how they fail.

A stop-bar loop lies where the first waiting vehicle stands, an advance loop some forty metres upstream. The same
plan and the same reading of it serve a simulation, whose loops SUMO simulates, and a controller in the field.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from plumbing.errors import InputError
from signals.intersection import Intersection
from signals.layout import Layout
from signals.measures import STANDS
from signals.network import RoadNetwork
from signals.queues import LoopNews, QueueEstimate
from signals.snapshot import Snapshot

STOP_BAR_M = 3.0  # [m] SUMO's vehicles halt about 1 m before the line: their bodies cover this point
ADVANCE_M = 40.0  # [m] about 3 s of travel at 50 km/h, as advance loops are placed for gap detection
GAP_LIMIT_S = 60.0
SHARE_PRIOR_VEH = 10.0  # [veh] the weight of the first guess of a lane's turning shares
SHARE_MEMORY_VEH = 100.0  # [veh] shares follow the last hundred vehicles that told what they are
LEAST_SHARE = 0.05
STUCK_AFTER_S = 600.0  # [s] a loop that is occupied for so long is taken to be stuck on
SILENT_AFTER_VEH = 20.0  # [veh] one loop of a lane counted so many, the other nothing at all: the other is dead
SILENT_AFTER_S = 900.0  # [s] a lane empty for so long is called: a false call costs less than a missed one
CHATTER_VEH_PER_S = 1.0  # [veh/s] twice what a lane discharges: no traffic, but a loose wire
LEAST_CHATTER_VEH = 3.0  # [veh] two may follow each other closely; a rate is told from more
DISTRUST_S = 60.0  # [s] for so long a loop is not believed that has chattered
FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class DetectorFaults:
    """How detectors fail. Each loop draws its own fate at the start of an episode, from the episode's seed."""

    dropout: float = 0.0
    """Probability that a loop is dead from some moment of the episode on: it reads empty."""
    stuck_on: float = 0.0
    """Probability that it is stuck from some moment on: it reads occupied, and counts nothing."""
    latency_s: float = 0.0
    """How old the readings are when they are used; at most one decision interval."""

    def __post_init__(self) -> None:
        if not (0 <= self.dropout <= 1 and 0 <= self.stuck_on <= 1 and self.dropout + self.stuck_on <= 1):
            raise InputError("detectors: dropout and stuck_on are probabilities whose sum is at most 1")
        if self.latency_s < 0:
            raise InputError(f"detectors: latency_s is {self.latency_s}; it must not be negative")


@dataclass(frozen=True)
class LoopPlan:
    """The loops of a run, and which belong to each controlled lane."""

    stop_bar: tuple[str, ...]
    """[C] loop ids."""
    advance: tuple[tuple[tuple[str, float], ...], ...]
    """[C] per controlled lane, loop ids with the share of their count that belongs to it."""
    places: dict[str, tuple[str, float]]
    """Per loop id, its lane and its distance from the lane's beginning [m]."""


def plan_loops(intersections: tuple[Intersection, ...], network: RoadNetwork) -> LoopPlan:
    """Place a stop-bar loop on every controlled lane, and advance loops on every way to it."""
    placed: dict[tuple[str, float], str] = {}

    def loop(lane_id: str, from_end_m: float) -> str:
        at = max(network.lanes[lane_id].length_m - from_end_m, 0.1)
        return placed.setdefault((lane_id, round(at, 2)), f"intergreen_{len(placed)}")

    stop_bar, advance = [], []
    for item in intersections:
        for watched in item.zones:
            stop_bar.append(loop(watched.lane_id, min(STOP_BAR_M, network.lanes[watched.lane_id].length_m / 2)))
            spots = [
                (lane, ADVANCE_M - behind)
                for lane, behind in watched.upstream
                if behind < ADVANCE_M <= behind + network.lanes[lane].length_m
            ] or [(watched.lane_id, network.lanes[watched.lane_id].length_m * 0.9)]
            shares = {lane: _leads(item, lane) for lane, _ in spots}
            advance.append(tuple((loop(lane, from_end), 1.0 / shares[lane]) for lane, from_end in spots))
    return LoopPlan(tuple(stop_bar), tuple(advance), {name: place for place, name in placed.items()})


def _leads(item: Intersection, lane: str) -> int:
    return sum(any(lane == other for other, _ in z.upstream) for z in item.zones) or 1


def _distances_m(plan: LoopPlan, layout: Layout) -> tuple[FloatArray, FloatArray]:
    """[C] from the stop line to the advance loops, and to the stop bars' [m]."""
    length_m = layout.lane_length_m[layout.controlled_lane]
    stop_m = length_m - np.array([plan.places[name][1] for name in plan.stop_bar])
    own = [
        [plan.places[name][1] for name, _ in group if plan.places[name][0] == lane]
        for lane, group in zip(layout.controlled, plan.advance, strict=True)
    ]
    advance_m = np.array([m - places[0] if places else ADVANCE_M for m, places in zip(length_m, own, strict=True)])
    return advance_m, stop_m


class LoopReader:
    """Turns cumulative loop readings into what a controller would know at a decision."""

    def __init__(self, plan: LoopPlan, layout: Layout, faults: DetectorFaults) -> None:
        self.plan, self.layout, self.faults = plan, layout, faults
        ids = dict.fromkeys(plan.stop_bar)
        ids.update((name, None) for group in plan.advance for name, _ in group)
        self.ids = tuple(ids)
        place = {name: n for n, name in enumerate(self.ids)}
        self._stop = np.array([place[name] for name in plan.stop_bar], np.int64)
        width = max((len(group) for group in plan.advance), default=1)
        self._advance = np.zeros((len(plan.advance), width), np.int64)
        self._share = np.zeros((len(plan.advance), width))
        for c, group in enumerate(plan.advance):
            for n, (name, share) in enumerate(group):
                self._advance[c, n], self._share[c, n] = place[name], share
        self.queues = QueueEstimate(layout, *_distances_m(plan, layout))

    def reset(self, begin_s: float, end_s: float, seed: int) -> None:
        """Forget everything, and draw which loops fail when."""
        random = np.random.default_rng([seed, 0xDE7EC7])
        fate, moment = random.random(len(self.ids)), random.uniform(begin_s, end_s, len(self.ids))
        self._dead_from = np.where(fate < self.faults.dropout, moment, np.inf)
        stuck = (fate >= self.faults.dropout) & (fate < self.faults.dropout + self.faults.stuck_on)
        self._stuck_from = np.where(stuck, moment, np.inf)
        lanes = len(self._stop)
        self._time_s = begin_s
        self._counts = np.zeros(len(self.ids))
        self._busy_s = np.zeros(len(self.ids))
        self._was_green = np.zeros(len(self.layout.streams), bool)
        self._since = np.zeros(len(self.layout.streams))
        self._known_veh = self.layout.stream_share * SHARE_PRIOR_VEH
        self._stood = np.zeros(lanes, bool)
        self._occupied_since = np.full(lanes, np.inf)
        self._alone_veh = np.zeros((2, lanes))
        self._chattered_at = np.full(lanes, -np.inf)
        self._counted_at = np.full(lanes, begin_s)
        self.queues.reset()

    def read(
        self, snapshot: Snapshot, green: npt.NDArray[np.bool_], now_s: float, counts: FloatArray,
        busy_s: FloatArray, gaps_s: FloatArray, blind: npt.NDArray[np.bool_] | None = None,
    ) -> None:  # fmt: skip
        """Fill the detectors' arrays of a snapshot.

        Args:
            green: [B] whether each stream has green.
            counts: [loops] vehicles counted since the start.
            busy_s: [loops] seconds occupied since the start.
            gaps_s: [loops] time since the last vehicle left; 0 while occupied, negative if none came yet.
            blind: [loops] those whose readings are not to be believed, for reasons that they do not tell.
        """
        dead, stuck = now_s >= self._dead_from, now_s >= self._stuck_from
        failed = dead | stuck
        elapsed = max(now_s - self._time_s, 1e-9)
        # SUMO takes a vehicle back that changes lanes on a loop; a real one has counted it
        counted = np.where(failed, 0.0, np.maximum(counts - self._counts, 0.0))
        share = np.where(dead, 0.0, np.where(stuck, 1.0, (busy_s - self._busy_s) / elapsed))
        gap = np.where(gaps_s < 0, GAP_LIMIT_S, np.minimum(gaps_s, GAP_LIMIT_S))
        gap = np.where(dead, GAP_LIMIT_S, np.where(stuck, 0.0, gap))
        self._counts, self._busy_s, self._time_s = counts.copy(), busy_s.copy(), now_s
        flow = (counted[self._advance] * self._share).sum(axis=1)
        stands = share[self._stop] >= STANDS
        snapshot.share[:] = self._shares(green, counted[self._stop], stands)
        arrived = flow[self.layout.stream_lane] * snapshot.share
        self._since = np.where(green != self._was_green, 0.0, self._since) + arrived
        self._was_green = green.copy()
        occupied = gap[self._stop] <= 0.0
        snapshot.occupied[:] = occupied
        snapshot.occupancy[:] = np.clip(share[self._stop], 0.0, 1.0)
        snapshot.gap_s[:] = gap[self._stop]
        snapshot.arrivals_veh[:] = self._since
        snapshot.flow_veh[:] = flow
        backed_up = np.where(self._share > 0, share[self._advance], 0.0).max(axis=1)
        snapshot.backed_up[:] = np.clip(backed_up, 0.0, 1.0)
        healthy = self._plausible(occupied, counted, flow, elapsed, now_s)
        snapshot.healthy[:] = healthy
        advance_gap_s = np.where(self._share > 0, gap[self._advance], GAP_LIMIT_S).min(axis=1)
        trusted = np.tile(now_s - self._chattered_at > DISTRUST_S, (2, 1))
        if blind is not None:
            trusted &= ~np.stack((blind[self._stop], (blind[self._advance] & (self._share > 0)).any(axis=1)))
        news = LoopNews(
            flow, counted[self._stop], occupied, snapshot.occupancy, gap[self._stop], advance_gap_s, backed_up,
            trusted, self._alone_veh,
        )  # fmt: skip
        self.queues.update(snapshot, green, news, elapsed)

    def _shares(self, green: npt.NDArray[np.bool_], passed: FloatArray, stands: npt.NDArray[np.bool_]) -> FloatArray:
        """[B] each stream's share of its lane, as seen while only some streams of the lane had green.

        Each vehicle that then comes to the stop bar tells what it is: it passes, and belongs to those that had
        green, or it stands, and belongs to the others. Among several it is divided as far as they are known.

        Args:
            green: [B] whether each stream has green.
            passed: [C] who has passed the stop bar in the last interval.
            stands: [C] whether somebody stood on it all the time.
        """
        of, lane, lanes = self.layout, self.layout.stream_lane, len(passed)
        if not of.shared:
            return of.stream_share
        had_green = self._was_green
        some, none = (np.bincount(lane, kind, lanes) > 0 for kind in (had_green, ~had_green))
        news = np.where(had_green, passed[lane], (stands & ~self._stood)[lane]) * (some & none)[lane]
        self._stood = np.where(np.bincount(lane, green != had_green, lanes) > 0, False, self._stood | stands)
        side = 2 * lane + had_green  # a lane's streams that had green, and the others
        self._known_veh += news * self._known_veh / np.bincount(side, self._known_veh, 2 * lanes)[side]
        # what was seen long ago fades, and nobody's share becomes nothing
        total = np.bincount(lane, self._known_veh, lanes)[lane]
        self._known_veh *= np.minimum(1.0, SHARE_MEMORY_VEH / total)
        shares = np.maximum(self._known_veh / np.minimum(total, SHARE_MEMORY_VEH), LEAST_SHARE)
        result: FloatArray = shares / np.bincount(lane, shares, lanes)[lane]
        return result

    def _plausible(
        self, occupied: npt.NDArray[np.bool_], passed: FloatArray, flow: FloatArray, elapsed_s: float, now_s: float
    ) -> npt.NDArray[np.bool_]:
        """[C] whether no loop of a lane is stuck on, dead or chattering.

        Args:
            occupied: [C] whether the stop bar is.
            passed: [loops] what each has counted in the last interval.
            flow: [C] the advance loops' part of that.
        """
        self._occupied_since = np.where(occupied, np.minimum(self._occupied_since, now_s), np.inf)
        both = np.stack((passed[self._stop], flow))
        # what each has counted since the other counted anything
        self._alone_veh = np.where(both[::-1] > 0, 0.0, self._alone_veh + both)
        self._counted_at = np.where(both.any(axis=0), now_s, self._counted_at)
        wild = passed > max(CHATTER_VEH_PER_S * elapsed_s, LEAST_CHATTER_VEH)
        chatters = wild[self._stop] | (wild[self._advance] & (self._share > 0)).any(axis=1)
        self._chattered_at = np.where(chatters, now_s, self._chattered_at)
        return (
            (now_s - self._occupied_since < STUCK_AFTER_S)
            & (self._alone_veh < SILENT_AFTER_VEH).all(axis=0)
            & (now_s - self._counted_at < SILENT_AFTER_S)
            & (now_s - self._chattered_at > DISTRUST_S)
        )

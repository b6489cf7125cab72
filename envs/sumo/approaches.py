"""Who is on the way to each stop line: vehicle by vehicle, when it arrives and for which of the lane's links."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from signals.layout import Layout
from signals.snapshot import ARRIVAL_BIN_S, ARRIVAL_BINS, HALTING_MPS, Snapshot

IntArray = npt.NDArray[np.int64]
NO_LINK = -1
MOST_LINKS = 1 << 20
ACCELERATION_MPS2 = 2.6  # of SUMO's default vehicle


@dataclass(frozen=True)
class ApproachTables:
    """Which lanes are read, and to which stop lines each leads: arrays, since compiled code reads them, too.

    [A] lanes of detection zones, [T] pairs of such a lane and a stop line that it leads to, [C] controlled lanes, [W]
    links of a signal.
    """

    lane: IntArray
    """[A] index among the lanes that are read."""
    first: IntArray
    """[A + 1] where each lane's pairs begin."""
    asks: npt.NDArray[np.bool_]
    """[A] whether it leads to a lane that several streams share, so that each vehicle's next link matters."""
    head: IntArray
    """[A] where it is such a lane itself, which ends at the stop line: which controlled lane; else -1."""
    target: IntArray
    """[T] the controlled lane."""
    weight: npt.NDArray[np.float64]
    """[T] its share of what the lane holds."""
    distance_m: npt.NDArray[np.float64]
    """[T] from the lane's end to the stop line."""
    stream: IntArray
    """[C] the first stream of each controlled lane."""
    streams: IntArray
    """[C] how many it has."""
    of_link: IntArray
    """[C, W] the stream to which a link belongs; -1 where it leads from another lane. Of shared lanes only."""

    @staticmethod
    def of(layout: Layout, *, ahead: bool) -> ApproachTables:
        """Those of a layout; without `ahead` only of the lanes that lead to one that streams share."""
        count = np.bincount(layout.stream_lane, minlength=len(layout.controlled))
        stream = np.searchsorted(layout.stream_lane, np.arange(len(layout.controlled)))
        shared = count > 1
        width = max((link + 1 for found in layout.streams for link in found.links), default=1)
        of_link = np.full((len(count), width), -1, np.int64)
        for b, found in enumerate(layout.streams):
            if shared[layout.stream_lane[b]]:
                of_link[layout.stream_lane[b], list(found.links)] = b
        target, slot = np.nonzero(layout.zone.weight > 0)
        lane = layout.zone.index[target, slot]
        if not ahead:
            some = np.isin(lane, lane[shared[target]])
            target, slot, lane = target[some], slot[some], lane[some]
        order = np.argsort(lane, kind="stable")
        target, slot, lane = target[order], slot[order], lane[order]
        lanes, first = np.unique(lane, return_index=True)
        asks = np.array([shared[target[lane == n]].any() for n in lanes], bool)
        of_lane = {int(layout.controlled_lane[c]): c for c in np.flatnonzero(shared).tolist()}
        head = np.array([of_lane.get(n, -1) for n in lanes.tolist()], np.int64)
        return ApproachTables(
            lanes.astype(np.int64), np.append(first, len(lane)).astype(np.int64), asks, head,
            target.astype(np.int64),
            layout.zone.weight[target, slot], layout.zone_m[target, slot], stream.astype(np.int64),
            count.astype(np.int64), of_link,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Target:
    """A stop line that a lane leads to."""

    lane: int
    """The controlled lane."""
    stream: int
    """Its only stream; -1 where it has several."""
    of_link: dict[int, int]
    """Then, by link's number, the stream."""
    weight: float
    distance_m: float


@dataclass(frozen=True, slots=True)
class _Lane:
    """A lane of a detection zone."""

    name: str
    length_m: float
    limit_mps: float
    asks: bool
    head: int
    targets: tuple[_Target, ...]


def _lanes(layout: Layout, tables: ApproachTables) -> list[_Lane]:
    """The tables as objects, which Python reads faster than elements of arrays."""
    of_link = []
    for signal, row in zip(layout.controlled_signal.tolist(), tables.of_link.tolist(), strict=True):
        of_link.append({signal * MOST_LINKS + link: b for link, b in enumerate(row) if b >= 0})
    only = np.where(tables.streams == 1, tables.stream, -1).tolist()
    targets = [
        _Target(c, only[c], of_link[c], weight, distance_m)
        for c, weight, distance_m in zip(
            tables.target.tolist(), tables.weight.tolist(), tables.distance_m.tolist(), strict=True
        )
    ]
    return [
        _Lane(
            layout.lanes[n],
            float(layout.lane_length_m[n]),
            max(float(layout.lane_speed_mps[n]), HALTING_MPS),
            bool(tables.asks[a]),
            int(tables.head[a]),
            tuple(targets[tables.first[a] : tables.first[a + 1]]),
        )
        for a, n in enumerate(tables.lane.tolist())
    ]


class ApproachReader:
    """Reads `Snapshot.arriving`, `Snapshot.share` and `Snapshot.lead`.

    A vehicle that moves reaches the stop line after the time that its way takes at the limit of its lane, and what it
    loses until it is as fast. On a lane that several streams share, it counts for the one whose link its route leads
    over. It is asked for its link when it comes and when it is the first on the lane, so that a change of its route
    in between is seen late.

    Args:
        layout: which element is what.
        ahead: whether `arriving` is read, too, for which every vehicle is asked.
    """

    def __init__(self, layout: Layout, *, ahead: bool = True) -> None:
        self._layout, self._ahead = layout, ahead
        tables = ApproachTables.of(layout, ahead=ahead)
        self._lane, self._lanes = tables.lane, _lanes(layout, tables)
        self._shared = [
            slice(int(first), int(first + count))
            for first, count in zip(tables.stream, tables.streams, strict=True)
            if count > 1
        ]
        self._known: dict[str, int] = {}
        self._signals = {tls_id: s for s, tls_id in enumerate(layout.tls_ids)}

    def reset(self) -> None:
        """Another episode begins."""
        self._known = {}

    def read(self, low: Any, snapshot: Snapshot) -> None:
        """Write these arrays.

        Args:
            low: libsumo's lowest layer, or what answers the same calls.
            snapshot: whose lanes have been read.
        """
        known, seen, arriving = self._known, {}, snapshot.arriving
        snapshot.lead[:] = 1.0
        if self._ahead:
            arriving[:] = 0.0
        heading = np.zeros(len(self._layout.streams))  # [B] vehicles whose link is known
        unsure = np.zeros((len(self._layout.controlled), ARRIVAL_BINS))  # of shared lanes: whose link is not
        for a in np.flatnonzero(snapshot.vehicles[self._lane] > 0).tolist():
            lane = self._lanes[a]
            vehicles, queue = low.lane_getLastStepVehicleIDs(lane.name), []
            for vehicle in vehicles:
                link = NO_LINK
                if lane.asks:
                    link = known.get(vehicle, NO_LINK)
                    first = lane.head >= 0 and vehicle == vehicles[-1]  # SUMO lists them from the lane's beginning on
                    if first or not any(link in target.of_link for target in lane.targets):
                        link = self._next_link(low, vehicle)
                    seen[vehicle] = link
                speed_mps = low.vehicle_getSpeed(vehicle) if self._ahead else 0.0
                moves = speed_mps >= HALTING_MPS
                left_m = lane.length_m - low.vehicle_getLanePosition(vehicle) if moves else 0.0
                slower = max(lane.limit_mps - speed_mps, 0.0)
                lag_s = slower * slower / (2.0 * ACCELERATION_MPS2 * lane.limit_mps)
                for target in lane.targets:
                    b = target.of_link.get(link, target.stream)
                    if b >= 0:
                        heading[b] += 1.0
                        if target.lane == lane.head:
                            queue.append(b)
                    if moves:
                        way_s = (left_m + target.distance_m) / lane.limit_mps + lag_s
                        bin = min(max(int(way_s / ARRIVAL_BIN_S), 0), ARRIVAL_BINS - 1)
                        if b >= 0:
                            arriving[b, bin] += target.weight
                        else:
                            unsure[target.lane, bin] += target.weight
            if queue:
                self._write_lead(queue, lane.head, snapshot.lead)
        self._known = seen
        for of in self._shared:
            total = heading[of].sum()
            snapshot.share[of] = heading[of] / total if total > 0 else self._layout.stream_share[of]
            arriving[of] += unsure[self._layout.stream_lane[of.start]] * snapshot.share[of, None]

    def _write_lead(self, queue: list[int], c: int, lead: npt.NDArray[np.float64]) -> None:
        """Write the lead of one shared lane's streams, whose vehicles stand in this order; the last is the first."""
        own = self._layout.stream_lane == c
        lead[own] = 0.0
        first = queue[-1]
        ahead = next((n for n, b in enumerate(reversed(queue)) if b != first), len(queue))
        lead[first] = ahead / queue.count(first)

    def _next_link(self, low: Any, vehicle: str) -> int:
        """The number of the link that a vehicle passes next, or `NO_LINK` where that is none of these signals'."""
        ahead = low.vehicle_getNextTLS(vehicle)
        signal = self._signals.get(ahead[0][0]) if ahead else None
        return NO_LINK if signal is None else signal * MOST_LINKS + ahead[0][1]

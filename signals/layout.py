"""Which element of a snapshot's arrays is what, and the sums that lead from lanes to movements and phases.

Sizes: [L] lanes that are read, [C] controlled lanes of all signals, [B] streams of these, [S] signals, [P] most
phases of a signal, [K] most movements of a signal. Slots that a signal does not have are masked by
`Layout.phase_exists` and `Layout.movement_exists`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from signals.intersection import Intersection, Movement
from signals.network import RoadNetwork
from signals.streams import Stream, streams
from signals.timing import Timing

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Gather:
    """A weighted sum over few elements each: `index` and `weight` [..., n], padded with weight 0."""

    index: IntArray
    weight: FloatArray

    def sum(self, values: FloatArray) -> FloatArray:
        """`values` [..., elements] to sums [..., *shape], where shape is `index.shape[:-1]`.

        Products first, then numpy's own sum: no matrix product, whose order of adding up differs between machines.
        `take` lays each group's elements side by side, so that they are added up in one order however many
        quantities there are.
        """
        result: FloatArray = (values.take(self.index, axis=-1) * self.weight).sum(axis=-1)
        return result

    @staticmethod
    def build(groups: Sequence[Iterable[tuple[int, float]]], shape: tuple[int, ...]) -> Gather:
        """One group of (element, weight) per result, row by row of `shape`."""
        listed = [list(group) for group in groups]
        width = max((len(group) for group in listed), default=0) or 1
        index = np.zeros((len(listed), width), np.int64)
        weight = np.zeros((len(listed), width))
        for row, group in enumerate(listed):
            for column, (element, share) in enumerate(group):
                index[row, column], weight[row, column] = element, share
        return Gather(index.reshape(*shape, width), weight.reshape(*shape, width))


@dataclass(frozen=True)
class Layout:
    """Positions of everything in the arrays of a run; the same for every snapshot of it."""

    tls_ids: tuple[str, ...]
    lanes: tuple[str, ...]
    lane_speed_mps: FloatArray
    """[L] speed limit."""
    lane_length_m: FloatArray
    """[L]"""
    controlled: tuple[str, ...]
    """[C] controlled lanes, signal by signal."""
    controlled_signal: IntArray
    """[C] the signal that each belongs to."""
    controlled_lane: IntArray
    """[C] index of each among the lanes that are read."""
    streams: tuple[Stream, ...]
    """[B] streams, controlled lane by controlled lane: one of most lanes."""
    stream_signal: IntArray
    """[B] the signal that each belongs to."""
    stream_lane: IntArray
    """[B] index of its lane among the controlled lanes."""
    stream_served: BoolArray
    """[B, P] whether a phase serves a stream."""
    stream_chosen: BoolArray
    """[B] whether some phases serve a stream and others do not."""
    stream_exits: Gather
    """[B] from lanes: each exit lane that a stream leads to, once."""
    stream_share: FloatArray
    """[B] its share of its lane's vehicles as long as nothing is known of them."""
    phase_exists: BoolArray
    """[S, P]"""
    movement_exists: BoolArray
    """[S, K]"""
    crossing: BoolArray
    """[S, K] whether a movement is a crossing."""
    crossing_edges: tuple[tuple[int, int, str, str], ...]
    """(signal, movement, walking area, crossing edge) of each pedestrian movement."""
    service: FloatArray
    """[S, P, K] how a phase serves a movement: 1 with priority, 0.5 yielding, 0 not."""
    change_s: FloatArray
    """[S, P, P] how long the change from one phase's green to another's takes; 0 from a phase to itself."""
    min_green_s: FloatArray
    """[S, P] 0 where there is no such phase."""
    max_green_s: FloatArray
    """[S, P] while another phase has vehicles to serve; 0 where there is no such phase."""
    decision_interval_s: float
    """Time between decisions."""
    zone: Gather
    """[C] from lanes: a controlled lane's share of what is seen on its way to the stop line."""
    zone_m: FloatArray
    """[C, n] the way to the stop line from the downstream end of each lane of `zone`."""
    signal_lanes: Gather
    """[S] from controlled lanes."""
    phase_streams: Gather
    """[S, P] from streams: each that a phase serves, once."""
    movement_streams: Gather
    """[S, K] from streams: a movement's share of each that it is part of."""
    phase_size: FloatArray
    """[S, P] how many controlled lanes a phase serves."""
    phase_exits: Gather
    """[S, P] from lanes: the mean over the exit lanes of what a phase serves."""
    movement_exits: Gather
    """[S, K] from lanes: the mean over a movement's exit lanes."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """(S, P, K)."""
        s, p, k = self.service.shape
        return s, p, k

    @property
    def movement_size(self) -> FloatArray:
        """[S, K] how many controlled lanes a movement has; of one that it shares, its share."""
        size: FloatArray = self.movement_streams.sum(self.stream_share)
        return size

    @property
    def shared(self) -> bool:
        """Whether a lane has several streams."""
        return len(self.streams) > len(self.controlled)


def build_layout(
    intersections: Sequence[Intersection], network: RoadNetwork, phases: int = 1, movements: int = 1
) -> Layout:
    """The layout for these signals, in their order.

    Args:
        phases, movements: slots that every signal gets at least, so that unlike networks fit into one batch.
    """
    size = len(intersections)
    p_max = max((len(i.phases) for i in intersections), default=1)
    k_max = max((len(i.movements) for i in intersections), default=1)
    p_max, k_max = max(p_max, phases), max(k_max, movements)
    lanes = {lane: n for n, lane in enumerate(_lanes_read(intersections))}
    controlled = [(s, lane) for s, i in enumerate(intersections) for lane in i.lanes]
    place = {pair: c for c, pair in enumerate(controlled)}
    streamed = [(s, stream) for s, i in enumerate(intersections) for stream in streams(i)]
    service, change_s = np.zeros((size, p_max, k_max)), np.zeros((size, p_max, p_max))
    min_green_s, max_green_s = np.zeros((size, p_max)), np.zeros((size, p_max))
    phase_exists, movement_exists = np.zeros((size, p_max), bool), np.zeros((size, k_max), bool)
    crossing, stream_served = np.zeros((size, k_max), bool), np.zeros((len(streamed), p_max), bool)
    for b, (_, stream) in enumerate(streamed):
        stream_served[b, : len(stream.served)] = stream.served
    crossing_edges: list[tuple[int, int, str, str]] = []
    zones: list[dict[int, float]] = [{} for _ in controlled]
    ways_m: list[dict[int, float]] = [{} for _ in controlled]
    phase_exits: list[dict[int, float]] = [{} for _ in range(size * p_max)]
    movement_streams: list[dict[int, float]] = [{} for _ in range(size * k_max)]
    users = [_movements_of(intersections[s], stream) for s, stream in streamed]
    for b, (s, _) in enumerate(streamed):
        for k in users[b]:
            movement_streams[s * k_max + k][b] = 1.0 / len(users[b])
    movement_exits: list[dict[int, float]] = [{} for _ in range(size * k_max)]
    for s, item in enumerate(intersections):
        shares = _zone_shares(item)
        distance_m = {watched.lane_id: dict(watched.upstream) for watched in item.zones}
        phase_exists[s, : len(item.phases)] = True
        movement_exists[s, : len(item.movements)] = True
        for lane in item.lanes:
            c = place[s, lane]
            zones[c] = {lanes[seen]: share for seen, share in shares[lane].items()}
            ways_m[c] = {lanes[seen]: distance_m[lane][seen] for seen in shares[lane]}
        for k, movement in enumerate(item.movements):
            service[s, : len(item.phases), k] = [item.serves(p.index, movement) for p in item.phases]
            if movement.pedestrian:
                crossing[s, k] = True
                areas = {movement.from_edge: None}  # people come from both ends, whichever has the connection
                for lane in movement.exit_lanes:
                    areas.update((c.to_edge, None) for c in network.outgoing.get(lane, ()))
                crossing_edges += [(s, k, area, movement.to_edge) for area in areas]
                continue
            movement_exits[s * k_max + k] = _mean([lanes[lane] for lane in movement.exit_lanes])
        for old, new in item.changes:
            change_s[s, old, new] = item.intergreen_s(old, new)
        for phase in item.phases:
            min_green_s[s, phase.index], max_green_s[s, phase.index] = phase.min_green_s, phase.max_green_s
            served = [m for k, m in enumerate(item.movements) if service[s, phase.index, k] and not crossing[s, k]]
            exits = dict.fromkeys(lanes[lane] for m in served for lane in m.exit_lanes)
            phase_exits[s * p_max + phase.index] = _mean(list(exits))
    timing = intersections[0].times.timing if intersections else Timing()
    own = np.array([s for s, _ in controlled], np.int64)
    stream_signal = np.array([s for s, _ in streamed], np.int64)
    stream_lane = np.array([place[s, stream.lane_id] for s, stream in streamed], np.int64)
    weights = np.array([float(max(len(group), 1)) for group in users])
    phase_groups = [
        np.flatnonzero((stream_signal == s) & stream_served[:, p]) for s in range(size) for p in range(p_max)
    ]
    return Layout(
        tls_ids=tuple(i.tls_id for i in intersections),
        lanes=tuple(lanes),
        lane_speed_mps=np.array([network.lanes[lane].speed_mps for lane in lanes]),
        lane_length_m=np.array([network.lanes[lane].length_m for lane in lanes]),
        controlled=tuple(lane for _, lane in controlled),
        controlled_signal=own,
        controlled_lane=np.array([lanes[lane] for _, lane in controlled], np.int64),
        streams=tuple(stream for _, stream in streamed),
        stream_signal=stream_signal,
        stream_lane=stream_lane,
        stream_served=stream_served,
        stream_chosen=np.logical_and(
            stream_served.any(axis=1), (phase_exists[stream_signal] & ~stream_served).any(axis=1)
        ),
        stream_exits=Gather.build(
            [[(lanes[lane], 1.0) for lane in _exits_of(intersections[s], stream)] for s, stream in streamed],
            (len(streamed),),
        ),
        stream_share=weights / np.bincount(stream_lane, weights, len(controlled))[stream_lane],
        phase_exists=phase_exists,
        movement_exists=movement_exists,
        crossing=crossing,
        crossing_edges=tuple(crossing_edges),
        service=service,
        change_s=change_s,
        min_green_s=min_green_s,
        max_green_s=max_green_s,
        decision_interval_s=timing.decision_interval_s,
        zone=Gather.build([z.items() for z in zones], (len(controlled),)),
        zone_m=Gather.build([way.items() for way in ways_m], (len(controlled),)).weight,
        signal_lanes=Gather.build(
            [[(c, 1.0) for c in np.flatnonzero(own == s).tolist()] for s in range(size)], (size,)
        ),
        phase_streams=Gather.build([[(b, 1.0) for b in group.tolist()] for group in phase_groups], (size, p_max)),
        movement_streams=Gather.build([g.items() for g in movement_streams], (size, k_max)),
        phase_size=np.reshape([float(len({*stream_lane[group]})) for group in phase_groups], (size, p_max)),
        phase_exits=Gather.build([g.items() for g in phase_exits], (size, p_max)),
        movement_exits=Gather.build([g.items() for g in movement_exits], (size, k_max)),
    )


def _lanes_read(intersections: Sequence[Intersection]) -> list[str]:
    """Every lane of an approach or an exit, once, in a stable order."""
    found: dict[str, None] = {}
    for item in intersections:
        for watched in item.zones:
            found.update((lane, None) for lane, _ in watched.upstream)
        for movement in item.movements:
            if not movement.pedestrian:
                found.update((lane, None) for lane in movement.exit_lanes)
    return list(found)


def _mean(elements: list[int]) -> dict[int, float]:
    return {element: 1.0 / len(elements) for element in elements}


def _zone_shares(item: Intersection) -> dict[str, dict[str, float]]:
    """Per controlled lane, its share of each lane watched: one that leads to three stop lines counts a third."""
    own = set(item.lanes)
    leads_to: dict[str, int] = {}
    for watched in item.zones:
        for lane, _ in watched.upstream:
            leads_to[lane] = leads_to.get(lane, 0) + 1
    return {
        watched.lane_id: {
            lane: 1.0 if lane in own else 1.0 / leads_to[lane]
            for lane, _ in watched.upstream
            if lane == watched.lane_id or lane not in own
        }
        for watched in item.zones
    }


def _movements_of(item: Intersection, stream: Stream) -> list[int]:
    """The movements whose vehicles are part of a stream."""
    links = set(stream.links)
    return [
        k
        for k, movement in enumerate(item.movements)
        if stream.lane_id in movement.lanes and _shares_link(item, stream.lane_id, movement, links)
    ]


def _exits_of(item: Intersection, stream: Stream) -> Iterable[str]:
    """The lanes that a stream's vehicles leave by."""
    return dict.fromkeys(
        c.to_lane for i in stream.links for c in item.table.links[i].connections if c.from_lane == stream.lane_id
    )


def _shares_link(item: Intersection, lane: str, movement: Movement, links: set[int]) -> bool:
    """Whether the movement leaves the lane through one of these links."""
    return any(
        c.from_lane == lane and c.to_edge == movement.to_edge
        for i in links & set(movement.links)
        for c in item.table.links[i].connections
    )

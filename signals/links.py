"""The links of one signal, and which of them conflict.

Within a junction SUMO's own right-of-way table says which links conflict; where one signal spans several
junctions, the paths' geometry does, and so it does where the table says it of one of two links only and one of them
is for trams or bicycles alone (netconvert enters them so where their lanes lie side by side).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from plumbing.errors import InputError
from signals.network import Connection, Junction, Point, RoadNetwork
from signals.vclasses import CYCLING_MPS, cycles_only, rail_length_m, rail_only

BoolMatrix = npt.NDArray[np.bool_]
Place = tuple[Junction | None, int]
"""A junction and a row of its right-of-way table."""
LEAST_SPEED_MPS = 0.1  # a closed lane's limit may be 0: it clears never, and must not break a quotient
STRAIGHT_RAD = math.radians(30.0)  # a path that bends by less goes straight on
CAR_WIDTH_M, TRAIN_WIDTH_M = 1.8, 3.0  # SUMO's default passenger car; its widest on rails, rail_urban
SAMPLE_M = 0.5  # [m] spacing of the points at which two paths are compared


@dataclass(frozen=True, slots=True)
class Link:
    """One character of the state: everything that it lets go."""

    index: int
    connections: tuple[Connection, ...]
    pedestrian: bool
    speed_mps: float
    """At which it is cleared: the approach's speed limit, and for bicycles alone at most 20 km/h. The least over its
    connections, since a slow vehicle clears last."""
    yellow_speed_mps: float
    """The approach's speed limit: the greatest over its connections, since a fast vehicle needs the longest
    yellow."""
    paths: tuple[tuple[Point, ...], ...]
    """Per connection, its way over the junction."""
    width_m: float
    length_m: float
    crossing_m: float
    """Length of the longest crossing among its connections; 0 where it has none."""
    straight: tuple[bool, ...] = ()
    """Per connection, whether it goes straight on or is a crossing. Two such that meet are never green together:
    only who turns or merges may look out for others under a green (MUTCD 2009 section 4D.05)."""
    exclusive: tuple[bool, ...] = ()
    """Per connection, whether it is for trams or trains alone, or for bicycles alone."""
    rail_length_m: float = 0.0
    """Length of the longest tram or train that clears it, over the connections for these alone; 0 without any."""

    @property
    def used(self) -> bool:
        """Whether anything is controlled by this character at all."""
        return bool(self.connections)


@dataclass(frozen=True, slots=True)
class LinkTable:
    """The links of one signal with their relations; matrices are [n, n], n the state's length."""

    links: tuple[Link, ...]
    conflicts: BoolMatrix
    """On the diagonal: whether connections that share the character conflict with each other."""
    yields: BoolMatrix
    """`yields[i, j]`: wherever i and j meet, i has to give way to j by the junction's right of way. On the
    diagonal: wherever two connections that share the character meet, one has to."""
    through_yields: BoolMatrix
    """`through_yields[i, j]`: somewhere i goes straight on, or walks, and has to give way to a turn of j. That is the
    right of way of the hours in which the signal is off; a through movement's own green is not shown under it."""


def apart(one: Connection, other: Connection) -> bool:
    """Whether two connections have neither approach nor exit in common."""
    return one.from_edge != other.from_edge and one.to_edge != other.to_edge


def internal_path(network: RoadNetwork, connection: Connection) -> list[str]:
    """The internal lanes that a connection runs over, in order (two where it waits inside the junction)."""
    lanes: list[str] = []
    via = connection.via
    while via is not None and via not in lanes:
        lanes.append(via)
        following = network.outgoing.get(via, ())
        via = following[0].via if following else None
    return lanes


def crossing_lane(network: RoadNetwork, connection: Connection) -> str | None:
    """The crossing that a connection leads onto, or off where walkers the other way have their own signal."""
    for edge, lane in ((connection.to_edge, connection.to_lane), (connection.from_edge, connection.from_lane)):
        if network.edges[edge].function == "crossing":
            return lane
    return None


def link_table(network: RoadNetwork, tls_id: str, size: int) -> LinkTable:
    """The links of `tls_id`, whose states have `size` characters.

    Raises:
        InputError: a connection has no link index, or one beyond the state's length.
    """
    by_index: dict[int, list[Connection]] = {}
    for connection in network.controlled.get(tls_id, ()):
        if connection.link_index is None:
            raise InputError(
                f"tls {tls_id!r}: a connection from lane {connection.from_lane!r} has no link index; "
                f"write the network anew with netconvert"
            )
        by_index.setdefault(connection.link_index, []).append(connection)
    if by_index and max(by_index) >= size:
        raise InputError(
            f"tls {tls_id!r}: a state has {size} signals, the network has a link with index {max(by_index)}; "
            f"rebuild the program for this net file"
        )
    links = tuple(_link(network, i, tuple(by_index.get(i, ()))) for i in range(size))
    return LinkTable(links, *_relations(network, links))


def _link(network: RoadNetwork, index: int, connections: tuple[Connection, ...]) -> Link:
    paths, lengths, widths, speeds, limits, straight, exclusive = [], [], [], [], [], [], []
    pedestrian, crossing_m, rail_m = bool(connections), 0.0, 0.0
    for connection in connections:
        crossing = crossing_lane(network, connection)
        if crossing is None:
            pedestrian, lanes = False, internal_path(network, connection)
        else:
            lanes, crossing_m = [crossing], max(crossing_m, network.lanes[crossing].length_m)
        points: list[Point] = []
        for lane_id in lanes:
            points.extend(network.lanes[lane_id].shape)
        if not points:  # without internal links a vehicle jumps from the stop line to the exit
            points = [
                network.lanes[connection.from_lane].shape[-1],
                network.lanes[connection.to_lane].shape[0],
            ]
        paths.append(tuple(points))
        lengths.append(sum(network.lanes[lane_id].length_m for lane_id in lanes))
        widths.append(max((network.lanes[lane_id].width_m for lane_id in lanes), default=3.2))
        classes = network.classes_over(connection)
        rail_m = max(rail_m, rail_length_m(classes))
        exclusive.append(rail_only(classes) or cycles_only(classes))
        limits.append(max(network.lanes[connection.from_lane].speed_mps, LEAST_SPEED_MPS))
        speeds.append(min(limits[-1], CYCLING_MPS) if cycles_only(classes) else limits[-1])
        straight.append(crossing is not None or _straight_on(network, connection))
    return Link(
        index,
        connections,
        pedestrian,
        speed_mps=min(speeds, default=0.0),
        yellow_speed_mps=max(limits, default=0.0),
        paths=tuple(paths),
        width_m=max(widths, default=0.0),
        length_m=max(lengths, default=0.0),
        crossing_m=crossing_m,
        straight=tuple(straight),
        exclusive=tuple(exclusive),
        rail_length_m=rail_m,
    )


def _straight_on(network: RoadNetwork, connection: Connection) -> bool:
    """Whether it is marked so and is: netconvert marks a lone branch at 40 degrees so, too."""
    approach, leave = network.lanes[connection.from_lane].shape[-2:], network.lanes[connection.to_lane].shape[:2]
    before, after = (math.atan2(s[-1][1] - s[0][1], s[-1][0] - s[0][0]) for s in (approach, leave))
    return connection.direction == "s" and abs(math.remainder(after - before, math.tau)) < STRAIGHT_RAD


def _relations(network: RoadNetwork, links: tuple[Link, ...]) -> tuple[BoolMatrix, BoolMatrix, BoolMatrix]:
    """`conflicts`, `yields` and `through_yields` of the table."""
    size = len(links)
    conflicts, yields, through = (np.zeros((size, size), bool) for _ in range(3))
    places = [[_request(network, connection) for connection in link.connections] for link in links]
    for i in range(size):
        for j in range(i + 1):
            met = []
            for a in range(len(places[i])):
                for b in range(a if i == j else len(places[j])):
                    found = _relation(links[i], places[i][a], a, links[j], places[j][b], b)
                    met += found
                    ahead, beside = links[i].straight[a], links[j].straight[b]
                    through[i, j] |= ahead and not beside and any(first for first, _ in found)
                    through[j, i] |= beside and not ahead and any(second for _, second in found)
            if met:
                conflicts[i, j] = conflicts[j, i] = True
                yields[i, j] = all(first for first, _ in met)
                yields[j, i] = all(second for _, second in met)
                if i == j:
                    yields[i, i] = all(first or second for first, second in met)
    return conflicts, yields, through


def _relation(one: Link, at: Place, a: int, other: Link, there: Place, b: int) -> list[tuple[bool, bool]]:
    """Whether each of two connections gives way to the other; empty where they do not conflict."""
    (junction, request), (second, second_request) = at, there
    first_way, second_way = one.connections[a], other.connections[b]
    if first_way.from_lane == second_way.from_lane:
        return []  # they follow each other
    merge = first_way.to_lane == second_way.to_lane and not (one.crossing_m or other.crossing_m)
    if junction is second and junction is not None and max(request, second_request) < len(junction.foes):
        if request < 0 or second_request < 0:
            return [(False, False)]  # a connection that the table does not hold is taken to conflict with all
        foes = _bit(junction.foes, request, second_request), _bit(junction.foes, second_request, request)
        if any(foes) and not all(foes) and (one.exclusive[a] or other.exclusive[b]):
            meet = merge or paths_meet(one, a, other, b)
            foes = meet, meet
        if any(foes):
            if apart(first_way, second_way) and one.straight[a] and other.straight[b]:
                return [(False, False)]  # the table's right of way is for the hours in which the signal is off
            first = _bit(junction.response, request, second_request)
            return [(first, _bit(junction.response, second_request, request))]
        return [(True, True)] if merge else []  # without priority, a merging vehicle yields
    if one.pedestrian and other.pedestrian:
        return []
    if first_way.to_lane == second_way.from_lane or second_way.to_lane == first_way.from_lane:
        return []  # one leads to the other's stop line, at the next junction of the same signal
    return [(False, False)] if merge or paths_meet(one, a, other, b) else []


def _request(network: RoadNetwork, connection: Connection) -> Place:
    """A connection's junction and its index in that junction's right-of-way table."""
    crossing, junction = crossing_lane(network, connection), network.junctions.get(network.junction_of(connection))
    lanes = internal_path(network, connection) if crossing is None else [crossing]
    if junction is None:
        return None, -1
    for lane in reversed(lanes):
        if lane in junction.internal_lanes:
            return junction, junction.internal_lanes.index(lane)
    request = 0
    for lane in junction.incoming_lanes:
        for candidate in network.outgoing.get(lane, ()):
            if candidate is connection:
                return junction, request
            request += 1
    return junction, -1


def _bit(rows: tuple[str, ...], i: int, j: int) -> bool:
    return j < len(rows[i]) and rows[i][len(rows[i]) - 1 - j] == "1"


@lru_cache(maxsize=1024)  # each path is compared with all of its signal's others
def _samples(path: tuple[Point, ...]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Points every half metre along a path [n, 2], and their distance from its start [n]; read-only."""
    corners = np.asarray(path, float)[:, :2]
    lengths = np.hypot(*np.diff(corners, axis=0).T)
    along = np.concatenate(([0.0], np.cumsum(lengths)))
    at = np.linspace(0.0, along[-1], max(2, int(along[-1] / SAMPLE_M) + 2))
    points = np.column_stack((np.interp(at, along, corners[:, 0]), np.interp(at, along, corners[:, 1])))
    for array in (points, at):
        array.setflags(write=False)
    return points, at


def paths_meet(one: Link, a: int, other: Link, b: int) -> bool:
    """Whether path a of one link and path b of another come closer than their vehicles are wide."""
    p, _ = _samples(one.paths[a])
    q, _ = _samples(other.paths[b])
    distance = np.hypot(p[:, None, 0] - q[None, :, 0], p[:, None, 1] - q[None, :, 1])
    return bool(distance.min() < (_vehicle_width_m(one) + _vehicle_width_m(other)) / 2)


def _vehicle_width_m(link: Link) -> float:
    return TRAIN_WIDTH_M if link.rail_length_m else CAR_WIDTH_M


def conflict_distance_m(ending: Link, starting: Link) -> float:
    """W of the red clearance: from the ending link's stop line to the far side of the conflict [m].

    The far side is the last point of the ending path that lies within half of both lanes' widths of the
    starting path; where geometry shows none (the junction's table says foes all the same), the whole path.
    """
    farthest = 0.0
    reach = (ending.width_m + starting.width_m) / 2
    for path in ending.paths:
        points, along = _samples(path)
        for other in starting.paths:
            against, _ = _samples(other)
            gaps = np.hypot(points[:, None, 0] - against[None, :, 0], points[:, None, 1] - against[None, :, 1])
            near = np.flatnonzero(gaps.min(axis=1) <= reach)
            if near.size:
                farthest = max(farthest, float(along[near[-1]]))
    return farthest if farthest > 0 else ending.length_m

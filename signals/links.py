"""The links of one signal, and which of them conflict.

Within a junction SUMO's own right-of-way table says who is whose foe; where one signal spans several
junctions, the paths' geometry does.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from signals.errors import InputError
from signals.network import Connection, Junction, Point, RoadNetwork

BoolMatrix = npt.NDArray[np.bool_]
SAMPLE_M = 0.5  # [m] spacing of the points at which two paths are compared


@dataclass(frozen=True, slots=True)
class Link:
    """One character of the state: everything that it lets go."""

    index: int
    connections: tuple[Connection, ...]
    pedestrian: bool
    speed_mps: float
    """The approach's speed limit: the least over its connections, since a slow vehicle clears last."""
    yellow_speed_mps: float
    """The greatest over its connections, since a fast vehicle needs the longest yellow."""
    paths: tuple[tuple[Point, ...], ...]
    """Per connection, its way over the junction."""
    width_m: float
    length_m: float

    @property
    def used(self) -> bool:
        """Whether anything is controlled by this character at all."""
        return bool(self.connections)


@dataclass(frozen=True, slots=True)
class LinkTable:
    """The links of one signal with their relations; matrices are [n, n], n the state's length."""

    links: tuple[Link, ...]
    conflicts: BoolMatrix
    yields: BoolMatrix
    """`yields[i, j]`: i has to give way to j by the junction's right of way."""


def internal_path(network: RoadNetwork, connection: Connection) -> list[str]:
    """The internal lanes that a connection runs over, in order (two where it waits inside the junction)."""
    lanes: list[str] = []
    via = connection.via
    while via is not None and via not in lanes:
        lanes.append(via)
        following = network.outgoing.get(via, ())
        via = following[0].via if following else None
    return lanes


def link_table(network: RoadNetwork, tls_id: str, size: int) -> LinkTable:
    """The links of `tls_id`, whose states have `size` characters.

    Raises:
        InputError: the network has a link index beyond the state's length.
    """
    by_index: dict[int, list[Connection]] = {}
    for connection in network.controlled.get(tls_id, ()):
        assert connection.link_index is not None
        by_index.setdefault(connection.link_index, []).append(connection)
    if by_index and max(by_index) >= size:
        raise InputError(
            f"tls {tls_id!r}: a state has {size} signals, the network has a link with index {max(by_index)}; "
            f"rebuild the program for this net file"
        )
    links = tuple(_link(network, i, tuple(by_index.get(i, ()))) for i in range(size))
    conflicts, yields = _relations(network, links)
    return LinkTable(links, conflicts, yields)


def _link(network: RoadNetwork, index: int, connections: tuple[Connection, ...]) -> Link:
    paths, lengths, widths, speeds = [], [], [], []
    pedestrian = bool(connections)
    for connection in connections:
        crossing = network.edges[connection.to_edge].function == "crossing"
        pedestrian = pedestrian and crossing
        lanes = [connection.to_lane] if crossing else internal_path(network, connection)
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
        speeds.append(network.lanes[connection.from_lane].speed_mps)
    return Link(
        index,
        connections,
        pedestrian,
        speed_mps=min(speeds, default=0.0),
        yellow_speed_mps=max(speeds, default=0.0),
        paths=tuple(paths),
        width_m=max(widths, default=0.0),
        length_m=max(lengths, default=0.0),
    )


def _relations(network: RoadNetwork, links: tuple[Link, ...]) -> tuple[BoolMatrix, BoolMatrix]:
    size = len(links)
    conflicts, yields = np.zeros((size, size), bool), np.zeros((size, size), bool)
    places = [[_request(network, connection) for connection in link.connections] for link in links]
    for i in range(size):
        for j in range(i):
            for a, (junction, request) in enumerate(places[i]):
                for b, (other, other_request) in enumerate(places[j]):
                    if junction is other and junction is not None:
                        foes = _bit(junction.foes, request, other_request)
                        foes = foes or _bit(junction.foes, other_request, request)
                        conflicts[i, j] |= foes
                        yields[i, j] |= foes and _bit(junction.response, request, other_request)
                        yields[j, i] |= foes and _bit(junction.response, other_request, request)
                    elif not (links[i].pedestrian and links[j].pedestrian):
                        conflicts[i, j] |= paths_meet(links[i], a, links[j], b)
            conflicts[j, i] = conflicts[i, j]
    return conflicts, yields


def _request(network: RoadNetwork, connection: Connection) -> tuple[Junction | None, int]:
    """A connection's junction and its index in that junction's right-of-way table."""
    if network.edges[connection.to_edge].function == "crossing":
        junction = network.junctions.get(network.edges[connection.to_edge].from_junction)
        if junction is None:  # older files name a crossing's junction only in its id, ":J_c0"
            junction = network.junctions.get(connection.to_edge[1:].rsplit("_c", 1)[0])
        lanes = [connection.to_lane]
    else:
        junction = network.junctions.get(network.edges[connection.from_edge].to_junction)
        lanes = internal_path(network, connection)
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
    if not (0 <= i < len(rows) and 0 <= j < len(rows[i])):
        return i < 0 or j < 0  # a link that the table does not hold is taken to conflict with all
    return rows[i][len(rows[i]) - 1 - j] == "1"


def _samples(path: tuple[Point, ...]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Points every half metre along a path [n, 2], and their distance from its start [n]."""
    corners = np.asarray(path, float)[:, :2]
    lengths = np.hypot(*np.diff(corners, axis=0).T)
    along = np.concatenate(([0.0], np.cumsum(lengths)))
    at = np.linspace(0.0, along[-1], max(2, int(along[-1] / SAMPLE_M) + 2))
    return np.column_stack((np.interp(at, along, corners[:, 0]), np.interp(at, along, corners[:, 1]))), at


def paths_meet(one: Link, a: int, other: Link, b: int) -> bool:
    """Whether path a of one link and path b of another come closer than a vehicle is wide."""
    p, _ = _samples(one.paths[a])
    q, _ = _samples(other.paths[b])
    distance = np.hypot(p[:, None, 0] - q[None, :, 0], p[:, None, 1] - q[None, :, 1])
    return bool(distance.min() < 1.8)  # [m] SUMO's default passenger car is 1.8 m wide


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

"""Detection zones: the lanes that lead to each stop line, upstream through unsignalised joints.

An approach may reach its signal through a lane of a metre (ingolstadt7 has such ones); looking at controlled
lanes alone then sees nothing. Detection therefore reaches back until it has covered enough road, or until
another signal holds the traffic back.
"""

from __future__ import annotations

from dataclasses import dataclass

from signals.links import Link, internal_path
from signals.network import RoadNetwork

DETECTION_M = 150.0  # [m] at 50 km/h, eleven seconds of driving: two decisions ahead


PASSING_M = 15.0  # [m] two queued cars: what is shorter inside a junction is passed in a second, not waited on


@dataclass(frozen=True, slots=True)
class Zone:
    """The detection zone of one controlled lane."""

    lane_id: str
    upstream: tuple[tuple[str, float], ...]
    """(lane, distance from its downstream end to the stop line [m]); the controlled lane first, at 0. Without the
    inside of junctions where that is shorter than `PASSING_M`: reading a lane costs, and there is little to see."""
    length_m: float
    """How far upstream it reaches; less than asked for only where the road or the network ends."""


def zone(network: RoadNetwork, lane_id: str, reach_m: float = DETECTION_M) -> Zone:
    """The lanes from which a vehicle can come to this stop line without passing another signal."""
    found: dict[str, float] = {lane_id: 0.0}
    frontier = [lane_id]
    reached = network.lanes[lane_id].length_m
    while frontier:
        lane = frontier.pop(0)
        begin = found[lane] + network.lanes[lane].length_m
        reached = max(reached, begin)
        if begin >= reach_m:
            continue
        for connection in network.incoming.get(lane, ()):
            if network.edges[connection.from_edge].function != "normal":
                continue  # the junction's inside comes with the connection that leads over it
            if not network.lanes[connection.from_lane].vehicles:
                continue
            behind = begin
            for inner in reversed(internal_path(network, connection)):
                length_m = network.lanes[inner].length_m
                if length_m >= PASSING_M:
                    found.setdefault(inner, behind)
                behind += length_m
            reached = max(reached, behind)
            if connection.tls_id is None and behind < reach_m and connection.from_lane not in found:
                found[connection.from_lane] = behind
                frontier.append(connection.from_lane)
    return Zone(lane_id, tuple(found.items()), reached)


def controlled_lanes(links: tuple[Link, ...]) -> tuple[str, ...]:
    """The lanes of a signal that vehicles stop on, in order of their first link."""
    lanes: dict[str, None] = {}
    for link in links:
        if not link.pedestrian:
            for connection in link.connections:
                lanes[connection.from_lane] = None
    return tuple(lanes)

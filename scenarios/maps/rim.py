"""Where a network begins and ends: the edges that vehicles come in by and leave by, and their weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from scenarios.maps.assumption import INSIDE, per_lane_veh_h
from scenarios.streets import Street
from signals.network import RoadNetwork

_TURNS_BACK = "t"
_INSIDE_MOST_VEH_H = 200.0  # nobody starts on a road of a higher class, in the middle of its traffic


@dataclass(frozen=True)
class Rim:
    """Edges by id, for one class of vehicles."""

    entries: tuple[str, ...]
    """Edges that no other leads to, but for turning back."""
    exits: tuple[str, ...]
    inside: tuple[str, ...]


def rim(network: RoadNetwork, vehicle_class: str) -> Rim:
    """The rim for one class of vehicles, in the network's order."""
    usable = {
        edge.id
        for edge in network.edges.values()
        if edge.function == "normal" and any(vehicle_class in network.lanes[lane].classes for lane in edge.lane_ids)
    }
    reached, left = set(), set()
    for connection in network.connections:
        one, other = connection.from_edge, connection.to_edge
        if connection.direction != _TURNS_BACK and one in usable and other in usable:
            reached.add(other)
            left.add(one)
    order = [edge for edge in network.edges if edge in usable]
    return Rim(
        tuple(edge for edge in order if edge not in reached and edge in left),
        tuple(edge for edge in order if edge not in left and edge in reached),
        tuple(edge for edge in order if edge in left and edge in reached),
    )


def weights(
    network: RoadNetwork, streets: Mapping[str, Street], found: Rim, vehicle_class: str = "passenger"
) -> tuple[dict[str, float], dict[str, float]]:
    """Vehicles per hour by edge, at the level `medium`: those that start there, and those that end there.

    At the rim they go by road class and lanes; within, `INSIDE` of their sum is spread over lesser roads by length.
    """

    def rate(edge: str) -> float:
        lanes = sum(vehicle_class in network.lanes[lane].classes for lane in network.edges[edge].lane_ids)
        return lanes * per_lane_veh_h(streets[edge].kind if edge in streets else "")

    def lesser(edge: str) -> float:
        kind = streets[edge].kind if edge in streets else ""
        return network.edge_length_m(edge) if per_lane_veh_h(kind) <= _INSIDE_MOST_VEH_H else 0.0

    lengths_m = {edge: lesser(edge) for edge in found.inside}
    if not any(lengths_m.values()):
        lengths_m = {edge: network.edge_length_m(edge) for edge in found.inside}
    both = []
    for edges in (found.entries, found.exits):
        at_rim = {edge: rate(edge) for edge in edges}
        total = sum(at_rim.values())
        # a network without a rim, such as a ring, has traffic from within alone
        within = INSIDE * total if total else INSIDE * sum(rate(edge) for edge in found.inside)
        length_m = sum(lengths_m.values()) or 1.0
        both.append({**at_rim, **{edge: within * of / length_m for edge, of in lengths_m.items()}})
    return both[0], both[1]

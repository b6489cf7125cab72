"""The approaches of a network's signals: the lanes on which vehicles queue for them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from signals.network import RoadNetwork

NEAR_M = 50.0
LEAST_APPROACH_M = 15.0  # [m] two cars: on less, any vehicle would reach the upstream junction


@dataclass(frozen=True)
class Approach:
    """The lanes from a stop line back to the next real junction: through places where one road just goes on, and
    through whatever lies within `NEAR_M` of the stop line, as modelled junctions are often cut in pieces."""

    tls_id: str
    edge: str
    """The edge at the stop line."""
    behind_m: Mapping[str, float]
    """Per lane, how far its downstream end is from the stop line [m]."""
    reaches_m: Mapping[str, float]
    """Per lane that begins at the upstream junction, its length [m]."""
    length_m: float


def approaches_of(network: RoadNetwork) -> list[Approach]:
    """Every approach of every signal that motor vehicles use."""
    found: list[Approach] = []
    feeding: dict[str, set[str]] = defaultdict(set)
    leading: dict[str, set[str]] = defaultdict(set)
    signalled: set[str] = set()  # edges that begin behind a signal
    for connection in network.connections:
        one, other = network.edges[connection.from_edge], network.edges[connection.to_edge]
        if one.function != "normal" or other.function != "normal" or not network.lanes[connection.from_lane].vehicles:
            continue
        if connection.direction == "t" or one.from_junction == other.to_junction:
            continue  # turning round is no way that matters
        feeding[other.id].add(one.id)
        leading[one.id].add(other.id)
        if connection.tls_id is not None:
            signalled.add(other.id)
    for tls_id, connections in sorted(network.controlled.items()):
        edges = dict.fromkeys(
            c.from_edge
            for c in connections
            if network.edges[c.from_edge].function == "normal" and network.lanes[c.from_lane].vehicles
        )
        for edge in edges:
            behind, ends, frontier = {edge: 0.0}, list[str](), [edge]
            while frontier:
                at = frontier.pop(0)
                begin_m = behind[at] + network.edge_length_m(at)
                before = [other for other in sorted(feeding[at]) if other not in behind]
                joint = len(feeding[at]) == 1 and all(leading[other] == {at} for other in before)
                if at in signalled or not before or not (joint or begin_m < NEAR_M):
                    ends.append(at)
                    continue
                behind |= dict.fromkeys(before, begin_m)
                frontier += before
            lanes = {lane: behind[e] for e in behind for lane in network.edges[e].lane_ids}
            reaches = {lane: network.lanes[lane].length_m for e in ends for lane in network.edges[e].lane_ids}
            length_m = max(behind[e] + network.edge_length_m(e) for e in ends)
            if length_m >= LEAST_APPROACH_M:
                found.append(Approach(tls_id, edge, lanes, reaches, length_m))
    return found

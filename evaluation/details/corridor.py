"""The road of the time-space diagram: straight on, with most signals in a line, then most traffic."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import pairwise

from scenarios.demand import departure_s, read_flow
from scenarios.scenario import Scenario
from scenarios.xmlfile import top_level
from signals.links import internal_path
from signals.network import Connection, RoadNetwork

LEAD_M = 200.0
"""Length of road shown before the first signal and behind the last."""


@dataclass(frozen=True)
class StopLine:
    """A stop line on the corridor."""

    tls_id: str
    at_m: float
    """From the corridor's start to the stop line."""
    links: tuple[int, ...]
    """Link indices of the way straight on."""
    from_edge: str


@dataclass(frozen=True)
class Corridor:
    """One direction of a road through one or more signals."""

    begin_m: dict[str, float]
    """Per edge, also inside junctions: distance of its beginning from the corridor's start."""
    length_m: float
    stops: tuple[StopLine, ...]

    def at_m(self, lane: str, position_m: float) -> float | None:
        """Distance of a vehicle along the corridor; None off it."""
        begin_m = self.begin_m.get(lane.rpartition("_")[0])
        return None if begin_m is None else begin_m + position_m


def planned_flows(scenario: Scenario) -> Counter[tuple[str, str]]:
    """Planned vehicles of the window by pair of consecutive edges of their routes.

    A trip's edges (from, via, to) count as consecutive.
    """
    flows: Counter[tuple[str, str]] = Counter()
    routes: dict[str, list[str]] = {}
    for path in (*scenario.additional_files, *scenario.route_files):
        for element in top_level(path, "route file"):
            if element.tag == "route":
                routes[element.get("id", "")] = element.get("edges", "").split()
            elif element.tag in ("vehicle", "trip", "flow"):
                inner = element.find("route")
                if inner is not None:
                    edges = inner.get("edges", "").split()
                else:
                    ends = [edge for name in ("from", "via", "to") for edge in element.get(name, "").split()]
                    edges = routes.get(element.get("route", ""), ends)
                if element.tag == "flow":
                    count = read_flow(element).expected(scenario.begin_s, scenario.end_s)
                else:
                    depart_s = departure_s(element)
                    count = float(depart_s is None or scenario.begin_s <= depart_s < scenario.end_s)
                for pair in pairwise(edges):
                    flows[pair] += round(count)
    return flows


def find_corridor(scenario: Scenario) -> Corridor | None:
    """The corridor of a scenario; None where no way leads through a signal."""
    network = scenario.network
    flows = planned_flows(scenario)
    onward = _onward(network)
    best: tuple[tuple[int, int], list[str]] | None = None
    for edge in sorted({c.from_edge for c in onward.values() if c.tls_id is not None}):
        path = [edge]
        while (following := onward.get(path[-1])) is not None and following.to_edge not in path:
            path.append(following.to_edge)
        signalled = [pair for pair in pairwise(path) if onward[pair[0]].tls_id is not None]
        score = len({onward[e].tls_id for e, _ in signalled}), sum(flows[pair] for pair in signalled)
        if best is None or score > best[0]:
            best = score, path
    return None if best is None else _laid_out(network, onward, best[1])


def _onward(network: RoadNetwork) -> dict[str, Connection]:
    """Per edge, the way straight on: the connection that most lanes have."""
    found: dict[str, Counter[str]] = {}
    first: dict[tuple[str, str], Connection] = {}
    for c in network.connections:
        one, other = network.edges[c.from_edge], network.edges[c.to_edge]
        if one.function != "normal" or other.function != "normal" or not network.lanes[c.from_lane].vehicles:
            continue
        first.setdefault((c.from_edge, c.to_edge), c)
        if c.direction == "s" and not network.lanes[c.from_lane].rail:
            found.setdefault(c.from_edge, Counter())[c.to_edge] += 1
    return {edge: first[edge, ways.most_common(1)[0][0]] for edge, ways in found.items()}


def _laid_out(network: RoadNetwork, onward: dict[str, Connection], path: list[str]) -> Corridor:
    """The path as a corridor, with `LEAD_M` of road before its first signal and behind its last."""
    before = {c.to_edge: edge for edge, c in onward.items()}
    lead_m = network.edge_length_m(path[0])
    while lead_m < LEAD_M and (earlier := before.get(path[0])) is not None and earlier not in path:
        if onward[earlier].tls_id is not None:
            break
        path = [earlier, *path]
        lead_m += network.edge_length_m(earlier)
    last = max(n for n, edge in enumerate(path[:-1]) if onward[edge].tls_id is not None)
    begin_m: dict[str, float] = {}
    stops: list[StopLine] = []
    at_m = behind_m = 0.0
    for n, edge in enumerate(path):
        if n > last + 1 and behind_m > LEAD_M:
            break
        begin_m[edge] = at_m
        at_m += network.edge_length_m(edge)
        behind_m = behind_m + network.edge_length_m(edge) if n > last else 0.0
        if n + 1 == len(path):
            break
        connections = [c for c in network.connections if (c.from_edge, c.to_edge) == (edge, path[n + 1])]
        if connections[0].tls_id is not None:
            links = tuple(sorted({c.link_index for c in connections if c.link_index is not None}))
            stops.append(StopLine(connections[0].tls_id, at_m, links, edge))
        inside_m = 0.0
        for c in connections:
            along_m = 0.0
            for lane in internal_path(network, c):
                begin_m.setdefault(network.lanes[lane].edge_id, at_m + along_m)
                along_m += network.lanes[lane].length_m
            inside_m = max(inside_m, along_m)
        at_m += inside_m
    return Corridor(begin_m, at_m, tuple(stops))

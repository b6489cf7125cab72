"""The road network as the signal layer sees it: plain, immutable records without any simulator.

Field names follow SUMO's network format, so that a reader finds each in the file
(https://sumo.dlr.de/docs/Networks/SUMO_Road_Networks.html). `scenarios.netfile` fills them.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from functools import cached_property

from signals.vclasses import rail_only

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Lane:
    id: str
    edge_id: str
    index: int
    length_m: float
    speed_mps: float
    width_m: float
    shape: tuple[Point, ...]
    classes: frozenset[str]
    """SUMO's classes of the vehicles that may use it; none for pavements and pedestrian areas."""

    @property
    def vehicles(self) -> bool:
        """Whether any motor vehicle, tram or bicycle may use it."""
        return bool(self.classes)

    @property
    def rail(self) -> bool:
        """Whether only rail-bound vehicles may use it."""
        return rail_only(self.classes)


@dataclass(frozen=True, slots=True)
class Edge:
    id: str
    function: str
    """"normal", "internal", "crossing", "walkingarea" or "connector"."""
    from_junction: str
    to_junction: str
    lane_ids: tuple[str, ...]
    crossed_edges: tuple[str, ...] = ()
    """For a crossing: the edges that it crosses."""


@dataclass(frozen=True, slots=True)
class Connection:
    from_lane: str
    to_lane: str
    from_edge: str
    to_edge: str
    via: str | None
    """The internal lane that it runs over first; None where the network has no internal links."""
    direction: str
    """"s" straight, "l" left, "r" right, "t" turn, "L"/"R" partial; crossings have "s"."""
    tls_id: str | None
    link_index: int | None


@dataclass(frozen=True, slots=True)
class Junction:
    id: str
    type: str
    incoming_lanes: tuple[str, ...]
    internal_lanes: tuple[str, ...]
    foes: tuple[str, ...]
    """Per request index, SUMO's foes bits; the rightmost character is index 0."""
    response: tuple[str, ...]
    """Per request index, SUMO's response bits: i yields to j where bit j of `response[i]` is 1."""
    shape: tuple[Point, ...] = ()
    """Its outline."""


@dataclass(frozen=True, slots=True)
class ProgramRow:
    duration_s: float
    state: str
    min_duration_s: float | None = None
    max_duration_s: float | None = None
    next: tuple[int, ...] = ()
    name: str = ""
    yellow_s: float = 0.0
    """Of a NEMA phase: its yellow, which has no row of its own."""
    red_s: float = 0.0
    """Of a NEMA phase: its red clearance."""


@dataclass(frozen=True, slots=True)
class Program:
    tls_id: str
    program_id: str
    type: str
    offset_s: float
    rows: tuple[ProgramRow, ...]
    params: tuple[tuple[str, str], ...] = ()

    def following(self, number: int) -> tuple[int, ...]:
        """The rows that may come after a row: those that its `next` names, or else the one behind it."""
        named = tuple(n for n in self.rows[number].next if 0 <= n < len(self.rows))
        return named or ((number + 1) % len(self.rows),)


@dataclass(frozen=True)
class RoadNetwork:
    lanes: dict[str, Lane]
    edges: dict[str, Edge]
    connections: tuple[Connection, ...]
    junctions: dict[str, Junction]
    programs: dict[str, tuple[Program, ...]]
    """Per tls, its programs in the order in which they are loaded; SUMO starts with the last one."""
    source: str = field(default="")

    @cached_property
    def outgoing(self) -> dict[str, tuple[Connection, ...]]:
        """Per lane id, the connections that leave it, in file order."""
        found: dict[str, list[Connection]] = defaultdict(list)
        for connection in self.connections:
            found[connection.from_lane].append(connection)
        return {lane: tuple(connections) for lane, connections in found.items()}

    @cached_property
    def incoming(self) -> dict[str, tuple[Connection, ...]]:
        """Per lane id, the connections that lead into it, in file order."""
        found: dict[str, list[Connection]] = defaultdict(list)
        for connection in self.connections:
            found[connection.to_lane].append(connection)
        return {lane: tuple(connections) for lane, connections in found.items()}

    @cached_property
    def controlled(self) -> dict[str, tuple[Connection, ...]]:
        """Per tls id, its connections in order of link index."""
        found: dict[str, list[Connection]] = defaultdict(list)
        for connection in self.connections:
            if connection.tls_id is not None:
                found[connection.tls_id].append(connection)
        return {
            tls: tuple(sorted(connections, key=lambda c: c.link_index or 0)) for tls, connections in found.items()
        }

    @cached_property
    def sharing(self) -> dict[str, tuple[str, ...]]:
        """Per tls id, the other ones that control connections of the same junction; without those that share none."""
        at: dict[str, set[str]] = defaultdict(set)
        for connection in self.connections:
            junction = self.junction_of(connection)
            if connection.tls_id is not None and junction:
                at[junction].add(connection.tls_id)
        found: dict[str, set[str]] = defaultdict(set)
        for together in at.values():
            for tls_id in together if len(together) > 1 else ():
                found[tls_id] |= together - {tls_id}
        return {tls_id: tuple(sorted(others)) for tls_id, others in found.items()}

    def classes_over(self, connection: Connection) -> frozenset[str]:
        """Who may take a connection: the vehicles that may use all of its lanes."""
        lanes = (connection.from_lane, connection.via, connection.to_lane)
        return frozenset.intersection(*(self.lanes[lane].classes for lane in lanes if lane is not None))

    def edge_length_m(self, edge_id: str) -> float:
        """Length of an edge, which is that of its longest lane [m]."""
        return max(self.lanes[lane].length_m for lane in self.edges[edge_id].lane_ids)

    def junction_of(self, connection: Connection) -> str:
        """The junction that a connection leads over; for a crossing's the one that it lies at."""
        for edge in (self.edges[connection.to_edge], self.edges[connection.from_edge]):
            if edge.function == "crossing":  # its id, ":J_c0", names its junction where the file does not
                return edge.from_junction or edge.id[1:].rsplit("_c", 1)[0]
        return self.edges[connection.from_edge].to_junction

    def with_programs(self, programs: tuple[Program, ...]) -> RoadNetwork:
        """The same network after further programs were loaded, as additional files do."""
        merged = dict(self.programs)
        for program in programs:
            kept = tuple(p for p in merged.get(program.tls_id, ()) if p.program_id != program.program_id)
            merged[program.tls_id] = (*kept, program)
        return RoadNetwork(self.lanes, self.edges, self.connections, self.junctions, merged, self.source)

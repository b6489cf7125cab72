"""Where detectors count in a network: a place for each, and the geometry that finds it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from plumbing.errors import InputError
from signals.network import Point, RoadNetwork

_BEARING_OVER_M = 30.0
"""What the direction of an approach is measured over: its last cars' lengths, however it bends further back."""
STOP_BAR_M = 1.0
"""Where a detector of unknown position counts: as near to the stop line as its loop can lie."""


@dataclass(frozen=True)
class Place:
    """What one detector counts."""

    detector: str
    edge: str
    lanes: tuple[str, ...] = ()
    """The lanes that it lies on; none for a count of movements."""
    to_edges: tuple[str, ...] = ()
    """Of a count of movements: where these lead."""
    position_m: float = STOP_BAR_M
    """Distance to the stop line."""
    how: str = "hand"
    """How it was found: "hand", "position", or "compass"."""
    doubts: tuple[str, ...] = ()
    """What speaks against it, in a few words each."""

    @property
    def words(self) -> str:
        """The place in words."""
        if self.to_edges:
            return f"{self.edge} to {' and '.join(self.to_edges)}"
        return ", ".join(self.lanes)


@dataclass(frozen=True)
class Roads:
    """A network as counts see it: edges for motor traffic, their lanes, and where these lead."""

    network: RoadNetwork

    @cached_property
    def edges(self) -> dict[str, tuple[str, ...]]:
        """Per edge that cars may use, its lanes for them, the rightmost first."""
        found = {}
        for edge in self.network.edges.values():
            lanes = [lane for lane in edge.lane_ids if "passenger" in self.network.lanes[lane].classes]
            if edge.function == "normal" and lanes:
                found[edge.id] = tuple(lanes if not self._left_hand(lanes) else reversed(lanes))
        return found

    def _left_hand(self, lanes: list[str]) -> bool:
        """Whether lane 0 is the leftmost: so it is where one drives on the left."""
        if len(lanes) < 2:
            return False
        first, second = (self.network.lanes[lane].shape for lane in lanes[:2])
        (x0, y0), (x1, y1) = first[-2], first[-1]
        x, y = second[-1]
        return (x1 - x0) * (y - y1) - (y1 - y0) * (x - x1) < 0

    @cached_property
    def turns(self) -> dict[str, dict[str, tuple[str, ...]]]:
        """Per edge and edge that it leads to, the lanes that cars may take, the rightmost first."""
        found: dict[str, dict[str, list[str]]] = {}
        for connection in self.network.connections:
            ends = (connection.from_edge, connection.to_edge)
            if not self.edges.keys() >= set(ends) or "passenger" not in self.network.classes_over(connection):
                continue
            lanes = found.setdefault(connection.from_edge, {}).setdefault(connection.to_edge, [])
            if connection.from_lane not in lanes:
                lanes.append(connection.from_lane)
        return {
            edge: {to: tuple(sorted(lanes, key=self.edges[edge].index)) for to, lanes in of.items()}
            for edge, of in found.items()
        }

    @cached_property
    def kinds(self) -> dict[tuple[str, str], str]:
        """Per pair of edges, what the movement is: "L", "T", "R" or "U"."""
        found = {}
        for connection in self.network.connections:
            direction = connection.direction
            kind = {"s": "T", "t": "U"}.get(direction, direction.upper())
            found[connection.from_edge, connection.to_edge] = kind
        return found

    @cached_property
    def approaches(self) -> dict[str, tuple[str, ...]]:
        """Per signal, the edges whose cars it stops."""
        found: dict[str, dict[str, None]] = {}
        for tls_id, connections in self.network.controlled.items():
            for connection in connections:
                if connection.from_edge in self.edges and connection.to_edge in self.edges:
                    found.setdefault(tls_id, {})[connection.from_edge] = None
        return {tls_id: tuple(edges) for tls_id, edges in found.items()}

    def bearing_deg(self, edge: str) -> float:
        """The direction in which one comes to an edge's end: 0 north, 90 east."""
        shape = self.network.lanes[self.edges[edge][0]].shape
        x1, y1 = shape[-1]
        x0, y0 = next(
            (p for p in reversed(shape) if math.dist(p, shape[-1]) >= _BEARING_OVER_M), shape[0]
        )  # fmt: skip
        return math.degrees(math.atan2(x1 - x0, y1 - y0)) % 360.0

    def distance_m(self, lane: str, point: Point) -> tuple[float, float]:
        """How far a point is from a lane's middle, and how far that place is from the lane's end."""
        shape = self.network.lanes[lane].shape
        best, rest = (math.inf, 0.0), 0.0
        for (x0, y0), (x1, y1) in zip(shape[-2::-1], shape[:0:-1], strict=True):
            length = math.hypot(x1 - x0, y1 - y0)
            if not length:
                continue
            share = ((point[0] - x0) * (x1 - x0) + (point[1] - y0) * (y1 - y0)) / length**2
            share = min(1.0, max(0.0, share))
            away = math.hypot(point[0] - x0 - share * (x1 - x0), point[1] - y0 - share * (y1 - y0))
            best = min(best, (away, rest + (1.0 - share) * length))
            rest += length
        return best


def angle_between_deg(one: float, other: float) -> float:
    """The smaller angle between two directions."""
    return abs((one - other + 180.0) % 360.0 - 180.0)


def check_distinct(places: Iterable[Place]) -> None:
    """Raises InputError where a detector has two places."""
    seen: set[str] = set()
    for place in places:
        if place.detector in seen:
            raise InputError(f"detector {place.detector!r} has two places; leave one")
        seen.add(place.detector)

"""Reads an extract of OpenStreetMap: the roads that vehicles use, their signals and crossings, and nothing else.

Formats: XML (.osm, .osm.xml), the same gzipped or bzipped, and .pbf by the package osmium. The content decides, not
the name. An extract is read twice, first its ways, then the nodes that they need, so that a large one fits into
memory.
The tags: https://wiki.openstreetmap.org/wiki/Map_features
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path

from plumbing.digest import file_sha256
from plumbing.errors import InputError
from scenarios.maps.elements import Element, Node, Relation, Way, elements
from scenarios.xmlfile import require_file

ROADS = (
    "motorway", "motorway_link", "trunk", "trunk_link", "primary", "primary_link", "secondary", "secondary_link",
    "tertiary", "tertiary_link", "unclassified", "residential", "living_street", "road", "busway", "bus_guideway",
    "cycleway",
)  # fmt: skip
"""Values of `highway` that are kept. Footways are not: pavements stand beside the roads, and each footway that
crosses one would make a junction of its own between the signal and its stop line. Service roads (yards, parking) are
not, either: SUMO's typemap lets only deliveries in."""
RAILS = ("tram", "light_rail")
"""Values of `railway` that are kept: those that share junctions with roads."""
MOST_NODES = 20_000_000


@dataclass(frozen=True)
class Extract:
    """What of a map becomes a network."""

    path: Path
    sha256: str
    ways: tuple[Way, ...]
    """In file order; each node is there, and each has two or more."""
    nodes: Mapping[int, Node]
    restrictions: tuple[Relation, ...]
    """Turn restrictions whose members are all there."""
    left_out: Mapping[str, int]
    """How many ways of each kind were left out, such as `highway=footway`."""
    cut: int
    """Ways that the extract's rim cuts: some of their nodes are missing."""
    countries: Mapping[str, int]
    """How many elements name which country, by its ISO code."""

    @cached_property
    def on_roads(self) -> frozenset[int]:
        """The nodes of roads; others lie on tracks alone."""
        return frozenset(number for way in self.ways if "highway" in way.tags for number in way.nodes)

    @property
    def signal_nodes(self) -> tuple[Node, ...]:
        """Nodes of roads that are tagged as traffic signals."""
        nodes = (node for node in self.nodes.values() if node.id in self.on_roads)
        return tuple(node for node in nodes if node.tags.get("highway") == "traffic_signals")

    @property
    def signalled_crossings(self) -> tuple[Node, ...]:
        """Nodes of roads where people cross at a signal, such as in the middle of a block."""
        return tuple(node for node in self.nodes.values() if node.id in self.on_roads and _is_signalled(node))

    @property
    def track_signals(self) -> tuple[Node, ...]:
        """Nodes of tracks alone with signals of either kind."""
        off = (node for node in self.nodes.values() if node.id not in self.on_roads)
        return tuple(n for n in off if n.tags.get("highway") == "traffic_signals" or _is_signalled(n))

    @property
    def centre(self) -> tuple[float, float]:
        """Latitude and longitude of the middle [degrees]."""
        lats, lons = [n.lat for n in self.nodes.values()], [n.lon for n in self.nodes.values()]
        return (min(lats) + max(lats)) / 2, (min(lons) + max(lons)) / 2


def read_extract(path: Path) -> Extract:
    """The roads of an extract.

    Raises:
        InputError: it is missing, damaged, no extract of OpenStreetMap, or holds no roads.
    """
    require_file(path, "map")
    wanted: list[Way] = []
    restrictions: list[Relation] = []
    left_out: Counter[str] = Counter()
    countries: Counter[str] = Counter()
    for element in elements(path):
        countries.update(_countries(element))
        if isinstance(element, Way):
            if _is_kept(element.tags):
                wanted.append(element)
            elif kind := _kind(element.tags):
                left_out[kind] += 1
        elif isinstance(element, Relation) and element.tags.get("type") == "restriction":
            restrictions.append(element)
    if not wanted:
        other = f"; it has {sum(left_out.values())} other ways, such as {next(iter(left_out))}" if left_out else ""
        raise InputError(
            f"map {path} has no roads that vehicles use{other}; give an extract of a town with its streets"
        )
    needed = {number for way in wanted for number in way.nodes}
    if len(needed) > MOST_NODES:
        raise InputError(
            f"map {path} has more than {MOST_NODES:,} points of roads; cut out the part with your signals"
        )
    nodes = {e.id: e for e in elements(path) if isinstance(e, Node) and e.id in needed}
    for node in nodes.values():
        if not (abs(node.lat) <= 90 and abs(node.lon) <= 180):
            raise InputError(
                f"map {path}: node {node.id} lies at {node.lat:g}, {node.lon:g}, which is nowhere on earth"
            )
    ways, cut = [], 0
    for way in wanted:
        run = _longest_run(way.nodes, nodes)
        cut += len(run) < len(way.nodes)
        if len(run) > 1:
            ways.append(Way(way.id, way.tags, run))
    if not ways:
        raise InputError(f"map {path} lacks the nodes of its roads; take the extract with all nodes of each way")
    used = {number for way in ways for number in way.nodes}
    there: dict[str, set[int]] = {"way": {way.id for way in ways}, "node": used}
    return Extract(
        path=path,
        sha256=file_sha256(path),
        ways=tuple(ways),
        nodes={number: nodes[number] for number in sorted(used)},
        restrictions=tuple(r for r in restrictions if all(m.ref in there.get(m.kind, ()) for m in r.members)),
        left_out=dict(left_out.most_common()),
        cut=cut,
        countries=dict(countries.most_common()),
    )


def length_m(way: Way, nodes: Mapping[int, Node]) -> float:
    """Length of a way, on a sphere."""
    total = 0.0
    for one, other in pairwise(way.nodes):
        a, b = nodes[one], nodes[other]
        dx = math.radians(b.lon - a.lon) * math.cos(math.radians((a.lat + b.lat) / 2))
        total += math.hypot(dx, math.radians(b.lat - a.lat)) * 6_371_000
    return total


def _is_signalled(node: Node) -> bool:
    return node.tags.get("crossing") == "traffic_signals" or node.tags.get("crossing:signals") == "yes"


def _is_kept(tags: Mapping[str, str]) -> bool:
    if tags.get("area") == "yes":
        return False
    return tags.get("highway") in ROADS or (tags.get("railway") in RAILS and "highway" not in tags)


def _kind(tags: Mapping[str, str]) -> str:
    return next((f"{key}={tags[key]}" for key in ("highway", "railway") if key in tags), "")


def _countries(element: Element) -> list[str]:
    keys = ("addr:country", "is_in:country_code", "ISO3166-1:alpha2")
    return [code for key in keys if len(code := element.tags.get(key, "").upper()) == 2]


def _longest_run(numbers: tuple[int, ...], nodes: Mapping[int, Node]) -> tuple[int, ...]:
    """The longest piece without a gap: a way drawn across missing nodes would be a road that is not there."""
    best: tuple[int, ...] = ()
    run: list[int] = []
    for number in (*numbers, None):
        if number is not None and number in nodes:
            run.append(number)
            continue
        best = tuple(run) if len(run) > len(best) else best
        run = []
    return best

"""Demand made up by `scenarios.maps.assumption`: trips by SUMO's randomTrips.py, routed and checked by duarouter.

https://sumo.dlr.de/docs/Tools/Trip.html
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree
from xml.sax.saxutils import quoteattr

from plumbing.errors import InputError, printable
from scenarios.maps.assumption import (
    BICYCLES_PER_VEHICLE,
    HOUR_S,
    TRAM_HEADWAY_S,
    WALKERS_PER_CROSSING_H,
    WARM_UP_S,
    Assumption,
)  # fmt: skip
from scenarios.maps.rim import Rim, rim, weights
from scenarios.streets import Street
from scenarios.sumo_tools import run_script
from scenarios.xmlfile import seconds, top_level
from signals.network import RoadNetwork

DEMAND_S = WARM_UP_S + HOUR_S
_CAR, _BICYCLE, _TRAM = "passenger", "bicycle", "tram"
_TYPES = (
    '    <vType id="car" vClass="passenger"/>\n    <vType id="bicycle" vClass="bicycle"/>\n'
    '    <vType id="tram" vClass="tram"/>\n'
)
_FAR_M, _FAR_SHARE = 300.0, 0.25
_WALK_M = 20.0, 400.0
_DETOURS = 1.3
"""Routers see travel times between the true ones and so many times as much, so that not all take the shortest way."""


@dataclass(frozen=True)
class Departure:
    """A vehicle or a person of the made-up demand."""

    depart_s: float
    id: str
    kind: str
    """"car", "bicycle", "tram" or "person"."""
    xml: str
    walks: tuple[str, ...] = ()
    """Of a person: the edges of the walk."""


def made_up(
    net: Path, network: RoadNetwork, streets: Mapping[str, Street], assumption: Assumption, scratch: Path
) -> list[Departure]:
    """The departures of the warm-up and an hour, in order of time; the same inputs give the same.

    Raises:
        InputError: no vehicle finds a way through the network.
    """
    found: list[Departure] = []
    cars = rim(network, _CAR)
    starts, ends = weights(network, streets, cars)
    of_classes = sum(starts.values())
    per_h = assumption.vehicles_per_h or assumption.factor * of_classes
    factor = per_h / of_classes if of_classes else assumption.factor
    draw = _Draw(net, scratch, assumption.seed)
    if starts and ends:
        far_m = str(round(min(_FAR_M, _FAR_SHARE * _diagonal_m(network))))
        found += draw.trips(_CAR, "car", per_h, starts, ends, ["--min-distance", far_m])
    if not found:
        raise InputError(
            f"network {net.name}: no car finds a way from one end of it to another, so no demand is made up; give "
            "an extract with the streets around the signals, or --routes of your own"
        )
    if _has_cycle_lanes(network):
        at = rim(network, _BICYCLE)
        starts, ends = _evenly(at), _evenly(at, arriving=True)
        found += draw.trips(
            _BICYCLE, "bicycle", BICYCLES_PER_VEHICLE * per_h, starts, ends, ["--min-distance", "100"]
        )
    crossings = _signalised_crossings(network)
    pavements = _pavements_at_signals(network)
    if crossings and pavements:
        near, far = map(str, _WALK_M)
        words = ["--persons", "--min-distance", near, "--max-distance", far]
        walkers = WALKERS_PER_CROSSING_H * crossings * factor
        on_foot = _foot_junctions(network)
        found += [
            d for d in draw.trips("", "person", walkers, pavements, pavements, words) if _walks(d, network, on_foot)
        ]
    found += _trams(network, assumption)
    return sorted(found, key=lambda departure: (departure.depart_s, departure.id))


def thinned(departures: Iterable[Departure], share: float, seed: int) -> list[Departure]:
    """Some of the departures, drawn one by one; a smaller share is part of a larger one. All trams stay."""
    return [d for d in departures if d.kind == "tram" or random.Random(f"{seed} {d.id}").random() < share]


def counts(departures: Iterable[Departure]) -> dict[str, int]:
    """How many of each kind."""
    return dict(Counter(d.kind for d in departures))


def write_routes(departures: Iterable[Departure], file: Path, note: str) -> None:
    """The route file. Its first lines say what it is: a note of plain words."""
    body = "".join(d.xml for d in departures)
    note = note.replace("--", "- -")
    file.write_text(
        f'<?xml version="1.0" encoding="UTF-8"?>\n<!-- {note} -->\n<routes>\n{_TYPES}{body}</routes>\n',
        encoding="utf-8",
    )


class _Draw:
    """randomTrips.py on one network."""

    def __init__(self, net: Path, scratch: Path, seed: int) -> None:
        self._net, self._scratch, self._seed = net, scratch, seed

    def trips(
        self, vehicle_class: str, kind: str, per_h: float, starts: Mapping[str, float], ends: Mapping[str, float],
        words: list[str],
    ) -> list[Departure]:  # fmt: skip
        """So many trips per hour, routed; those without a way are left out."""
        if per_h * DEMAND_S / HOUR_S < 1 or not any(starts.values()) or not any(ends.values()):
            return []
        for ending, of in (("src", starts), ("dst", ends)):
            lines = "".join(f'<edge id={quoteattr(edge)} value="{value:.4f}"/>\n' for edge, value in of.items())
            text = f'<edgedata><interval id="made-up" begin="0" end="{DEMAND_S:g}">\n{lines}</interval></edgedata>\n'
            (self._scratch / f"{kind}.{ending}.xml").write_text(text, encoding="utf-8")
        routes = self._scratch / f"{kind}.rou.xml"
        command = [
            "-n", str(self._net), "-o", str(self._scratch / f"{kind}.trips.xml"), "-r", str(routes),
            "--weights-prefix", str(self._scratch / kind), "--prefix", kind, "--seed", str(self._seed),
            "-b", "0", "-e", f"{DEMAND_S:g}", "--insertion-rate", f"{per_h:.3f}", "--random-depart", "--validate",
            "--threads", "1", *words,
        ]  # fmt: skip
        if vehicle_class:
            command += ["--vehicle-class", vehicle_class, "--random-routing-factor", f"{_DETOURS:g}"]
        said = run_script("randomTrips.py", command, self._scratch)
        if said.status != 0 or not routes.is_file():
            if "no trip found" in said.errors or "no valid edges" in said.errors:
                return []
            raise InputError(
                f"no {kind}s can be made up for {self._net.name}: {printable(said.reason)}; give --routes"
            )
        elements = (e for e in top_level(routes, "route file") if e.tag in ("vehicle", "person"))
        return [found for e in elements if (found := _departure(e, kind)) is not None]


def _departure(element: ElementTree.Element, kind: str) -> Departure | None:
    depart_s = seconds(element.get("depart"))
    number = element.get("id", "")
    head = f'id={quoteattr(number)} depart="{depart_s:.2f}"'
    if kind == "person":
        walk = element.find("walk")
        if walk is None or not walk.get("edges"):
            return None
        inner = f"<walk edges={quoteattr(walk.get('edges', ''))}/>"
        xml = f'    <person {head} departPos="random">{inner}</person>\n'
        return Departure(depart_s, number, kind, xml, tuple(walk.get("edges", "").split()))
    route = element.find("route")
    if route is None or not route.get("edges"):
        return None
    return _vehicle(number, kind, depart_s, route.get("edges", ""))


def _vehicle(number: str, kind: str, depart_s: float, edges: str) -> Departure:
    speed = "max" if kind != "tram" else "0"
    head = f'id={quoteattr(number)} type={quoteattr(kind)} depart="{depart_s:.2f}"'
    how = f'departLane="best" departSpeed="{speed}"'
    xml = f"    <vehicle {head} {how}><route edges={quoteattr(edges)}/></vehicle>\n"
    return Departure(depart_s, number, kind, xml)


def _trams(network: RoadNetwork, assumption: Assumption) -> list[Departure]:
    """A tram every few minutes from each place where a track enters, to the farthest place where one leaves."""
    at = rim(network, _TRAM)
    exits = set(at.exits)
    following: dict[str, list[str]] = {}
    for c in network.connections:
        if c.direction != "t" and _TRAM in network.lanes[c.from_lane].classes & network.lanes[c.to_lane].classes:
            following.setdefault(c.from_edge, []).append(c.to_edge)
    headway_s = TRAM_HEADWAY_S / assumption.factor
    found = []
    for line, entry in enumerate(at.entries):
        path = _farthest(following, entry, exits)
        first_s = random.Random(f"tram {assumption.seed} {line}").uniform(0, headway_s)
        for run in range(math.ceil((DEMAND_S - first_s) / headway_s) if path else 0):
            depart_s = round(first_s + run * headway_s, 2)
            found.append(_vehicle(f"tram{line}.{run}", "tram", depart_s, " ".join(path)))
    return found


def _farthest(following: Mapping[str, list[str]], entry: str, exits: set[str]) -> list[str]:
    """The edges from an entry to the exit that most edges lie before; [] where it leads to none."""
    before: dict[str, str | None] = {entry: None}
    queue = [entry]
    for edge in queue:
        for other in following.get(edge, ()):
            if other not in before:
                before[other] = edge
                queue.append(other)
    step = next((edge for edge in reversed(queue) if edge in exits and edge != entry), None)
    path: list[str] = []
    while step is not None:
        path.append(step)
        step = before[step]
    return path[::-1]


def _evenly(at: Rim, *, arriving: bool = False) -> dict[str, float]:
    """The same weight for each edge of the rim; where it has none, for each edge within."""
    return dict.fromkeys((at.exits if arriving else at.entries) or at.inside, 1.0)


def _has_cycle_lanes(network: RoadNetwork) -> bool:
    """Whether a lane is for bicycles, and not for cars."""
    return any(_BICYCLE in lane.classes and _CAR not in lane.classes for lane in network.lanes.values())


def _foot_junctions(network: RoadNetwork) -> dict[str, set[str]]:
    """Per edge, the places that walkers come to from it without a further edge: walking areas that crossings join,
    named by one of them. A junction may have several."""
    on_foot = {edge.id for edge in network.edges.values() if edge.function in ("walkingarea", "crossing")}
    beside: dict[str, set[str]] = {}
    for c in network.connections:
        if c.from_edge in on_foot or c.to_edge in on_foot:
            beside.setdefault(c.from_edge, set()).add(c.to_edge)
            beside.setdefault(c.to_edge, set()).add(c.from_edge)
    place: dict[str, str] = {}
    for first in sorted(on_foot):
        queue = [] if first in place else [first]
        while queue:
            edge = queue.pop()
            if edge not in place:
                place[edge] = first
                queue += beside.get(edge, set()) & on_foot
    return {edge: {place[of] for of in others & on_foot} for edge, others in beside.items() if edge not in on_foot}


def _walks(departure: Departure, network: RoadNetwork, at: Mapping[str, set[str]]) -> bool:
    """Whether SUMO can simulate a walk, wherever on its first edge it begins.

    Its router turns round where two edges meet at the other end; its simulation does not, and ends with an error.
    """
    for one, other in pairwise(departure.walks):
        ends = [{network.edges[edge].from_junction, network.edges[edge].to_junction} for edge in (one, other)]
        if len(at.get(one, set()) & at.get(other, set())) < max(1, len(ends[0] & ends[1])):
            return False
    return True


def _signalised_crossings(network: RoadNetwork) -> int:
    links = (c for connections in network.controlled.values() for c in connections)
    return len({c.to_edge for c in links if network.edges[c.to_edge].function == "crossing"})


def _pavements_at_signals(network: RoadNetwork) -> dict[str, float]:
    """Edges with a pavement that begin or end at a signal, all with the same weight."""
    at = {network.junction_of(c) for connections in network.controlled.values() for c in connections}
    return {
        edge.id: 1.0
        for edge in network.edges.values()
        if edge.function == "normal"
        and {edge.from_junction, edge.to_junction} & at
        and any(not network.lanes[lane].classes for lane in edge.lane_ids)
    }


def _diagonal_m(network: RoadNetwork) -> float:
    points = [point for lane in network.lanes.values() for point in lane.shape]
    xs, ys = [x for x, _ in points], [y for _, y in points]
    return math.hypot(max(xs) - min(xs), max(ys) - min(ys))

"""Routes to choose from: SUMO's duarouter finds them, between the network's ends and over counted places."""

from __future__ import annotations

import itertools
import math
import random
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import quoteattr

from demand.calibration.places import Roads
from demand.calibration.tools import binary
from plumbing.errors import InputError
from scenarios.scenario import Scenario
from scenarios.sumo_tools import listed
from scenarios.xmlfile import top_level

MOST_PAIRS = 4000
"""Of origins and destinations; of more, as many are drawn."""
_TRIES = 3
"""Beside the shortest route between two places, so many are looked for with travel times changed at random."""
_INNER = 3
"""Routes that begin, and that end, at each counted place."""
_LEAST = 1e-6
"""How often a route is taken at least: routeSampler takes no 0."""
_VIA = 16
"""Origins and destinations that are tried for a counted place that no other candidate passes."""
_TURNS = {"L": 0.25, "R": 0.25, "U": 0.005}
"""How likely a turn is, as a share of driving on: of the order that is seen at crossroads without counts of turns."""
_SELDOM = 0.01
"""How often a route is taken that the scenario's own demand does not take."""


@dataclass(frozen=True)
class Candidates:
    """Routes to choose from, in files of SUMO's, and what they pass."""

    file: Path
    """Those between the network's ends, and the scenario's own."""
    every_file: Path
    """With those that begin or end at a counted place: the last resort, where the ends do not bring as many."""
    edges: frozenset[str]
    turns: frozenset[tuple[str, str]]


def find_candidates(
    scenario: Scenario,
    roads: Roads,
    counted_edges: Collection[str],
    counted_turns: Collection[tuple[str, str]],
    folder: Path,
    seed: int,
) -> Candidates:
    """Routes between all places at which the network begins and ends, over each counted place, and those of the
    scenario's own demand.

    Args:
        folder: for files, of which one is the result's.

    Raises:
        InputError: the network has no routes for cars.
    """
    draw = random.Random(f"candidates {seed}")
    sources, sinks = _ends(roads)
    pairs = [(one, other) for one in sources for other in sinks if one != other]
    if len(pairs) > MOST_PAIRS:
        pairs = draw.sample(pairs, MOST_PAIRS)
    trips = [(one, other, "") for one, other in pairs]
    net = scenario.sumo_files.net_file
    files = [
        _routed(net, trips, folder / "shortest", seed),
        _routed(net, trips * _TRIES, folder / "others", seed, 2.0),
    ]
    found = list(dict.fromkeys(route for file in files for route in _routes(file)))
    own: Counter[tuple[str, ...]] = Counter()
    if scenario.route_files:
        own.update(_routes(_own(scenario, folder / "own.rou.xml")))
        found = list(dict.fromkeys((*own, *found)))
    edges, turns = _passed(found)
    over = [(f"{one} {other}", (one, other) in turns) for one, other in counted_turns]
    over += [(edge, edge in edges) for edge in counted_edges]
    more = [
        (draw.choice(sources), draw.choice(sinks), via) for via, passed in over for _ in range(_VIA * (not passed))
    ]
    if more:
        found = list(dict.fromkeys((*found, *_routes(_routed(net, more, folder / "via", seed)))))
    inner = [trip for via, _ in over for trip in _inner(via, sources, sinks, draw)]
    every = list(dict.fromkeys((*found, *_routes(_routed(net, inner, folder / "inner", seed)))))
    if not every:
        raise InputError(f"network {scenario.net_file} has no route for cars; check its lanes and connections")
    files = [folder / "between-ends.rou.xml", folder / "every.rou.xml"]
    for file, routes in zip(files, (found, every), strict=True):
        body = "".join(
            f'    <route id="r{n}" probability="{_weight(roads, route, own):.9f}" '
            f"edges={quoteattr(' '.join(route))}/>\n"
            for n, route in enumerate(routes)
        )
        file.write_text(f"<routes>\n{body}</routes>\n", encoding="utf-8")
    edges, turns = _passed(every)
    return Candidates(files[0] if found else files[1], files[1], frozenset(edges), frozenset(turns))


def _inner(
    via: str, sources: Sequence[str], sinks: Sequence[str], draw: random.Random
) -> Iterator[tuple[str, str, str]]:
    """Trips over a counted place that begin there, end there, or, of a turn, both."""
    first, last = via.split()[0], via.split()[-1]
    if first != last:
        yield first, last, ""
    for _ in range(_INNER):
        yield first, draw.choice(sinks), "" if first == last else last
        yield draw.choice(sources), last, "" if first == last else first


def _weight(roads: Roads, route: tuple[str, ...], own: Counter[tuple[str, ...]]) -> float:
    """How often a route is taken where the counts leave that open."""
    return own[route] + _SELDOM if own else _likely(roads, route)


def _likely(roads: Roads, route: Sequence[str]) -> float:
    """How likely a route is where neither counts nor demand say so: turns are rarer than driving on."""
    weights = (_TURNS.get(roads.kinds.get(pair, "T"), 1.0) for pair in itertools.pairwise(route))
    return max(math.prod(weights), _LEAST)


def _ends(roads: Roads) -> tuple[list[str], list[str]]:
    """Where traffic comes from, and where it goes: edges that one only comes to, or leaves, by turning back."""
    onward = [(one, to) for one, of in roads.turns.items() for to in of if roads.kinds[one, to] != "U"]
    leaving, entered = {one for one, _ in onward}, {to for _, to in onward}
    sources = [edge for edge in roads.edges if edge not in entered and edge in roads.turns]
    sinks = [edge for edge in roads.edges if edge not in leaving]
    return sources or list(roads.edges), sinks or list(roads.edges)


def _passed(routes: Sequence[tuple[str, ...]]) -> tuple[set[str], set[tuple[str, str]]]:
    edges = {edge for route in routes for edge in route}
    turns = {pair for route in routes for pair in itertools.pairwise(route)}
    return edges, turns


def _routed(net: Path, trips: Sequence[tuple[str, str, str]], stem: Path, seed: int, changed: float = 1.0) -> Path:
    """The trips' routes; those that have none are left out.

    Args:
        changed: each edge's travel time is multiplied with up to this.
    """
    lines = [
        f'    <trip id="{n}" depart="0" from={quoteattr(one)} to={quoteattr(other)}'
        + (f" via={quoteattr(via)}" if via else "")
        + "/>\n"
        for n, (one, other, via) in enumerate(trips)
    ]
    given, out = stem.with_suffix(".trips.xml"), stem.with_suffix(".rou.xml")
    given.write_text(f"<routes>\n{''.join(lines)}</routes>\n", encoding="utf-8")
    words = ["-n", str(net), "-r", str(given), "-o", str(out), "--seed", str(seed), "--ignore-errors", "true"]
    words += ["--no-warnings", "true", "--no-step-log", "true", "--weights.random-factor", f"{changed:g}"]
    binary("duarouter", words, out.parent)
    return out


def _own(scenario: Scenario, out: Path) -> Path:
    words = ["-n", str(scenario.sumo_files.net_file), "-r", listed(scenario.sumo_files.route_files), "-o", str(out)]
    additional = scenario.without_waut(())
    words += ["-a", listed(additional)] if additional else []
    binary(
        "duarouter", [*words, "--ignore-errors", "true", "--no-warnings", "true", "--no-step-log", "true"], out.parent
    )
    return out


def _routes(file: Path) -> Iterator[tuple[str, ...]]:
    for vehicle in top_level(file, "the output of duarouter"):
        if vehicle.tag == "vehicle":
            for route in vehicle.iter("route"):
                yield tuple(route.get("edges", "").split())

"""Days on which people come from and go to other places than on the recorded one, so that shares of turns differ.

Each edge at which trips begin has a factor, and so has each at which they end: drawn from the seed, evenly from
1 - spread to 1 + spread. The traffic between two is the recorded one times both factors: single trips are left out,
or sent a second time within some minutes. In the mean over days it is the recorded traffic. Public transport and
persons keep to their timetable.
"""

from __future__ import annotations

import contextlib
import dataclasses
import random
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path

from plumbing.held import scratch
from scenarios.additional import holds_demand, is_demand
from scenarios.heldout import kept_times, rewritten
from scenarios.scenario import Scenario
from scenarios.sumo_input import admitted
from scenarios.xmlfile import Element, top_level

Ends = tuple[str, str]


def demand_in_routes(scenario: Scenario) -> Scenario:
    """The same scenario with all of its demand in route files."""
    both = [path for path in scenario.additional_files if holds_demand(path)]
    if not both:
        return scenario
    demand = [admitted(path, "additional file", lambda tag, of: not is_demand(tag, of)) for path in both]
    rest = [
        admitted(path, "additional file", is_demand) if path in both else path for path in scenario.additional_files
    ]
    return dataclasses.replace(scenario, route_files=(*demand, *scenario.route_files), additional_files=tuple(rest))


@contextlib.contextmanager
def turned(args: Sequence[str], begin_s: float, end_s: float, seed: int, spread: float) -> Iterator[list[str]]:
    """SUMO's options for a day of this seed: with another route file, which is there until SUMO has started.

    Args:
        args: SUMO's options, made of `demand_in_routes`.
        spread: 0 to 0.4: two factors of 1.4 make less than 2, so no trip has to be sent three times.
    """
    words = list(args)
    if "-r" not in words:
        yield words
        return
    place = words.index("-r") + 1
    routes, other = (
        [Path(file) for file in words[words.index(option) + 1].split(",")] if option in words else []
        for option in ("-r", "-a")
    )
    with scratch("turns") as folder:
        file = folder / "turned.rou.xml"
        file.write_bytes(turned_routes(routes, other, begin_s, end_s, seed, spread))
        words[place] = str(file)
        yield [*words, "--route-steps", "0"]  # it is read at once


def turned_routes(
    routes: Sequence[Path], other: Sequence[Path], begin_s: float, end_s: float, seed: int, spread: float
) -> bytes:
    """The route file of a day; arguments as of `turned`."""

    @cache
    def factor(end: str, edge: str) -> float:
        return random.Random(f"intergreen turning {seed} {end} {edge}").uniform(1.0 - spread, 1.0 + spread)

    known = _ends_of_routes((*other, *routes))

    def factor_of(entry: Element) -> float:
        first, last = ends(entry, known)
        return factor("from", first) * factor("to", last)

    times = kept_times(random.Random(f"intergreen turning {seed}"))
    return rewritten(routes, other, begin_s, end_s, factor_of, times)


def ends(entry: Element, known: Mapping[str, Ends]) -> Ends:
    """Where a vehicle, trip or flow begins and ends.

    Args:
        known: of the routes that it may name.
    """
    inside = next((part for part in entry if part.tag == "route"), None)
    if inside is not None:
        return _of_edges(inside)
    if route := entry.get("route"):
        return known.get(route, (route, route))
    first, last = (
        next((value for name, value in entry.attrib.items() if name.startswith(end)), "") for end in ("from", "to")
    )
    return first, last


def _ends_of_routes(files: Sequence[Path]) -> dict[str, Ends]:
    return {
        element.get("id", ""): _of_edges(element)
        for path in files
        for element in top_level(path, "route file")
        if element.tag == "route"
    }


def _of_edges(route: Element) -> Ends:
    edges = route.get("edges", "").split() or [route.get("id", "")]
    return edges[0], edges[-1]

"""Other demand than the recorded one, made of the same trips.

Held-out: rescaled and shifted in time, so that a test day is not a training day. Everything follows from the seed.
One factor from U(0.9, 1.1) scales the whole demand, by leaving single vehicles out or by sending them twice; each
departure moves by N(0, 60 s) within the scenario's window.
Scaled: as much of it as asked for, nothing else changed: single vehicles left out, or sent a second time within
some minutes. A smaller factor's vehicles are among a greater one's.
Scheduled traffic (public transport, persons and what they ride in) stays as it is.
"""

from __future__ import annotations

import copy
import hashlib
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from xml.etree import ElementTree

from plumbing.cache import cached_file
from scenarios.demand import departure_s, read_flow
from scenarios.sumo_input import parts
from scenarios.xmlfile import Element, top_level

SCALE_RANGE = (0.9, 1.1)
JITTER_SD_S = 60.0
_RECIPE = "1"  # raise it when the same seed should give another demand than before
_TRANSIT_CLASSES = frozenset(
    {
        "bus",
        "coach",
        "tram",
        "rail_urban",
        "rail",
        "rail_electric",
        "rail_fast",
        "subway",
        "cable_car",
        "ship",
    }
)
_SCHEDULE = ("begin", "end", "number", "period", "vehsPerHour", "perHour", "probability")


def held_out_routes(files: Sequence[Path], other: Sequence[Path], begin_s: float, end_s: float, seed: int) -> Path:
    """One route file, sorted by departure, that replaces the demand of `files`.

    `other` are the additional files, which may define vehicle types; one that holds demand is in both lists.
    """
    digest = hashlib.sha256(f"{_RECIPE} {begin_s} {end_s} {seed}".encode())
    for path in (*files, *other):
        for part in parts(path, "route file"):
            digest.update(part.read_bytes())
    name = f"held-out/{digest.hexdigest()[:20]}/held-out-{seed}.rou.xml"
    draw = random.Random(f"intergreen held-out {_RECIPE} {seed}")
    factor = draw.uniform(*SCALE_RANGE)

    def times(planned_s: float, factor: float) -> list[float]:
        copies = range(_copies(factor, draw.random()))
        return [planned_s + draw.gauss(0.0, JITTER_SD_S) for _ in copies]

    return cached_file(name, lambda: rewritten(files, other, begin_s, end_s, lambda _: factor, times))


def scaled_routes(files: Sequence[Path], other: Sequence[Path], begin_s: float, end_s: float, factor: float) -> Path:
    """As `held_out_routes`, with the demand times `factor` (0 to 2) and every recorded departure as it is."""
    digest = hashlib.sha256(f"scaled {_RECIPE} {begin_s} {end_s} {factor!r}".encode())
    for path in (*files, *other):
        for part in parts(path, "route file"):
            digest.update(part.read_bytes())
    times = kept_times(random.Random(f"intergreen scaled {_RECIPE}"))
    name = f"scaled/{digest.hexdigest()[:20]}/scaled-{factor:g}.rou.xml"
    return cached_file(name, lambda: rewritten(files, other, begin_s, end_s, lambda _: factor, times))


Times = Callable[[float, float], list[float]]
"""The departures to send for a planned one and its factor [s]."""


def kept_times(draw: random.Random) -> Times:
    """Every departure as planned, and where a second one is sent that within some minutes."""

    def times(planned_s: float, factor: float) -> list[float]:
        chance, shift_s = draw.random(), draw.gauss(0.0, JITTER_SD_S)  # drawn for each, whatever the factor
        return [planned_s, planned_s + shift_s][: _copies(factor, chance)]

    return times


def rewritten(
    files: Sequence[Path],
    other: Sequence[Path],
    begin_s: float,
    end_s: float,
    factor_of: Callable[[Element], float],
    times: Times,
) -> bytes:
    """A route file that replaces the demand of `files`: all but scheduled traffic times a factor (0 to 2).

    Args:
        other: the additional files, which may define vehicle types; one that holds demand is in both lists.
        factor_of: an entry's factor.
    """
    transit, ridden, taken = _scheduled(files, other)
    definitions: list[Element] = []
    departing: list[tuple[float, int, Element]] = []

    def add(time_s: float, element: Element) -> None:
        departing.append((time_s, len(departing), element))

    for path in files:
        for element in top_level(path, "route file"):
            tag = element.tag
            kept = tag in ("person", "personFlow") or "line" in element.attrib or element.get("type") in transit
            kept = kept or element.get("id") in ridden
            if tag not in ("vehicle", "trip", "flow", "person", "personFlow"):
                if "href" in element.attrib:
                    element.set("href", str(path.absolute().parent / element.get("href", "")))
                if path not in other:  # an additional file keeps its own
                    definitions.append(element)
            elif tag in ("flow", "personFlow") and (kept or read_flow(element).rate_per_s is not None):
                flow = read_flow(element)
                if not kept:
                    _scale_rate(element, factor_of(element))
                add(flow.begin_s, element)
            elif kept or (tag != "flow" and departure_s(element) is None):
                add(departure_s(element) or begin_s, element)
            else:
                factor = factor_of(element)
                for single, planned_s in _singles(element, begin_s, end_s):
                    for copy_number, unbounded_s in enumerate(times(planned_s, factor)):
                        time_s = _within(unbounded_s, begin_s, end_s)
                        vehicle = copy.deepcopy(single)
                        if copy_number:
                            vehicle.set("id", _new_id(single.get("id", ""), taken))
                        vehicle.set("depart", f"{time_s:.2f}")
                        vehicle.attrib.pop("arrival", None)  # cutRoutes.py notes it; SUMO would warn
                        add(time_s, vehicle)
    departing.sort(key=lambda entry: entry[:2])
    root = ElementTree.Element("routes")
    root.extend(definitions)
    root.extend(element for _, _, element in departing)
    ElementTree.indent(root)
    text: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return text + b"\n"


def _scheduled(files: Sequence[Path], other: Sequence[Path]) -> tuple[set[str], set[str], set[str]]:
    """Types of public transport, vehicles that persons ride in, and every id that is taken."""
    transit, ridden, taken = set[str](), set[str](), set[str]()
    for path in (*other, *files):
        for element in top_level(path, "route file"):
            taken.add(element.get("id", ""))
            for part in element.iter():
                if part.tag == "vType" and part.get("vClass") in _TRANSIT_CLASSES:
                    transit.add(part.get("id", ""))
                elif part.tag == "ride":
                    ridden.update(part.get("lines", "").split())
    return transit, ridden, taken


def _singles(element: Element, begin_s: float, end_s: float) -> Iterator[tuple[Element, float]]:
    """The entry's vehicles with their planned departures; those outside of the window SUMO would skip."""
    if element.tag != "flow":
        planned_s = departure_s(element)
        if planned_s is not None and begin_s <= planned_s < end_s:
            yield element, planned_s
        return
    trip = any(name.startswith(("from", "to")) for name in element.attrib)
    for number, planned_s in enumerate(read_flow(element).departures(begin_s, end_s)):
        single = copy.deepcopy(element)
        single.tag = "trip" if trip else "vehicle"
        for name in _SCHEDULE:
            single.attrib.pop(name, None)
        single.set("id", f"{element.get('id', '')}.{number}")
        yield single, planned_s


def _copies(factor: float, uniform: float) -> int:
    if factor < 1.0:
        return 1 if uniform < factor else 0
    return 2 if uniform < factor - 1.0 else 1


def _within(time_s: float, begin_s: float, end_s: float) -> float:
    """The time reflected at the window's ends (clipping would send a platoon at the first second)."""
    if time_s < begin_s:
        time_s = 2 * begin_s - time_s
    if time_s > end_s - 1.0:
        time_s = 2 * (end_s - 1.0) - time_s
    return min(max(time_s, begin_s), max(begin_s, end_s - 1.0))


def _new_id(old: str, taken: set[str]) -> str:
    number = 2
    while (name := f"{old}#{number}") in taken:
        number += 1
    taken.add(name)
    return name


def _scale_rate(flow: Element, factor: float) -> None:
    period = flow.get("period", "")
    if period.startswith("exp("):
        flow.set("period", f"exp({float(period[4:-1]) * factor:.8g})")
    else:
        flow.set("probability", f"{min(1.0, float(flow.get('probability', '0')) * factor):.8g}")
    if "number" in flow.attrib:
        flow.set("number", str(round(int(flow.get("number", "0")) * factor)))

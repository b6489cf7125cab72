"""The demand in route files: planned vehicles and persons, their window, and whether the network fits."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from plumbing.errors import InputError
from scenarios.xmlfile import LARGEST, Element, finite, seconds, top_level, whole

_MOST_PLACES = 10**15
_RATES = ("vehsPerHour", "perHour", "personsPerHour")


@dataclass(frozen=True)
class Flow:
    """A flow or personFlow: departures from begin to end, by number, spacing or rate."""

    person: bool
    begin_s: float
    end_s: float
    """Infinite where the file gives none."""
    number: int | None
    period_s: float | None
    rate_per_s: float | None
    """Mean rate of departures that are drawn at random (probability, exp(…)) [1/s]."""

    def expected(self, begin_s: float, end_s: float) -> float:
        """Expected number of departures in [begin, end)."""
        if self.rate_per_s is not None:
            span_s = min(end_s, self.end_s) - max(begin_s, self.begin_s)
            count = max(0.0, span_s) * self.rate_per_s
            return min(count, self.number) if self.number is not None else count
        return float(len(self._places(begin_s, end_s)[0]))

    def departures(self, begin_s: float, end_s: float) -> list[float]:
        """The evenly spaced departures in [begin, end), as SUMO places them."""
        places, step_s = self._places(begin_s, end_s)
        return [self.begin_s + k * step_s for k in places]

    def _places(self, begin_s: float, end_s: float) -> tuple[range, float]:
        """Their numbers, and the time between two."""
        last_s = min(self.end_s, end_s) if self.number is None or self.period_s is None else end_s
        if self.period_s is not None:
            step_s = self.period_s
        elif self.number:
            step_s = ((self.end_s if math.isfinite(self.end_s) else end_s) - self.begin_s) / self.number
        else:
            return range(0), 0.0
        if step_s <= 0:
            return range(0), 0.0
        first = _steps(max(0.0, begin_s - self.begin_s), step_s)
        stop = _steps(min(last_s, self.end_s) - self.begin_s, step_s)
        stop = stop if self.number is None else min(stop, self.number)
        return range(first, stop), step_s


def _steps(span_s: float, step_s: float) -> int:
    """How many of these steps begin within the span; of tiny steps no more than a range can count."""
    return math.ceil(max(-_MOST_PLACES, min(span_s / step_s, _MOST_PLACES)) - 1e-9)


def read_flow(element: Element) -> Flow:
    """Raises ValueError where a number is none."""
    of = element.attrib
    period, rate = of.get("period"), next((of[name] for name in _RATES if name in of), None)
    period_s = rate_per_s = None
    if period is not None and period.startswith("exp("):
        rate_per_s = finite(period[4:-1])
    elif period is not None:
        period_s = seconds(period)
    elif rate is not None:
        period_s = 3600.0 / finite(rate) if finite(rate) > 0 else None
    elif "probability" in of:
        rate_per_s = finite(of["probability"])
    begin = of.get("begin", "0")
    number = whole(of["number"]) if "number" in of else None
    if number is None and period_s is None and rate_per_s is None:
        number = 0
    return Flow(
        person=element.tag == "personFlow",
        begin_s=seconds(begin if begin[:1].isdigit() else "0"),
        end_s=seconds(of["end"]) if "end" in of else math.inf,
        number=number,
        period_s=period_s,
        rate_per_s=rate_per_s,
    )


@dataclass(frozen=True)
class Demand:
    """The departures that route files plan."""

    vehicles_s: tuple[float, ...]
    persons_s: tuple[float, ...]
    flows: tuple[Flow, ...]
    undated_vehicles: int
    """Vehicles that wait for something other than a time, such as a passenger."""
    undated_persons: int
    in_order: bool
    """Whether each file is sorted by departure; SUMO ignores the rest of one that isn't, unless told."""

    def counts(self, begin_s: float, end_s: float) -> tuple[int, int]:
        """Vehicles and persons planned to depart in [begin, end)."""
        vehicles = float(self.undated_vehicles + sum(begin_s <= t < end_s for t in self.vehicles_s))
        persons = float(self.undated_persons + sum(begin_s <= t < end_s for t in self.persons_s))
        vehicles += sum(f.expected(begin_s, end_s) for f in self.flows if not f.person)
        persons += sum(f.expected(begin_s, end_s) for f in self.flows if f.person)
        return round(vehicles), round(persons)

    @property
    def first_s(self) -> float | None:
        times = [*self.vehicles_s, *self.persons_s, *(f.begin_s for f in self.flows)]
        return min(times, default=None)

    @property
    def last_s(self) -> float | None:
        """The last departure; that of a flow without an end is where its numbered vehicles end, if it can."""
        times = [*self.vehicles_s, *self.persons_s]
        for flow in self.flows:
            if math.isfinite(flow.end_s):
                times.append(flow.end_s)
            elif flow.number and flow.period_s:
                times.append(flow.begin_s + flow.number * flow.period_s)
            elif flow.number and flow.rate_per_s:
                times.append(flow.begin_s + flow.number / flow.rate_per_s)
        return min(max(times), LARGEST) if times else None


def read_demand(
    route_files: Sequence[Path],
    additional_files: Sequence[Path] = (),
    edges: Collection[str] | None = None,
    network_name: str = "the network",
) -> Demand:
    """Reads all files; with `edges`, raises InputError when a route uses an edge that isn't one of them."""
    vehicles: list[float] = []
    persons: list[float] = []
    flows: list[Flow] = []
    undated = {"vehicle": 0, "person": 0}
    in_order = True
    misfits: list[tuple[Path, str, str]] = []
    routes: set[str] = set()
    wanted: list[tuple[Path, str, str]] = []
    for path in (*additional_files, *route_files):
        what = "route file" if path in route_files else "additional file"
        latest = -math.inf
        for element in top_level(path, what):
            tag = element.tag
            if tag in ("route", "routeDistribution"):
                routes.update(r.get("id", "") for r in element.iter() if r.tag in ("route", "routeDistribution"))
            elif tag not in ("vehicle", "trip", "flow", "person", "personFlow"):
                continue
            name = f"{tag} {element.get('id', '')!r}"
            if edges is not None:
                missing = next((e for e in _edges(element) if e not in edges), None)
                if missing is not None:
                    misfits.append((path, name, missing))
                if element.get("route"):
                    wanted.append((path, name, element.get("route", "")))
            try:
                if tag in ("flow", "personFlow"):
                    flows.append(read_flow(element))
                    departure = flows[-1].begin_s
                elif tag in ("route", "routeDistribution"):
                    continue
                else:
                    kind = "person" if tag == "person" else "vehicle"
                    dated = departure_s(element)
                    if dated is None:
                        undated[kind] += 1
                        continue
                    departure = dated
                    (persons if kind == "person" else vehicles).append(departure)
            except ValueError as error:
                raise InputError(
                    f"{what} {path}: {name} has a value that is no number ({error}); correct it"
                ) from error
            in_order = in_order and departure >= latest
            latest = max(latest, departure)
    if misfits:
        path, name, edge = misfits[0]
        more = f" ({len(misfits)} entries don't fit)" if len(misfits) > 1 else ""
        raise InputError(
            f"route file {path}: {name} uses edge {edge!r}, which {network_name} doesn't have{more}; "
            "use routes that were made for this network"
        )
    lost = [entry for entry in wanted if entry[2] not in routes and not entry[2].startswith("!")]
    if lost:
        path, name, route = lost[0]
        raise InputError(
            f"route file {path}: {name} takes route {route!r}, which no file defines; "
            "give the file that defines it as well"
        )
    return Demand(tuple(vehicles), tuple(persons), tuple(flows), undated["vehicle"], undated["person"], in_order)


def departure_s(element: Element) -> float | None:
    """The time at which it departs; None where it waits for something else ("triggered", "split", …)."""
    text = element.get("depart", "0").strip()
    if text == "begin":
        return 0.0
    return seconds(text) if text[:1].isdigit() or text[:1] in "-.+" else None


def _edges(element: Element) -> Iterator[str]:
    """Every edge that the entry names."""
    for part in element.iter():
        of = part.attrib
        for name in ("edges", "via", "from", "to"):  # lists, all of them: SUMO minds no space around an id
            if name in of:
                yield from of[name].split()

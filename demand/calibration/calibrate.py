"""Calibrates a network to days of counts: routes for each day, a simulation of it, and what both came to."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from controllers.webster import Webster
from demand.calibration.candidates import find_candidates
from demand.calibration.constraints import constraints_of, lane_counts
from demand.calibration.counted import CountedDay, clock
from demand.calibration.fit import GOAL, DayFit, by_detector, fit_of, share_ok, worst
from demand.calibration.folder import COUNTS, RESULT, add_day, lay_base, readme, stem_of
from demand.calibration.hand import hand_text
from demand.calibration.history import keep_counts
from demand.calibration.matching import Matches
from demand.calibration.measuring import simulated_counts
from demand.calibration.places import Place, Roads
from demand.calibration.sampling import sample
from demand.counts.schema import GENERATED
from demand.counts.store import CountsFolder
from plumbing.command import say
from plumbing.digest import file_sha256
from plumbing.errors import printable
from plumbing.held import scratch
from plumbing.plain import json_bytes
from scenarios.marks import Mark
from scenarios.picture import svg
from scenarios.provenance import Provenance
from scenarios.scenario import Scenario

_MOST_MARKS = 2000
_MOST_SAID = 1000
"""Characters of the names of generated counts: `scenario.json` takes so much text, and not more."""
_MANY_WAIT = 0.02
"""Of the vehicles: from this share on that never found room to enter, somebody should know."""


@dataclass(frozen=True)
class Request:
    """What is to be calibrated to what."""

    folder: CountsFolder
    scenario: Scenario
    roads: Roads
    matches: Matches
    days: tuple[CountedDay, ...]
    program: str
    """The signal plan that the fit is measured under: "own" or "webster"."""
    seed: int
    command: str
    """Who reads the result can repeat it by this."""

    @property
    def about(self) -> Provenance:
        """What the scenarios say of themselves."""
        names = ", ".join(str(source.get("name", "counts")) for source in self.folder.about.sources)
        days = self.days[0].name + (f" to {self.days[-1].name}" if len(self.days) > 1 else "")
        made = [source for source in self.folder.about.sources if source.get("format") == GENERATED]
        what = "; ".join(dict.fromkeys(str(source.get("name", "")) for source in made))
        return Provenance(
            self.scenario.net_file.name,
            f"{self.scenario.name}, calibrated to counts of {days}",
            self.scenario.licence,
            f"counts: {printable(names or self.folder.path.name)}; network: {printable(self.scenario.source)}",
            f"calibrated to generated counts ({printable(what, _MOST_SAID)}), which nobody has counted"
            if made
            else "",
            tuple(f"{stem_of(day.name)}.rou.xml" for day in self.days) if made else (),
        )


@dataclass
class _Made:
    """What the days came to."""

    fits: list[DayFit] = field(default_factory=list)
    vehicles: dict[str, dict[str, int]] = field(default_factory=dict)
    notes: dict[str, None] = field(default_factory=dict)

    @property
    def share(self) -> float:
        """Of the hourly counts, how many have a GEH below 5."""
        return share_ok(self.fits)


def calibrate(asked: Request, out: Path) -> dict[str, Any]:
    """Fill a folder, which is there and empty. Returns what its calibration.json holds.

    Raises:
        InputError: no routes agree with the counts, or a tool of SUMO's fails.
    """
    made, begun = _Made(), time.monotonic()
    for number, (day, scenario, notes) in enumerate(days_made(asked, out), 1):
        _measure(asked, day, scenario, made)
        made.notes |= dict.fromkeys(notes)
        left_s = (time.monotonic() - begun) / number * (len(asked.days) - number)
        say(
            f"{day.name}: {made.vehicles[day.name]['planned']:,} vehicles, GEH below 5 for "
            f"{share_ok(made.fits[-1:]):.1%} of the hourly counts"
            + (f"; {number} of {len(asked.days)} days, about {left_s:.0f} s left" if left_s else ""),
            error=True,
        )
    result = _result(asked, made)
    _write(asked, made, result, out)
    return result


def days_made(asked: Request, out: Path) -> Iterator[tuple[CountedDay, Scenario, list[str]]]:
    """Lay the network into a folder, which is there and empty, and add each day's routes. Yields each with its
    scenario, and what was assumed.

    Raises:
        InputError: no routes agree with the counts, or a tool of SUMO's fails.
    """
    base, places = lay_base(asked.scenario, out, asked.about), asked.matches.places
    every = [constraints_of(asked.roads, places, day) for day in asked.days]
    edges = dict.fromkeys(edge for wanted in every for edge in wanted.edges)
    turns = dict.fromkeys(turn for wanted in every for turn in wanted.turns)
    with scratch("candidates") as ground:
        candidates = find_candidates(asked.scenario, asked.roads, edges, turns, ground, asked.seed)
        for day, wanted in zip(asked.days, every, strict=True):
            with scratch("calibrate") as inner:
                lanes = lane_counts(places, day)
                routes, notes = sample(candidates, asked.roads, day, wanted, lanes, inner, asked.seed)
            yield day, add_day(base, day.name, routes, day.begin_s, day.end_s), [*wanted.notes, *notes]


def _measure(asked: Request, day: CountedDay, scenario: Scenario, made: _Made) -> None:
    """Simulate a day, and compare."""
    programs = Webster().additional_xml(scenario) if asked.program == "webster" else ""
    counted = [place for place in asked.matches.places if place.detector in day.counts]
    with scratch("calibrate") as ground:
        simulated, made.vehicles[day.name] = simulated_counts(
            scenario, asked.roads, counted, day.interval_s, ground, asked.seed, programs
        )
    made.fits.append(fit_of(day, simulated))


def _result(asked: Request, made: _Made) -> dict[str, Any]:
    """Everything, for machines."""
    day, prior = asked.days[0], "driving on is taken to be likelier than turning, and all else alike"
    if asked.scenario.route_files:
        prior = "the scenario's own demand says how likely each is"
    about = asked.folder.about
    hours = [hour for fit in made.fits for hour in fit.hours]
    return {
        "format": "intergreen calibration 1",
        "command": asked.command,
        "counts": {**dataclasses.asdict(about), "sources": list(about.sources), "folder": asked.folder.path.name},
        "scenario": {"name": asked.scenario.name, "network_sha256": file_sha256(asked.scenario.net_file)},
        "versions": {name: importlib.metadata.version(name) for name in ("intergreen", "eclipse-sumo", "polars")},
        "program": asked.program,
        "seed": asked.seed,
        "window": [clock(day.begin_s), clock(day.end_s)],
        "share_geh_below_5": None if math.isnan(made.share) else round(made.share, 4),
        "goal": GOAL,
        "goal_met": made.share >= GOAL,
        "hourly_counts": len(hours),
        "days": [
            {
                "day": fit.day,
                "date": str(of.date),
                "share_geh_below_5": round(share_ok([fit]), 4),
                **made.vehicles[fit.day],
            }
            for fit, of in zip(made.fits, asked.days, strict=True)
        ],
        "detectors": [_rounded(dataclasses.asdict(of)) for of in by_detector(made.fits)],
        "hours": [_rounded({**dataclasses.asdict(hour), "geh": hour.geh}) for hour in hours],
        "places": [dataclasses.asdict(place) for place in asked.matches.places],
        "missing": dict(asked.matches.missing),
        "notes": [
            *made.notes,
            f"where the counts leave routes open, {prior}",
            "cars of SUMO's standard type; who enters on a lane with counts of its own enters there and keeps to it",
        ],
        "warnings": _cautions(asked, made),
    }


def _rounded(values: dict[str, Any]) -> dict[str, Any]:
    return {name: round(value, 3) if isinstance(value, float) else value for name, value in values.items()}


def _cautions(asked: Request, made: _Made) -> list[str]:
    found = []
    if not made.share >= GOAL:
        bad = worst(made.fits, 1)
        where = f"; the worst is {bad[0].detector} on {bad[0].day} at {bad[0].begin}" if bad else ""
        share = f"{made.share:.1%} of the hourly counts, not for {GOAL:.0%}"
        found.append(f"the goal is missed: GEH is below 5 for {share}{where}")
    for day, of in made.vehicles.items():
        if (waiting := of["planned"] - of["inserted"]) > _MANY_WAIT * of["planned"]:
            found.append(
                f"{day}: {waiting:,} of {of['planned']:,} vehicles never found room to enter: the signal plan lets "
                "fewer through than were counted (try --program webster)"
            )
    if asked.matches.missing:
        found.append(f"{len(asked.matches.missing)} detectors have no place in the network, and are left out")
    if asked.matches.doubtful:
        doubtful = len(asked.matches.doubtful)
        found.append(f"{doubtful} places are doubtful; look at the picture, and correct places.csv")
    return found


def _write(asked: Request, made: _Made, result: dict[str, Any], out: Path) -> None:
    """The report, the picture, and what else lies beside the scenarios."""
    from demand.calibration.report import page  # loads matplotlib, which bad input need not wait for

    first, days, places = asked.days[0], [day.name for day in asked.days], asked.matches.places
    picture = svg(asked.scenario.network, marks=_marks(places, asked.roads))
    verdict = f"GEH is below 5 for {made.share:.1%} of {result['hourly_counts']:,} hourly counts."
    facts = {
        "title": asked.about.description,
        "verdict": verdict,
        "facts": f"{len(places)} detectors, {len(days)} day{'s' if len(days) > 1 else ''}, "
        f"{clock(first.begin_s)} to {clock(first.end_s)}; {asked.about.source}",
        "cautions": result["warnings"],
        "notes": result["notes"],
        "command": asked.command,
    }
    texts = {
        "network.svg": picture,
        "places.csv": hand_text(places),
        "report.html": page(facts, made.fits, places, asked.matches.missing, picture),
        "README.md": readme(asked.about, days, first.begin_s, first.end_s, result["notes"], verdict),
    }
    for name, text in texts.items():
        (out / name).write_text(text, encoding="utf-8")
    dates = [day.date for day in asked.days if day.date is not None]
    keep_counts(asked.folder, dates, out / COUNTS)
    (out / RESULT).write_bytes(json_bytes(result))


def _marks(places: Sequence[Place], roads: Roads) -> list[Mark]:
    """The names in the picture; a movement's stands on its lanes."""
    marks = []
    for place in places:
        lanes = place.lanes or roads.turns[place.edge][place.to_edges[0]]
        back_m = place.position_m if place.lanes else 1.0
        marks += [Mark(place.detector, lane, back_m, bool(place.doubts)) for lane in lanes]
    return marks[:_MOST_MARKS]

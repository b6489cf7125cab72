"""Days of a scenario in SUMO, with and without incidents, as its detectors count them.

A day is the scenario's window, stretched: arterial's hour becomes six. Its demand varies from day to day as a whole,
by route and in time, so that what is normal has to be learned. An incident is a row of standing cars, one on each
lane that it closes; who can pass them does, and no route becomes invalid. The signals run their own program.
"""

from __future__ import annotations

import datetime
import math
import random
import subprocess
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.sax.saxutils import quoteattr

import polars as pl

from demand.counts.schema import COUNTS
from demand.incidents.places import Place
from envs.sumo.outputs import INCIDENT_ID
from plumbing.errors import InputError, printable
from plumbing.held import scratch
from scenarios.heldout import rewritten
from scenarios.scenario import Scenario
from signals.network import RoadNetwork

INTERVAL_S = 60
FIRST_DAY = datetime.datetime(2024, 1, 1, 6, tzinfo=datetime.UTC)  # a Monday; days of simulation have no date
DAY_SPREAD = 0.15  # a day's demand lies within this share of the recorded, as it does from weekday to weekday
ROUTE_SPREAD = 0.1  # standard deviation of the logarithm of a route's share of it
PEAK_SHIFT_S = 300.0  # standard deviation of the time by which a day is early or late
BURST_S = 120.0  # standard deviation by which departures scatter about where the profile puts them
EDGE_M = 8.0  # [m] no incident is nearer to either end of its lane: a car's length, and some
SPACING_S = 3600.0  # one incident in each such stretch of a day
DURATION_S = (600.0, 2400.0)  # drawn with even chances for its logarithm: most are short
PASSED_S = "20"  # who stands inside a junction for so long holds up nobody else: jams dissolve when a road reopens
WARM_UP_S = 1800.0
LOOK_EVERY_S = 0.2  # how often a running simulation asks whether it is still wanted


@dataclass(frozen=True)
class Incident:
    """Lanes of one edge that were closed."""

    edge: str
    lanes: tuple[str, ...]
    all_lanes: bool
    at_m: float
    """Where, from the edge's beginning [m]."""
    from_s: float
    """[s] of the day."""
    duration_s: float


@dataclass(frozen=True)
class Day:
    """One day to simulate."""

    number: int
    """Its date: days after `FIRST_DAY`."""
    seed: int
    stretch: float = 6.0
    with_incidents: bool = False


def draw_incidents(scenario: Scenario, edges: Sequence[str], day: Day) -> list[Incident]:
    """The incidents of a day: one in each hour but the first half, at a random place, long and severe at random."""
    network, random_ = scenario.network, random.Random(f"intergreen incidents {day.seed}")
    length_s = scenario.horizon_s * day.stretch
    found: list[Incident] = []
    begin_s = WARM_UP_S
    while day.with_incidents and begin_s + SPACING_S <= length_s:
        edge = random_.choice(list(edges))
        lanes = [lane for lane in network.edges[edge].lane_ids if _onward(network, lane)]
        all_lanes = random_.random() < 0.5 or len(lanes) == 1
        closed = tuple(lanes) if all_lanes else (random_.choice(lanes),)
        at_m = random_.uniform(EDGE_M, min(network.lanes[lane].length_m for lane in closed) - EDGE_M)
        duration_s = DURATION_S[0] * (DURATION_S[1] / DURATION_S[0]) ** random_.random()
        from_s = begin_s + random_.uniform(0.0, SPACING_S - DURATION_S[1] - 300.0)
        found.append(Incident(edge, closed, all_lanes, round(at_m, 1), round(from_s), round(duration_s)))
        begin_s += SPACING_S
    return found


def simulate(
    scenario: Scenario,
    places: Sequence[Place],
    days: Sequence[Day],
    workers: int = 1,
    on_done: Callable[[int], object] = lambda _: None,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The table of counts of all days, and that of their incidents.

    Args:
        on_done: called with the number of days that are done.

    Raises:
        InputError: SUMO refuses the scenario.
    """
    edges = watched_edges(scenario.network, places)
    tables, told = [], []
    drawn = [draw_incidents(scenario, edges, day) for day in days]
    stopped = threading.Event()
    with ThreadPoolExecutor(workers) as pool:  # SUMO is a process; a thread only waits for it
        jobs = [pool.submit(_run, scenario, places, day, of, stopped) for day, of in zip(days, drawn, strict=True)]
        try:
            for done, job in enumerate(jobs):
                tables.append(job.result())
                on_done(done + 1)
        except BaseException:  # such as Ctrl-C; nobody waits for the other days
            stopped.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    for day, of in zip(days, drawn, strict=True):
        told += [_row(day, incident) for incident in of]
    return pl.concat(tables).sort("detector", "time"), pl.DataFrame(told, schema=INCIDENTS, orient="row")


INCIDENTS: dict[str, Any] = {
    "begin": pl.Datetime("us", "UTC"),
    "end": pl.Datetime("us", "UTC"),
    "edge": pl.String(),
    "lanes": pl.String(),
    "severity": pl.String(),
    "at_m": pl.Float64(),
}
"""The table of incidents: `lanes` joined with spaces, `severity` "one lane" or "all lanes"."""


def watched_edges(network: RoadNetwork, places: Sequence[Place]) -> list[str]:
    """The edges whose traffic passes a detector before it passes a signal: an incident there can be told."""
    watched = dict.fromkeys(network.lanes[place.lane].edge_id for place in places)
    for edge in list(watched):
        for lane in network.edges[edge].lane_ids:
            watched.update((c.from_edge, None) for c in network.incoming.get(lane, ()) if c.tls_id is None)
    return [edge for edge in watched if network.edge_length_m(edge) > 4 * EDGE_M]


def _row(day: Day, incident: Incident) -> tuple[Any, ...]:
    begin = _midnight(day) + datetime.timedelta(seconds=incident.from_s)
    severity = "all lanes" if incident.all_lanes else "one lane"
    end = begin + datetime.timedelta(seconds=incident.duration_s)
    return begin, end, incident.edge, " ".join(incident.lanes), severity, incident.at_m


def _midnight(day: Day) -> datetime.datetime:
    return FIRST_DAY + datetime.timedelta(days=day.number)


def _onward(network: RoadNetwork, lane: str) -> str:
    onward = [c.to_edge for c in network.outgoing.get(lane, ()) if network.edges[c.to_edge].function == "normal"]
    return onward[0] if onward and network.lanes[lane].vehicles and not network.lanes[lane].rail else ""


def _run(
    scenario: Scenario, places: Sequence[Place], day: Day, incidents: Sequence[Incident], stopped: threading.Event
) -> pl.DataFrame:
    import sumo  # the wheel that brings the binaries

    end_s = scenario.begin_s + scenario.horizon_s * day.stretch
    with scratch("incidents") as folder:
        out, routes, added = folder / "counts.xml", folder / "day.rou.xml", folder / "day.add.xml"
        routes.write_bytes(_routes(scenario, day, end_s))
        added.write_text(_additional(scenario, places, incidents, out), encoding="utf-8")
        args = scenario.sumo_args(extra_additional=[added])
        args[args.index("-r") + 1] = str(routes)
        args[args.index("-e") + 1] = f"{end_s:g}"
        command = [f"{sumo.SUMO_HOME}/bin/sumo", *args, "--seed", str(day.seed % 2**31), "--no-step-log", "true"]
        command += ["--no-warnings", "true", "--collision.action", "none", "--time-to-teleport", "-1"]
        command += ["--ignore-junction-blocker", PASSED_S]
        status, errors = _ended(command, stopped)
        if status or not out.is_file():
            said = next((line for line in errors.splitlines() if line.startswith("Error")), "no reason given")
            raise InputError(f"SUMO cannot run scenario {scenario.name!r}: {printable(said)}; check its files")
        return _counts(out, day, scenario.begin_s)


def _ended(command: Sequence[str], stopped: threading.Event) -> tuple[int, str]:
    """The exit status of a program, which is killed once `stopped` is set, and what it wrote to stderr."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        while True:
            try:
                _, errors = process.communicate(timeout=LOOK_EVERY_S)
                return process.returncode, errors
            except subprocess.TimeoutExpired:
                if stopped.is_set():
                    process.kill()


def _routes(scenario: Scenario, day: Day, end_s: float) -> bytes:
    """The day's demand: each recorded vehicle some times, about its own moment of the stretched window.

    Flows that SUMO draws at random keep their own begin and end.
    """
    draw = random.Random(f"intergreen day {day.seed}")
    of_day = draw.uniform(1.0 - DAY_SPREAD, 1.0 + DAY_SPREAD)
    shift_s = draw.gauss(0.0, PEAK_SHIFT_S)
    routes: dict[str, float] = {}

    def factor_of(element: ElementTree.Element) -> float:
        route = element.find("route")
        name = element.get("route", "") if route is None else route.get("edges", "")
        if name not in routes:
            routes[name] = math.exp(random.Random(f"{day.seed} {name}").gauss(0.0, ROUTE_SPREAD))
        return of_day * routes[name]

    def times(planned_s: float, factor: float) -> list[float]:
        copies = _poisson(draw, factor * day.stretch)
        middle_s = scenario.begin_s + (planned_s - scenario.begin_s) * day.stretch + shift_s
        half_s = BURST_S * day.stretch
        return [middle_s + draw.gauss(0.0, half_s) for _ in range(copies)]

    return rewritten(
        scenario.sumo_files.route_files, scenario.additional_files, scenario.begin_s, end_s, factor_of, times
    )


def _poisson(draw: random.Random, mean: float) -> int:
    """By multiplication of uniforms (Knuth, The Art of Computer Programming, volume 2, section 3.4.1)."""
    left, number = math.exp(-mean), 0
    product = draw.random()
    while product > left:
        number += 1
        product *= draw.random()
    return number


def _additional(scenario: Scenario, places: Sequence[Place], incidents: Sequence[Incident], out: Path) -> str:
    """The loops, and a standing car for each closed lane.

    The car parks beside the road from the beginning, when the road is empty, and later moves onto its lane unchecked.
    """
    network, rows = scenario.network, ["<additional>"]
    for place in places:
        at_m = network.lanes[place.lane].length_m - place.to_end_m
        rows.append(
            f"  <inductionLoop id={quoteattr(place.detector)} lane={quoteattr(place.lane)} "
            f'pos="{at_m:.2f}" period="{INTERVAL_S}" friendlyPos="true" file={quoteattr(str(out))}/>'
        )
    rows.append(f'  <vType id="{INCIDENT_ID}" vClass="ignoring" length="5" speedDev="0" carFollowModel="IDM"/>')
    for number, incident in enumerate(incidents):
        for lane in incident.lanes:
            at_m, index = max(incident.at_m, 6.0), network.lanes[lane].index
            spot = f'lane={quoteattr(lane)} startPos="{at_m - 1:.1f}" endPos="{at_m:.1f}"'
            from_s = scenario.begin_s + incident.from_s
            rows += [
                f'  <vehicle id="{INCIDENT_ID}-{number}-{index}" type="{INCIDENT_ID}"',
                f'   depart="{scenario.begin_s:.2f}"',
                f'   departLane="{index}" departPos="{at_m:.1f}" departSpeed="0" insertionChecks="none">',
                f"    <route edges={quoteattr(f'{incident.edge} {_onward(network, lane)}')}/>",
                f'    <stop {spot} parking="true" until="{from_s:.0f}"/>',
                f'    <stop {spot} until="{from_s + incident.duration_s:.0f}"/>',
                "  </vehicle>",
            ]
    return "\n".join([*rows, "</additional>\n"])


def _counts(file: Path, day: Day, begin_s: float) -> pl.DataFrame:
    """The table of counts that SUMO's loops wrote."""
    rows: list[tuple[Any, ...]] = []
    for _, element in ElementTree.iterparse(file):
        if element.tag == "interval":
            of = element.attrib
            since_s = float(of["begin"]) - begin_s
            speed = float(of["speed"])
            rows.append((
                of["id"], _midnight(day) + datetime.timedelta(seconds=since_s), float(of["nVehContrib"]),
                min(float(of["occupancy"]) / 100.0, 1.0), speed if speed >= 0 else None,
            ))  # fmt: skip
            element.clear()
    return pl.DataFrame(rows, schema=dict(COUNTS), orient="row")

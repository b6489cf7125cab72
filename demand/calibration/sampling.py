"""Vehicles whose numbers agree with the counts: SUMO's routeSampler.py chooses among candidate routes."""

from __future__ import annotations

import itertools
import math
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.sax.saxutils import quoteattr

import numpy as np
import numpy.typing as npt

from demand.calibration.candidates import Candidates
from demand.calibration.constraints import Constraints
from demand.calibration.counted import CountedDay
from demand.calibration.places import Roads
from demand.calibration.tools import script
from plumbing.errors import InputError
from scenarios.xmlfile import read_tree

_CHANGE, _CHANGE_MORE = 20, 200
"""By how many vehicles the optimiser may change each sampled route in each interval: it knows no likelihoods, so not
more than it takes."""
_MOST_MISSED = 0.02
"""Of the counted vehicles: where routes between the network's ends miss more, all others may be chosen, too."""
LAST_RESORT = (
    "routes between the network's ends do not bring as many vehicles as were counted, so trips begin and end at "
    "counted places, too: more of them, and shorter ones, than people make"
)
_LARGEST_SEED = 2**31 - 1
CAR = '    <vType id="car" vClass="passenger"/>\n'
# SUMO's lane changes for speed and for keeping right are off: the counts say which lane is driven in
KEPT = '    <vType id="counted_lane" vClass="passenger" lcSpeedGain="0" lcKeepRight="0"/>\n'
_SPEED_FACTOR = 0.9
"""Cars come to a stop line with so much of the speed limit in mind."""

Row = npt.NDArray[np.float64]


def sample(
    candidates: Candidates,
    roads: Roads,
    day: CountedDay,
    wanted: Constraints,
    lanes: Mapping[str, Row],
    folder: Path,
    seed: int,
) -> tuple[str, list[str]]:
    """A route file of the day: vehicles in order of departure, whose numbers agree with the counts. And notes.

    Args:
        candidates: routes to choose from.
        lanes: per counted lane, [I] vehicles: where a trip begins on such an edge it begins in one of its lanes, in
            the counted shares, and keeps to it.

    Raises:
        InputError: there is nothing to count on, or no route passes it.
    """
    if not 0 <= seed <= _LARGEST_SEED:
        raise InputError(f"--seed is {seed}; give 0 to {_LARGEST_SEED}")
    edges = {edge: row for edge, row in wanted.edges.items() if edge in candidates.edges}
    turns = {pair: row for pair, row in wanted.turns.items() if pair in candidates.turns}
    if not edges and not turns:
        raise InputError("no route of the network passes a counted place; check the detectors' places (--places)")
    words = ["-b", str(day.begin_s), "-e", str(day.end_s), "-i", str(day.interval_s), "--seed", str(seed)]
    words += ["--prefix", "c", "--weighted"]
    if edges:
        words += ["-d", str(_counts_file(folder / "edges.xml", day, edges)), "--edgedata-attribute", "entered"]
    if turns:
        words += ["-t", str(_counts_file(folder / "turns.xml", day, turns)), "--turn-attribute", "count"]
    out = folder / "sampled.rou.xml"
    for file, change in ((candidates.file, _CHANGE), (candidates.every_file, _CHANGE_MORE)):
        script("routeSampler.py", [*words, "-r", str(file), "--optimize", str(change), "-o", str(out)], folder)
        if _missed(out, edges, turns) <= _MOST_MISSED:
            break
    notes = [LAST_RESORT] if file != candidates.file else []
    return _finished(roads, day, out, wanted, lanes, seed), notes


def _missed(sampled: Path, edges: Mapping[str, Row], turns: Mapping[tuple[str, str], Row]) -> float:
    """By how many vehicles routes miss the counts of the window, as a share of these."""
    found: Counter[str | tuple[str, str]] = Counter()
    for route in read_tree(sampled, "the output of routeSampler.py").iter("route"):
        passed = route.get("edges", "").split()
        found.update(passed)
        found.update(itertools.pairwise(passed))
    wanted: dict[str | tuple[str, str], float] = {edge: float(np.nansum(row)) for edge, row in edges.items()}
    wanted |= {turn: float(np.nansum(row)) for turn, row in turns.items()}
    return sum(abs(found[key] - count) for key, count in wanted.items()) / max(sum(wanted.values()), 1.0)


def _counts_file(path: Path, day: CountedDay, rows: Mapping[str, Row] | Mapping[tuple[str, str], Row]) -> Path:
    lines = []
    for n in range((day.end_s - day.begin_s) // day.interval_s):
        begin_s = day.begin_s + n * day.interval_s
        lines.append(f'    <interval id="counts" begin="{begin_s}" end="{begin_s + day.interval_s}">\n')
        for key, row in rows.items():
            if math.isfinite(row[n]):
                if isinstance(key, str):
                    lines.append(f'        <edge id={quoteattr(key)} entered="{row[n]:.0f}"/>\n')
                else:
                    one, other = map(quoteattr, key)
                    lines.append(f'        <edgeRelation from={one} to={other} count="{row[n]:.0f}"/>\n')
        lines.append("    </interval>\n")
    path.write_text(f"<data>\n{''.join(lines)}</data>\n", encoding="utf-8")
    return path


def _finished(
    roads: Roads, day: CountedDay, sampled: Path, wanted: Constraints, lanes: Mapping[str, Row], seed: int
) -> str:
    """The vehicles with their lanes, sent as much earlier as they drive to where they are counted first."""
    draw = random.Random(f"calibrated {seed} {day.name}")
    counted = set(wanted.edges) | {edge for edge, _ in wanted.turns}
    vehicles = []
    last = (day.end_s - day.begin_s) // day.interval_s - 1
    for vehicle in read_tree(sampled, "the output of routeSampler.py").iter("vehicle"):
        route = vehicle.find("route")
        edges = tuple(route.get("edges", "").split()) if route is not None else ()
        planned_s = float(vehicle.get("depart", "nan"))
        earlier_s = planned_s - _drive_s(roads, edges, counted)
        time_s = earlier_s if earlier_s >= day.begin_s else planned_s
        vehicles.append((time_s, min(int((planned_s - day.begin_s) // day.interval_s), last), edges))
    starts = _starts(roads, vehicles, lanes, draw)
    entries = [
        (round(time_s, 2), start, " ".join(edges)) for (time_s, _, edges), start in zip(vehicles, starts, strict=True)
    ]
    entries.sort()
    types = CAR + (KEPT if any(start.startswith('type="counted_lane"') for _, start, _ in entries) else "")
    body = "".join(
        f'    <vehicle id="c{n}" {start} depart="{time_s:.2f}" departSpeed="max">'
        f"<route edges={quoteattr(edges)}/></vehicle>\n"
        for n, (time_s, start, edges) in enumerate(entries)
    )
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<routes>\n{types}{body}</routes>\n'


def _drive_s(roads: Roads, edges: Sequence[str], counted: set[str]) -> float:
    """How long one drives, without waiting, to the end of the first counted edge."""
    driven_s = 0.0
    for edge in edges:
        lane = roads.network.lanes[roads.edges[edge][0]]
        driven_s += lane.length_m / max(lane.speed_mps * _SPEED_FACTOR, 0.1)
        if edge in counted:
            return driven_s
    return 0.0


def _starts(
    roads: Roads,
    vehicles: Sequence[tuple[float, int, tuple[str, ...]]],
    lanes: Mapping[str, Row],
    draw: random.Random,
) -> list[str]:
    """Each vehicle's type and lane: where the lanes that it may begin in are counted, one that still lacks vehicles.

    Who may begin in few lanes chooses first, so that a lane that others share with them is not full before.

    Args:
        vehicles: departure, interval and route.
    """
    found = ['type="car" departLane="best"'] * len(vehicles)
    lacking = {lane: row.copy() for lane, row in lanes.items()}
    turns = [roads.turns.get(edges[0], {}).get(edges[1], ()) if len(edges) > 1 else () for _, _, edges in vehicles]
    for n in sorted(range(len(vehicles)), key=lambda n: (len(turns[n]), draw.random())):
        if not turns[n] or any(lane not in lanes for lane in turns[n]):
            continue
        interval = vehicles[n][1]
        lane = max(turns[n], key=lambda lane: np.nan_to_num(lacking[lane][interval]))
        lacking[lane][interval] -= 1
        found[n] = f'type="counted_lane" departLane="{roads.network.lanes[lane].index}"'
    return found

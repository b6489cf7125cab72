"""How long links stay red while somebody waits for them, from what SUMO recorded and the net file alone.

A vehicle waits for a link when it is the foremost one on its lane, stands (below 0.1 m/s) within 10 m of the stop
line, and its route goes on over that link. Where it may take either of two links, it waits for the one that was green
last. A link is red while it shows none of G, g, s, o and O. Of each link counts the longest red: from its last green,
or from the recording's begin, to the last moment at which a vehicle is seen waiting in it. Walkers are not seen.

Three of SUMO's outputs are needed beside the net: the signal states of every step (SaveTLSStates), where vehicles
are (`waiting_options` asks for it, every 5 s), and their routes.
"""

from __future__ import annotations

import bisect
import xml.etree.ElementTree as ET
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from evaluation.monitor.check import Recording, read_states
from evaluation.monitor.files import BROKEN_FILE, MonitorInputError, open_xml
from evaluation.monitor.links import LinkPath
from evaluation.monitor.net import read_signals
from evaluation.monitor.programs import seconds

SAMPLE_S = 5.0
"""Between two looks at the vehicles [s]."""
STANDING_MPS = 0.1
AT_STOP_LINE_M = 10.0
NOT_RED = "GgsoO"
LEAST_BOUND_S = 180.0
CYCLES = 2.0
MOST_CYCLE_S = 300.0  # rows of hours hold a green until somebody switches it by hand: no cycle
CHANGE_S = 30.0
"""From the decision that a link is due until it is green: a walk of 7 s, its clearance over a wide street, or yellow
and red clearance [s]."""
POSITIONS, ROUTES = "waiting.xml", "routes.xml"
"""The files that `waiting_options` asks for."""

Link = tuple[str, int]
"""A signal and one of its link indices."""


@dataclass(frozen=True)
class LongestRed:
    """The longest red of a link in which a vehicle was seen waiting for it."""

    tls_id: str
    link: int
    since_s: float
    """When the red began [s]."""
    red_s: float
    """How old it was when a vehicle was last seen waiting [s]."""
    bound_s: float
    """What it may be: the greater of 180 s and twice the program's cycle [s]."""

    @property
    def starves(self) -> bool:
        """Whether the red is longer than the bound and a change of the signal."""
        return self.red_s > self.bound_s + CHANGE_S


def waiting_options(folder: Path, net_file: Path) -> dict[str, str]:
    """SUMO's options that record vehicles before stop lines, and routes. A list of edges is written to the folder."""
    edges = {path.edges[0] for path, _ in _vehicle_paths(net_file, None)}
    listed = folder / "approaches.txt"
    listed.write_text("".join(f"edge:{edge}\n" for edge in sorted(edges)), encoding="utf-8")
    return {
        "--fcd-output": str(folder / POSITIONS),
        "--fcd-output.attributes": "lane,pos,speed",
        "--fcd-output.filter-edges.input-file": str(listed),
        "--device.fcd.period": f"{SAMPLE_S:g}",
        "--person-device.fcd.probability": "0",
        "--vehroute-output": str(folder / ROUTES),
        "--vehroute-output.write-unfinished": "true",
    }


def longest_reds(
    net_file: Path,
    folder: Path,
    additional: Sequence[Path] = (),
    tls_ids: Collection[str] | None = None,
) -> list[LongestRed]:
    """Of each link that a vehicle waited for, the longest red; links in order.

    Args:
        folder: holds tls_states.xml and the outputs that `waiting_options` asks for.
        additional: files whose signal programs replace the net's.
        tls_ids: judge these signals only.

    Raises:
        MonitorInputError: a file cannot be read, or they do not fit each other.
    """
    links: dict[tuple[str, str], list[Link]] = defaultdict(list)  # by lane and next edge
    edge_of: dict[str, str] = {}
    for path, link in _vehicle_paths(net_file, tls_ids):
        links[path.from_lane, path.edges[1]].append(link)
        edge_of[path.from_lane] = path.edges[0]
    lengths = _lane_lengths(net_file, edge_of)
    reds = _Reds(read_states(folder / "tls_states.xml"))
    bounds = {
        tls_id: max(LEAST_BOUND_S, CYCLES * min(sum(duration_s for _, duration_s in rows), MOST_CYCLE_S))
        for tls_id, rows in _programs([net_file, *additional]).items()
    }
    routes, reached = _routes(folder / ROUTES), defaultdict[str, int](int)
    longest: dict[Link, LongestRed] = {}
    for time_s, vehicle, lane, to_go_m, speed_mps in _foremost(folder / POSITIONS, lengths):
        route = routes.get(vehicle, [])
        try:  # a route may come by twice
            at = reached[vehicle] = route.index(edge_of[lane], reached[vehicle])
        except ValueError:
            continue
        if speed_mps >= STANDING_MPS or to_go_m > AT_STOP_LINE_M or at + 1 == len(route):
            continue
        either = [(reds.since_s(link, time_s), link) for link in links.get((lane, route[at + 1]), ())]
        begins = [(since_s, link) for since_s, link in either if since_s is not None]
        if not begins or len(begins) < len(either):
            continue
        since_s, link = max(begins)
        red_s, known = time_s - since_s, longest.get(link)
        if known is None or red_s > known.red_s:
            longest[link] = LongestRed(*link, since_s, red_s, bounds.get(link[0], LEAST_BOUND_S))
    return [longest[link] for link in sorted(longest)]


def never_green(
    net_file: Path,
    folder: Path,
    additional: Sequence[Path] = (),
    tls_ids: Collection[str] | None = None,
) -> list[Link]:
    """The links, crossings among them, that the signal's program shows green and the recording never does.

    Arguments and errors as of `longest_reds`.
    """
    recording = read_states(folder / "tls_states.xml")
    programs = _programs([net_file, *additional])
    found = []
    for tls_id, signal in read_signals(net_file).items():
        if (tls_ids is not None and tls_id not in tls_ids) or tls_id not in programs:
            continue
        shown = {interval.state for interval in recording.intervals.get(tls_id, ())}
        rows = [state for state, _ in programs[tls_id]]
        found += [(tls_id, link) for link in signal.paths if _is_served(link, rows) and not _is_served(link, shown)]
    return sorted(found)


def _is_served(link: int, states: Iterable[str]) -> bool:
    return any(link < len(state) and state[link] in "Gg" for state in states)


class _Reds:
    """When links turned red."""

    def __init__(self, recording: Recording) -> None:
        self._intervals = recording.intervals
        self._of: dict[Link, tuple[list[float], list[float | None]]] = {}

    def since_s(self, link: Link, time_s: float) -> float | None:
        """Since when the link is red; None where it is not."""
        if link not in self._of:
            self._of[link] = self._look(link)
        times, since = self._of[link]
        return since[max(0, bisect.bisect_right(times, time_s) - 1)]

    def _look(self, link: Link) -> tuple[list[float], list[float | None]]:
        """Each change between red and not red: when, and since when it is red from there on."""
        tls_id, index = link
        if tls_id not in self._intervals:
            raise MonitorInputError(f"the recording has no signal {tls_id!r}; give a net and its own recording")
        times: list[float] = []
        since: list[float | None] = []
        for interval in self._intervals[tls_id]:
            begin_s, red = interval.start_ms / 1000, interval.state[index] not in NOT_RED
            if not times or red != (since[-1] is not None):
                times.append(begin_s)
                since.append(begin_s if red else None)
        return times, since


def _vehicle_paths(net_file: Path, tls_ids: Collection[str] | None) -> Iterator[tuple[LinkPath, Link]]:
    for tls_id, signal in read_signals(net_file).items():
        if tls_ids is None or tls_id in tls_ids:
            for index, paths in signal.paths.items():
                for path in paths:
                    if path.crossing_length_m is None:
                        yield path, (tls_id, index)


def _lane_lengths(net_file: Path, lanes: Collection[str]) -> dict[str, float]:
    """[m]"""
    found = {}
    for element in _elements(net_file):
        if element.tag == "lane" and element.get("id") in lanes:
            found[element.attrib["id"]] = float(element.attrib["length"])
    return found


def _programs(files: Sequence[Path]) -> dict[str, list[tuple[str, float]]]:
    """Per signal the rows (state, duration [s]) of the program that SUMO starts with, which is the last one."""
    found: dict[str, list[tuple[str, float]]] = {}
    for file in files:
        for element in _elements(file):
            if element.tag == "tlLogic":
                rows = [row.attrib for row in element.iter("phase")]
                if rows:  # else it only sets parameters; a row of an actuated one may leave its duration out
                    timed = [(row["state"], seconds(row.get("duration", row.get("minDur", "0")))) for row in rows]
                    found[element.attrib["id"]] = timed
    return found


def _routes(file: Path) -> dict[str, list[str]]:
    """Per vehicle the edges of the route that it took in the end."""
    found = {}
    for element in _elements(file):
        if element.tag == "vehicle":
            routes = [route for route in element.iter("route") if "edges" in route.attrib]
            if routes:
                found[element.attrib["id"]] = routes[-1].attrib["edges"].split()
            element.clear()
    return found


def _foremost(file: Path, lengths: dict[str, float]) -> Iterator[tuple[float, str, str, float, float]]:
    """At each moment, per lane: time [s], the foremost vehicle, the lane, the way to its end [m], the speed [m/s]."""
    for step in _elements(file):
        if step.tag != "timestep":
            continue
        first: dict[str, tuple[float, str, float]] = {}
        for vehicle in step.iter("vehicle"):
            lane, at_m = vehicle.attrib["lane"], float(vehicle.attrib["pos"])
            if lane in lengths and (lane not in first or at_m > first[lane][0]):
                first[lane] = at_m, vehicle.attrib["id"], float(vehicle.attrib["speed"])
        for lane, (at_m, vehicle_id, speed_mps) in first.items():
            yield float(step.attrib["time"]), vehicle_id, lane, lengths[lane] - at_m, speed_mps
        step.clear()


def _elements(file: Path) -> Iterator[ET.Element]:
    try:
        with open_xml(file) as stream:
            for _, element in ET.iterparse(stream):
                yield element
    except (ET.ParseError, *BROKEN_FILE) as error:
        raise MonitorInputError(f"{file}: not a whole file of SUMO's ({error}); record it anew") from error

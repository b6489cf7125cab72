"""The times that a network's own program keeps, where they are longer than the calculated ones.

A program is read from the net file, and from additional files, whose programs replace the net's. It is a cycle of
rows, or follows their `next`; the rows of a program of type NEMA are its phases, which name their yellow and red.
"""

from __future__ import annotations

import itertools
import math
import xml.etree.ElementTree as ET
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from evaluation.monitor.files import BROKEN_FILE, MonitorInputError, open_xml

GREEN, OPEN = "Gg", "GgoO"
SLOWEST_WALK_MPS = 0.63
"""With a walking frame: 2.07 ft/s (FHWA, Designing Sidewalks and Trails for Access, part 1, table 4-1)."""
MOST_WAYS = 10_000
"""Most rows that are looked at for one end of a link: the ways through rows with several `next` are many."""


@dataclass(frozen=True)
class Row:
    """A row of a program."""

    state: str
    least_s: float
    """How long it lasts at least."""
    following: tuple[int, ...]
    yellow_s: float
    """Of a NEMA phase: its own."""
    red_s: float


@dataclass(frozen=True)
class Program:
    """A signal program as a file has it."""

    program_id: str
    nema: bool
    rows: tuple[Row, ...]


@dataclass
class OwnTimes:
    """What one signal's own program keeps."""

    yellow_s: dict[int, float] = field(default_factory=dict)
    """Per link, its longest yellow."""
    between_s: dict[tuple[int, int], float] = field(default_factory=dict)
    """(ending, starting) link → longest time in between, of those that the program shows one after the other."""
    longest_s: dict[int, float] = field(default_factory=dict)
    """Per ending link, the longest over all of its foes."""

    def clearance_s(self, ending: int, starting: int) -> float:
        """What the program keeps between a pair, or where it never shows that, the ending link's longest."""
        return self.between_s.get((ending, starting), self.longest_s.get(ending, 0.0))


class Programs:
    """The programs of all signals, in the order in which SUMO loads them."""

    def __init__(self) -> None:
        self._of: dict[str, dict[str, Program]] = defaultdict(dict)
        self._switched: set[str] = set()

    def add(self, root: ET.Element) -> None:
        """Take those of a net or an additional file."""
        for element in root.iter("tlLogic"):
            program, known = _program(element), self._of[element.attrib["id"]]
            if program.rows:  # else it only sets parameters
                known.pop(program.program_id, None)
                known[program.program_id] = program
        self._switched |= {element.get("junctionID", "") for element in root.iter("wautJunction")}

    def of(self, tls_id: str) -> list[Program]:
        """The programs that a signal runs by itself: the one that was loaded last. Of a signal that a WAUT switches,
        all."""
        known = list(self._of.get(tls_id, {}).values())
        return known if tls_id in self._switched else known[-1:]


def read_additional(path: Path, programs: Programs, above: tuple[Path, ...] = ()) -> None:
    """Take the programs of an additional file and of those that it includes.

    Raises:
        MonitorInputError: a file cannot be read, or a program in it is broken.
    """
    try:
        with open_xml(path) as stream:
            root = ET.parse(stream).getroot()
        programs.add(root)
        included = [path.parent / element.attrib["href"] for element in root.iter("include")]
    except (ET.ParseError, *BROKEN_FILE) as error:
        raise MonitorInputError(f"{path}: not a readable additional file ({error}); correct it") from error
    for file in included:
        if file not in (*above, path):
            read_additional(file, programs, (*above, path))


def lit(state: str) -> str:
    """A state with one character for yellow: SUMO also writes Y, for a link with priority."""
    return state.replace("Y", "y")


def _program(element: ET.Element) -> Program:
    phases = element.findall("phase")
    kind = element.get("type", "static").lower()
    rows = tuple(
        Row(
            state=lit(phase.attrib["state"]),
            least_s=_least_s(phase.attrib, kind == "static"),
            following=tuple(int(n) for n in phase.get("next", "").split()) or ((number + 1) % len(phases),),
            yellow_s=seconds(phase.get("yellow", "0")),
            red_s=seconds(phase.get("red", "0")),
        )
        for number, phase in enumerate(phases)
    )
    if any(len(row.state) != len(rows[0].state) for row in rows):
        raise ValueError(f"the states of program {element.attrib['id']!r} differ in length")
    if any(not 0 <= n < len(rows) for row in rows for n in row.following):
        raise ValueError(f"a row of program {element.attrib['id']!r} leads to one that is not there")
    return Program(element.get("programID", "0"), kind == "nema", rows)


def _least_s(phase: dict[str, str], static: bool) -> float:
    """Actuated rows may end at minDur, and may leave out their duration."""
    given = [phase[name] for name in ("duration", "minDur") if name in phase and not (static and name == "minDur")]
    return min(map(seconds, given), default=0.0)


def seconds(text: str) -> float:
    """Seconds, written as such or as [D:]HH:MM:SS."""
    value = 0.0
    for part, scale in zip(reversed(text.split(":")), (1.0, 60.0, 3600.0, 86400.0), strict=False):
        value += float(part) * scale
    if not math.isfinite(value):
        raise ValueError(f"{text!r} is no time")
    return value


def own_times(
    programs: Iterable[Program],
    foes: Mapping[int, Mapping[int, bool]],
    crossings_m: Mapping[int, float],
    least_green_s: float,
) -> OwnTimes:
    """What every one of these programs keeps; nothing without a program.

    Args:
        foes: per link, the links that conflict with it, each with whether it yields to the link.
        crossings_m: length of each link that is a crossing.
        least_green_s: who starts so long before a foe does not start with it, but in a phase of its own.
    """
    kept = [
        _nema(program, foes) if program.nema else _Reading(program, foes, crossings_m, least_green_s).times()
        for program in programs
    ]
    if len(kept) <= 1:
        return kept[0] if kept else OwnTimes()
    times = OwnTimes()
    for link in foes:
        times.yellow_s[link] = min(one.yellow_s.get(link, 0.0) for one in kept)
        times.longest_s[link] = min(one.longest_s.get(link, 0.0) for one in kept)
        for foe in foes[link]:
            times.between_s[link, foe] = min(one.clearance_s(link, foe) for one in kept)
    return times


def _nema(program: Program, foes: Mapping[int, object]) -> OwnTimes:
    times = OwnTimes()
    for link in foes:
        served = [row for row in program.rows if link < len(row.state) and row.state[link] in GREEN]
        times.yellow_s[link] = min((row.yellow_s for row in served), default=0.0)
        times.longest_s[link] = min((row.red_s for row in served), default=0.0)
    return times


class _Reading:
    """Reads the times out of one program that is not NEMA."""

    def __init__(
        self,
        program: Program,
        foes: Mapping[int, Mapping[int, bool]],
        crossings_m: Mapping[int, float],
        least_green_s: float,
    ) -> None:
        self.rows, self.foes, self.crossings_m, self.least_green_s = program.rows, foes, crossings_m, least_green_s
        self.states = [row.state for row in program.rows]
        self.size = len(self.states[0]) if self.states else 0

    def times(self) -> OwnTimes:
        """Of all links."""
        times = OwnTimes()
        sooner: dict[tuple[int, int], float] = {}
        for link in self.foes:
            if link >= self.size:
                continue
            for number, row in enumerate(self.rows):
                for after in row.following:
                    now = self.states[after][link]
                    if row.state[link] != "y" and now == "y":
                        shown_s = self._yellow_s(link, after)
                        times.yellow_s[link] = max(times.yellow_s.get(link, 0.0), shown_s)
                    if row.state[link] in self._lets_in(link) and now not in self._lets_in(link):
                        self._transitions(link, number, after, times, sooner)
        for (link, foe), shown_s in sooner.items():
            if (link, foe) not in times.between_s:
                times.between_s[link, foe] = min(shown_s, times.longest_s.get(link, 0.0))
        return times

    def _lets_in(self, link: int) -> str:
        """What a link shows while somebody may still be on the way in; a walk's yellow lets nobody in."""
        return OPEN if link in self.crossings_m else OPEN + "y"

    def _yellow_s(self, link: int, number: int) -> float:
        """The longest yellow that begins with this row."""
        longest_s, ways = 0.0, [(number, 0.0, frozenset({number}))]
        for _ in range(MOST_WAYS):
            if not ways:
                break
            at, shown_s, passed = ways.pop()
            shown_s += self.rows[at].least_s
            longest_s = max(longest_s, shown_s)
            ways += [
                (after, shown_s, passed | {after})
                for after in self.rows[at].following
                if self.states[after][link] == "y" and after not in passed
            ]
        return longest_s

    def _transitions(
        self, link: int, before: int, number: int, times: OwnTimes, sooner: dict[tuple[int, int], float]
    ) -> None:
        """From where a link has ended to the first foe that starts, along every way: the time in between is its
        clearance where nobody else was served in it. Other times, in `sooner`, only bound what is asked for."""
        ways: list[tuple[float, tuple[int, ...]]] = [(0.0, (before, number))]
        for _ in range(MOST_WAYS):
            if not ways:
                break
            shown_s, passed = ways.pop()
            last, at = passed[-2:]
            if self.states[at][link] in OPEN:
                continue
            started = [
                foe
                for foe, yields in self.foes[link].items()
                if foe < self.size and self._starts(foe, last, at, yields)
            ]
            if not started:
                shown_s += self.rows[at].least_s
                ways += [(shown_s, (*passed, after)) for after in self.rows[at].following if after not in passed[1:]]
            elif self._is_clearance(link, shown_s, passed):
                for foe in started:
                    times.between_s[link, foe] = max(times.between_s.get((link, foe), 0.0), shown_s)
                times.longest_s[link] = max(times.longest_s.get(link, 0.0), shown_s)
            else:
                for foe in started:
                    sooner[link, foe] = min(sooner.get((link, foe), math.inf), shown_s)

    def _starts(self, link: int, before: int, now: int, yields: bool) -> bool:
        """It turns green, or stops yielding to the link that has ended."""
        old, new = self.states[before][link], self.states[now][link]
        return new in OPEN and (old not in OPEN or (yields and old in "go" and new in "GO"))

    def _is_clearance(self, link: int, shown_s: float, passed: tuple[int, ...]) -> bool:
        """Whether the rows between the end of a link and the start of its foe served nobody else: no foe with
        priority was green, who had been green stayed so, and who started did so shortly before the foe, and stayed.

        Vehicles beside a walk may go on and end later, since that is how a walk is cleared; but for no longer than
        the slowest need, as else it ended early for another reason.
        """
        walk = link in self.crossings_m
        if walk and shown_s > self.crossings_m[link] / SLOWEST_WALK_MPS:
            return False
        before, *between, _ = passed
        for other in range(self.size):
            shown = [self.states[number][other] for number in passed]
            yields = self.foes[link].get(other)
            if yields is not None and any(c == "G" or (c == "g" and not yields) for c in shown[1:-1]):
                return False
            went_on = self.states[before][other] in OPEN
            if any(a in OPEN and b not in OPEN for a, b in itertools.pairwise(shown[1:])) and not (walk and went_on):
                return False
            green_s = sum(self.rows[number].least_s for number in between if self.states[number][other] in OPEN)
            if not went_on and green_s >= self.least_green_s:
                return False
        return True

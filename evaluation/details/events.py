"""A run as a signal controller's high-resolution event log, in the enumeration that Indiana's controllers write.

Source of the codes: Sturdevant et al. 2012, Indiana traffic signal hi resolution data logger enumerations. There are
phase greens, yellows and reds with the reason of a green's end, walks, and detectors on and off; phases are numbered
by `evaluation.channels`. Signals come from the states that SUMO recorded, detectors from loops of our own that nobody
controls by: four at each stop line, which make one zone of presence, and one upstream.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.sax.saxutils import quoteattr

import polars as pl

from envs.sumo.outputs import not_whole
from evaluation.channels import GREEN, RED, YELLOW, Channel, channels_of, displays
from signals.network import Program, RoadNetwork
from signals.timing import Timing

GREEN_BEGINS, GAP_OUT, MAX_OUT, FORCE_OFF, GREEN_ENDS = 1, 4, 5, 6, 7
YELLOW_BEGINS, YELLOW_ENDS, RED_BEGINS = 8, 9, 10
WALK_BEGINS, DONT_WALK_BEGINS = 21, 23
DETECTOR_OFF, DETECTOR_ON = 81, 82
PRESENCE_M = (2.0, 6.0, 10.0, 14.0)
"""[m] before the stop line: closer than a car is long, so that together they are one zone of 12 m (40 ft)."""
ADVANCE_M = 60.0
"""[m] before the stop line, or as far as the lane goes."""
DAY = datetime.datetime(2000, 1, 1)
"""Simulation second 0."""
SENSING_TYPES = ("actuated", "delay_based")
"""SUMO's program types that extend a green by detectors."""
Spell = tuple[float, float, str]
"""From, to [s], and what was shown."""
SCHEMA: dict[str, Any] = {
    "TimeStamp": pl.Datetime("us"),
    "DeviceId": pl.String,
    "EventId": pl.Int16,
    "Parameter": pl.Int16,
}


@dataclass(frozen=True)
class Loop:
    """A detector of the log."""

    tls_id: str
    number: int
    phase: int
    function: str
    """"Presence" at the stop line, "Advance" upstream."""
    lane: str
    at_m: float
    id: str


@dataclass(frozen=True)
class EventPlan:
    """The phases and detectors of a network, as all its logs number them."""

    channels: tuple[Channel, ...]
    loops: tuple[Loop, ...]

    @staticmethod
    def of(network: RoadNetwork) -> EventPlan:
        """For every signal; detectors are numbered per signal, lane by lane: at the stop line, then upstream."""
        channels: list[Channel] = []
        loops: list[Loop] = []
        for tls_id in sorted(network.controlled):
            own = channels_of(network, tls_id)
            channels += own
            number = 0
            for channel in own:
                for lane in channel.lanes:
                    length_m, first = network.lanes[lane].length_m, number
                    before = [m for m in PRESENCE_M if m < length_m] or [length_m / 2]
                    for before_m in (*before, min(ADVANCE_M, length_m - 0.1)):
                        number += 1
                        function = "Presence" if number <= first + len(before) else "Advance"
                        at_m, name = round(length_m - before_m, 2), f"intergreen-log-{len(loops)}"
                        loops.append(Loop(tls_id, number, channel.number, function, lane, at_m, name))
        return EventPlan(tuple(channels), tuple(loops))

    def additional_xml(self, folder: Path) -> str:
        """The file that places the detectors."""
        target = quoteattr(str(folder / "loops.xml"))
        rows = (
            f'  <instantInductionLoop id="{loop.id}" lane={quoteattr(loop.lane)} pos="{loop.at_m}"'
            f' friendlyPos="true" file={target}/>\n'
            for loop in self.loops
        )
        return f"<additional>\n{''.join(rows)}</additional>\n"

    def detectors(self) -> pl.DataFrame:
        """Which detector belongs to which phase, in the form that `atspm` reads."""
        rows = [(loop.tls_id, loop.phase, loop.number, loop.function) for loop in self.loops]
        schema = {"DeviceId": pl.String, "Phase": pl.Int16, "Parameter": pl.Int16, "Function": pl.String}
        return pl.DataFrame(rows, schema=schema, orient="row")


def read_events(
    folder: Path,
    plan: EventPlan,
    states: pl.DataFrame,
    end_s: float,
    timing: Timing,
    programs: Mapping[str, Program] | None = None,
) -> pl.DataFrame:
    """The log of a run that ended at `end_s`, in order of time.

    Args:
        programs: what SUMO ran at each signal; None where a controller of ours decided.

    Raises:
        InputError: the detectors' output is not whole.
    """
    rows = [
        *_signal_events(plan.channels, states, end_s, timing, programs),
        *_loop_events(folder / "loops.xml", plan),
    ]
    rows.sort()
    return pl.DataFrame(
        [(DAY + datetime.timedelta(seconds=time_s), tls_id, code, number) for time_s, tls_id, code, number in rows],
        schema=SCHEMA,
        orient="row",
    )


def _signal_events(
    channels: Sequence[Channel],
    states: pl.DataFrame,
    end_s: float,
    timing: Timing,
    programs: Mapping[str, Program] | None,
) -> Iterator[tuple[float, str, int, int]]:
    begins = {GREEN: GREEN_BEGINS, YELLOW: YELLOW_BEGINS, RED: RED_BEGINS}
    longest = {tls_id: longest_greens(program) for tls_id, program in (programs or {}).items()}
    rows = {tls_id: _row_spells(states, tls_id, end_s) for tls_id in longest}
    for channel in channels:
        for start, until, shown in displays(channel, states, end_s):
            if channel.pedestrian:
                code = WALK_BEGINS if shown == GREEN else DONT_WALK_BEGINS
                yield start, channel.tls_id, code, channel.number
                continue
            yield start, channel.tls_id, begins[shown], channel.number
            if until < end_s and shown == GREEN:
                if programs is None:
                    why = MAX_OUT if until - start >= timing.max_green_s else FORCE_OFF
                else:
                    own = [row for row in rows.get(channel.tls_id, ()) if start <= row[0] and row[1] <= until]
                    why = termination(own, longest.get(channel.tls_id, {}))
                yield until, channel.tls_id, why, channel.number
                yield until, channel.tls_id, GREEN_ENDS, channel.number
            elif until < end_s and shown == YELLOW:
                yield until, channel.tls_id, YELLOW_ENDS, channel.number


def longest_greens(program: Program) -> dict[str, float]:
    """The longest time to which SUMO extends a row, by the row's state [s]; rows without extension are left out.

    A row without minDur has its duration as the least; without maxDur, too, it is fixed; with minDur alone it has no
    greatest length (as libsumo's getAllProgramLogics tells them).
    """
    found: dict[str, float] = {}
    for row in program.rows if program.type in SENSING_TYPES else ():
        least_s = row.duration_s if row.min_duration_s is None else row.min_duration_s
        if row.max_duration_s is not None:
            most_s = row.max_duration_s
        else:
            most_s = row.duration_s if row.min_duration_s is None else math.inf
        if most_s > least_s:
            found[row.state] = max(most_s, found.get(row.state, 0.0))
    return found


def termination(rows: Sequence[Spell], longest_s: Mapping[str, float]) -> int:
    """Why a green ended in which a program showed these rows: the last one that could be extended ended it, at a gap
    or at its greatest length; a fixed plan forces it off."""
    for start, until, state in reversed(rows):
        if state in longest_s:
            return MAX_OUT if until - start >= longest_s[state] - 1e-6 else GAP_OUT
    return FORCE_OFF


def _row_spells(states: pl.DataFrame, tls_id: str, end_s: float) -> list[Spell]:
    """The states that a signal showed."""
    own = states.filter(tls_id=tls_id)
    times, shown = own["time_s"].to_list(), own["state"].to_list()
    spells: list[Spell] = []
    for time_s, until, state in zip(times, [*times[1:], end_s], shown, strict=True):
        if spells and spells[-1][2] == state:
            spells[-1] = spells[-1][0], until, state
        else:
            spells.append((time_s, until, state))
    return spells


def _loop_events(path: Path, plan: EventPlan) -> Iterator[tuple[float, str, int, int]]:
    loops = {loop.id: loop for loop in plan.loops}
    codes = {"enter": DETECTOR_ON, "leave": DETECTOR_OFF}
    try:
        with path.open("rb") as stream:
            for _, element in ElementTree.iterparse(stream):
                code = codes.get(element.get("state", ""))
                if element.tag == "instantOut" and code is not None:
                    loop = loops[element.attrib["id"]]
                    yield float(element.attrib["time"]), loop.tls_id, code, loop.number
                element.clear()
    except (ElementTree.ParseError, KeyError, ValueError, OSError) as error:
        raise not_whole(path, error, "detector output") from error

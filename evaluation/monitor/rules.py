"""The safety monitor's judgement of one signal: its displays over time, and what is wrong with them.

`evaluation.monitor`, the package, states the rules in words.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

from evaluation.monitor.files import MonitorInputError
from evaluation.monitor.links import Relation, SignalLinks, clearance_s
from evaluation.monitor.programs import own_times

GREEN, YIELDING, OFF = "Gg", "gs", "oO"
LONGEST_CLEARANCE_S = 120.0  # no crossing is 128 m long; saves most of the geometry


@dataclass(frozen=True)
class Rules:
    """The limits that the states are judged by."""

    yellow_s: float = 3.0
    """Least yellow of a vehicle link."""
    deceleration_mps2: float = 0.0
    """Above 0: yellow lasts at least 1 s + V/(2·deceleration), too, V the approach's speed limit, where that is no
    more than 6 s (ITE: 10 ft/s² = 3.05 m/s²)."""
    min_green_s: float = 5.0
    """Least green of a vehicle link."""
    walk_s: float = 7.0
    """Least walk of a crossing (MUTCD 4E.06)."""
    vehicle_length_m: float = 6.1
    """Length of the clearing vehicle: 20 ft (ITE)."""
    walking_speed_mps: float = 1.07
    """Pedestrians' speed: 3.5 ft/s (MUTCD 4E.06)."""
    clearance_tolerance_s: float = 0.25
    """How far a clearance may fall short: geometry is not exact. Nothing is left to rounding, which lengthens."""

    def __post_init__(self) -> None:
        for rule in dataclasses.fields(self):
            value = getattr(self, rule.name)
            if not 0 <= value < math.inf or (value == 0 and rule.name == "walking_speed_mps"):
                raise MonitorInputError(
                    f"rule {rule.name} is {value}; nothing is judged by that, give a number above 0"
                )


@dataclass(frozen=True)
class Finding:
    """One violation, at the instant when it shows."""

    tls_id: str
    time_s: float
    kind: str
    links: tuple[int, ...]
    message: str


@dataclass(frozen=True)
class Interval:
    """An unchanging display, in whole milliseconds: [start, end)."""

    start_ms: int
    end_ms: int
    state: str


class Judge:
    """All checks of one signal."""

    def __init__(self, links: SignalLinks, intervals: list[Interval], rules: Rules) -> None:
        self.links = links
        self.intervals = intervals
        self.rules = rules
        self.end_ms = intervals[-1].end_ms
        self.own = own_times(links.programs, links.foes(), links.crossings_m(), rules.min_green_s)
        self.crossings = {link for link in links.paths if links.is_crossing(link)}
        # link -> its displays: the signal's intervals with those joined that don't change this link
        self.displays = {link: self._of_link(link) for link in sorted(links.paths)}
        self._clearances: dict[tuple[int, int, int], float] = {}

    def findings(self) -> Iterator[Finding]:
        """Every violation, kind by kind."""
        yield from self._conflicting_greens()
        for link in self.displays:
            if link not in self.crossings:
                yield from self._endings(link)
            yield from self._min_green(link)
        for relation in self.links.relations:
            if relation.first != relation.second:
                yield from self._starts(relation, relation.first, relation.second, relation.first_yields)
                yield from self._starts(relation, relation.second, relation.first, relation.second_yields)

    def _found(self, time_ms: int, kind: str, links: tuple[int, ...], message: str) -> Finding:
        return Finding(self.links.tls_id, time_ms / 1000, kind, links, message)

    def _of_link(self, link: int) -> list[Interval]:
        runs = itertools.groupby(self.intervals, key=lambda interval: interval.state[link])
        joined = []
        for char, group in runs:
            members = list(group)
            joined.append(Interval(members[0].start_ms, members[-1].end_ms, char))
        return joined

    def _conflicting_greens(self) -> Iterator[Finding]:
        known: dict[str, dict[tuple[int, ...], str]] = {}
        before: dict[tuple[int, ...], str] = {}
        for interval in self.intervals:
            if interval.state not in known:
                known[interval.state] = dict(self._conflicts_in(interval.state))
            now = known[interval.state]
            for links, message in now.items():
                if before.get(links) != message:  # once per conflict, however long it lasts
                    turn_on_red = any(interval.state[link] == "s" for link in links)
                    kind = "unyielding_turn_on_red" if turn_on_red else "conflicting_greens"
                    yield self._found(interval.start_ms, kind, links, message)
            before = now

    def _conflicts_in(self, state: str) -> Iterator[tuple[tuple[int, ...], str]]:
        for relation in self.links.relations:
            first, second = relation.first, relation.second
            a, b = state[first], state[second]
            if first == second:
                if a == "G" or (a == "g" and (relation.streets or not relation.one_yields)):
                    yield (first,), f"link {first} shows {a} to connections that conflict with each other"
                continue
            if a not in "Ggs" or b not in "Ggs" or a == b == "s":
                continue
            if a == "G" and b == "G":
                reason = "conflict"
            elif relation.streets:
                reason = "cross, and neither turns"
            elif a == "G" and not relation.second_yields:
                reason = f"conflict and {second} does not yield to {first}"
            elif b == "G" and not relation.first_yields:
                reason = f"conflict and {first} does not yield to {second}"
            elif a in YIELDING and b in YIELDING and not relation.one_yields:
                reason = "conflict and neither yields"
            else:
                continue
            yield (first, second), f"links {first} ({a}) and {second} ({b}) {reason}"

    def _endings(self, link: int) -> Iterator[Finding]:
        """How a vehicle link's greens end."""
        displays, yellow_s = self.displays[link], self._yellow_s(link)
        for before, now in itertools.pairwise(displays):
            if before.state in GREEN and now.state not in GREEN and now.state != "y":
                message = f"link {link} goes from {before.state} to {now.state} without yellow"
                yield self._found(now.start_ms, "missing_yellow", (link,), message)
        for position, now in enumerate(displays):
            if now.state != "y":
                continue
            before_char = displays[position - 1].state if position else None
            after_char = displays[position + 1].state if position + 1 < len(displays) else None
            shown_s = (now.end_ms - now.start_ms) / 1000
            if before_char is not None and before_char not in GREEN:
                message = f"link {link} shows yellow after {before_char}, not after green"
                yield self._found(now.start_ms, "yellow_without_green", (link,), message)
            elif after_char is not None and after_char in GREEN:
                message = f"link {link} goes back to {after_char} after {shown_s:g} s of yellow"
                yield self._found(now.end_ms, "aborted_yellow", (link,), message)
            elif before_char and after_char and shown_s < yellow_s - 1e-6:
                message = f"link {link} shows yellow for {shown_s:g} s, not {yellow_s:.3g} s"
                yield self._found(now.end_ms, "short_yellow", (link,), message)

    def _yellow_s(self, link: int) -> float:
        rules, fastest_mps = self.rules, max(path.speed_mps for path in self.links.paths[link])
        least_s = max(rules.yellow_s, self.own.yellow_s.get(link, 0.0))
        if rules.deceleration_mps2 <= 0:
            return least_s
        return max(least_s, min(1.0 + fastest_mps / (2 * rules.deceleration_mps2), 6.0))

    def _min_green(self, link: int) -> Iterator[Finding]:
        walk = link in self.crossings
        kind, least_s = ("short_walk", self.rules.walk_s) if walk else ("short_min_green", self.rules.min_green_s)
        runs = itertools.groupby(self.displays[link], key=lambda display: display.state in GREEN)
        for green, group in runs:
            members = list(group)
            start_ms, end_ms = members[0].start_ms, members[-1].end_ms
            if not green or start_ms == self.intervals[0].start_ms or end_ms == self.end_ms:
                continue
            shown_s = (end_ms - start_ms) / 1000
            if shown_s < least_s - 1e-6:
                message = f"link {link} is green for {shown_s:g} s, not {least_s:g} s"
                yield self._found(end_ms, kind, (link,), message)

    def _starts(self, relation: Relation, i: int, j: int, i_yields: bool) -> Iterator[Finding]:
        """Every start of link j, judged against its conflicting link i."""
        j_yields = relation.second_yields if j == relation.second else relation.first_yields
        displays = self.displays[i]
        at = 0
        for before, now in itertools.pairwise(self.displays[j]):
            upgraded = before.state == "g" and now.state == "G"
            if now.state not in GREEN or (before.state in GREEN and not upgraded):
                continue
            time_ms = now.start_ms
            while displays[at].end_ms <= time_ms:
                at += 1
            shown = displays[at].state
            if shown in GREEN:
                if shown == "g" and i_yields:
                    yield from self._protection_lost(relation, i, j, at, time_ms)
            elif upgraded and not j_yields:
                continue  # j had the right of way over i before
            elif shown == "y" and i not in self.crossings:
                if at == 0 or displays[at - 1].state in GREEN:
                    message = f"link {j} turns {now.state} while conflicting link {i} still shows yellow"
                    yield self._found(time_ms, "green_against_yellow", (i, j), message)
            elif shown not in OFF:
                yield from self._cleared(relation, i, j, at, time_ms)

    def _cleared(self, relation: Relation, i: int, j: int, at: int, time_ms: int) -> Iterator[Finding]:
        """Link i does not let anyone in: since when, and is that long enough for j to start?"""
        open_states = "GgoO" if i in self.crossings else "GgyoO"
        earlier = reversed(self.displays[i][:at])
        ended_ms = next((old.end_ms for old in earlier if old.state in open_states), None)
        if ended_ms is None:
            return  # not since the recording began
        shown_s = (time_ms - ended_ms) / 1000
        if shown_s > LONGEST_CLEARANCE_S:
            return
        calculated_s, own_s = self._needed_s(relation, i), self.own.clearance_s(i, j)
        # geometry is not exact, a program's own time is
        if shown_s < max(calculated_s - self.rules.clearance_tolerance_s, own_s - 1e-6):
            walk = i in self.crossings
            kind = "short_pedestrian_clearance" if walk else "short_red_clearance"
            message = (
                f"link {j} starts {shown_s:g} s after the {'walk' if walk else 'yellow'} of conflicting link"
                f" {i} ended, not {max(calculated_s, own_s):.2f} s"
                f"{' as in its own program' if own_s > calculated_s else ''}"
            )
            yield self._found(time_ms, kind, (i, j), message)

    def _protection_lost(self, relation: Relation, i: int, j: int, at: int, time_ms: int) -> Iterator[Finding]:
        """Link i shows g and yields to j, which starts: has i shown g for long enough if it had G before?"""
        now = self.displays[i][at]
        before = self.displays[i][at - 1] if at else None
        if before is None or before.state != "G":
            return
        change_s = 0.0 if i in self.crossings else self.rules.yellow_s
        shown_s, needed_s = (time_ms - now.start_ms) / 1000, change_s + self._needed_s(relation, i)
        if shown_s < needed_s - self.rules.clearance_tolerance_s:
            message = (
                f"link {j} starts {shown_s:g} s after conflicting link {i} went from G to g,"
                f" not {needed_s:.2f} s (yellow and clearance)"
            )
            yield self._found(time_ms, "short_protection_change", (i, j), message)

    def _needed_s(self, relation: Relation, leaving: int) -> float:
        key = (relation.first, relation.second, leaving)
        if key not in self._clearances:
            rules = self.rules
            self._clearances[key] = clearance_s(relation, leaving, rules.vehicle_length_m, rules.walking_speed_mps)
        return self._clearances[key]

"""Patterns and the day plan that selects them, for a controller that `signals.nema` has set up.

All numbers are those that a controller's tables hold: whole seconds from 0 to 255. A pattern's cycle begins at a
barrier. Its offset says when the first coordinated NEMA phase turns green, counted from midnight (the reference that
NEMA TS 2 calls the beginning of the first coordinated phase's green).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from deployment.nema.codec import decode, encode
from deployment.nema.oids import (
    MOST_PATTERN,
    SPLIT_MAX_PED_RECALL,
    SPLIT_MAX_RECALL,
    SPLIT_MIN_RECALL,
    SPLIT_NONE,
    SPLIT_OMIT,
    SPLIT_PED_RECALL,
)
from plumbing.errors import InputError
from signals.nema import NemaPhase, NemaPlan, barrier_groups

OCTET = 255
"""Greatest value of an object in a pattern."""
DAY_MINUTES = 24 * 60
FORMAT = 1
"""Format of plans.json."""
MODES = {
    "none": SPLIT_NONE,
    "min_recall": SPLIT_MIN_RECALL,
    "max_recall": SPLIT_MAX_RECALL,
    "ped_recall": SPLIT_PED_RECALL,
    "max_ped_recall": SPLIT_MAX_PED_RECALL,
    "omitted": SPLIT_OMIT,
}
"""How a split is served, and the number that stands for it in NTCIP 1202 (splitMode)."""
PEDESTRIAN_MODES = ("ped_recall", "max_ped_recall")


@dataclass(frozen=True, slots=True)
class Split:
    """One NEMA phase's share of the cycle."""

    phase: int
    split_s: int
    """Green, yellow change and red clearance together; 0 where it is omitted."""
    mode: str
    """A key of `MODES`."""
    coordinated: bool = False


@dataclass(frozen=True, slots=True)
class Pattern:
    """A plan: cycle, splits, offset and sequence. Its split table has its own number."""

    number: int
    """1 to 253."""
    cycle_s: int
    offset_s: int
    """When the first coordinated phase turns green, from midnight, modulo the cycle."""
    sequence: tuple[tuple[int, ...], ...]
    """Per ring, its NEMA phases in the order in which they are served; each begins at the same barrier."""
    splits: tuple[Split, ...]
    """In order of the phase's number."""

    def split(self, phase: int) -> Split:
        """The split of a NEMA phase."""
        return next(split for split in self.splits if split.phase == phase)


@dataclass(frozen=True, slots=True)
class On:
    """When a NEMA phase is on within a cycle, from its green's beginning; seconds since the cycle began."""

    phase: int
    start_s: float
    green_end_s: float
    yellow_end_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class SignalPlans:
    """One controller's set-up and its patterns."""

    nema: NemaPlan
    patterns: tuple[Pattern, ...]

    def pattern(self, number: int) -> Pattern:
        """The pattern of that number."""
        return next(pattern for pattern in self.patterns if pattern.number == number)


@dataclass(frozen=True, slots=True)
class Event:
    """From this minute of the day on, this pattern runs."""

    minute: int
    """0 to 1439."""
    pattern: int


@dataclass(frozen=True, slots=True)
class PlanSet:
    """The plans of all signals of a network. They change patterns together, so that they stay coordinated."""

    signals: tuple[SignalPlans, ...]
    day: tuple[Event, ...]
    """In order of time; the first at midnight. The same every day."""

    def at(self, minute: float) -> int:
        """The pattern that the day plan asks for at a minute of the day."""
        return [event for event in self.day if event.minute <= minute % DAY_MINUTES][-1].pattern


def mode_for(phase: NemaPhase) -> str:
    """How a fixed-time split is served: in full each cycle, with the walk where the phase times one."""
    return "max_ped_recall" if phase.walk_s + phase.pedestrian_clearance_s > 0 else "max_recall"


def least_split_s(phase: NemaPhase, mode: str) -> int:
    """The shortest split that has room for what the phase must show [s]."""
    if mode == "omitted":
        return 0
    green = phase.min_green_s
    if mode in PEDESTRIAN_MODES:
        green = max(green, phase.walk_s + phase.pedestrian_clearance_s)
    return math.ceil(green + phase.yellow_change_s + phase.red_clearance_s - 1e-9)


def served(pattern: Pattern) -> tuple[tuple[int, ...], ...]:
    """Per ring, the NEMA phases that are served, in order."""
    omitted = {split.phase for split in pattern.splits if split.mode == "omitted"}
    return tuple(tuple(n for n in ring if n not in omitted) for ring in pattern.sequence)


def group_order(pattern: Pattern, nema: NemaPlan) -> list[frozenset[int]]:
    """The groups between barriers in the order in which the pattern serves them.

    Raises:
        InputError: the rings disagree, or one leaves a group and comes back to it.
    """
    order: list[frozenset[int]] = []
    groups = barrier_groups(nema)
    for ring in pattern.sequence:
        met = [next(g for g in groups if n in g) for n in ring]
        entered = [group for group, _ in itertools.groupby(met)]
        if len(set(entered)) < len(entered):
            raise _error(
                nema, pattern, f"sequence {_text(ring)} crosses a barrier and comes back; keep groups together"
            )
        known = [group for group in entered if group in order]
        if known != [group for group in order if group in known]:
            raise _error(nema, pattern, "the rings cross the barriers in different orders; give both the same")
        for place, group in enumerate(entered):
            if group not in order:
                before = [order.index(g) for g in entered[:place]]
                order.insert(max(before, default=-1) + 1, group)
    return order


def timeline(pattern: Pattern, nema: NemaPlan) -> tuple[On, ...]:
    """When each served NEMA phase is on, from the barrier at which the cycle begins."""
    shown: list[On] = []
    begin_s = 0.0
    rings, groups = served(pattern), group_order(pattern, nema)
    for group in groups:
        end_s = begin_s
        for ring in rings:
            at_s = begin_s
            if len(groups) == 1 and len(ring) == 1:  # nothing else ever wants its ring: it rests in green
                end_s = float(pattern.cycle_s)
                shown.append(On(ring[0], 0.0, end_s, end_s, end_s))
                continue
            for number in (n for n in ring if n in group):
                phase, to_s = nema.phase(number), at_s + pattern.split(number).split_s
                yellow_end_s = to_s - phase.red_clearance_s
                shown.append(On(number, at_s, yellow_end_s - phase.yellow_change_s, yellow_end_s, to_s))
                at_s = to_s
            end_s = max(end_s, at_s)
        begin_s = end_s
    return tuple(shown)


def cycle_begin_s(pattern: Pattern, nema: NemaPlan) -> float:
    """When a cycle begins, from midnight, modulo the cycle: the offset less the coordinated phase's place in it."""
    lead_s = min(on.start_s for on in timeline(pattern, nema) if pattern.split(on.phase).coordinated)
    return (pattern.offset_s - lead_s) % pattern.cycle_s


def check_pattern(pattern: Pattern, nema: NemaPlan) -> None:
    """Whether a controller that is set up like this can run the pattern.

    Raises:
        InputError: it cannot; the message says which rule is broken.
    """

    def refuse(message: str) -> InputError:
        return _error(nema, pattern, message)

    if not 1 <= pattern.number <= MOST_PATTERN:
        raise refuse(f"a pattern's number is 1 to {MOST_PATTERN}")
    if not 1 <= pattern.cycle_s <= OCTET:
        raise refuse(f"cycle is {pattern.cycle_s} s; a controller holds 1 to {OCTET} s")
    if not 0 <= pattern.offset_s < pattern.cycle_s:
        raise refuse(f"offset is {pattern.offset_s} s; it must be at least 0 and less than the cycle")
    numbers = [phase.number for phase in nema.phases]
    if [split.phase for split in pattern.splits] != numbers:
        raise refuse(
            f"splits are given for {_text([s.phase for s in pattern.splits])}, the phases are {_text(numbers)}"
        )
    if [sorted(ring) for ring in pattern.sequence] != [sorted(ring) for ring in nema.rings]:
        raise refuse("the sequence does not hold each ring's phases once")
    for split in pattern.splits:
        phase = nema.phase(split.phase)
        if split.mode not in MODES:
            raise refuse(f"phase {phase.number} has mode {split.mode!r}; choose of {', '.join(MODES)}")
        if not 0 <= split.split_s <= OCTET:
            raise refuse(f"the split of phase {phase.number} is {split.split_s} s; a controller holds 0 to {OCTET} s")
        if split.mode == "omitted" and (split.split_s or split.coordinated):
            raise refuse(f"phase {phase.number} is omitted; give it no split and do not coordinate it")
        least = least_split_s(phase, split.mode)
        if split.split_s < least:
            walks = split.mode in PEDESTRIAN_MODES and phase.walk_s + phase.pedestrian_clearance_s > 0
            green = f"walk {phase.walk_s:g} + clearance {phase.pedestrian_clearance_s:g}" if walks else "green"
            raise refuse(
                f"the split of phase {phase.number} is {split.split_s} s, it needs {least} s ({green}, "
                f"min green {phase.min_green_s:g}, yellow {phase.yellow_change_s:g}, red {phase.red_clearance_s:g}); "
                "lengthen it"
            )
    groups, rings, total_s = group_order(pattern, nema), served(pattern), 0
    for group in groups:
        sums = [sum(pattern.split(n).split_s for n in ring if n in group) for ring in rings if group & set(ring)]
        if len(set(sums)) > 1:
            raise refuse(
                f"between barriers, phases {_text(sorted(group))}: the rings' splits sum to "
                f"{' and '.join(map(str, sums))} s; make them equal"
            )
        total_s += sums[0] if sums else 0
    if total_s != pattern.cycle_s:
        raise refuse(f"the splits of a ring sum to {total_s} s, the cycle is {pattern.cycle_s} s; make them equal")
    coordinated = [split.phase for split in pattern.splits if split.coordinated]
    if not coordinated:
        raise refuse("no phase is coordinated; the offset refers to one")
    if not any(set(coordinated) <= group for group in groups):
        raise refuse(f"coordinated phases {_text(coordinated)} are in different groups; coordinate one street")
    if len({nema.phase(n).ring for n in coordinated}) < len(coordinated):
        raise refuse(f"coordinated phases {_text(coordinated)} share a ring; coordinate one of each ring")
    check_concurrency(pattern, nema)


def check_concurrency(pattern: Pattern, nema: NemaPlan) -> None:
    """Whether only phases are on together that may be.

    Raises:
        InputError: two are that must not.
    """
    for a, b in itertools.combinations(timeline(pattern, nema), 2):
        apart = a.end_s <= b.start_s or b.end_s <= a.start_s
        if not apart and b.phase not in nema.phase(a.phase).concurrent:
            message = f"phases {a.phase} and {b.phase} would be on together, which they must not; change the splits"
            raise _error(nema, pattern, message)


def check_signal(plans: SignalPlans, day: Sequence[Event]) -> None:
    """Whether the patterns and the day plan can be downloaded to this signal's controller; nothing half is sent.

    Raises:
        InputError: no; the message says why.
    """
    where = f"tls {plans.nema.tls_id!r}"
    numbers = [pattern.number for pattern in plans.patterns]
    if len(set(numbers)) < len(numbers):
        raise InputError(f"{where}: two patterns have one number; number each")
    for pattern in plans.patterns:
        check_pattern(pattern, plans.nema)
    minutes = [event.minute for event in day]
    if not day or minutes[0] != 0:
        raise InputError(f"{where}: the day plan does not begin at midnight; say which pattern runs from 0:00")
    if minutes != sorted(set(minutes)) or not 0 <= minutes[-1] < DAY_MINUTES:
        raise InputError(f"{where}: the day plan's times are not in order within a day; give each minute once")
    if unknown := sorted({event.pattern for event in day} - set(numbers)):
        raise InputError(f"{where}: the day plan asks for pattern {unknown[0]}, which is not there; add it")


def check_plans(plans: PlanSet) -> None:
    """As `check_signal`, for all signals."""
    for signal in plans.signals:
        check_signal(signal, plans.day)


def clock(minute: float) -> str:
    """A minute of the day as hours and minutes."""
    return f"{int(minute) // 60:02d}:{int(minute) % 60:02d}"


def plan_set_json(plans: PlanSet) -> dict[str, Any]:
    """Plain values, with the set-up that the patterns are for."""
    return {"format": FORMAT, **encode(plans)}


def plan_set_from_json(content: Any) -> PlanSet:
    """The inverse of `plan_set_json`, checked.

    Raises:
        InputError: it holds something else, or a plan that cannot be run.
    """
    if not isinstance(content, Mapping) or content.get("format") != FORMAT:
        raise InputError(f"these are no plans of format {FORMAT}; derive them anew")
    try:
        plans = decode(PlanSet, {key: value for key, value in content.items() if key in ("signals", "day")})
    except ValueError as error:
        raise InputError(f"these are no plans ({error}); derive them anew") from error
    check_plans(plans)
    return plans


def _text(numbers: Sequence[int]) -> str:
    return " ".join(map(str, numbers)) or "none"


def _error(nema: NemaPlan, pattern: Pattern, message: str) -> InputError:
    return InputError(f"tls {nema.tls_id!r}, pattern {pattern.number}: {message}")

"""Plans as SUMO runs them: a `tlLogic` per pattern, and a WAUT per signal that switches between them.

A pattern begins where its offset says. Where the day plan asks for another one, the old pattern's cycle ends first,
and up to three cycles of the new one are lengthened or shortened until it is in step: controllers call this a
transition. SUMO would switch in mid-green otherwise.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from xml.sax.saxutils import quoteattr

from deployment.nema.pattern import (
    DAY_MINUTES,
    Pattern,
    PlanSet,
    SignalPlans,
    check_concurrency,
    check_plans,
    cycle_begin_s,
    least_split_s,
    served,
)
from deployment.plans.display import Shown, check_display, cycle
from signals.intersection import Intersection
from signals.nema import NemaPlan, barrier_groups

TRANSITION_CYCLES = 3
EASY_CHANGE = 0.2
"""A transition takes a further cycle rather than change one by more than this share."""
DAY_S = DAY_MINUTES * 60.0


@dataclass(frozen=True, slots=True)
class Program:
    """A program that a signal runs from a time on."""

    program_id: str
    from_s: float
    """Simulation time; also when one of its cycles begins."""
    rows: tuple[Shown, ...]

    @property
    def length_s(self) -> float:
        """Of one round."""
        return sum(row.duration_s for row in self.rows)


def day_programs(plans: SignalPlans, of: PlanSet, begin_s: float, end_s: float) -> list[Program]:
    """What a signal runs from `begin_s` to `end_s`, simulation times from midnight, in order."""
    nema, number = plans.nema, of.at(begin_s / 60.0)
    pattern = plans.pattern(number)
    found = [Program(_name(number), cycle_begin_s(pattern, nema), cycle(pattern, nema))]
    free_s = begin_s
    for asked_s, wanted in _events(of, begin_s, end_s):
        if wanted == number:
            continue
        old, new = plans.pattern(number), plans.pattern(wanted)
        anchor_s = cycle_begin_s(old, nema)
        at_s = anchor_s + -((anchor_s - max(asked_s, free_s)) // old.cycle_s) * old.cycle_s
        if (final := cycle(old, nema, last=True)) != found[-1].rows:
            if at_s - old.cycle_s < free_s and len(found) > 1:
                at_s += old.cycle_s
            found.append(Program(f"{_name(number)}-last-at-{at_s:g}", at_s - old.cycle_s, final))
        lengths = transition(new, nema, (cycle_begin_s(new, nema) - at_s) % new.cycle_s)
        if lengths:
            rounds = [stretched(new, nema, length) for length in lengths]
            for one in rounds:
                check_concurrency(one, nema)
            rows = tuple(row for one in rounds for row in cycle(one, nema))
            found.append(Program(f"{_name(number)}-{wanted}-at-{at_s:g}", at_s, rows))
        free_s = at_s + sum(lengths)
        found.append(Program(_name(wanted), free_s, cycle(new, nema)))
        number = wanted
    return found


def transition(pattern: Pattern, nema: NemaPlan, late_s: float) -> list[int]:
    """The lengths of the cycles that bring a pattern in step when its own would begin `late_s` from now [s]."""
    if late_s < 1e-6:
        return []
    shortest, best = shortest_cycle_s(pattern, nema), None
    for cycles in range(1, TRANSITION_CYCLES + 1):
        for change_s in (late_s, late_s - pattern.cycle_s):
            total_s = round(cycles * pattern.cycle_s + change_s)
            if total_s < cycles * shortest:
                continue
            hardship = abs(change_s) / cycles / pattern.cycle_s
            if best is None or hardship < best[0] - 1e-9:
                best = hardship, cycles, total_s
        if best is not None and best[0] <= EASY_CHANGE:
            break
    assert best is not None  # lengthening is always possible
    _, cycles, total_s = best
    return [total_s * (n + 1) // cycles - total_s * n // cycles for n in range(cycles)]


def shortest_cycle_s(pattern: Pattern, nema: NemaPlan) -> int:
    """The sum of what each group between barriers needs at least [s]."""
    rings = served(pattern)
    return sum(
        max(sum(least_split_s(nema.phase(n), pattern.split(n).mode) for n in ring if n in group) for ring in rings)
        for group in barrier_groups(nema)
    )


def stretched(pattern: Pattern, nema: NemaPlan, cycle_s: int) -> Pattern:
    """The pattern with another cycle; what the phases have beyond their least goes up or down in proportion."""
    rings = served(pattern)
    groups = [g for g in barrier_groups(nema) if any(g & set(ring) for ring in rings)]
    least = [max(sum(_least(pattern, nema, n) for n in ring if n in g) for ring in rings) for g in groups]
    now = [max(sum(pattern.split(n).split_s for n in ring if n in g) for ring in rings) for g in groups]
    lengths = shared(cycle_s, least, [a - b for a, b in zip(now, least, strict=True)])
    splits = {split.phase: 0 for split in pattern.splits}
    for group, length in zip(groups, lengths, strict=True):
        for ring in rings:
            members = [n for n in ring if n in group]
            if members:
                floor = [_least(pattern, nema, n) for n in members]
                spare = [pattern.split(n).split_s - s for n, s in zip(members, floor, strict=True)]
                splits.update(zip(members, shared(length, floor, spare), strict=True))
    changed = tuple(dataclasses.replace(split, split_s=splits[split.phase]) for split in pattern.splits)
    return dataclasses.replace(pattern, cycle_s=cycle_s, offset_s=pattern.offset_s % cycle_s, splits=changed)


def shared(total: int, least: list[int], weights: Iterable[float]) -> list[int]:
    """Whole numbers that sum to `total`, none below its least; the rest by weight, by largest remainders.

    Raises:
        ValueError: the least sum to more.
    """
    spare, parts = total - sum(least), [max(0.0, weight) for weight in weights]
    if spare < 0:
        raise ValueError(f"{sum(least)} is the least, {total} is to be shared")
    parts = parts if sum(parts) > 0 else [1.0] * len(least)
    exact = [spare * part / sum(parts) for part in parts]
    whole = [int(share) for share in exact]
    order = sorted(range(len(exact)), key=lambda n: (whole[n] - exact[n], n))
    for n in order[: spare - sum(whole)]:
        whole[n] += 1
    return [a + b for a, b in zip(least, whole, strict=True)]


def plans_xml(plans: PlanSet, intersections: Mapping[str, Intersection], begin_s: float, end_s: float) -> str:
    """The additional file for a simulation from `begin_s` to `end_s`, in seconds from midnight.

    Raises:
        InputError: a plan cannot be run, or would show greens that conflict.
    """
    check_plans(plans)
    parts = ["<additional>\n"]
    for signal in plans.signals:
        tls_id = signal.nema.tls_id
        programs = day_programs(signal, plans, begin_s, end_s)
        written: set[str] = set()
        for program in programs:
            if program.program_id in written:
                continue
            written.add(program.program_id)
            check_display(program.rows, intersections[tls_id])
            parts.append(_program_xml(tls_id, program))
        name = quoteattr(f"plans {tls_id}".replace(" ", "-"))
        parts.append(f'    <WAUT id={name} refTime="0" startProg="{programs[0].program_id}">\n')
        parts += [
            f'        <wautSwitch time="{program.from_s:g}" to="{program.program_id}"/>\n' for program in programs[1:]
        ]
        parts.append("    </WAUT>\n")
        parts.append(f"    <wautJunction wautID={name} junctionID={quoteattr(tls_id)}/>\n")
    return "".join((*parts, "</additional>\n"))


def _program_xml(tls_id: str, program: Program) -> str:
    offset_s = program.from_s % program.length_s
    head = (
        f'    <tlLogic id={quoteattr(tls_id)} type="static" programID="{program.program_id}" offset="{offset_s:g}">\n'
    )
    rows = "".join(f'        <phase duration="{row.duration_s:g}" state="{row.state}"/>\n' for row in program.rows)
    return f"{head}{rows}    </tlLogic>\n"


def _events(of: PlanSet, begin_s: float, end_s: float) -> list[tuple[float, int]]:
    """The day plan's events between two times, over as many days as it takes."""
    first, last = int(begin_s // DAY_S), int(end_s // DAY_S)
    all_days = [
        (day * DAY_S + event.minute * 60.0, event.pattern) for day in range(first, last + 1) for event in of.day
    ]
    return [(time_s, pattern) for time_s, pattern in all_days if begin_s < time_s < end_s]


def _least(pattern: Pattern, nema: NemaPlan, number: int) -> int:
    return least_split_s(nema.phase(number), pattern.split(number).mode)


def _name(number: int) -> str:
    return f"plan-{number}"

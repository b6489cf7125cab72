"""What an engineer reads of derived plans: a page in Markdown, and the same as data for the timing sheet."""

from __future__ import annotations

import random
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from deployment.nema.pattern import Event, PlanSet, SignalPlans, clock, group_order, least_split_s

RESAMPLES = 2000
MEANT = {
    "fixed_time": "fixed_time: the network's own program, its change intervals untouched",
    "own_greens": "own_greens: its greens, cycle and offsets, with the plan's change intervals",
}
NOTES = (
    "Splits hold green, yellow change and red clearance. Offsets say when the first coordinated phase (*) turns",
    "green, from midnight, modulo the cycle. Every split has room for min green and, beside a crossing, for walk",
    "and clearance; phases are on max recall, with pedestrian recall beside crossings. Found in simulation: no",
    "street has seen them.",
)


def sheet(plans: SignalPlans, day: Sequence[Event]) -> dict[str, Any]:
    """The plan part of a timing sheet, as plain values. Seconds."""
    nema = plans.nema
    return {
        "tls_id": nema.tls_id,
        "rings": [list(ring) for ring in nema.rings],
        "phases": [
            {
                "phase": phase.number,
                "name": phase.name or "overlaps alone",
                "min_green_s": phase.min_green_s,
                "walk_s": phase.walk_s,
                "pedestrian_clearance_s": phase.pedestrian_clearance_s,
                "yellow_change_s": phase.yellow_change_s,
                "red_clearance_s": phase.red_clearance_s,
            }
            for phase in nema.phases
        ],
        "patterns": [
            {
                "pattern": pattern.number,
                "from": [clock(event.minute) for event in day if event.pattern == pattern.number],
                "cycle_s": pattern.cycle_s,
                "offset_s": pattern.offset_s,
                "offset_reference": "beginning of the first coordinated phase's green, from midnight",
                "coordinated_phases": [split.phase for split in pattern.splits if split.coordinated],
                "sequence": [list(ring) for ring in pattern.sequence],
                "groups": [sorted(group) for group in group_order(pattern, nema)],
                "splits": [
                    {
                        "phase": split.phase,
                        "split_s": split.split_s,
                        "mode": split.mode,
                        "least_s": least_split_s(nema.phase(split.phase), split.mode),
                    }
                    for split in pattern.splits
                ],
            }
            for pattern in plans.patterns
        ],
    }


def page(
    plans: PlanSet,
    record: Mapping[str, Any],
    delay_s: Mapping[str, Sequence[float]],
    seeds: Sequence[int],
    title: str,
) -> str:
    """The page.

    Args:
        delay_s: per controller, its mean delay per seed, the plan's as "plan".
        seeds: these; none of them was used before.
    """
    lines = [f"# Time-of-day plans: {title}", ""]
    lines += _judged(delay_s, seeds)
    lines += ["", "## Times of day", "", "| from | to | vehicles | pattern |", "|---|---|---|---|"]
    for part in record["times_of_day"]:
        begin, end = part["from_s"] / 60, part["to_s"] / 60
        lines.append(f"| {clock(begin)} | {clock(end)} | {part['vehicles']} | {plans.at(begin)} |")
    told = ", ".join(f"pattern {event.pattern} from {clock(event.minute)}" for event in plans.day)
    lines += ["", f"The day plan, every day: {told}."]
    for signal in plans.signals:
        lines += _signal(signal, plans.day)
    for tls_id, reason in record.get("without_plan", {}).items():
        lines += ["", f"Signal {tls_id} keeps its own program: {reason}"]
    settings = record["settings"]
    lines += [
        "",
        "## How they were found",
        "",
        f"{record['method']}; {record['runs']} simulated runs, seed {settings['seed']},",
        f"each comparison on {settings['seeds']} training seeds.",
        "plans.json has every plan that was tried and its delay.",
        "",
        *NOTES,
    ]
    return "\n".join(lines) + "\n"


def _judged(delay_s: Mapping[str, Sequence[float]], seeds: Sequence[int]) -> list[str]:
    of = "one seed" if len(seeds) == 1 else f"{len(seeds)} seeds"
    lines = [
        f"Mean delay of all vehicles on {of} that no plan was tuned on ({', '.join(map(str, seeds))}),",
        "with a 95 % bootstrap interval; and against the plan, paired by seed.",
        "",
        "| | delay [s] | the plan against it |",
        "|---|---|---|",
    ]
    plan = delay_s["plan"]
    for name, values in delay_s.items():
        mean, (low, high) = statistics.fmean(values), interval(values)
        against = ""
        if name != "plan":
            gain = interval([100 * (p / v - 1) for p, v in zip(plan, values, strict=True)])
            against = f"{100 * (statistics.fmean(plan) / mean - 1):+.1f} % [{gain[0]:+.1f}, {gain[1]:+.1f}]"
        lines.append(f"| {MEANT.get(name, name)} | {mean:.1f} [{low:.1f}, {high:.1f}] | {against} |")
    return lines


def interval(values: Sequence[float]) -> tuple[float, float]:
    """95 % bootstrap interval of the mean; the same for the same values."""
    draw = random.Random(0)
    means = sorted(statistics.fmean(draw.choices(values, k=len(values))) for _ in range(RESAMPLES))
    return means[round(0.025 * (RESAMPLES - 1))], means[round(0.975 * (RESAMPLES - 1))]


def _signal(signal: SignalPlans, day: Sequence[Event]) -> list[str]:
    told = sheet(signal, day)
    numbers = [phase["phase"] for phase in told["phases"]]
    lines = ["", f"## Signal {signal.nema.tls_id}", ""]
    lines += ["| phase | lets go | min green | walk + clearance | yellow | red |", "|---|---|---|---|---|---|"]
    for phase in told["phases"]:
        walk = f"{phase['walk_s']:g} + {phase['pedestrian_clearance_s']:g}" if phase["walk_s"] else ""
        lines.append(
            f"| {phase['phase']} | {phase['name']} | {phase['min_green_s']:g} | {walk} | "
            f"{phase['yellow_change_s']:g} | {phase['red_clearance_s']:g} |"
        )
    lines += [
        "",
        "| pattern | from | cycle | offset | sequence | " + " | ".join(f"split {n}" for n in numbers) + " |",
    ]
    lines.append("|" + "---|" * (5 + len(numbers)))
    for pattern in told["patterns"]:
        sequence = " / ".join(" ".join(map(str, ring)) for ring in pattern["sequence"])
        splits = [
            f"{split['split_s']}{'*' if split['phase'] in pattern['coordinated_phases'] else ''}"
            for split in pattern["splits"]
        ]
        begins = ", ".join(pattern["from"]) or "not in the day plan"
        lines.append(
            f"| {pattern['pattern']} | {begins} | {pattern['cycle_s']} | {pattern['offset_s']} | {sequence} | "
            + " | ".join(splits)
            + " |"
        )
    return lines

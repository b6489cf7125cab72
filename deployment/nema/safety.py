"""What must hold before a policy leaves for a controller: no conflicting greens, and no interval that is too short.

Everything is calculated anew from the formulas, with their standard values: neither the settings of a training nor
the tables that are checked are believed.
"""

from __future__ import annotations

import itertools

from deployment.nema.fallback import FixedTimePlan
from deployment.nema.pattern import least_split_s, mode_for
from plumbing.errors import InputError
from signals.clearance import FOOT_M, pedestrian_clearance_s, red_clearance_s, yellow_change_s
from signals.intersection import Intersection
from signals.links import Link, LinkTable, conflict_distance_m
from signals.nema import NemaPhase, NemaPlan
from signals.network import Program
from signals.phases import is_green, unsafe_pairs
from signals.safe_states import why_apart

WALK_S = 7.0
"""MUTCD 2009 section 4E.06. It allows 4 s where few people walk, which a network file does not tell."""
VEHICLE_LENGTH_M = 20 * FOOT_M
"""ITE, Traffic Engineering Handbook; a tram or train has its own length."""
TENTHS = ("yellow_change_s", "red_clearance_s", "red_revert_s")
SECONDS = ("min_green_s", "max_green_s", "walk_s", "pedestrian_clearance_s")
_MOST = 255  # a controller's tables hold one byte, of seconds or of tenths


def refuse_unsafe(item: Intersection, plan: NemaPlan, fallback: FixedTimePlan) -> None:
    """Raises InputError with the first finding, and how many more there are."""
    found = findings(item, plan, fallback)
    if found:
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        raise InputError(f"tls {item.tls_id!r} is not exported: {found[0]}{more}")


def findings(item: Intersection, plan: NemaPlan, fallback: FixedTimePlan) -> list[str]:
    """Every fault of a signal with this plan, in words; empty where it may be exported."""
    return [
        *program_findings(item.program, item.table),
        *pair_findings(item.table, plan),
        *(line for phase in plan.phases for line in timing_findings(item, plan, phase)),
        *split_findings(plan, fallback),
    ]


def program_findings(program: Program, table: LinkTable) -> list[str]:
    """Faults that SUMO only warns of: two foes with priority in one row, and greens that end without yellow."""
    found = []
    for number, row in enumerate(program.rows):
        pairs = [
            (i, j) for i, j in unsafe_pairs(row.state, table) if is_green(row.state[i]) and is_green(row.state[j])
        ]
        if pairs:
            found.append(
                f"row {number} ({row.state}) of its program {program.program_id!r} is an unsafe green: "
                f"{why_apart(table, *pairs[0])}; correct the program and train again"
            )
        following = program.rows[(number + 1) % len(program.rows)].state
        for link in table.links:
            ends = is_green(row.state[link.index]) and following[link.index] in "rs"
            if ends and link.used and not link.pedestrian:
                found.append(
                    f"row {number} ({row.state}) of its program {program.program_id!r} ends the green of link "
                    f"{link.index} without yellow; correct the program and train again"
                )
                break
    return found


def pair_findings(table: LinkTable, plan: NemaPlan) -> list[str]:
    """Conflicting greens in an action, or in a pair of NEMA phases that may be green together."""
    found = []
    for action, phases in enumerate(plan.actions):
        if clash := _clash(table, plan, phases):
            found.append(f"action {action} is unsafe: {why_apart(table, *clash)}, but are green together")
        for a, b in itertools.combinations(phases, 2):
            if b not in plan.phase(a).concurrent or plan.phase(a).ring == plan.phase(b).ring:
                found.append(f"action {action} is an illegal pair: NEMA phases {a} and {b} may not be green together")
    for a, b in itertools.combinations([p.number for p in plan.phases], 2):
        if b in plan.phase(a).concurrent and (clash := _clash(table, plan, (a, b))):
            found.append(
                f"NEMA phases {a} and {b} are an illegal pair: {why_apart(table, *clash)}, but may be green together"
            )
    return found


def _clash(table: LinkTable, plan: NemaPlan, on: tuple[int, ...]) -> tuple[int, int] | None:
    """Two links that conflict while these NEMA phases are green, or None."""
    green = lit(plan, on)
    state = "".join(plan.green[i] if i in green else "r" for i in range(len(table.links)))
    return next(iter(unsafe_pairs(state, table)), None)


def lit(plan: NemaPlan, on: tuple[int, ...]) -> set[int]:
    """The links that are green, walks included, while these NEMA phases are."""
    links = {i for n in on for i in (*plan.phase(n).links, *plan.phase(n).crossings)}
    return links | {i for overlap in plan.overlaps if set(overlap.phases) & set(on) for i in overlap.links}


def timing_findings(item: Intersection, plan: NemaPlan, phase: NemaPhase) -> list[str]:
    """Intervals of a NEMA phase that are shorter than calculated, or that no controller's table holds."""
    links = item.table.links
    own = lit(plan, (phase.number,))
    where = f"NEMA phase {phase.number}"
    found = []
    yellow = max((needed_yellow_s(links[i]) for i in own if not links[i].pedestrian), default=0.0)
    if phase.yellow_change_s < yellow - 1e-9:
        found.append(f"{where}: yellow {phase.yellow_change_s:g} s is below the calculated {yellow:g} s; {_SETTINGS}")
    red = max((needed_red_s(links[i], links[j]) for i, j in _met_later(item, plan, phase)), default=0.0)
    if phase.red_clearance_s < red - 1e-9:
        found.append(
            f"{where}: red clearance {phase.red_clearance_s:g} s is below the calculated {red:g} s; {_SETTINGS}"
        )
    if phase.crossings:
        if phase.walk_s < WALK_S - 1e-9:
            found.append(f"{where}: walk {phase.walk_s:g} s is below {WALK_S:g} s; {_SETTINGS}")
        needed = max(pedestrian_clearance_s(links[i].crossing_m) for i in phase.crossings)
        given = phase.pedestrian_clearance_s + phase.yellow_change_s + phase.red_clearance_s
        if given < needed - 1e-9:
            found.append(
                f"{where}: pedestrian clearance {given:g} s (flashing, yellow and red) is below the calculated "
                f"{needed:.1f} s; {_SETTINGS}"
            )
        if phase.min_green_s < phase.walk_s - 1e-9:
            found.append(f"{where}: min green {phase.min_green_s:g} s is shorter than its walk; {_SETTINGS}")
    if not 0 < phase.min_green_s <= phase.max_green_s:
        found.append(f"{where}: green from {phase.min_green_s:g} to {phase.max_green_s:g} s is no range; {_SETTINGS}")
    for names, unit in ((TENTHS, 0.1), (SECONDS, 1.0)):
        for name in names:
            value = getattr(phase, name)
            if not 0 <= value <= _MOST * unit + 1e-9:
                found.append(
                    f"{where}: {name} {value:g} does not fit a controller's table of 0 to {_MOST * unit:g} s"
                )
    return found


_SETTINGS = "train again with calculated change intervals and the standard times"


def needed_yellow_s(link: Link) -> float:
    """Yellow for the approach's speed limit, to the tenth of a second that a controller's table holds."""
    return round(yellow_change_s(link.yellow_speed_mps), 1)


def needed_red_s(ending: Link, starting: Link) -> float:
    """Red clearance from one vehicle link to a foe, to the tenth of a second."""
    distance_m, length_m = conflict_distance_m(ending, starting), max(VEHICLE_LENGTH_M, ending.rail_length_m)
    return round(red_clearance_s(distance_m, ending.speed_mps, vehicle_length_m=length_m), 1)


def _met_later(item: Intersection, plan: NemaPlan, phase: NemaPhase) -> list[tuple[int, int]]:
    """(link of this NEMA phase that ends, foe that begins) over all actions that may follow each other."""
    pairs: dict[tuple[int, int], None] = {}
    for old, new in itertools.permutations(plan.actions, 2):
        if phase.number not in old or phase.number in new:
            continue
        before, after = lit(plan, old), lit(plan, new)
        ending = (lit(plan, (phase.number,)) & before) - after
        for i, j in itertools.product(sorted(ending), sorted(after - before)):
            if item.table.conflicts[i, j] and not item.table.links[i].pedestrian:
                pairs[i, j] = None
    return list(pairs)


def split_findings(plan: NemaPlan, fallback: FixedTimePlan) -> list[str]:
    """Splits of the fixed-time plan that cannot hold what their NEMA phase shows."""
    found = []
    for phase in plan.phases:
        least, given = least_split_s(phase, mode_for(phase)), fallback.split_s(phase.number)
        if not least <= given <= _MOST:
            found.append(
                f"fixed-time plan: NEMA phase {phase.number} has a split of {given:g} s, not {least:g} to 255 s"
            )
    if not 0 < fallback.cycle_s <= _MOST:
        found.append(f"fixed-time plan: its cycle of {fallback.cycle_s:g} s is not within 1 to 255 s")
    return found

"""Patterns made from green times per policy phase: the start of a search, or a plan by itself."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from deployment.nema.pattern import OCTET, Pattern, Split, least_split_s, mode_for
from deployment.plans.program import shared
from signals.intersection import Intersection
from signals.nema import NemaPlan, barrier_groups
from signals.phases import is_green


def coordinated_phases(item: Intersection, nema: NemaPlan) -> tuple[int, ...]:
    """One NEMA phase per ring of the main street: with two rings, 2 and 6 or what stands for them.

    A single ring's phases are numbered as the program shows them. There it is the phase with most ways straight on.
    """
    if len(nema.rings) > 1:
        main = next(group for group in barrier_groups(nema) if 2 in group)
        own = [[n for n in ring if n in main] for ring in nema.rings]
        return tuple(min(members, key=lambda n: (n % 2, n)) for members in own if members)

    def straight(number: int) -> tuple[int, int]:
        links = nema.phase(number).links
        turns = [c.direction for i in links for c in item.table.links[i].connections]
        return sum(turn == "s" for turn in turns), len(turns)

    def of_group(group: frozenset[int]) -> list[int]:
        by_ring = [[n for n in ring if n in group] for ring in nema.rings]
        return [max(members, key=lambda n: (straight(n), -n)) for members in by_ring if members]

    chosen = [of_group(group) for group in barrier_groups(nema)]
    best = max(chosen, key=lambda numbers: (*map(sum, zip(*map(straight, numbers), strict=True)), -numbers[0]))
    return tuple(best)


def base_sequence(nema: NemaPlan, order: Sequence[frozenset[int]]) -> tuple[tuple[int, ...], ...]:
    """Each ring's phases with the groups in this order."""
    return tuple(tuple(n for group in order for n in ring if n in group) for ring in nema.rings)


def group_weights(nema: NemaPlan, green_s: Sequence[float]) -> list[dict[int, float]]:
    """Per group, the green that each of its NEMA phases has had, when policy phase p was green for `green_s[p]`."""
    return [
        {n: sum(s for action, s in zip(nema.actions, green_s, strict=True) if n in action) for n in sorted(group)}
        for group in barrier_groups(nema)
    ]


def pattern_from_greens(
    item: Intersection,
    nema: NemaPlan,
    green_s: Sequence[float],
    cycle_s: int,
    *,
    number: int = 1,
    offset_s: int = 0,
    order: Sequence[int] = (),
) -> Pattern:
    """A pattern whose greens have the same proportions as these.

    Args:
        green_s: per policy phase, how long it was green; in any unit.
        cycle_s: what it should be; no less than the least splits need, and no more than a controller holds.
        order: policy phases in the order in which they follow each other; by default the set-up's own.
    """
    groups, modes = list(barrier_groups(nema)), {phase.number: mode_for(phase) for phase in nema.phases}
    coordinated = coordinated_phases(item, nema)
    main = next(group for group in groups if coordinated[0] in group)
    if order:
        placed = [next(g for g in groups if nema.actions[p][0] in g) for p in order]
        groups = [*dict.fromkeys((*placed, *groups))]
    start = groups.index(main)
    groups = groups[start:] + groups[:start]
    weights = {n: w for of in group_weights(nema, green_s) for n, w in of.items()}
    sequence = base_sequence(nema, groups)
    least = {phase.number: least_split_s(phase, modes[phase.number]) for phase in nema.phases}
    change = {phase.number: phase.yellow_change_s + phase.red_clearance_s for phase in nema.phases}
    floors, wishes = [], []
    for group in groups:
        rings = [[n for n in ring if n in group] for ring in sequence]
        floors.append(max(sum(least[n] for n in ring) for ring in rings))
        wishes.append(
            (max(sum(weights[n] for n in ring) for ring in rings), max(sum(change[n] for n in r) for r in rings))
        )
    cycle_s = min(max(cycle_s, sum(floors)), OCTET)
    lengths = _lengths(cycle_s, floors, wishes)
    splits: dict[int, int] = {}
    for group, length in zip(groups, lengths, strict=True):
        for ring in sequence:
            members = [n for n in ring if n in group]
            if members:
                parts = _lengths(length, [least[n] for n in members], [(weights[n], change[n]) for n in members])
                splits.update(zip(members, parts, strict=True))
    return Pattern(
        number,
        cycle_s,
        offset_s % cycle_s,
        sequence,
        tuple(Split(n, splits[n], modes[n], n in coordinated) for n in sorted(splits)),
    )


def _lengths(total: int, least: Sequence[int], wishes: Sequence[tuple[float, float]]) -> list[int]:
    """Whole seconds that sum to `total`: each its change and a share of the green by weight, or its least."""
    spare = total - sum(change for _, change in wishes)
    weight = sum(w for w, _ in wishes) or 1.0
    targets = [change + spare * w / weight for w, change in wishes]
    over = [max(0.0, target - floor) for target, floor in zip(targets, least, strict=True)]
    return shared(total, list(least), over)


def own_greens(item: Intersection) -> list[float]:
    """How long the network's own program lets the vehicles of each phase go [s].

    Where no row shows just that, as for a part of one, it is the phase's own duration.
    """
    rows, found = item.program.rows, []
    vehicles = [link.index for link in item.table.links if link.used and not link.pedestrian]
    greens = [tuple(is_green(row.state[i]) for i in vehicles) for row in rows]
    for phase in item.phases:
        shown = tuple(is_green(phase.state[i]) for i in vehicles)
        own_s = sum(row.duration_s for row, green in zip(rows, greens, strict=True) if green == shown)
        found.append(own_s or phase.duration_s)
    return found


def own_cycle_s(item: Intersection) -> float:
    """The cycle of the network's own program [s]."""
    return sum(row.duration_s for row in item.program.rows)


def own_offset_s(item: Intersection, nema: NemaPlan, coordinated: Sequence[int]) -> float:
    """When the network's own program lets the first of these NEMA phases go, from midnight [s]."""
    links = [i for n in coordinated for i in nema.phase(n).links] or [
        i for overlap in nema.overlaps if set(overlap.phases) & set(coordinated) for i in overlap.links
    ]
    rows, at_s = item.program.rows, 0.0
    for number, row in enumerate(rows):
        before = rows[number - 1].state
        if any(is_green(row.state[i]) and not is_green(before[i]) for i in links):
            return item.program.offset_s + at_s
        at_s += row.duration_s
    return item.program.offset_s


def sequences(nema: NemaPlan, pattern: Pattern, most: int = 24) -> list[tuple[tuple[int, ...], ...]]:
    """Other sequences: the groups after the first in any order, and the phases of a ring's group turned round."""
    groups = [g for ring in pattern.sequence[:1] for g in _in_order(nema, ring)]
    every = [g for g in barrier_groups(nema) if g not in groups]
    groups += every
    found = [base_sequence(nema, (groups[0], *rest)) for rest in itertools.permutations(groups[1:])]
    for group in groups:
        for r, ring in enumerate(pattern.sequence):
            members = [n for n in ring if n in group]
            if len(members) == 2:
                turned = {members[0]: members[1], members[1]: members[0]}
                changed = tuple(turned.get(n, n) for n in ring)
                found.append((*pattern.sequence[:r], changed, *pattern.sequence[r + 1 :]))
    return [s for s in dict.fromkeys(found) if s != pattern.sequence][:most]


def _in_order(nema: NemaPlan, ring: Sequence[int]) -> list[frozenset[int]]:
    groups = barrier_groups(nema)
    return [*dict.fromkeys(next(g for g in groups if n in g) for n in ring)]

"""How a NEMA controller shows what a policy chooses: an intersection as rings, NEMA phases and overlaps.

A policy chooses a phase, the greens that are served together. A controller times NEMA phases, one ring's greens
each. Where every phase is at most two independent greens, they become the NEMA phases of a dual-ring controller;
`signals.numbering` says which. Any other intersection becomes one ring with a NEMA phase per phase, numbered as the
program shows them, and links that several of them serve become overlaps. The same goes for a phase that would need
one ring dark beside the other's green: a NEMA phase that is last before the barrier waits in green for the other
ring.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from plumbing.errors import InputError
from signals.intersection import Intersection
from signals.numbering import Group, phase_numbers
from signals.phases import is_green

MOST_PHASES = 8
PASSAGE_S = 3.0
"""Vehicle extension: at 40 m upstream and 50 km/h a vehicle needs 3 s to the stop line."""
RED_REVERT_S = 2.0
"""Least red before the same NEMA phase turns green again (NTCIP 1202, phaseRedRevert)."""


@dataclass(frozen=True, slots=True)
class NemaPhase:
    """One NEMA phase: what it lets go, and its timing as the controller's tables hold it. Seconds."""

    number: int
    """1 to 8."""
    ring: int
    concurrent: tuple[int, ...]
    """NEMA phases of the other ring that may be green with it."""
    name: str
    links: tuple[int, ...]
    """Link indices of the vehicles that it lets go."""
    crossings: tuple[int, ...]
    """Link indices of the crossings whose walk runs with it."""
    min_green_s: float
    max_green_s: float
    passage_s: float
    yellow_change_s: float
    red_clearance_s: float
    red_revert_s: float
    walk_s: float
    """0 where it has no crossing."""
    pedestrian_clearance_s: float
    """Flashing don't walk before yellow begins."""
    pedestrian_clearance_needed_s: float
    """From the end of walk to the first conflicting green, as calculated: yellow and red count towards it
    (MUTCD 2009 section 4E.06)."""


@dataclass(frozen=True, slots=True)
class Overlap:
    """Links that are green with any of several NEMA phases, and stay green from one to the next."""

    number: int
    phases: tuple[int, ...]
    links: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class NemaPlan:
    """One intersection as a controller is set up for it."""

    tls_id: str
    rings: tuple[tuple[int, ...], ...]
    """Sequence of NEMA phases per ring."""
    phases: tuple[NemaPhase, ...]
    overlaps: tuple[Overlap, ...]
    actions: tuple[tuple[int, ...], ...]
    """Per phase that a policy chooses, the NEMA phases that are green with it."""
    green: str
    """Per link, the character that it shows when green: `g` where it ever has to give way, else `G`."""

    def phase(self, number: int) -> NemaPhase:
        """The NEMA phase of that number."""
        return next(phase for phase in self.phases if phase.number == number)


def nema_plan(item: Intersection) -> NemaPlan:
    """Set a controller up for this intersection.

    Raises:
        InputError: it has more phases than a controller of eight NEMA phases can show.
    """
    return _dual_ring(item) or _single_ring(item)


def _columns(item: Intersection) -> dict[frozenset[int], list[int]]:
    """Vehicle links by the set of phases in which they are green."""
    found: dict[frozenset[int], list[int]] = {}
    for link in item.table.links:
        column = frozenset(p.index for p in item.phases if is_green(p.state[link.index]))
        if column and link.used and not link.pedestrian:
            found.setdefault(column, []).append(link.index)
    return found


def _dual_ring(item: Intersection) -> NemaPlan | None:
    """Two rings, or None where the phases are no pairs of independent greens."""
    groups = [Group.of(item.table.links, column, links) for column, links in _columns(item).items()]
    overlapping: list[Group] = []
    while crowded := [p for p in range(len(item.phases)) if sum(p in g.column for g in groups) > 2]:
        made_of_others = [
            g
            for g in groups
            if any(p in g.column for p in crowded)
            and g.column == frozenset().union(*(o.column for o in groups if o is not g and o.column < g.column))
        ]
        if not made_of_others:
            return None
        demoted = min(made_of_others, key=lambda g: (g.through, len(g.links)))
        groups.remove(demoted)
        overlapping.append(demoted)
    for group in overlapping:
        if frozenset().union(*(o.column for o in groups if o.column < group.column)) != group.column:
            return None  # what it was made of has become an overlap itself
    if any(not any(p in g.column for g in groups) for p in range(len(item.phases))):
        return None  # a phase without a NEMA phase of its own: a crossing's, say
    split: list[Group] = []
    for group in groups:
        alone = all(sum(p in g.column for g in groups) == 1 for p in group.column)
        edges = sorted(group.edges)
        if alone and len(edges) > 1:
            halves = (edges[: (len(edges) + 1) // 2], edges[(len(edges) + 1) // 2 :])
            for half in halves:
                own = [i for i in group.links if item.table.links[i].connections[0].from_edge in half]
                split.append(Group.of(item.table.links, group.column, own))
        else:
            split.append(group)
    numbers = phase_numbers(split)
    if numbers is None:
        return None
    numbered = dict(zip(numbers, split, strict=True))
    overlaps = [
        (tuple(sorted(n for n, other in numbered.items() if other.column < group.column)), group.links)
        for group in overlapping
    ]
    plan = _assemble(item, {n: (g.column, g.links) for n, g in numbered.items()}, overlaps)
    if plan is not None and len(item.phases) <= MOST_PHASES and _rests_dark(plan):
        return None
    return plan


def barrier_groups(plan: NemaPlan) -> tuple[frozenset[int], ...]:
    """The NEMA phases between two barriers: those that may be green with each other, directly or by way of a third.

    In order of their least number.
    """
    groups: list[set[int]] = []
    for phase in plan.phases:
        met = [g for g in groups if phase.number in g or any(n in g for n in phase.concurrent)]
        groups = [g for g in groups if g not in met] + [{phase.number, *phase.concurrent}.union(*met)]
    return tuple(frozenset(g) for g in sorted(groups, key=min))


def _rests_dark(plan: NemaPlan) -> bool:
    """Whether an action leaves a ring red that has a NEMA phase between the same barriers."""
    rings = {frozenset(g): {plan.phase(n).ring for n in g} for g in barrier_groups(plan)}
    return any({plan.phase(n).ring for n in a} != rings[g] for a in plan.actions for g in rings if a[0] in g)


def _single_ring(item: Intersection) -> NemaPlan:
    if len(item.phases) > MOST_PHASES:
        raise InputError(
            f"tls {item.tls_id!r} has {len(item.phases)} phases, a controller of this kind shows {MOST_PHASES}; "
            f"give it a program with fewer green rows"
        )
    columns = _columns(item)
    own = {
        p + 1: (frozenset({p}), tuple(columns.get(frozenset({p}), ())))  #
        for p in range(len(item.phases))
    }
    overlaps = [
        (tuple(sorted(p + 1 for p in column)), tuple(links)) for column, links in columns.items() if len(column) > 1
    ]
    plan = _assemble(item, own, overlaps)
    assert plan is not None  # each crossing runs with every stage that serves it
    return plan


def _assemble(
    item: Intersection,
    own: dict[int, tuple[frozenset[int], tuple[int, ...]]],
    overlaps: Sequence[tuple[tuple[int, ...], tuple[int, ...]]],
) -> NemaPlan | None:
    """The plan from numbered phases (column, links) and overlaps; None where a crossing fits no phase."""
    crossings = _crossings(item, own)
    if crossings is None:
        return None
    two = any(number > 4 for number in own) and any(column & other for column, other in _across(own))
    ring = {number: (2 if two and number > 4 else 1) for number in own}
    phases = []
    for number, (column, links) in sorted(own.items()):
        shown = (*links, *(i for phases_of, extra in overlaps if number in phases_of for i in extra))
        yellow, red = _change(item, shown)
        walks = crossings.get(number, ())
        needed = max((_clearance(item, i) for i in walks), default=0.0)
        members = [p for p in item.phases if p.index in column]
        phases.append(
            NemaPhase(
                number,
                ring[number],
                tuple(n for n, (other, _) in sorted(own.items()) if ring[n] != ring[number] and other & column),
                "; ".join(dict.fromkeys(p.name for p in members)) if not links else _name(item, links),
                tuple(sorted(links)),
                tuple(sorted(walks)),
                max(p.min_green_s for p in members),
                max(p.max_green_s for p in members),
                PASSAGE_S,
                yellow,
                red,
                RED_REVERT_S,
                item.times.timing.walk_s if walks else 0.0,
                max(needed - yellow - red, 0.0),
                needed,
            )
        )
    lowest = "".join(
        "g" if any(p.state[i] in "go" for p in item.phases) else "G" for i in range(len(item.table.links))
    )
    actions = tuple(tuple(n for n, (column, _) in sorted(own.items()) if p.index in column) for p in item.phases)
    sequence = tuple(tuple(n for n in sorted(own) if ring[n] == r) for r in sorted(set(ring.values())))
    numbered = tuple(Overlap(n, phases_of, links) for n, (phases_of, links) in enumerate(overlaps, start=1))
    return NemaPlan(item.tls_id, sequence, tuple(phases), numbered, actions, lowest)


def _across(
    own: dict[int, tuple[frozenset[int], tuple[int, ...]]],
) -> Iterable[tuple[frozenset[int], frozenset[int]]]:
    for a, (column, _) in own.items():
        for b, (other, _) in own.items():
            if a <= 4 < b:
                yield column, other


def _crossings(
    item: Intersection, own: dict[int, tuple[frozenset[int], tuple[int, ...]]]
) -> dict[int, tuple[int, ...]] | None:
    """The crossings that run with each numbered phase."""
    found: dict[int, tuple[int, ...]] = {}
    for link in item.table.links:
        column = frozenset(p.index for p in item.phases if is_green(p.state[link.index]))
        if not link.pedestrian or not column:
            continue
        same = [n for n, (other, _) in own.items() if other == column]
        if same:  # next to the vehicles that turn over it and give way
            beside = {n: sum(bool(item.table.yields[i, link.index]) for i in own[n][1]) for n in same}
            hosts = [max(same, key=lambda n: (beside[n], -n))]
        else:
            hosts = [n for n, (other, _) in own.items() if other < column]
            if frozenset().union(*(own[n][0] for n in hosts)) != column:
                return None
        for n in hosts:
            found[n] = (*found.get(n, ()), link.index)
    return found


def _foes(item: Intersection, link: int) -> list[int]:
    """Links that conflict with this one and begin when it has ended, in whatever order phases come."""
    begin = {
        j
        for p in item.phases
        if not is_green(p.state[link])
        for j, character in enumerate(p.state)
        if is_green(character)
    }
    return [j for j in item.table.conflicts[link].nonzero()[0].tolist() if j in begin]


def _clearance(item: Intersection, link: int) -> float:
    step = item.times.timing.sim_step_s
    longest = max((item.times.clearance_s(link, j) for j in _foes(item, link)), default=0.0)
    return math.ceil(longest / step - 1e-9) * step


def _change(item: Intersection, links: Sequence[int]) -> tuple[float, float]:
    """Yellow and red clearance that suffice for each of these links, whatever follows [s]."""
    step = item.times.timing.sim_step_s
    yellow = max((item.times.yellow_s(i) for i in links), default=item.times.timing.yellow_change_s)
    return math.ceil(yellow / step - 1e-9) * step, max((_clearance(item, i) for i in links), default=0.0)


def _name(item: Intersection, links: Sequence[int]) -> str:
    words = {"s": "straight", "l": "left", "r": "right", "t": "turn"}
    parts: dict[str, dict[str, None]] = {}
    for i in links:
        for c in item.table.links[i].connections:
            parts.setdefault(c.from_edge, {})[words.get(c.direction.lower(), c.direction)] = None
    return "; ".join(f"{edge} {'+'.join(turns)}" for edge, turns in parts.items())

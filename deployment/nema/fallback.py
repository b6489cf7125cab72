"""The fixed-time plan that a bundle falls back on: the network's own program, in NEMA phases.

The cycle is the program's own, too, unless the controller's minimum times and changes need a longer one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from operator import le

from deployment.nema.pattern import least_split_s, mode_for
from signals.intersection import Intersection
from signals.nema import NemaPlan, barrier_groups
from signals.phases import is_green


@dataclass(frozen=True, slots=True)
class Split:
    """How long one NEMA phase has within the cycle, its yellow and red clearance included [s]."""

    phase: int
    split_s: float


@dataclass(frozen=True, slots=True)
class FixedTimePlan:
    """A pattern: cycle, splits, sequence and offset. Whole seconds, as NTCIP 1202 has them."""

    source: str
    cycle_s: float
    offset_s: float
    """From the system's reference to the beginning of green of `reference_phase`."""
    reference_phase: int
    sequence: tuple[tuple[int, ...], ...]
    """NEMA phases per ring, in order; every ring crosses the barrier between two groups with the others."""
    groups: tuple[tuple[int, ...], ...]
    """NEMA phases on the same side of a barrier, in order of service."""
    splits: tuple[Split, ...]

    def split_s(self, phase: int) -> float:
        """The split of that NEMA phase [s]."""
        return next(split.split_s for split in self.splits if split.phase == phase)


def fallback_plan(item: Intersection, plan: NemaPlan) -> FixedTimePlan:
    """The network's own program as a pattern."""
    slots = _slots(item)
    splits = {phase.number: 0.0 for phase in plan.phases}
    groups = _groups(plan)
    for group in groups:
        for ring in plan.rings:
            last, waiting = 0, 0.0
            for p, duration_s in slots:
                if not set(plan.actions[p]) & set(group):
                    continue
                on = [n for n in plan.actions[p] if n in ring]
                last, waiting = (on[0] if on else last), waiting + duration_s
                if last:  # where the program ends one ring early, a controller lets its green go on: it is no foe
                    splits[last] += waiting
                    waiting = 0.0
    for group in groups:
        rings = [tuple(n for n in group if n in ring) for ring in plan.rings]
        for n in group:
            splits[n] = max(math.ceil(splits[n] - 1e-9), least_split_s(plan.phase(n), mode_for(plan.phase(n))))
        longest = max(sum(splits[n] for n in ring) for ring in rings)
        for ring in rings:
            if ring:  # both rings reach the barrier together
                most = max(ring, key=lambda n: splits[n])
                splits[most] += longest - sum(splits[n] for n in ring)
    cycle = sum(max(sum(splits[n] for n in group if n in ring) for ring in plan.rings) for group in groups)
    rank = {n: position for position, n in enumerate(_order(plan))}
    return FixedTimePlan(
        source=f"program {item.program.program_id!r} of tls {item.tls_id!r}",
        cycle_s=float(cycle),
        offset_s=float(round(item.program.offset_s) % int(cycle)),
        reference_phase=plan.actions[0][0],
        sequence=tuple(tuple(sorted(ring, key=lambda n: rank[n])) for ring in plan.rings),
        groups=groups,
        splits=tuple(Split(n, float(splits[n])) for n in sorted(splits)),
    )


def _slots(item: Intersection) -> list[tuple[int, float]]:
    """(phase, seconds from the start of its green to the next phase's), as the program goes round.

    A row that was taken apart is shared by those of its parts that no row shows.
    """
    of = {_greens(phase.state): phase.index for phase in item.phases}
    rows = [_greens(row.state) for row in item.program.rows]
    apart = {greens: index for greens, index in of.items() if greens not in rows}
    shown = [
        [of[row]] if row in of else [p for greens, p in apart.items() if all(map(le, greens, row))]  #
        for row in rows
    ]
    starts = [n for n, phases in enumerate(shown) if phases]
    found = []
    for position, start in enumerate(starts):
        end = starts[position + 1] if position + 1 < len(starts) else starts[0] + len(rows)
        duration_s = sum(item.program.rows[n % len(rows)].duration_s for n in range(start, end))
        found += [(phase, duration_s / len(shown[start])) for phase in shown[start]]
    return found


def _greens(state: str) -> tuple[bool, ...]:
    return tuple(is_green(character) for character in state)


def _order(plan: NemaPlan) -> list[int]:
    """NEMA phases, group by group, as the program shows them first."""
    return [n for group in _groups(plan) for n in group]


def _groups(plan: NemaPlan) -> tuple[tuple[int, ...], ...]:
    """NEMA phases between two barriers, in order of their first service."""
    first = list(dict.fromkeys(n for action in plan.actions for n in action))
    groups = sorted(barrier_groups(plan), key=lambda group: min(map(first.index, group)))
    return tuple(tuple(n for n in first if n in group) for group in groups)

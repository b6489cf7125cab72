"""Which NEMA phase number each movement gets: one rule for the event log, the timing sheet, bundles and plans.

The rule follows the usual eight-phase picture (NEMA TS 2; FHWA Signal Timing Manual, second edition, section 5):

| street | through (and right) | opposing left, where it is a phase of its own |
|---|---|---|
| main | 2 and 6 | 1 (from the approach of 6), 5 (from the approach of 2) |
| side | 4 and 8 | 3 (from the approach of 8), 7 (from the approach of 4) |

Phases 1 to 4 are ring 1, phases 5 to 8 are ring 2. 1, 2, 5 and 6 lie on one side of the barrier, 3, 4, 7 and 8 on
the other. The main street has the most lanes; of equal ones, the higher speed limit; then it is the one that runs
nearer to north and south. Phases 2 and 4 are the northbound or the eastbound direction. An approach without a through
phase takes its street's even number. A third street, or a second left in one ring, takes the next free number of its
ring.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from signals.links import Link

SLOTS = {1: (1, 2, 3, 4), 2: (5, 6, 7, 8)}
"""By ring, its NEMA phases."""


@dataclass(frozen=True, slots=True)
class Group:
    """Links that are green in the same phases, and so share a NEMA phase."""

    column: frozenset[int]
    """The phases of the intersection in which they are green."""
    links: tuple[int, ...]
    edges: frozenset[str]
    """The approaches that they come from."""
    lanes: frozenset[str]
    turns: frozenset[str]
    """In lower case, as `Connection.direction` has them."""
    speed_mps: float
    heading: tuple[float, float]
    """The direction of travel at the stop line, eastward and northward; a unit vector."""

    @staticmethod
    def of(table: Sequence[Link], column: frozenset[int], links: Iterable[int]) -> Group:
        """The group of these links."""
        links = tuple(links)
        connections = [c for i in links for c in table[i].connections]
        return Group(
            column,
            links,
            frozenset(c.from_edge for c in connections),
            frozenset(c.from_lane for c in connections),
            frozenset(c.direction.lower() for c in connections),
            max((table[i].speed_mps for i in links), default=0.0),
            _heading([table[i] for i in links]),
        )

    @property
    def through(self) -> bool:
        """Whether anything goes straight on with it."""
        return "s" in self.turns

    @property
    def forward(self) -> float:
        """How far its travel leads north and east: positive for northbound and eastbound, negative for the others."""
        return round(self.heading[0] + self.heading[1], 3)


def _heading(links: Sequence[Link]) -> tuple[float, float]:
    """That of the first connection that goes straight on; without one, of the first."""
    ways = [
        (straight, path) for link in links for straight, path in zip(link.straight, link.paths, strict=True) if path
    ]
    for _, path in sorted(ways, key=lambda way: not way[0]):
        for x, y in path[1:]:
            if (far := math.hypot(x - path[0][0], y - path[0][1])) > 0.0:
                return (x - path[0][0]) / far, (y - path[0][1]) / far
    return 0.0, 0.0


def phase_numbers(groups: Sequence[Group]) -> list[int] | None:
    """A NEMA phase number per group, or None where two rings of four do not hold them.

    Two groups that share a phase are in different rings. What is connected that way is one component, whose two rings
    may be exchanged.
    """
    components = _components(groups)
    if components is None:
        return None
    numbers: dict[int, int] = {}
    for side, street in enumerate(_streets(groups, components)):
        for component in sorted(street, key=lambda c: not any(groups[n].through for n in c)):
            rings = _oriented(groups, component, numbers)
            # of one ring, what goes straight on first, then whatever is no left
            for n in sorted(rings, key=lambda n: (not groups[n].through, groups[n].turns <= {"l"}, groups[n].links)):
                number = _free(rings[n], min(side, 1), _odd(groups, street, n), numbers)
                if number is None:
                    return None
                numbers[n] = number
    return [numbers[n] for n in range(len(groups))]


def _components(groups: Sequence[Group]) -> list[dict[int, int]] | None:
    """The components, each as group to ring (1 or 2); None where three groups share a phase by way of each other."""
    rings: dict[int, int] = {}
    components: list[dict[int, int]] = []
    for start in range(len(groups)):
        if start in rings:
            continue
        rings[start], component, frontier = 1, [start], [start]
        while frontier:
            here = frontier.pop()
            for other in range(len(groups)):
                if other == here or not groups[here].column & groups[other].column:
                    continue
                if other not in rings:
                    rings[other] = 3 - rings[here]
                    component.append(other)
                    frontier.append(other)
                elif rings[other] == rings[here]:
                    return None
        components.append({n: rings[n] for n in component})
    return components


def _streets(groups: Sequence[Group], components: Sequence[dict[int, int]]) -> list[list[dict[int, int]]]:
    """The components by street, the main one first: those with an approach in common are of one street."""
    streets: list[tuple[set[str], list[dict[int, int]]]] = []
    for component in components:
        edges = {edge for n in component for edge in groups[n].edges}
        met = [street for street in streets if street[0] & edges]
        streets = [street for street in streets if street not in met]
        streets.append((edges.union(*(e for e, _ in met)), [c for _, own in met for c in own] + [component]))

    def order(street: tuple[set[str], list[dict[int, int]]]) -> tuple[float, float, float, list[str]]:
        own = [groups[n] for component in street[1] for n in component]
        lanes = frozenset().union(*(g.lanes for g in own))
        north = max((abs(g.heading[1]) for g in own if g.through), default=0.0)
        return -len(lanes), -max(g.speed_mps for g in own), -round(north, 3), sorted(street[0])

    return [own for _, own in sorted(streets, key=order)]


def _oriented(groups: Sequence[Group], component: dict[int, int], numbers: dict[int, int]) -> dict[int, int]:
    """The component with its rings exchanged where the rule asks for it."""
    if len(component) == 1:
        return dict.fromkeys(component, 1)
    exchanged = {n: 3 - ring for n, ring in component.items()}
    opposing = {  # a left is in the other ring than the through phase of its approach
        n: 2 if number <= 4 else 1
        for n in component
        for m, number in numbers.items()
        if number % 2 == 0 and groups[n].turns <= {"l"} and groups[n].edges <= groups[m].edges
    }
    if opposing:
        return component if all(component[n] == ring for n, ring in opposing.items()) else exchanged
    leading = max(component, key=lambda n: (groups[n].through, groups[n].forward, -min(groups[n].links)))
    return component if component[leading] == 1 else exchanged


def _odd(groups: Sequence[Group], street: Sequence[dict[int, int]], n: int) -> bool:
    """Whether a group is a left beside a through phase of its street."""
    return groups[n].turns <= {"l"} and any(groups[m].through for component in street for m in component)


def _free(ring: int, side: int, odd: bool, numbers: dict[int, int]) -> int | None:
    """The first free number of a ring: on this side of the barrier, and odd or even, as far as there is one."""
    free = [number for number in SLOTS[ring] if number not in numbers.values()]
    return min(
        free, key=lambda number: ((number - 1) % 4 // 2 != side, (number % 2 == 1) != odd, number), default=None
    )

"""An intersection as a controller's NEMA phases: nothing lost, nothing green together that conflicts."""

from __future__ import annotations

import functools
import itertools

import pytest

from scenarios.loading import load
from signals.intersection import Intersection, compile_signals
from signals.nema import NemaPlan, nema_plan
from signals.phases import is_green

NAMES = (
    "single", "tee", "arterial", "grid", "cologne1", "cologne3", "cologne8", "ingolstadt1", "ingolstadt7",
    "ingolstadt21", "grid4x4", "arterial4x4",
)  # fmt: skip


@functools.cache
def plans(name: str) -> list[tuple[Intersection, NemaPlan]]:
    return [(item, nema_plan(item)) for item in compile_signals(load(name).network).intersections]


def lit(plan: NemaPlan, on: tuple[int, ...]) -> set[int]:
    """The links that are green, walks included, while these NEMA phases are."""
    links = {i for n in on for i in (*plan.phase(n).links, *plan.phase(n).crossings)}
    return links | {i for overlap in plan.overlaps if set(overlap.phases) & set(on) for i in overlap.links}


def test_a_four_way_intersection_gets_the_numbers_that_engineers_give() -> None:
    ((_, plan),) = plans("single")
    assert plan.rings == ((1, 2, 3, 4), (5, 6, 7, 8))
    assert plan.actions == ((2, 6), (1, 5), (4, 8), (3, 7))
    for through, opposing_left in ((2, 1), (4, 3), (6, 5), (8, 7)):
        street = plan.phase(through).name.split(" ")[0]
        assert not plan.phase(opposing_left).name.startswith(street)
    assert plan.phase(2).crossings
    assert plan.phase(2).walk_s == 7.0


@pytest.mark.parametrize("name", NAMES)
def test_each_action_shows_exactly_what_the_phase_does(name: str) -> None:
    for item, plan in plans(name):
        for phase, action in zip(item.phases, plan.actions, strict=True):
            green = {i for i, c in enumerate(phase.state) if is_green(c) and item.table.links[i].used}
            assert lit(plan, action) == green, (item.tls_id, phase.index)
            rings = [plan.phase(n).ring for n in action]
            assert len(rings) == len(set(rings))
            assert all(b in plan.phase(a).concurrent for a, b in itertools.permutations(action, 2))


@pytest.mark.parametrize("name", NAMES)
def test_concurrent_phases_never_light_foes_that_both_have_priority(name: str) -> None:
    for item, plan in plans(name):
        for phase in plan.phases:
            for other in (phase.number, *phase.concurrent):
                green = lit(plan, (phase.number, other))
                for i, j in itertools.combinations(sorted(green), 2):
                    if not item.table.conflicts[i, j]:
                        continue
                    yields = item.table.yields
                    given = (plan.green[i] == "g" and yields[i, j]) or (plan.green[j] == "g" and yields[j, i])
                    assert given, (item.tls_id, phase.number, other, i, j)


@pytest.mark.parametrize("name", NAMES)
def test_a_phases_change_is_long_enough_for_every_change_of_the_intersection(name: str) -> None:
    for item, plan in plans(name):
        for (old, new), _ in item.changes.items():
            ending = set(plan.actions[old]) - set(plan.actions[new])
            starting = lit(plan, plan.actions[new]) - lit(plan, plan.actions[old])
            if not ending:
                continue
            leaving = lit(plan, plan.actions[old]) - lit(plan, plan.actions[new])
            for i, j in itertools.product(leaving, starting):
                if not item.table.conflicts[i, j] or item.table.links[i].pedestrian:
                    continue
                needed = item.times.yellow_s(i) + item.times.clearance_s(i, j)
                given = max(
                    plan.phase(n).yellow_change_s + plan.phase(n).red_clearance_s
                    for n in ending
                    if i in lit(plan, (n,))
                )
                assert given >= needed - 1e-9, (item.tls_id, old, new, i, j)
        for phase in plan.phases:
            total = phase.pedestrian_clearance_s + phase.yellow_change_s + phase.red_clearance_s
            assert total >= phase.pedestrian_clearance_needed_s

"""Plans of the networks that come with the project, for tests."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import pytest

from deployment.nema.pattern import (
    Event,
    Pattern,
    PlanSet,
    SignalPlans,
)
from deployment.plans.initial import own_cycle_s, own_greens, pattern_from_greens, sequences
from scenarios.loading import load
from signals.intersection import Intersection, compile_signals
from signals.nema import NemaPlan, nema_plan

NETWORKS = ("single", "tee", "cologne3", *(pytest.param(n, marks=pytest.mark.slow) for n in ("arterial", "grid4x4")))


@functools.cache
def signals(name: str) -> tuple[tuple[Intersection, NemaPlan], ...]:
    return tuple((item, nema_plan(item)) for item in compile_signals(load(name).network).intersections)


def eight_phases() -> tuple[Intersection, NemaPlan]:
    """The classic controller: two barriers, and between them two phases in each ring."""
    ((item, nema),) = signals("single")
    across = {1: (5, 6), 2: (5, 6), 3: (7, 8), 4: (7, 8), 5: (1, 2), 6: (1, 2), 7: (3, 4), 8: (3, 4)}
    phases = tuple(dataclasses.replace(p, concurrent=across[p.number]) for p in nema.phases)
    return item, dataclasses.replace(nema, phases=phases)


def own_pattern(item: Intersection, nema: NemaPlan, cycle_s: int = 0, number: int = 1, offset_s: int = 0) -> Pattern:
    length_s = cycle_s or round(own_cycle_s(item))
    return pattern_from_greens(item, nema, own_greens(item), length_s, number=number, offset_s=offset_s)


def plan_set(name: str, switches: tuple[int, ...] = (5, 10), begin_s: float = 0.0) -> PlanSet:
    """Two patterns that differ in cycle, splits, offset and sequence, and change several times."""
    made = []
    for n, (item, nema) in enumerate(signals(name)):
        first = own_pattern(item, nema, offset_s=7 * n)
        second = own_pattern(item, nema, first.cycle_s + 17, number=2, offset_s=11 * n + 3)
        others = sequences(nema, second)
        made.append(SignalPlans(nema, (first, dataclasses.replace(second, sequence=(*others, second.sequence)[0]))))
    start = int(begin_s // 60)
    events = [Event(start + minute, 2 - n % 2) for n, minute in enumerate(switches)]
    return PlanSet(tuple(made), (Event(0, 1), *events))


def changed(pattern: Pattern, phase: int, **fields: Any) -> Pattern:
    splits = tuple(dataclasses.replace(s, **fields) if s.phase == phase else s for s in pattern.splits)
    return dataclasses.replace(pattern, splits=splits)

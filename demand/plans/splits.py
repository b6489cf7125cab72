"""Greens with the least computed delay for some flows: what each plan is made by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np

from demand.counts.timeline import Numbers
from demand.plans.delay import control_delay_s
from demand.plans.lanes import TimedSignal

MOST_FLOWS = 200
"""Intervals that a plan is made for: more of them make it no better, only slower."""
LONGEST_CYCLE_S, CYCLE_STEP_S = 180, 5
_MOVES_S = (8.0, 4.0, 2.0, 1.0)


@dataclass(frozen=True)
class Rates:
    """What a lane carries, and for how long flows last."""

    saturation_vph: float
    period_s: float


def delays(signal: TimedSignal, greens_s: Sequence[float], flows_vph: Numbers, rates: Rates) -> Numbers:
    """(N,) vehicle-seconds of delay an hour at a signal, of (N, all counted lanes) flows."""
    flows = flows_vph[:, signal.lanes]
    durations = signal.durations_s(greens_s)
    each = control_delay_s(
        flows, signal.served @ durations, float(durations.sum()), rates.saturation_vph, rates.period_s
    )
    return np.asarray((each * flows).sum(axis=1))


def best_greens(signal: TimedSignal, flows_vph: Numbers, cycle_s: float, rates: Rates) -> tuple[float, ...]:
    """Whole seconds for each of `signal.greens` that fill the cycle, and delay these flows least all together.

    It begins with equal greens and moves seconds from one to another as long as that helps: with one green for each
    lane the delay is convex in the greens, and nothing better is left.

    Raises:
        ValueError: the cycle is too short for the least greens.
    """
    flows = spread_out(flows_vph)
    spare = cycle_s - signal.kept_s - sum(signal.least_s)
    if spare < 0:
        raise ValueError(f"a cycle of {cycle_s:g} s is too short for the least greens")
    greens = np.array(signal.least_s) + np.floor(spare / len(signal.greens))
    greens[0] += cycle_s - signal.kept_s - greens.sum()
    best = float(delays(signal, list(greens), flows, rates).sum())
    for move in _MOVES_S:
        while True:
            tried = []
            for giver, taker in permutations(range(len(greens)), 2):
                if greens[giver] - move >= signal.least_s[giver]:
                    other = greens.copy()
                    other[giver] -= move
                    other[taker] += move
                    tried.append((float(delays(signal, list(other), flows, rates).sum()), giver, taker, other))
            if not tried or (found := min(tried, key=lambda of: of[:3]))[0] >= best * (1 - 1e-12):
                break
            best, greens = found[0], found[3]
    return tuple(map(float, greens))


def best_cycle_s(signal: TimedSignal, flows_vph: Numbers, rates: Rates) -> float:
    """The cycle with which the best greens delay these flows least [s]."""
    shortest = signal.kept_s + sum(signal.least_s)
    first = int(np.ceil(shortest / CYCLE_STEP_S)) * CYCLE_STEP_S
    tried = []
    for cycle in range(first, max(LONGEST_CYCLE_S, first) + 1, CYCLE_STEP_S):
        greens = best_greens(signal, flows_vph, float(cycle), rates)
        tried.append((float(delays(signal, greens, spread_out(flows_vph), rates).sum()), float(cycle)))
    return min(tried)[1]


def spread_out(flows_vph: Numbers) -> Numbers:
    """At most `MOST_FLOWS` of the flows, evenly spaced from the least to the greatest sum."""
    if len(flows_vph) <= MOST_FLOWS:
        return flows_vph
    order = np.argsort(flows_vph.sum(axis=1), kind="stable")
    return np.asarray(flows_vph[order[np.linspace(0, len(order) - 1, MOST_FLOWS).astype(int)]])

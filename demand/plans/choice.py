"""Makes the plans, and chooses one of them for flows: that with the least computed delay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from demand.counts.scale import stabilised
from demand.counts.timeline import Numbers
from demand.plans.lanes import TimedSignal
from demand.plans.splits import Rates, best_cycle_s, best_greens, delays


@dataclass(frozen=True)
class Plan:
    """One cycle and its greens, for all signals."""

    name: str
    greens_s: Mapping[str, tuple[float, ...]]
    """Per signal."""
    intervals: int
    """Of the training days, for how many it was made."""
    flow_vph: float
    """Their mean, over all counted lanes."""


def make_plans(
    signals: Sequence[TimedSignal], flows_vph: Numbers, number: int, rates: Rates, cycle_s: float | None
) -> list[Plan]:
    """Plans for groups of similar flows, the emptiest group first.

    The groups are those of k-means on square roots of the flows, which vary alike whether they are small or large.

    Args:
        flows_vph: (N, counted lanes), without gaps.
        number: of plans; fewer are made where there are fewer different flows.
        cycle_s: of all plans. None: a single signal has the best one in each plan; several keep their own, which
            they may be coordinated by.

    Raises:
        ValueError: the cycle is too short for the least greens.
    """
    from sklearn.cluster import KMeans  # takes a second to load, which bad input need not wait for

    scaled = stabilised(flows_vph * rates.period_s / 3600.0)
    number = min(number, len(np.unique(scaled, axis=0)))
    labels = KMeans(number, n_init=10, random_state=0).fit_predict(scaled)
    groups = [flows_vph[labels == label] for label in range(number)]
    groups.sort(key=lambda flows: float(flows.sum(axis=1).mean()))
    return [
        Plan(
            f"plan-{n}",
            {s.program.tls_id: _greens(s, flows, rates, cycle_s, len(signals) > 1) for s in signals},
            len(flows),
            float(flows.sum(axis=1).mean()),
        )
        for n, flows in enumerate(groups, 1)
    ]


def _greens(
    signal: TimedSignal, flows_vph: Numbers, rates: Rates, cycle_s: float | None, several: bool
) -> tuple[float, ...]:
    if cycle_s is None:
        cycle_s = signal.cycle_s if several else best_cycle_s(signal, flows_vph, rates)
    return best_greens(signal, flows_vph, cycle_s, rates)


def plan_delays(signals: Sequence[TimedSignal], plans: Sequence[Plan], flows_vph: Numbers, rates: Rates) -> Numbers:
    """(N, plans) vehicle-seconds of delay an hour, of (N, counted lanes) flows without gaps."""
    return np.stack(
        [sum(delays(s, plan.greens_s[s.program.tls_id], flows_vph, rates) for s in signals) for plan in plans], axis=1
    )


def filled(flows_vph: Numbers, usual: Numbers) -> Numbers:
    """Flows with what is not known taken from what is usual, and from nothing where that is not known either."""
    return np.asarray(np.nan_to_num(np.where(np.isnan(flows_vph), usual, flows_vph), nan=0.0))

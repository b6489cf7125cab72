"""Where a search for plans begins: the policy's greens and the network's own, at several cycles."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from deployment.nema.pattern import Pattern
from deployment.plans.initial import own_cycle_s, own_greens, own_offset_s, pattern_from_greens
from deployment.plans.observe import Usage
from signals.intersection import Intersection
from signals.nema import NemaPlan

Plan = Mapping[str, Pattern]
"""A pattern for each signal, by tls id."""
OWN_CYCLES = (1.0, 0.85, 0.7, 1.2)
"""The network's own greens are tried at so many times its own cycle."""


@dataclass
class Trial:
    """Plans that were tried, one for each time of day."""

    what: str
    plans: tuple[Plan, ...]
    delay_s: dict[int, float] = field(default_factory=dict)
    """By seed."""

    def mean_s(self, seeds: Iterable[int] | None = None) -> float:
        """Mean over these seeds, or all."""
        return statistics.fmean(self.delay_s[seed] for seed in (seeds or self.delay_s))


@dataclass(frozen=True)
class Starts:
    """What it takes to make plans to begin with."""

    items: Mapping[str, Intersection]
    nema: Mapping[str, NemaPlan]
    indices: Mapping[str, int]
    """Of each signal among those that the policy controls."""
    most_cycle_s: int

    def trials(self, used: Usage, runs: int) -> list[Trial]:
        """The policy's greens at several cycles, and the network's own.

        Args:
            used: what the policy did at this time of day, in so many runs.
        """
        shares, cycles = used.shares()[0], used.cycle_s(runs)[0]
        seen_s = statistics.median(float(cycles[s]) for s in self.indices.values())
        own_s = max(own_cycle_s(item) for item in self.items.values())
        own = {tls_id: _shares(own_greens(item)) for tls_id, item in self.items.items()}
        seen = {
            tls_id: _shares([float(x) for x in shares[s, : len(self.items[tls_id].phases)]])
            for tls_id, s in self.indices.items()
        }
        both = {
            tls_id: [(a + b) / 2 for a, b in zip(own[tls_id], seen[tls_id], strict=True)] for tls_id in self.items
        }
        in_order = {tls_id: list(range(len(item.phases))) for tls_id, item in self.items.items()}
        orders = {tls_id: used.order(s, len(self.items[tls_id].phases)) for tls_id, s in self.indices.items()}
        plans = [
            *(("the network's own greens", own, in_order, own_s * factor) for factor in OWN_CYCLES),
            *(("the policy's greens", seen, orders, cycle_s) for cycle_s in (seen_s, 1.4 * seen_s)),
            *(("half the policy's greens", both, orders, cycle_s) for cycle_s in (own_s, (own_s + seen_s) / 2)),
        ]
        found: list[Trial] = []
        for what, greens, order, cycle_s in plans:
            plan = self._common(cycle_s, greens, order)
            if all(trial.plans != (plan,) for trial in found):
                cycle = next(iter(plan.values())).cycle_s
                found.append(Trial(f"{what}, cycle {cycle} s", (plan,)))
        return found

    def own(self, factor: float) -> Plan:
        """The network's own greens, at so many times its own cycle."""
        greens = {tls_id: own_greens(item) for tls_id, item in self.items.items()}
        order = {tls_id: list(range(len(item.phases))) for tls_id, item in self.items.items()}
        return self._common(factor * max(own_cycle_s(item) for item in self.items.values()), greens, order)

    def _common(
        self, cycle_s: float, greens: Mapping[str, Sequence[float]], orders: Mapping[str, Sequence[int]]
    ) -> Plan:
        """A pattern for each signal, all with one cycle: the one asked for, or the shortest that all can have."""

        def made(tls_id: str, length_s: int) -> Pattern:
            item = self.items[tls_id]
            return pattern_from_greens(item, self.nema[tls_id], greens[tls_id], length_s, order=orders[tls_id])

        wanted = min(round(cycle_s), self.most_cycle_s)
        together = max(made(tls_id, wanted).cycle_s for tls_id in self.items)
        plan = {}
        for tls_id, item in self.items.items():
            pattern = made(tls_id, together)
            offset_s = 0.0
            if len(self.items) > 1:
                coordinated = [s.phase for s in pattern.splits if s.coordinated]
                offset_s = own_offset_s(item, self.nema[tls_id], coordinated) / own_cycle_s(item) * together
            plan[tls_id] = dataclasses.replace(pattern, offset_s=round(offset_s) % together)
        return plan


def _shares(greens: Sequence[float]) -> list[float]:
    """The same with a sum of 1."""
    return [green / max(sum(greens), 1e-9) for green in greens]

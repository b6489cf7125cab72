"""From a policy to time-of-day plans: watch it over the day, then better its greens against the simulator.

1. The policy runs over the scenario on training seeds; its green shares, cycle and order are counted per window, and
   the windows are joined into a few times of day (`deployment.plans.observe`).
2. For each, a search begins from what the policy did and from the network's own program, both at several cycles. It
   changes cycle, splits, sequence and offsets at random, and keeps a change that lowers the mean delay over paired
   seeds (stochastic hill climbing).
3. Over the whole day, changes of pattern included, these plans compete with each pattern alone and with the network's
   own greens; the search goes on from the best, and the best few meet on further seeds.

Who runs the simulations is handed in as `judge`, so that delay is measured in one place for plans, policies and
everything else. Only training seeds are used here.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from controllers.base import Controller
from controllers.programs import GivenPrograms, ProgramControl
from deployment.nema.pattern import DAY_MINUTES, Event, PlanSet, SignalPlans, clock
from deployment.plans.moves import change
from deployment.plans.observe import Usage, Watched, times_of_day, usage
from deployment.plans.program import DAY_S, plans_xml
from deployment.plans.starts import Plan, Starts, Trial
from plumbing.errors import InputError
from scenarios.scenario import Scenario
from scenarios.seeds import training_seed
from signals.intersection import Intersection
from signals.nema import NemaPlan, nema_plan

Judge = Callable[
    [Scenario, Mapping[str, Callable[[], Controller | ProgramControl]], Sequence[int]], Mapping[str, Sequence[float]]
]
"""Runs each contender on each seed; mean delay of all vehicles per seed [s]."""
WARM_UP_S = 300.0
"""A time of day is simulated from so much earlier on, under the same pattern [s]."""
MOST_CYCLE_S = 150
FINALISTS = 3
MOST_FURTHER = 5
"""Seeds on which the finalists meet."""
GIVE_UP = 0.02
"""A plan that is worse by this share on the first seed is not tried on the others."""
DRAWS = 200
"""Changes that are drawn at most to find one that has not been tried."""
LEAST_RUNS = 6
"""For each search; with fewer there is none."""
_WATCHED, _SEARCH, _FINAL = 100, 101, 102  # training seeds are drawn in the name of these workers


@dataclass(frozen=True)
class PlanSettings:
    """How plans are derived."""

    times: int = 3
    """Times of day at most."""
    budget: int = 300
    """Simulated runs, of a time of day or of the whole day, those that watch the policy included."""
    seeds: int = 3
    """Training seeds on which two plans are compared."""
    seed: int = 0
    """Draws the training seeds and the search."""
    at_a_time: int = 2
    """Plans that are tried together before the best of them is compared with the best so far."""
    most_cycle_s: int = MOST_CYCLE_S


@dataclass(frozen=True)
class Derived:
    """The plans, and how they came about."""

    plans: PlanSet
    record: dict[str, Any]
    """What was tried, on which seeds, and what came of it: plain values."""


class Derivation:
    """Derives plans from one policy, as the module says."""

    def __init__(
        self,
        scenario: Scenario,
        intersections: Sequence[Intersection],
        judge: Judge,
        settings: PlanSettings,
        on_progress: Callable[[int, int, str], object] = lambda done, total, what: None,
    ) -> None:
        """See the class.

        Args:
            intersections: the signals that the policy controls.
            on_progress: told of runs done, of how many, and of what.

        Raises:
            InputError: no signal can be given plans.
        """
        self._judge, self.settings, self._on_progress = judge, settings, on_progress
        self.items: dict[str, Intersection] = {}
        self.nema: dict[str, NemaPlan] = {}
        self.refused: dict[str, str] = {}
        self._indices: dict[str, int] = {}
        for index, item in enumerate(intersections):
            try:
                self.nema[item.tls_id] = nema_plan(item)
            except InputError as error:
                self.refused[item.tls_id] = str(error)
                continue
            self.items[item.tls_id], self._indices[item.tls_id] = item, index
        if not self.items:
            raise InputError(f"scenario {scenario.name!r}: {'; '.join(self.refused.values()) or 'it has no signals'}")
        if scenario.begin_s // DAY_S != (scenario.end_s - 1.0) // DAY_S:
            raise InputError(f"scenario {scenario.name!r} runs past midnight; choose a window within a day")
        self._starts = Starts(self.items, self.nema, self._indices, settings.most_cycle_s)
        self.scenario = released(scenario, list(self.items))
        self._random = random.Random(settings.seed)
        self._done = 0
        self._searches: list[dict[str, Any]] = []

    def derive(self, policy: Callable[[], Controller]) -> Derived:
        """The plans for this policy.

        Raises:
            InputError: the budget is too small.
        """
        settings, scenario = self.settings, self.scenario
        watched_on = self._seeds(_WATCHED, settings.seeds)
        used = self._watch(policy, watched_on)
        edges = used.edges_s
        volume = [scenario.planned.counts(a, b)[0] / (b - a) for a, b in itertools.pairwise(edges.tolist())]
        parts = times_of_day(used, volume, settings.times)
        searches = len(parts) + (len(parts) > 1)
        left = settings.budget - self._done
        if left < LEAST_RUNS * searches:
            least = self._done + LEAST_RUNS * searches
            raise InputError(
                f"a budget of {settings.budget} runs is too small for {len(parts)} times of day; give {least} or more"
            )
        found = []
        for part in parts:
            one = used.over(*part)
            name = f"{clock(edges[part[0]] / 60)}-{clock(edges[part[1]] / 60)}"
            budget = left if len(parts) == 1 else max(LEAST_RUNS, left // 2 // len(parts))
            found.append(
                self._climb(self._part(one), self._starts.trials(one, settings.seeds), (), budget, name).plans[0]
            )
        begins_s = tuple(float(edges[first]) for first, _ in parts)
        plans = self._set(found)
        if len(found) > 1:
            best = self._climb(
                scenario, self._days(found, begins_s), begins_s, settings.budget - self._done, "the whole day"
            )
            plans = self._set(best.plans, begins_s)
        record = {
            "method": "hill climbing on training seeds, from the policy's green shares and the network's own program",
            "settings": dataclasses.asdict(settings),
            "runs": self._done,
            "policy_watched_on_seeds": watched_on,
            "times_of_day": [
                {
                    "from_s": float(edges[first]),
                    "to_s": float(edges[last]),
                    "vehicles": round(
                        sum(
                            v * w
                            for v, w in zip(volume[first:last], (edges[1:] - edges[:-1])[first:last], strict=True)
                        )
                    ),
                    "policy": self._observed(used.over(first, last), len(watched_on)),
                }
                for first, last in parts
            ],
            "searches": self._searches,
            "without_plan": self.refused,
        }
        return Derived(plans, record)

    def own_plans(self) -> PlanSet:
        """The network's own greens, cycle and offsets with the change intervals that plans have, to compare with."""
        return self._set([self._starts.own(1.0)])

    def _seeds(self, name: int, count: int) -> list[int]:
        return [training_seed(self.settings.seed, name, n) for n in range(count)]

    def _watch(self, policy: Callable[[], Controller], seeds: Sequence[int]) -> Usage:
        watched: list[Watched] = []

        def make() -> Controller:
            watched.append(Watched(policy()))
            return watched[-1]

        self._run(self.scenario, {"policy": make}, seeds, "watching the policy")
        return usage(watched, self.scenario.begin_s, self.scenario.end_s)

    def _observed(self, used: Usage, runs: int) -> dict[str, Any]:
        """What the policy did at a time of day, per signal."""
        shares, cycles = used.shares()[0], used.cycle_s(runs)[0]
        return {
            tls_id: {
                "green_shares": [round(float(x), 3) for x in shares[s, : len(self.items[tls_id].phases)]],
                "time_between_services_s": round(float(cycles[s]), 1),
                "order": used.order(s, len(self.items[tls_id].phases)),
            }
            for tls_id, s in self._indices.items()
        }

    def _run(
        self,
        scenario: Scenario,
        makers: Mapping[str, Callable[[], Controller | ProgramControl]],
        seeds: Sequence[int],
        what: str,
    ) -> Mapping[str, Sequence[float]]:
        result = self._judge(scenario, makers, seeds)
        self._done += len(makers) * len(seeds)
        self._on_progress(self._done, self.settings.budget, what)
        return result

    def _try(
        self, scenario: Scenario, begins_s: Sequence[float], trials: Sequence[Trial], seeds: Sequence[int], what: str
    ) -> None:
        """Run plans over a scenario, each from its time on."""
        if not trials or not seeds:
            return
        makers = {
            f"plan-{n}": functools.partial(GivenPrograms, self._xml(self._set(trial.plans, begins_s), scenario))
            for n, trial in enumerate(trials)
        }
        delays = self._run(scenario, makers, seeds, what)
        for n, trial in enumerate(trials):
            trial.delay_s.update(zip(seeds, delays[f"plan-{n}"], strict=True))

    def _climb(
        self, scenario: Scenario, starts: Sequence[Trial], begins_s: Sequence[float], budget: int, name: str
    ) -> Trial:
        """The best plans for a scenario that `budget` runs find."""
        settings, end = self.settings, self._done + budget
        seeds = self._seeds(_SEARCH, settings.seeds)
        further = self._seeds(_FINAL, min(MOST_FURTHER, budget // 4 // FINALISTS))
        finals = len(further) * FINALISTS
        tried = list(starts[: max(1, (budget - finals) // 2)])
        self._try(scenario, begins_s, tried, seeds[:1], f"{name}: {len(tried)} starts")
        tried.sort(key=lambda trial: trial.mean_s(seeds[:1]))
        most = max(1, (end - finals - self._done) // max(1, len(seeds) - 1))
        compared = tried[: min(FINALISTS, most)]
        self._try(scenario, begins_s, compared, seeds[1:], f"{name}: the best starts")
        best = min(compared, key=Trial.mean_s)
        while end - finals - self._done >= settings.at_a_time * len(seeds):
            reach = max(0.15, (end - self._done) / budget)  # long steps first
            proposed = self._proposed(best, reach, [trial.plans for trial in tried])
            if not proposed:
                break
            said = f"{name}: {best.mean_s(seeds):.1f} s"
            self._try(scenario, begins_s, proposed, seeds[:1], said)
            tried += proposed
            hopeful = [t for t in proposed if t.mean_s(seeds[:1]) < (1 + GIVE_UP) * best.mean_s(seeds[:1])]
            self._try(scenario, begins_s, hopeful, seeds[1:], said)
            compared += hopeful
            best = min((best, *hopeful), key=lambda trial: trial.mean_s(seeds))
        finalists = sorted(compared, key=lambda trial: trial.mean_s(seeds))[:FINALISTS]
        self._try(scenario, begins_s, finalists, further, f"{name}: the best on further seeds")
        won = min(finalists, key=Trial.mean_s)
        self._searches.append(
            {
                "for": name,
                "seeds": seeds,
                "further_seeds": further,
                "tried": [
                    {
                        "what": trial.what,
                        "cycle_s": [next(iter(plan.values())).cycle_s for plan in trial.plans],
                        "delay_s": {str(seed): round(delay, 2) for seed, delay in trial.delay_s.items()},
                        "won": trial is won,
                    }
                    for trial in tried
                ],
            }
        )
        return won

    def _proposed(self, best: Trial, reach: float, tried: list[tuple[Plan, ...]]) -> list[Trial]:
        """Changes that have not been tried yet; none where few are left to find."""
        found: list[Trial] = []
        for _ in range(DRAWS):
            number = self._random.randrange(len(best.plans))
            what, plan = change(best.plans[number], self.nema, self._random, reach, self.settings.most_cycle_s)
            plans = (*best.plans[:number], plan, *best.plans[number + 1 :])
            if plans not in tried and all(plans != other.plans for other in found):
                found.append(Trial(what if len(plans) == 1 else f"time of day {number + 1}: {what}", plans))
            if len(found) == self.settings.at_a_time:
                break
        return found

    def _days(self, found: Sequence[Plan], begins_s: Sequence[float]) -> list[Trial]:
        """Each plan at its time; one of them, or the network's own greens, all day long."""
        own = self._starts.own(1.0)
        whole = [
            Trial(f"that of {clock(at / 60)} all day", (plan,) * len(found))
            for at, plan in zip(begins_s, found, strict=True)
        ]
        return [
            Trial("each at its time", tuple(found)),
            Trial("the network's own greens all day", (own,) * len(found)),
            *whole,
        ]

    def _set(self, found: Sequence[Plan], begins_s: Sequence[float] = ()) -> PlanSet:
        """Plans as patterns, each from its time on, the first from midnight; equal ones that follow are one."""
        numbers: list[int] = []
        kept: list[Plan] = []
        for plan in found:
            if plan not in kept:
                kept.append(plan)
            numbers.append(kept.index(plan) + 1)
        signals = tuple(
            SignalPlans(self.nema[t], tuple(dataclasses.replace(p[t], number=n) for n, p in enumerate(kept, start=1)))
            for t in self.items
        )
        minutes = [0, *(round(at_s / 60) % DAY_MINUTES for at_s in begins_s[1:])]
        events = [Event(minute, number) for minute, number in zip(minutes, numbers, strict=False)]
        changes = [event for n, event in enumerate(events) if n == 0 or event.pattern != events[n - 1].pattern]
        return PlanSet(signals, tuple(sorted(changes, key=lambda event: event.minute)))

    def _xml(self, plans: PlanSet, scenario: Scenario) -> str:
        return plans_xml(plans, self.items, scenario.begin_s, scenario.end_s)

    def _part(self, used: Usage) -> Scenario:
        """The scenario for one time of day, with a little of what is before it."""
        begin_s, end_s = float(used.edges_s[0]), float(used.edges_s[-1])
        part = dataclasses.replace(
            self.scenario, begin_s=max(self.scenario.begin_s, begin_s - WARM_UP_S), end_s=end_s
        )
        part.__dict__["network"] = self.scenario.network  # read once
        return part


def released(scenario: Scenario, tls_ids: Sequence[str]) -> Scenario:
    """The scenario without its own time-of-day switches, which would end these signals' plans."""
    found = dataclasses.replace(scenario, additional_files=scenario.without_waut(tls_ids))
    found.__dict__["network"] = scenario.network
    return found

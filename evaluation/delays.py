"""Mean delays of controllers per seed, for a search; from the same runs as every other figure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from controllers.base import Controller
from controllers.programs import ProgramControl
from evaluation.runs import Contestant, Evaluation, run_all
from scenarios.clock import timing_for
from scenarios.scenario import Scenario
from signals.timing import Timing


def delays(
    scenario: Scenario,
    makers: Mapping[str, Callable[[], Controller | ProgramControl]],
    seeds: Sequence[int],
    *,
    timing: Timing | None = None,
    workers: int = 1,
    tls_ids: Sequence[str] | None = None,
) -> dict[str, list[float]]:
    """Each controller's `RunMetrics.delay_s` per seed, in the seeds' order [s].

    Args:
        tls_ids: the signals that they control; None for all. The others keep their programs.

    Raises:
        RunFailed: a run broke off.
    """
    contestants = [Contestant(name, make) for name, make in makers.items()]
    evaluation = Evaluation(scenario, contestants, list(seeds), timing or timing_for(scenario), tls_ids=tls_ids)
    found: dict[str, list[float]] = {name: [] for name in makers}
    for result in run_all(evaluation, workers):
        found[result.controller].append(result.metrics.delay_s)
    return found

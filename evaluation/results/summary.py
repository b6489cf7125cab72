"""From runs to a summary: per controller the mean of each metric with its interval, against the best baseline."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evaluation.metrics import METRICS, shown
from evaluation.runs import RunResult
from evaluation.statistics import (
    Interval,
    difference,
    holm,
    mean_interval,
    paired_test,
    probability_of_improvement,
    relative_difference,
)
from plumbing.plain import finite_or_none

SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Comparison:
    """A controller's delay against the reference's, in pairs of equal seeds."""

    difference_s: Interval
    """Delay minus the reference's delay [s]; negative is better."""
    share: Interval
    """The same as a share of the reference's mean delay; negative is better."""
    p_value: float
    """p of the exact paired test for no difference."""
    p_value_holm: float
    """p after Holm's correction for all comparisons of the evaluation."""
    improvement: Interval
    """Probability of less delay than the reference on a new seed."""

    @property
    def verdict(self) -> str:
        """ "better", "worse" or "no clear difference" (at 5 % after correction)."""
        if not self.p_value_holm <= SIGNIFICANT:
            return "no clear difference"
        return "better" if self.difference_s.mean < 0 else "worse"


@dataclass(frozen=True)
class ControllerSummary:
    """All runs of one controller."""

    controller: str
    runs: int
    gridlocked_runs: int
    """Number of gridlocked runs. They are in the means as well."""
    metrics: Mapping[str, Interval]
    versus: Comparison | None
    """None for the reference itself."""

    @property
    def means(self) -> dict[str, float]:
        """The mean of each metric over the runs."""
        return {key: interval.mean for key, interval in self.metrics.items()}


@dataclass(frozen=True)
class Summary:
    """The result of an evaluation."""

    controllers: tuple[ControllerSummary, ...]
    reference: str
    """The baseline with the least mean delay; without baselines, the first controller."""
    reference_is: str = "best of the baselines"
    """Or "first named"."""


def summarise(results: Sequence[RunResult], baselines: Sequence[str]) -> Summary:
    """The summary of all runs; every controller has run the same seeds."""
    by_name: dict[str, list[RunResult]] = {}
    for result in results:
        by_name.setdefault(result.controller, []).append(result)
    delays = {
        name: [run.metrics.delay_s for run in sorted(runs, key=lambda run: run.seed)]
        for name, runs in by_name.items()
    }
    known = [name for name in by_name if name in baselines]
    reference = min(known, key=lambda name: math.fsum(delays[name])) if known else next(iter(by_name))
    compared = [name for name in by_name if name != reference]
    p_values = [paired_test(delays[name], delays[reference]) for name in compared]
    versus = {
        name: Comparison(
            difference(delays[name], delays[reference]),
            relative_difference(delays[name], delays[reference]),
            p_value,
            corrected,
            probability_of_improvement(delays[name], delays[reference]),
        )
        for name, p_value, corrected in zip(compared, p_values, holm(p_values), strict=True)
    }
    return Summary(
        tuple(
            ControllerSummary(
                controller=name,
                runs=len(runs),
                gridlocked_runs=sum(run.metrics.gridlocked for run in runs),
                metrics={
                    metric: mean_interval([float(getattr(run.metrics, metric)) for run in runs]) for metric in METRICS
                },
                versus=versus.get(name),
            )
            for name, runs in by_name.items()
        ),
        reference,
        "best of the baselines" if known else "first named",
    )


def as_json(summary: Summary, about: Mapping[str, Any]) -> dict[str, Any]:
    """The content of `--json`: `about` first, then the controllers. A missing value is null."""
    return {
        **about,
        "reference": summary.reference,
        "controllers": [
            {
                "controller": entry.controller,
                "runs": entry.runs,
                "gridlocked_runs": entry.gridlocked_runs,
                **{metric: _plain(interval) for metric, interval in entry.metrics.items()},
                "versus_reference": None
                if entry.versus is None
                else {
                    "delay_difference_s": _plain(entry.versus.difference_s),
                    "delay_share": _plain(entry.versus.share),
                    "p_value": finite_or_none(entry.versus.p_value),
                    "p_value_holm": finite_or_none(entry.versus.p_value_holm),
                    "probability_of_improvement": _plain(entry.versus.improvement),
                },
            }
            for entry in summary.controllers
        ],
    }


def _plain(interval: Interval) -> dict[str, float | None]:
    return {name: finite_or_none(value) for name, value in vars(interval).items()}


def with_interval(of: Interval, runs: int) -> str:
    """A mean with its interval; without, where one run is all."""
    return f"{of.mean:.1f} [{of.low:.1f}, {of.high:.1f}]" if runs > 1 else f"{of.mean:.1f}"


def p_text(value: float, below: str = "<0.001") -> str:
    """A p value with three places; `below` where that shows none."""
    return below if value < 0.001 else shown(value, ".3f")

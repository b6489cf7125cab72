"""Stress curves: delay of each controller as conditions get worse, one curve per kind of disturbance.

Each level is an evaluation of its own with the first few seeds. The undisturbed level comes from the main evaluation.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from evaluation.incident import find_incident, with_incident
from evaluation.runs import Contestant, Engine, Evaluation, RunResult, finished_runs, run_all
from evaluation.statistics import Interval, mean_interval
from plumbing.errors import InputError, did_you_mean
from signals.loops import DetectorFaults

KINDS = ("demand", "held-out", "incident", "detectors")
DEMAND = (0.6, 0.8, 1.2, 1.4)
HELD_OUT = (1, 2, 3)
INCIDENT_MIN = (5, 10, 20)
DROPOUT = STUCK_ON = (0.05, 0.1, 0.2, 0.4)
LATENCY_S = (1, 2, 4)


@dataclass(frozen=True)
class Disturbance:
    """One kind of disturbance: its levels, and the evaluations of each level."""

    kind: str
    title: str
    unit: str
    base: float
    """The undisturbed level, which is the main evaluation."""
    levels: Sequence[float]
    make: Callable[[Evaluation, float], list[Evaluation]]
    detectors: bool = False
    """Whether it affects only controllers that use detectors."""


@dataclass(frozen=True)
class StressCurve:
    """Delay and gridlocked runs by controller and level."""

    kind: str
    title: str
    unit: str
    levels: Sequence[float]
    delay_s: Mapping[str, Sequence[Interval]]
    gridlocked_runs: Mapping[str, Sequence[int]]
    runs: int


@dataclass(frozen=True)
class Level:
    """Evaluations still to be run for one level."""

    disturbance: Disturbance
    level: float
    parts: Sequence[Evaluation]

    @property
    def size(self) -> int:
        """Number of runs."""
        return sum(len(part.contestants) * len(part.seeds) for part in self.parts)


def _demand(of: Evaluation, factor: float) -> list[Evaluation]:
    return [dataclasses.replace(of, scenario=of.scenario.scaled(factor))]


def _held_out(of: Evaluation, number: float) -> list[Evaluation]:
    return [dataclasses.replace(of, scenario=of.scenario.held_out(int(number)))]


def _incident(of: Evaluation, minutes: float) -> list[Evaluation]:
    return [
        dataclasses.replace(of, scenario=with_incident(of.scenario, seed, 60.0 * minutes), seeds=[seed])
        for seed in of.seeds
    ]


def _faulty(**fault: float) -> Callable[[Evaluation, float], list[Evaluation]]:
    name = next(iter(fault))
    return lambda of, level: [dataclasses.replace(of, faults=DetectorFaults(**{name: level * fault[name]}))]


DISTURBANCES: Mapping[str, Sequence[Disturbance]] = {
    "demand": [
        Disturbance("demand", "More and less traffic", "demand [share of the recorded]", 1.0, DEMAND, _demand)
    ],
    "held-out": [
        Disturbance("held-out", "Demand that no training saw", "held-out demand [number]", 0.0, HELD_OUT, _held_out)
    ],
    "incident": [
        Disturbance("incident", "A broken-down car blocks a lane", "blocked for [min]", 0.0, INCIDENT_MIN, _incident)
    ],
    "detectors": [
        Disturbance("dropout", "Detectors that die", "share of loops [%]", 0.0, [100 * x for x in DROPOUT],
                 _faulty(dropout=0.01), True),
        Disturbance("stuck-on", "Detectors stuck on", "share of loops [%]", 0.0, [100 * x for x in STUCK_ON],
                 _faulty(stuck_on=0.01), True),
        Disturbance("latency", "Detectors that are late", "age of readings [s]", 0.0, LATENCY_S,
                 _faulty(latency_s=1.0), True),
    ],
}  # fmt: skip


def applicable_kinds(evaluation: Evaluation) -> list[str]:
    """The kinds that can be shown with this scenario and these contestants."""
    scenario = evaluation.scenario
    found = ["demand", "held-out"] if scenario.demand == "recorded" else []
    with contextlib.suppress(InputError):  # no approach is long enough
        find_incident(scenario, evaluation.seeds[0], 60.0)
        found.append("incident")
    if any(map(uses_detectors, evaluation.contestants)):
        found.append("detectors")
    return found


def check_kinds(kinds: Sequence[str], evaluation: Evaluation) -> None:
    """Raises InputError for a kind that there is not, or that cannot be shown with these contestants."""
    for kind in kinds:
        if kind not in KINDS:
            raise InputError(
                f"unknown --stress {kind!r}; choose of {', '.join(KINDS)}, or all.{did_you_mean(kind, KINDS)}"
            )
        if kind in ("demand", "held-out") and evaluation.scenario.demand != "recorded":
            raise InputError(f"--stress {kind} starts from the recorded demand; leave --demand out, or {kind}")
    if "detectors" in kinds and not any(map(uses_detectors, evaluation.contestants)):
        raise InputError(
            "--stress detectors: no controller here uses detectors; train one with train.py --sensing detectors, "
            "or leave detectors out"
        )


def uses_detectors(contestant: Contestant) -> bool:
    """Whether its controller reads detectors."""
    return getattr(contestant.make(), "sensing", "") == "detectors"


def plan_stress(main: Evaluation, kinds: Sequence[str], seeds: int) -> list[Level]:
    """The levels to run beside the main evaluation, with the first `seeds` of its seeds."""
    levels = []
    for disturbance in (each for kind in kinds for each in DISTURBANCES[kind]):
        contestants = [c for c in main.contestants if not disturbance.detectors or uses_detectors(c)]
        for level in disturbance.levels:
            if disturbance.kind == "latency" and level > main.timing.decision_interval_s:
                continue
            store = None if main.store is None else main.store.parent / "stress" / f"{disturbance.kind}-{level:g}"
            base = dataclasses.replace(
                main, contestants=contestants, seeds=main.seeds[:seeds], keep=None, store=store, details=False,
                corridor=None, event_log=False,
            )  # fmt: skip
            levels.append(Level(disturbance, level, disturbance.make(base, level)))
    return levels


def run_level(
    level: Level, workers: int, on_done: Callable[[RunResult], None], engine: Engine | None = None
) -> list[RunResult]:
    """All runs of a level, those that were finished before included; each is reported."""
    results: list[RunResult] = []
    for part in level.parts:
        finished = finished_runs(part)
        part_results = run_all(part, workers, on_done, finished, engine)
        for run in part_results:
            if (run.controller, run.seed) in finished.runs:
                on_done(run)
        results += part_results
    return results


def curves_of(
    main: Sequence[RunResult], levels: Sequence[Level], results: Sequence[Sequence[RunResult]]
) -> list[StressCurve]:
    """The curves, the main evaluation's runs with the same seeds among them."""
    curves = []
    for kind in dict.fromkeys(level.disturbance.kind for level in levels):
        own = [(level, runs) for level, runs in zip(levels, results, strict=True) if level.disturbance.kind == kind]
        first = own[0][0].disturbance
        seeds = {run.seed for run in own[0][1]}
        names = list(dict.fromkeys(run.controller for run in own[0][1]))
        points = {first.base: [run for run in main if run.seed in seeds and run.controller in names]}
        points |= {level.level: list(runs) for level, runs in own}
        order = sorted(points)
        by_name = {
            name: [[run.metrics for run in points[level] if run.controller == name] for level in order]
            for name in names
        }
        curves.append(
            StressCurve(
                first.kind, first.title, first.unit, order,
                {name: [mean_interval([m.delay_s for m in at]) for at in of] for name, of in by_name.items()},
                {name: [sum(m.gridlocked for m in at) for at in of] for name, of in by_name.items()},
                len(seeds),
            )
        )  # fmt: skip
    return curves


def stress_json(curves: Sequence[StressCurve]) -> list[dict[str, Any]]:
    """The curves as plain values."""
    return [
        {
            "kind": curve.kind,
            "unit": curve.unit,
            "runs": curve.runs,
            "levels": [
                {
                    "level": level,
                    "controllers": [
                        {
                            "controller": name,
                            "delay_s": vars(curve.delay_s[name][n]),
                            "gridlocked_runs": curve.gridlocked_runs[name][n],
                        }
                        for name in curve.delay_s
                    ],
                }
                for n, level in enumerate(curve.levels)
            ],
        }
        for curve in curves
    ]


def stress_table(curves: Sequence[StressCurve]) -> pl.DataFrame:
    """One row per kind, level and controller."""
    return pl.DataFrame(
        [
            {
                "kind": curve.kind,
                "level": float(level),
                "controller": name,
                "runs": curve.runs,
                "gridlocked_runs": curve.gridlocked_runs[name][n],
                "delay_s": curve.delay_s[name][n].mean,
                "delay_s_low": curve.delay_s[name][n].low,
                "delay_s_high": curve.delay_s[name][n].high,
            }
            for curve in curves
            for n, level in enumerate(curve.levels)
            for name in curve.delay_s
        ]
    )

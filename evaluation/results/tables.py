"""From runs to a summary: per controller the mean of each metric with its interval, and the best baseline."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from evaluation.contest import printable
from evaluation.metrics import METRICS
from evaluation.results.statistics import (
    Interval,
    difference,
    holm,
    mean_interval,
    paired_test,
    probability_of_improvement,
    relative_difference,
)
from evaluation.runs import RunResult
from evaluation.stress import StressCurve
from plumbing.whole import write_whole

DEFINITION = (
    "delay: time loss + departure delay, mean over every vehicle that was to depart, arrived or not [s]; "
    "[ ]: 95 % bootstrap interval over seeds"
)


SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Comparison:
    """A controller's delay against the reference's, in pairs of equal seeds."""

    difference_s: Interval
    """Its delay less the reference's [s]; negative is better."""
    share: Interval
    """By what share its mean delay is above the reference's; negative is better."""
    p_value: float
    """Of the exact paired test that there is no difference."""
    p_value_holm: float
    """The same, corrected for as many comparisons as the evaluation makes."""
    improvement: Interval
    """How likely it is to have less delay than the reference on a new seed."""

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
    """They are in the means as well: the metrics hold for every vehicle, gridlock or not."""
    metrics: Mapping[str, Interval]
    versus: Comparison | None
    """None for the reference itself."""


@dataclass(frozen=True)
class Summary:
    """What an evaluation comes to."""

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
    """What `--json` prints; `about` comes first. A value that does not exist is null."""
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
                    "p_value": _finite(entry.versus.p_value),
                    "p_value_holm": _finite(entry.versus.p_value_holm),
                    "probability_of_improvement": _plain(entry.versus.improvement),
                },
            }
            for entry in summary.controllers
        ],
    }


def _plain(interval: Interval) -> dict[str, float | None]:
    return {name: _finite(value) for name, value in vars(interval).items()}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def as_table(summary: Summary) -> Table:
    """The table for a terminal, best delay first."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    persons = any(entry.metrics["persons_arrived"].mean > 0 for entry in summary.controllers)
    emissions = any(math.isfinite(entry.metrics["co2_g"].mean) for entry in summary.controllers)
    table.add_column("controller", overflow="fold")
    for title in (
        "delay s",
        "vs refe-\nrence",
        "p\n(Holm)",
        "travel\ntime s",
        "waiting\ns",
        "stops",
        "arrived",
        "running",
    ):
        table.add_column(title, justify="right", no_wrap=True)
    for title in ("unin-\nserted", "tele-\nported", "grid-\nlocked"):
        table.add_column(title, justify="right", no_wrap=True)
    if persons:
        table.add_column("persons'\nwaiting s", justify="right", no_wrap=True)
    if emissions:
        table.add_column("CO2\ng", justify="right", no_wrap=True)
    for entry in sorted(summary.controllers, key=lambda entry: entry.metrics["delay_s"].mean):
        of, locked = entry.metrics, entry.gridlocked_runs
        delay = of["delay_s"]
        cells: list[Text | str] = [
            Text(printable(entry.controller)),
            Text(with_interval(delay, entry.runs)),
            "" if entry.versus is None else f"{_number(100 * entry.versus.share.mean, '+.0f')} %",
            "" if entry.versus is None else _p(entry.versus.p_value_holm),
            _number(of["travel_time_s"].mean, ".1f"),
            _number(of["waiting_time_s"].mean, ".1f"),
            _number(of["stops"].mean, ".2f"),
            *(_number(of[f"{name}_veh"].mean, ".0f") for name in ("arrived", "running", "uninserted")),
            _number(of["teleported_veh"].mean, ".0f"),
            f"{locked} of {entry.runs}" if locked else "0",
        ]
        if persons:
            cells.append(_number(of["person_waiting_s"].mean, ".1f"))
        if emissions:
            cells.append(_number(of["co2_g"].mean, ".0f"))
        table.add_row(*cells, style="red" if locked else "bold" if entry.controller == summary.reference else None)
    return table


def curve_table(curve: StressCurve) -> Table:
    """Delay by level, for a terminal."""
    title = Text(f"{curve.title}: delay s by {curve.unit}", style="table.title")
    table = Table(box=SIMPLE_HEAD, pad_edge=False, title=title, title_justify="left")
    table.add_column("controller", overflow="fold")
    for level in curve.levels:
        table.add_column(f"{level:g}", justify="right", no_wrap=True)
    for name, values in curve.delay_s.items():
        jammed = curve.gridlocked_runs[name]
        cells = [f"{v.mean:.1f}{' (gridlock)' if n else ''}" for v, n in zip(values, jammed, strict=True)]
        table.add_row(Text(printable(name)), *cells)
    return table


def with_interval(of: Interval, runs: int) -> str:
    """A mean with its interval, of which one run has none."""
    return f"{of.mean:.1f} [{of.low:.1f}, {of.high:.1f}]" if runs > 1 else f"{of.mean:.1f}"


def _p(value: float) -> str:
    return "<0.001" if value < 0.001 else _number(value, ".3f")


def _number(value: float, form: str) -> str:
    return format(value, form) if math.isfinite(value) else "–"


def run_table(results: Sequence[RunResult]) -> pl.DataFrame:
    """One row per run."""
    rows = [{"controller": run.controller, "seed": run.seed, **dataclasses.asdict(run.metrics)} for run in results]
    return pl.DataFrame(rows).fill_nan(None)


def vehicle_table(results: Sequence[RunResult]) -> pl.DataFrame:
    """One row per vehicle of each run."""
    return pl.concat(
        [
            run.vehicles.select(pl.lit(run.controller).alias("controller"), pl.lit(run.seed).alias("seed"), pl.all())
            for run in results
        ]
    )


def summary_table(summary: Summary) -> pl.DataFrame:
    """One row per controller; three columns per metric."""
    rows: list[dict[str, Any]] = []
    for entry in summary.controllers:
        row: dict[str, Any] = {
            "controller": entry.controller,
            "runs": entry.runs,
            "gridlocked_runs": entry.gridlocked_runs,
        }
        for metric, interval in entry.metrics.items():
            row |= {metric: interval.mean, f"{metric}_low": interval.low, f"{metric}_high": interval.high}
        rows.append(row)
    return pl.DataFrame(rows).fill_nan(None)


def write_tables(
    folder: Path,
    results: Sequence[RunResult],
    summary: Summary,
    content: Mapping[str, Any],
    settings: Mapping[str, Any],
) -> None:
    """Results and summary as CSV and Parquet, vehicles.parquet, summary.json and settings.json.

    Raises:
        InputError: the folder cannot be written.
    """
    write_frame(folder, "results", run_table(results))
    write_frame(folder, "summary", summary_table(summary))
    write_whole(folder / "vehicles.parquet", _writer(vehicle_table(results).write_parquet))
    for name, values in (("summary", content), ("settings", settings)):
        text = json.dumps(values, indent=2, ensure_ascii=False) + "\n"
        write_whole(folder / f"{name}.json", _text_writer(text))


def write_frame(folder: Path, name: str, frame: pl.DataFrame) -> None:
    """A table as CSV and as Parquet.

    Raises:
        InputError: the folder cannot be written.
    """
    write_whole(folder / f"{name}.csv", _writer(frame.write_csv))
    write_whole(folder / f"{name}.parquet", _writer(frame.write_parquet))


def _writer(write: Callable[[str], object]) -> Callable[[Path], object]:
    return lambda path: write(str(path))


def _text_writer(text: str) -> Callable[[Path], object]:
    return lambda path: path.write_text(text, encoding="utf-8")

"""The files that an evaluation writes below --out: settings, tables and the report."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from evaluation.details.events import EventPlan
from evaluation.results.summary import Summary
from evaluation.runs import Evaluation, RunResult, folder_names
from evaluation.stress import StressCurve, stress_table
from plumbing.whole import write_whole


def settings_of(evaluation: Evaluation, words: Sequence[str], about: Mapping[str, Any]) -> dict[str, Any]:
    """Everything that it takes to repeat the evaluation; `words` are the command's arguments."""
    scenario = evaluation.scenario
    return {
        "command": ["python", "evaluate.py", *words],
        **about,
        "controllers": [c.name for c in evaluation.contestants],
        "begin_s": scenario.begin_s,
        "end_s": scenario.end_s,
        "files_sha256": scenario.hashes(),
        "timing": dataclasses.asdict(evaluation.timing),
        "identity": {c.name: c.identity for c in evaluation.contestants if c.identity},
        "trained_on": {c.name: c.trained_on for c in evaluation.contestants if c.trained_on},
        "tuned": {c.name: c.tuned for c in evaluation.contestants if c.tuned},
        "versions": dict(evaluation.versions),
    }


def write_results(
    out: Path,
    evaluation: Evaluation,
    results: list[RunResult],
    summary: Summary,
    stress: Sequence[StressCurve],
    content: Mapping[str, Any],
    settings: Mapping[str, Any],
) -> None:
    """All tables and the report.

    Raises:
        InputError: the folder cannot be written.
    """
    # drawing libraries take a second to load, so only where something is drawn
    from evaluation.report.content import ReportContent
    from evaluation.report.page import write_page
    from evaluation.results.signals import movements_table, signal_table

    scenario = evaluation.scenario
    write_tables(out, results, summary, content, settings)
    signals = signal_table(results, scenario.begin_s, scenario.end_s)
    movements = movements_table(results)
    write_frame(out, "signals", signals)
    write_frame(out, "movements", movements)
    if stress:
        write_frame(out, "stress", stress_table(stress))
    if evaluation.event_log:
        write_frame(out, "detectors", EventPlan.of(scenario.network).detectors())
    for name in [*(() if stress else ("stress",)), *(() if evaluation.event_log else ("detectors",))]:
        for path in (out / f"{name}.csv", out / f"{name}.parquet"):
            path.unlink(missing_ok=True)  # of an earlier evaluation: what lies here belongs together
    page = ReportContent(
        scenario=scenario,
        summary=summary,
        results=results,
        settings=settings,
        labels=folder_names(evaluation.contestants),
        agents={c.name: Path(c.name) for c in evaluation.contestants if not c.baseline},
        trained_on=settings["trained_on"],
        trained_by=[line for c in evaluation.contestants for line in c.trained_by],
        signals=signals,
        movements=movements,
        corridor=evaluation.corridor,
        stress=stress,
    )
    write_page(out / "report.html", page)


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

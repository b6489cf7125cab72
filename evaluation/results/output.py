"""What an evaluation leaves: settings, tables and the report below --out, and the tables in a terminal."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from evaluation.contest import printable
from evaluation.details.events import EventPlan
from evaluation.results.gridlock import gridlock_lines
from evaluation.results.tables import DEFINITION, Summary, as_table, curve_table, write_frame, write_tables
from evaluation.runs import Evaluation, RunResult, folder_names
from evaluation.stress import StressCurve, stress_table


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


def print_results(
    evaluation: Evaluation,
    results: list[RunResult],
    summary: Summary,
    stress: Sequence[StressCurve],
    out: Path | None,
) -> None:
    """The tables on stdout, with the words that they need."""
    scenario, seeds = evaluation.scenario, evaluation.seeds
    console = Console(width=None if sys.stdout.isatty() else 160, highlight=False, markup=False, emoji=False)
    console.print(as_table(summary))
    counts = sorted({run.metrics.vehicles for run in results})
    vehicles = f"{counts[0]:,}" if len(counts) == 1 else f"{counts[0]:,} to {counts[-1]:,}"
    same = seeds == list(range(seeds[0], seeds[0] + len(seeds)))
    shown = f"{seeds[0]} to {seeds[-1]}" if same and len(seeds) > 1 else ", ".join(map(str, seeds))
    console.print(
        f"{scenario.name}, {scenario.demand} demand, {scenario.begin_s:g} to {scenario.end_s:g} s, "
        f"{vehicles} vehicles, seeds {shown}\n{DEFINITION}",
        soft_wrap=True,
    )
    if len(summary.controllers) > 1:
        console.print(f"reference: {printable(summary.reference)}, the {summary.reference_is}", soft_wrap=True)
    for contestant in evaluation.contestants:
        if contestant.tuned:
            console.print(printable(f"{contestant.name}: {contestant.tuned}"), soft_wrap=True)
    if any(run.metrics.gridlocked for run in results):
        console.print("red rows: runs that ended in gridlock; they are in the means", soft_wrap=True)
        for line in gridlock_lines(results, scenario.network):
            console.print(printable(line), soft_wrap=True)
    for curve in stress:
        console.print(curve_table(curve))
    if out is not None:
        console.print(printable(f"written to {out}"), soft_wrap=True)

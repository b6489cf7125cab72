"""The printed result of an evaluation: the table of controllers, stress curves, and the notes to them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from evaluation.contest import without_invisible
from evaluation.metrics import METRICS, present, shown
from evaluation.results.findings import chosen_line, unserved_lines, warning_lines
from evaluation.results.gridlock import gridlock_lines
from evaluation.results.summary import Summary, p_text, with_interval
from evaluation.runs import Evaluation, RunResult
from evaluation.stress import StressCurve
from scenarios.blockers import blocker_line
from scenarios.provenance import made_up_line


def as_table(summary: Summary) -> Table:
    """One row per controller, best delay first. A metric without any value has no column."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    in_terminal = [key for key, metric in METRICS.items() if metric.terminal and key != "delay_s"]
    metrics = present(in_terminal, (entry.means for entry in summary.controllers))
    table.add_column("controller", overflow="fold")
    titles = [
        METRICS["delay_s"].terminal,
        "vs refe-\nrence",
        "p\n(Holm)",
        *(METRICS[key].terminal for key in metrics),
    ]
    for title in (*titles, "grid-\nlocked"):
        table.add_column(title, justify="right", no_wrap=True)
    for entry in sorted(summary.controllers, key=lambda entry: entry.metrics["delay_s"].mean):
        locked, versus = entry.gridlocked_runs, entry.versus
        table.add_row(
            Text(without_invisible(entry.controller)),
            Text(with_interval(entry.metrics["delay_s"], entry.runs)),
            "" if versus is None else f"{shown(100 * versus.share.mean, '+.0f')} %",
            "" if versus is None else p_text(versus.p_value_holm),
            *(METRICS[key].text(entry.means[key]) for key in metrics),
            f"{locked} of {entry.runs}" if locked else "0",
            style="red" if locked else "bold" if entry.controller == summary.reference else None,
        )
    return table


def curve_table(curve: StressCurve) -> Table:
    """Delay by level, for a terminal."""
    title = Text(f"{curve.title}: {METRICS['delay_s'].terminal} by {curve.unit}", style="table.title")
    table = Table(box=SIMPLE_HEAD, pad_edge=False, title=title, title_justify="left")
    table.add_column("controller", overflow="fold")
    for level in curve.levels:
        table.add_column(f"{level:g}", justify="right", no_wrap=True)
    for name, values in curve.delay_s.items():
        jammed = curve.gridlocked_runs[name]
        cells = [
            f"{METRICS['delay_s'].text(v.mean)}{' (gridlock)' if n else ''}"
            for v, n in zip(values, jammed, strict=True)
        ]
        table.add_row(Text(without_invisible(name)), *cells)
    return table


def print_results(
    evaluation: Evaluation,
    results: list[RunResult],
    summary: Summary,
    stress: Sequence[StressCurve],
    out: Path | None,
) -> None:
    """Print the tables with their notes on stdout."""
    scenario, seeds = evaluation.scenario, evaluation.seeds
    console = Console(width=None if sys.stdout.isatty() else 160, highlight=False, markup=False, emoji=False)
    console.print(as_table(summary))
    counts = sorted({run.metrics.vehicles for run in results})
    vehicles = f"{counts[0]:,}" if len(counts) == 1 else f"{counts[0]:,} to {counts[-1]:,}"
    same = seeds == list(range(seeds[0], seeds[0] + len(seeds)))
    shown = f"{seeds[0]} to {seeds[-1]}" if same and len(seeds) > 1 else ", ".join(map(str, seeds))
    console.print(
        f"{scenario.name}, {scenario.demand_shown} demand, {scenario.begin_s:g} to {scenario.end_s:g} s, "
        f"{vehicles} vehicles, seeds {shown}\n{_definition()}",
        soft_wrap=True,
    )
    notes = (
        made_up_line(scenario.made_up),
        blocker_line(scenario.ignore_junction_blocker_s),
        chosen_line(scenario, evaluation.tls_ids),
    )
    for line in filter(None, notes):
        console.print(without_invisible(line), soft_wrap=True)
    if len(summary.controllers) > 1:
        console.print(
            f"reference: {without_invisible(summary.reference)}, the {summary.reference_is}", soft_wrap=True
        )
    for line in (*unserved_lines(results), *warning_lines(results)):
        console.print(without_invisible(line), soft_wrap=True)
    for contestant in evaluation.contestants:
        if contestant.tuned:
            console.print(without_invisible(f"{contestant.name}: {contestant.tuned}"), soft_wrap=True)
    if any(run.metrics.gridlocked for run in results):
        console.print("red rows: runs that ended in gridlock; they are in the means", soft_wrap=True)
        for line in gridlock_lines(results, scenario.network):
            console.print(without_invisible(line), soft_wrap=True)
    for curve in stress:
        console.print(curve_table(curve))
    if out is not None:
        console.print(without_invisible(f"written to {out}"), soft_wrap=True)


def _definition() -> str:
    delay = METRICS["delay_s"]
    return f"{delay.heading}: {delay.definition}; [ ]: 95 % bootstrap interval over seeds"

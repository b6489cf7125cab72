"""One registry of metrics: each entry reaches the terminal, the report, JSON, the files and the docs."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass, fields
from html import unescape
from pathlib import Path
from typing import Annotated, Any

import polars as pl
import pytest
from rich.console import Console

from evaluation import metrics
from evaluation.files import run_table, summary_table
from evaluation.metrics import DETAILS, METRICS, TYPES, Metric, RunMetrics, shown
from evaluation.report.captions import glossary
from evaluation.report.content import ReportContent
from evaluation.report.tables import all_metrics_table, beyond_delay_table, delay_table
from evaluation.results.summary import as_json, summarise
from evaluation.results.terminal import as_table
from evaluation.runs import RunResult
from scenarios.loading import load

JERK = Metric(
    "jerk", "m/s³", "mean over the vehicles that entered", "change of acceleration", ".3f", "jerk\nm/s³", "beyond"
)


@dataclass(frozen=True)
class MoreMetrics(RunMetrics):
    """With one metric more."""

    jerk_mps3: Annotated[float, JERK] = math.nan


def evaluated(**more: float) -> list[RunResult]:
    """Two runs of one controller, whose metrics are 1, 2, 3, … in the fields' order."""
    kind = MoreMetrics if more else RunMetrics
    values: dict[str, Any] = {name: float(n) for n, name in enumerate(METRICS, start=1) if name in TYPES}
    values |= {"gridlocked": False, "gridlock_at": "", "gridlock_circle": 0, "gridlock_since_s": math.nan, **more}
    return [RunResult("greedy", seed, kind(**values), pl.DataFrame()) for seed in (1, 2)]


def appears_everywhere(key: str, results: list[RunResult]) -> None:
    metric, summary = METRICS[key], summarise(results, ["greedy"])
    value = float(getattr(results[0].metrics, key))
    (entry,) = as_json(summary, {})["controllers"]
    assert entry[key] == {"mean": value, "low": value, "high": value}
    assert summary_table(summary)[key].to_list() == [value]
    assert run_table(results)[key].to_list() == [value, value]
    if metric.terminal and key != "delay_s":
        console = Console(file=io.StringIO(), width=200)
        console.print(as_table(summary))
        text = console.file.getvalue()  # type: ignore[attr-defined]
        assert all(part in text for part in metric.terminal.split("\n"))
        assert metric.text(value) in text
    content = ReportContent(
        load("single"),
        summary,
        results,
        {"seeds": [1, 2]},
        {"greedy": "greedy"},
        {},
        {},
        pl.DataFrame(),
        pl.DataFrame(),
    )
    tables = {"delay": delay_table(content), "beyond": beyond_delay_table(content), "": all_metrics_table(content)}
    for table in {"", metric.table}:
        page = unescape(tables[table].html)
        assert metric.heading in page
        assert metric.text(value) in page
    assert (metric.heading, metric.definition) in glossary([key])


@pytest.mark.parametrize("key", METRICS)
def test_each_metric_is_shown_wherever_metrics_are(key: str) -> None:
    appears_everywhere(key, evaluated())


def test_a_new_metric_is_one_entry_and_its_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(metrics.METRICS, "jerk_mps3", JERK)
    appears_everywhere("jerk_mps3", evaluated(jerk_mps3=0.125))


def test_the_docs_have_each_metric_as_it_is_defined() -> None:
    rows = (Path(__file__).parents[1] / "docs" / "evaluation.md").read_text().split("\n")
    missing = [metric.row(key) for key, metric in METRICS.items() if metric.row(key) not in rows]
    assert not missing, "put these rows into docs/evaluation.md:\n" + "\n".join(missing)


def test_every_number_of_a_run_is_a_metric() -> None:
    assert {name for name in TYPES if not name.startswith("gridlock")} == set(METRICS)
    assert set(DETAILS) <= set(METRICS)
    assert [field.name for field in fields(RunMetrics)] == list(TYPES)


def test_units_are_in_the_names() -> None:
    """What a key says is the unit is the unit, of a share apart."""
    units = {"_s": "s", "_veh": "veh", "_vph": "veh/h", "_g": "g/veh"}
    for key, metric in METRICS.items():
        for ending, unit in units.items():
            if key.endswith(ending):
                assert metric.unit == unit, key


def test_a_value_is_shown_in_its_form() -> None:
    assert METRICS["delay_s"].heading == "delay [s]"
    assert METRICS["arrived_veh"].text(1234.4) == "1,234"
    assert METRICS["spillback_share"].text(0.125) == "12.5 %"
    assert METRICS["stops"].text(math.nan) == shown(math.inf, ".1f") == "–"

"""The published tables of forecasts and of made days, on the real counts that ship in traffic_anomaly.

    python -m benchmarks.forecast forecast      benchmarks/demand/forecast.md, .json
    python -m benchmarks.forecast generated     benchmarks/demand/generated.md, .json

What a run has trained is kept under --work, so one that was stopped goes on.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import io
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from demand.__main__ import main as demand_main
from demand.counts.readers import traffic_anomaly
from demand.counts.store import write_counts
from demand.forecast import table as forecast_table
from demand.forecast.kinds import METHODS
from demand.forecast.scores import BUSY
from demand.generation import command as generate_command
from plumbing.command import run_command, say
from plumbing.plain import json_bytes, parse
from plumbing.whole import write_whole

OUT = Path(__file__).parent / "demand"
PACKAGES = ("traffic-anomaly", "scikit-learn", "torch", "onnxruntime", "numpy", "polars")
ANCHORS = {"last value": 5.50, "last week": 6.29, "gradient boosting": 4.34, "LSTM": 4.70}
"""Errors that others have reached on the busy detectors of these counts, in the same days."""
GOAL_MAE, GOAL_COVERAGE = 4.2, (0.77, 0.83)


def main(arguments: list[str] | None = None) -> int:
    """The command. Returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="benchmarks/forecast.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("table", choices=("forecast", "generated"))
    parser.add_argument(
        "--work", type=Path, default=Path("runs/benchmark-demand"), help="default: runs/benchmark-demand"
    )
    parser.add_argument("--out", type=Path, default=OUT, help="default: benchmarks/demand")
    parser.add_argument("--seeds", type=int, choices=range(1, 11), default=3, metavar="N", help="default 3")
    parser.add_argument(
        "--methods", nargs="+", default=list(METHODS), metavar="METHOD", help="of forecasts; default: all"
    )
    options = parser.parse_args(arguments)
    counts = options.work / "counts"
    about, detectors, table = traffic_anomaly.read()
    write_counts(counts, about, detectors, [table])
    given, content, text = (_forecast if options.table == "forecast" else _generated)(options, counts)
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    python = platform.python_version()
    content = {"command": given, "python": python, "versions": versions, **content}
    told = ", ".join(f"{name} {version}" for name, version in versions.items())
    foot = f"\nCommand: `{given}` (Python {python}, {told}).\n"
    options.out.mkdir(parents=True, exist_ok=True)
    write_whole(options.out / f"{options.table}.md", lambda path: path.write_text(text + foot, encoding="utf-8"))
    write_whole(options.out / f"{options.table}.json", lambda path: path.write_bytes(json_bytes(content)))
    say(text)
    return 0


def _forecast(options: argparse.Namespace, counts: Path) -> tuple[str, dict[str, Any], str]:
    out = options.work / "forecast"
    words = ["forecast", str(counts), "--minutes", "15", "--seeds", str(options.seeds), "--out", str(out)]
    words += ["--methods", *options.methods]
    demand_main(words)
    (found,) = parse((out / "results.json").read_bytes())["forecasts"]
    rows = found["rows"]
    best = next(row for row in rows if row["method"] == found["best"].rpartition("-seed-")[0])
    busy = f"the {found['busy_detectors']} of {found['detectors']} detectors that count {BUSY:g} or more on the mean"
    reached = best["busy"]["mae"] <= GOAL_MAE and GOAL_COVERAGE[0] <= best["busy"]["coverage"] <= GOAL_COVERAGE[1]
    anchors = ", ".join(f"{name} {mae:.2f}" for name, mae in ANCHORS.items())
    days = found["settings"]["test_days"]
    method, mae, coverage = best["method"].replace("_", " "), best["busy"]["mae"], best["busy"]["coverage"]
    verdict = "reached" if reached else "not reached"
    text = f"""# Forecasts, 15 minutes ahead

Vehicles per 15 minutes over the last {days} days; means over {options.seeds} seeds, and each. First all detectors,
then {busy}.

{_markdown(forecast_table.HEADS, [forecast_table.cells_of(row) for row in rows])}

Chosen by the days before: {method}. Goal for the busy detectors: {GOAL_MAE} or less, with intervals
that cover {GOAL_COVERAGE[0]:.0%} to {GOAL_COVERAGE[1]:.0%}: {verdict}
({mae:.2f}, {coverage:.1%}). Others have reached {anchors}.
"""
    return f"python -m demand {' '.join(words)}", found, text


def _generated(options: argparse.Namespace, counts: Path) -> tuple[str, dict[str, Any], str]:
    words = ["generate", str(counts), "--seeds", str(options.seeds), "--out", str(options.work / "days"), "--json"]
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        demand_main(words)
    found: dict[str, Any] = parse(printed.getvalue())
    rows = found["rows"]
    text = f"""# Made days

Models of {found["days"]} days, judged on days that they were not made from; means over {options.seeds} seeds. AUC
0.50 is best: a classifier can only guess.

{_markdown(generate_command.HEADS, [generate_command.cells_of(row) for row in rows])}

Kept: {found["chosen"]}, which is hardest to tell from real days by both classifiers together.
"""
    return f"python -m demand {' '.join(words)}", found, text


def _markdown(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (heads, ["---"] * len(heads), *rows))


if __name__ == "__main__":
    run_command(main)

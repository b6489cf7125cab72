"""How many faults cleaning finds: faults of several sizes, put into the real counts of the package traffic_anomaly.

Each busy detector has each fault once, on another workday for each; the rest of the table is as it came. For each
fault: the share of its rows that are not called measured; and of all other rows the share that is called wrong.
Writes its tables, Markdown and JSON, to benchmarks/counts/.
"""

from __future__ import annotations

import argparse
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from benchmarks.counts_year import OUT
from demand.cleaning.clean import Cleaning
from demand.cleaning.settings import CleaningSettings
from demand.counts.meter import Meter
from demand.counts.readers import traffic_anomaly
from demand.counts.schema import COUNTS, About
from demand.counts.store import CountsFolder, write_counts
from plumbing.command import run_command, say
from plumbing.held import scratch
from plumbing.plain import json_bytes
from plumbing.whole import write_whole

BUSY_VEH = 15.0
"""Mean count from which a detector tells enough to judge it by."""
MONDAY = datetime(2024, 4, 22, 7, tzinfo=UTC)
"""Midnight in Oregon."""
WORKDAYS = (0, 1, 2, 3, 4, 7, 8, 9, 10, 11, 14, 15, 16, 17, 18)
_HIGHEST = pl.col("count").max().over("detector")
FAULTS: dict[str, tuple[int, int, pl.Expr]] = {
    **{f"stuck at 17 for {n} h": (11, n, pl.lit(17.0)) for n in (1, 2, 3, 6)},
    **{f"zeros from 7:00 for {n} h": (7, n, pl.lit(0.0)) for n in (1, 2, 4)},
    **{f"{n} times its highest count for 2 h": (12, 2, n * _HIGHEST) for n in (2, 3, 4)},
    "negative for 2 h": (12, 2, -pl.col("count") - 1),
}
"""Hour of its begin, hours, what stands there."""
CLOCKS = {
    f"clock {'ahead' if n > 0 else 'behind'} by {abs(n) * 15} min for {days} days": (n, days)
    for n, days in ((2, 5), (3, 5), (4, 5), (-4, 5), (4, 3), (8, 3))
}
"""Intervals by which what is shown lies later, and days."""


def main(arguments: list[str] | None = None) -> int:
    """The command. Returns its exit status."""
    of = argparse.ArgumentParser(prog="benchmarks/counts_faults.py", description=__doc__)
    of.add_argument("--out", type=Path, default=OUT, help="folder of the tables (default: benchmarks/counts)")
    options = of.parse_args(arguments)
    about, detectors, table = traffic_anomaly.read()
    means = table.group_by("detector").agg(pl.col("count").mean())
    busy = means.filter(pl.col("count") >= BUSY_VEH)["detector"].sort().to_list()
    rows: dict[str, dict[str, Any]] = {"as it came": rates(about, detectors, table.with_columns(fault=False))}
    for name, (hour, hours, value) in FAULTS.items():
        rows[name] = rates(about, detectors, _with_fault(table, busy, hour, hours, value))
    for name, (late, days) in CLOCKS.items():
        off = pl.col("time").is_between(MONDAY, MONDAY + timedelta(days=days), closed="left")
        shown = pl.col("count").shift(late).over("detector")
        hurt = table.with_columns(fault=off, count=pl.when(off).then(shown).otherwise("count"))
        rows[name] = rates(about, detectors, hurt)
    found = {"detectors": table["detector"].n_unique(), "busy": len(busy), "rows": table.height, "faults": rows}
    options.out.mkdir(parents=True, exist_ok=True)
    write_whole(options.out / "faults.json", lambda path: path.write_bytes(json_bytes(found)))
    write_whole(options.out / "FAULTS.md", lambda path: path.write_text(markdown(found)))
    say(markdown(found))
    return 0


def rates(about: About, detectors: pl.DataFrame, table: pl.DataFrame) -> dict[str, float | None]:
    """What cleaning finds: `found` of the rows in `fault`, and `falsely` of the others."""
    with scratch("faults") as folder, Meter() as meter:
        write_counts(folder / "counts", about, detectors, [table.select(list(COUNTS))])
        result = pl.concat(Cleaning(CountsFolder(folder / "counts"), CleaningSettings(), meter).parts())
    both = table.join(result.select("detector", "time", "state"), on=["detector", "time"])
    shares = dict(both.group_by("fault").agg((pl.col("state") != "measured").mean()).rows())
    return {"found": shares.get(True), "falsely": shares[False]}


def _with_fault(table: pl.DataFrame, names: list[str], hour: int, hours: int, value: pl.Expr) -> pl.DataFrame:
    marks = []
    for n, name in enumerate(names):
        begin = MONDAY + timedelta(days=WORKDAYS[n % len(WORKDAYS)], hours=hour)
        inside = pl.col("time").is_between(begin, begin + timedelta(hours=hours), closed="left")
        marks.append((pl.col("detector") == name) & inside)
    here = pl.any_horizontal(marks)
    return table.with_columns(fault=here, count=pl.when(here).then(value).otherwise("count"))


def markdown(found: dict[str, Any]) -> str:
    """The figures as a page."""
    rows = "\n".join(
        f"| {name} | {_percent(of)} | {100 * of['falsely']:.3f} % |" for name, of in found["faults"].items()
    )
    return (
        f"# Faults that cleaning finds\n\n`python -m benchmarks.counts_faults`: the counts of traffic_anomaly, "
        f"{found['detectors']} detectors, {found['rows']} rows by 15 minutes. Each fault stands once in each of the "
        f"{found['busy']} detectors\nthat count {BUSY_VEH:g} vehicles or more in the mean interval; clocks are off "
        "in all detectors.\n\n"
        f"| fault | its rows found | other rows called wrong |\n|---|---|---|\n{rows}\n"
    )


def _percent(of: dict[str, Any]) -> str:
    return "–" if of["found"] is None else f"{100 * of['found']:.0f} %"


if __name__ == "__main__":
    run_command(main)

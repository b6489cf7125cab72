"""The results of all runs of a controller per signal and per movement, with the level of service."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence

import polars as pl

from evaluation.details.tables import movement_table, signal_delay_table
from evaluation.runs import RunResult

COUNTS = ("vehicles", "passed_veh")
LEVELS = ((10.0, "A"), (20.0, "B"), (35.0, "C"), (55.0, "D"), (80.0, "E"))
"""Control delay up to which a signalised intersection has each level of service [s/veh].
Source: Highway Capacity Manual (TRB 2000 and later), signalised intersections."""


def level_of_service(delay_s: float) -> str:
    """A to F; "–" where there is no delay to judge.

    HCM's control delay is deceleration, queue and acceleration at the signal. Ours is all time lost on the way from
    the signal before to behind the junction, the wait to be inserted included, against the vehicle's own free
    speed: somewhat more, so the letter is on the strict side.
    """
    if not math.isfinite(delay_s):
        return "–"
    return next((letter for limit_s, letter in LEVELS if delay_s <= limit_s), "F")


def signal_table(results: Sequence[RunResult], begin_s: float, end_s: float) -> pl.DataFrame:
    """One row per controller and signal: means over its runs; maxima over all of them."""
    hours = (end_s - begin_s) / 3600.0
    parts = []
    for run in _stored(results):
        assert run.stored is not None
        queues, states = run.stored.table("queues"), run.stored.table("states")
        moments = max(1, run.stored.table("series").height)
        per_moment = queues.group_by("tls_id", "time_s", maintain_order=True).agg(
            pl.col("queue_m").max(), pl.col("spilled").any()
        )
        standing = per_moment.group_by("tls_id", maintain_order=True).agg(
            (pl.col("queue_m").sum() / moments).alias("queue_m"),
            pl.col("queue_m").max().alias("queue_max_m"),
            (pl.col("spilled").sum() / moments).alias("spillback_share"),
        )
        yellow = pl.col("state").str.contains("[yu]")
        changes = (
            states.sort("tls_id", "time_s")
            .with_columns((yellow & ~yellow.shift(1, fill_value=False).over("tls_id")).alias("begins"))
            .group_by("tls_id", maintain_order=True)
            .agg((pl.col("begins").sum() / hours).alias("changes_per_h"))
        )
        lost = signal_delay_table(run.stored.table("passages"))
        parts.append(
            lost.join(standing, on="tls_id", how="left")
            .join(changes, on="tls_id", how="left")
            .with_columns(pl.col("queue_m", "queue_max_m", "spillback_share").fill_null(0.0))
            .with_columns(pl.lit(run.controller).alias("controller"))
            .sort("tls_id")  # a join keeps no order
        )
    means = ("delay_s", "delay_p95_s", "queue_m", "spillback_share", "changes_per_h")
    table = _over_runs(parts, ["controller", "tls_id"], means, ("delay_max_s", "queue_max_m"))
    letters = [level_of_service(value) for value in table["delay_s"]]
    return table.with_columns(pl.Series("level_of_service", letters, dtype=pl.String))


def movements_table(results: Sequence[RunResult]) -> pl.DataFrame:
    """One row per controller and movement: means over its runs; maxima over all of them."""
    parts = [
        movement_table(run.stored.table("passages")).with_columns(pl.lit(run.controller).alias("controller"))
        for run in _stored(results)
        if run.stored is not None
    ]
    keys = ["controller", "tls_id", "from_edge", "to_edge"]
    return _over_runs(parts, keys, ("delay_s", "delay_p95_s"), ("delay_max_s",))


def _stored(results: Sequence[RunResult]) -> list[RunResult]:
    return [run for run in results if run.stored is not None and run.stored.has("passages")]


def _over_runs(
    parts: list[pl.DataFrame], keys: list[str], means: Iterable[str], greatest: Iterable[str]
) -> pl.DataFrame:
    """One row per key. A run without vehicles there has no row in its part, but counts in the mean of the counts."""
    schema = {**dict.fromkeys(keys, pl.String), **dict.fromkeys((*COUNTS, *means, *greatest), pl.Float64)}
    if not parts:
        return pl.DataFrame(schema=schema)
    runs = Counter(str(part["controller"][0]) for part in parts if part.height)
    rows = []
    for key, part in pl.concat(parts).partition_by(keys, as_dict=True, maintain_order=True).items():
        row = dict(zip(keys, key, strict=True))
        row |= {name: float(part[name].sum()) / runs[row["controller"]] for name in COUNTS}
        row |= {name: math.fsum(part[name].drop_nulls()) / max(1, part[name].count()) for name in means}
        row |= {name: float(part[name].max()) for name in greatest}  # type: ignore[arg-type]
        rows.append(row)
    return pl.DataFrame(rows, schema=schema)

"""From what a place's clocks show to UTC, and the grid of intervals, which begins at midnight there."""

from __future__ import annotations

import polars as pl

DAY_S = 86_400


def to_utc(table: pl.DataFrame, zone: str) -> pl.DataFrame:
    """The table with its local times in UTC, and columns that say how they were read.

    In the autumn an hour is there twice. Where a detector has a time of it twice, the first in the order of rows is
    that of summer time. In the spring an hour is left out; a time in it is null.

    Args:
        table: `detector` and `time` as clocks show it, among others, sorted by both.

    Returns:
        The same rows with `time` in UTC, `autumn` (the time is there twice in this zone) and `skipped` (never there).
    """
    local = pl.col("time")
    again = repeats()
    first = local.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null")
    last = local.dt.replace_time_zone(zone, ambiguous="latest", non_existent="null")
    return (
        table.with_columns(first=first, last=last)
        .with_columns(autumn=(pl.col("first") != pl.col("last")).fill_null(False), skipped=pl.col("first").is_null())
        .with_columns(
            pl.when(pl.col("autumn") & again)
            .then(pl.col("last"))
            .otherwise(pl.col("first"))
            .dt.convert_time_zone("UTC")
            .alias("time")
        )
        .drop("first", "last")
    )


def repeats() -> pl.Expr:
    """Whether a row has the detector and the time of the row before it, in a table that is sorted by both."""
    return pl.all_horizontal(pl.col(name).eq(pl.col(name).shift()).fill_null(False) for name in ("detector", "time"))


def grid_us(interval_s: int, zone: str) -> pl.Expr:
    """How far `time` (UTC) lies behind the begin of its interval [µs]."""
    local = pl.col("time").dt.convert_time_zone(zone).dt.replace_time_zone(None)
    return local.dt.timestamp("us") % (interval_s * 1_000_000)


def usual_step_s(table: pl.DataFrame) -> pl.DataFrame:
    """The most common step between the times of each detector: `detector`, `step_s`, `rows`, and their `share`.

    Args:
        table: `detector` and `time`, sorted by both.
    """
    return (
        table.select("detector", step_s=pl.col("time").diff().over("detector").dt.total_seconds())
        .filter(pl.col("step_s") > 0)
        .group_by("detector", "step_s")
        .len("rows")
        .with_columns(share=pl.col("rows") / pl.col("rows").sum().over("detector"))
        .sort("detector", "rows", "step_s", descending=[False, True, False])
        .unique("detector", keep="first", maintain_order=True)
    )

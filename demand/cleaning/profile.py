"""What is usual for a detector: the median of its counts at the same time of the week."""

from __future__ import annotations

import polars as pl

LEAST_WEEKS = 2
"""Counts that a median must be of; with fewer, workdays or weekends are taken together, then all days."""
DEAD_SHARE = 0.05
"""A day with less than this share of the usual day's vehicles tells nothing of what is usual."""


def with_local(table: pl.DataFrame, zone: str, interval_s: int) -> pl.DataFrame:
    """The table with `day`, `weekday` (1 is Monday) and `slot` (interval of the day, from 0), by its clocks."""
    local = pl.col("time").dt.convert_time_zone(zone)
    seconds = local.dt.hour().cast(pl.Int32) * 3600 + local.dt.minute().cast(pl.Int32) * 60 + local.dt.second()
    return table.with_columns(
        day=local.dt.date(), weekday=local.dt.weekday(), slot=(seconds // interval_s).cast(pl.Int32)
    )


def with_usual(table: pl.DataFrame, known: pl.Expr) -> pl.DataFrame:
    """The table with `usual`, the usual count at this time of the week, null where there is none.

    Args:
        table: with the columns of `with_local`.
        known: which rows hold counts to be trusted.
    """
    totals = table.filter(known).group_by("detector", "day").agg(total=pl.col("count").sum())
    living = totals.filter(
        pl.col("total")
        > DEAD_SHARE * pl.col("total").filter(pl.col("total") > 0).median().over("detector").fill_null(0)
    ).select("detector", "day")
    counts = table.filter(known).join(living, on=["detector", "day"], how="semi")
    counts = counts.with_columns(weekend=pl.col("weekday") > 5)
    found = table.with_columns(weekend=pl.col("weekday") > 5)
    columns = []
    for n, keys in enumerate((("weekday",), ("weekend",), ())):
        by = ["detector", *keys, "slot"]
        medians = counts.group_by(by).agg(pl.col("count").median().alias(f"_u{n}"), pl.len().alias("_n"))
        medians = medians.filter(pl.col("_n") >= LEAST_WEEKS).drop("_n")
        found = found.join(medians, on=by, how="left", maintain_order="left")
        columns.append(f"_u{n}")
    return found.with_columns(usual=pl.coalesce(columns)).drop("weekend", *columns)


def dispersion(table: pl.DataFrame, known: pl.Expr) -> pl.DataFrame:
    """How much more the counts of each detector scatter about the usual than Poisson's would: `detector`, `spread`.

    By the median of squares, which faults do not move: 0.455 is that of a squared standard normal number.
    """
    squares = (pl.col("count") - pl.col("usual")) ** 2 / pl.col("usual").clip(lower_bound=1.0)
    return (
        table.filter(known & (pl.col("usual") >= 1.0))
        .group_by("detector")
        .agg(spread=(squares.median() / 0.455).clip(lower_bound=1.0))
    )

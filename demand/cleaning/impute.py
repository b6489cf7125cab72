"""What stands in for a count that is unknown, marked as such: the usual one, scaled to how busy the day is."""

from __future__ import annotations

import polars as pl

from demand.cleaning.settings import CleaningSettings
from demand.counts.schema import IMPUTED, MEASURED, MISSING

LEAST_DAY_SHARE, LEAST_USUAL_VEH = 0.25, 20.0
"""Share of a day that must be measured, and vehicles usual in it, for the day's level to be known; else it is 1."""
LOWEST, HIGHEST = 0.2, 5.0
"""Bounds of a day's level."""


def imputed(table: pl.DataFrame, interval_s: int, of: CleaningSettings) -> pl.DataFrame:
    """The table with the columns of `CLEANED`: `state`, `why`, `raw` beside the counts, which are null where unknown.

    A count that was measured and judged sound stays as it is. An unknown one takes the count that a clock had shown
    elsewhere (`moved`), or, in a stretch of at most `longest_fill_s`, the usual count times the day's level.

    Args:
        table: as `demand.cleaning.faults.judged` returns it, with `moved`.
    """
    sound = pl.col("why").is_null()
    slots = 86_400 // interval_s
    comparable = sound & pl.col("usual").is_not_null()
    usual = pl.when(comparable).then("usual").sum().over("detector", "day")
    seen = pl.when(comparable).then("count").sum().over("detector", "day")
    enough = (comparable.sum().over("detector", "day") >= LEAST_DAY_SHARE * slots) & (usual >= LEAST_USUAL_VEH)
    unknown = ~sound & pl.col("moved").is_null()
    stretch = pl.struct("detector", unknown.alias("unknown")).rle_id()
    found = table.with_columns(
        level=pl.when(enough).then((seen / usual).clip(LOWEST, HIGHEST)).otherwise(1.0), stretch=stretch
    ).with_columns(short=pl.len().over("stretch") * interval_s <= of.longest_fill_s)
    value = (
        pl.when(sound)
        .then("count")
        .when(pl.col("moved").is_not_null())
        .then("moved")
        .when("short")
        .then((pl.col("usual") * pl.col("level")).round(1))
    )
    kept = pl.when(sound)
    return found.with_columns(
        raw=pl.col("count"),
        count=value,
        occupancy=kept.then("occupancy"),
        speed_mps=kept.then("speed_mps"),
        state=kept.then(pl.lit(MEASURED)).when(value.is_not_null()).then(pl.lit(IMPUTED)).otherwise(pl.lit(MISSING)),
        why=pl.col("why").fill_null(""),
    ).drop("level", "stretch", "short")

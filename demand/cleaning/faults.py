"""What is wrong with single counts: each fault is an expression over the rows of a detector, sorted by time."""

from __future__ import annotations

import math

import polars as pl

from demand.cleaning import settings as words
from demand.cleaning.profile import dispersion, with_usual
from demand.cleaning.settings import CleaningSettings

LEAST_COUNTED = 5
"""Vehicles that cannot all pass without occupying a detector for a thousandth of the interval."""
STANDING_SHARE = 0.02
"""Occupancy above which something stands on a detector; below, one may hang over from the interval before."""
USUAL_CONSTANT = 0.5
"""Largest chance that a count repeats itself: counts below one often do."""


def judged(table: pl.DataFrame, two: pl.DataFrame, interval_s: int, of: CleaningSettings) -> pl.DataFrame:
    """The table with `why`: what is wrong with each row, null where nothing is; and with `usual` and `spread`.

    Args:
        table: whole detectors with the columns of `COUNTS`, `added`, and those of `with_local`, by detector and time.
        two: `detector` and `time` of rows for which there is another count.
    """
    table = table.join(
        two.select("detector", "time", two=True), on=["detector", "time"], how="left", maintain_order="left"
    )
    table = table.with_columns(why=_plain(interval_s, of)).drop("two")
    table = _marked(table, _standing(table, interval_s, of), words.STANDING)
    table = with_usual(table, _trusted())
    table = table.join(dispersion(table, _trusted()), on="detector", how="left", maintain_order="left")
    table = table.with_columns(pl.col("spread").fill_null(1.0))
    table = _marked(table, _burst(of), words.BURST)
    runs = _runs(table)
    table = _marked(table, _stuck(runs, interval_s, of), words.STUCK)
    return _usual_anew(_marked(table, _dead(runs, of), words.ZEROS))


def _trusted() -> pl.Expr:
    return pl.col("why").is_null() & pl.col("count").is_not_null()


def _usual_anew(table: pl.DataFrame) -> pl.DataFrame:
    """What is usual without what was found wrong by it: with few weeks a burst may have moved a median."""
    wrong = pl.col("why").is_in([words.BURST, words.STUCK, words.ZEROS])
    hurt = table.select(wrong.any().over("detector").fill_null(False))["why"]
    if not hurt.any():
        return table
    again = with_usual(table.filter(hurt).drop("usual"), _trusted()).select(table.columns)
    return pl.concat([table.filter(~hurt), again]).sort("detector", "time")


def _marked(table: pl.DataFrame, wrong: pl.Series | pl.Expr, why: str) -> pl.DataFrame:
    """Rows in which nothing else is wrong get this reason."""
    return table.with_columns(why=pl.when(pl.col("why").is_null() & wrong).then(pl.lit(why)).otherwise("why"))


def _plain(interval_s: int, of: CleaningSettings) -> pl.Expr:
    """What a row shows by itself."""
    count, occupancy = pl.col("count"), pl.col("occupancy")
    lane = of.lane_capacity_vph * interval_s / 3600
    lanes = (count.quantile(0.95).over("detector") / lane).ceil().clip(lower_bound=1.0)
    occupied = occupancy.max().over("detector") > 0
    return (
        pl.when("added").then(pl.lit(words.GAP))
        .when(count.is_null()).then(pl.lit(words.NO_COUNT))
        .when(pl.col("two").is_not_null()).then(pl.lit(words.TWO_COUNTS))
        .when(count < 0).then(pl.lit(words.NEGATIVE))
        .when(count > lanes * lane).then(pl.lit(words.CAPACITY))
        .when((occupancy < 0) | (occupancy > 1)).then(pl.lit(words.OCCUPANCY))
        .when((pl.col("speed_mps") < 0) | (pl.col("speed_mps") > of.fastest_mps)).then(pl.lit(words.SPEED))
        .when((occupancy == 0) & occupied & (count >= LEAST_COUNTED)).then(pl.lit(words.UNOCCUPIED))
    )  # fmt: skip


def _standing(table: pl.DataFrame, interval_s: int, of: CleaningSettings) -> pl.Series:
    """Rows in stretches, longer than a queue stands, that are occupied without a count."""
    if table["occupancy"].null_count() == table.height:
        return pl.repeat(False, table.height, eager=True)
    occupied = (pl.col("count") == 0) & (pl.col("occupancy") > STANDING_SHARE)
    return table.select(
        (occupied & (pl.len().over("detector", occupied.fill_null(False).rle_id()) * interval_s > of.longest_queue_s))
        .fill_null(False)
        .alias("standing")
    )["standing"]


def _burst(of: CleaningSettings) -> pl.Expr:
    usual = pl.col("usual")
    sigma = (pl.col("spread") * usual.clip(lower_bound=1.0)).sqrt()
    highest = usual.max().over("detector").clip(lower_bound=1.0)
    return ((pl.col("count") - usual) > of.burst_sigmas * sigma) & (pl.col("count") > of.burst_ratio * highest)


def _runs(table: pl.DataFrame) -> pl.DataFrame:
    """Beside each row: how long its count has stood in all (`length`), and how many vehicles were usual meanwhile."""
    trusted = pl.when(_trusted()).then("count")
    run = pl.struct("detector", trusted.alias("value")).rle_id()
    return table.with_columns(run=run, value=trusted).with_columns(
        length=pl.len().over("run"),
        expected=pl.col("usual").fill_null(0).sum().over("run"),
        rows=pl.len().over("detector"),
    )


def _stuck(runs: pl.DataFrame, interval_s: int, of: CleaningSettings) -> pl.Series:
    """Stretches of one count that chance would not make in all rows of the detector.

    A Poisson count of mean v is v itself with a chance of about 1/sqrt(2 pi v); a stretch of n has n - 1 of these.
    """
    chance = (1 / (2 * math.pi * pl.col("value").clip(lower_bound=0.3)).sqrt()).clip(upper_bound=USUAL_CONSTANT)
    longest = 1 + (of.chance / pl.col("rows")).log() / chance.log()
    enough = pl.col("length") * interval_s >= of.least_stuck_s
    return runs.select(((pl.col("value") > 0) & (pl.col("length") > longest) & enough).fill_null(False))["value"]


def _dead(runs: pl.DataFrame, of: CleaningSettings) -> pl.Series:
    """Stretches of zeros in which so many vehicles are usual that chance, scattered as here, would not make them."""
    unlikely = pl.col("expected") / pl.col("spread") > (pl.col("rows") / of.chance).log()
    return runs.select(((pl.col("value") == 0) & unlikely).fill_null(False).alias("dead"))["dead"]

"""The full grid of intervals: a row for each that should be there."""

from __future__ import annotations

from datetime import datetime, timedelta

import polars as pl

from plumbing.errors import InputError

LONGEST_PAUSE_S = 7200
"""Between the sessions of a turning count nobody counts: a longer pause is no gap [s]."""
MOST_TIMES, LEAST_ROWS = 20, 100_000
"""A grid of so many times the rows, and of more rows than this, comes from a wrong date."""


def filled(part: pl.DataFrame, movements: set[str], interval_s: int, first: datetime, last: datetime) -> pl.DataFrame:
    """The part with a row for each interval that should be there; `added` says which were not.

    Detectors count all the time from `first` to `last`; movements from the begin to the end of each session.

    Raises:
        InputError: the times lie so far apart that one of them must be wrong.
    """
    names = part["detector"].unique(maintain_order=True).to_list()
    steps = int((last - first).total_seconds()) // interval_s + 1
    lasting = [name for name in names if name not in movements]
    if steps * len(lasting) > max(MOST_TIMES * part.height, LEAST_ROWS):
        raise InputError(
            f"the counts reach from {first:%Y-%m-%d} to {last:%Y-%m-%d} and fill hardly any of it; is a date wrong? "
            "Correct the file and import it again"
        )
    times = pl.datetime_range(first, last, timedelta(seconds=interval_s), time_unit="us", time_zone="UTC", eager=True)
    whole = pl.DataFrame({"detector": pl.Series(lasting, dtype=pl.String)}).join(
        pl.DataFrame({"time": times}), how="cross"
    )
    sessions = part.filter(pl.col("detector").is_in(list(movements))).select("detector", "time")
    step = pl.duration(seconds=interval_s)
    following = pl.col("time").shift(-1).over("detector")
    short = (following - pl.col("time")).dt.total_seconds() <= LONGEST_PAUSE_S
    between = (
        sessions.with_columns(
            end=pl.when(short).then(following - step).otherwise(pl.col("time")),
        )
        .with_columns(time=pl.datetime_ranges("time", "end", f"{interval_s}s"))
        .drop("end")
        .explode("time", empty_as_null=False, keep_nulls=False)
    )
    grid = pl.concat([whole, between.cast(dict(whole.schema))])  # type: ignore[arg-type]
    found = grid.join(part.with_columns(added=False), on=["detector", "time"], how="left")
    return found.with_columns(pl.col("added").fill_null(True)).sort("detector", "time")

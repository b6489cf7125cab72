"""The counts that a calibrated folder keeps: of its days, and of the weeks before, from which a forecast starts."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence
from pathlib import Path

import polars as pl

from demand.counts.store import CountsFolder, write_counts

KEPT_DAYS = 42
"""Before the first day: no forecast looks back on more than five weeks."""


def keep_counts(folder: CountsFolder, dates: Sequence[datetime.date], out: Path) -> None:
    """Write a folder of the counts until the last of these days."""
    first = min(dates) - datetime.timedelta(days=KEPT_DAYS)
    local = pl.col("time").dt.convert_time_zone(folder.about.zone).dt.date()
    kept: set[str] = set()

    def parts() -> Iterator[pl.DataFrame]:
        for part in folder.parts():
            some = part.filter(local.is_between(first, max(dates)))
            kept.update(some["detector"].unique())
            yield some

    write_counts(out, folder.about, lambda: folder.detectors().filter(pl.col("detector").is_in(kept)), parts())

"""Whole local days of a folder of counts, and such a folder of made days."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl

from demand.counts.schema import About
from demand.counts.series import read_series
from demand.counts.store import CountsFolder, write_counts
from demand.counts.timeline import FLOW, Numbers
from plumbing.errors import InputError

WEEKDAY, SATURDAY, SUNDAY = "weekday", "saturday", "sunday"
TYPES = (WEEKDAY, SATURDAY, SUNDAY)
FEWEST_DAYS = 7
_GAPS = 0.1  # share of a day's intervals that may be filled before the day is left out


@dataclass(frozen=True)
class Days:
    """Counts of whole days."""

    counts: Numbers
    """(days, slots, detectors) vehicles, without gaps."""
    type: Numbers
    """(days,) numbers of `TYPES`."""
    date: Numbers
    """(days,) days since 1970-01-01."""
    detectors: tuple[str, ...]
    interval_s: int
    zone: str

    def of(self, chosen: Numbers) -> Days:
        """Some of the days."""
        return Days(
            self.counts[chosen], self.type[chosen], self.date[chosen], self.detectors, self.interval_s, self.zone
        )


def day_type(weekday: Numbers) -> Numbers:
    """Numbers of `TYPES` for weekdays from 0, Monday."""
    return np.asarray(np.where(weekday < 5, 0, weekday - 4))


def read_days(folder: CountsFolder) -> Days:
    """The days that are there nearly whole; a gap in them is filled by the mean of days of the same type.

    Raises:
        InputError: there are too few.
    """
    series = read_series(folder, FLOW)
    place = series.clock.place
    grid = np.where(place[..., None] >= 0, series.values[place], np.nan)
    known = ~np.isnan(grid)
    whole = np.flatnonzero(1.0 - known.mean(axis=(1, 2)) <= _GAPS)
    if len(whole) < FEWEST_DAYS:
        raise InputError(f"{folder.path} has {len(whole)} whole days; a model of days wants {FEWEST_DAYS} or more")
    date = series.clock.ordinal[0] + np.arange(len(grid))
    types = day_type((date + 3) % 7)
    for kind in range(len(TYPES)):
        of_kind = whole[types[whole] == kind]
        near = of_kind if len(of_kind) else whole
        seen = known[near].sum(axis=0)
        mean = np.where(known[near], grid[near], 0.0).sum(axis=0) / np.maximum(seen, 1)
        for day in of_kind:
            grid[day] = np.where(known[day], grid[day], np.rint(mean))
    return Days(grid[whole], types[whole], date[whole], series.detectors, series.clock.interval_s, series.clock.zone)


def write_days(out: Path, days: Days, told: pl.DataFrame, source: Mapping[str, Any]) -> None:
    """A folder of counts. Where clocks change, an hour of a day is left out or stands once.

    Args:
        told: the table of detectors (`schema.DETECTORS`), of these or more.
    """
    zone = ZoneInfo(days.zone)
    slots = days.counts.shape[1]
    begins, kept = [], []
    for number, ordinal in enumerate(days.date):
        midnight = datetime.datetime(1970, 1, 1) + datetime.timedelta(days=int(ordinal))
        for slot in range(slots):
            local = midnight + datetime.timedelta(seconds=slot * days.interval_s)
            time = local.replace(tzinfo=zone).astimezone(datetime.UTC)
            if time.astimezone(zone).replace(tzinfo=None) == local:  # else clocks jumped over it
                begins.append(time)
                kept.append(number * slots + slot)
    flat = days.counts.reshape(-1, len(days.detectors))[kept]
    parts = (
        pl.DataFrame(
            {"detector": name, "time": begins, "count": flat[:, number], "occupancy": None, "speed_mps": None},
            schema={"detector": pl.String, "time": pl.Datetime("us", "UTC"), "count": pl.Float64,
                    "occupancy": pl.Float64, "speed_mps": pl.Float64},
        )
        for number, name in enumerate(days.detectors)
    )  # fmt: skip
    about = About(days.interval_s, days.zone, (source,))
    write_counts(out, about, told.filter(pl.col("detector").is_in(list(days.detectors))), parts)


def dates_from(first: datetime.date, number: int, only: Sequence[str]) -> tuple[Numbers, Numbers]:
    """The first so many dates from one on that are of these types, as (days since 1970, types)."""
    dates: list[int] = []
    ordinal = (first - datetime.date(1970, 1, 1)).days
    while len(dates) < number:
        kind = TYPES[int(day_type(np.array((ordinal + 3) % 7)))]
        if kind in only:
            dates.append(ordinal)
        ordinal += 1
    found = np.asarray(dates, np.int64)
    return found, day_type((found + 3) % 7)

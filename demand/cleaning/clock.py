"""Clocks that are off: a day whose pattern lies earlier or later than is usual for the detector."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl

from demand.cleaning.settings import CleaningSettings

LAG_S = 900
"""Shifts are looked for in steps of this [s], or of the interval where it does not go into this."""
AROUND_DAYS = 21
"""Days before and after a change of the clocks that are compared."""
LEAST_DAYS = 5
SUMMER_S = 3600


class Shift(NamedTuple):
    """A stretch of days on which a detector's clock was off."""

    first: date
    last: date
    late_s: int
    """How much later than usual the pattern lies [s]: the clock was ahead by so much."""


def shifts_of(pool: list[pl.DataFrame], interval_s: int, of: CleaningSettings) -> list[Shift]:
    """The days on which the clock of some detectors was off.

    Args:
        pool: of each detector that goes by this clock, rows with `day`, `slot`, `count`, `usual` and `why`.
    """
    bin_s = _bin_s(interval_s)
    most = of.farthest_clock_s // bin_s
    lags = list(range(-most, most + 1))
    if most < 1:
        return []
    days = sorted({day for rows in pool for day in rows["day"].unique()})
    misses, totals = np.zeros((len(lags), len(days))), np.zeros(len(days))
    for rows in pool:
        counts, usual = _matrices(rows, days, interval_s)
        total = np.nansum(counts, axis=1)
        level = total / np.maximum(np.nansum(np.where(np.isnan(counts), np.nan, usual), axis=1), 1.0)
        totals += total
        misses += np.array([_miss(counts, usual * level[:, None], lag) for lag in lags])
    best = np.argmin(misses, axis=0)
    still = misses[lags.index(0)]
    off = (misses[best, np.arange(len(days))] < of.clock_gain * still) & (totals >= of.least_day_veh)
    return _stretches(days, np.where(off, np.array(lags)[best] * bin_s, 0), of.clock_days)


def changes_of(zone: str, first: datetime, last: datetime) -> list[tuple[date, int]]:
    """The days on which the clocks of a zone change, and by how much [s]."""
    place, found = ZoneInfo(zone), []
    day = first.replace(hour=12)
    while day < last:
        after = day + timedelta(days=1)
        moved = (after.astimezone(place).utcoffset() or timedelta()) - (
            day.astimezone(place).utcoffset() or timedelta()
        )
        if moved:
            found.append((after.astimezone(place).date(), int(moved.total_seconds())))
        day = after
    return found


def ignored_change(rows: pl.DataFrame, change: tuple[date, int], interval_s: int, of: CleaningSettings) -> bool:
    """Whether a detector's pattern moves with a change of the clocks, as if its own clock had not changed.

    Args:
        rows: as for `shifts_of`.
    """
    day, moved_s = change
    work = rows.filter((pl.col("weekday") <= 5) & pl.col("why").is_null())
    near = timedelta(days=AROUND_DAYS)
    before = _mean_day(work.filter((pl.col("day") < day) & (pl.col("day") >= day - near)), interval_s)
    after = _mean_day(work.filter((pl.col("day") > day) & (pl.col("day") <= day + near)), interval_s)
    if before is None or after is None or after.sum() < of.least_day_veh or before.sum() < of.least_day_veh:
        return False
    before = before * after.sum() / before.sum()
    still = float(_miss(after[None], before[None], 0)[0])
    moved = float(_miss(after[None], before[None], -moved_s // _bin_s(interval_s))[0])
    return moved < of.change_gain * still


def _miss(counts: np.ndarray, usual: np.ndarray, lag: int) -> np.ndarray:
    """Mean distance of each day's counts from the usual ones of `lag` intervals earlier, where both are known; 0
    where less than half of a day is."""
    slots = counts.shape[1]
    inner = slice(max(0, lag), slots + min(0, lag))
    outer = slice(max(0, -lag), slots + min(0, -lag))
    with np.errstate(invalid="ignore"):
        apart = np.abs(counts[:, inner] - usual[:, outer])
    known = np.isfinite(apart).sum(axis=1)
    total = np.nansum(apart, axis=1)
    return np.where(known >= slots // 2, total / np.maximum(known, 1), 0.0)


def _matrices(rows: pl.DataFrame, days: list[date], interval_s: int) -> tuple[np.ndarray, np.ndarray]:
    """Counts and usual counts as [days, slots]; NaN where there is none."""
    numbers = pl.DataFrame({"day": days}).with_row_index("row")
    row = rows.select("day").join(numbers, on="day", how="left", maintain_order="left")["row"].to_numpy()
    slot = rows["slot"].to_numpy()
    shape = len(days), 86_400 // interval_s
    counts, usual = np.full(shape, np.nan), np.full(shape, np.nan)
    counts[row, slot] = _sound(rows)
    usual[row, slot] = rows["usual"].cast(pl.Float64).to_numpy()
    return _binned(counts, interval_s), _binned(usual, interval_s)


def _bin_s(interval_s: int) -> int:
    """The interval by which clocks are judged [s]: finer ones scatter more and tell nothing more."""
    return LAG_S if LAG_S % interval_s == 0 else interval_s


def _binned(days: np.ndarray, interval_s: int) -> np.ndarray:
    """[days, slots] in wider slots: what is known in each, as if all of it were; NaN where less than half is."""
    width = _bin_s(interval_s) // interval_s
    if width == 1:
        return days
    parts = days.reshape(len(days), -1, width)
    known = np.isfinite(parts).sum(axis=2)
    return np.where(2 * known >= width, np.nansum(parts, axis=2) * width / np.maximum(known, 1), np.nan)


def _sound(rows: pl.DataFrame) -> np.ndarray:
    return rows.select(pl.when(pl.col("why").is_null()).then("count").cast(pl.Float64))["count"].to_numpy()


def _mean_day(rows: pl.DataFrame, interval_s: int) -> np.ndarray | None:
    if rows["day"].n_unique() < LEAST_DAYS:
        return None
    means = rows.group_by("slot").agg(pl.col("count").mean())
    day = np.full(86_400 // interval_s, np.nan)
    day[means["slot"].to_numpy()] = means["count"].to_numpy()
    known: np.ndarray = np.nan_to_num(_binned(day[None], interval_s)[0])
    return known


def _stretches(days: list[date], late: np.ndarray, least: int) -> list[Shift]:
    found: list[Shift] = []
    begin = 0
    for n in range(1, len(days) + 1):
        if n == len(days) or late[n] != late[begin]:
            if late[begin] and n - begin >= least:
                found.append(Shift(days[begin], days[n - 1], int(late[begin])))
            begin = n
    return found

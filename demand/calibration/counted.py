"""The counts of one day, or of a mean day, in a window: per detector a row of intervals."""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from demand.counts.store import CountsFolder
from plumbing.errors import InputError, printable

DAY_S = 86_400
WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MEAN = "mean"


@dataclass(frozen=True)
class CountedDay:
    """What was counted from `begin_s` to `end_s`, in seconds since midnight at the place."""

    name: str
    """ "2024-05-06", or "mean"."""
    begin_s: int
    end_s: int
    interval_s: int
    counts: Mapping[str, npt.NDArray[np.float64]]
    """Per detector, [I] vehicles in each interval; NaN where nothing is known."""
    date: datetime.date | None = None
    """On which date it stands: its own, or, of a mean, the next such day of the week after the last of its days."""

    @property
    def known(self) -> int:
        """How many counts there are."""
        return sum(int(np.isfinite(row).sum()) for row in self.counts.values())


def time_of_day_s(text: str) -> int:
    """Seconds since midnight of "07:00"; "24:00" is the day's end.

    Raises:
        InputError: it is no time of day.
    """
    found = re.fullmatch(r"(\d{1,2}):([0-5]\d)", text)
    seconds = int(found[1]) * 3600 + int(found[2]) * 60 if found else -1
    if not 0 <= seconds <= DAY_S:
        raise InputError(f"{printable(text, 40)!r} is no time of day; give one such as 07:00")
    return seconds


def local_table(folder: CountsFolder, detectors: Sequence[str]) -> pl.DataFrame:
    """The counts of some detectors with the columns detector, date, second (since midnight at the place, by the clock
    on the wall) and count. What cannot be a count, such as a number below 0, is null."""
    local = pl.col("time").dt.convert_time_zone(folder.about.zone)
    second = local.dt.hour().cast(pl.Int64) * 3600 + local.dt.minute().cast(pl.Int64) * 60 + local.dt.second()
    count = pl.when(pl.col("count") >= 0).then(pl.col("count"))  # as long as nobody has cleaned them
    found = []
    for part in folder.parts():  # each is as much as fits into memory with what comes of it
        rows = part.filter(pl.col("detector").is_in(list(detectors)))
        table = rows.select("detector", count, date=local.dt.date(), second=second)
        # where the clock is put back an hour comes twice: a day of the scenario has one, with their mean
        found.append(table.group_by("detector", "date", "second").agg(pl.col("count").mean()))
    return pl.concat(found).sort("date", "detector", "second")


def chosen_dates(
    table: pl.DataFrame, days: Sequence[str], weekdays: Sequence[str] = (), where: str = "the counts"
) -> list[datetime.date]:
    """The dates that words name, of those that were counted.

    Args:
        days: dates, and spans such as 2024-04-18..2024-05-05; none for all.
        weekdays: of these days of the week only ("mon" …).

    Raises:
        InputError: a word is no date, or no day is left.
    """
    counted = sorted(table["date"].unique().to_list())
    if not counted:
        raise InputError(f"{where} are empty; import them again")
    wanted: set[datetime.date] = set() if days else set(counted)
    for word in days:
        first, _, last = word.partition("..")
        start, end = _date(first), _date(last or first)
        if not (found := [date for date in counted if start <= date <= end]):
            raise InputError(f"{where} have nothing of {word}; they go from {counted[0]} to {counted[-1]}")
        wanted.update(found)
    numbers = {WEEKDAYS.index(day) for day in weekdays}
    found = [date for date in sorted(wanted) if not numbers or date.weekday() in numbers]
    if not found:
        raise InputError(f"none of the chosen days is a {' or '.join(weekdays)}; choose others")
    return found


def _date(text: str) -> datetime.date:
    try:
        return datetime.date.fromisoformat(text)
    except ValueError as error:
        raise InputError(f"{printable(text, 40)!r} is no date; give one such as 2024-05-06") from error


def counted_day(table: pl.DataFrame, date: datetime.date, begin_s: int, end_s: int, interval_s: int) -> CountedDay:
    """One date of `local_table`, in a window.

    Raises:
        InputError: nothing was counted then, or the window has no whole intervals.
    """
    return _day(str(date), date, table.filter(pl.col("date") == date), begin_s, end_s, interval_s)


def mean_day(
    table: pl.DataFrame, dates: Sequence[datetime.date], begin_s: int, end_s: int, interval_s: int
) -> CountedDay:
    """The mean of several dates; arguments as of `counted_day`."""
    some = table.filter(pl.col("date").is_in(list(dates)))
    mean = some.group_by("detector", "second").agg(pl.col("count").mean())
    weekdays = {date.weekday() for date in dates}
    after = (max(dates) + datetime.timedelta(days=n) for n in range(1, 8))
    return _day(MEAN, next(d for d in after if d.weekday() in weekdays), mean, begin_s, end_s, interval_s)


def _day(
    name: str, date: datetime.date, table: pl.DataFrame, begin_s: int, end_s: int, interval_s: int
) -> CountedDay:
    if begin_s % interval_s or end_s % interval_s:
        raise InputError(
            f"the counts come every {interval_s / 60:g} minutes, and the window does not begin and end with one; "
            "move --from and --to"
        )
    if end_s <= begin_s:
        raise InputError("--to is not after --from; a window lies within one day")
    size = (end_s - begin_s) // interval_s
    inside = table.filter(pl.col("second").is_between(begin_s, end_s - 1))
    counts: dict[str, npt.NDArray[np.float64]] = {}
    for (detector,), rows in inside.sort("detector", "second").group_by("detector", maintain_order=True):
        row = np.full(size, math.nan)
        row[((rows["second"] - begin_s) // interval_s).to_numpy()] = rows["count"].to_numpy()
        counts[str(detector)] = row
    day = CountedDay(name, begin_s, end_s, interval_s, counts, date)
    if not day.known:
        raise InputError(f"nothing was counted on day {name} from {clock(begin_s)} to {clock(end_s)}; choose another")
    return day


def whole_counts(row: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Whole numbers near a row of counts, whose sums are as near: what is cut off is added in the next interval."""
    result, rest = np.full(row.shape, math.nan), 0.0
    for n, value in enumerate(row):
        if math.isfinite(value):
            result[n] = math.floor(value + rest + 0.5)
            rest += value - result[n]
    return result


def clock(second: float) -> str:
    """ "07:00" of seconds since midnight."""
    return f"{int(second) // 3600:02}:{int(second) % 3600 // 60:02}"

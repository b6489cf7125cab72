"""The flows that plans are made for and chosen by: of days that were counted, usual ones, and those forecast."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from demand.counts.series import Series
from demand.counts.timeline import FLOW, Numbers
from demand.forecast.runtime import Forecaster
from demand.generation.days import day_type
from plumbing.errors import InputError, printable

QUARTER_S = 900
_EPOCH = datetime.date(1970, 1, 1)


@dataclass(frozen=True)
class Window:
    """Which part of a day is looked at, in periods for each of which one plan is chosen."""

    begin_s: int
    end_s: int
    period_s: int

    @property
    def begins_s(self) -> list[int]:
        """When each period begins [s since midnight]."""
        return list(range(self.begin_s, self.end_s, self.period_s))


def window_of(series: Series, begin_s: int, end_s: int) -> Window:
    """Quarters of an hour, or the counts' own interval where that is longer.

    Raises:
        InputError: the interval or the window does not fit.
    """
    interval_s = series.clock.interval_s
    period_s = QUARTER_S if QUARTER_S % interval_s == 0 else interval_s
    if begin_s % period_s or end_s % period_s:
        raise InputError(
            f"a plan is chosen every {period_s // 60} minutes, and the window does not begin and end with "
            "such an interval; calibrate another window"
        )
    return Window(begin_s, end_s, period_s)


def date_numbers(series: Series, dates: Sequence[datetime.date]) -> Numbers:
    """The numbers of dates among the days of a series.

    Raises:
        InputError: one of them is not there.
    """
    first = int(series.clock.ordinal[0])
    found = np.array([(date - _EPOCH).days - first for date in dates], np.int64)
    for date, number in zip(dates, found, strict=True):
        if not 0 <= number < len(series.clock.place):
            last = _EPOCH + datetime.timedelta(days=int(series.clock.ordinal[-1]))
            raise InputError(
                f"the counts have nothing of {date}; they go from {_EPOCH + datetime.timedelta(days=first)} to {last}"
            )
    return found


def types_of(dates: Sequence[datetime.date]) -> Numbers:
    """Weekday, Saturday or Sunday, as numbers."""
    return day_type(np.array([date.weekday() for date in dates], np.int64))


def counted_vph(series: Series, numbers: Numbers, window: Window) -> Numbers:
    """(days, periods, detectors) vehicles an hour that were counted; NaN where a part of a period is not known."""
    place = _places(series, numbers, window)
    values = np.where(place[..., None] >= 0, series.values[place], np.nan)
    return np.asarray(values.sum(axis=2) * 3600.0 / window.period_s)


def forecast_vph(series: Series, forecaster: Forecaster, numbers: Numbers, window: Window) -> Numbers:
    """The same, forecast for each period at its begin, by what was measured until then.

    Raises:
        InputError: the forecast is not of these counts, or does not look one whole period ahead.
    """
    about, clock = forecaster.about, series.clock
    if unknown := [name for name in about.detectors if name not in series.detectors]:
        raise InputError(
            f"the forecast wants detector {printable(unknown[0], 60)}, which the counts do not have; "
            "give the forecast of these counts"
        )
    if (about.quantity, about.zone) != (FLOW, clock.zone):
        raise InputError(
            f"the forecast is of {about.quantity} in {about.zone}, and the counts are of {FLOW} in {clock.zone}; "
            "give the forecast of these counts"
        )
    parts = window.period_s // clock.interval_s
    steps = tuple(range(1, parts + 1))
    if about.interval_s != clock.interval_s or not set(steps) <= set(about.steps):
        minutes = " ".join(f"{step * clock.interval_s / 60:g}" for step in steps)
        raise InputError(
            f"the forecast does not give each interval of the next {window.period_s // 60} minutes; "
            f"train one with python -m demand forecast --minutes {minutes}"
        )
    columns = [series.detectors.index(name) for name in about.detectors]
    measured = np.where(series.measured, series.values, np.nan)  # what was imputed may rest on what came later
    moments = _places(series, numbers, window)[:, :, 0] - 1
    moments = np.where(moments >= 0, moments, -1)
    result = np.full((*moments.shape, len(series.detectors)), np.nan)
    at = moments >= 0
    if at.any():
        order = np.sort(moments[at])
        found = forecaster.forecasts(measured[: order[-1] + 1, columns], clock.begin, moments[at])
        chosen = found[:, :, [about.steps.index(step) for step in steps], 1].sum(axis=2)
        of = np.full((len(chosen), len(series.detectors)), np.nan)
        of[:, columns] = chosen * 3600.0 / window.period_s
        result[at] = of
    return result


def usual_vph(counted: Numbers, types: Numbers, wanted: Numbers) -> Numbers:
    """(days wanted, periods, ...) the mean of counted days of the same type, or of all where there is none.

    Args:
        counted: (days, periods, ...); NaN where nothing is known.
        types: (days,) of the counted days.
        wanted: (days wanted,) types.
    """
    return np.stack([_mean(counted[types == kind] if (types == kind).any() else counted) for kind in wanted])


def _mean(values: Numbers) -> Numbers:
    known = ~np.isnan(values)
    total = np.where(known, values, 0.0).sum(axis=0)
    return np.asarray(np.where(known.any(axis=0), total / np.maximum(known.sum(axis=0), 1), np.nan))


def _places(series: Series, numbers: Numbers, window: Window) -> Numbers:
    """(days, periods, intervals of a period) where each is in the series; -1 where there is none."""
    interval_s = series.clock.interval_s
    first, last = window.begin_s // interval_s, window.end_s // interval_s
    place = series.clock.place[numbers, first:last]
    return np.asarray(place.reshape(len(numbers), -1, window.period_s // interval_s))


def date_of(name: str, folder: Path) -> datetime.date:
    """The date of a calibrated day.

    Raises:
        InputError: it is a mean day, or none.
    """
    try:
        return datetime.date.fromisoformat(name)
    except ValueError as error:
        raise InputError(
            f"{folder} has the day {printable(name, 40)}, which is no date; plans are chosen for days: "
            "calibrate with --days"
        ) from error

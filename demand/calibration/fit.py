"""How well a simulation repeats the counts: GEH and RMSE, by detector and hour."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from demand.calibration.counted import CountedDay, clock

GEH_OK = 5.0
GOAL = 0.95
"""Share of hourly counts with a GEH below `GEH_OK` that guidelines ask for before a model is used (85 % in the DMRB
volume 12 and FHWA's Traffic Analysis Toolbox III; here, where routes follow the counts themselves, more)."""
HOUR_S = 3600


def geh(simulated: float, counted: float) -> float:
    """The GEH statistic of two flows [veh/h] (Geoffrey E. Havers): 0 where both are 0."""
    total = simulated + counted
    return math.sqrt(2.0 * (simulated - counted) ** 2 / total) if total > 0 else 0.0


@dataclass(frozen=True)
class HourFit:
    """One detector in one hour."""

    detector: str
    day: str
    begin: str
    counted_vph: float
    simulated_vph: float

    @property
    def geh(self) -> float:
        """Below 5 is a good fit."""
        return geh(self.simulated_vph, self.counted_vph)


@dataclass(frozen=True)
class DayFit:
    """A day's fit."""

    day: str
    hours: tuple[HourFit, ...]
    rmse_veh: Mapping[str, float]
    """Per detector, root mean square of simulated less counted vehicles over the intervals."""


def fit_of(day: CountedDay, simulated: Mapping[str, npt.NDArray[np.float64]]) -> DayFit:
    """Compare a day's counts with the simulation's.

    A window that is no whole number of hours ends with a part of one, which is scaled to an hour. Where intervals are
    missing, the rest of the hour stands for it; an hour without any count is left out.
    """
    per_hour = max(1, HOUR_S // day.interval_s)
    hours, rmse = [], {}
    for detector, found in simulated.items():
        counted = day.counts[detector]
        known = np.isfinite(counted)
        if known.any():
            rmse[detector] = float(np.sqrt(np.mean((found[known] - counted[known]) ** 2)))
        for first in range(0, len(counted), per_hour):
            part = slice(first, first + per_hour)
            here = known[part]
            if not here.any():
                continue
            scale = HOUR_S / (here.sum() * day.interval_s)
            hours.append(
                HourFit(
                    detector,
                    day.name,
                    clock(day.begin_s + first * day.interval_s),
                    float(counted[part][here].sum() * scale),
                    float(found[part][here].sum() * scale),
                )
            )
    return DayFit(day.name, tuple(hours), rmse)


def share_ok(fits: Sequence[DayFit]) -> float:
    """The share of hourly counts whose GEH is below 5; NaN without any."""
    found = [hour.geh < GEH_OK for fit in fits for hour in fit.hours]
    return sum(found) / len(found) if found else math.nan


def worst(fits: Sequence[DayFit], most: int = 10) -> list[HourFit]:
    """The hours that fit worst, the worst first."""
    hours = [hour for fit in fits for hour in fit.hours]
    return sorted(hours, key=lambda hour: (-hour.geh, hour.detector, hour.day, hour.begin))[:most]


@dataclass(frozen=True)
class DetectorFit:
    """One detector over all days and hours."""

    detector: str
    counted_vph: float
    simulated_vph: float
    mean_geh: float
    worst_geh: float
    share_ok: float
    rmse_veh: float


def by_detector(fits: Sequence[DayFit]) -> list[DetectorFit]:
    """A row for each detector, in the order in which they come."""
    hours: dict[str, list[HourFit]] = {}
    errors: dict[str, list[float]] = {}
    for fit in fits:
        for hour in fit.hours:
            hours.setdefault(hour.detector, []).append(hour)
        for detector, rmse in fit.rmse_veh.items():
            errors.setdefault(detector, []).append(rmse)
    return [
        DetectorFit(
            detector,
            float(np.mean([hour.counted_vph for hour in of])),
            float(np.mean([hour.simulated_vph for hour in of])),
            float(np.mean([hour.geh for hour in of])),
            max(hour.geh for hour in of),
            sum(hour.geh < GEH_OK for hour in of) / len(of),
            float(np.sqrt(np.mean(np.square(errors[detector])))),
        )
        for detector, of in hours.items()
    ]

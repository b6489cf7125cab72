"""What a forecast is made from: lags, profiles and levels, all known at its moment. Numpy alone, so that training
and running share it.

Counts are worked on as `sqrt(count + 3/8)` (Anscombe 1948), whose spread hardly depends on the count, and as
residuals from a profile: the mean of earlier days at that time, those of the same weekday first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from demand.counts.scale import stabilised
from demand.counts.timeline import Clock, Numbers

MEMORY_DAYS = 28  # [days] that a profile looks back
HISTORY_DAYS = (
    35  # [days] that a forecast wants: the memory of the profile, and a week for what decays over half a day
)
WARMUP_DAYS = 3  # [days] before which there is no profile worth learning from
SEQUENCE = 8  # intervals that a recurrent network sees
AGE_DAYS = 14.0  # [days] after which a day counts 1/e in the profile
SAME_TYPE, OTHER_WEEKEND, OTHER_TYPE = 0.2, 0.05, 0.001  # weights of days that are not the same weekday
DECAYS_S = (2_700.0, 9_000.0, 43_200.0)  # [s] of the running means of residuals

OWN = (
    "residual", "residual 1 before", "residual 2 before", "residual 3 before", "running 45 min", "running 150 min",
    "running 12 h", "running size", "site", "site 45 min", "site 150 min", "gap", "level",
)  # fmt: skip
"""Of a detector at the moment of the forecast: residuals from its profile, those of its site, the share of the last
four intervals that is not known, and its mean."""
AHEAD = (
    "profile", "profile of the day type", "profile before", "profile after", "last value", "last week",
    "last week residual", "last week three", "yesterday", "yesterday residual", "yesterday three",
    "yesterday running",
)  # fmt: skip
"""Of a detector and the moment that is forecast: its profile, and all else minus that profile."""
WHEN = ("hour", "weekday", "weekend", "sine", "cosine")
"""Of the moment that is forecast."""


@dataclass(frozen=True)
class Features:
    """For N moments, D detectors and H horizons."""

    own: Numbers
    """(N, D, len(OWN)), float32."""
    ahead: Numbers
    """(N, D, H, len(AHEAD)), float32."""
    when: Numbers
    """(N, H, len(WHEN)), float32."""
    sequence: Numbers
    """(N, D, SEQUENCE, 2), float32: residuals of the detector and of its site, oldest first."""
    base: Numbers
    """(N, D, H), float64: the profile that a forecast is a residual from."""
    last_value: Numbers
    """(N, D, H), float64: the last value, as residual; 0 where it is not known."""
    last_week: Numbers
    """The same of the value a week before the moment that is forecast."""

    def of(self, moments: Numbers | slice) -> Features:
        """For some of the moments."""
        return Features(*(getattr(self, name)[moments] for name in self.__dataclass_fields__))


def levels(values: Numbers) -> Numbers:
    """(detectors,) mean of each detector on the stabilised scale; 0 for one that was never seen."""
    stable = stabilised(values)
    known = ~np.isnan(stable)
    found: Numbers = np.where(known, stable, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    return found


def features(
    values: Numbers, clock: Clock, level: Numbers, sites: Sequence[int], steps: Sequence[int], moments: Numbers
) -> Features:
    """What is known at some moments.

    Args:
        values: (T, D) counts, NaN where nothing is known. Those after a moment do not enter its features.
        clock: of the T intervals.
        level: (D,) of `levels`, from the training days.
        sites: number of each detector's site.
        steps: intervals ahead, 1 for the next one.
        moments: (N,) the last interval that is known at each.
    """
    beyond = max(steps) + 1
    clock = clock.longer(beyond)
    stable = np.vstack([stabilised(values), np.full((beyond, values.shape[1]), np.nan)])
    near, of_type = _profiles(stable, clock, level)
    residual = np.nan_to_num(stable - near)
    site = _site_means(residual, sites)
    running = [_running(residual, clock.interval_s / decay) for decay in DECAYS_S]
    site_running = [_running(site, clock.interval_s / decay) for decay in DECAYS_S[:2]]
    size = _running(np.abs(residual), clock.interval_s / DECAYS_S[0] / 2)
    gaps = np.isnan(stable).astype(float)

    def lag(of: Numbers, by: int) -> Numbers:
        found: Numbers = of[np.maximum(moments - by, 0)]
        return found

    own = [lag(residual, by) for by in range(4)] + [lag(of, 0) for of in running] + [lag(size, 0), lag(site, 0)]
    own += [lag(of, 0) for of in site_running] + [np.mean([lag(gaps, by) for by in range(4)], axis=0)]
    own.append(np.broadcast_to(level, own[0].shape))
    targets = moments[:, None] + np.asarray(steps)
    base = near[targets].transpose(0, 2, 1)

    def from_base(of: Numbers, index: Numbers) -> Numbers:
        """(N, D, H) values at some intervals (N, H), minus the profile; 0 where there is none."""
        found: Numbers = np.nan_to_num(np.where(index[..., None] >= 0, of[index], np.nan).transpose(0, 2, 1) - base)
        return found

    def plain(of: Numbers, index: Numbers) -> Numbers:
        found: Numbers = np.nan_to_num(np.where(index[..., None] >= 0, of[index], np.nan)).transpose(0, 2, 1)
        return found

    def earlier(days: int) -> tuple[Numbers, Numbers, Numbers]:
        at = clock.same_time(targets, days)
        three = [from_base(stable, clock.same_time(targets, days, by)) for by in (-1, 0, 1)]
        return three[1], plain(residual, at), np.mean(three, axis=0)

    week, day = earlier(7), earlier(1)
    last = from_base(stable, np.broadcast_to(moments[:, None], targets.shape))
    ahead = [base, of_type[targets].transpose(0, 2, 1) - base, near[targets - 1].transpose(0, 2, 1) - base]
    ahead += [near[targets + 1].transpose(0, 2, 1) - base, last, *week, *day]
    ahead.append(plain(running[0], clock.same_time(targets, 1)))
    hour = clock.slot[targets] * clock.interval_s / 3600.0
    weekday = clock.weekday[targets].astype(float)
    when = [hour, weekday, weekday >= 5, np.sin(np.pi * hour / 12), np.cos(np.pi * hour / 12)]
    behind = np.maximum(moments[:, None] - np.arange(SEQUENCE - 1, -1, -1), 0)
    sequence = np.stack([residual[behind], site[behind]], axis=-1).transpose(0, 2, 1, 3)
    return Features(
        np.stack(own, axis=-1).astype(np.float32),
        np.stack(ahead, axis=-1).astype(np.float32),
        np.stack(when, axis=-1).astype(np.float32),
        sequence.astype(np.float32),
        base,
        last,
        week[0],
    )


def _profiles(stable: Numbers, clock: Clock, level: Numbers) -> tuple[Numbers, Numbers]:
    """(T, D) twice: what earlier days had at each time; those of the same weekday first, and all of the day type.

    An interval's profile is made of local days before its own.
    """
    place = clock.place
    grid = np.where(place[..., None] >= 0, stable[place], np.nan)
    weekdays = (clock.ordinal[0] + np.arange(len(place)) + 3) % 7
    found = []
    for same_type, width_s in ((SAME_TYPE, 900.0), (1.0, 1800.0)):
        weights = _day_weights(weekdays, same_type)
        mean = _weighted_days(_smoothed(grid, width_s / clock.interval_s), weights)
        mean = np.where(np.isnan(mean), level, mean)
        found.append(mean[clock.day, clock.slot])
    return found[0], found[1]


def _day_weights(weekdays: Numbers, same_type: float) -> Numbers:
    """(days, days) how much an earlier day (second) counts in the profile of a day (first)."""
    age = np.arange(len(weekdays))[:, None] - np.arange(len(weekdays))
    same = weekdays[:, None] == weekdays
    weekend = weekdays >= 5
    like = np.where(
        weekend[:, None] & weekend, OTHER_WEEKEND, np.where(weekend[:, None] == weekend, same_type, OTHER_TYPE)
    )
    weights = np.where(same, 1.0, like) * np.exp(-age / AGE_DAYS)
    found: Numbers = np.where((age >= 1) & (age <= MEMORY_DAYS), weights, 0.0)
    return found


def _weighted_days(grid: Numbers, weights: Numbers) -> Numbers:
    """Weighted means of the days of a grid (days, slots, D) that are known."""
    days = len(grid)
    known = ~np.isnan(grid)
    total = (weights @ np.where(known, grid, 0.0).reshape(days, -1)).reshape(grid.shape)
    weight = (weights @ known.reshape(days, -1)).reshape(grid.shape)
    with np.errstate(invalid="ignore", divide="ignore"):
        found: Numbers = np.where(weight > 0, total / weight, np.nan)
    return found


def _smoothed(grid: Numbers, width: float) -> Numbers:
    """Each day of a grid (days, slots, D), smoothed by a Gaussian of this width [slots] over what is known."""
    reach = max(1, round(3 * width))
    total, weight = np.zeros(grid.shape), np.zeros(grid.shape)
    known = ~np.isnan(grid)
    filled = np.where(known, grid, 0.0)
    for by in range(-reach, reach + 1):
        share = np.exp(-0.5 * (by / max(width, 0.1)) ** 2)
        here = slice(max(0, -by), grid.shape[1] - max(0, by))
        there = slice(max(0, by), grid.shape[1] - max(0, -by))
        total[:, here] += share * filled[:, there]
        weight[:, here] += share * known[:, there]
    with np.errstate(invalid="ignore", divide="ignore"):
        found: Numbers = np.where(weight > 0, total / weight, np.nan)
    return found


def _site_means(residual: Numbers, sites: Sequence[int]) -> Numbers:
    belongs = np.eye(max(sites) + 1)[np.asarray(sites)]
    return np.asarray(residual @ (belongs / belongs.sum(axis=0)) @ belongs.T)


def _running(of: Numbers, rate: float) -> Numbers:
    """Exponentially weighted means up to and with each interval, from 0."""
    keep = float(np.exp(-rate))
    found, state = np.empty_like(of), np.zeros(of.shape[1])
    for number, row in enumerate(of):
        state = keep * state + (1 - keep) * row
        found[number] = state
    return found

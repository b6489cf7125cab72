"""Examples to learn from: moments of some days, what was known then, and what came; some with made-up disturbances.

A few weeks hold hardly a road closure. A model that has seen none leans on its profile when one comes, so part of the
examples come from copies of the counts in which stretches of some detectors are thinned or thickened.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from demand.counts.scale import stabilised
from demand.counts.series import Series
from demand.counts.timeline import FLOW, Numbers
from demand.forecast.features import WARMUP_DAYS, Features, features, levels
from plumbing.errors import InputError

LONGEST_ROWS = 400_000  # moments times detectors to learn from
SHORTEST_DAYS = 7  # [days] to learn from, so that each weekday is there


@dataclass(frozen=True)
class Split:
    """Days in order of time: to learn from, to calibrate and to choose by, to judge by."""

    learn_until: int
    """Number of the first local day after those to learn from."""
    calibrate_until: int
    test_until: int


@dataclass(frozen=True)
class Disturbance:
    """How copies of the counts are disturbed."""

    copies: int = 2
    share: float = 0.3
    """Of the days of each detector that have a disturbance."""
    spread: float = 0.8
    """Of the logarithm of the factor on the counts."""
    longest_s: float = 43_200.0
    """[s] Disturbances last between an hour and this."""


@dataclass(frozen=True)
class Examples:
    """What a method learns from."""

    given: Features
    target: Numbers
    """(N, D, H) stabilised value minus profile, float32; NaN where it was not measured."""
    weight: Numbers
    """(N, D, H) how much an error there counts in vehicles: the slope of the reverse transform."""
    recorded: Numbers
    """(N,) false for moments of disturbed copies."""


def split_days(series: Series, test_days: int, calibration_days: int) -> Split:
    """The last days for the test, those before for calibration.

    Raises:
        InputError: too few days are left to learn from.
    """
    days = int(series.clock.day[-1]) + 1
    learn = days - test_days - calibration_days
    if learn < SHORTEST_DAYS:
        raise InputError(
            f"the counts cover {days} days; {test_days} for the test and {calibration_days} for calibration leave "
            f"{max(learn, 0)} to learn from, not {SHORTEST_DAYS} or more; give longer counts, or lower --test-days "
            "or --calibration-days"
        )
    return Split(learn, learn + calibration_days, days)


def moments_of(series: Series, first_day: int, after_day: int, steps: tuple[int, ...]) -> Numbers:
    """The moments whose forecasts all lie within some local days, from the first interval on."""
    days = series.clock.day
    first = int(np.searchsorted(days, first_day))
    after = int(np.searchsorted(days, after_day))
    return np.arange(max(first - 1, 0), max(after - max(steps), first - 1, 0))


def targets(series: Series, values: Numbers, moments: Numbers, steps: tuple[int, ...]) -> Numbers:
    """(N, D, H) what came, NaN where it was not measured."""
    at = moments[:, None] + np.asarray(steps)
    found: Numbers = np.where(series.measured[at], values[at], np.nan).transpose(0, 2, 1)
    return found


def examples(
    series: Series, until_day: int, steps: tuple[int, ...], disturbance: Disturbance, seed: int
) -> tuple[Examples, Numbers]:
    """Examples of the days before one, and the detectors' levels there. Nothing of later days enters."""
    moments = moments_of(series, WARMUP_DAYS, until_day, steps)
    rng = np.random.default_rng(seed)
    copies = 1 + disturbance.copies
    most = max(1, LONGEST_ROWS // (len(series.detectors) * copies))
    if len(moments) > most:
        moments = np.sort(rng.choice(moments, most, replace=False))
    until = int(np.searchsorted(series.clock.day, until_day))
    past = series.values[:until]
    level = levels(past)
    clock = type(series.clock)(series.clock.begin, series.clock.interval_s, series.clock.zone, until)
    given, wanted = [], []
    for number in range(copies):
        values = past if number == 0 else disturbed(past, series, rng, disturbance)
        now = features(values, clock, level, series.sites, steps, moments)
        given.append(now)
        wanted.append((stabilised(targets(series, values, moments, steps)) - now.base).astype(np.float32))
    joined = Features(*(np.concatenate([getattr(f, name) for f in given]) for name in Features.__dataclass_fields__))
    target = np.concatenate(wanted)
    weight = np.maximum(joined.base, 0.6).astype(np.float32)  # d(s²)/ds = 2 s; 0.6 is that of no vehicle at all
    recorded = np.repeat(np.arange(copies) == 0, len(moments))
    return Examples(joined, target, weight, recorded), level


def disturbed(values: Numbers, series: Series, rng: np.random.Generator, how: Disturbance) -> Numbers:
    """A copy in which stretches of some detectors have fewer or more vehicles, drawn as such: thinned binomially, or
    with a Poisson number on top."""
    found = values.copy()
    length, detectors = values.shape
    slots = series.clock.slots
    for detector in range(detectors):
        for _ in range(rng.binomial(max(length // slots, 1), how.share)):
            begin = int(rng.integers(length))
            lasts_s = rng.uniform(3600.0, how.longest_s)
            end = begin + max(1, round(lasts_s / series.clock.interval_s))
            factor = float(np.exp(how.spread * rng.standard_normal()))
            found[begin:end, detector] = _times(found[begin:end, detector], factor, series.quantity, rng)
    return found


def _times(values: Numbers, factor: float, quantity: str, rng: np.random.Generator) -> Numbers:
    if quantity != FLOW:
        return np.minimum(values * factor, 100.0)
    whole = np.nan_to_num(np.rint(values)).astype(np.int64)
    drawn = rng.binomial(whole, factor) if factor < 1 else whole + rng.poisson((factor - 1) * whole)
    found: Numbers = np.where(np.isnan(values), np.nan, drawn)
    return found

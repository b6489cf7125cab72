"""Means over runs with bootstrap intervals, and paired comparisons. Runs with the same seed are pairs.

An interval says how far other seeds would have moved the mean, nothing about other demand. With the usual
handful of seeds, percentile intervals are on the narrow side; with one seed there is none: low = high = mean.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

RESAMPLES = 10_000
LEVEL = 0.95
_BOOTSTRAP_SEED = 0  # the same runs give the same interval


@dataclass(frozen=True)
class Interval:
    """A mean over runs and its 95 % percentile bootstrap interval. NaN throughout if a run has no value."""

    mean: float
    low: float
    high: float


def mean_interval(values: Sequence[float]) -> Interval:
    """The mean over runs, one value each.

    Source: Efron 1979, Bootstrap methods: another look at the jackknife; percentile method.
    """
    sample = np.asarray(values, float)
    return _interval(float(sample.mean()), sample[_resamples(len(sample))].mean(axis=1))


def difference(values: Sequence[float], reference: Sequence[float]) -> Interval:
    """The mean of the paired differences value − reference; same seeds in the same order."""
    return mean_interval(np.subtract(values, reference).tolist())


def relative_difference(values: Sequence[float], reference: Sequence[float]) -> Interval:
    """How far the mean is above the reference's: mean(value) / mean(reference) − 1, resampled in pairs."""
    sample, base = np.asarray(values, float), np.asarray(reference, float)
    drawn = _resamples(len(sample))
    if len(sample) != len(base) or not base.mean() > 0:
        return Interval(math.nan, math.nan, math.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = sample[drawn].mean(axis=1) / base[drawn].mean(axis=1) - 1.0
    return _interval(float(sample.mean() / base.mean() - 1.0), ratios)


def _resamples(size: int) -> npt.NDArray[np.intp]:
    return np.random.default_rng(_BOOTSTRAP_SEED).integers(0, size, (RESAMPLES, size))


def _interval(mean: float, resampled: npt.NDArray[np.float64]) -> Interval:
    tail = 100.0 * (1.0 - LEVEL) / 2.0
    low, high = np.percentile(resampled, [tail, 100.0 - tail])
    return Interval(mean, min(float(low), mean), max(float(high), mean))

"""Means over runs with bootstrap intervals, and paired comparisons with a test. Runs with the same seed are pairs.

An interval shows how far other seeds move the mean. It says nothing about other demand. With a handful of seeds
percentile intervals are on the narrow side; with one seed low = high = mean.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

RESAMPLES = 10_000
LEVEL = 0.95
EXACT_PAIRS = 16
DRAWS = 100_000
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


def paired_test(values: Sequence[float], reference: Sequence[float]) -> float:
    """Two-sided p of the exact sign-flip test, NaN where a run has no value.

    It is the share of random exchanges within the pairs that give at least as great a difference of the means. It
    assumes no distribution. With n pairs p is at least 2 / 2^n: 0.0625 with five seeds, 0.031 with six.

    Source: Fisher 1935, The design of experiments, section 21. Up to 16 pairs exact, beyond with 100,000 draws.
    """
    differences = np.subtract(values, reference).astype(float)
    size = len(differences)
    if not np.isfinite(differences).all():
        return math.nan
    if size <= EXACT_PAIRS:
        patterns = np.arange(2**size)[:, None] >> np.arange(size) & 1
        extra = 0
    else:
        patterns = np.random.default_rng(_BOOTSTRAP_SEED).integers(0, 2, (DRAWS, size))
        extra = 1  # the data themselves are one of the ways (Phipson and Smyth 2010)
    flipped = np.abs((1.0 - 2.0 * patterns) @ differences)
    least = abs(float(differences.sum())) * (1.0 - 1e-9)  # the same sum in another order is no less
    return float((np.count_nonzero(flipped >= least) + extra) / (len(patterns) + extra))


def holm(p_values: Sequence[float]) -> list[float]:
    """The p values corrected for there being several of them; NaN stays and counts for none.

    Source: Holm 1979, A simple sequentially rejective multiple test procedure.
    """
    known = sorted((p, n) for n, p in enumerate(p_values) if math.isfinite(p))
    corrected = [math.nan] * len(p_values)
    greatest = 0.0
    for rank, (p, n) in enumerate(known):
        greatest = max(greatest, min(1.0, p * (len(known) - rank)))
        corrected[n] = greatest
    return corrected


def probability_of_improvement(values: Sequence[float], reference: Sequence[float]) -> Interval:
    """How likely it is on a new seed that the value is below the reference's on that seed; ties count half.

    Source: Agarwal et al. 2021, Deep reinforcement learning at the edge of the statistical precipice; here over
    pairs of equal seeds.
    """
    differences = np.subtract(values, reference).astype(float)
    if not np.isfinite(differences).all():
        return Interval(math.nan, math.nan, math.nan)
    return mean_interval(np.where(differences < 0, 1.0, np.where(differences > 0, 0.0, 0.5)).tolist())


def _resamples(size: int) -> npt.NDArray[np.intp]:
    return np.random.default_rng(_BOOTSTRAP_SEED).integers(0, size, (RESAMPLES, size))


def _interval(mean: float, resampled: npt.NDArray[np.float64]) -> Interval:
    tail = 100.0 * (1.0 - LEVEL) / 2.0
    low, high = np.percentile(resampled, [tail, 100.0 - tail])
    return Interval(mean, min(float(low), mean), max(float(high), mean))

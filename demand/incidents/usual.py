"""What each detector usually measures, and how far a value is from it.

The forecast of an interval is the mean of other days at that time of day, moved by a linear regression on how the
present day differs: everywhere in the last hour, at the detector itself until ten minutes ago, and now at the
detectors that feed it. What a detector has measured in the last ten minutes does not enter its own forecast, so that
an incident does not become the usual state while it is being told. The regression is ridge with Huber's weights
(P. J. Huber, Robust Estimation of a Location Parameter, 1964), as days that were learned may hold incidents that
nobody knows of. A residual is divided by a standard deviation that grows with the forecast, as that of counts does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from demand.incidents.panel import MEASURES, FloatArray, Panel
from plumbing.errors import InputError

SMOOTH_S = 1200.0  # the mean of other days is taken over so long, since single minutes of few days are noise
LEVEL_S = 3600.0
BLIND_S = 600.0
RIDGE = 20.0  # rows' worth of belief in the mean of other days alone
HUBER = 1.345  # 95 % efficient where errors are normal (Huber 1981)
FARTHEST = 6.0  # residuals are cut at so many standard deviations: one wild value is no incident
LEAST_SIGMA = {"count": 0.5, "occupancy": 0.02, "speed_mps": 1.0}
_ROUNDS = 4
_FED = 2  # present and previous interval of what feeds a detector


@dataclass(frozen=True)
class Usual:
    """What is usual, as `learn_usual` found it."""

    detectors: tuple[str, ...]
    interval_s: int
    profile: FloatArray
    """[M, 2, S, D] mean by time of day, on weekdays and at weekends; NaN: never seen."""
    weights: FloatArray
    """[M, D, F] of the regression."""
    spread: FloatArray
    """[M, D, 2] variance at a forecast of 0, and its growth with the forecast."""

    def residuals(self, panel: Panel, feeding: Sequence[Sequence[int]]) -> tuple[FloatArray, FloatArray]:
        """Forecast and scaled residuals [M, T, D]; NaN where nothing is known.

        No value of a row depends on a later row.
        """
        expected_of_day = _at(self.profile, panel)
        inputs = _inputs(panel, expected_of_day, feeding)
        expected = expected_of_day + np.einsum("mtdf,mdf->mtd", inputs, self.weights)
        expected = np.maximum(expected, 0.0)
        sigma = np.sqrt(self.spread[:, None, :, 0] + self.spread[:, None, :, 1] * expected)
        with np.errstate(invalid="ignore"):
            z = (panel.values - expected) / sigma
        return expected, np.clip(z, -FARTHEST, FARTHEST)


def learn_usual(panel: Panel, feeding: Sequence[Sequence[int]]) -> Usual:
    """Learn from days as they are.

    Args:
        feeding: [D] per detector, the numbers of those that feed it.

    Raises:
        InputError: there are too few days.
    """
    days = np.unique(panel.day)
    if len(days) < 3:
        raise InputError(f"the counts hold {len(days)} days, and what is usual takes 3 or more; give more days")
    # each day is forecast from the others, as the days to come are
    others = np.full_like(panel.values, np.nan)
    for day in days:
        rows = panel.day == day
        others[:, rows] = _at(_profile(panel, ~rows), panel, rows)
    inputs = _inputs(panel, others, feeding)
    measures, _, detectors, width = inputs.shape
    weights, spread = np.zeros((measures, detectors, width)), np.zeros((measures, detectors, 2))
    for m, measure in enumerate(MEASURES):
        for d in range(detectors):
            spread[m, d, 0] = LEAST_SIGMA[measure] ** 2
            target = panel.values[m, :, d] - others[m, :, d]
            use = np.isfinite(target)
            if use.sum() < 10 * width:
                continue
            x, y = inputs[m, use, d], target[use]
            weights[m, d] = _robust_ridge(x, y)
            expected = np.maximum(others[m, use, d] + x @ weights[m, d], 0.0)
            spread[m, d] = _spread(y + others[m, use, d] - expected, expected, LEAST_SIGMA[measure])
    everything = np.ones(len(panel.times), bool)
    return Usual(panel.detectors, panel.interval_s, _profile(panel, everything), weights, spread)


def _profile(panel: Panel, rows: np.ndarray) -> FloatArray:
    """[M, 2, S, D] the mean by time of day, smoothed; a kind of day that was never seen is as the other."""
    measures, _, detectors = panel.values.shape
    total, number = (np.zeros((measures, 2, panel.slots, detectors)) for _ in range(2))
    kind = panel.weekend.astype(int)
    for m in range(measures):
        values = panel.values[m, rows]
        np.add.at(total[m], (kind[rows], panel.slot[rows]), np.nan_to_num(values))
        np.add.at(number[m], (kind[rows], panel.slot[rows]), np.isfinite(values))
    half = int(SMOOTH_S / 2 // panel.interval_s)
    total, number = _around(total, half), _around(number, half)
    both, counted = total.sum(1, keepdims=True), number.sum(1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(number > 0.5, total / number, both / counted)


def _around(values: FloatArray, half: int) -> FloatArray:
    """The sum over the slots about each, along the third axis; a day's end meets its beginning."""
    if not half:
        return values
    wrapped = np.concatenate([values[:, :, -half:], values, values[:, :, :half]], 2)
    sums = np.concatenate([np.zeros_like(wrapped[:, :, :1]), np.cumsum(wrapped, 2)], 2)
    found: FloatArray = sums[:, :, 2 * half + 1 :] - sums[:, :, : -2 * half - 1]
    return found


def _at(profile: FloatArray, panel: Panel, rows: np.ndarray | slice = slice(None)) -> FloatArray:
    found: FloatArray = profile[:, panel.weekend[rows].astype(int), panel.slot[rows]]
    return found


def _inputs(panel: Panel, expected: FloatArray, feeding: Sequence[Sequence[int]]) -> FloatArray:
    """[M, T, D, F] how the present day differs: everywhere, at the detector earlier, and now at what feeds it."""
    measures, rows, detectors = panel.values.shape
    differs = panel.values - expected
    level, blind = (max(round(s / panel.interval_s), 1) for s in (LEVEL_S, BLIND_S))
    known = np.isfinite(differs[0])
    ratio = _past(np.where(known, panel.values[0], 0.0).sum(1), panel.run, 1, level)
    usual = _past(np.where(known, expected[0], 0.0).sum(1), panel.run, 1, level)
    more = np.clip(ratio / np.maximum(usual, 1.0), 0.3, 3.0) - 1.0
    more[usual < 1.0] = 0.0
    inputs = np.zeros((measures, rows, detectors, 2 + _FED))
    inputs[..., 0] = np.nan_to_num(expected) * more[None, :, None]
    for m in range(measures):
        own = np.isfinite(differs[m])
        total = _past(np.where(own, differs[m], 0.0), panel.run, blind, level)
        inputs[m, :, :, 1] = total / np.maximum(_past(own.astype(float), panel.run, blind, level), 1.0)
    fed = np.where(known, differs[0], 0.0)
    for d, sources in enumerate(feeding):
        if sources:
            now = fed[:, list(sources)].sum(1)
            inputs[:, :, d, 2] = now
            inputs[:, 1:, d, 3] = np.where(panel.run[1:] == panel.run[:-1], now[:-1], 0.0)
    return inputs


def _past(values: FloatArray, run: np.ndarray, least: int, most: int) -> FloatArray:
    """The sum over the rows from `least` to `most` ago that belong to the same run."""
    begins = np.searchsorted(run, run)  # each row's run's first row
    rows = np.arange(len(run))
    upto = np.concatenate([np.zeros((1, *values.shape[1:])), np.cumsum(values, 0)])
    low, high = np.maximum(rows - most, begins), np.maximum(rows - least + 1, begins)
    found: FloatArray = upto[np.maximum(high, low)] - upto[low]
    return found


def _robust_ridge(x: FloatArray, y: FloatArray) -> FloatArray:
    """Weights of a ridge regression without intercept, less of what lies far off (iteratively reweighted)."""
    scale = np.maximum(x.std(0), 1e-6)
    scaled, trust = x / scale, np.ones(len(y))
    weights = np.zeros(x.shape[1])
    for _ in range(_ROUNDS):
        weighted = scaled * trust[:, None]
        weights = np.linalg.solve(scaled.T @ weighted + RIDGE * np.eye(x.shape[1]), weighted.T @ y)
        left = np.abs(y - scaled @ weights)
        # few vehicles make skewed counts, most of them 0: by the median alone every vehicle would be an outlier
        sigma = max(1.4826 * float(np.median(left)), 0.7 * float(left.std()), 1e-6)
        trust = np.minimum(1.0, HUBER * sigma / np.maximum(left, 1e-9))
    found: FloatArray = weights / scale
    return found


def _spread(left: FloatArray, expected: FloatArray, least_sigma: float) -> FloatArray:
    """Variance at 0 and its growth with the forecast, at least 0; what lies far off counts as far, not further."""
    far = 4.0 * max(1.4826 * float(np.median(np.abs(left))), least_sigma)
    squares = np.minimum(np.abs(left), far) ** 2
    x = np.stack([np.ones_like(expected), expected], 1)
    base, slope = np.linalg.lstsq(x, squares, rcond=None)[0]
    if slope < 0 or base < 0:
        slope = max(float((squares * expected).sum() / max((expected**2).sum(), 1e-9)), 0.0) if base < 0 else 0.0
        base = 0.0 if base < 0 else float(squares.mean())
    return np.array([max(float(base), least_sigma**2), float(slope)])

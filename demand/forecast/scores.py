"""How good forecasts were, and by how much their intervals have to be widened."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from demand.counts.scale import stabilised
from demand.counts.timeline import Numbers
from demand.forecast.kinds import QUANTILES

BUSY = 3.0  # [vehicles per interval] mean from which on a detector is busy: of quiet ones every forecast is good
INSIDE = QUANTILES[2] - QUANTILES[0]


@dataclass(frozen=True)
class Scores:
    """Of one horizon, over all detectors and intervals that were measured."""

    mae: float
    """Mean absolute error of the median."""
    rmse: float
    coverage: float
    """Share of values within the interval, ends included."""
    width: float
    """Mean width of the interval."""
    pinball: float
    """Mean pinball loss over the quantiles."""


def score(quantiles: Numbers, came: Numbers) -> Scores:
    """Of (..., 3) quantiles and what came, NaN where it was not measured."""
    known = ~np.isnan(came)
    if not known.any():
        return Scores(*(float("nan"),) * 5)
    q, y = quantiles[known], came[known]
    error = q[:, 1] - y
    left = y[:, None] - q
    levels = np.asarray(QUANTILES)
    return Scores(
        float(np.abs(error).mean()),
        float(np.sqrt((error**2).mean())),
        float(((q[:, 0] <= y + 1e-9) & (y <= q[:, 2] + 1e-9)).mean()),
        float((q[:, 2] - q[:, 0]).mean()),
        float(np.maximum(levels * left, (levels - 1) * left).mean()),
    )


def conformal_offsets(residuals: Numbers, base: Numbers, came: Numbers) -> Numbers:
    """(D, H) by how much each interval has to be widened to both sides, on the stabilised scale, so that it covered
    its share of what came: conformalised quantile regression (Romano, Patterson and Candès 2019) on days after those
    learned from. A detector of fewer than 50 values gets what all have.

    Args:
        residuals: (N, D, H, 3) of a model.
        base: (N, D, H) profile.
        came: (N, D, H) values, NaN where not measured.
    """
    ordered = np.sort(residuals, axis=-1)
    wanted = stabilised(came) - base
    beyond = np.maximum(ordered[..., 0] - wanted, wanted - ordered[..., 2])
    found = np.zeros(beyond.shape[1:])
    for step in range(beyond.shape[2]):
        of_all = _offset(beyond[..., step].ravel())
        for detector in range(beyond.shape[1]):
            of_one = beyond[:, detector, step]
            found[detector, step] = _offset(of_one) if (~np.isnan(of_one)).sum() >= 50 else of_all
    return found


def _offset(beyond: Numbers) -> float:
    known = beyond[~np.isnan(beyond)]
    if not len(known):
        return 0.0
    share = min(1.0, np.ceil((len(known) + 1) * INSIDE) / len(known))
    return float(np.quantile(known, share, method="higher"))

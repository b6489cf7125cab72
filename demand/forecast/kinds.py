"""How each kind of model is fed, and how its answers become quantiles of counts: shared by training and running."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from demand.counts.scale import restored
from demand.counts.timeline import FLOW, Numbers
from demand.forecast.features import Features

QUANTILES = (0.1, 0.5, 0.9)
LAST_VALUE, LAST_WEEK, LINEAR, BOOSTING, RECURRENT, GRAPH = (
    "last_value", "last_week", "linear", "boosting", "recurrent", "graph",
)  # fmt: skip
ENSEMBLE = "ensemble"
LEARNED = (LINEAR, BOOSTING, RECURRENT, GRAPH)
METHODS = (LAST_VALUE, LAST_WEEK, *LEARNED, ENSEMBLE)
NETWORK_INPUTS = ("own", "ahead", "when", "sequence")
_BLOCK = 512  # moments that a network is given at once: what it holds meanwhile stays small


class Model(Protocol):
    """What has been trained, or loaded."""

    def residuals(self, given: Features) -> Numbers:
        """(N, D, H, 3) quantiles of the stabilised value minus its profile."""


class Naive:
    """The last value, or that of the same time a week ago: three times the same, until it is calibrated."""

    def __init__(self, method: str) -> None:
        self._last = method == LAST_VALUE

    def residuals(self, given: Features) -> Numbers:
        """See `Model`."""
        point = given.last_value if self._last else given.last_week
        return np.repeat(point[..., None], len(QUANTILES), axis=-1)


class Mean:
    """The mean of what several models say."""

    def __init__(self, models: Sequence[Model]) -> None:
        self._models = models

    def residuals(self, given: Features) -> Numbers:
        """See `Model`."""
        return np.asarray(np.mean([np.sort(model.residuals(given), axis=-1) for model in self._models], axis=0))


def tree_rows(given: Features, step: int) -> Numbers:
    """(N · D, features) what boosting sees of each detector for the horizon of this number; float32."""
    moments, detectors = given.own.shape[:2]
    when = np.repeat(given.when[:, None, step, :2], detectors, axis=1)  # hour and weekday: trees cut where they like
    number = np.broadcast_to(np.arange(detectors, dtype=np.float32)[:, None], (moments, detectors, 1))
    rows = np.concatenate([given.own, given.ahead[:, :, step], when, number], axis=-1)
    return rows.reshape(moments * detectors, -1).astype(np.float32)


def in_blocks(given: Features, answer: Callable[[Features], Numbers]) -> Numbers:
    """What `answer(features)` says to all moments, asked in blocks of some hundred."""
    blocks = [answer(given.of(slice(at, at + _BLOCK))) for at in range(0, len(given.own), _BLOCK)]
    return np.concatenate(blocks) if blocks else np.zeros((0, *given.base.shape[1:], len(QUANTILES)))


def quantiles(residuals: Numbers, base: Numbers, offsets: Numbers, quantity: str) -> Numbers:
    """(N, D, H, 3) quantiles in vehicles, or in percent of occupancy.

    Args:
        residuals: (N, D, H, 3) of a model, in any order (Chernozhukov, Fernández-Val and Galichon 2010: sorting
            quantiles that cross makes none of them worse).
        base: (N, D, H) profile.
        offsets: (D, H) by which calibration has widened the interval to both sides; negative where it was too wide.
    """
    ordered = np.sort(residuals, axis=-1)
    middle = ordered[..., 1]
    low = np.minimum(ordered[..., 0] - offsets, middle)
    high = np.maximum(ordered[..., 2] + offsets, middle)
    found = restored(np.stack([low, middle, high], axis=-1) + base[..., None])
    return found if quantity == FLOW else np.minimum(found, 100.0)

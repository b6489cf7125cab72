"""What the updates of all learners share."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from agents.network import SELECTABLE
from signals.observations import ObservationShape


class TrainingDiverged(RuntimeError):
    """A number became infinite or undefined; the message says which and when."""


def ema_weight(count: int, least: float) -> float:
    """The weight of the `count`-th set of weights in their exponential moving average, `least` at least. At first it
    is the plain mean (Polyak & Juditsky 1992), so that random weights are soon forgotten."""
    return max(least, 1.0 / count)


def average_in(means: Iterable[nn.Parameter], weights: Iterable[nn.Parameter], least: float, count: int) -> None:
    """Take the `count`-th set of weights into the moving average, with its `ema_weight`."""
    take_in = get_ema_multi_avg_fn(1.0 - ema_weight(count, least))  # type: ignore[no-untyped-call]
    take_in(list(means), list(weights), count)


def selectable(rows: npt.NDArray[np.float32], shape: ObservationShape) -> npt.NDArray[np.bool_]:
    """[..., P] which phases may be chosen, of rows [..., size]."""
    found: npt.NDArray[np.bool_] = (
        rows[..., SELECTABLE : shape.phases * shape.phase_features : shape.phase_features] > 0.5
    )
    return found


def free(rows: npt.NDArray[np.float32], shape: ObservationShape) -> npt.NDArray[np.bool_]:
    """[...] whether more than one phase may be chosen, of rows [..., size]."""
    several: npt.NDArray[np.bool_] = np.add.reduce(selectable(rows, shape), axis=-1, dtype=np.intp) > 1
    return several


def require_finite(network: nn.Module, steps: int) -> None:
    """Raises TrainingDiverged where a parameter is no finite number."""
    if not all(bool(torch.isfinite(weight).all()) for weight in network.parameters()):
        raise TrainingDiverged(f"a parameter is not finite after {steps} steps; lower learning_rate or reward_scale")

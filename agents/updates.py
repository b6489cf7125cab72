"""What the updates of all learners share."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from agents.network import SELECTABLE
from signals.observations import ObservationShape


class TrainingDiverged(RuntimeError):
    """A number became infinite or undefined; the message says which and when."""


def share_of(count: int, share: float) -> float:
    """Of the `count`-th set of weights in the running mean (Polyak & Juditsky 1992), `share` at least: at first it is
    the mean of all there are, so that it never holds on to random weights."""
    return max(share, 1.0 / count)


def average_in(means: Iterable[nn.Parameter], weights: Iterable[nn.Parameter], share: float, count: int) -> None:
    """Take the `count`-th set of weights into the running mean, with its `share_of`."""
    take_in = get_ema_multi_avg_fn(1.0 - share_of(count, share))  # type: ignore[no-untyped-call]
    take_in(list(means), list(weights), count)


def free(rows: npt.NDArray[np.float32], shape: ObservationShape) -> npt.NDArray[np.bool_]:
    """[...] whether more than one phase may be chosen, of rows [..., size]."""
    selectable = rows[..., SELECTABLE : shape.phases * shape.phase_features : shape.phase_features] > 0.5
    several: npt.NDArray[np.bool_] = np.add.reduce(selectable, axis=-1, dtype=np.intp) > 1
    return several

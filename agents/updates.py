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


def average_in(means: Iterable[nn.Parameter], weights: Iterable[nn.Parameter], share: float, count: int) -> None:
    """Take the `count`-th set of weights into the running mean (Polyak & Juditsky 1992), with a share of at least
    `share`: at the beginning it is the mean of all there are, so that it never holds on to random weights."""
    take_in = get_ema_multi_avg_fn(1.0 - max(share, 1.0 / count))  # type: ignore[no-untyped-call]
    take_in(list(means), list(weights), count)


def free(rows: npt.NDArray[np.float32], shape: ObservationShape) -> npt.NDArray[np.bool_]:
    """[...] whether more than one phase may be chosen, of rows [..., size]."""
    block = rows[..., : shape.phases * shape.phase_features]
    selectable = block.reshape(*rows.shape[:-1], shape.phases, shape.phase_features)[..., SELECTABLE] > 0.5
    several: npt.NDArray[np.bool_] = selectable.sum(axis=-1) > 1
    return several

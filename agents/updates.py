"""What the updates of all learners share."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class TrainingDiverged(RuntimeError):
    """A number became infinite or undefined; the message says which and when."""


def average_in(means: Iterable[nn.Parameter], weights: Iterable[nn.Parameter], share: float, count: int) -> None:
    """Take the `count`-th set of weights into the running mean (Polyak & Juditsky 1992), with a share of at least
    `share`: at the beginning it is the mean of all there are, so that it never holds on to random weights."""
    take_in = get_ema_multi_avg_fn(1.0 - max(share, 1.0 / count))  # type: ignore[no-untyped-call]
    take_in(list(means), list(weights), count)

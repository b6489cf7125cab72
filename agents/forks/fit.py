"""A network's scores, fitted to the losses that forks have shown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from agents.network import Encoder, PhaseScorer
from agents.settings import RolloutSettings
from signals.observations import ObservationShape

LAST_RATE = 0.02
"""Of the learning rate, at a fit's end."""
MOST_NORM = 1.0
"""Of a step's gradient."""


def targets_of(losses: npt.NDArray[np.float64], scale: float) -> Tensor:
    """[D, P] the scores to learn: by how much each phase is better than the mean of those that might be chosen, in
    units of `scale`; NaN where the losses are."""
    mean = np.nanmean(losses, axis=1, keepdims=True)
    return torch.from_numpy(((mean - losses) / scale).astype(np.float32))


def centred(scores: Tensor, allowed: Tensor) -> Tensor:
    """[B, P] scores minus their mean over the phases that are allowed, 0 elsewhere."""
    plain = scores.masked_fill(~allowed, 0.0)
    mean = plain.sum(dim=1, keepdim=True) / allowed.sum(dim=1, keepdim=True).clamp(min=1)
    return (plain - mean).masked_fill(~allowed, 0.0)


def misfit(network: PhaseScorer, rows: Tensor, targets: Tensor) -> Tensor:
    """Mean over choices of the Huber loss, summed over the phases that might be chosen."""
    allowed = ~targets.isnan()
    each = functional.smooth_l1_loss(
        centred(network(rows), allowed), targets.masked_fill(~allowed, 0.0), reduction="none"
    )
    return each.sum(dim=1).mean()


def fitted_to(
    rows: Tensor, targets: Tensor, settings: RolloutSettings, shape: ObservationShape, encoder: type[Encoder],
    weights: Mapping[str, Tensor], seed: int, device: str = "cpu",
) -> PhaseScorer:  # fmt: skip
    """A network whose centred scores are near the targets.

    Args:
        rows: [D, size] what was shown at each choice; at least one.
        targets: [D, P] as of `targets_of`.
        weights: what the fit begins with.
        seed: of the order in which the choices are taken.
    """
    network = PhaseScorer(shape, settings.units, encoder).to(device)
    network.load_state_dict(dict(weights))
    rows, targets = rows.to(device), targets.to(device)
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True
    )
    draw = torch.Generator().manual_seed(seed)
    for step, part in enumerate(_parts(len(rows), settings, draw)):
        share = 1.0 - step / settings.gradient_steps
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * (LAST_RATE + (1.0 - LAST_RATE) * share)
        loss = misfit(network, rows[part], targets[part])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(network.parameters(), MOST_NORM)
        optimizer.step()
    return network.cpu()


def _parts(count: int, settings: RolloutSettings, draw: torch.Generator) -> Iterator[Tensor]:
    """The choices of each gradient step: all of them in a random order, again and again."""
    left = settings.gradient_steps
    while left > 0:
        parts = torch.randperm(count, generator=draw).chunk(max(1, round(count / settings.batch_size)))
        yield from parts[:left]
        left -= len(parts)

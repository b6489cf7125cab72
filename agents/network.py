"""A network that scores each phase from the movements that it serves, so that one policy fits any intersection.

Movements are encoded one by one and summed over each phase (deep sets, Zaheer et al. 2017; phase competition after
FRAP, Zheng et al. 2019): its weights depend neither on the number of phases or movements nor on their order.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from signals.observations import ObservationShape

MASKED = -1e9
"""What a phase is worth that may not be chosen: less than anything learned, yet finite."""
SELECTABLE, CURRENT, VEHICLES = 1, 2, 6
"""Indices in the phase block, see `signals.observations.PhaseObservation`."""


class PhaseEncoder(nn.Module):
    """[B, size] rows of observations to [B, P, 2 x units]: each phase, and beside it the mean of all."""

    def __init__(self, shape: ObservationShape, units: int) -> None:
        super().__init__()
        self.shape = shape
        self.movement = nn.Sequential(nn.Linear(shape.movement_features, units), nn.ReLU())
        self.phase = nn.Sequential(nn.Linear(shape.phase_features + units, units), nn.ReLU())

    def forward(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Encodings, and [B, P] whether each phase may be chosen."""
        phases, service, movements = split(rows, self.shape)
        served = torch.bmm(service, self.movement(movements))
        encoded = self.phase(torch.cat((phases, served), dim=2))
        exists = phases[:, :, :1]
        mean = (encoded * exists).sum(1, keepdim=True) / exists.sum(1, keepdim=True).clamp(min=1.0)
        return torch.cat((encoded, mean.expand_as(encoded)), dim=2), phases[:, :, SELECTABLE] > 0.5


class PhaseScorer(nn.Module):
    """[B, size] rows to [B, P] scores; `MASKED` where a phase may not be chosen."""

    def __init__(self, shape: ObservationShape, units: int = 64) -> None:
        super().__init__()
        self.encoder = PhaseEncoder(shape, units)
        self.head = nn.Sequential(nn.Linear(2 * units, units), nn.ReLU(), nn.Linear(units, 1))

    def forward(self, rows: Tensor) -> Tensor:
        """Scores."""
        encoded, selectable = self.encoder(rows)
        scores: Tensor = self.head(encoded).squeeze(2)
        return scores.masked_fill(~selectable, MASKED)


class StateValue(nn.Module):
    """[B, size] rows to [B, 1] values."""

    def __init__(self, shape: ObservationShape, units: int = 64) -> None:
        super().__init__()
        self.encoder = PhaseEncoder(shape, units)
        self.head = nn.Sequential(nn.Linear(units, units), nn.ReLU(), nn.Linear(units, 1))
        self._units = units

    def forward(self, rows: Tensor) -> Tensor:
        """Values."""
        encoded, _ = self.encoder(rows)
        value: Tensor = self.head(encoded[:, 0, self._units :])
        return value


def split(rows: Tensor, shape: ObservationShape) -> tuple[Tensor, Tensor, Tensor]:
    """[B, size] rows cut into [B, P, features], [B, P, K] and [B, K, features]."""
    batch = rows.shape[0]
    first = shape.phases * shape.phase_features
    second = first + shape.phases * shape.movements
    return (
        rows[:, :first].reshape(batch, shape.phases, shape.phase_features),
        rows[:, first:second].reshape(batch, shape.phases, shape.movements),
        rows[:, second:].reshape(batch, shape.movements, shape.movement_features),
    )

"""A network that scores each phase from the movements that it serves, so that one policy fits any intersection.

Movements are encoded one by one and summed over each phase (deep sets, Zaheer et al. 2017; phase competition after
FRAP, Zheng et al. 2019): its weights depend neither on the number of phases or movements nor on their order.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from agents import compiled
from signals.observations import ObservationShape

MASKED = -1e9
"""What a phase is worth that may not be chosen: less than anything learned, yet finite."""
SELECTABLE, CURRENT = 1, 2
"""Indices in the phase block, see `signals.observations.PhaseObservation`."""
GREEDY_STAYS = 0.2
"""By how much, as a scaled count of vehicles, another phase must be ahead for a greedy choice to switch."""


class PhaseEncoder(nn.Module):
    """[B, size] rows of observations to [B, P, units], each phase, and [B, units], the mean of all."""

    def __init__(self, shape: ObservationShape, units: int) -> None:
        super().__init__()
        self.shape = shape
        self.movement = nn.Sequential(nn.Linear(shape.movement_features, units), nn.ReLU())
        self.phase = nn.Sequential(nn.Linear(shape.phase_features + units, units), nn.ReLU())

    def forward(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Encodings, their mean, and [B, P] whether each phase may be chosen."""
        phases, service, movements = split(rows, self.shape)
        served = torch.bmm(service, self.movement(movements))
        encoded = self.phase(torch.cat((phases, served), dim=2))
        exists = phases[:, :, :1]
        mean = (encoded * exists).sum(1) / exists.sum(1).clamp(min=1.0)
        return encoded, mean, phases[:, :, SELECTABLE] > 0.5


class PhaseScorer(nn.Module):
    """[B, size] rows to [B, P] scores; `MASKED` where a phase may not be chosen.

    Args:
        quick: compute it with `agents.compiled` where that was built; for training.
    """

    def __init__(self, shape: ObservationShape, units: int = 64, *, quick: bool = False) -> None:
        super().__init__()
        self.encoder = PhaseEncoder(shape, units)
        self.head = nn.Sequential(nn.Linear(2 * units, units), nn.ReLU(), nn.Linear(units, 1))
        self._units = units
        self.quick = quick and compiled.library() is not None
        self._weights = tuple(self.parameters())  # to ask for them takes longer than a forward pass

    def begin_greedy(self, strength: float) -> None:
        """Score by what a phase would serve, and by nothing else, until something is learned.

        The first unit of each layer carries `strength` × (demand + `GREEDY_STAYS` where it is current); the others
        are made ready to learn, but are not heard yet.

        Args:
            strength: in scores per unit of the scaled demand, 0 or more.
        """
        first, hidden, last = self.encoder.phase[0], self.head[0], self.head[2]
        assert isinstance(first, nn.Linear)
        assert isinstance(hidden, nn.Linear)
        assert isinstance(last, nn.Linear)
        share = strength ** (1.0 / 3.0)  # each layer's, so that all of them learn at about the same rate
        with torch.no_grad():
            for layer in (first, hidden):
                layer.weight[0], layer.bias[0] = 0.0, 0.0
            first.weight[0, self.encoder.shape.demand] = share
            first.weight[0, CURRENT] = GREEDY_STAYS * share
            hidden.weight[0, 0] = share
            last.weight.zero_()
            last.bias.zero_()
            last.weight[0, 0] = share

    def forward(self, rows: Tensor) -> Tensor:
        """Scores."""
        if self.quick:
            return compiled.scores(rows, self.encoder.shape, self._weights)
        encoded, mean, selectable = self.encoder(rows)
        first, rest = self.head[0], self.head[1:]
        assert isinstance(first, nn.Linear)
        # the first layer sees a phase and the mean side by side; the mean's part is the same for all phases
        own, shared = first.weight[:, : self._units], first.weight[:, self._units :]
        hidden = functional.linear(encoded, own) + functional.linear(mean, shared, first.bias).unsqueeze(1)
        scores: Tensor = rest(hidden).squeeze(2)
        return scores.masked_fill(~selectable, MASKED)

    def described(self) -> compiled.Network:
        """As the compiled code sees it."""
        return compiled.described(self.encoder.shape, True, self._weights)

    def scoring(self) -> Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]:
        """The same for numpy's arrays, without slopes; for rollouts."""
        if self.quick:
            return compiled.Scores(self.described(), kept=self)

        def score(rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
            with torch.no_grad():
                scores: npt.NDArray[np.float32] = self(torch.from_numpy(rows)).numpy()
            return scores

        return score


class StateValue(nn.Module):
    """[B, size] rows to [B, 1] values; `quick` as for `PhaseScorer`."""

    def __init__(self, shape: ObservationShape, units: int = 64, *, quick: bool = False) -> None:
        super().__init__()
        self.encoder = PhaseEncoder(shape, units)
        self.head = nn.Sequential(nn.Linear(units, units), nn.ReLU(), nn.Linear(units, 1))
        self.quick = quick and compiled.library() is not None
        self._weights = tuple(self.parameters())

    def forward(self, rows: Tensor) -> Tensor:
        """Values."""
        if self.quick:
            return compiled.values(rows, self.encoder.shape, self._weights)
        _, mean, _ = self.encoder(rows)
        value: Tensor = self.head(mean)
        return value

    def described(self) -> compiled.Network:
        """As the compiled code sees it."""
        return compiled.described(self.encoder.shape, False, self._weights)


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

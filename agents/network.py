"""A network that scores each phase from the movements that it serves, so that one policy fits any intersection.

Movements are encoded one by one and summed over each phase (deep sets, Zaheer et al. 2017; phase competition after
FRAP, Zheng et al. 2019): its weights depend neither on the number of phases or movements nor on their order.

The encoder can come from outside: see `Encoder`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from signals.observations import ObservationShape

MASKED = -1e9
"""The score of a phase that may not be chosen: less than anything learned, yet finite."""
SELECTABLE, CURRENT = 1, 2
"""Indices in the phase block, see `signals.observations.PhaseObservation`."""
GREEDY_STAYS = 0.2
"""By how much, as a scaled count of vehicles, another phase must be ahead for a greedy choice to switch."""
PLANNED_STAYS = 1e-4
"""By how much, as a scaled regret, another phase must be better for a planner's choice to switch: not at a tie."""
Scores = Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]
"""[B, size] rows to [B, P] scores."""


class Encoder(Protocol):
    """What turns a row of the observation into a description of each phase: an `nn.Module`.

    Its weights must not depend on the numbers of phases and movements: one network serves every signal. `split` cuts
    the rows.
    """

    def __init__(self, shape: ObservationShape, units: int) -> None:
        """Build the layers; `units` is the width of what comes out."""

    def __call__(self, rows: Tensor) -> Tensor:
        """[B, size] rows to [B, P, units]."""


class PhaseEncoder(nn.Module):
    """The encoder that the agents use by themselves."""

    def __init__(self, shape: ObservationShape, units: int) -> None:
        super().__init__()
        self.shape = shape
        self.movement = nn.Sequential(nn.Linear(shape.movement_features, units), nn.ReLU())
        self.phase = nn.Sequential(nn.Linear(shape.phase_features + units, units), nn.ReLU())

    def forward(self, rows: Tensor) -> Tensor:
        """[B, size] rows to [B, P, units]."""
        phases, service, movements = split(rows, self.shape)
        served = torch.bmm(service, self.movement(movements))
        encoded: Tensor = self.phase(torch.cat((phases, served), dim=2))
        return encoded


class PhaseScorer(nn.Module):
    """[B, size] rows to [B, P] scores; `MASKED` where a phase may not be chosen.

    Args:
        shape: how a row of the observation is cut.
        units: width of each layer.
        encoder: the class of the encoder.
        context: length of what may stand behind each row, such as a memory: rows are [B, size + context] then.
        outputs: numbers per phase; with more than one the result is [B, P, outputs].
    """

    def __init__(
        self, shape: ObservationShape, units: int = 64, encoder: type[Encoder] = PhaseEncoder, *, context: int = 0,
        outputs: int = 1,
    ) -> None:  # fmt: skip
        super().__init__()
        self.shape, self.units, self.outputs = shape, units, outputs
        self.encoder = encoder(shape, units)
        self.head = nn.Sequential(nn.Linear(2 * units, units), nn.ReLU(), nn.Linear(units, outputs))
        self.context = nn.Linear(context, units, bias=False) if context else None

    def begin_as_rule(self, strength: float) -> None:
        """Score as a rule does, until something is learned: as the planner, or else by what a phase would serve.

        The first unit of each layer carries the rule; the others are made ready to learn, but are not heard yet. With
        a planner each phase scores -`strength` × regret, else `strength` × (demand + `GREEDY_STAYS` where it is
        current).

        Args:
            strength: in scores per unit of the scaled feature, 0 or more.

        An encoder from outside, whose layers nobody knows, is left as it is.
        """
        if not isinstance(self.encoder, PhaseEncoder):
            return
        first, hidden, last = self.encoder.phase[0], self.head[0], self.head[2]
        assert isinstance(first, nn.Linear)
        assert isinstance(hidden, nn.Linear)
        assert isinstance(last, nn.Linear)
        share = strength ** (1.0 / 3.0)  # each layer's, so that all of them learn at about the same rate
        with torch.no_grad():
            for layer in (first, hidden):
                layer.weight[0], layer.bias[0] = 0.0, 0.0
            if self.context is not None:
                self.context.weight[0] = 0.0
            if self.shape.regret is None:
                first.weight[0, self.shape.demand] = share
                first.weight[0, CURRENT] = GREEDY_STAYS * share
            else:  # a unit carries nothing below 0, and regrets are not
                first.weight[0, self.shape.regret] = share
                first.bias[0] = PLANNED_STAYS * share
                first.weight[0, CURRENT] = -PLANNED_STAYS * share
            hidden.weight[0, 0] = share
            last.weight.zero_()
            last.bias.zero_()
            last.weight[0, 0] = share if self.shape.regret is None else -share

    def forward(self, rows: Tensor) -> Tensor:
        """Scores."""
        row = rows[:, : self.shape.size] if self.context is not None else rows
        encoded = self.encoder(row)
        exists, selectable = phase_flags(row, self.shape)
        first, rest = self.head[0], self.head[1:]
        assert isinstance(first, nn.Linear)
        # the first layer sees a phase and the mean side by side; the mean's part is the same for all phases
        own, shared = first.weight[:, : self.units], first.weight[:, self.units :]
        common = functional.linear(mean_encoding(encoded, exists), shared, first.bias)
        if self.context is not None:
            common = common + self.context(rows[:, self.shape.size :])
        scores: Tensor = rest(functional.linear(encoded, own) + common.unsqueeze(1))
        if self.outputs == 1:
            return scores.squeeze(2).masked_fill(~selectable, MASKED)
        return scores.masked_fill(~selectable.unsqueeze(2), MASKED)

    def scoring(self) -> Scores:
        """The same for NumPy's arrays, without gradients; for rollouts."""
        device = next(self.parameters()).device

        @torch.no_grad()
        def score(rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
            scores: npt.NDArray[np.float32] = self(torch.from_numpy(rows).to(device)).cpu().numpy()
            return scores

        return score


class StateValue(nn.Module):
    """[B, size] rows to [B, 1] values; arguments as of `PhaseScorer`."""

    def __init__(
        self, shape: ObservationShape, units: int = 64, encoder: type[Encoder] = PhaseEncoder, *, context: int = 0
    ) -> None:
        super().__init__()
        self.shape = shape
        self.encoder = encoder(shape, units)
        self.head = nn.Sequential(nn.Linear(units + context, units), nn.ReLU(), nn.Linear(units, 1))

    def forward(self, rows: Tensor) -> Tensor:
        """Values."""
        row = rows[:, : self.shape.size]
        mean = mean_encoding(self.encoder(row), phase_flags(row, self.shape)[0])
        value: Tensor = self.head(torch.cat((mean, rows[:, self.shape.size :]), dim=1))
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


def phase_flags(rows: Tensor, shape: ObservationShape) -> tuple[Tensor, Tensor]:
    """[B, P, 1] whether each phase exists, as a number, and [B, P] whether it may be chosen."""
    phases = rows[:, : shape.phases * shape.phase_features].reshape(-1, shape.phases, shape.phase_features)
    return phases[:, :, :1], phases[:, :, SELECTABLE] > 0.5


def mean_encoding(encoded: Tensor, exists: Tensor) -> Tensor:
    """[B, units] the mean of the phases that exist."""
    return (encoded * exists).sum(1) / exists.sum(1).clamp(min=1.0)

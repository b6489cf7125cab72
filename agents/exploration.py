"""What chance has in DQN's decisions: phases that are tried, beside those that are held to be the best."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from agents.network import CURRENT, GREEDY_STAYS, PLANNED_STAYS, SELECTABLE
from signals.observations import ObservationShape

RANDOM_STAYS = 0.75
"""Share of the uniform explorer's decisions that keep the current green: a mean of four decisions."""


@dataclass(frozen=True)
class Draws:
    """For one decision of each of N signals, drawn before anybody knows what they see."""

    explores: npt.NDArray[np.bool_]
    stays: npt.NDArray[np.bool_]
    """[N, 1], and below, where somebody explores."""
    order: npt.NDArray[np.float64]
    """[N, P] in which phases are preferred."""
    greedy: npt.NDArray[np.bool_]
    """[N] the phase with the most vehicles instead."""


class Explorer:
    """Explores half greedily, half at random.

    Args:
        shape: how a row of the observation is cut.
        greedy: share of the exploring decisions that take the phase with the most vehicles; the rest are uniform.
        seed: of everything drawn.
    """

    def __init__(self, shape: ObservationShape, greedy: float, seed: list[int]) -> None:
        self.shape, self.greedy = shape, greedy
        self._random = np.random.default_rng(seed)

    @property
    def state(self) -> dict[str, Any]:
        """Of the random generator, in plain values."""
        return dict(self._random.bit_generator.state)

    @state.setter
    def state(self, state: dict[str, Any]) -> None:
        self._random.bit_generator.state = state

    def draw(self, signals: int, rate: float) -> Draws:
        """For the next decision of so many signals, of which a share of `rate` explores."""
        explores = self._random.random(signals) < rate
        count = signals if explores.any() else 0
        # every switch costs a change interval: who draws anew each time sees little but its own queues
        stays = self._random.random((count, 1)) < RANDOM_STAYS
        order = self._random.random((count, self.shape.phases))
        return Draws(explores, stays, order, self._random.random(count) < self.greedy)

    def choose(
        self, rows: npt.NDArray[np.float32], best: npt.NDArray[np.int64], draws: Draws, part: slice
    ) -> npt.NDArray[np.int64]:
        """Phases for the signals `part` of those that were drawn for.

        Args:
            rows: what they see.
            best: the phases held to be the best.
        """
        explores = draws.explores[part]
        if not explores.any():
            return best
        shape = self.shape
        phases = rows[:, : shape.phases * shape.phase_features].reshape(len(rows), shape.phases, -1)
        selectable, current = phases[:, :, SELECTABLE] > 0.5, phases[:, :, CURRENT]
        if shape.regret is None:
            rule = phases[:, :, shape.demand] + GREEDY_STAYS * current
        else:
            rule = PLANNED_STAYS * current - phases[:, :, shape.regret]
        most = np.where(selectable, rule, -np.inf).argmax(1)
        any_ = np.where(selectable, draws.order[part] + draws.stays[part] * current, -1.0).argmax(1)
        tried = np.where(draws.greedy[part], most, any_)
        return np.asarray(np.where(explores, tried, best), np.int64)

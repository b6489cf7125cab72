"""The replay buffer of decisions that were decisions: from one free choice of a signal to its next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from gymnasium import spaces
from stable_baselines3.common.buffers import ReplayBuffer

from agents.updates import free
from signals.observations import ObservationShape


@dataclass(frozen=True)
class Transitions:
    """[B, …] from one free choice of a signal to its next, on the learner's device."""

    observations: torch.Tensor
    actions: torch.Tensor
    """[B, 1] integers."""
    rewards: torch.Tensor
    """[B, 1] discounted sums."""
    discounts: torch.Tensor
    """[B, 1] of the value after them."""
    next_observations: torch.Tensor


class DecisionBuffer(ReplayBuffer):
    """Transitions of a semi-Markov decision process (Sutton, Precup, Singh 1999), of all signals in one ring.

    While a signal changes or holds its min green, one phase alone may be chosen. Such moments teach nothing about
    choosing, and their observations do not tell how much of the change is left. They are passed over: what is
    stored leads from one moment of choice to the next, with the discounted sum of the rewards between them and
    the discount that is left for the value after them.

    Args:
        n_envs: signals that are added at a time.
        shape: how a row of the observation is cut.
        gamma: discount per decision interval.
    """

    PENDING = ("open", "began", "chosen", "summed", "left")
    """The names of the arrays that hold what each signal has begun and not ended."""
    STORED = ("observations", "next_observations", "actions", "rewards", "discounts", "target_scores", "target_known")
    """Those of the transitions, and of what the target network says of the next observations: asked for again it
    would say the same but for rounding."""

    def __init__(
        self, buffer_size: int, observation_space: spaces.Space[Any], action_space: spaces.Space[Any],
        device: torch.device | str = "auto", n_envs: int = 1, *, shape: ObservationShape, gamma: float, **_: Any,
    ) -> None:  # fmt: skip
        super().__init__(
            buffer_size, observation_space, action_space, device, n_envs=1, handle_timeout_termination=False
        )
        self.shape, self.gamma = shape, gamma
        self.discounts = np.zeros((self.buffer_size, 1), np.float32)
        self.target_scores = np.zeros((self.buffer_size, shape.phases), np.float32)
        """What the target network says of each next observation, where it has been asked since it changed."""
        self.target_known = np.zeros(self.buffer_size, bool)
        self.added = 0
        """Transitions so far, those that have been overwritten included."""
        self.open = np.zeros(n_envs, bool)
        self.began = np.zeros((n_envs, shape.size), np.float32)
        self.chosen = np.zeros(n_envs, np.int64)
        self.summed = np.zeros(n_envs, np.float32)
        self.left = np.ones(n_envs, np.float32)

    def add(
        self, obs: npt.NDArray[Any], next_obs: npt.NDArray[Any], action: npt.NDArray[Any],
        reward: npt.NDArray[Any], done: npt.NDArray[Any], infos: list[dict[str, Any]],
    ) -> None:  # fmt: skip
        """One step of every signal.

        Args:
            next_obs: of a signal whose episode ended, its last observation. The horizon cuts an episode short and
                never ends it, so the value of that counts as well.
            infos: empty, or one of each signal; where "failed" is true in it nobody knows what came of the step, and
                what the signal has begun is let go.
        """
        failed = np.array([bool(info.get("failed")) for info in infos] or [False])  # [N], or [1] for all
        self.open &= ~failed
        begins = ~self.open & ~failed & free(obs, self.shape)
        self.began[begins], self.chosen[begins] = obs[begins], action.reshape(-1)[begins]
        self.summed[begins], self.left[begins] = 0.0, 1.0
        self.open |= begins
        self.summed += self.left * reward
        self.left *= self.gamma
        chooses = free(next_obs, self.shape)
        ends = (self.open & chooses).nonzero()[0]
        at = (self.pos + np.arange(ends.size)) % self.buffer_size
        self.observations[at, 0], self.next_observations[at, 0] = self.began[ends], next_obs[ends]
        self.actions[at, 0, 0], self.rewards[at, 0] = self.chosen[ends], self.summed[ends]
        self.discounts[at, 0], self.target_known[at] = self.left[ends], False
        self.added += ends.size
        self.full |= self.pos + ends.size >= self.buffer_size
        self.pos = (self.pos + ends.size) % self.buffer_size
        self.open &= ~(chooses | done.astype(bool))

    def draw(self, count: int) -> npt.NDArray[np.int64]:
        """Numbers of transitions, each as likely as the others."""
        return np.random.randint(0, self.buffer_size if self.full else self.pos, size=count)

    def transitions(self, drawn: npt.NDArray[np.int64]) -> Transitions:
        """Those of these numbers."""
        return Transitions(
            self._tensor(self.observations[drawn, 0]),
            self._tensor(self.actions[drawn, 0].astype(np.int64)),
            self._tensor(self.rewards[drawn]),
            self._tensor(self.discounts[drawn]),
            self._tensor(self.next_observations[drawn, 0]),
        )

    def without_target_scores(self, drawn: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Places in `drawn` of transitions whose next observation the target network has not scored."""
        return np.flatnonzero(~self.target_known[drawn])

    def remember_target_scores(self, drawn: npt.NDArray[np.int64], scores: torch.Tensor) -> None:
        """Keep what the target network says of these next observations; it says the same until it changes."""
        self.target_scores[drawn] = scores.cpu().numpy()
        self.target_known[drawn] = True

    def target_scores_of(self, drawn: npt.NDArray[np.int64]) -> torch.Tensor:
        """[B, P] what it has said."""
        return self._tensor(self.target_scores[drawn])

    def forget_target_scores(self) -> None:
        """The target network has changed."""
        self.target_known[:] = False

    def state(self) -> dict[str, Any]:
        """The filled part, in tensors and plain values."""
        filled = self.buffer_size if self.full else self.pos
        arrays = {name: torch.from_numpy(getattr(self, name)[:filled].copy()) for name in self.STORED}
        pending = {name: torch.from_numpy(getattr(self, name).copy()) for name in self.PENDING}
        return {"pos": self.pos, "full": self.full, "added": self.added, "arrays": arrays, "pending": pending}

    def load_state(self, state: dict[str, Any]) -> None:
        """The same back."""
        for name in self.STORED:
            saved = state["arrays"][name].numpy()
            getattr(self, name)[: len(saved)] = saved
        for name in self.PENDING:
            getattr(self, name)[:] = state["pending"][name].numpy()
        self.pos, self.full, self.added = state["pos"], state["full"], state["added"]

    def _tensor(self, array: npt.NDArray[Any]) -> torch.Tensor:
        return torch.from_numpy(array).to(self.device)

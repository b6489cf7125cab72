"""A rollout of all workers, each at its own pace, and the decisions in it that were decisions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt
import torch

from agents.network import PhaseScorer
from agents.vec_env import SignalsVecEnv

FloatArray = npt.NDArray[np.float32]


def gumbel(*shape: int) -> FloatArray:
    """Noise such that the largest of score plus noise is a draw from the softmax of the scores (Gumbel 1954)."""
    noise: FloatArray = -torch.empty(shape).exponential_().log_().numpy()
    return noise


class Rollout:
    """[T, N] decisions of all signals, T of each.

    A worker is asked again as soon as it has answered, so that the simulations compute while phases are chosen for
    the others. What is drawn does not depend on who answers first.

    Args:
        rows: [N, size] the observations to begin with; afterwards the last ones.
    """

    def __init__(self, env: SignalsVecEnv, actor: PhaseScorer, count: int, rows: FloatArray) -> None:
        self._env, self._scores, self.rows = env, actor.scoring(), rows
        signals, shape = env.num_envs, actor.shape
        self.observations = np.empty((count, signals, shape.size), np.float32)
        self.actions = np.empty((count, signals), np.int64)
        self.rewards = np.empty((count, signals), np.float32)
        self.ends = np.zeros((count, signals), bool)
        """Where the horizon cut an episode after the decision."""
        self.ended: list[list[dict[str, float]]] = []
        """Return and length of the episodes that ended with each decision, worker by worker."""
        self._noise = gumbel(count, signals, shape.phases)

    def __iter__(self) -> Iterator[int]:
        """The numbers of the decisions, each once all workers have taken it."""
        count, batch = len(self.actions), self._env.batch
        taken = [0] * len(batch.workers)
        ended: list[dict[int, dict[str, float]]] = [{} for _ in range(count)]
        for n in range(len(taken)):
            self._act(n, 0)
        for step in range(count):
            while min(taken) <= step:
                for turn, episode in self._env.receive(least=1):
                    n, at = turn.worker, taken[turn.worker]
                    part = batch.rows[n]
                    self.rewards[at, part] = turn.reward * self._env.reward_scale
                    self.rows[part] = batch.workers[n].shared["observation"]
                    self.ends[at, part] = turn.last is not None
                    if episode is not None:
                        ended[at][n] = episode
                    taken[n] += 1
                    if taken[n] < count:
                        self._act(n, taken[n])
            self.ended.append([episode for _, episode in sorted(ended[step].items())])
            yield step

    def _act(self, n: int, step: int) -> None:
        """Draw the phases of a worker's signals, and hand them over."""
        part = self._env.batch.rows[n]
        self.observations[step, part] = self.rows[part]
        scores = self._scores(self.rows[part])
        self.actions[step, part] = chosen = (scores + self._noise[step, part]).argmax(axis=1)
        self._env.send(n, chosen)


@dataclass(frozen=True)
class Moments:
    """[T, N] moments of all signals, in order."""

    observations: FloatArray
    """[T, N, size]"""
    actions: npt.NDArray[np.int64]
    rewards: FloatArray
    ends: npt.NDArray[np.bool_]
    """Whether the horizon cut an episode after the moment."""
    chosen: npt.NDArray[np.bool_]
    """Whether there was a choice of which nothing has been learned."""
    log_probs: FloatArray
    """Of the action when it was drawn; where `chosen`."""

    def after(self, earlier: Moments) -> Moments:
        """These, with the earlier ones before them."""
        pairs = ((getattr(earlier, f.name), getattr(self, f.name)) for f in fields(self))
        return Moments(*(np.concatenate(pair) for pair in pairs))

    def still_open(self, known: npt.NDArray[np.bool_], most: int) -> Moments:
        """The moments since the oldest choice whose outcome is still unknown: neither a later choice of the same
        signal has come, nor the end of its episode.

        Args:
            known: [T, N] the choices that something has come of.
            most: moments that are kept; of a signal that has had no choice for longer, the last one is given up.
        """
        count = len(self.actions)
        # whether an episode is cut at or after each moment
        cut = np.logical_or.accumulate(self.ends[::-1], axis=0)[::-1]
        waits = self.chosen & ~known & ~cut
        first = max(int(waits.any(axis=1).argmax()) if waits.any() else count, count - most)
        kept = {f.name: getattr(self, f.name)[first:] for f in fields(self)}
        return Moments(**{**kept, "chosen": waits[first:]})


@dataclass(frozen=True)
class Decisions:
    """[D] free choices, each up to the same signal's next one."""

    observations: torch.Tensor
    actions: torch.Tensor
    log_probs: torch.Tensor
    """Of each action when it was drawn."""
    advantages: torch.Tensor
    returns: torch.Tensor


def advantages(
    values: FloatArray, chosen: npt.NDArray[np.bool_], rewards: FloatArray, ends: npt.NDArray[np.bool_],
    gamma: float, gae_lambda: float,
) -> tuple[FloatArray, npt.NDArray[np.bool_]]:  # fmt: skip
    """Generalised advantages (Schulman et al. 2016) of a semi-Markov process (Sutton, Precup, Singh 1999).

    While a signal changes or holds its min green it has no choice, so that a decision lasts until the next free one:
    its reward is the discounted sum up to then. One that the end of the episode cut off is left out, as the value of
    a moment without a choice is not learned; so is one that is still open, which `Moments.still_open` keeps for the
    next rollout.

    Args:
        values: [T, N] of each moment; asked for where `chosen` only.
        chosen: [T, N] whether there was a choice.
        rewards: [T, N]
        ends: [T, N] whether an episode was cut after this moment.
        gamma: discount per moment.
        gae_lambda: per decision.

    Returns:
        [T, N] advantages, and whether there is one.
    """
    found, known = np.zeros_like(rewards), np.zeros_like(chosen)
    signals = rewards.shape[1]
    follows = np.zeros(signals, bool)  # whether a later choice of the same episode is known
    value, advantage = np.zeros(signals, np.float32), np.zeros(signals, np.float32)
    summed, left = np.zeros(signals, np.float32), np.ones(signals, np.float32)
    for t in range(len(rewards) - 1, -1, -1):
        follows &= ~ends[t]
        summed, left = rewards[t] + gamma * summed, gamma * left
        delta = summed + left * value - values[t]
        known[t] = chosen[t] & follows
        found[t] = np.where(known[t], delta + gae_lambda * left * advantage, 0.0)
        value, advantage = np.where(chosen[t], values[t], value), np.where(chosen[t], found[t], advantage)
        summed, left = np.where(chosen[t], 0.0, summed), np.where(chosen[t], 1.0, left)
        follows |= chosen[t]
    return found, known

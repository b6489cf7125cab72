"""PPO with masks, whose rollout no worker spends waiting for another one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecEnv

from agents.network import PhaseScorer
from agents.updates import TrainingDiverged, average_in
from agents.vec_env import SignalsVecEnv


class MaskedPPO(PPO):
    """PPO on all signals of all workers; the controller gets the mean of its late weights."""

    average: PhaseScorer
    averaging: float = 0.1
    """The least share of an update in that mean."""

    @property
    def actor(self) -> PhaseScorer:
        """The network that scores phases, as it is being learned."""
        actor = self.policy.mlp_extractor.actor
        assert isinstance(actor, PhaseScorer)
        return actor

    def collect_rollouts(
        self, env: VecEnv, callback: BaseCallback, rollout_buffer: RolloutBuffer, n_rollout_steps: int
    ) -> bool:
        """So many decisions of every signal.

        A worker is asked again as soon as it has answered, so that the simulations compute while phases are chosen
        for the others. What is drawn does not depend on who answers first. Values and probabilities are not needed
        until the end, and computed then for all at once.
        """
        assert isinstance(env, SignalsVecEnv)
        rollout_buffer.reset()
        callback.on_rollout_start()
        rollout = _Rollout(
            env, self.actor, rollout_buffer, np.array(self._last_obs), np.array(self._last_episode_starts)
        )
        for step in rollout.steps(n_rollout_steps):
            self.num_timesteps += env.num_envs
            env.finished += rollout.ended.pop(step, [])
            if not callback.on_step():
                return False
        self._last_obs, self._last_episode_starts = rollout.rows, rollout.begins
        with torch.no_grad():
            shape = rollout_buffer.values.shape
            observations = torch.from_numpy(rollout_buffer.observations).flatten(0, 1)
            actions = torch.from_numpy(rollout_buffer.actions).flatten()
            values, log_probs, _ = self.policy.evaluate_actions(observations, actions)
            rollout_buffer.values[:] = values.numpy().reshape(shape)
            rollout_buffer.log_probs[:] = log_probs.numpy().reshape(shape)
            # the horizon cuts an episode short and never ends it: what comes after it counts
            for step, part, last in rollout.cut:
                after = self.policy.predict_values(torch.from_numpy(last))
                rollout_buffer.rewards[step, part] += self.gamma * after.numpy()[:, 0]
            last_values = self.policy.predict_values(torch.from_numpy(rollout.rows))
        rollout_buffer.compute_returns_and_advantage(last_values=last_values, dones=rollout.begins)
        callback.on_rollout_end()
        return True

    def train(self) -> None:
        """One update over the rollout.

        Raises:
            TrainingDiverged: a parameter is no finite number.
        """
        super().train()
        if not all(bool(torch.isfinite(p).all()) for p in self.policy.parameters()):
            raise TrainingDiverged(
                f"a parameter is not finite after {self.num_timesteps} steps; lower learning_rate or reward_scale"
            )
        average_in(
            self.average.parameters(), self.actor.parameters(), self.averaging, self._n_updates // self.n_epochs
        )


class _Rollout:
    """Every worker at its own pace, up to the same number of decisions; what comes goes to the buffer's arrays."""

    def __init__(
        self, env: SignalsVecEnv, actor: PhaseScorer, buffer: RolloutBuffer,
        rows: npt.NDArray[np.float32], begins: npt.NDArray[Any],
    ) -> None:  # fmt: skip
        self._env, self._actor, self._buffer = env, actor, buffer
        self.rows, self.begins = rows, begins
        """[N, size] the present observations, and [N] whether an episode begins with them."""
        self.cut: list[tuple[int, slice, npt.NDArray[np.float32]]] = []
        """Where episodes were cut: the step, whose signals, and their last observations."""
        self.ended: dict[int, list[dict[str, float]]] = {}
        """Episodes by the step that ended them, worker by worker."""

    def steps(self, count: int) -> Iterator[int]:
        """The numbers of the steps, each once all workers have taken it."""
        workers, buffer = range(len(self._env.workers)), self._buffer
        noise = torch.empty(count, self._env.num_envs, self._actor.encoder.shape.phases)
        # the largest of score plus such noise is a draw from the softmax of the scores (Gumbel 1954)
        self._noise = -noise.exponential_().log_().numpy()
        taken = [0 for _ in workers]
        ended: dict[int, dict[int, dict[str, float]]] = {}
        for n in workers:
            self._act(n, 0)
        for step in range(count):
            while min(taken) <= step:
                for turn, episode in self._env.receive(least=1):
                    n, part = turn.worker, self._env.batch.rows[turn.worker]
                    at = taken[n]
                    taken[n] += 1
                    buffer.rewards[at, part] = turn.reward * self._env.reward_scale
                    self.rows[part] = self._env.workers[n].shared["observation"]
                    self.begins[part] = turn.last is not None
                    if turn.last is not None:
                        self.cut.append((at, part, turn.last))
                    if episode is not None:
                        ended.setdefault(at, {})[n] = episode
                    if taken[n] < count:
                        self._act(n, taken[n])
            self.ended[step] = [episode for _, episode in sorted(ended.pop(step, {}).items())]
            yield step
        buffer.pos, buffer.full = count, True

    def _act(self, n: int, step: int) -> None:
        """Choose the phases of a worker's signals, and hand them over."""
        part, buffer = self._env.batch.rows[n], self._buffer
        rows = self.rows[part]
        buffer.observations[step, part], buffer.episode_starts[step, part] = rows, self.begins[part]
        with torch.no_grad():
            scores = self._actor(torch.from_numpy(rows)).numpy()
        actions = (scores + self._noise[step, part]).argmax(axis=1)
        buffer.actions[step, part, 0] = actions
        self._env.send(n, actions)

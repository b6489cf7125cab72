"""Double DQN with masks, which learns from free choices, while the simulations run."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from stable_baselines3 import DQN
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.type_aliases import RolloutReturn, TrainFreq
from stable_baselines3.common.vec_env import VecEnv
from torch import nn
from torch.nn import functional

from agents.network import CURRENT, GREEDY_STAYS, SELECTABLE, PhaseScorer
from agents.replay import DecisionBuffer
from agents.steps import DQNStep, quick
from agents.updates import TrainingDiverged, average_in, share_of
from signals.observations import ObservationShape

RANDOM_STAYS = 0.75
"""Share of the uniform explorer's decisions that keep the current green: a mean of four decisions."""


class MaskedDoubleDQN(DQN):
    """DQN with van Hasselt's double target, masked exploration, and a part of it greedy."""

    shape: ObservationShape
    greedy_exploration: float = 0.5
    explorer: np.random.Generator
    average: PhaseScorer
    """The network with the mean of its late weights: what a controller gets."""
    averaging: float = 0.001
    due_steps: int = 0
    """Gradient steps that wait for the next decision: they are taken while the simulations run."""
    _to_store: tuple[Any, ...] | None = None
    _learned_from: int = 0
    """Transitions that the buffer had been given at the last training."""
    _compiled: DQNStep | None = None
    _scores: Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]] | None = None

    def collect_rollouts(
        self, env: VecEnv, callback: BaseCallback, train_freq: TrainFreq, replay_buffer: ReplayBuffer,
        action_noise: Any = None, learning_starts: int = 0, log_interval: int | None = None,
    ) -> RolloutReturn:  # fmt: skip
        """So many decisions of every signal, stored: as SB3 does it, without its loop over all environments."""
        del action_noise, log_interval, replay_buffer  # which is this agent's own
        callback.on_rollout_start()
        for _ in range(train_freq.frequency):
            rows = np.asarray(self._last_obs)
            chosen = self._choose(rows, learning_starts)
            new_rows, rewards, dones, infos = env.step(chosen)
            self.store()  # where nobody did so meanwhile
            self.num_timesteps += env.num_envs
            if not callback.on_step():
                return RolloutReturn(env.num_envs, 0, continue_training=False)
            following = np.asarray(new_rows)
            if dones.any():  # by then they are the first observations of the next episode
                following = following.copy()
                for n in dones.nonzero()[0].tolist():
                    following[n] = infos[n]["terminal_observation"]
            self._to_store = (rows, following, chosen, rewards, dones, infos)
            self._last_obs = np.asarray(new_rows)
            self._update_current_progress_remaining(self.num_timesteps, self._total_timesteps)
            self._on_step()
        callback.on_rollout_end()
        return RolloutReturn(train_freq.frequency * env.num_envs, 0, continue_training=True)

    def _choose(self, rows: npt.NDArray[Any], learning_starts: int) -> npt.NDArray[np.int64]:
        rate = 1.0 if self.num_timesteps < learning_starts else self.exploration_rate
        if self._scores is None:
            assert isinstance(self.q_net.q_net, PhaseScorer)
            self._scores = self.q_net.q_net.scoring()
        chosen: npt.NDArray[np.int64] = self._scores(rows).argmax(axis=1)
        explore = self.explorer.random(len(rows)) < rate
        return np.where(explore, self._explore(rows), chosen) if explore.any() else chosen

    def _explore(self, rows: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
        shape = self.shape
        phases = rows[:, : shape.phases * shape.phase_features].reshape(len(rows), shape.phases, -1)
        selectable = phases[:, :, SELECTABLE] > 0.5
        current = phases[:, :, CURRENT]
        most = np.where(selectable, phases[:, :, shape.demand] + GREEDY_STAYS * current, -1.0).argmax(1)
        # every switch costs a change interval: who draws anew each time sees little but its own queues
        stays = self.explorer.random((len(rows), 1)) < RANDOM_STAYS
        any_ = np.where(selectable, self.explorer.random(selectable.shape) + stays * current, -1.0).argmax(1)
        greedy = self.explorer.random(len(rows)) < self.greedy_exploration
        return np.asarray(np.where(greedy, most, any_), np.int64)

    def train(self, gradient_steps: int, batch_size: int = 100) -> None:
        """Note that gradient steps are due. The next decision is made without them, so that they and the
        simulations, which wait for nobody then, take their time together and not one after the other."""
        del batch_size
        self.due_steps = gradient_steps

    def store(self) -> None:
        """Put the last decisions into the replay buffer: nobody needs them before the next gradient step, so that the
        next decisions come first."""
        if self._to_store is not None:
            assert self.replay_buffer is not None
            self.replay_buffer.add(*self._to_store)
            self._to_store = None

    def train_due(self) -> None:
        """The gradient steps that are due, on the double-DQN target, after what was left to store.

        Raises:
            TrainingDiverged: the loss is no finite number.
        """
        self.store()
        gradient_steps, self.due_steps = self.due_steps, 0
        if not gradient_steps:
            return
        self._update_learning_rate(self.policy.optimizer)
        assert isinstance(self.replay_buffer, DecisionBuffer)
        if self.replay_buffer.added == self._learned_from:  # nobody has had a choice since: there is nothing new
            return
        self._learned_from = self.replay_buffer.added
        losses = []
        for _ in range(gradient_steps):
            losses.append(self._gradient_step())
            if not math.isfinite(losses[-1]):
                raise TrainingDiverged(
                    f"the loss is {losses[-1]} after {self.num_timesteps} steps; lower learning_rate or reward_scale"
                )
            self._n_updates += 1
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")
        self.logger.record("train/loss", sum(losses) / len(losses))

    def _gradient_step(self) -> float:
        """One step, into the running mean, too; its loss. Where that is not finite nothing is changed."""
        online, target_net, buffer = self.q_net.q_net, self.q_net_target.q_net, self.replay_buffer
        assert isinstance(online, PhaseScorer)
        assert isinstance(target_net, PhaseScorer)
        assert isinstance(buffer, DecisionBuffer)
        if quick(online, target_net):
            if self._compiled is None:
                self._compiled = DQNStep(online, target_net, self.average, self.policy.optimizer, buffer)
            share = share_of(self._n_updates + 1, self.averaging)
            return self._compiled(buffer.draw(self.batch_size), self.max_grad_norm, share)
        batch = buffer.sample(self.batch_size)
        with torch.no_grad():
            best = online(batch.next_observations).argmax(dim=1, keepdim=True)
            value = target_net(batch.next_observations).gather(1, best)
            target = batch.rewards + batch.discounts * value
        estimate = online(batch.observations).gather(1, batch.actions.long())
        loss = functional.smooth_l1_loss(estimate, target)
        if torch.isfinite(loss):
            weights = list(online.parameters())
            self.policy.optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(weights, self.max_grad_norm)
            self.policy.optimizer.step()
            average_in(self.average.parameters(), weights, self.averaging, self._n_updates + 1)
        return loss.item()

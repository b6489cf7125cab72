"""PPO with masks, which learns from free choices."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor, nn
from torch.nn import functional

from agents.network import PhaseScorer, StateValue
from agents.rollout import Decisions, Rollout, advantages
from agents.steps import PPOStep, quick
from agents.updates import TrainingDiverged, average_in, free
from agents.vec_env import SignalsVecEnv


class MaskedPPO(PPO):
    """PPO on all signals of all workers; the controller gets the mean of its late weights."""

    average: PhaseScorer
    averaging: float = 0.1
    """The least share of an update in that mean."""
    decisions: Decisions
    """Those of the last rollout."""

    @property
    def actor(self) -> PhaseScorer:
        """The network that scores phases, as it is being learned."""
        actor = self.policy.mlp_extractor.actor
        assert isinstance(actor, PhaseScorer)
        return actor

    @property
    def critic(self) -> StateValue:
        """The network that values situations."""
        critic = self.policy.mlp_extractor.critic
        assert isinstance(critic, StateValue)
        return critic

    def collect_rollouts(
        self, env: VecEnv, callback: BaseCallback, rollout_buffer: RolloutBuffer, n_rollout_steps: int
    ) -> bool:
        """So many moments of every signal. Values and probabilities are computed at the end, for all at once."""
        del rollout_buffer
        assert isinstance(env, SignalsVecEnv)
        callback.on_rollout_start()
        rollout = Rollout(env, self.actor, n_rollout_steps, np.array(self._last_obs))
        for step in rollout:
            self.num_timesteps += env.num_envs
            env.finished += rollout.ended[step]
            if not callback.on_step():
                return False
        self._last_obs, self._last_episode_starts = rollout.rows, rollout.ends[-1]
        self.decisions = self._decisions(rollout)
        callback.on_rollout_end()
        return True

    def _decisions(self, rollout: Rollout) -> Decisions:
        chosen = free(rollout.observations, self.actor.encoder.shape)
        values = np.zeros(chosen.shape, np.float32)
        with torch.no_grad():
            values[chosen] = self.critic(torch.from_numpy(rollout.observations[chosen])).numpy()[:, 0]
            found, known = advantages(
                values, chosen, rollout.rewards, rollout.ends, float(self.gamma), float(self.gae_lambda)
            )
            observations = torch.from_numpy(rollout.observations[known])
            actions = torch.from_numpy(rollout.actions[known])
            log_probs, _ = _log_probs(self.actor(observations), actions)
        returns = torch.from_numpy(found[known] + values[known])
        return Decisions(observations, actions, log_probs, torch.from_numpy(found[known]), returns)

    def train(self) -> None:
        """One update over the rollout: the clipped objective of Schulman et al. 2017.

        Raises:
            TrainingDiverged: a parameter is no finite number.
        """
        self._update_learning_rate(self.policy.optimizer)
        clip = self.clip_range(self._current_progress_remaining)  # type: ignore[operator]
        weights, losses = list(self.policy.parameters()), []
        step = self._compiled_step(clip) if quick(self.actor, self.critic) else None
        for _ in range(self.n_epochs):
            for part in self._parts():
                losses.append(step(part, self.max_grad_norm) if step else self._gradient_step(part, clip))
            self._n_updates += 1
        if not all(bool(torch.isfinite(weight).all()) for weight in weights):
            raise TrainingDiverged(
                f"a parameter is not finite after {self.num_timesteps} steps; lower learning_rate or reward_scale"
            )
        count = self._n_updates // self.n_epochs
        average_in(self.average.parameters(), self.actor.parameters(), self.averaging, count)
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")
        if losses:
            self.logger.record("train/loss", float(np.mean(losses)))

    def _compiled_step(self, clip: float) -> PPOStep:
        d = self.decisions
        decisions = (d.observations, d.actions, d.log_probs, d.advantages, d.returns)
        return PPOStep(
            self.actor, self.critic, self.policy.optimizer, decisions, clip, float(self.ent_coef), float(self.vf_coef)
        )

    def _gradient_step(self, part: Tensor, clip: float) -> float:
        """One step on the decisions of these numbers; its loss."""
        batch = self.decisions
        advantage = batch.advantages[part]
        if len(part) > 1:
            advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
        observations = batch.observations[part]
        log_probs, entropy = _log_probs(self.actor(observations), batch.actions[part])
        ratio = (log_probs - batch.log_probs[part]).exp()
        gain = torch.min(advantage * ratio, advantage * ratio.clamp(1.0 - clip, 1.0 + clip)).mean()
        misvalued = functional.mse_loss(self.critic(observations).flatten(), batch.returns[part])
        loss: Tensor = self.vf_coef * misvalued - gain - self.ent_coef * entropy.mean()
        self.policy.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(list(self.policy.parameters()), self.max_grad_norm)
        self.policy.optimizer.step()
        return loss.item()

    def _parts(self) -> Iterator[Tensor]:
        """The decisions in a random order, in parts of about the batch's size."""
        count = len(self.decisions.actions)
        if count:  # else nobody had a choice
            yield from torch.randperm(count).chunk(max(1, round(count / self.batch_size)))


def _log_probs(scores: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
    """[B] of the actions, and [B] the entropy, of distributions with these scores [B, P]."""
    every = scores.log_softmax(dim=1)
    return every.gather(1, actions.unsqueeze(1)).squeeze(1), -(every.exp() * every).sum(dim=1)

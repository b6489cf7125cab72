"""PPO with masks, which learns from free choices."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import fields
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor, nn
from torch.nn import functional

from agents.learner import SB3Learner, State, shared_arguments
from agents.network import Encoder, PhaseScorer, StateValue
from agents.policies import PhaseActorCriticPolicy
from agents.rollout import Decisions, Moments, Rollout, advantages
from agents.settings import PPOSettings, start_of
from agents.updates import average_in, free, require_finite
from agents.vec_env import SignalsVecEnv
from signals.observations import ObservationShape

LEAST_MOMENTS = 16
"""Decisions of each signal in a rollout, at least: a switch to another phase takes two or three, and of fewer than a
handful of choices the critic's opinion is nearly all that advantages show."""


class MaskedPPO(SB3Learner, PPO):
    """PPO on all signals of all workers; the controller gets the mean of its late weights."""

    Settings = PPOSettings
    probabilities = True
    average: PhaseScorer
    averaging: float = 0.1
    """The least weight of an update in that mean."""
    decisions: Decisions
    """What is learned from at the next update."""
    carried: Moments | None = None
    """The end of the last rollout, since the oldest choice whose outcome is still unknown."""

    @classmethod
    def network(cls, settings: PPOSettings, shape: ObservationShape, encoder: type[Encoder]) -> PhaseScorer:
        """The phase scorer, whose scores are log-odds."""
        return PhaseScorer(shape, settings.units, encoder)

    @classmethod
    def make(
        cls, settings: PPOSettings, env: SignalsVecEnv, *, seed: int, device: str, encoder: type[Encoder]
    ) -> Self:  # fmt: skip
        """See `Learner.make`."""
        steps = max(LEAST_MOMENTS, round(settings.rollout / env.num_envs))
        learner = cls(
            PhaseActorCriticPolicy,
            **shared_arguments(settings, env, seed, device, encoder, optimizer_kwargs={"eps": 1e-5, "fused": True}),
            max_grad_norm=settings.max_grad_norm,
            batch_size=min(settings.batch_size, steps * env.num_envs),
            n_steps=steps,
            n_epochs=settings.n_epochs,
            gae_lambda=settings.gae_lambda,
            clip_range=settings.clip_range,
            ent_coef=settings.ent_coef,
            vf_coef=settings.vf_coef,
        )
        if (strength := start_of(settings, env.shape)) > 0:
            learner.actor.begin_as_rule(strength)
        learner.average, learner.averaging = copy.deepcopy(learner.actor), 1.0 / settings.averaging_updates
        return learner

    @property
    def actor(self) -> PhaseScorer:
        """The network that scores phases, as it is learned."""
        actor = self.policy.mlp_extractor.actor
        assert isinstance(actor, PhaseScorer)
        return actor

    @property
    def critic(self) -> StateValue:
        """The network that values situations."""
        critic = self.policy.mlp_extractor.critic
        assert isinstance(critic, StateValue)
        return critic

    def networks(self) -> list[nn.Module]:
        """The averaged one and the actor."""
        return [self.average, self.actor]

    def state(self) -> State:
        """As of every learner, with the average and the open choices."""
        carried = {} if self.carried is None else {f.name: getattr(self.carried, f.name) for f in fields(Moments)}
        tensors = {name: torch.from_numpy(array.copy()) for name, array in carried.items()}
        return {**super().state(), "average": self.average.state_dict(), "carried": tensors}

    def load_state(self, state: State) -> None:
        """The same back."""
        super().load_state(state)
        self.average.load_state_dict(state["average"])
        arrays = {name: tensor.numpy() for name, tensor in state["carried"].items()}
        self.carried = Moments(**arrays) if arrays else None

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
        self._take(rollout)
        callback.on_rollout_end()
        return True

    def _take(self, rollout: Rollout) -> None:
        """The rollout's decisions, and those of the one before that have come to an end in it."""
        chosen = free(rollout.observations, self.actor.shape)
        log_probs = np.zeros(chosen.shape, np.float32)
        with torch.no_grad():
            observations, actions = self._tensor(rollout.observations[chosen]), self._tensor(rollout.actions[chosen])
            log_probs[chosen] = _log_probs(self.actor(observations), actions)[0].cpu().numpy()
        moments = Moments(rollout.observations, rollout.actions, rollout.rewards, rollout.ends, chosen, log_probs)
        if self.carried is not None:
            moments = moments.after(self.carried)
        values = np.zeros(moments.chosen.shape, np.float32)
        with torch.no_grad():
            seen = self._tensor(moments.observations[moments.chosen])
            values[moments.chosen] = self.critic(seen).cpu().numpy()[:, 0]
        found, known = advantages(
            values, moments.chosen, moments.rewards, moments.ends, float(self.gamma), float(self.gae_lambda)
        )
        self.decisions = Decisions(
            self._tensor(moments.observations[known]),
            self._tensor(moments.actions[known]),
            self._tensor(moments.log_probs[known]),
            self._tensor(found[known]),
            self._tensor(found[known] + values[known]),
        )
        self.carried = moments.still_open(known, most=len(rollout.actions))

    def train(self) -> None:
        """One update over the rollout: the clipped objective of Schulman et al. 2017.

        Raises:
            TrainingDiverged: a parameter is no finite number.
        """
        self._update_learning_rate(self.policy.optimizer)
        clip = self.clip_range(self._current_progress_remaining)  # type: ignore[operator]
        losses = []
        for _ in range(self.n_epochs):
            losses += [self._gradient_step(part, clip) for part in self._parts()]
            self._n_updates += 1
        require_finite(self.policy, self.num_timesteps)
        count = self._n_updates // self.n_epochs
        average_in(self.average.parameters(), self.actor.parameters(), self.averaging, count)
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")
        if losses:
            self.logger.record("train/loss", float(np.mean(losses)))

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
        value_loss = functional.mse_loss(self.critic(observations).flatten(), batch.returns[part])
        loss: Tensor = self.vf_coef * value_loss - gain - self.ent_coef * entropy.mean()
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

    def _tensor(self, array: npt.NDArray[Any]) -> Tensor:
        return torch.from_numpy(array).to(self.device)


def _log_probs(scores: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
    """[B] of the actions, and [B] the entropy, of distributions with these scores [B, P]."""
    every = scores.log_softmax(dim=1)
    return every.gather(1, actions.unsqueeze(1)).squeeze(1), -(every.exp() * every).sum(dim=1)

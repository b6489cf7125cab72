"""DQN and PPO of Stable-Baselines3 with the phase network, and with masks in exploration, target and policy.

The mask is part of the observation and applied inside the network, so that whatever asks the network for a phase
(the greedy policy, the target's maximum, PPO's distribution, an exported graph) sees only phases that may be
chosen.
"""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.type_aliases import Schedule
from stable_baselines3.dqn.policies import DQNPolicy, QNetwork
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import get_ema_multi_avg_fn

from agents.network import CURRENT, SELECTABLE, PhaseScorer, StateValue
from agents.replay import DecisionBuffer
from agents.settings import AgentSettings, DQNSettings, PPOSettings
from agents.vec_env import SignalsVecEnv
from signals.observations import ObservationShape

RANDOM_STAYS = 0.75
"""Share of the uniform explorer's decisions that keep the current green: a mean of four decisions."""
GREEDY_STAYS = 0.2
"""By how much, as a scaled count of vehicles, another phase must be ahead for the greedy explorer to switch."""


class TrainingDiverged(RuntimeError):
    """A number became infinite or undefined; the message says which and when."""


class PhaseQNetwork(QNetwork):
    """SB3's Q-network with the phase scorer inside."""

    def __init__(self, *args: Any, shape: ObservationShape, units: int, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.q_net = PhaseScorer(shape, units, quick=True)  # type: ignore[assignment]


class PhaseDQNPolicy(DQNPolicy):
    """SB3's DQN policy with the phase scorer."""

    def __init__(self, *args: Any, shape: ObservationShape, units: int = 64, **kwargs: Any) -> None:
        self._shape, self._units = shape, units
        super().__init__(*args, **kwargs)

    def make_q_net(self) -> QNetwork:
        """The online or the target network."""
        arguments = self._update_features_extractor(self.net_args, features_extractor=None)
        return PhaseQNetwork(**arguments, shape=self._shape, units=self._units).to(self.device)


class _ActorCritic(nn.Module):
    """What SB3 calls the MLP extractor: here it gives the masked logits and the value themselves."""

    def __init__(self, shape: ObservationShape, units: int) -> None:
        super().__init__()
        self.latent_dim_pi, self.latent_dim_vf = shape.phases, 1
        self.actor = PhaseScorer(shape, units, quick=True)
        self.critic = StateValue(shape, units, quick=True)

    def forward(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and values."""
        return self.actor(rows), self.critic(rows)

    def forward_actor(self, rows: Tensor) -> Tensor:
        """Logits."""
        result: Tensor = self.actor(rows)
        return result

    def forward_critic(self, rows: Tensor) -> Tensor:
        """Values."""
        result: Tensor = self.critic(rows)
        return result


class PhaseActorCriticPolicy(ActorCriticPolicy):
    """SB3's actor-critic policy whose actor scores phases."""

    def __init__(self, *args: Any, shape: ObservationShape, units: int = 64, **kwargs: Any) -> None:
        self._shape, self._units = shape, units
        super().__init__(*args, **kwargs)

    def _build_mlp_extractor(self) -> None:
        self.mlp_extractor = _ActorCritic(self._shape, self._units)  # type: ignore[assignment]

    def _build(self, lr_schedule: Schedule) -> None:
        self._build_mlp_extractor()
        self.action_net, self.value_net = nn.Identity(), nn.Identity()  # type: ignore[assignment]
        self.optimizer = torch.optim.Adam(self.parameters(), lr=lr_schedule(1), eps=1e-5, fused=True)


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
    _learned_from: int = 0
    """Transitions that the buffer had been given at the last training."""

    def _sample_action(
        self, learning_starts: int, action_noise: Any = None, n_envs: int = 1
    ) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        rows = np.asarray(self._last_obs)
        rate = 1.0 if self.num_timesteps < learning_starts else self.exploration_rate
        chosen, _ = self.policy.predict(rows, deterministic=True)
        explore = self.explorer.random(n_envs) < rate
        if explore.any():
            chosen = np.where(explore, self._explore(rows), chosen)
        return chosen, chosen

    def _store_transition(
        self, replay_buffer: ReplayBuffer, buffer_action: npt.NDArray[Any], new_obs: Any, reward: npt.NDArray[Any],
        dones: npt.NDArray[Any], infos: list[dict[str, Any]],
    ) -> None:  # fmt: skip
        """As SB3 does, but without its loop over all environments and its deep copy."""
        following = np.asarray(new_obs)
        if dones.any():  # by then new_obs holds the first observations of the next episode
            following = following.copy()
            for n in dones.nonzero()[0].tolist():
                following[n] = infos[n]["terminal_observation"]
        replay_buffer.add(np.asarray(self._last_obs), following, buffer_action, reward, dones, infos)
        self._last_obs = new_obs

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

    def train_due(self) -> None:
        """The gradient steps that are due, on the double-DQN target.

        Raises:
            TrainingDiverged: the loss is no finite number.
        """
        gradient_steps, self.due_steps = self.due_steps, 0
        if not gradient_steps:
            return
        self._update_learning_rate(self.policy.optimizer)
        losses = []
        weights, means = list(self.q_net.q_net.parameters()), list(self.average.parameters())
        assert isinstance(self.replay_buffer, DecisionBuffer)
        if self.replay_buffer.added == self._learned_from:  # nobody has had a choice since: there is nothing new
            return
        self._learned_from = self.replay_buffer.added
        for _ in range(gradient_steps):
            batch = self.replay_buffer.sample(self.batch_size)
            with torch.no_grad():
                best = self.q_net(batch.next_observations).argmax(dim=1, keepdim=True)
                value = self.q_net_target(batch.next_observations).gather(1, best)
                target = batch.rewards + batch.discounts * value
            estimate = self.q_net(batch.observations).gather(1, batch.actions.long())
            loss = functional.smooth_l1_loss(estimate, target)
            losses.append(loss.item())
            if not math.isfinite(losses[-1]):
                raise TrainingDiverged(
                    f"the loss is {losses[-1]} after {self.num_timesteps} steps; lower learning_rate or reward_scale"
                )
            self.policy.optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(weights, self.max_grad_norm)
            self.policy.optimizer.step()
            self._n_updates += 1
            average_in(means, weights, self.averaging, self._n_updates)
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")
        self.logger.record("train/loss", float(np.mean(losses)))


class MaskedPPO(PPO):
    """PPO that stops with a reason when its parameters are no numbers any more."""

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


def average_in(means: list[nn.Parameter], weights: list[nn.Parameter], share: float, count: int) -> None:
    """Take the `count`-th set of weights into the running mean, with a share of at least `share`: at the beginning it
    is the mean of all there are, so that it never holds on to random weights."""
    get_ema_multi_avg_fn(1.0 - max(share, 1.0 / count))(means, weights, count)  # type: ignore[no-untyped-call]


Learner = MaskedDoubleDQN | MaskedPPO


def make_learner(settings: AgentSettings, env: SignalsVecEnv, seed: int, tensorboard: str | None) -> Learner:
    """The agent on an environment; everything random in it follows from `seed`."""
    shape = env.workers[0].setup.observation_shape
    policy: dict[str, Any] = {"shape": shape, "units": settings.units}
    common: dict[str, Any] = {
        "env": env,
        "seed": seed,
        "device": "cpu",
        "learning_rate": linear(settings.learning_rate, settings.learning_rate_end),
        "gamma": settings.gamma,
        "max_grad_norm": settings.max_grad_norm,
        "batch_size": settings.batch_size,
        "policy_kwargs": policy,
        "tensorboard_log": tensorboard,
    }
    if isinstance(settings, PPOSettings):
        steps = max(1, round(settings.rollout / env.num_envs))
        common["batch_size"] = min(settings.batch_size, steps * env.num_envs)
        return MaskedPPO(
            PhaseActorCriticPolicy,
            **common,
            n_steps=steps,
            n_epochs=settings.n_epochs,
            gae_lambda=settings.gae_lambda,
            clip_range=settings.clip_range,
            ent_coef=settings.ent_coef,
            vf_coef=settings.vf_coef,
        )
    assert isinstance(settings, DQNSettings)
    common["policy_kwargs"]["optimizer_kwargs"] = {"fused": True}
    learner = MaskedDoubleDQN(
        PhaseDQNPolicy,
        **common,
        buffer_size=settings.buffer_size,
        replay_buffer_class=DecisionBuffer,
        replay_buffer_kwargs={"shape": shape, "gamma": settings.gamma},
        learning_starts=settings.learning_starts,
        train_freq=settings.train_freq,
        gradient_steps=settings.gradient_steps,
        # SB3 counts vector steps here; one gradient step follows each
        target_update_interval=settings.target_update_interval * env.num_envs,
        exploration_fraction=settings.exploration_fraction,
        exploration_initial_eps=settings.exploration_start,
        exploration_final_eps=settings.exploration_end,
    )
    learner.shape = shape
    learner.average = copy.deepcopy(learner.q_net.q_net)  # type: ignore[assignment]
    learner.averaging = 1.0 / settings.averaging_steps
    learner.greedy_exploration = settings.greedy_exploration
    learner.explorer = np.random.default_rng([seed, 0xE])
    env.meanwhile = learner.train_due
    return learner


def linear(start: float, end: float) -> Schedule:
    """From `start` to `end` as the remaining share of the training goes from 1 to 0."""

    def rate(remaining: float) -> float:
        return end + (start - end) * remaining

    return rate

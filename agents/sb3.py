"""Algorithms of Stable-Baselines3 and sb3-contrib as they come, with the phase networks and the environment of here.

They learn from every moment, those without a choice included. Unlike `agents.dqn` and `agents.ppo` they wait for the
slowest simulation at each step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import torch
from sb3_contrib import QRDQN, TRPO, MaskablePPO
from sb3_contrib.common.maskable.policies import MaskableActorCriticPolicy
from sb3_contrib.qrdqn.policies import QRDQNPolicy, QuantileNetwork
from stable_baselines3 import A2C
from torch import Tensor, nn

from agents.learner import SB3Learner, State, off_policy_arguments, shared_arguments
from agents.network import Encoder, PhaseScorer
from agents.policies import PhaseActorCritic, PhaseActorCriticPolicy
from agents.settings import ActorCriticSettings, ClippedSettings, ValueSettings, setting, start_of
from agents.updates import selectable
from agents.vec_env import SignalsVecEnv
from signals.observations import ObservationShape


@dataclass(frozen=True)
class A2CSettings(ActorCriticSettings):
    """Advantage actor-critic (Mnih et al. 2016); defaults of Stable-Baselines3 where nothing else is said."""

    n_steps: int = setting(16, least=2, most=100_000)
    """Decisions of each signal between two updates; a change of phase takes two or three."""
    ent_coef: float = setting(0.005, least=0.0)
    vf_coef: float = setting(0.5, least=0.0)
    max_grad_norm: float = 0.5


@dataclass(frozen=True)
class MaskablePPOSettings(ClippedSettings):
    """PPO with invalid-action masking (Huang & Ontañón 2022), as in sb3-contrib."""


@dataclass(frozen=True)
class TRPOSettings(ActorCriticSettings):
    """Trust region policy optimisation (Schulman et al. 2015), as in sb3-contrib."""

    learning_rate: float = 1e-3
    """Of the critic."""
    rollout: int = setting(1440, least=2, most=10_000_000)
    batch_size: int = setting(120, least=2, most=1_000_000)
    target_kl: float = 0.01


@dataclass(frozen=True)
class QRDQNSettings(ValueSettings):
    """Quantile regression DQN (Dabney et al. 2018), as in sb3-contrib, with masks."""

    quantiles: int = setting(25, most=1000)


class OnPolicyLearner(SB3Learner):
    """What the actor-critic algorithms have in common."""

    probabilities = True
    POLICY: ClassVar[type]

    @classmethod
    def network(cls, settings: Any, shape: ObservationShape, encoder: type[Encoder]) -> nn.Module:
        """The phase scorer, whose scores are log-odds."""
        return PhaseScorer(shape, settings.units, encoder)

    @classmethod
    def make(cls, settings: Any, env: SignalsVecEnv, *, seed: int, device: str, encoder: type[Encoder]) -> Self:
        """See `Learner.make`."""
        own: dict[str, Any] = {
            name: getattr(settings, name)
            for name in ("batch_size", "n_epochs", "clip_range", "ent_coef", "vf_coef", "max_grad_norm", "target_kl")
            if hasattr(settings, name)
        }
        steps = getattr(settings, "n_steps", 0) or max(16, round(settings.rollout / env.num_envs))
        if "batch_size" in own:
            own["batch_size"] = min(own["batch_size"], steps * env.num_envs)
        construct: Any = cls
        made: Any = construct(
            cls.POLICY,
            **shared_arguments(settings, env, seed, device, encoder),
            gae_lambda=settings.gae_lambda,
            n_steps=steps,
            **own,
        )
        if (strength := start_of(settings, env.shape)) > 0:
            actor: PhaseScorer = made.policy.mlp_extractor.actor
            actor.begin_as_rule(strength)
        learner: Self = made
        return learner


class A2CLearner(OnPolicyLearner, A2C):
    """A2C with the phase network."""

    Settings = A2CSettings
    POLICY = PhaseActorCriticPolicy


class TRPOLearner(OnPolicyLearner, TRPO):
    """TRPO with the phase network."""

    Settings = TRPOSettings
    POLICY = PhaseActorCriticPolicy


class _MaskablePolicy(PhaseActorCritic, MaskableActorCriticPolicy):
    """sb3-contrib's maskable policy whose actor scores phases."""


class MaskablePPOLearner(OnPolicyLearner, MaskablePPO):
    """Maskable PPO with the phase network."""

    Settings = MaskablePPOSettings
    POLICY = _MaskablePolicy


class _QuantileHead(nn.Module):
    """The phase scorer with a distribution per phase, in the order that sb3-contrib has it."""

    def __init__(self, scorer: PhaseScorer) -> None:
        super().__init__()
        self.scorer = scorer

    def forward(self, rows: Tensor) -> Tensor:
        """[B, quantiles x P]"""
        quantiles: Tensor = self.scorer(rows)
        return quantiles.transpose(1, 2).flatten(1)


class _QRDQNPolicy(QRDQNPolicy):
    """sb3-contrib's QR-DQN policy with the phase network."""

    def __init__(
        self, *args: Any, shape: ObservationShape, units: int, encoder: type[Encoder], **kwargs: Any
    ) -> None:
        self._network = shape, units, encoder
        super().__init__(*args, **kwargs)

    def make_quantile_net(self) -> QuantileNetwork:
        """The online or the target network."""
        made = super().make_quantile_net()
        scorer = PhaseScorer(*self._network, outputs=self.n_quantiles)
        made.quantile_net = _QuantileHead(scorer)  # type: ignore[assignment]
        return made.to(self.device)


class QRDQNLearner(SB3Learner, QRDQN):
    """QR-DQN with the phase network, which explores phases that may be chosen."""

    Settings = QRDQNSettings
    probabilities = False
    COUNTERS: ClassVar[tuple[str, ...]] = (*SB3Learner.COUNTERS, "_n_calls", "exploration_rate")
    STORED = ("observations", "next_observations", "actions", "rewards", "dones", "timeouts")

    @classmethod
    def network(cls, settings: QRDQNSettings, shape: ObservationShape, encoder: type[Encoder]) -> PhaseScorer:
        """The phase scorer, whose scores are the distributions' means."""
        return PhaseScorer(shape, settings.units, encoder)

    @classmethod
    def make(
        cls, settings: QRDQNSettings, env: SignalsVecEnv, *, seed: int, device: str, encoder: type[Encoder]
    ) -> Self:  # fmt: skip
        """See `Learner.make`."""
        arguments = shared_arguments(settings, env, seed, device, encoder, n_quantiles=settings.quantiles)
        learner: Self = cls(_QRDQNPolicy, **arguments, **off_policy_arguments(settings, env))
        return learner

    def networks(self) -> list[nn.Module]:
        """The scorer of means: the mean of the last layer's outputs is a layer with the mean of its weights."""
        (quantiles, _) = self._scorers()
        scorer = PhaseScorer(quantiles.shape, quantiles.units, type(quantiles.encoder))
        weights = dict(quantiles.state_dict())
        for name in ("head.2.weight", "head.2.bias"):
            weights[name] = weights[name].mean(dim=0, keepdim=True)
        scorer.load_state_dict(weights)
        return [scorer]

    def begin_with(self, weights: Any) -> None:
        """Every quantile starts as the mean that these weights give."""
        for scorer in self._scorers():
            spread = dict(weights)
            for name in ("head.2.weight", "head.2.bias"):
                spread[name] = weights[name].expand(scorer.outputs, *weights[name].shape[1:])
            scorer.load_state_dict(spread)

    def _scorers(self) -> list[PhaseScorer]:
        heads: list[Any] = [self.quantile_net.quantile_net, self.quantile_net_target.quantile_net]
        return [head.scorer for head in heads]

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = False
    ) -> tuple[npt.NDArray[Any], Any]:
        """The best phases or, for the share that explores, any that may be chosen."""
        if not deterministic and np.random.rand() < self.exploration_rate:
            return self._any_phase(np.asarray(observation)), state
        return self.policy.predict(observation, state, episode_start, deterministic)

    def _sample_action(
        self, learning_starts: int, action_noise: Any = None, n_envs: int = 1
    ) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        del action_noise, n_envs
        seen = np.asarray(self._last_obs)
        chosen = self._any_phase(seen) if self.num_timesteps < learning_starts else self.predict(seen)[0]
        return chosen, chosen

    def _any_phase(self, rows: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
        allowed = selectable(rows, self._scorers()[0].shape)
        return np.asarray(np.where(allowed, np.random.rand(*allowed.shape), -1.0).argmax(axis=-1), np.int64)

    def state(self) -> State:
        """As of every learner, with the replay buffer."""
        buffer = self.replay_buffer
        assert buffer is not None
        filled = buffer.buffer_size if buffer.full else buffer.pos
        arrays = {name: torch.from_numpy(getattr(buffer, name)[:filled].copy()) for name in self.STORED}
        return {**super().state(), "replay": {"pos": buffer.pos, "full": buffer.full, "arrays": arrays}}

    def load_state(self, state: State) -> None:
        """The same back."""
        super().load_state(state)
        assert self.replay_buffer is not None
        for name, saved in state["replay"]["arrays"].items():
            getattr(self.replay_buffer, name)[: len(saved)] = saved.numpy()
        self.replay_buffer.pos, self.replay_buffer.full = state["replay"]["pos"], state["replay"]["full"]

"""What the training loop asks of an algorithm, and how one of Stable-Baselines3 answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Protocol, Self, runtime_checkable

import numpy as np
import torch
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor, nn

from agents.judgement import Judgement
from agents.network import Encoder
from agents.settings import ValueSettings
from agents.updates import require_finite
from agents.vec_env import SignalsVecEnv
from signals.observations import ObservationShape

State = dict[str, Any]
"""Plain values and tensors: what a checkpoint may hold."""


class Learner(Protocol):
    """An algorithm: made from its settings and an environment, it learns, is saved, goes on, and gives a policy.

    `agents.dqn`, `agents.ppo` and `agents.sb3` are written to it; `--agent module:Class` names another.
    docs/extending.md has an example.
    """

    Settings: ClassVar[Any]
    """A frozen dataclass of numbers. `reward_scale` in it multiplies the rewards that the environment gives."""
    probabilities: ClassVar[bool]
    """Whether scores are log-odds, so that policies that decide together have a mean probability."""
    num_timesteps: int
    """Decisions of one signal so far."""

    @classmethod
    def network(cls, settings: Any, shape: ObservationShape, encoder: type[Encoder]) -> nn.Module:
        """What a controller runs: [B, size] rows to [B, P] scores. Its weights fit every `shape`.

        One with a memory has `begin(signals)`, which gives a state, and maps rows and a state to scores and the next
        state.
        """

    @classmethod
    def make(
        cls, settings: Any, env: SignalsVecEnv, *, seed: int, device: str, encoder: type[Encoder]
    ) -> Self:  # fmt: skip
        """The algorithm before its first step; everything random in it follows from `seed`."""

    def learn(
        self, total_timesteps: int, callback: Any = None, log_interval: int = 1, *, reset_num_timesteps: bool = True
    ) -> Any:
        """Take so many steps more. `callback` is called as Stable-Baselines3 does: at the start of each rollout, when
        nothing is half done, and after each step; `reset_num_timesteps` is false where a run goes on."""

    def finish(self) -> None:
        """After the last step: whatever is left to learn."""

    def scorer(self) -> nn.Module:
        """The `network` of the policy as it is now."""

    def begin_with(self, weights: Mapping[str, Tensor]) -> None:
        """Start from such a network's weights. Raises RuntimeError where they do not fit."""

    def state(self) -> State:
        """All that goes on from here needs, but for the environment and the global random generators."""

    def load_state(self, state: State) -> None:
        """Be as one that was saved."""

    def set_logger(self, logger: Logger) -> None:
        """Where it logs to."""


@runtime_checkable
class Judged(Protocol):
    """A `Learner` that goes on by what validation says of it, and not by steps alone. It is validated when it asks
    for it, whatever the steps between two validations are; unless there are to be none on the way."""

    awaits_judgement: bool
    """Whether it asks, at the start of a rollout."""
    settled: bool
    """Whether more steps bring nothing: `learn` returns at once."""
    best_judgement: Judgement | None
    """The best so far that it was told: where nothing awaits a judgement, that of its `scorer`."""

    def judged(self, judgement: Judgement | None) -> None:
        """What the validation seeds say of its `scorer`; None where nothing was measured, which counts as better than
        before."""

    def status(self) -> str:
        """Where it is, in a few words."""


class SB3Learner:
    """Goes before one of Stable-Baselines3's algorithms and makes it a `Learner`."""

    COUNTERS: ClassVar[tuple[str, ...]] = (
        "num_timesteps",
        "_episode_num",
        "_n_updates",
        "_current_progress_remaining",
    )
    """Plain values that are saved."""

    def learn(self: Any, *args: Any, **kwargs: Any) -> Any:
        """As of Stable-Baselines3.

        Raises:
            TrainingDiverged: the network gives no finite numbers any more.
        """
        try:
            return super().learn(*args, **kwargs)  # type: ignore[misc]
        except ValueError:  # a distribution whose logits are not finite
            require_finite(self.policy, self.num_timesteps)
            raise

    def finish(self) -> None:
        """Nothing is left."""

    def networks(self: Any) -> list[nn.Module]:
        """Those that score phases as they are learned."""
        return [self.policy.mlp_extractor.actor]

    def scorer(self) -> nn.Module:
        """The first of them."""
        return self.networks()[0]

    def begin_with(self, weights: Mapping[str, Tensor]) -> None:
        """All of them start from these weights."""
        for network in self.networks():
            network.load_state_dict(dict(weights))

    def state(self: Any) -> State:
        """Weights, the optimiser, counters, and what the signals saw last."""
        require_finite(self.policy, self.num_timesteps)
        return {
            "policy": self.policy.state_dict(),
            "optimizer": self.policy.optimizer.state_dict(),
            "counters": {name: getattr(self, name) for name in self.COUNTERS},
            "last_obs": torch.from_numpy(np.array(self._last_obs)),
            "last_episode_starts": torch.from_numpy(np.array(self._last_episode_starts)),
        }

    def load_state(self: Any, state: State) -> None:
        """The same back."""
        self.policy.load_state_dict(state["policy"])
        self.policy.optimizer.load_state_dict(state["optimizer"])
        for name in self.COUNTERS:
            setattr(self, name, state["counters"][name])
        self._last_obs = state["last_obs"].numpy()
        self._last_episode_starts = state["last_episode_starts"].numpy()


def linear(start: float, end: float) -> Callable[[float], float]:
    """From `start` to `end` as the remaining share of the training goes from 1 to 0. Where a last rollout goes beyond
    the training's end, the share is below 0, and it stays at `end`."""

    def rate(remaining: float) -> float:
        return end + (start - end) * max(remaining, 0.0)

    return rate


def shared_arguments(
    settings: Any, env: SignalsVecEnv, seed: int, device: str, encoder: type[Encoder], **policy: Any
) -> dict[str, Any]:
    """What every algorithm of Stable-Baselines3 is made with here.

    Args:
        policy: further arguments of its policy, beside the network's.
    """
    return {
        "env": env,
        "seed": seed,
        "device": device,
        "learning_rate": linear(settings.learning_rate, settings.learning_rate_end),
        "gamma": settings.gamma,
        "policy_kwargs": {"shape": env.shape, "units": settings.units, "encoder": encoder, **policy},
    }


def off_policy_arguments(settings: ValueSettings, env: VecEnv) -> dict[str, Any]:
    """What DQN and its like are made with beside that."""
    return {
        "batch_size": settings.batch_size,
        "buffer_size": settings.buffer_size,
        "learning_starts": settings.learning_starts,
        "train_freq": settings.train_freq,
        "gradient_steps": settings.gradient_steps,
        # in decisions of one signal, which Stable-Baselines3 divides by their number
        "target_update_interval": settings.target_update_interval * env.num_envs,
        "exploration_fraction": settings.exploration_fraction,
        "exploration_initial_eps": settings.exploration_start,
        "exploration_final_eps": settings.exploration_end,
        "max_grad_norm": settings.max_grad_norm,
    }

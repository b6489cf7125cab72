"""The phase network as Stable-Baselines3's policies have it.

The mask is part of the observation and applied inside the network, so that whatever asks the network for a phase
(the greedy policy, the target's maximum, PPO's distribution, an exported graph) sees only phases that may be
chosen.
"""

from __future__ import annotations

from typing import Any

import torch
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.type_aliases import Schedule
from stable_baselines3.dqn.policies import DQNPolicy, QNetwork
from torch import Tensor, nn

from agents.network import PhaseScorer, StateValue
from signals.observations import ObservationShape


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

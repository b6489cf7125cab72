"""The phase network as Stable-Baselines3's policies have it.

The mask is part of the observation and applied inside the network, so that whatever asks the network for a phase
(the greedy policy, the target's maximum, PPO's distribution, an exported graph) sees only phases that may be
chosen.
"""

from __future__ import annotations

from typing import Any

from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.type_aliases import Schedule
from stable_baselines3.dqn.policies import DQNPolicy, QNetwork
from torch import Tensor, nn

from agents.network import Encoder, PhaseEncoder, PhaseScorer, StateValue
from signals.observations import ObservationShape


class PhaseQNetwork(QNetwork):
    """SB3's Q-network with the phase scorer inside."""

    def __init__(
        self, *args: Any, shape: ObservationShape, units: int, encoder: type[Encoder], **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.q_net = PhaseScorer(shape, units, encoder)  # type: ignore[assignment]


class PhaseDQNPolicy(DQNPolicy):
    """SB3's DQN policy with the phase scorer."""

    def __init__(
        self,
        *args: Any,
        shape: ObservationShape,
        units: int = 64,
        encoder: type[Encoder] = PhaseEncoder,
        **kwargs: Any,
    ) -> None:
        self._network: dict[str, Any] = {"shape": shape, "units": units, "encoder": encoder}
        super().__init__(*args, **kwargs)

    def make_q_net(self) -> QNetwork:
        """The online or the target network."""
        arguments = self._update_features_extractor(self.net_args, features_extractor=None)
        return PhaseQNetwork(**arguments, **self._network).to(self.device)


class ActorAndCritic(nn.Module):
    """What SB3 calls the MLP extractor: here it gives the masked logits and the value themselves."""

    def __init__(self, shape: ObservationShape, units: int, encoder: type[Encoder], context: int = 0) -> None:
        super().__init__()
        self.latent_dim_pi, self.latent_dim_vf = shape.phases, 1
        self.actor = PhaseScorer(shape, units, encoder, context=context)
        self.critic = StateValue(shape, units, encoder, context=context)

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


class PhaseActorCritic:
    """Goes before one of SB3's actor-critic policies, and puts the phase networks in the place of its own."""

    mlp_extractor: Any
    action_net: Any
    value_net: Any

    def __init__(
        self, *args: Any, shape: ObservationShape, units: int = 64, encoder: type[Encoder] = PhaseEncoder,
        context: int = 0, **kwargs: Any,
    ) -> None:  # fmt: skip
        self._network = shape, units, encoder, context
        super().__init__(*args, **kwargs)

    def _build_mlp_extractor(self: Any) -> None:
        self.mlp_extractor = ActorAndCritic(*self._network)

    def _build(self: Any, lr_schedule: Schedule) -> None:
        self._build_mlp_extractor()
        self.action_net, self.value_net = nn.Identity(), nn.Identity()
        self.optimizer = self.optimizer_class(self.parameters(), lr=lr_schedule(1), **self.optimizer_kwargs)


class PhaseActorCriticPolicy(PhaseActorCritic, ActorCriticPolicy):
    """SB3's actor-critic policy whose actor scores phases."""

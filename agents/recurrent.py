"""Recurrent PPO of sb3-contrib with the phase networks: a signal that remembers what it has seen."""

from __future__ import annotations

from typing import Any

import torch
from sb3_contrib import RecurrentPPO
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy
from sb3_contrib.common.recurrent.type_aliases import RNNStates
from stable_baselines3.common.type_aliases import Schedule
from torch import Tensor, nn

from agents.learner import State
from agents.network import Encoder, PhaseEncoder, PhaseScorer, mean_encoding, phase_flags
from agents.policies import PhaseActorCritic
from agents.sb3 import MaskablePPOSettings, OnPolicyLearner
from signals.observations import ObservationShape


class RecurrentPPOSettings(MaskablePPOSettings):
    """PPO whose networks remember (LSTM, Hochreiter & Schmidhuber 1997), as in sb3-contrib."""


class Memory(nn.Module):
    """What sb3-contrib takes for an LSTM: [T, B, size] rows to the same rows with a memory behind each.

    Args:
        shape: how a row of the observation is cut.
        units: width of the memory.
    """

    num_layers = 1

    def __init__(self, shape: ObservationShape, units: int, encoder: type[Encoder]) -> None:
        super().__init__()
        self.input_size, self.hidden_size = shape.size, units
        self._shape = shape
        self.encoder = encoder(shape, units)
        self.lstm = nn.LSTM(units, units)

    def forward(self, rows: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """[T, B, size + units], and the next state: twice [1, B, units]."""
        length, batch, size = rows.shape
        flat = rows.reshape(-1, size)
        mean = mean_encoding(self.encoder(flat), phase_flags(flat, self._shape)[0])
        remembered, state = self.lstm(mean.reshape(length, batch, -1), state)
        return torch.cat((rows, remembered), dim=2), state


class RecurrentScorer(nn.Module):
    """[B, size] rows and a state to [B, P] scores and the next state."""

    def __init__(self, shape: ObservationShape, units: int, encoder: type[Encoder]) -> None:
        super().__init__()
        self.memory = Memory(shape, units, encoder)
        self.scorer = PhaseScorer(shape, units, encoder, context=units)

    def begin(self, signals: int) -> tuple[Tensor, Tensor]:
        """The state of so many signals that remember nothing."""
        zeros = torch.zeros(1, signals, self.memory.hidden_size)
        return zeros, zeros

    def forward(self, rows: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Scores, and the next state."""
        seen, state = self.memory(rows.unsqueeze(0), state)
        return self.scorer(seen.squeeze(0)), state


class _RecurrentPolicy(PhaseActorCritic, RecurrentActorCriticPolicy):
    """sb3-contrib's recurrent policy whose actor scores phases, and whose actor and critic each have a memory."""

    def __init__(
        self, observation_space: Any, action_space: Any, lr_schedule: Schedule, *args: Any, shape: ObservationShape,
        units: int = 64, encoder: type[Encoder] = PhaseEncoder, **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(
            observation_space, action_space, lr_schedule, *args, shape=shape, units=units, encoder=encoder,
            context=units, lstm_hidden_size=units, **kwargs,
        )  # fmt: skip
        policy: Any = self
        policy.lstm_actor, policy.lstm_critic = Memory(shape, units, encoder), Memory(shape, units, encoder)
        policy.optimizer = policy.optimizer_class(policy.parameters(), lr=lr_schedule(1), **policy.optimizer_kwargs)


class RecurrentPPOLearner(OnPolicyLearner, RecurrentPPO):
    """Recurrent PPO with the phase network."""

    Settings = RecurrentPPOSettings
    POLICY = _RecurrentPolicy

    @classmethod
    def network(cls, settings: Any, shape: ObservationShape, encoder: type[Encoder]) -> nn.Module:
        """The scorer with its memory."""
        return RecurrentScorer(shape, settings.units, encoder)

    def networks(self) -> list[nn.Module]:
        """The policy's parts put together; they share its weights."""
        policy: Any = self.policy
        joined = RecurrentScorer.__new__(RecurrentScorer)
        nn.Module.__init__(joined)
        joined.memory, joined.scorer = policy.lstm_actor, policy.mlp_extractor.actor
        return [joined]

    def state(self) -> State:
        """As of every learner, with what the networks remember."""
        states: Any = self._last_lstm_states
        return {**super().state(), "memory": [list(part) for part in states]}

    def load_state(self, state: State) -> None:
        """The same back."""
        super().load_state(state)
        actor, critic = (tuple(one.to(self.device) for one in part) for part in state["memory"])
        self._last_lstm_states = RNNStates(actor, critic)  # type: ignore[assignment]

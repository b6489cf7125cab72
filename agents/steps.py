"""Gradient steps in one compiled call each, where `agents.compiled` was built.

They are what `agents.dqn` and `agents.ppo` do with torch's operations, but for rounding. Weights and the optimiser's
state stay torch's own tensors, which the calls change in place: checkpoints hold them as ever.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from agents.compiled import Network, library
from agents.network import PhaseScorer, StateValue
from agents.replay import DecisionBuffer

Pointer, Count, Real = ctypes.c_void_p, ctypes.c_int64, ctypes.c_double


class _Slot(ctypes.Structure):
    """The struct `Slot` of native/adam.h."""

    _fields_ = [(name, Pointer) for name in ("weight", "first", "second", "steps", "average")] + [("count", Count)]


class _Adam(ctypes.Structure):
    """The struct `Adam` of native/adam.h."""

    _fields_ = [
        *((name, Real) for name in ("rate", "beta_first", "beta_second", "epsilon", "most_norm", "share")),
        ("slots", Count),
        ("slot", ctypes.POINTER(_Slot)),
    ]


class _DQN(ctypes.Structure):
    """The struct `DQN` of native/dqn.cpp."""

    _fields_ = [
        ("online", Network),
        ("target", Network),
        *((name, Pointer) for name in ("observations", "next_observations", "actions", "rewards", "discounts")),
        *((name, Pointer) for name in ("known", "known_of")),
        ("version", Count),
        ("adam", _Adam),
        ("memory", Pointer),
    ]


class _PPO(ctypes.Structure):
    """The struct `PPO` of native/ppo.cpp."""

    _fields_ = [
        ("actor", Network),
        ("critic", Network),
        *((name, Pointer) for name in ("observations", "actions", "log_probs", "advantages", "returns")),
        *((name, Real) for name in ("clip", "entropy", "value")),
        ("adam", _Adam),
        ("memory", Pointer),
    ]


def quick(*networks: nn.Module) -> bool:
    """Whether gradient steps of these networks can be compiled ones."""
    return all(getattr(network, "quick", False) for network in networks) and library() is not None


class _Optimiser:
    """torch's Adam, its state as the compiled steps see it."""

    def __init__(self, optimiser: torch.optim.Optimizer, averages: Sequence[nn.Parameter] = ()) -> None:
        self._optimiser, self._averages = optimiser, list(averages)
        self._seen: Any = None

    def described(self, most_norm: float, share: float = 0.0) -> _Adam:
        """As it stands."""
        (group,) = self._optimiser.param_groups
        assert not any(group[name] for name in ("weight_decay", "amsgrad", "maximize"))
        state = self._optimiser.state
        if state is not self._seen:  # at the beginning, and once a checkpoint was loaded
            self._slots = (_Slot * len(group["params"]))(*(self._slot(n, p) for n, p in enumerate(group["params"])))
            self._seen = state
        return _Adam(group["lr"], *group["betas"], group["eps"], most_norm, share, len(self._slots), self._slots)

    def _slot(self, number: int, weight: nn.Parameter) -> _Slot:
        state = self._optimiser.state[weight]
        if not state:  # as its own first step would make it
            state["step"] = torch.zeros((), dtype=torch.float32)
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(weight.data), torch.zeros_like(weight.data)
        average = self._averages[number] if self._averages else None
        tensors = [weight, state["exp_avg"], state["exp_avg_sq"], state["step"], average]
        assert all(tensor is None or (tensor.dtype == torch.float32 and tensor.is_contiguous()) for tensor in tensors)
        return _Slot(*(None if tensor is None else tensor.data_ptr() for tensor in tensors), weight.numel())


class DQNStep:
    """Gradient steps of double DQN on samples that stay in the replay buffer.

    Args:
        average: the network whose weights are the running mean of the online one's.
    """

    def __init__(
        self, online: PhaseScorer, target: PhaseScorer, average: PhaseScorer, optimiser: torch.optim.Optimizer,
        buffer: DecisionBuffer,
    ) -> None:  # fmt: skip
        compiled = library()
        assert compiled is not None, "ask `quick`"
        self._optimiser = _Optimiser(optimiser, list(average.parameters()))
        self._step, self._kept = compiled.dqn_step, (online, target, buffer)
        arrays = (buffer.observations, buffer.next_observations, buffer.actions, buffer.rewards, buffer.discounts)
        self._about = _DQN(
            online.described(),
            target.described(),
            *map(_address, (*arrays, buffer.target_scores, buffer.target_version)),
        )
        self._memory = torch.zeros(compiled.dqn_room(ctypes.addressof(self._about)))
        self._about.memory = self._memory.data_ptr()

    def __call__(self, drawn: npt.NDArray[np.int64], most_norm: float, share: float) -> float:
        """One step on the transitions of these numbers; its loss. Where that is not finite nothing is changed.

        Args:
            share: of the new weights in the running mean.
        """
        drawn = np.ascontiguousarray(drawn, np.int64)
        self._about.adam = self._optimiser.described(most_norm, share)
        loss: float = self._step(ctypes.addressof(self._about), drawn.ctypes.data, len(drawn))
        return loss


class PPOStep:
    """Gradient steps of PPO on one rollout's decisions.

    Args:
        decisions: observations, actions, log probabilities, advantages and returns of `agents.rollout.Decisions`.
    """

    def __init__(
        self, actor: PhaseScorer, critic: StateValue, optimiser: torch.optim.Optimizer,
        decisions: Sequence[torch.Tensor], clip: float, entropy: float, value: float,
    ) -> None:  # fmt: skip
        compiled = library()
        assert compiled is not None, "ask `quick`"
        self._optimiser = _Optimiser(optimiser)
        self._step, self._kept = compiled.ppo_step, (actor, critic, [part.contiguous() for part in decisions])
        pointers = (part.data_ptr() for part in self._kept[2])
        self._about = _PPO(actor.described(), critic.described(), *pointers, clip, entropy, value)
        self._memory = torch.empty(compiled.ppo_room(ctypes.addressof(self._about)))
        self._about.memory = self._memory.data_ptr()

    def __call__(self, part: torch.Tensor, most_norm: float) -> float:
        """One step on the decisions of these numbers; its loss."""
        part = part.contiguous()
        self._about.adam = self._optimiser.described(most_norm)
        loss: float = self._step(ctypes.addressof(self._about), part.data_ptr(), len(part))
        return loss


def _address(array: npt.NDArray[Any]) -> int:
    assert array.flags.c_contiguous
    return array.ctypes.data

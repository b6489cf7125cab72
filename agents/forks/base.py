"""What forks follow: a controller by its name, or the network of an earlier round."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from agents.network import Encoder, PhaseEncoder, PhaseScorer
from controllers.base import Controller, Phases, choose
from controllers.programs import ProgramControl
from controllers.registry import make
from plumbing.outside import pack
from signals.intersection import Intersection
from signals.layout import Layout
from signals.observation_names import is_ours
from signals.observations import PhaseObservation, observation_for
from signals.snapshot import Snapshot


class NetworkBase:
    """The best-scored phase of every signal, as of `agents.run.LearnedController`, but fit to be sent along with
    each request for forks: the process that it arrives in loads PyTorch for it, and no learning library beside. Its
    observation is made anew there, so one from outside that remembers earlier moments has forgotten them.

    Args:
        weights: of a `PhaseScorer`.
    """

    def __init__(
        self, weights: Mapping[str, Tensor], units: int, encoder: type[Encoder], observation: type[PhaseObservation]
    ) -> None:
        self.sensing = observation.sensing
        self._weights, self._units, self._encoder, self._observation = dict(weights), units, encoder, observation
        self._layout: Layout | None = None
        self._observe: PhaseObservation | None = None
        self._scorer: Any = None

    def __reduce__(self) -> tuple[Any, ...]:
        # not the observation itself: its blocks are views into its rows, which a pickle would part from them
        parts = (self._weights, self._units, self._encoder, self._observation), self._layout
        if self._encoder is PhaseEncoder and is_ours(self._observation):
            return _revived, parts
        return _unpacked, (pack(parts),)

    def reset(self, intersections: Sequence[Intersection], layout: Layout, seed: int) -> None:
        """A new episode with these signals."""
        del intersections, seed
        self._layout = layout
        self._observe = observation_for(self._observation, layout)
        self._scorer = PhaseScorer(self._observe.shape, self._units, self._encoder).requires_grad_(False).eval()
        self._scorer.load_state_dict(self._weights)

    def decide(self, snapshot: Snapshot) -> Phases:
        """[S] the best phase that may be chosen."""
        assert self._observe is not None, "call reset first"
        with torch.no_grad():
            scores: npt.NDArray[np.float32] = self._scorer(torch.from_numpy(self._observe(snapshot))).numpy()
        return choose(scores.astype(np.float64), snapshot)


def _revived(made_of: tuple[Any, ...], layout: Layout | None) -> NetworkBase:
    found = NetworkBase(*made_of)
    if layout is not None:
        found.reset((), layout, 0)
    return found


def _unpacked(packed: bytes) -> NetworkBase:
    return _revived(*pickle.loads(packed))


def named_base(name: str, sensing: str = "full") -> Controller:
    """The controller of that name, one of those that the setting `base` takes; the planner is that of the sensing."""
    found = make("cop_detectors" if (name, sensing) == ("cop", "detectors") else name)
    assert not isinstance(found, ProgramControl), f"{name} runs a program and decides nothing"
    return found

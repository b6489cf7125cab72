"""The protocol of a controller: it gets the intersections once and is then asked for phases."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from signals.intersection import Intersection
from signals.layout import Layout
from signals.snapshot import Snapshot

Phases = npt.NDArray[np.int64]
TIE = 1e-9
"""Bonus of the current phase over phases of the same score."""


class Controller(Protocol):
    """Decides for all signals at once. Whatever it asks for passes through the state machine.

    One that compares phases may keep what it thought of each at its last decision as `last_scores`, [S, P], greater
    is better: a replay then shows it.
    """

    sensing: str
    """The snapshots that it needs: "full" or "detectors"."""

    def reset(self, intersections: Sequence[Intersection], layout: Layout, seed: int) -> None:
        """A new episode begins with these signals; `seed` is for controllers that draw at random."""

    def decide(self, snapshot: Snapshot) -> Phases:
        """[S] the phase that each signal should show next."""


def choose(scores: npt.NDArray[np.float64], snapshot: Snapshot, hysteresis: float = 0.0) -> Phases:
    """[S] the best-scored phase that may be chosen; the current one wins ties.

    Args:
        scores: [S, P], greater is better.
        hysteresis: by how much another phase must be better than the current one.
    """
    signals = np.arange(len(snapshot.phase))
    favoured = scores.copy()
    favoured[signals, snapshot.phase] += hysteresis + TIE
    result: Phases = np.argmax(np.where(snapshot.mask, favoured, -np.inf), axis=1)
    return result

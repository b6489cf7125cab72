"""A trained policy for programs of one's own: `Policy.load("runs/x", env.layout).decide(observation)`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from agents.network import CURRENT, SELECTABLE
from agents.run import LearnedController, load_controller
from controllers.base import TIE, Phases
from plumbing.errors import InputError
from signals.layout import Layout
from signals.snapshot import Snapshot


class Policy:
    """A run directory's policy, fitted to some signals."""

    def __init__(self, controller: LearnedController, layout: Layout) -> None:
        self._controller, self._layout = controller, layout
        self._shape = controller.shape_for(*layout.shape[1:])
        self.begin()

    def begin(self) -> None:
        """An episode begins: one with a memory forgets the last."""
        self._controller.reset((), self._layout, 0)

    @classmethod
    def load(cls, run: str | Path, layout: Layout, *, allow_code: bool = False) -> Policy:
        """The policy of a run directory.

        Args:
            layout: of the signals that it decides for, which need not be those that it was trained on.
            allow_code: run the code from outside that the run directory names.

        Raises:
            InputError: it is no run directory, is damaged, or names code that is not allowed.
        """
        return cls(load_controller(Path(run), allow_code=allow_code), layout)

    @property
    def sensing(self) -> str:
        """What it looks at: "full" or "detectors". The environment needs the same."""
        return self._controller.sensing

    def decide(self, seen: Snapshot | npt.NDArray[np.float32]) -> Phases:
        """[S] the best phase that may be chosen; the current one wins ties.

        Args:
            seen: a snapshot, or the observation of an environment: [size] of one signal, or [S, size].

        Raises:
            InputError: the observation is not cut as this policy's is.
            ArithmeticError: a score is not finite.
        """
        if isinstance(seen, Snapshot):
            return self._controller.decide(seen)
        rows = np.atleast_2d(np.asarray(seen, np.float32))
        signals = self._layout.shape[0]
        if rows.shape != (signals, self._shape.size):
            raise InputError(
                f"an observation of shape {np.shape(seen)} is not for this policy; give {signals} rows of "
                f"{self._shape.size}, of the observation that it was trained on"
            )
        scores = self._controller.scores_of(rows)
        if not np.isfinite(scores).all():
            raise ArithmeticError("the policy's scores are not finite; its weights are damaged")
        phases = rows[:, : self._shape.phases * self._shape.phase_features].reshape(*scores.shape, -1)
        favoured = np.where(phases[:, :, SELECTABLE] > 0.5, scores + TIE * phases[:, :, CURRENT], -np.inf)
        return np.asarray(favoured.argmax(axis=1), np.int64)

    def scores(self, snapshot: Snapshot) -> npt.NDArray[np.float64]:
        """[S, P] what it thinks of each phase."""
        return self._controller.scores(snapshot)

"""A trained policy for programs of one's own: `Policy.load("runs/x", env.layout).decide(env.snapshot)`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from agents.run import LearnedController, load_controller
from controllers.base import Phases
from signals.layout import Layout
from signals.snapshot import Snapshot


class Policy:
    """A run directory's policy, fitted to some signals."""

    def __init__(self, controller: LearnedController, layout: Layout) -> None:
        controller.reset((), layout, 0)
        self._controller = controller

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

    def decide(self, snapshot: Snapshot) -> Phases:
        """[S] the best phase that may be chosen."""
        return self._controller.decide(snapshot)

    def scores(self, snapshot: Snapshot) -> npt.NDArray[np.float64]:
        """[S, P] what it thinks of each phase."""
        return self._controller.scores(snapshot)

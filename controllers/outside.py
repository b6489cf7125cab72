"""Controllers from outside: made by name, and held to what `controllers.base.Controller` asks for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from controllers.base import Phases
from controllers.programs import ProgramControl
from plumbing.errors import InputError, printable
from signals.intersection import Intersection
from signals.layout import Layout
from signals.snapshot import Snapshot


class OutsideController:
    """A controller from outside. What it does wrong is told as the user's input, with its name.

    Raises:
        InputError: it is no controller.
    """

    def __init__(self, name: str, inner: Any) -> None:
        self.name, self.inner = printable(name), inner
        missing = [part for part in ("reset", "decide") if not callable(getattr(inner, part, None))]
        if missing:
            raise InputError(f"controller {self.name!r} has no {missing[0]}(); see controllers/base.py")
        self.sensing: str = getattr(inner, "sensing", "")
        if self.sensing not in ("full", "detectors"):
            raise InputError(f"controller {self.name!r}: sensing is {self.sensing!r}; set it to full or detectors")
        self.last_scores: Any = None
        """[S, P] what it thought of each phase at its last decision; None where it does not say."""

    def reset(self, intersections: Sequence[Intersection], layout: Layout, seed: int) -> None:
        """A new episode begins."""
        self._phases = layout.phase_exists.sum(axis=1)
        try:
            self.inner.reset(intersections, layout, seed)
        except Exception as error:  # whatever it does
            raise self._failed("reset", error) from error

    def decide(self, snapshot: Snapshot) -> Phases:
        """[S] the phase that each signal should show next.

        Raises:
            InputError: it fails, or asks for phases that there are not.
        """
        try:
            phases = np.asarray(self.inner.decide(snapshot))
        except Exception as error:  # whatever it does
            raise self._failed("decide", error) from error
        self.last_scores = getattr(self.inner, "last_scores", None)
        if phases.shape != self._phases.shape or not np.issubdtype(phases.dtype, np.integer):
            raise InputError(
                f"controller {self.name!r}: decide() gives {phases.dtype} of shape {phases.shape}; give the "
                f"number of a phase for each signal, integers of shape {self._phases.shape}"
            )
        if ((phases < 0) | (phases >= self._phases)).any():
            s = int(np.argmax((phases < 0) | (phases >= self._phases)))
            raise InputError(
                f"controller {self.name!r} asks signal {s} for phase {phases[s]}; it has 0 to {self._phases[s] - 1}"
            )
        return phases.astype(np.int64)

    def _failed(self, what: str, error: Exception) -> InputError:
        return InputError(
            f"controller {self.name!r} fails in {what}() ({type(error).__name__}: {printable(error)}); mend it there"
        )


def make_outside(name: str, factory: Callable[[], Any]) -> OutsideController | ProgramControl:
    """What a class, or a function without arguments, of that name makes.

    Raises:
        InputError: it fails, or what it makes is no controller.
    """
    try:
        made = factory()
    except Exception as error:  # whatever it does
        raise InputError(
            f"controller {printable(name)!r} cannot be made ({type(error).__name__}: {printable(error)}); name a "
            "class or a function that takes no arguments"
        ) from error
    return made if isinstance(made, ProgramControl) else OutsideController(name, made)

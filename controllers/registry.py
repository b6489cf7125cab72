"""Controllers by name."""

from __future__ import annotations

from collections.abc import Callable

from controllers.base import Controller
from controllers.heuristics import Greedy, MaxPressure, RandomChoice, SelfOrganizing
from controllers.programs import ProgramControl
from signals.errors import InputError, did_you_mean

CONTROLLERS: dict[str, Callable[[], Controller | ProgramControl]] = {
    "fixed_time": ProgramControl,
    "actuated": lambda: ProgramControl(actuated=True),
    "max_pressure": MaxPressure,
    "greedy": Greedy,
    "sotl": SelfOrganizing,
    "random": RandomChoice,
}


def make(name: str) -> Controller | ProgramControl:
    """The controller of that name, with its defaults.

    Raises:
        InputError: no such controller.
    """
    if name not in CONTROLLERS:
        raise InputError(
            f"unknown controller {name!r}; choose one of {', '.join(CONTROLLERS)}, or a run directory."
            f"{did_you_mean(name, CONTROLLERS)}"
        )
    return CONTROLLERS[name]()

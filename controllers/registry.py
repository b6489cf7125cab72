"""Controllers by name."""

from __future__ import annotations

from collections.abc import Callable

from controllers.base import Controller
from controllers.cop import Cop, CopOnDetectors
from controllers.heuristics import Greedy, MaxPressure, RandomChoice, SelfOrganizing
from controllers.mcts import TreeSearch
from controllers.programs import Actuated, DelayBased, ProgramControl
from controllers.webster import Webster
from plumbing.errors import InputError, did_you_mean

CONTROLLERS: dict[str, Callable[..., Controller | ProgramControl]] = {
    "fixed_time": ProgramControl,
    "webster": Webster,
    "actuated": Actuated,
    "delay_based": DelayBased,
    "max_pressure": MaxPressure,
    "greedy": Greedy,
    "sotl": SelfOrganizing,
    "cop": Cop,
    "cop_detectors": CopOnDetectors,
    "mcts": TreeSearch,
    "random": RandomChoice,
}


def make(name: str, **parameters: object) -> Controller | ProgramControl:
    """The controller of that name, with its defaults but for the parameters given.

    Raises:
        InputError: no such controller, or it has no such parameter.
    """
    if name not in CONTROLLERS:
        raise InputError(
            f"unknown controller {name!r}; choose one of {', '.join(CONTROLLERS)}, package.module:CLASS, "
            f"path/to/file.py:CLASS, or a run directory."
            f"{did_you_mean(name, CONTROLLERS)}"
        )
    try:
        return CONTROLLERS[name](**parameters)
    except TypeError as error:
        raise InputError(f"controller {name!r} cannot be made with {parameters}: {error}; tune it anew") from error

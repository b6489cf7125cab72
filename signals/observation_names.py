"""Finds an observation by its name, of ours or from outside."""

from __future__ import annotations

from typing import Any

from plumbing.errors import InputError, did_you_mean, printable
from plumbing.outside import is_outside, load_outside
from signals.observations import NAMED, OBSERVATIONS, Observation

PLANNED_ON_DETECTORS = "signals.planner.observation:PlannedDetectorObservation"
_FORECAST = "+forecast"


def find_observation(given: str | type[Observation], sensing: str = "full") -> type[Observation]:
    """The class of that name, or the class itself; "phases" and "planned" are those of the sensing level.

    Code from outside is loaded: a run directory's word passes `plumbing.outside.check_allowed` first.

    Raises:
        InputError: there is none, or it is no observation.
    """
    found: Any = NAMED.get(given, given) if isinstance(given, str) else given
    if given == "phases" and sensing in OBSERVATIONS:
        found = OBSERVATIONS[sensing]
    elif given == "planned" and sensing == "detectors":
        found = PLANNED_ON_DETECTORS
    if isinstance(found, str):
        if not is_outside(found):
            raise InputError(
                f"unknown observation {printable(found)!r}; choose one of {', '.join(NAMED)}, package.module:CLASS "
                f"or path/to/file.py:CLASS.{did_you_mean(found, NAMED)}"
            )
        found = load_outside(found, "observation")
    if not isinstance(found, type) or not issubclass(found, Observation):
        raise InputError(
            f"observation {printable(given)!r} is no subclass of signals.observations.Observation; make it one"
        )
    if found.sensing not in OBSERVATIONS:
        raise InputError(f"observation {printable(given)!r}: sensing is {found.sensing!r}; choose full or detectors")
    return found


def foreseeing(given: str, sensing: str = "full") -> str:
    """The name of the same observation with a forecast; one from outside may look at it as it is.

    Raises:
        InputError: there is none.
    """
    if is_outside(given) or given.endswith(_FORECAST):
        return given
    name = ("detectors" if given == "phases" and sensing == "detectors" else given) + _FORECAST
    if given in NAMED and name not in NAMED:
        with_one = ", ".join(known for known in NAMED if f"{known}{_FORECAST}" in NAMED)
        raise InputError(f"observation {printable(given)!r} cannot show a forecast; choose one of {with_one}")
    return name if given in NAMED else given


def is_ours(observation: type[Observation]) -> bool:
    """Whether a class is one of the project's own."""
    return observation.__module__.partition(".")[0] in ("signals", "envs")

"""What models of counts give to a scenario: days that are made up for it, and forecasts while it runs.

`demand.episodes` makes both. It is named here and not imported: it stands further up, and brings libraries that only
these need.
"""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from plumbing.errors import InputError
from plumbing.outside import load_outside
from scenarios.foresight import Foresight, Remembered
from scenarios.naming import expanded
from scenarios.scenario import Scenario

FORECAST, DAYS = "demand.episodes.forecast:foresight", "demand.episodes.days:generated"
_Generated: TypeAlias = tuple[Path, tuple[int, int]]


def with_forecast(scenario: Scenario, model: str | Path) -> Scenario:
    """The scenario with a forecast, which its runs make as they go on.

    Args:
        model: a folder of `python -m demand forecast`: that of one model, or the one whose best is taken.

    Raises:
        InputError: it is no such folder, is not for this scenario's traffic, or cannot be run here.
    """
    _check_installed("onnxruntime", "a forecast")
    maker: Callable[[Path, Scenario], Foresight] = load_outside(FORECAST, "forecast")
    return dataclasses.replace(scenario, foresight=maker(expanded(model).absolute(), scenario))


def with_generated(scenario: Scenario, model: str | Path) -> Scenario:
    """The scenario with days in the place of its own that a model makes up, calibrated to its network: the same ones
    for the same model and scenario. Some are for validation alone, some for evaluation (`scenarios.days`).

    Args:
        model: a folder of `python -m demand generate`.

    Raises:
        InputError: it is no such folder, or the scenario is none that counts were calibrated to.
    """
    path = expanded(model).absolute()
    maker: Callable[[Path, Scenario], _Generated] = load_outside(DAYS, "days")
    folder, apart = maker(path, scenario)
    found = scenario.with_days(str(folder))
    return dataclasses.replace(found, demand=f"generated:{path}", days_apart=apart)


def remembered(scenario: Scenario, folder: str) -> Remembered | None:
    """What a policy that is trained here remembers of the forecast of this folder."""
    of = scenario.foresight
    return None if of is None else Remembered(folder, of.model, of.identity)


def as_wanted(scenario: Scenario, controller: object) -> Scenario:
    """The scenario as a controller wants it: with the forecast that it was trained with, or without any.

    Raises:
        InputError: that forecast is no longer there, is another, or does not fit the scenario.
    """
    wanted: Remembered | None = getattr(controller, "forecast", None)
    if wanted is None:
        return dataclasses.replace(scenario, foresight=None)
    if not Path(wanted.folder).is_dir():
        raise InputError(
            f"{wanted.folder}, the forecast that the policy was trained with, is not there; bring it back, "
            "or train anew"
        )
    found = with_forecast(scenario, wanted.folder)
    assert found.foresight is not None
    if found.foresight.model != wanted.model:
        raise InputError(
            f"{wanted.folder} is another forecast than the policy was trained with; bring that one back, or train "
            "anew"
        )
    return found


def _check_installed(package: str, what: str) -> None:
    if importlib.util.find_spec(package) is None:
        raise InputError(f"{what} needs {package}, which is not installed; pip install -e '.[demand]' brings it")

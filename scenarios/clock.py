"""The timing of a run where none is asked for: our defaults, and the `step-length` of a scenario's configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from plumbing.errors import InputError
from scenarios import resco
from scenarios.config import read_config
from scenarios.naming import expanded
from scenarios.scenario import Scenario
from scenarios.xmlfile import root_tag, seconds
from signals.timing import Timing


def configured_step_s(scenario: str | Path | Scenario) -> float | None:
    """The simulation step that a scenario's configuration asks for [s]; None where it has none or says nothing.

    Raises:
        InputError: there is a configuration that cannot be read.
    """
    if isinstance(scenario, Scenario):
        options = dict(scenario.options)
    else:
        path = expanded(scenario)
        if (
            str(scenario) in resco.MAPS
            or not path.is_file()
            or not root_tag(path, "scenario").endswith("onfiguration")
        ):
            return None  # RESCO's configurations say nothing of it
        options = dict(read_config(path).options)
    return seconds(options["step-length"]) if "step-length" in options else None


def timing_for(scenario: str | Path | Scenario, **asked: Any) -> Timing:
    """The timing of a run on this scenario.

    Args:
        asked: fields of `Timing` that are asked for; they win over the configuration.

    Raises:
        InputError: the values do not go together.
    """
    step_s = None if "sim_step_s" in asked else configured_step_s(scenario)
    if step_s is None:
        return Timing(**asked)
    try:
        return Timing(**asked, sim_step_s=step_s)
    except InputError as error:
        raise InputError(
            f"{error} (sim_step_s is the configuration's step-length; choose timing that fits it, or correct it)"
        ) from error

"""The folder of `python -m demand calibrate` that a scenario's traffic comes from."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from demand.calibration.folder import COUNTS, PLACES, RESULT, read_window, stem_of
from demand.calibration.hand import read_hand
from demand.calibration.places import Place, Roads
from demand.counts.store import CountsFolder
from plumbing.errors import InputError, printable
from scenarios.scenario import Scenario


@dataclass(frozen=True)
class Calibrated:
    """Where a scenario's traffic comes from."""

    path: Path
    begin_s: int
    end_s: int
    """The window [s since midnight]."""
    dates: Mapping[str, datetime.date]
    """Per day's name, the date on which it stands."""
    roads: Roads
    places: tuple[Place, ...]
    counts: CountsFolder
    """Of its days, and of the weeks before."""


def calibrated(scenario: Scenario) -> Calibrated:
    """The folder of a scenario's days, or of the one day that it is.

    Raises:
        InputError: its traffic comes from no such folder, or something in it is not what it has to be.
    """
    folder = _routes(scenario)[0].parent
    file = folder / RESULT
    try:
        made = read_window(folder)
        dates = {day: datetime.date.fromisoformat(date) for day, date in made.days.items()}
    except OSError as error:
        raise InputError(
            f"scenario {scenario.name!r}: nobody knows where detectors count, since its traffic does not come from a "
            f"folder of python -m demand calibrate (there is no {file}); calibrate one"
        ) from error
    except ValueError as error:
        raise InputError(f"{file}: {error}; calibrate again") from error
    if not (folder / COUNTS).is_dir():
        raise InputError(f"{folder} holds no {COUNTS}, from which forecasts start; calibrate again")
    counts, roads = CountsFolder(folder / COUNTS), Roads(scenario.network)
    places = read_hand(folder / PLACES, roads, counts.detectors()["detector"].to_list())
    return Calibrated(folder, made.begin_s, made.end_s, dates, roads, tuple(places), counts)


def dates_of(scenario: Scenario, of: Calibrated) -> list[datetime.date]:
    """The date of each of a scenario's days, in their order.

    Raises:
        InputError: one of them is none of the folder's.
    """
    stems = {stem_of(name): date for name, date in of.dates.items()}
    found = []
    for path in _routes(scenario):
        if (stem := path.name.partition(".")[0]) not in stems:
            raise InputError(f"{printable(path)} is none of the days of {of.path / RESULT}; calibrate again")
        found.append(stems[stem])
    return found


def _routes(scenario: Scenario) -> tuple[Path, ...]:
    """Files that are called after the days that the scenario's runs have; of changed demand, after the day that it
    was made of."""
    if scenario.days:
        return scenario.days
    if scenario.demand != "recorded" and scenario.sumocfg is not None:
        return (scenario.sumocfg,)
    return scenario.route_files[:1] or (scenario.net_file,)

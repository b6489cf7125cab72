"""A folder of calibrated days, as whoever chooses plans for them reads it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from demand.calibration.counted import time_of_day_s
from demand.calibration.folder import PLACES, RESULT, stem_of
from plumbing.errors import InputError
from plumbing.plain import listed, misfit, parse, text
from scenarios.loading import load
from scenarios.scenario import Scenario


@dataclass(frozen=True)
class DaysFolder:
    """What `python -m demand calibrate` has made."""

    path: Path
    begin_s: int
    end_s: int
    """The window [s since midnight]."""
    days: tuple[str, ...]
    scenario: Scenario
    """Its first day."""

    @property
    def places(self) -> Path:
        """The file that says where the detectors are."""
        return self.path / PLACES


def read_folder(path: Path) -> DaysFolder:
    """Open it.

    Raises:
        InputError: it is no such folder, or something in it is not what it has to be.
    """
    file = path / RESULT
    try:
        found = parse(file.read_bytes())
        if not isinstance(found, dict):
            raise ValueError("it is no calibration")
        misfit(listed(text(20), 2, 2), found.get("window"))
        misfit(listed(lambda day: None if isinstance(day, dict) else "is no day", 1), found.get("days"))
        days = [day.get("day") for day in found["days"]]
        misfit(listed(text(20, "mean|[0-9-]+"), 1), days)
    except OSError as error:
        raise InputError(
            f"{path} is no folder of calibrated days ({RESULT}: {error.strerror}); "
            "make one with python -m demand calibrate"
        ) from error
    except ValueError as error:
        raise InputError(f"{file}: {error}; calibrate again") from error
    begin_s, end_s = map(time_of_day_s, found["window"])
    return DaysFolder(path, begin_s, end_s, tuple(days), load(path / f"{stem_of(days[0])}.sumocfg"))

"""A folder of calibrated days, as whoever chooses plans for them reads it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from demand.calibration.folder import PLACES, RESULT, read_window, stem_of
from plumbing.errors import InputError
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
    try:
        made = read_window(path)
    except OSError as error:
        raise InputError(
            f"{path} is no folder of calibrated days ({RESULT}: {error.strerror}); "
            "make one with python -m demand calibrate"
        ) from error
    days = tuple(made.days)
    return DaysFolder(path, made.begin_s, made.end_s, days, load(path / f"{stem_of(days[0])}.sumocfg"))

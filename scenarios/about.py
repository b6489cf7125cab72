"""What a folder of scenarios says of itself: where they come from, and under which licence."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from plumbing.errors import InputError
from plumbing.plain import json_bytes, misfit, one_of, parse, record, text

FILE = "scenario.json"
_FORMAT = "intergreen scenario 1"
_SHAPE = record({"format": one_of(_FORMAT), **dict.fromkeys(("description", "licence", "source"), text(1000))})


@dataclass(frozen=True)
class About:
    """What lists and reports show of a scenario."""

    description: str
    licence: str
    source: str


def read_about(folder: Path) -> About | None:
    """What a folder says; None where it says nothing.

    Raises:
        InputError: its file is broken.
    """
    path = folder / FILE
    try:
        found = parse(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({error}); make the scenario anew, or remove the file") from error
    if not isinstance(found, dict) or found.get("format") != _FORMAT:
        return None  # somebody else's file of this name
    try:
        misfit(_SHAPE, found)
    except ValueError as error:
        raise InputError(f"{path}: {error}; make the scenario anew, or remove the file") from error
    return About(found["description"], found["licence"], found["source"])


def write_about(folder: Path, about: About) -> None:
    """Write it down."""
    (folder / FILE).write_bytes(json_bytes({"format": _FORMAT, **dataclasses.asdict(about)}))

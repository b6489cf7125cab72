"""What a folder says of its scenario in `scenario.json`: where it came from, and what of it is made up.

`python -m scenarios import` and `python -m demand calibrate` write this file beside the network. It travels with the
routes: whoever loads made-up demand is told so wherever results are shown, and whoever loads routes of their own on
the same network is not.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plumbing.errors import InputError
from plumbing.plain import json_bytes, listed, misfit, one_of, parse, record, text

FILE = "scenario.json"
_FORMAT = "intergreen scenario 1"
_SHAPE = record(
    {
        "format": one_of(_FORMAT),
        **dict.fromkeys(("network", "description", "licence", "source", "made_up"), text(2000)),
        "made_up_routes": listed(text(255), most=1000),
    }
)


@dataclass(frozen=True)
class Provenance:
    """Of a network and the routes that came with it."""

    network: str
    """Name of the network file beside it."""
    description: str
    licence: str
    source: str
    made_up: str = ""
    """What is made up in the routes; "" where nothing is."""
    made_up_routes: tuple[str, ...] = ()
    """Names of the route files beside it that this is about."""


def read_provenance(folder: Path) -> Provenance | None:
    """What the folder says of itself; None where it says nothing.

    Raises:
        InputError: it says something that is not understood.
    """
    file = folder / FILE
    if not file.is_file():
        return None
    try:
        found: Any = parse(file.read_bytes())
        if not isinstance(found, dict) or found.get("format") != _FORMAT:
            return None  # somebody else's file of this name
        misfit(_SHAPE, found)
    except (OSError, ValueError) as error:
        raise InputError(f"{file} cannot be read ({error}); make the scenario anew, or remove this file") from error
    fields = {field.name: found[field.name] for field in dataclasses.fields(Provenance)}
    return Provenance(**{**fields, "made_up_routes": tuple(fields["made_up_routes"])})


def write_provenance(folder: Path, said: Provenance) -> None:
    """Write it beside the network."""
    (folder / FILE).write_bytes(json_bytes({"format": _FORMAT, **dataclasses.asdict(said)}))


def made_up_of(route_files: Sequence[Path]) -> str:
    """What is made up in these route files, by what lies beside them; "" where nothing is."""
    found: dict[str, None] = {}
    for path in route_files:
        said = read_provenance(path.parent)
        if said is not None and said.made_up and path.name in said.made_up_routes:
            found[said.made_up] = None
    return "; ".join(found)


def made_up_line(made_up: str) -> str:
    """For everyone who reads results: that their demand was never counted; "" where it is not made up."""
    return f"MADE UP demand: {made_up}" if made_up else ""

"""What a folder says of its scenario in `import.json`: where it came from, and what of it is made up.

`python -m scenarios import` writes this file beside the network. It travels with the routes: whoever loads made-up
demand is told so wherever results are shown, and whoever loads routes of their own on the same network is not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plumbing.errors import InputError
from plumbing.plain import listed, misfit, one_of, optional, parse, record, text

FILE = "import.json"
FORMAT = "intergreen import 1"
_TEXT = text(2000)
_SHAPE = record(
    {
        "format": one_of(FORMAT),
        "network": text(255),
        "description": _TEXT,
        "licence": _TEXT,
        "source": _TEXT,
        "demand": record({"files": listed(text(255), most=1000), "made_up": optional(_TEXT)}),
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
    routes: tuple[str, ...]
    """Names of the route files beside it."""
    made_up: str | None
    """What is made up in these routes; None where nothing is."""


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
        if not isinstance(found, dict) or not str(found.get("format", "")).startswith("intergreen import"):
            return None  # somebody else's file of this name
        misfit(_SHAPE, found)
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"{file}: {error}; import the map anew, or remove this file") from error
    demand = found["demand"]
    return Provenance(
        found["network"], found["description"], found["licence"], found["source"], tuple(demand["files"]),
        demand["made_up"],
    )  # fmt: skip


def made_up_of(route_files: Sequence[Path]) -> str:
    """What is made up in these route files, by what lies beside them; "" where nothing is."""
    found: dict[str, None] = {}
    for path in route_files:
        said = read_provenance(path.parent)
        if said is not None and said.made_up and path.name in said.routes:
            found[said.made_up] = None
    return "; ".join(found)


def made_up_line(made_up: str) -> str:
    """For everyone who reads results: that their demand was never counted; "" where it is not made up."""
    return f"MADE UP demand: {made_up}" if made_up else ""

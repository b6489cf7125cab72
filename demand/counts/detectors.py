"""A file that tells of detectors: where they are, what they count. Columns as in `DETECTORS`, or by others' names."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import polars as pl

from demand.counts.meter import Meter
from demand.counts.movements import APPROACHES, approach_of
from demand.counts.reading import csv_blocks, layout_of
from demand.counts.schema import DETECTORS
from demand.counts.values import NOTHING, number
from plumbing.errors import InputError, printable

_OTHERS = {
    "detid": "detector", "long": "x", "lat": "y",  # UTD19
    "id": "detector", "longitude": "x", "latitude": "y", "dir": "approach", "direction": "approach",  # PeMS
    "intersection": "site",
}  # fmt: skip
_NUMBERS = ("lane", "x", "y", "position_m")
_LARGEST = 1e9


def read_detectors(path: Path) -> dict[str, dict[str, Any]]:
    """What the file tells of each detector, by its name.

    Raises:
        InputError: it has no column of names, names one twice, or a value is none.
    """
    layout = layout_of(path)
    names = {}
    for name in layout.names:
        ours = name.lower() if name.lower() in DETECTORS else _OTHERS.get(name.lower())
        if ours is not None and ours not in names:
            names[ours] = name
    if "detector" not in names:
        raise InputError(f"{path} has no column 'detector'; it has {printable(', '.join(layout.names))}")
    told: dict[str, dict[str, Any]] = {}
    for line, block in csv_blocks(path, layout, Meter()):
        columns = {
            ours: number(block[theirs], ours, path, line) if ours in _NUMBERS else block[theirs].str.strip_chars()
            for ours, theirs in names.items()
        }
        for row in pl.DataFrame(columns).iter_rows(named=True):
            detector = row.pop("detector")
            if detector in told:
                raise InputError(f"{path} names the detector {printable(detector, 60)!r} twice; keep one row of it")
            told[detector] = {key: value for key, value in row.items() if value is not None}
            if (approach := told[detector].get("approach")) is not None:
                told[detector]["approach"] = _approach(path, detector, approach)
    return told


def table_of(names: list[str], told: dict[str, dict[str, Any]]) -> pl.DataFrame:
    """The table of detectors of these names, with what is told of them."""
    rows = [{"kind": "detector", **told.get(name, {}), "detector": name} for name in names]
    columns = {
        column: pl.Series(column, [_fact(row, column) for row in rows], kind) for column, kind in DETECTORS.items()
    }
    return pl.DataFrame(columns)


def _fact(row: dict[str, Any], column: str) -> Any:
    """What a row tells in a column. Raises InputError for what is no such number."""
    value = row.get(column)
    if column not in _NUMBERS or value is None or value in NOTHING:
        return value if column not in _NUMBERS else None
    try:
        found = float(value)
    except ValueError:
        found = math.nan
    if not abs(found) < _LARGEST or (column == "lane" and not found.is_integer()):
        kind = "a whole number" if column == "lane" else "a number"
        raise InputError(
            f"the {column} of detector {printable(row['detector'], 60)!r} is {printable(value, 40)!r}, not {kind}; "
            "correct it"
        )
    return int(found) if column == "lane" else found


def _approach(path: Path, detector: str, text: str) -> str:
    found = approach_of(text) or approach_of(f"{text}b")
    if found is None:
        raise InputError(
            f"{path}: the approach of {printable(detector, 60)!r} is {printable(text, 40)!r}, not one of "
            f"{', '.join(APPROACHES)}"
        )
    return found

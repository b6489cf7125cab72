"""SUMO's induction loops (E1) and lane area detectors (E2), as XML.

The count is `nVehEntered`, as a loop in the road counts: each vehicle once, when it comes on. Times are seconds of
the simulation; `--date` says on which day it begins, in UTC unless `--zone` says another place.
Source: https://sumo.dlr.de/docs/Simulation/Output/, the pages of these detectors.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from pathlib import Path

import polars as pl

from demand.counts.meter import Meter
from demand.counts.reading import ROWS, Given, Reading, as_rows
from plumbing.errors import InputError, printable
from scenarios.xmlfile import Element, finite, top_level

ZONE = "UTC"
FIRST_DAY = date(2024, 1, 1)
"""A Monday; the day of second 0 where none is given."""
BATCH = 50_000
_WHAT = "the detector output"
_TOUCH = 1e-6


def claims(path: Path, head: bytes) -> bool:
    """Whether it is XML with intervals of detectors."""
    return head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<") and b"<detector" in head


def read(path: Path, given: Given, meter: Meter) -> Reading:
    """The file's counts, by detector. The batches raise InputError for what is no output of such detectors."""
    meter.begin(f"reading {path.name}", 1, "file")
    day = given.day or FIRST_DAY
    notes = [] if given.day else [f"{path.name}: second 0 of the simulation is taken as {day} 00:00; say --date"]
    return Reading(_batches(path, day), given.zone or ZONE, _length_s(path), notes=notes)


def _length_s(path: Path) -> int | None:
    """The length of the first interval, where it is whole [s]."""
    for element in top_level(path, _WHAT):
        length = _value(path, element, "end") - _value(path, element, "begin")
        return int(length) if length >= 1 and abs(length - round(length)) < _TOUCH else None
    return None


def _batches(path: Path, day: date) -> Iterator[pl.DataFrame]:
    midnight = datetime(day.year, day.month, day.day)
    rows: list[tuple[object, ...]] = []
    for element in top_level(path, _WHAT):
        rows.append(_row(path, element, midnight))
        if len(rows) == BATCH:
            yield _table(rows)
            rows = []
    if rows:
        yield _table(rows)


def _table(rows: list[tuple[object, ...]]) -> pl.DataFrame:
    names = ("detector", "time", "count", "occupancy", "speed_mps")
    return as_rows(pl.DataFrame(rows, schema={name: ROWS[name] for name in names}, orient="row"))


def _row(path: Path, element: Element, midnight: datetime) -> tuple[object, ...]:
    area = element.get("sampledSeconds") is not None
    name = element.get("id")
    if element.tag != "interval" or name is None or element.get("nVehEntered") is None:
        raise InputError(
            f"{path}: <{printable(element.tag, 40)}> is no interval of an inductionLoop or a laneAreaDetector; give "
            "the output of such detectors"
        )
    begin = _value(path, element, "begin")
    occupancy = _value(path, element, "meanOccupancy" if area else "occupancy")
    speed = _value(path, element, "meanSpeed" if area else "speed")
    return (
        name,
        midnight + timedelta(seconds=begin),
        _value(path, element, "nVehEntered"),
        occupancy / 100 if occupancy >= 0 else None,
        speed if speed >= 0 else None,  # -1: no vehicle
    )


def _value(path: Path, element: Element, name: str) -> float:
    try:
        return finite(element.get(name, ""))
    except ValueError as error:
        shown = printable(element.get(name), 40)
        raise InputError(f"{path}: {name} is {shown!r} in an interval, no number; is it a whole output?") from error

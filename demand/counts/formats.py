"""The formats of counts, and which one a file is in."""

from __future__ import annotations

import codecs
import importlib
from pathlib import Path
from types import ModuleType

from demand.counts.meter import Meter
from demand.counts.reading import Given, Reading, head_of
from plumbing.errors import InputError, did_you_mean

SAMPLE = "traffic_anomaly"
"""The word that stands for the counts in the package of this name."""
FORMATS = {
    "turning": "15-minute sheet of a turning count, .csv or .xlsx: a column for each movement (NBL NBT NBR …)",
    "pems": "PeMS, station 5-minute text files of California's clearinghouse",
    "utd19": "UTD19, loop detectors of many cities (day, interval, flow, occ, error, city, speed, detid)",
    "sumo": "SUMO's outputs of inductionLoop (E1) and laneAreaDetector (E2), XML",
    "hires": "Indiana hi-res event log of a controller, CSV or Parquet: each detector-on event is a vehicle",
    "table": "our own table, CSV or Parquet: detector (or movement), time, count, and more",
}
"""Each format, asked in this order, with its line of help. `table` is what a CSV or Parquet file else is."""


def read(path: Path, name: str | None, given: Given, meter: Meter) -> Reading:
    """Read a file, in the format of this name or, for None, in the one that it is in.

    Raises:
        InputError: there is no such file, it is empty or of no known format.
    """
    if path.is_dir():
        raise InputError(f"{path} is a folder; name the files in it")
    if path.exists() and not path.is_file():
        raise InputError(f"{path} is no plain file, and is read more than once; save it as one")
    head = head_of(path)
    if name is not None:
        found: Reading = _module(name).read(path, given, meter)
        return found
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise InputError(f"{path} is text in UTF-16; save it as CSV in UTF-8")
    for known in FORMATS:
        if (module := _module(known)).claims(path, head):
            claimed: Reading = module.read(path, given, meter)
            return claimed
    raise InputError(f"{path} is in none of the known formats; see python -m demand import --help")


def format_of(path: Path, name: str | None) -> str:
    """The name of a file's format: the given one, or the first that claims it."""
    head = head_of(path)
    return name or next((known for known in FORMATS if _module(known).claims(path, head)), "table")


def _module(name: str) -> ModuleType:
    if name not in FORMATS:
        raise InputError(f"unknown format {name!r}; there are {', '.join(FORMATS)}.{did_you_mean(name, FORMATS)}")
    return importlib.import_module(f"demand.counts.readers.{name}")

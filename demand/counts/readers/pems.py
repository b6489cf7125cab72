"""PeMS, station 5-minute files, as California's clearinghouse gives them (d04_text_station_5min_2024_05_14.txt.gz).

No header; the columns are Timestamp, Station, District, Freeway, Direction, Lane Type, Station Length, Samples,
% Observed, Total Flow, Avg Occupancy (0 to 1), Avg Speed (mph), then five more for each lane. Where no lane was
observed, PeMS fills in what it expects: such rows are set aside, since nobody counted them.
Source: https://pems.dot.ca.gov, "Data Clearinghouse", type "Station 5-Minute".
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl

from demand.counts.meter import Meter
from demand.counts.readers.table import SPEEDS
from demand.counts.reading import Given, Layout, Reading, as_rows, csv_blocks, head_of
from demand.counts.values import number
from plumbing.errors import InputError, printable

ZONE = "America/Los_Angeles"
INTERVAL_S = 300
FILLED_IN = "filled in by PeMS, not observed"
_FIRST = re.compile(rb"\d\d/\d\d/\d{4} \d\d:\d\d:\d\d,")
_NAMES = (
    "timestamp", "station", "district", "freeway", "direction", "lane_type", "length", "samples", "observed", "flow",
    "occupancy", "speed",
)  # fmt: skip
_LANE_COLUMNS = 5


def claims(path: Path, head: bytes) -> bool:
    """Whether the first line is one of PeMS's: a time stamp and eleven columns at least."""
    line = head.split(b"\n", 1)[0]
    return _FIRST.match(line) is not None and line.count(b",") + 1 >= len(_NAMES)


def read(path: Path, given: Given, meter: Meter) -> Reading:
    """The file's counts, by station. The batches raise InputError for values that are none."""
    columns = head_of(path).split(b"\n", 1)[0].count(b",") + 1
    if columns < len(_NAMES) or (columns - len(_NAMES)) % _LANE_COLUMNS:
        raise InputError(
            f"{path} has {columns} columns, PeMS's station files have 12 and five for each lane; say another --format"
        )
    lanes = tuple(f"lane_{n}" for n in range(columns - len(_NAMES)))
    told: dict[str, dict[str, Any]] = {}
    return Reading(_batches(path, Layout(_NAMES + lanes, ",", has_header=False), meter, told), ZONE, INTERVAL_S, told)


def _batches(path: Path, layout: Layout, meter: Meter, told: dict[str, dict[str, Any]]) -> Iterator[pl.DataFrame]:
    for line, block in csv_blocks(path, layout, meter):
        times = block["timestamp"].str.to_datetime("%m/%d/%Y %H:%M:%S", time_unit="us", strict=False)
        if times.null_count():
            at = times.is_null().arg_max() or 0
            shown = printable(block["timestamp"][at], 40)
            raise InputError(f"{path}, line {line + at}: {shown!r} is no time of PeMS's; is it half a file?")
        for station, direction in block.select("station", "direction").unique(maintain_order=True).iter_rows():
            approach = f"{direction}B" if direction in ("N", "S", "E", "W") else None
            told.setdefault(station, {"kind": "detector", "approach": approach})
        observed = number(block["observed"], "% observed", path, line)
        yield as_rows(
            pl.DataFrame(
                {
                    "detector": block["station"],
                    "time": times,
                    "count": number(block["flow"], "total flow", path, line, finite=True),
                    "occupancy": number(block["occupancy"], "occupancy", path, line),
                    "speed_mps": number(block["speed"], "speed", path, line) * SPEEDS["speed_mph"],
                    "observed": observed,
                }
            ).with_columns(
                aside=pl.when(pl.col("count").is_not_null() & (pl.col("observed") == 0)).then(pl.lit(FILLED_IN))
            )
        )

"""The one table of counts that every step works on.

A row is one interval of one detector:

| column | type | meaning |
|---|---|---|
| `detector` | text | a detector, or a movement of a turning count |
| `time` | UTC, microseconds | begin of the interval |
| `count` | float, ≥ 0 or null | vehicles in the interval; null: nothing is known |
| `occupancy` | float, 0 to 1 or null | share of the interval in which the detector was occupied |
| `speed_mps` | float, ≥ 0 or null | mean speed [m/s] |

Cleaned counts have three columns more:

| column | type | meaning |
|---|---|---|
| `state` | text | "measured", "imputed", or "missing" |
| `why` | text | what was wrong with the value that came in; empty where nothing was |
| `raw` | float or null | the count that came in |

A folder that is not cleaned holds what came in: its counts may be negative, its occupancies above 1. Rows that have
no place in the table (a second count for the same time, a time off the grid) lie beside it, with the reason
(`ASIDE`).

All intervals of a folder are of one length, and begin at whole multiples of it since midnight in its time zone. Rows
are sorted by detector, then time, and each pair is there once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import polars as pl

COUNTS: Mapping[str, Any] = {
    "detector": pl.String(),
    "time": pl.Datetime("us", "UTC"),
    "count": pl.Float64(),
    "occupancy": pl.Float64(),
    "speed_mps": pl.Float64(),
}
CLEANED: Mapping[str, Any] = {**COUNTS, "state": pl.String(), "why": pl.String(), "raw": pl.Float64()}
ASIDE: Mapping[str, Any] = {**COUNTS, "why": pl.String()}
GENERATED = "generated"
"""Format of a source that is a model of days: nobody has counted these vehicles."""
MEASURED, IMPUTED, MISSING = "measured", "imputed", "missing"

DETECTORS: Mapping[str, Any] = {
    "detector": pl.String(),
    "kind": pl.String(),
    "site": pl.String(),
    "approach": pl.String(),
    "movement": pl.String(),
    "lane": pl.Int64(),
    "x": pl.Float64(),
    "y": pl.Float64(),
    "position_m": pl.Float64(),
}
"""What is known of each detector; all but its name may be null. `kind` is "detector" or "movement"; `site` its
intersection; `approach` the direction of travel there ("NB", "NE" …: northbound vehicles come from the south);
`movement` any of "L", "T", "R", "U" joined ("TR"); `lane` counted from the right, 0 first; `x` and `y` longitude and
latitude [degrees]; `position_m` the distance to the stop line."""


FIRST_YEAR, END_YEAR = 1970, 2100
"""Counts of other years come from a wrong date."""


def odd_year(times: pl.Series) -> datetime | None:
    """The first or last of these times where its year cannot be right, else None."""
    begin, end = (
        pl.lit(datetime(year, 1, 1)).dt.cast_time_unit("us").dt.replace_time_zone(times.dtype.time_zone)  # type: ignore[attr-defined]
        for year in (FIRST_YEAR, END_YEAR)
    )
    wrong = times.to_frame("time").filter((pl.col("time") < begin) | (pl.col("time") >= end))["time"]
    return None if wrong.is_empty() else wrong[0]


@dataclass(frozen=True)
class About:
    """What holds for a whole folder of counts."""

    interval_s: int
    """Length of an interval [s]; it divides a day."""
    zone: str
    """The time zone of the place, an IANA name such as "Europe/Berlin": days and weeks are counted by it."""
    sources: tuple[Mapping[str, Any], ...]
    """Where the counts come from: `name`, `format`, `sha256`, `rows` of each file."""
    cleaned: bool = False

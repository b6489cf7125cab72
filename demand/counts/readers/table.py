"""Our own table of counts, as CSV or Parquet: a row for each detector (or movement) and interval.

| column | meaning |
|---|---|
| `detector` or `movement` | its name; a movement such as NBL, with `site` where there are several intersections |
| `time` | begin of the interval: with an offset (2024-05-14T07:15:00+02:00), or as the clocks of `--zone` show it |
| `count` | vehicles in the interval |
| `occupancy`, or `occupancy_percent` | optional: share from 0 to 1, or percent |
| `speed` or `speed_mps`, `speed_kmh`, `speed_mph` | optional: mean speed in m/s, km/h, mph |
| `kind`, `site`, `approach`, `lane`, `x`, `y`, `position_m` | optional: of the detector, as in detectors.csv |
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from demand.counts.meter import Meter
from demand.counts.movements import facts_of, movement_of, name_of
from demand.counts.reading import (
    Given,
    Layout,
    Reading,
    as_rows,
    csv_blocks,
    layout_of,
    parquet_blocks,
    parquet_columns,
)  # fmt: skip
from demand.counts.schema import DETECTORS
from demand.counts.values import number, time
from plumbing.errors import InputError, did_you_mean, printable

OCCUPANCIES = {"occupancy": 1.0, "occupancy_percent": 0.01}
SPEEDS = {"speed": 1.0, "speed_mps": 1.0, "speed_kmh": 1 / 3.6, "speed_mph": 0.44704}
"""Columns of speeds, and what one unit of each is in m/s."""
FASTEST_MPS = 70.0
"""Above this a usual speed is given in another unit [m/s]."""
_FACTS = tuple(name for name in DETECTORS if name not in ("detector", "movement"))


def claims(path: Path, head: bytes) -> bool:
    """Whether a file may be such a table: any CSV or Parquet file may."""
    return head.startswith(b"PAR1") or (b"\0" not in head and not head.lstrip().startswith(b"<"))


def read(path: Path, given: Given, meter: Meter) -> Reading:
    """The file's counts.

    Raises:
        InputError: a column is missing. The batches raise it for values that are none.
    """
    with path.open("rb") as stream:
        parquet = stream.read(4) == b"PAR1"
    layout = Layout(tuple(parquet_columns(path)), ",") if parquet else layout_of(path)
    reader = _Table(path, given, layout)
    blocks = ((1, table) for table in parquet_blocks(path, meter)) if parquet else csv_blocks(path, layout, meter)
    return Reading(reader.batches(blocks), told=reader.told)


class _Table:
    def __init__(self, path: Path, given: Given, layout: Layout) -> None:
        self._path, self._given, self._comma = path, given, layout.separator == ";"
        self._source = _sources(path, given.columns, layout.names)
        self._offsets: set[int] = set()
        self.told: dict[str, dict[str, Any]] = {}

    def batches(self, blocks: Iterator[tuple[int, pl.DataFrame]]) -> Iterator[pl.DataFrame]:
        for line, block in blocks:
            yield self._batch(line, block)

    def _batch(self, line: int, block: pl.DataFrame) -> pl.DataFrame:
        columns = {"detector": self._named(block)}
        times = self._column(block, "time")
        if times.null_count():
            at = times.is_null().arg_max() or 0
            raise InputError(f"{self._path}, line {line + at}: the time is missing; is it half a file?")
        columns["time"] = time(times, self._path, line, self._offsets)
        columns["count"] = self._number(block, "count", line)
        for target, names in (("occupancy", OCCUPANCIES), ("speed_mps", SPEEDS)):
            for name, factor in names.items():
                if name in self._source:
                    columns[target] = self._number(block, name, line) * factor
        if (speeds := columns.get("speed_mps")) is not None and (usual := _median(speeds)) > FASTEST_MPS:
            raise InputError(
                f"{self._path}: its usual speed is {usual:.0f} m/s; name the column by its unit, such as "
                "--columns speed_kmh=speed"
            )
        return as_rows(pl.DataFrame(columns))

    def _column(self, block: pl.DataFrame, name: str) -> pl.Series:
        parts = [block[part] for part in self._source[name]]
        if len(parts) == 1:
            return parts[0]
        return pl.select(pl.concat_str(*parts, separator=" ")).to_series()

    def _number(self, block: pl.DataFrame, name: str, line: int) -> pl.Series:
        text = self._column(block, name)
        return number(text, name, self._path, line, decimal_comma=self._comma, finite=name == "count")

    def _named(self, block: pl.DataFrame) -> pl.Series:
        """The names of the rows' detectors; what the table tells of new ones is kept."""
        movement = "detector" not in self._source
        names = self._column(block, "movement" if movement else "detector").cast(pl.String).str.strip_chars()
        facts = {name: block[self._source[name][0]].cast(pl.String) for name in _FACTS if name in self._source}
        if not movement and "movement" in self._source:
            facts["movement"] = self._column(block, "movement").cast(pl.String)
        sites = facts.get("site", pl.Series("site", [self._given.site], pl.String).new_from_index(0, len(names)))
        rows = pl.DataFrame({"name": names, "site": sites, **facts}).drop_nulls("name")
        for row in rows.unique(["name", "site"] if movement else ["name"], keep="first").iter_rows(named=True):
            self._tell(row, movement)
        if not movement:
            return names
        full = {
            (name, site): _movement_name(name, site)
            for name, site in rows.select("name", "site").unique().iter_rows()
        }
        if all(name == found for (name, _), found in full.items()):
            return names
        pairs = zip(names.to_list(), sites.to_list(), strict=True)
        return pl.Series("detector", [full.get(pair) for pair in pairs], pl.String())

    def _tell(self, row: Mapping[str, str | None], movement: bool) -> None:
        name, told = row["name"] or "", {}
        if movement:
            told = {"kind": "movement", "site": row["site"]}
            if found := movement_of(name):
                told = facts_of(row["site"], *found)
            name = _movement_name(name, row["site"])
        if name not in self.told:
            self.told[name] = {**{key: value for key, value in row.items() if key != "name" and value}, **told}


def _median(values: pl.Series) -> float:
    return float(values.to_frame("v").select(pl.col("v").median()).item() or 0.0)


def _movement_name(name: str, site: str | None) -> str:
    found = movement_of(name)
    return name_of(site, *found) if found else f"{site} {name}" if site else name


def _sources(path: Path, given: Mapping[str, str], names: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """Our columns → the file's, in any case."""
    lower = {name.lower(): name for name in names}
    ours = ["detector", "movement", "time", "count", *OCCUPANCIES, *SPEEDS, *_FACTS]
    sources: dict[str, tuple[str, ...]] = {name: (lower[name],) for name in ours if name in lower}
    for name in sources:
        same = [of for of in names if of.lower() == name]
        if len(same) > 1 and name not in given:
            raise InputError(
                f"{path} has the columns {' and '.join(same)}; say which one it is: --columns {name}=NAME"
            )
    shown = printable(", ".join(names))
    for name, theirs in given.items():
        if name not in ours:
            raise InputError(f"--columns {name}=…: there is no such column.{did_you_mean(name, ours)}")
        parts = (theirs,) if theirs in names else tuple(theirs.split("+"))
        for part in parts:
            if part not in names:
                raise InputError(f"{path} has no column {part!r}; it has {shown}.{did_you_mean(part, names)}")
        sources[name] = parts
    for needed in ("detector", "time", "count"):
        if needed not in sources and not (needed == "detector" and "movement" in sources):
            raise InputError(
                f"{path} has no column {needed!r}; it has {shown}. Say which one it is: --columns {needed}=NAME; or "
                "say the --format"
            )
    return sources

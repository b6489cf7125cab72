"""UTD19, the loop detectors of some forty cities that ETH Zurich has gathered (https://utd19.ethz.ch).

Columns: `day` (2017-05-06), `interval` (its begin, seconds since midnight), `flow` (vehicles per hour), `occ` (0 to
1), `error` (1: the detector's own system marks it as faulty), `city`, `speed` (km/h), `detid`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl

from demand.counts.meter import Meter
from demand.counts.readers.table import SPEEDS
from demand.counts.reading import Given, Layout, Reading, as_rows, csv_blocks, layout_of
from demand.counts.values import number
from plumbing.errors import InputError, did_you_mean, printable

FAULTY = "marked as faulty in UTD19 (error 1)"
NEEDED = ("day", "interval", "flow", "detid")
HOUR_S = 3600


def claims(path: Path, head: bytes) -> bool:
    """Whether the first line names UTD19's columns."""
    line = head.split(b"\n", 1)[0].decode("utf-8-sig", "replace").lower()
    names = {name.strip().strip('"') for name in line.split(",")}
    return names >= set(NEEDED)


def read(path: Path, given: Given, meter: Meter) -> Reading:
    """The file's counts.

    Raises:
        InputError: a column is missing, or `--interval` is: flows per hour become counts by it.
    """
    layout = layout_of(path)
    layout = Layout(tuple(name.lower() for name in layout.names), layout.separator)
    missing = [name for name in NEEDED if name not in layout.names]
    if missing:
        raise InputError(f"{path} has no column {missing[0]!r}, as files of UTD19 have; say another --format")
    return Reading(_batches(path, layout, given, meter, _own_interval_s(path, layout, given)))


def _own_interval_s(path: Path, layout: Layout, given: Given) -> int:
    """The interval that the flows are of [s]: the most common step of the first block."""
    for _, block in csv_blocks(path, layout, Meter()):
        block = _of_city(path, block, given)
        begins = block.select(
            "detid", "day", pl.col("interval").cast(pl.Float64, strict=False)
        ).unique().sort("detid", "day", "interval")  # fmt: skip
        steps = begins.select(pl.col("interval").diff().over("detid", "day"))["interval"]
        steps = steps.filter(steps > 0)
        if len(steps):
            return int(steps.mode().min())  # type: ignore[arg-type]
    raise InputError(f"{path}: no detector has two intervals on one day, so their length is unknown; give more rows")


def _of_city(path: Path, block: pl.DataFrame, given: Given) -> pl.DataFrame:
    if "city" not in block.columns:
        return block
    if given.city is not None:
        return block.filter(pl.col("city") == given.city)
    cities = block["city"].drop_nulls().unique(maintain_order=True).to_list()
    if len(cities) > 1:
        raise InputError(
            f"{path} holds several cities ({printable(', '.join(cities[:8]))}), which have zones of their own; "
            f"choose one: --city {printable(cities[0], 40)}"
        )
    return block


def _batches(path: Path, layout: Layout, given: Given, meter: Meter, interval_s: int) -> Iterator[pl.DataFrame]:
    cities: dict[str, None] = {}
    rows = 0
    for line, block in csv_blocks(path, layout, meter):
        if "city" in block.columns:
            cities |= dict.fromkeys(block["city"].drop_nulls().unique(maintain_order=True))
            if given.city is None and len(cities) > 1:
                _of_city(path, pl.DataFrame({"city": list(cities)}), given)
        days = block["day"].str.to_datetime("%Y-%m-%d", time_unit="us", strict=False)
        begins = number(block["interval"], "interval", path, line)
        wrong = days.is_null() | begins.is_null()
        if wrong.any():
            raise InputError(f"{path}, line {line + (wrong.arg_max() or 0)}: day or interval is missing or none")
        table = block.with_columns(
            begins.alias("begin_s"),
            days.alias("day"),
            (number(block["flow"], "flow", path, line, finite=True) * (interval_s / HOUR_S)).alias("count"),
            *(
                number(block[theirs], theirs, path, line).alias(ours) * factor
                for theirs, ours, factor in (("occ", "occupancy", 1.0), ("speed", "speed_mps", SPEEDS["speed_kmh"]))
                if theirs in block.columns
            ),
        )
        if "error" in block.columns:
            faulty = number(block["error"], "error", path, line) == 1
            table = table.with_columns(aside=pl.when(faulty).then(pl.lit(FAULTY)))
        table = table.with_columns(
            detector=pl.col("detid"), time=pl.col("day") + pl.duration(seconds=pl.col("begin_s").cast(pl.Int64))
        )
        kept = _of_city(path, table, given)
        rows += kept.height
        yield as_rows(kept)
    if not rows and given.city is not None:
        raise InputError(f"{path} has no city {given.city!r}.{did_you_mean(given.city, cities)}")

"""Indiana hi-res event logs of signal controllers, as CSV or Parquet: what happened when, to a tenth of a second.

Columns, by the names that agencies use: a time stamp, the controller, the event's code, its parameter. Code 82 is
"detector on" with the channel as its parameter; each is a vehicle counted. An interval in which the controller wrote
nothing at all is not zero but unknown. Event codes: Sturdevant et al. 2012, Indiana Traffic Signal Hi Resolution Data
Logger Enumerations. The package atspm counts the same, but only for channels that its table of detectors lists;
here the log alone suffices.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl

from demand.counts.meter import Meter
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
from demand.counts.values import number, time
from plumbing.errors import InputError

DETECTOR_ON = 82
INTERVAL_S = 900
_NAMES = {
    "time": ("timestamp", "time_stamp", "time", "datetime"),
    "device": ("deviceid", "device_id", "signalid", "signal_id", "locationidentifier", "device", "signal"),
    "code": ("eventid", "event_id", "eventcode", "event_code", "event", "code"),
    "parameter": ("parameter", "param", "eventparam", "event_param", "event_parameter"),
}


def claims(path: Path, head: bytes) -> bool:
    """Whether the columns are those of an event log."""
    if head.startswith(b"PAR1"):
        return len(_found(tuple(parquet_columns(path)))) == len(_NAMES)
    line = head.split(b"\n", 1)[0].decode("utf-8-sig", "replace")
    return len(_found(tuple(name.strip().strip('"') for name in line.split(",")))) == len(_NAMES)


def read(path: Path, given: Given, meter: Meter) -> Reading:
    """The vehicles that each channel counted.

    Raises:
        InputError: a column is missing. The batches raise it for values that are none.
    """
    with path.open("rb") as stream:
        parquet = stream.read(4) == b"PAR1"
    layout = Layout(tuple(parquet_columns(path)), ",") if parquet else layout_of(path)
    source = _found(layout.names)
    missing = [name for name in _NAMES if name not in source]
    if missing:
        raise InputError(f"{path} has no column of the {missing[0]}, as event logs have; say another --format")
    interval_s = given.interval_s or INTERVAL_S
    told: dict[str, dict[str, Any]] = {}
    blocks = (
        ((1, table) for table in parquet_blocks(path, meter, list(source.values())))
        if parquet
        else csv_blocks(path, layout, meter)
    )
    counted = _counted(path, blocks, source, interval_s, told)
    return Reading(counted, interval_s=interval_s, told=told)


def _found(names: tuple[str, ...]) -> dict[str, str]:
    """What a column holds → its name in the file."""
    lower = {name.lower(): name for name in names}
    return {what: lower[known[0]] for what, ways in _NAMES.items() if (known := [w for w in ways if w in lower])}


def _counted(
    path: Path,
    blocks: Iterator[tuple[int, pl.DataFrame]],
    source: dict[str, str],
    interval_s: int,
    told: dict[str, dict[str, Any]],
) -> Iterator[pl.DataFrame]:
    """One batch: only sums are kept, and of them there are few."""
    offsets: set[int] = set()
    on: list[pl.DataFrame] = []
    alive: list[pl.DataFrame] = []
    for line, block in blocks:
        events = pl.DataFrame(
            {
                "time": time(block[source["time"]], path, line, offsets),
                "device": block[source["device"]].cast(pl.String).str.strip_chars(),
                "code": number(block[source["code"]], "event code", path, line),
                "parameter": number(block[source["parameter"]], "parameter", path, line).cast(pl.Int64),
            }
        ).with_columns(pl.col("time").dt.truncate(f"{interval_s}s"))
        alive = [pl.concat([*alive, events.select("device", "time").unique()]).unique()]
        found = events.filter(pl.col("code") == DETECTOR_ON).group_by("device", "parameter", "time").len("count")
        on = [pl.concat([*on, found]).group_by("device", "parameter", "time").agg(pl.col("count").sum())]
    if not on or on[0].is_empty():
        raise InputError(f"{path} holds no event {DETECTOR_ON} (detector on), so nothing was counted")
    channels = on[0].select("device", "parameter").unique().sort("device", "parameter")
    rows = channels.join(alive[0], on="device").join(
        on[0], on=["device", "parameter", "time"], how="left"
    ).with_columns(
        detector=pl.format("{} detector {}", "device", "parameter"),
        count=pl.col("count").fill_null(0).cast(pl.Float64),
    )  # fmt: skip
    for device, name in rows.select("device", "detector").unique().sort("detector").iter_rows():
        told[name] = {"kind": "detector", "site": device}
    yield as_rows(rows)

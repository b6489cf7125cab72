"""A folder of counts as one array: intervals by detectors, on a clock that knows local days."""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl

from demand.counts.schema import MEASURED
from demand.counts.store import CountsFolder
from demand.counts.timeline import FLOW, OCCUPANCY, Clock, Numbers
from plumbing.errors import InputError

FINEST_S = 300  # shorter intervals are added up: single vehicles at five minutes are noise enough
LONGEST_DAYS = (
    120  # a season: older days say little of tomorrow, and the arrays stay below a gigabyte for 500 detectors
)
_DAY_S = 86_400


@dataclass(frozen=True)
class Series:
    """One quantity of all detectors."""

    quantity: str
    """"flow" [vehicles per interval] or "occupancy" [percent of the interval]."""
    detectors: tuple[str, ...]
    sites: tuple[int, ...]
    """Number of each detector's site, from 0: detectors of one site inform each other."""
    clock: Clock
    values: Numbers
    """(intervals, detectors); NaN where nothing is known."""
    measured: Numbers
    """The same shape, true where the value was measured: what was imputed may inform a forecast, never judge it."""
    digest: str
    """SHA-256 over names, clock and values."""


def read_series(folder: CountsFolder, quantity: str = FLOW) -> Series:
    """The last `LONGEST_DAYS` days of a folder.

    Raises:
        InputError: the intervals are longer than an hour, or the folder has no such quantity.
    """
    about = folder.about
    if about.interval_s > 3600:
        raise InputError(
            f"{folder.path} has intervals of {about.interval_s} s; a forecast of up to 60 minutes wants 3600 s or "
            "less"
        )
    interval_s = next(
        n for n in range(about.interval_s, _DAY_S + 1, about.interval_s) if n >= FINEST_S and _DAY_S % n == 0
    )
    table = _of_quantity(folder, quantity)
    begin, end = table["time"].min(), table["time"].max()
    if not isinstance(begin, datetime.datetime) or not isinstance(end, datetime.datetime):
        raise InputError(f"{folder.path} holds no {quantity}; import counts that do, or forecast another quantity")
    zone = ZoneInfo(about.zone)
    first = _midnight(max(begin, end - datetime.timedelta(days=LONGEST_DAYS)), zone)
    table = table.filter(pl.col("time") >= first)
    steps = int((end - first).total_seconds()) // about.interval_s + 1
    told = folder.detectors().sort("detector")
    names = tuple(told["detector"].to_list())
    fine, known = _dense(table, names, first, about.interval_s, steps)
    values, measured = _added_up(fine, known, interval_s // about.interval_s, quantity)
    known_sites = [site or "" for site in told["site"].to_list()]
    order = {site: number for number, site in enumerate(dict.fromkeys(known_sites))}
    clock = Clock(int(first.timestamp()), interval_s, about.zone, len(values))
    digest = hashlib.sha256(repr((names, clock.begin, interval_s, about.zone, quantity)).encode())
    digest.update(np.ascontiguousarray(values).tobytes() + np.ascontiguousarray(measured).tobytes())
    return Series(
        quantity, names, tuple(order[site] for site in known_sites), clock, values, measured, digest.hexdigest()
    )


def quantities(folder: CountsFolder) -> tuple[str, ...]:
    """What a folder holds: flow, and occupancy where it is known somewhere."""
    has = any(part["occupancy"].is_not_null().any() for part in folder.parts())
    return (FLOW, OCCUPANCY) if has else (FLOW,)


def _of_quantity(folder: CountsFolder, quantity: str) -> pl.DataFrame:
    value = pl.col("count") if quantity == FLOW else pl.col("occupancy") * 100.0
    measured = pl.col("state") == MEASURED if folder.about.cleaned else pl.lit(True)
    return folder.frame().select("detector", "time", value=value, measured=measured).drop_nulls("value")


def _midnight(time: datetime.datetime, zone: ZoneInfo) -> datetime.datetime:
    local = time.astimezone(zone)
    return datetime.datetime(local.year, local.month, local.day, tzinfo=zone).astimezone(datetime.UTC)


def _dense(
    table: pl.DataFrame, names: Sequence[str], first: datetime.datetime, interval_s: int, steps: int
) -> tuple[Numbers, Numbers]:
    rows = ((table["time"].dt.epoch("s") - int(first.timestamp())) // interval_s).to_numpy()
    place = {name: number for number, name in enumerate(names)}
    columns = table["detector"].replace_strict(place, return_dtype=pl.Int64).to_numpy()
    values = np.full((steps, len(names)), np.nan)
    known = np.zeros((steps, len(names)), bool)
    values[rows, columns] = table["value"].to_numpy()
    known[rows, columns] = table["measured"].to_numpy()
    return values, known


def _added_up(values: Numbers, known: Numbers, together: int, quantity: str) -> tuple[Numbers, Numbers]:
    """Longer intervals: sums of flow, means of occupancy; nothing where a part is not known."""
    if together == 1:
        return values, known
    whole = len(values) // together * together
    parts = values[:whole].reshape(-1, together, values.shape[1])
    joined = parts.sum(axis=1) if quantity == FLOW else parts.mean(axis=1)
    return joined, np.asarray(known[:whole].reshape(parts.shape).all(axis=1))

"""Counts as arrays: a row for each interval, a column for each detector."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import polars as pl

from demand.counts.schema import IMPUTED, MISSING
from demand.counts.store import CountsFolder
from plumbing.errors import InputError

FloatArray = npt.NDArray[np.float64]
MEASURES = ("count", "occupancy", "speed_mps")
_DAY_S = 86_400
_MOST_CELLS = 30_000_000  # a month of 700 detectors by minutes; 240 MB a measure


@dataclass(frozen=True)
class Panel:
    """Counts on a whole grid of time and detectors."""

    detectors: tuple[str, ...]
    """[D]"""
    times: tuple[datetime.datetime, ...]
    """[T] begin of each interval, UTC, rising; intervals of which nothing at all is known are left out."""
    interval_s: int
    values: FloatArray
    """[M, T, D] by `MEASURES`; NaN: unknown."""
    slot: npt.NDArray[np.int64]
    """[T] number of the interval within its day, in the place's own time."""
    weekend: npt.NDArray[np.bool_]
    """[T]"""
    day: npt.NDArray[np.int64]
    """[T] the local day, as an ordinal."""
    run: npt.NDArray[np.int64]
    """[T] number of the unbroken run of intervals that a row belongs to: nothing is carried over a gap."""

    @property
    def slots(self) -> int:
        """Intervals a day."""
        return _DAY_S // self.interval_s

    def known(self, measure: int) -> bool:
        """Whether anything is known of a measure."""
        return bool(np.isfinite(self.values[measure]).any())


def panel_of(folder: CountsFolder, detectors: Sequence[str] | None = None) -> Panel:
    """The counts of a folder as arrays. Imputed values are unknown: what is made up tells of no incident.

    Args:
        detectors: in this order, as a model knows them; one that the folder lacks is unknown throughout.

    Raises:
        InputError: there are none of them, or more than fit.
    """
    table = folder.frame()
    if "state" in table.columns:
        made_up = pl.col("state").is_in([IMPUTED, MISSING])
        table = table.with_columns(
            pl.when(made_up).then(None).otherwise(pl.col(name)).alias(name) for name in MEASURES
        )
    return to_panel(table, folder.about.interval_s, folder.about.zone, detectors, str(folder.path))


def to_panel(
    table: pl.DataFrame, interval_s: int, zone: str, detectors: Sequence[str] | None = None, where: str = "the counts"
) -> Panel:
    """The same of a table with the columns of `COUNTS`; `where` names it in messages."""
    names = tuple(sorted(table["detector"].unique())) if detectors is None else tuple(detectors)
    table = table.filter(pl.col("detector").is_in(list(names)))
    if table.is_empty():
        raise InputError(f"{where}: none of the model's detectors is there; watch the place that it was learned at")
    times = table["time"].unique().sort()
    if len(times) * len(names) > _MOST_CELLS:
        raise InputError(f"{where}: {len(times):,} intervals of {len(names):,} detectors are too many at a time; "
                         "give fewer days or detectors")  # fmt: skip
    column = {name: n for n, name in enumerate(names)}
    rows = times.search_sorted(table["time"]).to_numpy()
    columns = table["detector"].replace_strict(column, return_dtype=pl.Int64).to_numpy()
    values = np.full((len(MEASURES), len(times), len(names)), np.nan)
    for n, measure in enumerate(MEASURES):
        values[n, rows, columns] = table[measure].cast(pl.Float64).fill_null(float("nan")).to_numpy()
    moments = times.to_list()
    local = [moment.astimezone(ZoneInfo(zone)) for moment in moments]
    gaps = np.diff(times.dt.epoch("s").to_numpy()) > 1.5 * interval_s
    return Panel(
        detectors=names,
        times=tuple(moments),
        interval_s=interval_s,
        values=values,
        slot=np.array([(at.hour * 3600 + at.minute * 60 + at.second) // interval_s for at in local], np.int64),
        weekend=np.array([at.weekday() >= 5 for at in local]),
        day=np.array([at.toordinal() for at in local], np.int64),
        run=np.concatenate([[0], np.cumsum(gaps)]).astype(np.int64),
    )

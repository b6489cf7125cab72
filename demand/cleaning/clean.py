"""Cleaning a folder of counts, part by part: what is wrong, what stands in for it, and what it all came to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

import numpy as np
import polars as pl

from demand.cleaning import settings as words
from demand.cleaning.clock import Shift, changes_of, ignored_change, shifts_of
from demand.cleaning.faults import judged
from demand.cleaning.grid import filled
from demand.cleaning.impute import imputed
from demand.cleaning.profile import with_local
from demand.cleaning.settings import CleaningSettings
from demand.counts.gather import ANOTHER
from demand.counts.meter import Meter
from demand.counts.schema import CLEANED, IMPUTED, MEASURED, MISSING
from demand.counts.store import CountsFolder
from plumbing.errors import InputError

STATES = (MEASURED, IMPUTED, MISSING)


@dataclass
class Outcome:
    """What cleaning came to; complete when the parts are through."""

    rows_in: int = 0
    aside: Counter[str] = field(default_factory=Counter)
    spells: list[pl.DataFrame] = field(default_factory=list)
    """Stretches of rows of one detector with one reason: `detector`, `why`, `first`, `last`, `rows`, `imputed`."""
    days: list[pl.DataFrame] = field(default_factory=list)
    """Of each detector and day: `rows`, of them `added`, `measured`, `imputed`, `missing`; `vehicles`, `known`."""
    shifts: list[dict[str, Any]] = field(default_factory=list)
    """Clocks that were off: `detector`, `first`, `last` (days), `late_s`."""
    clocks_doubtful: int = 0
    """Detectors whose pattern lies elsewhere on so many days that it is unknown which are right."""
    changes: Counter[date] = field(default_factory=Counter)
    """Days of a change of the clocks → detectors whose own clock seems to have ignored it."""


class Cleaning:
    """See the module. Take `parts`, then read `outcome`."""

    def __init__(self, folder: CountsFolder, settings: CleaningSettings, meter: Meter) -> None:
        """Of a folder.

        Raises:
            InputError: it is cleaned already, or holds no vehicle.
        """
        if folder.about.cleaned:
            raise InputError(f"{folder.path} is cleaned already; clean the folder that was imported")
        self._folder, self._settings, self._meter = folder, settings, meter
        self._zone, self._interval_s = folder.about.zone, folder.about.interval_s
        detectors = folder.detectors()
        self._movements = set(detectors.filter(pl.col("kind") == "movement")["detector"])
        alone = pl.format("detector {}", "detector")
        clocks = detectors.select("detector", pl.coalesce(pl.format("site {}", "site"), alone).alias("clock"))
        self._clocks: dict[str, str] = dict(clocks.iter_rows())
        self._count_parts = 0
        self._first, self._last = self._span()
        self._changes = changes_of(self._zone, self._first, self._last)
        self.outcome = Outcome()

    def _span(self) -> tuple[datetime, datetime]:
        firsts, lasts, vehicles = [], [], 0.0
        for part in self._folder.parts():
            self._count_parts += 1
            firsts.append(part.select(pl.col("time").min()).item())
            lasts.append(part.select(pl.col("time").max()).item())
            vehicles += float(part.select(pl.col("count").filter(pl.col("count") > 0).sum()).item())
        if not vehicles:
            raise InputError(f"{self._folder.path}: all counts are zero or missing; import other counts")
        return min(firsts), max(lasts)

    def parts(self) -> Iterator[pl.DataFrame]:
        """The cleaned parts, with the columns of `CLEANED`."""
        two = self._aside()
        self._meter.begin("cleaning", self._count_parts, "parts")
        for done, part in enumerate(self._folder.parts(), start=1):
            yield self._part(part, two)
            self._meter.at(done)

    def _aside(self) -> pl.DataFrame:
        """Times for which there is another count; all reasons are counted."""
        found = [pl.DataFrame(schema={name: CLEANED[name] for name in ("detector", "time")})]
        for rows in self._folder.aside():
            self.outcome.aside.update(dict(rows["why"].value_counts().iter_rows()))
            found.append(rows.filter(pl.col("why") == ANOTHER).select("detector", "time"))
        return pl.concat(found).unique()

    def _part(self, part: pl.DataFrame, two: pl.DataFrame) -> pl.DataFrame:
        self.outcome.rows_in += part.height
        names = part["detector"].unique()
        table = filled(part, self._movements, self._interval_s, self._first, self._last)
        table = with_local(table, self._zone, self._interval_s)
        table = judged(table, two.filter(pl.col("detector").is_in(names.implode())), self._interval_s, self._settings)
        table = self._with_clocks(table)
        table = imputed(table, self._interval_s, self._settings)
        self._tally(table)
        return table.select(list(CLEANED))

    def _with_clocks(self, table: pl.DataFrame) -> pl.DataFrame:
        """The table with `moved`: counts at their right time, on days on which the clock was off.

        A controller has one clock: the detectors of a site are judged together, as far as they are in one part.
        """
        each = table.partition_by("detector", maintain_order=True)
        moved = [np.full(rows.height, np.nan) for rows in each]
        off = [np.zeros(rows.height, dtype=bool) for rows in each]
        pools: dict[str, list[int]] = {}
        for n, rows in enumerate(each):
            name = rows["detector"][0]
            if name not in self._movements:
                pools.setdefault(self._clocks[name], []).append(n)
                self.outcome.changes.update(
                    day
                    for day, by_s in self._changes
                    if ignored_change(rows, (day, by_s), self._interval_s, self._settings)
                )
        for members in pools.values():
            shifts = shifts_of([each[n] for n in members], self._interval_s, self._settings)
            days = each[members[0]]["day"].n_unique()
            if sum((s.last - s.first).days + 1 for s in shifts) > self._settings.clock_most * days:
                self.outcome.clocks_doubtful += len(members)
                continue
            for shift in shifts:
                for n in members:
                    self.outcome.shifts.append(
                        {
                            "detector": each[n]["detector"][0],
                            "first": str(shift.first),
                            "last": str(shift.last),
                            "late_s": shift.late_s,
                        }
                    )
                    self._put_back(each[n], shift, moved[n], off[n])
        wrong = pl.Series("off", np.concatenate(off)) & table["why"].is_null()
        return table.with_columns(
            pl.Series("moved", np.concatenate(moved)).fill_nan(None),
            pl.when(wrong).then(pl.lit(words.CLOCK)).otherwise("why").alias("why"),
        )

    def _put_back(self, rows: pl.DataFrame, shift: Shift, shown: np.ndarray, wrong: np.ndarray) -> None:
        """Mark the days of a shift, and note what their clock showed so much later."""
        days = rows.select(pl.col("day").is_between(shift.first, shift.last))["day"].to_numpy()
        counts = rows.select(pl.when(pl.col("why").is_null()).then("count"))["count"].cast(pl.Float64).to_numpy()
        at = np.flatnonzero(days)
        source = at + shift.late_s // self._interval_s
        inside = (source >= at[0]) & (source <= at[-1])
        shown[at[inside]] = counts[source[inside]]
        wrong |= days

    def _tally(self, table: pl.DataFrame) -> None:
        self.outcome.days.append(
            table.group_by("detector", "day", maintain_order=True).agg(
                rows=pl.len(),
                added=pl.col("added").sum(),
                **{state: (pl.col("state") == state).sum() for state in STATES},
                vehicles=pl.col("count").sum(),
                known=(pl.col("state") != MISSING).mean(),
            )
        )
        run = pl.struct("detector", "why").rle_id()
        self.outcome.spells.append(
            table.with_columns(run=run)
            .filter(pl.col("why") != "")
            .group_by("run", maintain_order=True)
            .agg(
                pl.col("detector", "why").first(),
                first=pl.col("time").min(),
                last=pl.col("time").max(),
                rows=pl.len(),
                imputed=(pl.col("state") == IMPUTED).sum(),
            )
            .drop("run")
        )

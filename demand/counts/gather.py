"""Rows in any order, from any number of files, into sorted parts of whole detectors, in bounded memory.

Rows go to buckets on the disk, each of which holds whole detectors; then each bucket is sorted, brought to UTC and to
the grid of intervals. A row that does not fit there is set aside with the reason: none is dropped.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import polars as pl

from demand.counts.clock import DAY_S, grid_us, repeats, to_utc, usual_step_s
from demand.counts.meter import Meter
from demand.counts.schema import ASIDE, COUNTS, END_YEAR, FIRST_YEAR, odd_year
from plumbing.errors import InputError, printable
from plumbing.plain import text

PART_ROWS = 600_000
"""Rows that a part should hold. While it is made it takes about ten times its size."""
LARGEST_COUNT = 1e6
"""Vehicles in an interval: some hundred lanes over a day. A detector's fault stays far below, a file's does not."""
HELD_ROWS = 1_500_000
"""Rows that are kept before they go to the disk."""
_KEY = 1 << 53
_NAME = text(500)
"""What models and reports can hold as a detector's name."""
OFF_GRID = 0.1
"""Share of an interval by which a time may miss its begin: loggers are some seconds late."""
STEADY, STEADY_ROWS = 0.9, 10
"""Share of steps, and how many, from which a coarser step is the detector's own interval and not a row of gaps."""
MOST_OFF_GRID = 0.05
"""Share of rows off the grid from which the interval itself must be wrong."""

REPEATED, ANOTHER = "the same row again", "another count for the same time"
OFF, SKIPPED = "its time is not on the grid of intervals", "a time that clocks skipped in spring"


class Gather:
    """See the module. Call `add` with each batch, then `settle`, then take `parts`, then `aside`."""

    def __init__(self, folder: Path, rows: int) -> None:
        """Gather into an empty folder.

        Args:
            rows: about how many are expected; from it follows how many parts there are.
        """
        self._folder = folder
        self._buckets = max(1, math.ceil(rows / PART_ROWS))
        self._number: dict[str, int] = {}
        self._held: list[pl.DataFrame] = []
        self._held_rows = 0
        self._written: dict[int, list[Path]] = {}
        self._aside: list[Path] = []
        self._utc: bool | None = None
        self.rows = 0
        """Rows that were added."""
        self.reasons: Counter[str] = Counter()
        """Why rows were set aside, and how many; complete when the parts are through."""
        self.autumn_rows = 0
        """Rows in the hour that is there twice."""

    def add(self, batch: pl.DataFrame, name: str) -> None:
        """Take a batch with the columns of `demand.counts.reading.ROWS`.

        Raises:
            InputError: its times are in UTC and others are not, or a row has no detector, no time or
                an impossible one, or a name that nothing can hold.
        """
        if batch.is_empty():
            return
        utc = batch.schema["time"].time_zone is not None  # type: ignore[attr-defined]
        if self._utc is not None and utc != self._utc:
            raise InputError(
                f"{name}: some times have an offset and others have none; mixed zones cannot be told apart: import "
                "the files by themselves"
            )
        self._utc = utc
        for column in ("detector", "time"):
            if batch[column].null_count():
                raise InputError(f"{name}: a row has no {column}; is it half a file? Correct it")
        if (wrong := odd_year(batch["time"])) is not None:
            raise InputError(
                f"{name}: a time is of the year {wrong.year}, and none before {FIRST_YEAR} or from {END_YEAR} on "
                "can be right; correct it"
            )
        if (batch["count"].abs() > LARGEST_COUNT).any():
            raise InputError(
                f"{name}: a count is beyond {LARGEST_COUNT:g} vehicles in an interval, which no road carries; "
                "correct it"
            )
        for found in batch["detector"].unique(maintain_order=True):
            if found not in self._number:
                if (wrong_name := _NAME(found)) is not None:
                    raise InputError(f"{name}: a detector's name {wrong_name} and no control ones; correct it")
                self._number[found] = len(self._number)
        self.rows += batch.height
        self._held.append(
            batch.with_columns(
                pl.col("detector").replace_strict(self._number, return_dtype=pl.UInt32),
                pl.col("time").dt.replace_time_zone(None),
            )
        )
        self._held_rows += batch.height
        if self._held_rows >= HELD_ROWS:
            self._flush()

    @property
    def detectors(self) -> list[str]:
        """The names of all detectors, in the order in which they came up."""
        return list(self._number)

    def settle(self, zone: str, interval_s: int | None, clock: str | None = None) -> int:
        """Fix the zone and the interval; call it when all is added. Returns the interval [s].

        Args:
            interval_s: None for the files' own.
            clock: the zone that the files' clocks keep, where it is another one.

        Raises:
            InputError: there are no rows, or the interval is none that divides a day.
        """
        self._flush()
        if not self.rows:
            raise InputError("the files hold no rows; give files with counts")
        self._zone, self._clock = zone, clock or zone
        if interval_s is None:
            steps = usual_step_s(self._bucket(min(self._written)))
            if steps.is_empty():
                raise InputError("no detector has two times, so their interval is unknown; say --interval SECONDS")
            interval_s = int(Counter(steps["step_s"]).most_common(1)[0][0])
        if not 1 <= interval_s <= DAY_S or DAY_S % interval_s:
            raise InputError(
                f"the interval is {interval_s} s, which does not divide a day; say another with --interval SECONDS"
            )
        self._interval_s = interval_s
        return interval_s

    def parts(self, meter: Meter) -> Iterator[pl.DataFrame]:
        """The parts, with the columns of `COUNTS`.

        Raises:
            InputError: a detector's own interval does not go into the common one, or many times are off the grid.
        """
        names = pl.Series("name", self.detectors, pl.String())
        meter.begin("sorting", len(self._written), "parts")
        for done, bucket in enumerate(sorted(self._written), start=1):
            kept, aside = self._on_the_grid(self._bucket(bucket))
            if not aside.is_empty():
                self._aside.append(self._folder / f"aside-{bucket}.parquet")
                _named(aside, names).select(list(ASIDE)).write_parquet(self._aside[-1])
                for reason, rows in aside["why"].value_counts().iter_rows():
                    self.reasons[reason] += rows
            for file in self._written[bucket]:
                file.unlink()
            if not kept.is_empty():
                yield _named(kept, names).select(list(COUNTS))
            meter.at(done)

    def aside(self) -> Iterator[pl.DataFrame]:
        """The rows that were set aside, with the columns of `ASIDE`."""
        for file in self._aside:
            yield pl.read_parquet(file)

    def _flush(self) -> None:
        if not self._held:
            return
        held = pl.concat(self._held).with_columns(bucket=pl.col("detector") % self._buckets)
        self._held, self._held_rows = [], 0
        for (bucket,), rows in held.partition_by("bucket", as_dict=True, include_key=False).items():
            files = self._written.setdefault(int(bucket), [])
            files.append(self._folder / f"rows-{bucket}-{len(files)}.parquet")
            rows.write_parquet(files[-1], compression="lz4", statistics=False)

    def _bucket(self, bucket: int) -> pl.DataFrame:
        """All rows of a bucket, by detector and time, rows of one time in the order in which they came."""
        rows = pl.concat([pl.read_parquet(file) for file in self._written[bucket]])
        return _by_detector_and_time(rows)

    def _on_the_grid(self, rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
        """The rows of a bucket that fit, and those that do not, with why."""
        if self._utc:
            table = rows.with_columns(pl.col("time").dt.replace_time_zone("UTC"), skipped=pl.lit(False))
        else:
            table = to_utc(rows, self._clock)
            self.autumn_rows += int(table["autumn"].sum())
            table = table.with_columns(  # a row without a time in UTC keeps what the clock showed
                pl.col("time").fill_null(rows["time"].dt.replace_time_zone("UTC"))
            ).drop("autumn")
        steps = self._steps(table)
        table = table.join(steps, on="detector", how="left", maintain_order="left")
        late = pl.lit(0, pl.Int64)
        for step in steps["step_s"].unique():
            late = pl.when(pl.col("step_s") == step).then(grid_us(int(step), self._zone)).otherwise(late)
        table = table.with_columns(late=late)
        step_us = pl.col("step_s") * 1_000_000
        table = table.with_columns(
            moved=pl.when(pl.col("late") <= OFF_GRID * step_us)
            .then(pl.col("late"))
            .when(pl.col("late") >= (1 - OFF_GRID) * step_us)
            .then(pl.col("late") - step_us)
        )
        off = int(table["moved"].null_count())
        if off > MOST_OFF_GRID * table.height:
            at = table.filter(pl.col("moved").is_null())["time"][0]
            raise InputError(
                f"{off} of {table.height} times, such as {at:%Y-%m-%d %H:%M:%S} UTC, are no begin of an interval of "
                f"{self._interval_s} s in {self._zone}; say --interval SECONDS or the right --zone"
            )
        table = table.with_columns(
            why=pl.coalesce(
                "aside",
                pl.when("skipped").then(pl.lit(SKIPPED)),
                pl.when(pl.col("moved").is_null()).then(pl.lit(OFF)),
            ),
            time=pl.col("time") - pl.duration(microseconds=pl.col("moved").fill_null(0)),
        ).drop("aside", "skipped", "late", "moved")
        fit, aside = table.filter(pl.col("why").is_null()), [table.filter(pl.col("why").is_not_null())]
        fit = _by_detector_and_time(fit)
        fit = fit.with_columns(again=repeats())
        if fit["again"].any():
            first = fit.unique(["detector", "time"], keep="first", maintain_order=True)
            others = fit.filter("again").join(first, on=["detector", "time"], suffix="_first", maintain_order="left")
            values = ("count", "occupancy", "speed_mps")
            same = pl.all_horizontal(pl.col(name).eq_missing(pl.col(f"{name}_first")) for name in values)
            others = others.with_columns(why=pl.when(same).then(pl.lit(REPEATED)).otherwise(pl.lit(ANOTHER)))
            aside.append(others.select(table.columns))
            fit = fit.filter(~pl.col("again"))
        return self._summed(fit.drop("again", "why")), pl.concat(aside)

    def _steps(self, table: pl.DataFrame) -> pl.DataFrame:
        """The interval that each detector of a bucket counts by: `detector` and `step_s`."""
        steps = usual_step_s(table)
        coarse = steps.filter(
            (pl.col("step_s") > self._interval_s) & (pl.col("share") > STEADY) & (pl.col("rows") >= STEADY_ROWS)
        )
        if not coarse.is_empty():
            number, step = coarse.row(0)[:2]
            raise InputError(
                f"the detector {printable(self.detectors[number], 60)!r} counts every {step} s, others every "
                f"{self._interval_s} s; say --interval with a multiple of both"
            )
        found = steps.select("detector", "step_s")
        detectors = table.select("detector").unique().join(found, on="detector", how="left")
        finer = (pl.col("step_s") < self._interval_s) & (self._interval_s % pl.col("step_s") == 0)
        odd = detectors.filter((pl.col("step_s") < self._interval_s) & ~finer)
        if not odd.is_empty():
            number, step = odd.row(0)
            raise InputError(
                f"the detector {printable(self.detectors[number], 60)!r} counts every {step} s, which does not go "
                f"into {self._interval_s} s; say --interval with a multiple of both"
            )
        return detectors.with_columns(pl.when(finer).then("step_s").otherwise(self._interval_s).alias("step_s"))

    def _summed(self, fit: pl.DataFrame) -> pl.DataFrame:
        """Rows of finer intervals in rows of the common one; unknown where one of them is missing."""
        if (fit["step_s"] == self._interval_s).all():
            return fit
        begin = pl.col("time") - pl.duration(microseconds=grid_us(self._interval_s, self._zone))
        full = (pl.len() == self._interval_s // pl.col("step_s").first()) & (pl.col("count").null_count() == 0)
        known = pl.col("speed_mps").is_not_null()
        weight = (pl.col("count") * known).sum()
        return (
            fit.group_by("detector", begin.alias("time"), maintain_order=True)
            .agg(
                count=pl.when(full).then(pl.col("count").sum()),
                occupancy=pl.when(full).then(pl.col("occupancy").mean()),
                speed_mps=pl.when(weight > 0).then((pl.col("speed_mps") * pl.col("count")).sum() / weight),
            )
            .sort("detector", "time")
        )


def _by_detector_and_time(rows: pl.DataFrame) -> pl.DataFrame:
    """The rows by the number of the detector, then time; those of one time stay in their order.

    One key of 64 bits takes two thirds of the time of two: microseconds of three centuries take 53 of them.
    """
    key = pl.col("detector").cast(pl.Int64) * _KEY + pl.col("time").dt.timestamp("us")
    keyed = rows.with_columns(key=key)
    if not (keyed["key"].diff() < 0).any():
        return rows
    return keyed.sort("key", maintain_order=True).drop("key")


def _named(table: pl.DataFrame, names: pl.Series) -> pl.DataFrame:
    return table.with_columns(names.gather(table["detector"]).alias("detector"))

"""A folder of counts: `about.json`, `detectors.csv`, and the table in parts that each fit into memory."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import polars as pl

from demand.counts.schema import ASIDE, CLEANED, COUNTS, DETECTORS, About, odd_year
from plumbing.digest import plain_bytes
from plumbing.errors import InputError, did_you_mean, printable
from plumbing.plain import json_bytes, listed, misfit, named, one_of, parse, record, text, whole
from plumbing.whole import Draft, check_replaceable

_DAY_S = 86_400
_CLOCK_S = 1800
"""Clocks move by half hours, so a grid of longer intervals may, too."""
_SOURCE = named(lambda value: None if isinstance(value, (str, int)) else "is neither text nor a number")
_ABOUT = record(
    {
        "format": one_of("intergreen counts 1"),
        "interval_s": whole(1, _DAY_S),
        "zone": text(100),
        "sources": listed(_SOURCE),
        "cleaned": one_of(True, False),
    }
)


def check_zone(zone: str) -> ZoneInfo:
    """The time zone of this name. Raises InputError where there is none."""
    try:
        return ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        import zoneinfo

        hint = did_you_mean(zone, zoneinfo.available_timezones())
        raise InputError(f"unknown time zone {zone!r}; give an IANA name such as Europe/Berlin.{hint}") from error


class CountsFolder:
    """A folder that `write_counts` has made, checked when it is opened."""

    def __init__(self, path: str | Path) -> None:
        """Open it.

        Raises:
            InputError: it is no folder of counts, or something in it is not what it has to be.
        """
        self.path = Path(path)
        file = self.path / "about.json"
        try:
            found = parse(plain_bytes(file))
            misfit(_ABOUT, found)
        except OSError as error:
            raise InputError(
                f"{self.path} is no folder of counts ({file.name}: {error.strerror}); "
                "make one with python -m demand import"
            ) from error
        except ValueError as error:
            raise InputError(f"{file}: {error}; import the counts again") from error
        check_zone(found["zone"])
        self.about = About(found["interval_s"], found["zone"], tuple(found["sources"]), found["cleaned"])
        self._parts = sorted(self.path.glob("part-*.parquet"))
        if not self._parts:
            raise InputError(f"{self.path} holds no counts (part-*.parquet is missing); import them again")

    @property
    def schema(self) -> dict[str, pl.DataType]:
        """The columns of the table."""
        return dict(CLEANED if self.about.cleaned else COUNTS)

    def detectors(self) -> pl.DataFrame:
        """The table of detectors, by name."""
        return _read(self.path / "detectors.csv", lambda file: pl.read_csv(file, schema=dict(DETECTORS)))

    def parts(self) -> Iterator[pl.DataFrame]:
        """The table in parts; each holds whole detectors, and all rows of them."""
        known = set(self.detectors()["detector"])
        seen: set[str] = set()
        for file in self._parts:
            table = self._checked(file, _read(file, pl.read_parquet))
            names = set(table["detector"].unique())
            if unknown := names - known:
                raise InputError(
                    f"{file}: {printable(min(unknown, key=str), 60)!r} does not stand in detectors.csv; import the "
                    "counts again"
                )
            if again := names & seen:
                raise InputError(
                    f"{file}: {printable(min(again), 60)!r} stands in another part, too; import the counts again"
                )
            seen |= names
            yield table

    def frame(self, detectors: Sequence[str] | None = None) -> pl.DataFrame:
        """The whole table, or that of some detectors.

        Raises:
            InputError: a detector that is not there.
        """
        if detectors is None:
            return pl.concat(self.parts())
        known = self.detectors()["detector"].to_list()
        for name in detectors:
            if name not in known:
                raise InputError(f"{self.path} has no detector {name!r}.{did_you_mean(name, known)}")
        return pl.concat(part.filter(pl.col("detector").is_in(list(detectors))) for part in self.parts())

    def aside(self) -> Iterator[pl.DataFrame]:
        """The rows that have no place in the table, in parts, with the columns of `ASIDE`."""
        for file in sorted(self.path.glob("aside-*.parquet")):
            table = _read(file, pl.read_parquet)
            if dict(table.schema) != dict(ASIDE):
                raise InputError(f"{file}: its columns are {', '.join(table.columns)}, not {', '.join(ASIDE)}")
            yield table

    def _checked(self, file: Path, table: pl.DataFrame) -> pl.DataFrame:
        if dict(table.schema) != self.schema:
            raise InputError(f"{file}: its columns are {', '.join(table.columns)}, not {', '.join(self.schema)}")
        self._check_times(file, table)
        return table

    def _check_times(self, file: Path, table: pl.DataFrame) -> None:
        if table["time"].null_count() or odd_year(table["time"]) is not None:
            raise InputError(f"{file}: a time is missing or of an impossible year; import the counts again")
        rows = table if table["detector"].is_sorted() else table.sort("detector", "time")
        step = pl.col("time").diff().over("detector").dt.total_seconds()
        grid_s = math.gcd(self.about.interval_s, _CLOCK_S)
        if rows.select(((step <= 0) | (step % grid_s != 0)).any()).item():
            raise InputError(
                f"{file}: a detector's times are not in order on a grid of {self.about.interval_s} s; import the "
                "counts again"
            )


def check_apart(out: Path, *read: Path | None) -> None:
    """Raises InputError where what is written and what is read lie in each other: one would go with the other."""
    one = out.resolve()
    for path in filter(None, read):
        other = path.resolve()
        if one == other or one in other.parents or other in one.parents:
            where = "is" if one == other else "lies in" if other in one.parents else "holds"
            raise InputError(f"--out {out} {where} what is read, {path}; choose another, so that it stays")


def check_place(out: Path) -> None:
    """Raises InputError for a folder that holds something else than counts."""
    check_replaceable(
        out, "counts", "about.json",
        ("detectors.csv", "part-*.parquet", "aside-*.parquet", "report.html", "cleaning.json", "findings.csv"),
    )  # fmt: skip


def write_counts(
    out: Path,
    about: About,
    detectors: pl.DataFrame | Callable[[], pl.DataFrame],
    parts: Iterable[pl.DataFrame],
    aside: Iterable[pl.DataFrame] = (),
    beside: Callable[[Path], object] | None = None,
) -> None:
    """Write a folder of counts, whole or not at all.

    Args:
        detectors: with columns of `DETECTORS`; those that are left out are null. A function is called when the parts
            are through.
        parts: the table in parts of whole detectors, with the columns of `COUNTS` or, where `about.cleaned`, of
            `CLEANED`.
        aside: rows without a place in the table, with the columns of `ASIDE`; taken when the parts are through.
        beside: writes further files into the folder; called last.

    Raises:
        InputError: it cannot be written, or holds something else than counts.
        ValueError: a part is not what it has to be.
    """
    check_place(out)
    schema = dict(CLEANED if about.cleaned else COUNTS)
    seen: set[str] = set()
    with Draft(out) as draft:
        draft.path.mkdir()
        for number, part in enumerate(parts):
            table = part.select([pl.col(name).cast(kind) for name, kind in schema.items()]).sort("detector", "time")
            names = set(table["detector"].unique())
            again = [pl.col(name) == pl.col(name).shift() for name in ("detector", "time")]
            if names & seen or table.select(pl.all_horizontal(again).any()).item():
                raise ValueError("a detector stands in two parts, or a time twice")
            seen |= names
            table.write_parquet(draft.path / f"part-{number:04}.parquet")
        known = detectors() if callable(detectors) else detectors
        told = known.select(
            [
                (pl.col(name) if name in known.columns else pl.lit(None)).cast(kind).alias(name)
                for name, kind in DETECTORS.items()
            ]
        ).sort("detector")
        if set(told["detector"]) != seen:
            raise ValueError("the table of detectors and the counts name different ones")
        told.write_csv(draft.path / "detectors.csv")
        content = {"format": "intergreen counts 1", **dataclasses.asdict(about), "sources": list(about.sources)}
        (draft.path / "about.json").write_bytes(json_bytes(content))
        for number, part in enumerate(aside):
            part.select([pl.col(name).cast(kind) for name, kind in ASIDE.items()]).write_parquet(
                draft.path / f"aside-{number:04}.parquet"
            )
        if beside is not None:
            beside(draft.path)
        draft.take_place()


def _read(file: Path, read: Callable[[Path], pl.DataFrame]) -> pl.DataFrame:
    try:
        return read(file)
    except (OSError, pl.exceptions.PolarsError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise InputError(f"{file} cannot be read ({printable(reason)}); import the counts again") from error

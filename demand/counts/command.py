"""`python -m demand import`: files of counts, in whatever format, to a folder of counts."""

from __future__ import annotations

import argparse
import shlex
import textwrap
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl

from demand.counts import formats
from demand.counts.detectors import read_detectors, table_of
from demand.counts.gather import Gather
from demand.counts.meter import Meter
from demand.counts.readers import traffic_anomaly
from demand.counts.reading import Given, Reading
from demand.counts.schema import About
from demand.counts.store import check_apart, check_place, check_zone, write_counts
from plumbing.command import say, say_json
from plumbing.digest import file_sha256
from plumbing.errors import InputError, printable
from plumbing.held import scratch
from plumbing.occupied import occupied

ROW_BYTES = 25
"""Least bytes of a row of text; by it the number of parts is reckoned, too high rather than too low."""
PACKED = 8
"""How many times larger a packed file's text is."""

_EPILOG = f"""formats, found from the file unless --format says so:
{chr(10).join(f"  {name:8}  {text}" for name, text in formats.FORMATS.items())}
  the word {formats.SAMPLE} in place of a file: real counts, which that package ships

examples:
  python -m demand import {formats.SAMPLE} --out counts/oregon
  python -m demand import counts.csv --zone Europe/Berlin --out counts/mine
  python -m demand import volumes.csv --columns detector=id count=volume --zone Europe/Paris --out counts/mine
  python -m demand import main-and-first.xlsx --zone America/Denver --date 2024-05-14 --out counts/turning
  python -m demand import d04_text_station_5min_2024_05_*.txt.gz --interval 900 --out counts/pems
  python -m demand import utd19_u.csv --city london --zone Europe/London --out counts/london

Then: python -m demand clean counts/mine --out counts/clean. docs/demand.md describes the table and the folder."""


@dataclass
class Tally:
    """What an import came to."""

    detectors: int = 0
    first: Any = None
    last: Any = None
    rows: int = 0
    vehicles: float = 0.0
    negative: bool = False
    """Whether a count is below zero."""


def main(arguments: list[str] | None = None) -> int:
    """The command. Returns its exit status."""
    options = _parser().parse_args(arguments)
    if options.interval is not None and options.interval < 1:
        raise InputError(f"--interval {options.interval}: give seconds, such as 900")
    zone = options.zone and check_zone(options.zone).key
    clock = options.clock and check_zone(options.clock).key
    given = Given(zone, options.interval, _columns(options.columns), options.date, options.site, options.city)
    check_apart(options.out, *map(Path, options.files), options.detectors)
    with occupied(options.out), scratch("counts") as folder, Meter() as meter:
        check_place(options.out)
        found = _import(options, given, clock, folder, meter)
    if options.json:
        say_json(found)
    else:
        _tell(found, options.out)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m demand import",
        description=textwrap.fill(
            "Reads files of counts into a folder of counts, the form that all further steps work on. "
            "Rows may come in any order; files of any length are read in bounded memory. Nothing is dropped: a row "
            "that has no place (a second count for the same time, a time off the grid) is set aside with the reason.",
            width=100,
        ),
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("files", nargs="+", metavar="FILE", help=f"files of counts, or the word {formats.SAMPLE}")
    parser.add_argument("--out", type=Path, required=True, help="the folder of counts to write")
    parser.add_argument("--format", choices=list(formats.FORMATS), help="the format (default: found from each file)")
    parser.add_argument("--zone", help="time zone of the place, such as Europe/Berlin; days and weeks go by it")
    parser.add_argument(
        "--clock",
        metavar="ZONE",
        help="zone of times without an offset, where it is not --zone: Etc/GMT+8 for a logger in California that "
        "keeps winter time all year (the sign is reversed there)",
    )
    parser.add_argument(
        "--interval", type=int, metavar="SECONDS", help="bring counts to this interval (default: the files' own)"
    )
    parser.add_argument(
        "--columns", nargs="+", default=[], metavar="OURS=THEIRS",
        help="which column of a table is which: time=timestamp count=volume; time=day+hour joins two",
    )  # fmt: skip
    parser.add_argument(
        "--detectors", type=Path, metavar="CSV",
        help="what is known of the detectors: detector, site, approach, movement, lane, x, y, position_m",
    )  # fmt: skip
    parser.add_argument(
        "--date", type=date.fromisoformat, metavar="YYYY-MM-DD",
        help="day of a sheet that names none; of a simulation, the day on which second 0 is",
    )  # fmt: skip
    parser.add_argument("--site", help="name of the intersection, where the file gives none")
    parser.add_argument("--city", help="the one city to take from a UTD19 file")
    parser.add_argument("--json", action="store_true", help="print what was imported as JSON")
    return parser


def _columns(pairs: list[str]) -> dict[str, str]:
    found = {}
    for pair in pairs:
        ours, equals, theirs = pair.partition("=")
        if not (ours and equals and theirs):
            raise InputError(f"--columns {pair}: give OUR_NAME=NAME_IN_THE_FILE, such as count=volume")
        found[ours] = theirs
    return found


def _import(
    options: argparse.Namespace, given: Given, clock: str | None, folder: Path, meter: Meter
) -> dict[str, Any]:
    paths = [Path(file) for file in options.files]
    gather = Gather(folder, sum(_expected_rows(path) for path in paths))
    told: dict[str, dict[str, Any]] = {}
    notes: list[str] = []
    sources: list[dict[str, Any]] = []
    zones: dict[str, None] = {}
    intervals: Counter[int | None] = Counter()
    for path in paths:
        if str(path) == formats.SAMPLE and not path.exists():
            reading, source = _sample()
        else:
            reading = formats.read(path, options.format, given, meter)
            source = {"name": path.name, "format": formats.format_of(path, options.format)}
            source["sha256"] = file_sha256(path)
        before = gather.rows
        for batch in reading.batches:
            gather.add(batch, str(path))
        if gather.rows == before:
            raise InputError(f"{path} has a heading and no rows; give a file with counts")
        sources.append({**source, "rows": gather.rows - before})
        for name, facts in reading.told.items():
            told[name] = {**told.get(name, {}), **facts}
        notes += reading.notes
        intervals[reading.interval_s] += 1
        if reading.zone is not None:
            zones[reading.zone] = None
    zone = _zone(given, zones)
    interval_s = gather.settle(zone, given.interval_s or _common(intervals), clock)
    if options.detectors is not None:
        told = _with_told(told, options.detectors, gather.detectors, notes)
    about = About(interval_s, zone, tuple(sources))
    tally = Tally()
    names: list[str] = []

    def parts() -> Iterator[pl.DataFrame]:
        for part in gather.parts(meter):
            names.extend(part["detector"].unique(maintain_order=True))
            _count(tally, part)
            yield part
        if not tally.rows:
            reasons = ", ".join(gather.reasons)
            raise InputError(f"no row has a place in the table ({reasons}); check --zone and --interval")
        if not tally.vehicles and not tally.negative:
            raise InputError(
                f"all {tally.rows} counts are zero or missing; these are no counts: check the columns (--columns)"
            )

    write_counts(options.out, about, lambda: table_of(names, told), parts(), gather.aside())
    if gather.autumn_rows:
        notes.append(
            f"{gather.autumn_rows} rows lie in the hour that is there twice in autumn; of two rows of one time the "
            "first is taken as summer time"
        )
    if skipped := gather.reasons.get("a time that clocks skipped in spring"):
        notes.append(
            f"{skipped} times are in the hour that {clock or zone} skips in spring: does the logger keep winter time "
            "all year? Say --clock with its fixed offset"
        )
    return {
        "out": str(options.out), "detectors": len(names), "rows": gather.rows, "rows_in_table": tally.rows,
        "rows_aside": sum(gather.reasons.values()), "aside": dict(gather.reasons), "interval_s": interval_s,
        "zone": zone, "first": tally.first.isoformat(), "last": tally.last.isoformat(), "vehicles": tally.vehicles,
        "sources": sources, "notes": notes,
    }  # fmt: skip


def _expected_rows(path: Path) -> int:
    if not path.is_file():
        return 0
    with path.open("rb") as stream:
        packed = stream.read(2) in (b"\x1f\x8b", b"PA", b"PK")
    return path.stat().st_size * (PACKED if packed else 1) // ROW_BYTES


def _sample() -> tuple[Reading, dict[str, Any]]:
    about, detectors, table = traffic_anomaly.read()
    told = {row.pop("detector"): row for row in detectors.to_dicts()}
    batch = table.with_columns(aside=pl.lit(None, pl.String))
    (source,) = about.sources
    return Reading(iter([batch]), about.zone, about.interval_s, told), dict(source)


def _zone(given: Given, zones: dict[str, None]) -> str:
    if given.zone is not None:
        return given.zone
    if not zones:
        raise InputError("the files do not say in which time zone they were counted; say it: --zone Europe/Berlin")
    if len(zones) > 1:
        raise InputError(f"the files are of several time zones ({', '.join(zones)}); import each place by itself")
    return next(iter(zones))


def _common(intervals: Counter[int | None]) -> int | None:
    """The coarsest interval that the formats imply; None where none does."""
    return max((found for found in intervals if found is not None), default=None)


def _with_told(
    told: dict[str, dict[str, Any]], path: Path, names: list[str], notes: list[str]
) -> dict[str, dict[str, Any]]:
    more = read_detectors(path)
    known = [name for name in names if name in more]
    if not known:
        raise InputError(
            f"{path} tells of none of the {len(names)} detectors that were counted, such as "
            f"{printable(names[0], 60)!r}; it tells of {printable(next(iter(more), 'none'), 60)!r}"
        )
    if len(known) < len(names):
        notes.append(f"{path.name} tells nothing of {len(names) - len(known)} of {len(names)} detectors")
    return {name: {**told.get(name, {}), **more.get(name, {})} for name in names}


def _count(tally: Tally, part: pl.DataFrame) -> None:
    first, last = part["time"].min(), part["time"].max()
    tally.first = first if tally.first is None else min(tally.first, first)
    tally.last = last if tally.last is None else max(tally.last, last)
    tally.rows += part.height
    tally.vehicles += float(part.select(pl.col("count").filter(pl.col("count") > 0).sum()).item())
    tally.negative = tally.negative or bool((part["count"] < 0).any())


def _tell(found: dict[str, Any], out: Path) -> None:
    zone = ZoneInfo(found["zone"])
    first, last = (
        pl.Series([found[name]]).str.to_datetime(time_zone="UTC")[0].astimezone(zone) for name in ("first", "last")
    )
    say(
        f"wrote {out}: {found['detectors']} detectors, {found['rows_in_table']} intervals of "
        f"{found['interval_s']} s, {_amount(found['vehicles'])} vehicles"
    )
    say(f"  from {first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M}, {found['zone']}")
    for reason, rows in found["aside"].items():
        say(f"  set aside {rows} rows: {reason}")
    for note in found["notes"]:
        say(f"  note: {note}")
    say(f"next: {shlex.join(['python', '-m', 'demand', 'clean', str(out), '--out', f'{out}-clean'])}")


def _amount(vehicles: float) -> str:
    """In whole ones, but for an absurd number, which would fill lines."""
    return f"{vehicles:.0f}" if abs(vehicles) < 1e15 else f"{vehicles:.3g}"

"""The usual spreadsheet of a turning-movement count: a row for each 15 minutes, a column for each movement.

The movements stand in one row (NBL NBT NBR SBL …) or in two (Northbound over Left, Thru, Right). Rows above may name
the place ("Intersection: Main St & 1st Ave") and the day ("Date: 5/14/2024"); a new day may also stand in a
column `Date` or between the counts. Rows of totals and of peak hours, and columns that are no movements (pedestrians,
totals, bicycles), are left out, and named.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from datetime import time as clock_time
from pathlib import Path
from typing import Any

import polars as pl

from demand.counts.meter import Meter
from demand.counts.movements import approach_of, facts_of, movement_of, name_of, turn_of
from demand.counts.reading import ROWS, Given, Reading, as_rows, open_plain, unreadable
from plumbing.errors import InputError, printable

LEAST_MOVEMENTS = 3
"""Fewest movements of a heading: a T junction from one side has three."""
MOST_ABOVE = 60
"""Rows in which the heading is looked for."""
MOST_BYTES = 64 << 20
_ZIP = b"PK\x03\x04"
_PLACE = re.compile(r"\s*(intersection|location|site|study name|count name|junction)\b[^:]*:?\s*(.*)", re.IGNORECASE)
_TIMES = re.compile(r"\b(time|interval|period|begin|start)")
_EXCEL_EPOCH = datetime(1899, 12, 30)
_TIME = re.compile(r"(\d{1,2})[:.](\d{2})(?:[:.](\d{2}))?(?:\.\d+)?\s*([AaPp])?\.?[Mm]?\.?")
_DATES = (
    (re.compile(r"(\d{4})-(\d{1,2})-(\d{1,2})"), (0, 1, 2)),
    (re.compile(r"(\d{4})/(\d{1,2})/(\d{1,2})"), (0, 1, 2)),
    (re.compile(r"(\d{1,2})/(\d{1,2})/(\d{4})"), (2, 0, 1)),  # such sheets are American: month first
    (re.compile(r"(\d{1,2})\.(\d{1,2})\.(\d{4})"), (2, 1, 0)),
)
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WORDY = (
    (re.compile(r"([A-Za-z]{3})[a-z]*\.?\s+(\d{1,2}),?\s+(\d{4})"), (2, 0, 1)),
    (re.compile(r"(\d{1,2})\.?\s+([A-Za-z]{3})[a-z]*\.?,?\s+(\d{4})"), (2, 1, 0)),
)

Grid = Sequence[Sequence[str]]


@dataclass(frozen=True)
class Heading:
    """Where the counts of a sheet begin, and what its columns are."""

    row: int
    """The last row of the heading."""
    time: int
    date: int | None
    movements: dict[int, tuple[str, str]]
    """Column → approach and turns."""
    others: tuple[str, ...]
    """Names of columns that are no movements."""


def claims(path: Path, head: bytes) -> bool:
    """Whether it is a workbook, or a CSV file with a heading of movements."""
    if head.startswith(_ZIP):
        return True
    if b"\0" in head or head.startswith(b"PAR1"):
        return False
    try:
        return heading_of(_rows_of_text(head.decode("utf-8-sig", "replace"))) is not None
    except csv.Error:  # such as lines that end with CR alone
        return False


def read(path: Path, given: Given, meter: Meter) -> Reading:
    """The sheet's counts, one detector for each movement.

    Raises:
        InputError: there is no heading of movements, no day, or a cell that is no number.
    """
    meter.begin(f"reading {path.name}", 1, "file")
    told: dict[str, dict[str, Any]] = {}
    notes: list[str] = []
    tables: list[pl.DataFrame] = []
    sheets = _sheets(path)
    for name, grid in sheets.items():
        heading = heading_of(grid)
        if heading is None:
            if len(sheets) > 1:
                notes.append(f"{path.name}: the sheet {printable(name, 40)!r} has no movements and was left out")
            continue
        where = f"{path}, sheet {printable(name, 40)!r}" if len(sheets) > 1 else str(path)
        tables.append(_counts(where, grid, heading, given, path.stem, told, notes))
    if not tables:
        raise InputError(
            f"{path} has no heading of movements (NBL, NBT, NBR, … or Northbound over Left, Thru, Right); give a "
            "turning-count sheet, or say another --format"
        )
    return Reading(iter(tables), told=told, notes=notes)


def heading_of(grid: Grid) -> Heading | None:
    """The heading of a sheet; None where there is none."""
    for row, cells in enumerate(grid[:MOST_ABOVE]):
        movements = {n: found for n, cell in enumerate(cells) if (found := movement_of(cell))}
        if len(movements) < LEAST_MOVEMENTS and row:
            movements = _two_rows(grid[row - 1], cells)
        if len(movements) < LEAST_MOVEMENTS:
            continue
        names = [cell.strip().lower() for cell in cells]
        times = [
            n
            for n, name in enumerate(names)
            if n not in movements and re.search(r"\b(time|interval|period|begin|start)", name)
        ]
        dates = [n for n, name in enumerate(names) if n not in movements and name in ("date", "day")]
        others = [c.strip() for n, c in enumerate(cells) if c.strip() and n not in {*movements, *times, *dates}]
        first = next((n for n in range(len(cells)) if n not in movements and n not in dates), 0)
        return Heading(row, times[0] if times else first, dates[0] if dates else None, movements, tuple(others))
    return None


def _two_rows(above: Sequence[str], below: Sequence[str]) -> dict[int, tuple[str, str]]:
    """Movements of a heading in two rows; an approach holds until the next one, and stands once for merged cells."""
    movements: dict[int, tuple[str, str]] = {}
    approach = None
    for n, cell in enumerate(below):
        if n < len(above) and above[n].strip():
            approach = approach_of(above[n])
        turn = turn_of(cell)
        if approach and turn:
            movements[n] = (approach, turn)
    return movements


def _counts(
    where: str,
    grid: Grid,
    heading: Heading,
    given: Given,
    stem: str,
    told: dict[str, dict[str, Any]],
    notes: list[str],
) -> pl.DataFrame:
    above = grid[: heading.row]
    site = given.site or next((s for s in map(_place, above) if s), None) or stem
    day = given.day or next((d for cells in above for c in cells if (d := day_of(c))), None)
    names = {n: name_of(site, *movement) for n, movement in heading.movements.items()}
    for n, movement in heading.movements.items():
        told[names[n]] = facts_of(site, *movement)
    rows: list[tuple[str, datetime, float | None]] = []
    left_out: list[str] = []
    before: clock_time | None = None
    for number, cells in enumerate(grid[heading.row + 1 :], start=heading.row + 2):
        if not any(cell.strip() for cell in cells):
            continue
        text = cells[heading.time] if heading.time < len(cells) else ""
        begin = time_of(text)
        dated = day_of(text) or (day_of(cells[heading.date]) if heading.date is not None else None)
        if begin is None:
            if dated or (found := next((d for c in cells if (d := day_of(c))), None)):
                day, before = dated or found, None
            elif text.strip() or cells[0].strip():
                left_out.append(printable(text.strip() or cells[0].strip(), 30))
            continue
        if dated:
            day = dated
        elif before is not None and begin < before and day is not None and heading.date is None:
            day += timedelta(days=1)
        before = begin
        if day is None:
            raise InputError(f"{where} names no day; say --date 2024-05-14")
        at = datetime.combine(day, begin)
        rows += [(names[n], at, _count(where, number, cells[n] if n < len(cells) else "")) for n in names]
    if not rows:
        raise InputError(f"{where} has a heading of movements and no row with a time below it; is it half a file?")
    skipped = [*heading.others, *dict.fromkeys(left_out)]
    if skipped:
        notes.append(f"{where}: left out what is no movement or no interval: {printable(', '.join(skipped))}")
    table = pl.DataFrame(rows, schema={n: ROWS[n] for n in ("detector", "time", "count")}, orient="row")
    return as_rows(table)


def _place(cells: Sequence[str]) -> str | None:
    """The place that a row above the heading names."""
    for n, cell in enumerate(cells):
        if found := _PLACE.fullmatch(cell):
            return found[2].strip() or next((c.strip() for c in cells[n + 1 :] if c.strip()), None)
    return None


def _count(where: str, number: int, cell: str) -> float | None:
    text = cell.strip().replace(",", "")
    if text in ("", "-", "NA", "N/A"):
        return None
    try:
        return float(text)
    except ValueError:
        raise InputError(
            f"{where}, row {number}: the count {printable(cell, 40)!r} is no number; correct it"
        ) from None


def time_of(text: str) -> clock_time | None:
    """The time at which an interval begins, of texts such as "7:15 AM", "07:15 - 07:30", "0715", or the part of a day
    that spreadsheets keep; None where it is none."""
    plain = text.strip()
    plain = re.sub(r"^\d{4}-\d{2}-\d{2}[ T]|^\d{1,2}/\d{1,2}/\d{4}\s+", "", plain)
    plain = re.split(r"\s*(?:-|–|to)\s*(?=\d)", plain, maxsplit=1)[0].strip()
    if found := _TIME.fullmatch(plain):
        hour, minute, second = int(found[1]), int(found[2]), int(found[3] or 0)
        if found[4]:
            hour = hour % 12 + (12 if found[4].lower() == "p" else 0)
    elif re.fullmatch(r"\d{4}", plain):
        hour, minute, second = int(plain[:2]), int(plain[2:]), 0
    elif re.fullmatch(r"0?\.\d+|\d{5}\.\d+|0", plain):
        seconds = round(float(plain) % 1 * 86_400)
        hour, minute, second = seconds // 3600, seconds // 60 % 60, seconds % 60
    else:
        return None
    return clock_time(hour, minute, second) if hour < 24 and minute < 60 and second < 60 else None


def day_of(text: str) -> date | None:
    """The day that a text names, such as "Date: 5/14/2024" or "Tuesday, May 14, 2024"; None where it names none."""
    for pattern, order in (*_DATES, *_WORDY):
        if found := pattern.search(text):
            parts = found.groups()
            year, month, day = (parts[n] for n in order)
            try:
                number = _MONTHS.index(month.lower()[:3]) + 1 if month.isalpha() else int(month)
                return date(int(year), number, int(day))
            except ValueError:
                return None
    if re.fullmatch(r"[34]\d{4}(\.\d+)?", text.strip()):
        return (_EXCEL_EPOCH + timedelta(days=float(text))).date()
    return None


def _rows_of_text(text: str) -> list[list[str]]:
    separator = max(",;\t", key=text.count)
    return list(csv.reader(io.StringIO(text), delimiter=separator))


def _sheets(path: Path) -> dict[str, Grid]:
    """All sheets of a workbook as rows of text, or the one of a CSV file."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise InputError(f"{path} is larger than any sheet of turning counts; say another --format")
        with open_plain(path) as stream:
            data = stream.read(MOST_BYTES)
    except (OSError, EOFError) as error:
        raise unreadable(path, error) from error
    if not data.startswith(_ZIP):
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError:
            text = data.decode("cp1252", "replace")  # Excel's CSV on many machines
        try:
            return {path.name: _rows_of_text(text)}
        except csv.Error as error:
            raise InputError(f"{path} cannot be read ({error}); is it a CSV file?") from error
    return _workbook(path, data)


def _workbook(path: Path, data: bytes) -> dict[str, Grid]:
    try:
        import fastexcel  # noqa: F401
    except ImportError as error:
        raise InputError(
            f"{path} is a workbook, and fastexcel, which reads those, is not installed: pip install -e '.[demand]'; "
            "or save the sheet as CSV"
        ) from error
    try:
        sheets = pl.read_excel(
            io.BytesIO(data), sheet_id=0, has_header=False, infer_schema_length=0, raise_if_empty=False,
            drop_empty_rows=False, drop_empty_cols=False,
        )  # fmt: skip
    except Exception as error:  # fastexcel's own errors and polars', for one thing: it is no whole workbook
        raise InputError(
            f"{path} cannot be read as a workbook ({printable(error, 80)}); is it a whole file?"
        ) from error
    return {name: _text(sheet) for name, sheet in sheets.items()}


def _text(sheet: pl.DataFrame) -> list[list[str]]:
    columns: Iterator[list[str]] = (
        ["" if value is None else str(value) for value in column.cast(pl.String).to_list()] for column in sheet
    )
    return [list(row) for row in zip(*columns, strict=True)]

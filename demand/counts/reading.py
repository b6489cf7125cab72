"""What a reader is given and what it returns, and reading long files block by block, in bounded memory."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import IO, Any

import polars as pl

from demand.counts.meter import Meter
from plumbing.errors import InputError, printable

BLOCK_BYTES = 16 << 20
"""Text that is parsed at a time; its table takes about three times as much."""
BLOCK_ROWS = 500_000
"""Rows of a Parquet file that are read at a time."""
LONGEST_HEAD = 1 << 16
"""Bytes of a file from which its format is found."""

ROWS: Mapping[str, Any] = {
    "detector": pl.String(),
    "time": pl.Datetime("us"),
    "count": pl.Float64(),
    "occupancy": pl.Float64(),
    "speed_mps": pl.Float64(),
    "aside": pl.String(),
}
"""A reader's batches: as `demand.counts.schema.COUNTS`, but in any order and whatever the file says. `time` is in UTC
where the file gives the offset, else as the place's clocks show it. `aside` says why a row is set aside, or is
null."""


@dataclass(frozen=True)
class Given:
    """What the user says of the files."""

    zone: str | None = None
    """The time zone of the place."""
    interval_s: int | None = None
    """The interval to bring the counts to [s]; by default the file's own."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """Our name of a column → the file's; of two joined with a plus, the texts are joined with a blank."""
    day: date | None = None
    """The day of a sheet that names none; of a simulation, the day on which it begins."""
    site: str | None = None
    """The intersection, where the file names none."""
    city: str | None = None
    """The one city to take of a file that holds several."""


@dataclass(frozen=True)
class Reading:
    """One file, as its reader found it."""

    batches: Iterator[pl.DataFrame]
    """Tables with the columns of `ROWS`."""
    zone: str | None = None
    """The time zone that the format implies."""
    interval_s: int | None = None
    """The interval that the format implies [s]."""
    told: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What is known of each detector, by its name, as in `DETECTORS`; complete when the batches are through."""
    notes: list[str] = field(default_factory=list)
    """What a user should know of how the file was read."""


def as_rows(table: pl.DataFrame) -> pl.DataFrame:
    """The table with all columns of `ROWS`; those that it lacks are null."""
    return table.select(
        [(pl.col(name) if name in table.columns else pl.lit(None, kind)).alias(name) for name, kind in ROWS.items()]
    )


def head_of(path: Path) -> bytes:
    """The first bytes of a file, unzipped where they say gzip.

    Raises:
        InputError: there is no such file, it cannot be read, or it is empty.
    """
    try:
        with open_plain(path) as stream:
            head = stream.read(LONGEST_HEAD)
    except _UNREADABLE as error:
        raise unreadable(path, error) from error
    if not head.strip():
        raise InputError(f"{path} is empty; give a file with counts")
    return head


def open_plain(path: Path) -> IO[bytes]:
    """The file's bytes, unzipped where its first bytes say gzip."""
    return _unpacked(path.open("rb"))


def _unpacked(raw: IO[bytes]) -> IO[bytes]:
    magic = raw.read(2)
    raw.seek(0)
    return gzip.open(raw) if magic == b"\x1f\x8b" else raw  # type: ignore[return-value]


_UNREADABLE = (OSError, EOFError, zlib.error)


def unreadable(path: Path, error: Exception) -> InputError:
    """The error for a file that cannot be read to its end."""
    if isinstance(error, (EOFError, zlib.error)):
        return InputError(f"{path} ends in the middle of its gzip data; it is half a file: fetch it again")
    if isinstance(error, OSError) and error.strerror:
        return InputError(f"{path}: {error.strerror}; check the path")
    return InputError(f"{path} cannot be read ({printable(error)}); is it a whole file?")


@dataclass(frozen=True)
class Layout:
    """How the lines of a text file are made up."""

    names: tuple[str, ...]
    separator: str
    has_header: bool = True


def layout_of(path: Path) -> Layout:
    """The layout of a file whose first line names its columns.

    Raises:
        InputError: it is no such file.
    """
    first = head_of(path).split(b"\n", 1)[0].strip(b"\r")
    try:
        line = first.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no text in UTF-8; save it as CSV in UTF-8") from error
    if "\0" in line:
        raise InputError(f"{path} is no text in UTF-8; save it as CSV in UTF-8")
    if "\r" in line:
        raise InputError(f"{path}: its lines end as on old Macs, with CR alone; save it as CSV in UTF-8")
    if line.count('"') % 2:
        raise InputError(f"{path}: a quotation mark in its first line is not closed; correct it")
    separator = max(",;\t", key=line.count)
    names = tuple(name.strip().strip('"').strip() for name in line.split(separator))
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"{path} names the column {printable(twice, 60)!r} twice; rename one")
    return Layout(names, separator)


def csv_blocks(path: Path, layout: Layout, meter: Meter) -> Iterator[tuple[int, pl.DataFrame]]:
    """The lines of a text file in tables of text, each with the number of its first line.

    Raises:
        InputError: the file is broken or cut off, or a line has more or fewer fields than the header.
    """
    size = path.stat().st_size
    try:
        with path.open("rb") as raw, _unpacked(raw) as stream:
            meter.begin(f"reading {path.name}", size, "MB", 1_000_000)
            line, rest = 1, b""
            if layout.has_header:
                stream.readline()
                line = 2
            while data := stream.read(BLOCK_BYTES):
                cut = data.rfind(b"\n") + 1
                if not cut:
                    rest += data
                    continue
                block, rest = rest + data[:cut], data[cut:]
                yield line, _parsed(path, block, layout, line)
                line += block.count(b"\n")
                meter.at(raw.tell())
            if rest.strip():
                yield line, _parsed(path, rest + b"\n", layout, line)
    except _UNREADABLE as error:
        raise unreadable(path, error) from error


def _parsed(path: Path, block: bytes, layout: Layout, line: int) -> pl.DataFrame:
    separator, expected = layout.separator.encode(), len(layout.names) - 1
    if b'"' not in block and block.count(separator) != expected * block.count(b"\n"):
        for number, text in enumerate(block.split(b"\n")[:-1], start=line):
            if text.strip() and text.count(separator) != expected:
                fields = f"{text.count(separator) + 1} fields, not {expected + 1}"
                raise InputError(f"{path}, line {number}: {fields}; is it half a file? Fetch it again")
    try:
        return pl.read_csv(
            io.BytesIO(block), has_header=False, new_columns=list(layout.names), separator=layout.separator,
            infer_schema=False, schema=dict.fromkeys(layout.names, pl.String()),
        )  # fmt: skip
    except (pl.exceptions.PolarsError, UnicodeError) as error:
        if block.count(b'"') % 2:
            raise InputError(f"{path}, from line {line}: a quotation mark is not closed; correct it") from error
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise InputError(
            f"{path}, from line {line}: {printable(reason)}; is it a whole CSV file in UTF-8?"
        ) from error


def parquet_blocks(path: Path, meter: Meter, columns: list[str] | None = None) -> Iterator[pl.DataFrame]:
    """The rows of a Parquet file in tables.

    Raises:
        InputError: it is broken or cut off.
    """
    try:
        found = pl.scan_parquet(path)
        rows = found.select(pl.len()).collect().item()
        meter.begin(f"reading {path.name}", rows, "rows")
        for begin in range(0, rows, BLOCK_ROWS):
            block = found.slice(begin, BLOCK_ROWS)
            yield (block.select(columns) if columns else block).collect()
            meter.at(min(begin + BLOCK_ROWS, rows))
    except (OSError, pl.exceptions.PolarsError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise InputError(f"{path} cannot be read ({printable(reason)}); is it a whole Parquet file?") from error


def parquet_columns(path: Path) -> dict[str, Any]:
    """The columns of a Parquet file with their types.

    Raises:
        InputError: it is none, or a column holds lists or records.
    """
    try:
        found = dict(pl.read_parquet_schema(path))
    except (OSError, pl.exceptions.PolarsError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise InputError(f"{path} cannot be read ({printable(reason)}); is it a whole Parquet file?") from error
    for name, kind in found.items():
        if kind.is_nested():
            raise InputError(
                f"{path}: the column {printable(name, 60)!r} holds {printable(kind, 40)}; give one value a row"
            )
    return found

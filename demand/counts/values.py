"""Numbers and times out of text, column by column, with errors that name the line."""

from __future__ import annotations

import re
from pathlib import Path

import polars as pl

from plumbing.errors import InputError, printable

NOTHING = ("", "NA", "N/A", "NaN", "nan", "null", "NULL", "None", "-")
"""Texts that stand for no value."""
MOST_SUFFIXES = 2000
"""Offsets and fractions of a second that one block may have; whole seconds have few."""
MOST_APART_MIN = 60
"""Between winter and summer clocks move by an hour at most [minutes]."""
LAYOUTS = (
    (r"^\d{4}-\d{2}-\d{2}[ T]\d{2}:\d{2}:\d{2}", 19, "%Y-%m-%d %H:%M:%S"),
    (r"^\d{4}-\d{2}-\d{2}[ T]\d{2}:\d{2}", 16, "%Y-%m-%d %H:%M"),
    (r"^\d{4}/\d{2}/\d{2}[ T]\d{2}:\d{2}:\d{2}", 19, "%Y/%m/%d %H:%M:%S"),
    (r"^\d{4}/\d{2}/\d{2}[ T]\d{2}:\d{2}", 16, "%Y/%m/%d %H:%M"),
    (r"^\d{2}\.\d{2}\.\d{4} \d{2}:\d{2}:\d{2}", 19, "%d.%m.%Y %H:%M:%S"),
    (r"^\d{2}\.\d{2}\.\d{4} \d{2}:\d{2}", 16, "%d.%m.%Y %H:%M"),
)
"""Patterns of a time's beginning, their length, and how polars reads them; years first, or dots, so that day and
month cannot be taken for each other."""


def number(
    text: pl.Series, what: str, path: Path, line: int, *, decimal_comma: bool = False, finite: bool = False
) -> pl.Series:
    """A column of numbers; no value where the text says so, or where it is not finite.

    Args:
        finite: refuse what is infinite: it stands for something, and would be lost.

    Raises:
        InputError: a text that is no number.
    """
    if text.dtype.is_numeric():
        return _finite(text.cast(pl.Float64), text, what, path, line, finite)
    plain = text.str.strip_chars()
    if decimal_comma:
        plain = plain.str.replace(",", ".", literal=True)
    found = plain.cast(pl.Float64, strict=False)
    wrong = found.is_null() & plain.is_not_null()
    if wrong.any():
        wrong &= ~plain.is_in(NOTHING)
        if wrong.any():
            at = wrong.arg_max() or 0
            raise InputError(
                f"{path}, line {line + at}: the {what} {printable(text[at], 40)!r} is no number; "
                "correct it, or name another column with --columns"
            )
    return _finite(found, text, what, path, line, finite)


def _finite(found: pl.Series, text: pl.Series, what: str, path: Path, line: int, needed: bool) -> pl.Series:
    if needed and (infinite := found.is_infinite()).any():
        at = infinite.arg_max() or 0
        raise InputError(f"{path}, line {line + at}: the {what} {printable(text[at], 40)!r} is infinite; correct it")
    return found.set(~found.is_finite(), None)


def time(text: pl.Series, path: Path, line: int, offsets: set[int]) -> pl.Series:
    """A column of times, in UTC where each has an offset, else as the clock shows them.

    Args:
        offsets: those of the file so far [minutes]; this column's are added.

    Raises:
        InputError: a text that is no such time, some with an offset and some without, or offsets of several zones.
    """
    if isinstance(text.dtype, pl.Datetime):
        return text.cast(pl.Datetime("us")) if text.dtype.time_zone is None else _utc(text)
    if text.dtype != pl.String:
        raise InputError(f"{path}: its times are of type {text.dtype}, not time stamps; write them as such")
    plain = text.str.strip_chars()
    first = next(iter(plain.drop_nulls().head(1)), "")
    known = next((k for k in LAYOUTS if re.match(k[0], first)), None)
    if known is None:
        raise InputError(
            f"{path}, line {line}: the time {printable(first, 40)!r} is none that reads in one way only; "
            "write it as 2024-05-14T07:15:00+02:00, or without the offset and say --zone"
        )
    _, length, layout = known
    body = plain.str.slice(0, length).str.replace("T", " ", literal=True)
    found = body.str.to_datetime(layout, time_unit="us", strict=False)
    if found.null_count():
        at = found.is_null().arg_max() or 0
        raise InputError(
            f"{path}, line {line + at}: the time {printable(text[at], 40)!r} is not like that of the other lines; "
            "correct the line"
        )
    return _with_suffix(found, plain.str.slice(length), path, line, offsets)


def _with_suffix(found: pl.Series, suffix: pl.Series, path: Path, line: int, offsets: set[int]) -> pl.Series:
    """Fractions of a second and offsets, by their few different texts."""
    kinds = suffix.unique()
    if kinds.to_list() == [""]:
        return found
    parts = pl.DataFrame({"suffix": kinds}).with_columns(
        pl.col("suffix").str.extract_groups(r"^(\.\d{1,9})?\s*(?:(Z|UTC)|([+-])(\d{2}):?(\d{2})?)?$").alias("of")
    )
    known = parts.unnest("of").with_columns(
        offset=pl.when(pl.col("2").is_not_null())
        .then(0)
        .otherwise(
            pl.when(pl.col("3") == "-").then(-1).otherwise(1)
            * (pl.col("4").cast(pl.Int64) * 60 + pl.col("5").cast(pl.Int64).fill_null(0))
        ),
        micros=(pl.col("1").cast(pl.Float64).fill_null(0.0) * 1e6).round().cast(pl.Int64),
    )
    bad = known.filter(
        pl.all_horizontal(pl.col("1", "2", "3").is_null()) & (pl.col("suffix") != "")
    )["suffix"]  # fmt: skip
    if len(bad) or len(kinds) > MOST_SUFFIXES:
        shown = bad[0] if len(bad) else kinds[0]
        at = (suffix == shown).arg_max() or 0
        raise InputError(f"{path}, line {line + at}: {printable(shown, 40)!r} after a time is no offset; correct it")
    given = known["offset"].is_not_null()
    if given.any() and not given.all():
        bare = known.filter(~given)["suffix"][0]
        at = (suffix == bare).arg_max() or 0
        raise InputError(
            f"{path}, line {line + at}: a time without an offset, others have one; mixed zones cannot be told apart: "
            "write all in one way"
        )
    offsets |= set(known["offset"].drop_nulls())
    if len(offsets) > 2 or max(offsets, default=0) - min(offsets, default=0) > MOST_APART_MIN:
        shown = ", ".join(f"{'-' if o < 0 else '+'}{abs(o) // 60:02}:{abs(o) % 60:02}" for o in sorted(offsets))
        raise InputError(
            f"{path}, block from line {line}: its times have the offsets {shown}, which no one place has: mixed "
            "zones; import each place by itself"
        )
    table = pl.DataFrame({"time": found, "suffix": suffix}).join(
        known.select("suffix", "offset", "micros"), on="suffix", how="left", maintain_order="left"
    )
    moved = table.select(
        pl.col("time") + pl.duration(microseconds=pl.col("micros") - pl.col("offset").fill_null(0) * 60_000_000)
    )["time"]
    return moved.dt.replace_time_zone("UTC") if given.any() else moved


def _utc(times: pl.Series) -> pl.Series:
    return times.dt.convert_time_zone("UTC").cast(pl.Datetime("us", "UTC"))

"""Plain values from outside: JSON, read strictly, and the shapes that it has to have.

A shape is a function that returns where a value is not what it has to be, in a few words, or None where it is:
`record({"seed": whole(0, 9)})({"seed": 12})` is `"seed is 12, not a whole number from 0 to 9"`.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from plumbing.errors import printable

Shape = Callable[[Any], str | None]
LONGEST_TEXT = 4096
"""Characters of a text, unless its shape says otherwise: as long as the longest path."""
_UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
"""Control characters, and halves of characters, which cannot be written to a file."""
_HALF = re.compile(r"\\u[dD][89a-fA-F]")


def parse(text: str | bytes, *, finite: bool = True) -> Any:
    """JSON, strictly: what an engineer reads in it and what a program does must be the same.

    Args:
        finite: refuse NaN and infinities; settings may hold them, such as a greatest green without end.

    Raises:
        ValueError: it is no JSON in UTF-8, an object has a name twice, a number is not finite or no whole number of
            64 bits, a text holds half a character, or it is nested too deeply.
    """
    real = _finite if finite else float
    plain = text if isinstance(text, str) else text.decode("utf-8")
    try:
        found = json.loads(
            plain, object_pairs_hook=_each_once, parse_float=real, parse_constant=real, parse_int=_whole
        )
        if _HALF.search(plain):  # perhaps one half alone
            json.dumps(found, ensure_ascii=False).encode("utf-8")
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    return found


def json_bytes(content: Any) -> bytes:
    """A JSON document as it is written to a file. Raises ValueError for a number that is not finite."""
    return (json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        counts = Counter(name for name, _ in pairs)
        raise ValueError(f"{printable(counts.most_common(1)[0][0], 60)!r} is there twice")
    return found


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:20]} is no finite number")
    return value


def _whole(text: str) -> int:
    if len(text) > 18 and (len(text) > 20 or not -(2**63) <= int(text) < 2**64):
        raise ValueError(f"{text[:20]}… is no whole number of 64 bits")
    return int(text)


def finite_or_none(value: float) -> float | None:
    """The number for JSON, which knows neither NaN nor infinities: null in their place."""
    return value if math.isfinite(value) else None


def misfit(shape: Shape, value: Any) -> None:
    """Raises ValueError, with where and what, for a value that has not this shape."""
    if (found := shape(value)) is not None:
        raise ValueError(found)


def text(most: int = LONGEST_TEXT, pattern: str | None = None) -> Shape:
    """A text without control characters, of at most so many characters, that matches the pattern as a whole."""
    what = f"a text of at most {most} characters" + (f" like {pattern}" if pattern else "")

    def fits(value: Any) -> bool:
        return (
            isinstance(value, str)
            and len(value) <= most
            and not _UNSEEN.search(value)
            and (pattern is None or re.fullmatch(pattern, value) is not None)
        )

    return _plainly(fits, what)


def one_of(*words: Any) -> Shape:
    """One of these, of the same type."""
    return _plainly(lambda value: any(type(value) is type(w) and value == w for w in words), f"one of {words}")


def whole(low: int, high: int) -> Shape:
    """A whole number from `low` to `high`."""
    return _plainly(lambda v: type(v) is int and low <= v <= high, f"a whole number from {low} to {high}")


def number(low: float = -1e12, high: float = 1e12) -> Shape:
    """A number from `low` to `high`."""
    return _plainly(lambda v: type(v) in (int, float) and low <= v <= high, f"a number from {low:g} to {high:g}")


def optional(shape: Shape) -> Shape:
    """That, or nothing (null)."""
    return lambda value: None if value is None else shape(value)


def either(*shapes: Shape) -> Shape:
    """Whatever one of these takes; where none does, what the last one finds."""

    def check(value: Any) -> str | None:
        found = [shape(value) for shape in shapes]
        return None if None in found else found[-1]

    return check


def listed(shape: Shape, least: int = 0, most: int = 10**9) -> Shape:
    """A list of them."""

    def check(value: Any) -> str | None:
        if not isinstance(value, list) or not least <= len(value) <= most:
            return _wrong(value, f"a list of {least} to {most}")
        return next((f"[{n}]{_under(found)}" for n, v in enumerate(value) if (found := shape(v)) is not None), None)

    return check


def row(*shapes: Shape) -> Shape:
    """A list with one value of each shape."""

    def check(value: Any) -> str | None:
        if not isinstance(value, list) or len(value) != len(shapes):
            return _wrong(value, f"a list of {len(shapes)}")
        pairs = enumerate(zip(shapes, value, strict=True))
        return next((f"[{n}]{_under(found)}" for n, (of, v) in pairs if (found := of(v)) is not None), None)

    return check


def named(shape: Shape, most: int = 100_000, name: Shape | None = None) -> Shape:
    """An object with any names."""
    key = name or text()

    def check(value: Any) -> str | None:
        if not isinstance(value, dict) or len(value) > most:
            return _wrong(value, f"an object of at most {most} names")
        for k, v in value.items():
            if (found := key(k)) is not None:
                return f"a name {found}"
            if (found := shape(v)) is not None:
                return f"{printable(k, 60)}{_under(found)}"
        return None

    return check


def record(needed: Mapping[str, Shape], others: Mapping[str, Shape] | None = None) -> Shape:
    """An object with these names; it may have the others. Further names are not checked."""

    def check(value: Any) -> str | None:
        if not isinstance(value, dict):
            return _wrong(value, "an object")
        for name, shape in {**needed, **(others or {})}.items():
            if name not in value:
                if name in needed:
                    return f"{name} is missing"
            elif (found := shape(value[name])) is not None:
                return f"{name}{_under(found)}"
        return None

    return check


def _plainly(fits: Callable[[Any], bool], what: str) -> Shape:
    return lambda value: None if fits(value) else _wrong(value, what)


def _wrong(value: Any, what: str) -> str:
    """The complaint. A large value shows only its type, since its text may be many times as large."""
    shown = (
        f"{type(value).__name__} of {len(value)}" if isinstance(value, (list, dict)) else printable(repr(value), 60)
    )
    return f"is {shown}, not {what}"


def _under(found: str) -> str:
    """A complaint from one level further down, with a dot before a name."""
    return f" {found}" if found.startswith("is ") else found if found.startswith("[") else f".{found}"

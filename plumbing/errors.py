"""Errors that a user can put right, and quoting text from outside in them."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable

LONGEST_QUOTE = 200
"""Most characters of a quoted text."""
LONGEST_LINE = 2000
"""Most characters of a whole message."""
_OS_ERROR = re.compile(r"\(os error (\d{1,5})\)")


class InputError(Exception):
    """Bad input. The message is one line: what is wrong, where, and what to do next.

    Commands print it as `error: …` and leave with exit status 2.
    """


def system_error(error: BaseException | None) -> OSError | None:
    """What the system refused; None for other errors. Libraries in Rust, such as polars, report it as an error of
    their own, with its number in the text."""
    if isinstance(error, OSError):
        return error
    found = None if error is None or isinstance(error, InputError) else _OS_ERROR.search(str(error))
    return OSError(int(found[1]), os.strerror(int(found[1]))) if found else None


def visible(text: str) -> str:
    """The text with all that cannot be seen spelled out, such as `\\x1b`: control characters, and with them what a
    terminal takes for commands; marks that turn the direction of writing; halves of characters."""
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def printable(text: object, most: int = LONGEST_QUOTE) -> str:
    """Text from outside as one line that a terminal and a page can show.

    White space becomes single spaces, and what cannot be seen is spelled out, as by `visible`.

    Args:
        most: characters; of a longer text the beginning and the end are left.
    """
    try:
        whole = str(text)
    except ValueError:  # a whole number of more digits than Python writes
        whole = f"a {type(text).__name__} that is too large"
    line = " ".join((whole if len(whole) <= 4 * most else f"{whole[: 2 * most]} {whole[-2 * most :]}").split())
    line = visible(line)
    cut = len(line) > most or len(whole) > 4 * most
    return f"{line[: most * 2 // 3]} … {line[-(most // 3) + 3 :]}" if cut else line


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A hint such as ` Did you mean 'cologne1'?`, or an empty string when nothing is near."""
    near = difflib.get_close_matches(word[:LONGEST_QUOTE], list(known), n=1, cutoff=0.5)
    return f" Did you mean {near[0]!r}?" if near else ""

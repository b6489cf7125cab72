"""What a person did wrong, said so that they can put it right."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class InputError(Exception):
    """Bad input. The message is one line: what is wrong, where, and what to do next.

    Commands print it as `error: …` and leave with exit status 2.
    """


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A hint such as ` Did you mean 'cologne1'?`, or an empty string when nothing is near."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f" Did you mean {near[0]!r}?" if near else ""

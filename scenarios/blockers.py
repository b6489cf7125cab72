"""SUMO's --ignore-junction-blocker: who has stood inside a junction for so long no longer holds up those who cross.

It dissolves gridlock that no signal is to blame for, and some that one is; so it is off unless it is asked for, and
wherever results are shown it is named.
"""

from __future__ import annotations

from collections.abc import Sequence

from plumbing.errors import InputError
from scenarios.xmlfile import LARGEST, seconds

OPTION = "ignore-junction-blocker"
Options = Sequence[tuple[str, str]]


def blocker_s(options: Options) -> float | None:
    """What a scenario's options say [s]; None where it is off, as in SUMO's own default."""
    found = seconds(dict(options).get(OPTION) or "-1")
    return None if found < 0 else found


def with_blocker(options: Options, time_s: float) -> tuple[tuple[str, str], ...]:
    """The options with this one set; negative: off.

    Raises:
        InputError: it is no time.
    """
    if not abs(time_s) <= LARGEST:
        raise InputError(f"{OPTION} is {time_s:g}; give seconds, or a negative number for never")
    if blocker_s(options) == (None if time_s < 0 else time_s):
        return tuple(options)
    kept = tuple(pair for pair in options if pair[0] != OPTION)
    return kept if time_s < 0 else (*kept, (OPTION, f"{time_s:g}"))


def blocker_line(time_s: float | None) -> str:
    """For everyone who reads results: that it is on; "" where it is off."""
    if time_s is None:
        return ""
    return (
        f"{OPTION} is on: who has stood inside a junction for {time_s:g} s no longer holds up those who cross, so "
        "gridlock is rarer than without"
    )

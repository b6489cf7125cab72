"""The names of turning movements: NBL is the left turn of those who travel north."""

from __future__ import annotations

import re
from typing import Any

APPROACHES = ("NB", "SB", "EB", "WB", "NE", "NW", "SE", "SW")
_WORDS = {
    "northbound": "NB", "southbound": "SB", "eastbound": "EB", "westbound": "WB",
    "northeastbound": "NE", "northwestbound": "NW", "southeastbound": "SE", "southwestbound": "SW",
    "neb": "NE", "nwb": "NW", "seb": "SE", "swb": "SW",
    **{a.lower(): a for a in APPROACHES},
}  # fmt: skip
_TURNS = {
    "left": "L", "l": "L", "lt": "L", "left turn": "L", "thru": "T", "through": "T", "t": "T", "th": "T",
    "straight": "T", "s": "T", "right": "R", "r": "R", "rt": "R", "right turn": "R", "u": "U", "ut": "U",
    "u-turn": "U", "uturn": "U", "u-turns": "U", "u turn": "U",
}  # fmt: skip
_NAME = re.compile(r"(NEB|NWB|SEB|SWB|NB|SB|EB|WB|NE|NW|SE|SW)[\s_-]?([LTRU]{1,4}|LT|RT|TH|THRU|LEFT|RIGHT|UT)")


def approach_of(text: str) -> str | None:
    """The approach that a heading names, such as "Northbound" or "NB Main Street"; None where it names none."""
    plain = " ".join(text.lower().split())
    if plain in _WORDS:
        return _WORDS[plain]
    first = re.split(r"[^a-z]+", plain, maxsplit=1)[0]
    return _WORDS.get(first)


def turn_of(text: str) -> str | None:
    """The turn that a heading names, such as "Thru" or "Left"; None where it names none."""
    return _TURNS.get(" ".join(text.lower().split()))


def movement_of(text: str) -> tuple[str, str] | None:
    """Approach and turns of a name such as "NBL", "EB Thru" or "SBTR"; None where it is none."""
    found = _NAME.fullmatch(text.strip().upper())
    if found is None:
        return None
    approach, turns = found.groups()
    turns = {"LT": "L", "RT": "R", "TH": "T", "THRU": "T", "LEFT": "L", "RIGHT": "R", "UT": "U"}.get(turns, turns)
    return (approach[:2] if len(approach) == 3 else approach), "".join(dict.fromkeys(turns))


def facts_of(site: str | None, approach: str, turns: str) -> dict[str, Any]:
    """A movement's row of the table of detectors, without its name."""
    return {"kind": "movement", "site": site, "approach": approach, "movement": turns}


def name_of(site: str | None, approach: str, turns: str) -> str:
    """The name of a movement in the table of counts: "Main St NBL", or "NBL" where there is no site."""
    return f"{site} {approach}{turns}" if site else f"{approach}{turns}"

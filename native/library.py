"""The one loader of the compiled library: whether there is one, and whether it may be used."""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
from functools import cache
from pathlib import Path

log = logging.getLogger("intergreen.native")
LIBRARY = Path(__file__).parent / "libintergreen.so"
SWITCH = "INTERGREEN_NATIVE"
"""In the environment: 0 to do without the library, as where it was not built. For benchmarks/native_parts.py alone, a
list of `PARTS` to do without, such as "look,observe"."""
PARTS = ("step", "look", "observe")


class Unusable(Exception):
    """Why the compiled library is left aside."""


def parts_used() -> frozenset[str]:
    """Those of `PARTS` that are to be used where there is a library."""
    said = os.environ.get(SWITCH, "")
    return frozenset() if said == "0" else frozenset(PARTS).difference(said.split(","))


@cache
def library() -> ctypes.CDLL | None:
    """The compiled library, or None where it was not built, is older than its sources or is off."""
    try:
        return _load()
    except (Unusable, OSError, AttributeError) as error:
        log.debug("%s is not used: %s", LIBRARY.name, error)
        return None


def _load() -> ctypes.CDLL:
    if not parts_used():
        raise Unusable(f"{SWITCH} is {os.environ[SWITCH]}")
    found = ctypes.CDLL(str(LIBRARY))
    found.sources.restype = ctypes.c_char_p
    if found.sources() != sources_sha256(LIBRARY.parent):
        raise Unusable("it was built from other sources")
    return found


def sources_sha256(folder: Path) -> bytes:
    """Of the sources beside a library. One built from others may lay out its structures in another way, and would
    read and write where nothing is."""
    sources = sorted([*folder.glob("*.cpp"), *folder.glob("*.h")])
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest().encode()

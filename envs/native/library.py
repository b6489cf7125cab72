"""The one loader of the compiled library: whether it may be used, and whether libsumo has what it calls."""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
from collections.abc import Sequence
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


class SumoFunctions(ctypes.Structure):
    """The struct `Sumo` of decision.h: where functions of libsumo's C++ interface are."""

    _fields_ = [(n, ctypes.c_void_p) for n in ("set_phase", "step", "vehicles", "halting", "waiting", "mean_speed")]


class Native:
    """The compiled library, joined to the libsumo of this process."""

    def __init__(self, library: ctypes.CDLL, sumo: SumoFunctions) -> None:
        self.library, self.sumo = library, sumo
        pointer, seconds = ctypes.c_void_p, ctypes.c_double
        library.new_names.restype = pointer
        for name, arguments in {
            "ask_lane": [pointer, ctypes.c_char_p, pointer],
            "decision_step": [pointer, seconds, pointer],
            "decision_look": [pointer, seconds],
            "observe": [pointer, pointer],
        }.items():
            getattr(library, name).argtypes = arguments
        library.decision_step.restype, library.observe.restype = seconds, None

    def names(self, names: Sequence[str]) -> int:
        """A list of names on the other side; it lives as long as the process."""
        encoded = (ctypes.c_char_p * len(names))(*(name.encode() for name in names))
        made: int | None = self.library.new_names(encoded, ctypes.c_size_t(len(names)))
        if made is None:
            raise MemoryError("no memory for the names of the lanes")
        return made


def parts_used() -> frozenset[str]:
    """Those of `PARTS` that are to be used where there is a library."""
    said = os.environ.get(SWITCH, "")
    return frozenset() if said == "0" else frozenset(PARTS).difference(said.split(","))


@cache
def native() -> Native | None:
    """The compiled library, or None where it was not built, is older than its sources, does not fit or is off.

    libsumo's functions are C++, so they are found by the symbols that a compiler has made of their names. Each is
    used only if its symbol lies in libsumo itself and reads, demangled, as this very function with the parameters
    that it is called with: both names follow from the type through which it is called (`find` in decision.cpp). No
    symbol says what a function returns, so each episode asks for a lane's numbers both ways before it trusts any
    (`CompiledDecision.agrees`); the two that change something, `setPhase` and `step`, return nothing.

    No check covers a function of the same name and parameters that does something else in another SUMO. The tests
    compare whole episodes with the installed one.
    """
    try:
        found = _load()
    except (Unusable, OSError, AttributeError) as error:
        log.debug("%s is not used: %s", LIBRARY.name, error)
        return None
    return found


def _load() -> Native:
    if not parts_used():
        raise Unusable(f"{SWITCH} is {os.environ[SWITCH]}")
    library = ctypes.CDLL(str(LIBRARY))
    library.sources.restype = ctypes.c_char_p
    if library.sources() != sources_sha256(LIBRARY.parent):
        raise Unusable("it was built from other sources")
    from libsumo import _libsumo

    sumo = SumoFunctions()
    if not library.find_sumo(os.fsencode(_libsumo.__file__), ctypes.byref(sumo)):
        raise Unusable("this libsumo does not export what it calls")
    return Native(library, sumo)


def sources_sha256(folder: Path) -> bytes:
    """Of the sources beside a library. One built from others may lay out its structures in another way, and would
    read and write where nothing is."""
    sources = sorted([*folder.glob("*.cpp"), *folder.glob("*.h")])
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest().encode()

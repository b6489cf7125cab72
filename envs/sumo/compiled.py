"""The compiled library, joined to the libsumo of this process: only if this has all that the library calls."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from functools import cache

from native.library import LIBRARY, Unusable, library, log


class SumoFunctions(ctypes.Structure):
    """The struct `Sumo` of decision.h: where functions of libsumo's C++ interface are."""

    _fields_ = [
        *((n, ctypes.c_void_p) for n in ("set_phase", "step", "vehicles", "halting", "waiting", "mean_speed")),
        *((n, ctypes.c_void_p) for n in ("vehicle_ids", "position", "speed", "next_signals")),
    ]


class Native:
    """The compiled library, joined to the libsumo of this process."""

    def __init__(self, library: ctypes.CDLL, sumo: SumoFunctions) -> None:
        self.library, self.sumo = library, sumo
        pointer, seconds = ctypes.c_void_p, ctypes.c_double
        library.new_names.restype = library.new_known.restype = pointer
        for name, arguments in {
            "ask_lane": [pointer, ctypes.c_char_p, pointer],
            "decision_step": [pointer, seconds, pointer],
            "decision_look": [pointer, seconds],
            "observe": [pointer, pointer],
            "forget": [pointer],
        }.items():
            getattr(library, name).argtypes = arguments
        library.decision_step.restype, library.observe.restype, library.forget.restype = seconds, None, None

    def names(self, names: Sequence[str]) -> int:
        """A list of names on the other side; it lives as long as the process."""
        encoded = (ctypes.c_char_p * len(names))(*(name.encode() for name in names))
        made: int | None = self.library.new_names(encoded, ctypes.c_size_t(len(names)))
        if made is None:
            raise MemoryError("no memory for the names of the lanes")
        return made

    def known(self) -> int:
        """What vehicles were asked for, on the other side; it lives as long as the process."""
        made: int | None = self.library.new_known()
        if made is None:
            raise MemoryError("no memory for what vehicles are asked for")
        return made


@cache
def native() -> Native | None:
    """The compiled library for simulations, or None where there is none or it does not fit the libsumo.

    libsumo's functions are C++, so they are found by the symbols that a compiler has made of their names. Each is
    used only if its symbol lies in libsumo itself and reads, demangled, as this very function with the parameters
    that it is called with: both names follow from the type through which it is called (`find` in decision.cpp). No
    symbol says what a function returns, so each episode asks for a lane's numbers both ways before it trusts any
    (`CompiledDecision.agrees`); the two that change something, `setPhase` and `step`, return nothing.

    No check covers a function of the same name and parameters that does something else in another SUMO. The tests
    compare whole episodes with the installed one.
    """
    found = library()
    if found is None:
        return None
    try:
        return _joined(found)
    except (Unusable, OSError, AttributeError) as error:
        log.debug("%s is not used for simulations: %s", LIBRARY.name, error)
        return None


def _joined(found: ctypes.CDLL) -> Native:
    from libsumo import _libsumo

    sumo = SumoFunctions()
    if not found.find_sumo(os.fsencode(_libsumo.__file__), ctypes.byref(sumo)):
        raise Unusable("this libsumo does not export what it calls")
    return Native(found, sumo)

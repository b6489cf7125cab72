"""The one loader of the compiled library: whether it may be used, and where libsumo's own functions are."""

from __future__ import annotations

import ctypes
import hashlib
import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path

LIBRARY = Path(__file__).parent / "libintergreen.so"
SWITCH = "INTERGREEN_NATIVE"
"""Set to 0 in the environment to do without the library, as where it was not built."""
LANES = ("getLastStepVehicleNumber", "getLastStepHaltingNumber", "getLastStepMeanSpeed", "getWaitingTime")
LOOPS = ("getIntervalVehicleNumber", "getIntervalOccupancy", "getTimeSinceDetection")
BY_NAME = "ERKNSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEE"
"""How the compiler writes a function of one `const std::string&` (Itanium C++ ABI)."""


class Native:
    """The compiled library, joined to the libsumo of this process."""

    def __init__(self, library: ctypes.CDLL, module: str) -> None:
        self.library = library
        self._module = os.fsencode(module)
        library.find_symbol.restype = library.new_names.restype = ctypes.c_void_p
        library.free_names.argtypes = [ctypes.c_void_p]
        for function in (library.read_ints, library.read_doubles):
            function.argtypes = [ctypes.c_void_p] * 3
        library.read_lanes.argtypes = [ctypes.c_void_p] * 2
        library.measure.argtypes = [ctypes.c_void_p]
        library.observe.argtypes = [ctypes.c_void_p] * 2
        library.minus_sum.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p]
        pointer, double = ctypes.c_void_p, ctypes.c_double
        library.machine_mask.argtypes = library.machine_request.argtypes = [pointer, double, pointer, pointer]
        library.machine_request.restype = ctypes.c_int64
        library.machine_advance.argtypes = [pointer, double]
        library.machine_show.argtypes = [pointer, double, *[pointer] * 4]
        library.machine_mask.restype = library.machine_advance.restype = library.machine_show.restype = None
        library.look.argtypes = [pointer, double]
        library.step_to_next.argtypes, library.step_to_next.restype = [pointer], double
        library.measure.restype = library.observe.restype = library.minus_sum.restype = None
        self.lanes = [self.address("Lane", name) for name in LANES]
        self.loops = [self.address("InductionLoop", name) for name in LOOPS]
        self.steps = [
            self.address("TrafficLight", "setPhase", f"{BY_NAME}i"),
            self.address("Simulation", "step", "Ed"),
        ]
        """Where a signal is set, and where SUMO is stepped; None where this libsumo does not export it."""
        self.complete = all(self.lanes) and all(self.loops)
        """Whether this libsumo exports all that is read of it."""

    def address(self, domain: str, name: str, arguments: str = BY_NAME) -> int | None:
        """Where `libsumo::DOMAIN::NAME(ARGUMENTS)` is, None where it is not."""
        symbol = f"_ZN7libsumo{len(domain)}{domain}{len(name)}{name}{arguments}"
        found: int | None = self.library.find_symbol(self._module, symbol.encode())
        return found

    def names(self, names: Sequence[str]) -> int:
        """A list of names on the other side; it lives as long as the process."""
        encoded = (ctypes.c_char_p * len(names))(*(name.encode() for name in names))
        made: int | None = self.library.new_names(encoded, ctypes.c_size_t(len(names)))
        if made is None:
            raise MemoryError("no memory for the names of the lanes")
        return made


@cache
def native() -> Native | None:
    """The compiled library, or None where it was not built, is older than its sources, does not fit or is off."""
    library = load_library(LIBRARY)
    if library is None:
        return None
    from libsumo import _libsumo

    try:
        found = Native(library, _libsumo.__file__)
    except AttributeError:
        return None
    return found if found.complete else None


def load_library(path: Path) -> ctypes.CDLL | None:
    """One of the compiled libraries, None where it was not built, is older than its sources or is off."""
    if os.environ.get(SWITCH) == "0" or not path.is_file():
        return None
    try:
        library = ctypes.CDLL(str(path))
        library.sources.restype = ctypes.c_char_p
        return library if library.sources() == sources_sha256(path.parent) else None
    except (OSError, AttributeError):
        return None


def sources_sha256(folder: Path) -> bytes:
    """Of the sources beside a library. One built from others may lay out its structures in another way, and would
    read and write where nothing is."""
    sources = sorted([*folder.glob("*.cpp"), *folder.glob("*.h")])
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest().encode()

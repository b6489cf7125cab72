"""Reading many lanes or loops at once: in one compiled call where the package could build it, else call by call.

Both ways ask libsumo the same questions and give the same numbers to the bit.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
LIBRARY = Path(__file__).parent / "native" / "libintergreen.so"
SWITCH = "INTERGREEN_NATIVE"
"""Set to 0 in the environment to do without the compiled reader, as where it was not built."""
LANES = ("getLastStepVehicleNumber", "getLastStepHaltingNumber", "getLastStepMeanSpeed", "getWaitingTime")
LOOPS = ("getIntervalVehicleNumber", "getIntervalOccupancy", "getTimeSinceDetection")
BY_NAME = "ERKNSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEE"
"""How the compiler writes a function of one `const std::string&` (Itanium C++ ABI)."""


class _LaneTable(ctypes.Structure):
    """The struct `LaneTable` of native/getters.cpp."""

    _fields_ = [
        (name, ctypes.c_void_p)
        for name in ("vehicles", "halting", "mean_speed", "waiting", "names", "place", "speed_mps")
    ]


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


class LaneReader:
    """Vehicles, halting, waiting time and rate of time loss of each lane.

    Args:
        low: libsumo's lowest layer, or what answers the same calls.
        lanes: [L] names.
        speed_mps: [L] limits.
        compiled: whether `low` is libsumo, so that the compiled reader may go beside it.
    """

    def __init__(self, low: Any, lanes: Sequence[str], speed_mps: FloatArray, *, compiled: bool) -> None:
        self._low, self._lanes = low, lanes
        self._speed_mps = np.ascontiguousarray(speed_mps, np.float64)
        self._native = native() if compiled else None
        if self._native is not None:
            # SUMO looks each up in a sorted tree: who asks in that order finds the same branches in the cache again
            self._order = np.array(sorted(range(len(lanes)), key=lambda n: lanes[n].encode()), np.int64)
            self._speed_in_order = self._speed_mps[self._order]
            names = self._native.names([lanes[n] for n in self._order])
            arrays = self._order.ctypes.data, self._speed_in_order.ctypes.data
            self._table = _LaneTable(*self._native.lanes, names, *arrays)
            self.table = ctypes.addressof(self._table)
            self._read = self._native.library.read_lanes
        self._target: FloatArray | None = None
        self._address = 0

    def read(self, out: FloatArray) -> None:
        """Fill `out` [4, L].

        Raises:
            RuntimeError: SUMO does not know one of the lanes.
        """
        if self._native is None:
            self.read_plainly(out)
            return
        if out is not self._target:  # asking numpy for an address takes longer than the reading
            assert out.flags.c_contiguous
            self._target, self._address = out, out.ctypes.data
        if self._read(self.table, self._address):
            self.read_plainly(out)  # which says what is wrong

    def read_plainly(self, out: FloatArray) -> None:
        """The same call by call."""
        # every lane's count, then the rest of the few that hold anybody: plain calls beat SUMO's subscriptions
        low, lanes = self._low, self._lanes
        vehicles = np.fromiter(map(low.lane_getLastStepVehicleNumber, lanes), float, len(lanes))
        busy = vehicles.nonzero()[0]
        out[:] = 0.0
        if busy.size:
            names = [lanes[n] for n in busy.tolist()]
            seen = vehicles[busy]
            share = np.array(list(map(low.lane_getLastStepMeanSpeed, names))) / self._speed_mps[busy]
            out[:, busy] = (
                seen,
                list(map(low.lane_getLastStepHaltingNumber, names)),
                list(map(low.lane_getWaitingTime, names)),
                seen * np.maximum(1.0 - share, 0.0),
            )


class LoopGetters:
    """Of each induction loop: vehicles and occupancy of the interval so far, and the time since the last vehicle."""

    def __init__(self, low: Any, loops: Sequence[str], *, compiled: bool) -> None:
        self._low, self._loops = low, loops
        self._native = native() if compiled else None
        if self._native is not None:
            self._names = self._native.names(loops)

    def read(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """[loops] vehicles counted, occupancy in percent, time since the last vehicle [s]."""
        if self._native is not None:
            values = np.empty((3, len(self._loops)))
            library = self._native.library
            failed = 0
            for row, (read, getter) in enumerate(
                zip((library.read_ints, library.read_doubles, library.read_doubles), self._native.loops, strict=True)
            ):
                failed |= read(getter, self._names, values[row].ctypes.data)
            if not failed:
                return values[0], values[1], values[2]
        low, loops = self._low, self._loops
        return (
            np.array([low.inductionloop_getIntervalVehicleNumber(name) for name in loops], float),
            np.array([low.inductionloop_getIntervalOccupancy(name) for name in loops], float),
            np.array([low.inductionloop_getTimeSinceDetection(name) for name in loops], float),
        )

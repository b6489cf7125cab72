"""Reading many lanes or loops at once: in one compiled call where the package could build it, else call by call.

Both ways ask libsumo the same questions and give the same numbers to the bit.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from envs.native.library import native

FloatArray = npt.NDArray[np.float64]


class _LaneTable(ctypes.Structure):
    """The struct `LaneTable` of native/getters.cpp."""

    _fields_ = [
        (name, ctypes.c_void_p)
        for name in ("vehicles", "halting", "mean_speed", "waiting", "names", "place", "speed_mps")
    ]


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

"""The state machine with its arithmetic in compiled code, where the package could build it.

`signals.machine` defines what happens and computes the same to the bit; here it is one call for all signals, since
beside SUMO's step it is the number of separate operations that costs, not their size.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from envs.native.library import native
from signals.intersection import Intersection
from signals.machine import BoolArray, SignalMachine
from signals.snapshot import Snapshot
from signals.timing import Timing

CONSTANTS = ("exists", "_entry", "_change_s", "_min_green_s", "_max_green_s", "_settling_s")
STATE = ("phase", "green_since_s", "settled_at_s", "served_until_s", "_held_until_s", "_max_until_s")
ROOM = ("masked", "signal", "row")


class _Tables(ctypes.Structure):
    """The struct `Machine` of native/machine.cpp."""

    _fields_ = [
        ("signals", ctypes.c_int64),
        ("phases", ctypes.c_int64),
        ("decision_interval_s", ctypes.c_double),
        ("settles", ctypes.c_int64),
        *((name, ctypes.c_void_p) for name in (*CONSTANTS, *STATE, *ROOM)),
    ]


class CompiledMachine(SignalMachine):
    """A `SignalMachine` whose arrays are also read and written by the compiled library. They never move."""

    def __init__(self, intersections: Sequence[Intersection], timing: Timing, width: int = 1) -> None:
        """See `SignalMachine`."""
        super().__init__(intersections, timing, width)
        compiled = native()
        assert compiled is not None, "ask `make_machine`"
        library = compiled.library
        self._shape = size, width = self.exists.shape
        self._masked = np.zeros(self._shape, bool)
        self._signal, self._row = np.zeros(size, np.int64), np.zeros(size, np.int64)
        arrays = [getattr(self, name) for name in (*CONSTANTS, *STATE)]
        tables = _Tables(size, width, timing.decision_interval_s, self._settles)
        arrays += [self._masked, self._signal, self._row]
        for name, array in zip((*CONSTANTS, *STATE, *ROOM), arrays, strict=True):
            assert array.flags.c_contiguous, name
            setattr(tables, name, array.ctypes.data)
        self._tables = tables
        self.address = ctypes.addressof(tables)
        self.answers = self._signal.ctypes.data, self._row.ctypes.data
        """Where a request's answer lies: signals, and what each then shows."""
        self._mask_now, self._request_now = library.machine_mask, library.machine_request
        self._advance_to, self._show_in = library.machine_advance, library.machine_show
        self._known_addresses: dict[int, tuple[npt.NDArray[Any], int]] = {}

    def _mask(self, calls: BoolArray) -> BoolArray:
        self._mask_now(self.address, self.now_s, self._address(self._fitting(calls)), self._address(self._masked))
        return self._masked

    def show_mask(self, snapshot: Snapshot) -> None:
        """See `SignalMachine.show_mask`."""
        assert snapshot.mask.shape == snapshot.calls.shape == self._shape
        self._mask_now(self.address, self.now_s, self._address(snapshot.calls), self._address(snapshot.mask))

    def request(self, phases: npt.NDArray[np.integer], calls: BoolArray) -> list[tuple[int, int]]:
        """See `SignalMachine.request`."""
        wanted = np.ascontiguousarray(phases, np.int64)
        if wanted.shape != self.phase.shape:
            wanted = np.ascontiguousarray(np.broadcast_to(wanted, self.phase.shape))
        calls = self._fitting(calls)
        count = self._request_now(self.address, self.now_s, wanted.ctypes.data, self._address(calls))
        return list(zip(self._signal[:count].tolist(), self._row[:count].tolist(), strict=True))

    def advance(self, now_s: float) -> None:
        """See `SignalMachine.advance`."""
        self.now_s = now_s
        self._advance_to(self.address, now_s)

    def show(self, snapshot: Snapshot) -> None:
        """See `SignalMachine.show`."""
        targets = (snapshot.phase, snapshot.changing, snapshot.green_age_s, snapshot.since_served_s)
        assert snapshot.since_served_s.shape == self._shape
        self._show_in(self.address, self.now_s, *map(self._address, targets))

    def _fitting(self, calls: BoolArray) -> BoolArray:
        if calls.shape == self._shape and calls.dtype == np.bool_ and calls.flags.c_contiguous:
            return calls
        return np.ascontiguousarray(np.broadcast_to(calls, self._shape), np.bool_)

    def _address(self, array: npt.NDArray[Any]) -> int:
        """Of an array that is asked for again and again, once: numpy takes longer to tell than all the rest."""
        known = self._known_addresses.get(id(array))
        if known is None:
            if len(self._known_addresses) > 16:  # somebody gives new ones each time
                self._known_addresses.clear()
            known = self._known_addresses[id(array)] = array, array.ctypes.data
        return known[1]


def make_machine(
    intersections: Sequence[Intersection], timing: Timing, width: int = 1, *, compiled: bool = True
) -> SignalMachine:
    """The compiled machine where there is one."""
    kind = CompiledMachine if compiled and native() is not None else SignalMachine
    return kind(intersections, timing, width)

"""What follows from one reading of the lanes, in compiled code: sums, calls, observation and the common rewards.

`signals` defines all of this and computes the same numbers to the bit, ten times as slowly; that is the way taken
where the library was not built, and for whatever is not covered here (detectors, other rewards).
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import numpy.typing as npt

from envs.getters import LaneReader, native
from envs.machine import CompiledMachine
from signals.layout import Gather, Layout
from signals.observations import LIMIT, PhaseObservation
from signals.snapshot import Snapshot

REWARDS = {"time_loss": 3, "queue_veh": 1}
"""Rewards that are minus a sum over the approaches, and which row of the lanes' readings they add up."""


class _Gather(ctypes.Structure):
    _fields_ = [
        ("index", ctypes.c_void_p),
        ("weight", ctypes.c_void_p),
        ("count", ctypes.c_int64),
        ("width", ctypes.c_int64),
    ]


SIZES = ("signals", "phases", "movements", "lanes", "controlled")
GATHERS = ("zone", "signal_lanes", "phase_lanes", "movement_lanes", "phase_exits", "movement_exits")
CONSTANTS = ("controlled_signal", "lane_served", "service", "phase_factor", "movement_factor")
SEEN = ("lanes", "pedestrians", "phase", "changing", "green_age_s", "since_served_s", "mask", "calls")
SHOWN = ("phase", "changing", "green_age_s", "since_served_s")
ROOM = ("zones", "fresh", "on_phases", "room")


class _Tables(ctypes.Structure):
    """The struct `Tables` of native/measures.cpp."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in SIZES),
        *((name, _Gather) for name in GATHERS),
        *((name, ctypes.c_void_p) for name in CONSTANTS),
        ("limit", ctypes.c_float),
        *((f"seen_{name}", ctypes.c_void_p) for name in SEEN),
        *((name, ctypes.c_void_p) for name in ROOM),
    ]


class Kernel:
    """The compiled functions, tied to one snapshot's arrays.

    Args:
        layout: which element is what.
        snapshot: whose arrays are read, and whose calls are written; they must stay where they are.
    """

    def __init__(self, layout: Layout, snapshot: Snapshot) -> None:
        compiled = native()
        assert compiled is not None, "ask `usable` first"
        s, p, k = layout.shape
        c = len(layout.controlled)
        self._kept: list[npt.NDArray[Any]] = []  # what the other side points at must not go away
        tables = _Tables(s, p, k, len(layout.lanes), c)
        for name in GATHERS:
            setattr(tables, name, self._gather(getattr(layout, name)))
        phase_factor = (1.0 / PhaseObservation.PHASE_SCALE).astype(np.float32)
        movement_factor = (1.0 / PhaseObservation.MOVEMENT_SCALE).astype(np.float32)
        constants = (layout.controlled_signal, layout.lane_served, layout.service, phase_factor, movement_factor)
        for name, array in zip(CONSTANTS, constants, strict=True):
            setattr(tables, name, self._address(np.ascontiguousarray(array)))
        tables.limit = LIMIT
        for name in SEEN:
            array = getattr(snapshot, name)
            assert array.flags.c_contiguous, name
            setattr(tables, f"seen_{name}", self._address(array))
        widest = max(getattr(layout, name).index.shape[-1] for name in GATHERS)
        for name, shape in zip(ROOM, ((4, c), (c,), (4, s, p), (widest,)), strict=True):
            setattr(tables, name, self._address(np.zeros(shape)))
        self._tables = tables
        self.address = ctypes.addressof(tables)
        self._library = compiled.library
        self._targets: dict[int, tuple[npt.NDArray[Any], int]] = {}

    def measure(self) -> None:
        """Sums on the approaches, and `snapshot.calls`."""
        self._library.measure(self.address)

    def observe(self, rows: npt.NDArray[np.float32]) -> None:
        """Bring the rows of a `PhaseObservation` up to the snapshot; after `measure` and with the mask in place."""
        self._library.observe(self.address, self._target(rows))

    def reward(self, name: str, out: npt.NDArray[np.float64]) -> None:
        """[S] one of `REWARDS`; after `measure`."""
        self._library.minus_sum(self.address, REWARDS[name], self._target(out))

    def _target(self, array: npt.NDArray[Any]) -> int:
        """Its address, asked of numpy once: that takes longer than the rest."""
        known = self._targets.get(id(array))
        if known is None:
            assert array.flags.c_contiguous
            known = self._targets[id(array)] = array, array.ctypes.data
        return known[1]

    def _address(self, array: npt.NDArray[Any]) -> int:
        self._kept.append(array)
        address: int = array.ctypes.data
        return address

    def _gather(self, gather: Gather) -> _Gather:
        index = np.ascontiguousarray(gather.index.reshape(-1, gather.index.shape[-1]), np.int64)
        weight = np.ascontiguousarray(gather.weight.reshape(index.shape), np.float64)
        return _Gather(self._address(index), self._address(weight), *index.shape)


class _Look(ctypes.Structure):
    """The struct `Look` of native/look.cpp."""

    _fields_ = [
        (name, ctypes.c_void_p)
        for name in ("getters", "names", "speed_mps", "machine", "tables", "time_s", "lanes", *SHOWN, "mask", "calls")
    ]


class Look:
    """What a step is followed by, in one call: lanes, signals, sums and calls, mask; pedestrians must be there."""

    def __init__(self, reader: LaneReader, machine: CompiledMachine, kernel: Kernel, snapshot: Snapshot) -> None:
        compiled = native()
        assert compiled is not None
        arrays = [getattr(snapshot, name) for name in ("time_s", "lanes", *SHOWN, "mask", "calls")]
        assert all(array.flags.c_contiguous for array in arrays)
        assert snapshot.mask.shape == snapshot.since_served_s.shape == machine.exists.shape
        self._kept = reader, machine, kernel, snapshot
        self._struct = _Look(*reader.arguments, machine.address, kernel.address, *(a.ctypes.data for a in arrays))
        self._at = ctypes.addressof(self._struct)
        self._look = compiled.library.look

    def at(self, now_s: float) -> bool:
        """Fill the snapshot of this moment; False where a lane could not be read."""
        found: int = self._look(self._at, now_s)
        return found == 0


def usable(sensing: str) -> bool:
    """Whether there is a compiled way for this level of sensing."""
    return sensing == "full" and native() is not None

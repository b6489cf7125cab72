"""What follows from one reading of the lanes, in compiled code: sums, calls, observation and the common rewards.

`signals` defines all of this and computes the same numbers to the bit, ten times as slowly; that is the way taken
where the library was not built, and for whatever is not covered here (detectors, other rewards).
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import numpy.typing as npt

from envs.native.library import native
from envs.native.machine import CompiledMachine
from envs.sumo.reading import LaneReader
from signals.layout import Gather, Layout
from signals.observations import LIMIT, PhaseObservation
from signals.snapshot import Snapshot

REWARDS = {"time_loss": 3, "queue_veh": 1}
"""Rewards that are minus a sum over the approaches, and which row of the lanes' readings they add up."""


class _Gather(ctypes.Structure):
    _fields_ = [
        ("first", ctypes.c_void_p),
        ("index", ctypes.c_void_p),
        ("weight", ctypes.c_void_p),
        ("count", ctypes.c_int64),
        ("width", ctypes.c_int64),
    ]


SIZES = ("signals", "phases", "movements", "lanes", "controlled")
GATHERS = ("zone", "signal_lanes", "phase_lanes", "movement_lanes", "phase_exits", "movement_exits")
CONSTANTS = (
    "controlled_signal",
    "lane_served",
    "service",
    "change_s",
    "phase_size",
    "movement_size",
    "phase_factor",
    "movement_factor",
)
SEEN = ("lanes", "pedestrians", "phase", "changing", "green_age_s", "since_served_s", "mask", "calls")
SHOWN = ("phase", "changing", "green_age_s", "since_served_s")
ROOM = ("zones", "on_phases")


class _Tables(ctypes.Structure):
    """The struct `Tables` of native/measures.cpp."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in SIZES),
        *((name, _Gather) for name in GATHERS),
        *((name, ctypes.c_void_p) for name in CONSTANTS),
        ("limit", ctypes.c_float),
        ("walks", ctypes.c_int32),
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
        scales = {"phase_factor": phase_factor, "movement_factor": movement_factor}
        for name in CONSTANTS:
            array = scales[name] if name in scales else getattr(layout, name)
            setattr(tables, name, self._address(np.ascontiguousarray(array)))
        tables.limit, tables.walks = LIMIT, bool(layout.crossing_edges)
        for name in SEEN:
            array = getattr(snapshot, name)
            assert array.flags.c_contiguous, name
            setattr(tables, f"seen_{name}", self._address(array))
        for name, shape in zip(ROOM, ((c, 5), (s, p, 5)), strict=True):
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
        """Without the padding: what is left of each row, one after the other."""
        width = gather.index.shape[-1]
        index, weight = gather.index.reshape(-1, width), gather.weight.reshape(-1, width)
        there = np.maximum.accumulate(weight[:, ::-1] != 0.0, axis=1)[:, ::-1]
        first = np.concatenate([[0], there.sum(axis=1).cumsum()]).astype(np.int64)
        arrays = first, index[there].astype(np.int32), np.ascontiguousarray(weight[there])
        return _Gather(*(self._address(array) for array in arrays), len(index), width)


class _Look(ctypes.Structure):
    """The struct `Look` of native/look.cpp."""

    _fields_ = [
        *(
            (name, ctypes.c_void_p)
            for name in ("table", "machine", "tables", "time_s", "lanes", *SHOWN, "mask", "calls")
        ),
        ("reward", ctypes.c_void_p),
        ("observation", ctypes.c_void_p),
        ("quantity", ctypes.c_int64),
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
        self._struct = _Look(reader.table, machine.address, kernel.address, *(a.ctypes.data for a in arrays))
        self.address = ctypes.addressof(self._struct)
        self._look = compiled.library.look

    def tell(self, reward: str, rewards: npt.NDArray[np.float64], rows: npt.NDArray[np.float32] | None) -> None:
        """From now on write these with every look.

        Args:
            reward: one of `REWARDS`, or "" for none.
            rewards: [S]
            rows: of a `PhaseObservation`, or None for no observation.
        """
        assert all(array is None or array.flags.c_contiguous for array in (rewards, rows))
        self._told = rewards, rows
        self._struct.quantity = REWARDS.get(reward, 0)
        self._struct.reward = rewards.ctypes.data if reward else None
        self._struct.observation = None if rows is None else rows.ctypes.data

    def at(self, now_s: float) -> None:
        """Fill the snapshot of this moment.

        Raises:
            RuntimeError: SUMO does not know one of the lanes.
        """
        if self._look(self.address, now_s):
            self.failed()

    def failed(self) -> None:
        """Say which lane could not be read.

        Raises:
            RuntimeError: always.
        """
        reader, _, _, snapshot = self._kept
        reader.read_plainly(snapshot.lanes)
        raise RuntimeError("a lane could not be read")


def usable(sensing: str) -> bool:
    """Whether there is a compiled way for this level of sensing."""
    return sensing == "full" and native() is not None

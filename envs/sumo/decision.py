"""A simulation's decisions in two compiled calls, where the library was built: one to the next decision, one to see.

`envs.sumo.simulation` and `signals` do the same call by call, to the bit; beside SUMO's step it is the number of
separate operations that costs, not their size.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import numpy.typing as npt

from envs.sumo.approaches import ApproachTables
from envs.sumo.compiled import Native, SumoFunctions
from signals.layout import Gather, Layout
from signals.machine import SignalMachine
from signals.observations import LIMIT, PhaseObservation
from signals.snapshot import ARRIVAL_BIN_S, ARRIVAL_BINS, Snapshot

CONSTANTS = ("exists", "_entry", "_change_s", "_min_green_s", "_max_green_s", "_settling_s")
RED = ("_red_count", "_red_rounds", "_red_serves", "_red_s")
STATE = (
    "phase", "green_since_s", "settled_at_s", "served_until_s", "green_until_s", "_held_until_s", "_max_until_s",
    "blocked",
)  # fmt: skip
GATHERS = ("zone", "phase_streams", "movement_streams", "phase_exits", "movement_exits")
LAYOUT = ("stream_signal", "stream_lane", "stream_served", "service", "phase_size", "movement_size")
APPROACHES = ("lane", "first", "asks", "head", "target", "weight", "distance_m", "stream", "streams", "of_link")
WORKSPACE = ("on_streams", "on_phases", "allowed", "waits_s", "order", "left", "signal", "row", "sumo_s")
SEEN = (
    "time_s", "lanes", "share", "arriving", "lead", "pedestrians", "phase", "changing", "green_in_s", "green_age_s",
    "since_served_s", "mask", "calls",
)  # fmt: skip


class _Gather(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("first", "index", "weight")),
        *((name, ctypes.c_int64) for name in ("count", "width")),
    ]


class _Approaches(ctypes.Structure):
    """The struct `Approaches` of decision.h."""

    _fields_ = [
        *((f"{name}_count", ctypes.c_int64) for name in ("lane", "link", "bin")),
        ("bin_s", ctypes.c_double),
        ("ahead", ctypes.c_int64),
        *((name, ctypes.c_void_p) for name in ("lane_ids", "known", *APPROACHES)),
        *((name, ctypes.c_void_p) for name in ("signal", "length_m", "limit_mps", "usual", "heading", "unsure")),
    ]


class _Decision(ctypes.Structure):
    """The struct `Decision` of decision.h."""

    _fields_ = [
        *((f"{name}_count", ctypes.c_int64) for name in ("signal", "phase", "movement", "lane", "stream")),
        ("sumo", SumoFunctions),
        *((name, ctypes.c_void_p) for name in ("tls_ids", "lane_ids", "place", "speed_mps")),
        ("interval_s", ctypes.c_double),
        ("end_s", ctypes.c_double),
        ("settles", ctypes.c_int64),
        *((f"machine_{name}", ctypes.c_void_p) for name in CONSTANTS),
        ("group_count", ctypes.c_int64),
        *((f"machine_{name}", ctypes.c_void_p) for name in (*RED, *STATE)),
        *((name, _Gather) for name in GATHERS),
        ("controlled_count", ctypes.c_int64),
        ("approaches", _Approaches),
        *((name, ctypes.c_void_p) for name in LAYOUT),
        *((name, ctypes.c_void_p) for name in ("phase_factor", "movement_factor")),
        ("limit", ctypes.c_float),
        ("walks", ctypes.c_int32),
        ("measures", ctypes.c_int64),
        ("masks", ctypes.c_int64),
        ("approaching", ctypes.c_int64),
        *((f"seen_{name}", ctypes.c_void_p) for name in SEEN),
        *((name, ctypes.c_void_p) for name in WORKSPACE),
        ("said", ctypes.c_char * 1024),
    ]


class CompiledDecision:
    """The compiled functions, tied to the arrays of one simulation.

    Args:
        native: the library.
        layout: which element is what.
        machine: decides what is shown; its arrays are read and written on both sides.
        snapshot: is filled by `look`.
        sumo_s: [1] to which `step` adds how long SUMO's own steps took.
        end_s: where the last step ends, however early that is.
        measures: whether shares and calls follow from the lanes, and the mask, too, where no spillback guard narrows
            it; else the caller sees to them.
        ahead: whether then arrivals are read, too.

    All arrays must stay where they are.
    """

    def __init__(
        self,
        native: Native,
        layout: Layout,
        machine: SignalMachine,
        snapshot: Snapshot,
        sumo_s: npt.NDArray[np.float64],
        *,
        end_s: float,
        measures: bool,
        ahead: bool = True,
    ) -> None:
        s, p, k = layout.shape
        lanes, streams = len(layout.lanes), len(layout.streams)
        assert machine.exists.shape == snapshot.mask.shape == (s, p)
        self._kept: list[npt.NDArray[Any]] = []  # what the other side points at must not go away
        self._layout, self._snapshot, self._library = layout, snapshot, native.library
        # SUMO looks each up in a sorted tree: who asks in that order finds the same branches in the cache again
        order = np.array(sorted(range(lanes), key=lambda n: layout.lanes[n].encode()), np.int64)
        self.on_phases = np.zeros((s, p, 5))
        """[S, P, 5] what `signals.measures.ApproachMeasures.phases` holds, the other way round."""
        struct = self._struct = _Decision(s, p, k, lanes, streams, native.sumo)
        struct.tls_ids = native.names(layout.tls_ids)
        struct.lane_ids = native.names([layout.lanes[n] for n in order])
        struct.interval_s, struct.end_s = machine.timing.decision_interval_s, end_s
        struct.group_count = machine._red_serves.shape[1]
        struct.settles, struct.measures, struct.approaching = machine._settles, measures, measures
        struct.masks = measures and not machine.timing.spillback_guard
        struct.controlled_count, struct.approaches = len(layout.controlled), self._approaches(native, ahead)
        struct.limit, struct.walks = LIMIT, bool(layout.crossing_edges)
        for name in GATHERS:
            setattr(struct, name, self._gather(getattr(layout, name)))
        arrays: dict[str, npt.NDArray[Any]] = {
            "place": order,
            "speed_mps": layout.lane_speed_mps[order],
            **{f"machine_{name}": getattr(machine, name) for name in (*CONSTANTS, *RED, *STATE)},
            **{name: np.ascontiguousarray(getattr(layout, name)) for name in LAYOUT},
            "phase_factor": (1.0 / PhaseObservation.PHASE_SCALE).astype(np.float32),
            "movement_factor": (1.0 / PhaseObservation.MOVEMENT_SCALE).astype(np.float32),
            **{f"seen_{name}": getattr(snapshot, name) for name in SEEN},
            "on_streams": np.zeros((streams, 5)),
            "on_phases": self.on_phases,
            "allowed": np.zeros((s, p), bool),
            "waits_s": np.zeros(machine._red_serves.shape[1]),
            "order": np.zeros(machine._red_serves.shape[1], np.int64),
            "left": np.zeros(machine._red_serves.shape[1], bool),
            "signal": np.zeros(s, np.int64),
            "row": np.zeros(s, np.int64),
            "sumo_s": sumo_s,
        }
        self.wanted = np.zeros(s, np.int64)
        """[S] what the last step was asked for."""
        self.row_size = PhaseObservation.shape_for(p, k).size
        """Length of a row of the observation."""
        self._wanted_at, self._rows_at = self.wanted.ctypes.data, 0
        self._rows: npt.NDArray[np.float32] | None = None
        for name, array in arrays.items():
            setattr(struct, name, self._keep(array))
        self.signal, self.row = arrays["signal"], arrays["row"]
        """Which signals the last step changed, and what each then shows; the first few of these."""
        self.address = ctypes.addressof(struct)

    def reset(self) -> None:
        """Another episode begins."""
        self._library.forget(self.address)

    def step(self, now_s: float, phases: npt.NDArray[np.integer]) -> float:
        """Ask for a phase [S] per signal and run SUMO until the next decision: that moment.

        Raises:
            RuntimeError: SUMO failed; the message is its own.
        """
        self.wanted[:] = phases
        reached: float = self._library.decision_step(self.address, now_s, self._wanted_at)
        if reached < 0.0:
            raise RuntimeError(self._struct.said.decode(errors="replace"))
        return reached

    def look(self, now_s: float) -> bool:
        """Fill the snapshot of this moment; False where SUMO does not know one of the lanes."""
        return not self._library.decision_look(self.address, now_s)

    def observe(self, rows: npt.NDArray[np.float32]) -> None:
        """Bring the rows of a `PhaseObservation` up to the snapshot that `look` has filled.

        Args:
            rows: [S, size] whose constant elements are there already.
        """
        if rows is not self._rows:  # to ask numpy for an address takes longer than the rest
            assert rows.shape == (len(self.wanted), self.row_size)
            assert rows.dtype == np.float32
            assert rows.flags.c_contiguous
            self._rows, self._rows_at = rows, rows.ctypes.data
        self._library.observe(self.address, self._rows_at)

    def agrees(self, lane: str, plain: tuple[int, int, float, float]) -> bool:
        """Whether SUMO says the same of a lane through its C++ interface as through its Python one.

        Args:
            plain: vehicles, halting vehicles, waiting time and mean speed by the latter.
        """
        found = np.full(4, np.nan)
        asked = self._library.ask_lane(self.address, lane.encode(), found.ctypes.data) == 0
        return asked and found.tolist() == [float(value) for value in plain]

    def _approaches(self, native: Native, ahead: bool) -> _Approaches:
        """The tables of `ApproachReader` and what it works on."""
        layout, tables = self._layout, ApproachTables.of(self._layout, ahead=ahead)
        names = native.names([layout.lanes[n] for n in tables.lane])
        found = _Approaches(
            len(tables.lane), tables.of_link.shape[1], ARRIVAL_BINS, ARRIVAL_BIN_S, ahead, names, native.known()
        )
        arrays = {name: getattr(tables, name) for name in APPROACHES} | {
            "signal": layout.controlled_signal,
            "length_m": layout.lane_length_m,
            "limit_mps": layout.lane_speed_mps,
            "usual": layout.stream_share,
            "heading": np.zeros(len(layout.streams)),
            "unsure": np.zeros((len(layout.controlled), ARRIVAL_BINS)),
        }
        for name, array in arrays.items():
            setattr(found, name, self._keep(array))
        return found

    def _keep(self, array: npt.NDArray[Any]) -> int:
        assert array.flags.c_contiguous
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
        return _Gather(*(self._keep(array) for array in arrays), len(index), width)

"""What tests of compiled decisions share: whether there is a library, and a state machine that goes its way."""

from __future__ import annotations

import ctypes
import shutil
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from envs.sumo.compiled import native
from envs.sumo.decision import CompiledDecision
from signals.intersection import Intersection
from signals.layout import build_layout
from signals.machine import BoolArray, SignalMachine
from signals.network import RoadNetwork
from signals.snapshot import Snapshot
from signals.timing import Timing

needs_library = pytest.mark.skipif(
    not sys.platform.startswith("linux") or not any(map(shutil.which, ("c++", "g++", "clang++"))),
    reason="the library is built on Linux, and where there is a C++ compiler",
)
"""Where there is a compiler these run, so that a build which fails in silence does not pass."""


class CompiledMachine(SignalMachine):
    """A `SignalMachine` whose decisions are those of compiled code, on the same arrays."""

    def __init__(self, intersections: Sequence[Intersection], timing: Timing, network: RoadNetwork) -> None:
        layout = build_layout(intersections, network)
        super().__init__(intersections, timing, layout.shape[1])
        compiled = native()
        assert compiled is not None
        self.seen, self._allowed = Snapshot.empty(layout), np.zeros(self.exists.shape, bool)
        self.decision = CompiledDecision(compiled, layout, self, self.seen, np.zeros(1), end_s=np.inf, measures=True)
        self._library = compiled.library

    def _mask(self, calls: BoolArray) -> BoolArray:
        self._library.machine_mask(*self._with(np.ascontiguousarray(calls, bool), self._allowed))
        return self._allowed

    def request(self, phases: npt.NDArray[np.integer], calls: BoolArray) -> list[tuple[int, int]]:
        """See `SignalMachine.request`."""
        wanted, calls = np.ascontiguousarray(phases, np.int64), np.ascontiguousarray(calls, bool)
        count = self._library.machine_request(*self._with(wanted, calls))
        found = self.decision
        return list(zip(found.signal[:count].tolist(), found.row[:count].tolist(), strict=True))

    def advance(self, now_s: float) -> None:
        """See `SignalMachine.advance`."""
        self.now_s = now_s
        self._library.machine_advance(*self._with())

    def show(self, snapshot: Snapshot) -> None:
        """Into `seen` alone."""
        assert snapshot is self.seen
        self._library.machine_show(*self._with())

    def _with(self, *arrays: npt.NDArray[Any]) -> tuple[Any, ...]:
        """A compiled function's arguments."""
        assert all(array.shape[0] == len(self.phase) for array in arrays), "else it would read beyond its end"
        pointers = (ctypes.c_void_p(array.ctypes.data) for array in arrays)
        return ctypes.c_void_p(self.decision.address), ctypes.c_double(self.now_s), *pointers

"""From one decision to the next in one compiled call: which signals change, SUMO's own steps, what is seen then.

`envs.sumo.simulation` does the same call by call, which takes ten times as long, where the library was not built.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from envs.native.kernel import Look
from envs.native.library import native
from envs.native.machine import CompiledMachine
from signals.machine import SignalMachine
from signals.snapshot import Snapshot

UNREAD = -2.0  # as in native/step.cpp


class _Step(ctypes.Structure):
    """The struct `Step` of native/step.cpp."""

    _fields_ = [
        *(
            (name, ctypes.c_void_p)
            for name in (
                "set_phase", "simulation_step", "tls_ids", "machine", "signal", "row", "calls", "look", "wanted",
            )
        ),
        *((name, ctypes.c_double) for name in ("interval_s", "end_s", "now_s")),
        ("sumo_s", ctypes.c_void_p),
        ("said", ctypes.c_char * 1024),
    ]  # fmt: skip


class CompiledStep:
    """The compiled step of one simulation.

    Args:
        machine: decides what is shown.
        snapshot: whose calls it is told; they must stay where they are.
        tls_ids: the signals' names in SUMO.
        end_s: where the last step ends, however early that is.
        look: what follows the step; None where that is done from Python.
    """

    def __init__(
        self, machine: CompiledMachine, snapshot: Snapshot, tls_ids: Sequence[str], end_s: float, look: Look | None
    ) -> None:
        compiled = native()
        assert compiled is not None, "ask `make_step`"
        assert snapshot.calls.shape == machine.exists.shape
        assert snapshot.calls.flags.c_contiguous
        self._kept, self._look = (machine, snapshot), look
        self.looks = look is not None
        """Whether a step fills the snapshot, too."""
        names, calls = compiled.names(tls_ids), snapshot.calls.ctypes.data
        pointers = *compiled.steps, names, machine.address, *machine.answers, calls, look.address if look else None
        self._struct = _Step(*pointers, None, machine.timing.decision_interval_s, end_s)
        self.address, self._step = ctypes.addressof(self._struct), compiled.library.step_to_next
        self.read_wanted_from(np.zeros(machine.phase.shape, np.int64))
        self.count_in(np.zeros(1))

    def read_wanted_from(self, phases: npt.NDArray[np.int64]) -> None:
        """Steps read from this array what is asked for: it must stay where it is."""
        assert phases.shape == self._kept[0].phase.shape
        assert phases.dtype == np.dtype(np.int64)
        assert phases.flags.c_contiguous
        self._wanted, self._struct.wanted = phases, phases.ctypes.data

    def count_in(self, sumo_s: npt.NDArray[np.float64]) -> None:
        """Steps add to this number [1] how long SUMO's own part of them took; it must stay where it is."""
        self._sumo_s, self._struct.sumo_s = sumo_s, sumo_s.ctypes.data

    @property
    def now_s(self) -> float:
        """The moment that the last step reached."""
        moment: float = self._struct.now_s
        return moment

    def begin(self, now_s: float) -> None:
        """From when on steps count."""
        self._struct.now_s = now_s

    def to_next(self, phases: npt.NDArray[np.integer]) -> float:
        """Ask for a phase per signal and run SUMO until the next decision: that moment.

        Raises:
            RuntimeError: SUMO failed, or does not know a lane.
        """
        if phases is not self._wanted:
            self._wanted[:] = phases
        reached: float = self._step(self.address)
        if reached < 0.0:
            self.say_why(reached)
        return reached

    def say_why(self, reached: float) -> None:
        """Raise for a step that failed.

        Raises:
            RuntimeError: always.
        """
        if reached == UNREAD and self._look is not None:
            self._look.failed()
        raise RuntimeError(self._struct.said.decode(errors="replace"))


def make_step(
    machine: SignalMachine, snapshot: Snapshot, tls_ids: Sequence[str], end_s: float, look: Look | None
) -> CompiledStep | None:
    """The compiled step, None where there is no library or this libsumo does not export what it takes."""
    compiled = native()
    if compiled is None or not all(compiled.steps) or not isinstance(machine, CompiledMachine):
        return None
    return CompiledStep(machine, snapshot, tls_ids, end_s, look)

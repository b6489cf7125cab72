"""Arrays that two processes share, and a hand-over between them that costs microseconds.

A decision goes to the worker and comes back without a system call as long as both are awake: each side looks at
a counter for a moment before it goes to sleep.
"""

from __future__ import annotations

import mmap
import os
import select
import tempfile
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

Shapes = Mapping[str, tuple[tuple[int, ...], type]]
ALIGN = 64  # [bytes] a cache line, so that the two sides' counters never share one
COUNTERS: Shapes = dict.fromkeys(("asked", "answered", "asleep", "failed"), ((1,), np.int64))
SPIN_S = 0.0003  # [s] as long as the other side needs for a hand-over; a whole step is slept through
NAP_S = 50e-6
_give_way: Callable[[], object] = getattr(os, "sched_yield", lambda: None)
"""While it looks at the counter, a side leaves its core to whoever needs it."""


class SharedArrays:
    """Named arrays in one shared memory file; the receiving process opens it by its descriptor."""

    def __init__(self, shapes: Shapes, fd: int | None = None) -> None:
        self.shapes = {**COUNTERS, **shapes}
        offsets, size = {}, 0
        for name, (shape, kind) in self.shapes.items():
            offsets[name] = size
            size += -(-int(np.prod(shape)) * np.dtype(kind).itemsize // ALIGN) * ALIGN
        size = max(size, ALIGN)
        if fd is None:
            folder = "/dev/shm" if os.path.isdir("/dev/shm") else None
            with tempfile.TemporaryFile(dir=folder) as file:
                file.truncate(size)
                fd = os.dup(file.fileno())
        self.fd = fd
        self._memory = mmap.mmap(fd, size)
        self.arrays: dict[str, npt.NDArray[Any]] = {
            name: np.ndarray(shape, kind, self._memory, offsets[name]) for name, (shape, kind) in self.shapes.items()
        }

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        return self.arrays[name]

    def close(self) -> None:
        """Give the descriptor back; the memory goes with the last array that looks at it."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


class Asker:
    """The side that asks: the environment."""

    def __init__(self, shared: SharedArrays, wake_fd: int) -> None:
        self._asked, self._answered = shared["asked"], shared["answered"]
        self._asleep, self._failed = shared["asleep"], shared["failed"]
        self._wake_fd = wake_fd

    def ask(self) -> None:
        """Hand over."""
        self._asked[0] += 1
        if self._asleep[0]:
            os.write(self._wake_fd, b"w")

    def wait(self, alive: Callable[[], bool]) -> bool:
        """Until the answer is there; False if the other side failed or is gone."""
        target, answered = int(self._asked[0]), self._answered
        spin_until = time.perf_counter() + SPIN_S
        turns = 0
        while answered[0] != target:
            turns += 1
            _give_way()
            if turns & 63:
                continue
            if self._failed[0]:  # it died before it was asked
                return False
            if time.perf_counter() < spin_until:
                continue
            time.sleep(NAP_S)
            if turns & 4095 == 0 and not alive():
                return answered[0] == target and not self._failed[0]
            turns += 63
        return not self._failed[0]


class Answerer:
    """The side that answers: the worker."""

    def __init__(self, shared: SharedArrays, wake_fd: int) -> None:
        self._asked, self._answered = shared["asked"], shared["answered"]
        self._asleep, self._failed = shared["asleep"], shared["failed"]
        self._wake_fd = wake_fd

    def wait(self) -> bytes | None:
        """Until something is asked (None) or a command byte comes over the pipe (that byte; b"" at its end)."""
        asked, done = self._asked, int(self._answered[0])
        spin_until = time.perf_counter() + SPIN_S
        turns = 0
        while True:
            if asked[0] != done:
                return None
            turns += 1
            _give_way()
            if turns & 63 or time.perf_counter() < spin_until:
                continue
            self._asleep[0] = 1
            readable, _, _ = select.select([self._wake_fd], [], [], 0.005)
            self._asleep[0] = 0
            if readable:
                byte = os.read(self._wake_fd, 1)
                if byte != b"w":
                    return byte
            turns += 63

    def answer(self, failed: bool = False) -> None:
        """Hand back."""
        self._failed[0] = failed
        self._answered[0] = self._asked[0]

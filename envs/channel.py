"""Arrays that two processes share, and a hand-over between them that costs microseconds.

A decision goes to the worker and comes back over a counter that each side looks at for a moment before it goes to
sleep; who sleeps is woken by a bell.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import select
import sys
import tempfile
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Shapes = Mapping[str, tuple[tuple[int, ...], type]]
ALIGN = 64  # [bytes] a cache line, so that the two sides' counters never share one
COUNTERS: Shapes = dict.fromkeys(("asked", "answered", "asker_asleep", "answerer_asleep", "failed"), ((1,), np.int64))
MAP_FIXED = 0x10  # Linux's and BSD's <sys/mman.h>; Python's mmap does not name it
RING = (1).to_bytes(8, sys.byteorder)
"""What an eventfd takes: a number of eight bytes that is added to it."""
SPIN_S = 0.0003  # [s] as long as the other side needs for a hand-over; a whole step is slept through
DOZE_S = 0.01  # [s] after which a sleeper looks itself, should a wake-up ever be missed
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
        self._finalizer = weakref.finalize(self, os.close, fd)
        self._memory = mmap.mmap(fd, size)
        self.arrays: dict[str, npt.NDArray[Any]] = {
            name: np.ndarray(shape, kind, self._memory, offsets[name]) for name, (shape, kind) in self.shapes.items()
        }

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        return self.arrays[name]

    def make_private(self) -> None:
        """What is written from now on stays in this process, at the same addresses; for a forked child."""
        libc = ctypes.CDLL(None, use_errno=True)
        libc.mmap.restype = ctypes.c_void_p
        libc.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, *(ctypes.c_int,) * 3, ctypes.c_long)
        address = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))
        flags = mmap.MAP_PRIVATE | MAP_FIXED
        found = libc.mmap(address, len(self._memory), mmap.PROT_READ | mmap.PROT_WRITE, flags, self.fd, 0)
        if found != address:
            raise OSError(ctypes.get_errno(), "the shared arrays cannot be made private")

    def content(self) -> bytes:
        """All arrays as they are, without the counters."""
        return self._memory[len(COUNTERS) * ALIGN :]

    def fill(self, content: bytes) -> None:
        """Take over what `content` gave of arrays with the same shapes."""
        self._memory[len(COUNTERS) * ALIGN :] = content

    def close(self) -> None:
        """Give the descriptor back; the memory goes with the last array that looks at it."""
        self._finalizer()
        self.fd = -1


class Bell:
    """Wakes whoever sleeps on it, from this process or from one that was given `fds`.

    An eventfd where the system has them. Who writes into a pipe is taken to go to sleep soon, so that the reader may
    be put on the writer's own core, and a step of the simulation be computed there while another core is idle.
    """

    def __init__(self, fds: tuple[int, int] | None = None) -> None:
        if fds is None:
            fds = (os.eventfd(0),) * 2 if hasattr(os, "eventfd") else os.pipe()
        self.fds = self.fd, self._ring_fd = fds
        """To read from, which is what a sleeper waits for, and to write to."""

    def ring(self) -> None:
        """Wake; nobody need be asleep."""
        with contextlib.suppress(BrokenPipeError):  # it died in its sleep, which whoever waits finds out
            os.write(self._ring_fd, RING)

    def silence(self) -> None:
        """After it rang."""
        os.read(self.fd, 4096)

    def close(self) -> None:
        """Give its descriptors back."""
        for fd in set(self.fds):
            os.close(fd)


class Asker:
    """The side that asks: the environment. It sleeps on its own bell, and wakes the other with the other's."""

    def __init__(self, shared: SharedArrays, bell: Bell, other: Bell) -> None:
        self._bell, self._other = bell, other
        self._asked, self._answered, self._failed = shared["asked"], shared["answered"], shared["failed"]
        self._asleep, self._other_asleep = shared["asker_asleep"], shared["answerer_asleep"]

    def ask(self) -> None:
        """Hand over."""
        self._asked[0] += 1
        if self._other_asleep[0]:
            self._other.ring()

    def answered(self) -> bool:
        """Whether the answer is there, or never will be because the other side failed."""
        return bool(self._answered[0] == self._asked[0] or self._failed[0])

    @property
    def failed(self) -> bool:
        """Whether the other side failed."""
        return bool(self._failed[0])

    @staticmethod
    def wait_any(askers: Sequence[Asker], others: Sequence[int] = (), spin_s: float = SPIN_S) -> None:
        """Until one of several has its answer or something can be read from `others`; `DOZE_S` at most.

        Args:
            spin_s: how long to look at the counters before going to sleep.
        """
        until = time.perf_counter() + spin_s
        while True:
            if any(asker.answered() for asker in askers):
                return
            if time.perf_counter() >= until:
                break
            _give_way()
        for asker in askers:
            asker._asleep[0] = 1
        # looked at once more: one may have answered before it could see that we sleep
        if not any(asker.answered() for asker in askers):
            bells = {asker._bell.fd: asker._bell for asker in askers}
            readable, _, _ = select.select([*bells, *others], [], [], DOZE_S)
            for fd in bells.keys() & set(readable):
                bells[fd].silence()
        for asker in askers:
            asker._asleep[0] = 0


class Answerer:
    """The side that answers: the worker. It sleeps on its bell and on the pipe of commands."""

    def __init__(self, shared: SharedArrays, commands_fd: int, bell: Bell, other: Bell) -> None:
        self.shared, self._commands_fd, self._bell, self._other = shared, commands_fd, bell, other
        self._asked, self._answered, self._failed = shared["asked"], shared["answered"], shared["failed"]
        self._asleep, self._other_asleep = shared["answerer_asleep"], shared["asker_asleep"]

    def wait(self) -> bytes | None:
        """Until something is asked (None) or a command byte comes over the pipe (that byte; b"" at its end)."""
        done = int(self._answered[0])
        while self._asked[0] == done:
            if not self._spin(done) and self._sleep(done):
                return os.read(self._commands_fd, 1)
        return None

    def answer(self, failed: bool = False) -> None:
        """Hand back."""
        self._failed[0] = failed
        self._answered[0] = self._asked[0]
        if self._other_asleep[0]:
            self._other.ring()

    def _spin(self, done: int) -> bool:
        """Whether something is asked within the moment."""
        asked, until = self._asked, time.perf_counter() + SPIN_S
        while asked[0] == done:
            _give_way()
            if time.perf_counter() >= until:
                return False
        return True

    def _sleep(self, done: int) -> bool:
        """Sleep until the bell rings, a command comes or `DOZE_S` is over; whether a command is there."""
        self._asleep[0] = 1
        readable: list[int] = []
        if (
            self._asked[0] == done
        ):  # looked at once more: it may have been asked before it could be seen that we sleep
            readable, _, _ = select.select([self._bell.fd, self._commands_fd], [], [], DOZE_S)
        self._asleep[0] = 0
        if self._bell.fd in readable:
            self._bell.silence()
        return self._commands_fd in readable

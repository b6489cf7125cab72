"""Arrays that two processes share, and a hand-over between them that costs microseconds.

A decision goes to the worker and comes back over a counter that each side looks at for a moment before it goes to
sleep; who sleeps is woken by a bell. native/channel.cpp does the same where it was built, and answers whole decisions
without the interpreter.
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
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from envs.native.library import LIBRARY, load_library

Shapes = Mapping[str, tuple[tuple[int, ...], type]]
ALIGN = 64  # [bytes] a cache line, so that the two sides' counters never share one
COUNTERS: Shapes = {
    **dict.fromkeys(("asked", "taken", "answered", "failed", "asker_asleep", "answerer_asleep"), ((1,), np.int64)),
    **dict.fromkeys(("decided_s", "sumo_s", "thought_s"), ((1,), np.float64)),
}
"""The hand-over's own, how long the episode's decisions took in the worker so far, and SUMO's steps of that; and how
long the worker looks for its next question."""
MAP_FIXED = 0x10  # Linux's and BSD's <sys/mman.h>; Python's mmap does not name it
RING = (1).to_bytes(8, sys.byteorder)
"""What an eventfd takes: a number of eight bytes that is added to it."""
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
# [s] how long one looks before going to sleep; to be woken takes a tenth of a millisecond, on either side
SPIN_S = 0.0003  # as long as the other side needs for a hand-over
THOUGHT_SPIN_S = 0.002  # as long as most agents think, where a core is free
WAIT_SPIN_S = 0.02  # as long as most steps take, where a core is free
DOZE_S = 0.05  # [s] after which a sleeper looks itself: whoever is to wake it may have died
_give_way: Callable[[], object] = getattr(os, "sched_yield", lambda: None)
"""While it looks at the counter, a side leaves its core to whoever needs it."""


REACHED = ("asked", "taken", "answered", "failed", "asker_asleep", "answerer_asleep", "decided_s", "thought_s")


def readable(descriptors: Iterable[int], within_s: float) -> set[int]:
    """Which of these can be read, or are closed at their other end, once one is or the time is over.

    Asked by poll, which knows no greatest number of a descriptor, as select does.
    """
    poller = select.poll()
    for descriptor in descriptors:
        poller.register(descriptor, select.POLLIN)
    return {descriptor for descriptor, _ in poller.poll(within_s * 1000.0)}


class _Channel(ctypes.Structure):
    """The struct `Channel` of native/channel.cpp."""

    _fields_ = [
        *((name, ctypes.c_void_p) for name in REACHED),
        *((name, ctypes.c_int64) for name in ("bell", "other", "skip", "skipped")),
    ]


def _library() -> ctypes.CDLL | None:
    """The compiled hand-over, None where it was not built."""
    library = load_library(LIBRARY)
    if library is None:
        return None
    pointer, number, seconds = ctypes.c_void_p, ctypes.c_int64, ctypes.c_double
    for name, arguments in {
        "channel_ask": (pointer,),
        "channel_wait": (pointer, number, pointer, number, seconds, seconds),
        "channel_await": (pointer, number, seconds),
        "channel_serve": (pointer, pointer, number, seconds),
    }.items():
        getattr(library, name).argtypes = arguments
    library.channel_ask.restype = None
    library.channel_serve.restype = seconds
    return library


def thought_spin_s(workers: int) -> float:
    """[s] how long each of so many workers looks for its next question: without a core to spare it is in the way."""
    return THOUGHT_SPIN_S if workers < CORES else SPIN_S


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
        self.fds = self.fd, self.ring_fd = fds
        """To read from, which is what a sleeper waits for, and to write to."""

    def ring(self) -> None:
        """Wake; nobody need be asleep."""
        with contextlib.suppress(BrokenPipeError):  # it died in its sleep, which whoever waits finds out
            os.write(self.ring_fd, RING)

    def silence(self) -> None:
        """After it rang."""
        os.read(self.fd, 4096)

    def close(self) -> None:
        """Give its descriptors back."""
        for fd in set(self.fds):
            os.close(fd)


class _Side:
    """One side: the counters, and where the compiled code finds them."""

    def __init__(self, shared: SharedArrays, bell: Bell, other: Bell) -> None:
        self.shared, self._bell, self._other = shared, bell, other
        # looked at as plain numbers: numpy's take several times as long, and nothing of them is in the caches here
        self._asked, self._answered, self._failed, self._asker_asleep, self._answerer_asleep = (
            memoryview(shared[name].data)
            for name in ("asked", "answered", "failed", "asker_asleep", "answerer_asleep")
        )
        self._library = _library()
        self._channel = _Channel(*(shared[name].ctypes.data for name in REACHED), bell.fd, other.ring_fd)
        self.address = ctypes.addressof(self._channel)


class Asker(_Side):
    """The side that asks: the environment. It sleeps on its own bell, and wakes the other with the other's."""

    def ask(self) -> None:
        """Hand over."""
        if self._library is not None:
            self._library.channel_ask(self.address)
            return
        self._asked[0] += 1
        if self._answerer_asleep[0]:
            self._other.ring()

    def answered(self) -> bool:
        """Whether the answer is there, or never will be because the other side failed."""
        return self._answered[0] == self._asked[0] or self._failed[0] != 0

    @property
    def failed(self) -> bool:
        """Whether the other side failed."""
        return self._failed[0] != 0


class Waiting:
    """Waits for any of several askers. To be made once for those that are waited for again and again."""

    def __init__(self, askers: Sequence[Asker]) -> None:
        self._askers = askers
        self._library = askers[0]._library if askers else None
        self._addresses = (ctypes.c_void_p * len(askers))(*(asker.address for asker in askers))

    def wait(self, others: Sequence[int] = (), spin_s: float = WAIT_SPIN_S) -> bool:
        """Until one has its answer or something can be read from `others`; `DOZE_S` at most.

        Args:
            spin_s: how long to look at the counters before going to sleep.

        Returns:
            Whether one has its answer.
        """
        askers = self._askers
        if self._library is not None:
            fds = (ctypes.c_int * len(others))(*others) if others else None
            count, other_count = len(askers), len(others)
            return bool(self._library.channel_wait(self._addresses, count, fds, other_count, spin_s, DOZE_S))
        until = time.perf_counter() + min(spin_s, SPIN_S)
        while True:
            if any(asker.answered() for asker in askers):
                return True
            if time.perf_counter() >= until:
                break
            _give_way()
        for asker in askers:
            asker._asker_asleep[0] = 1
        # looked at once more: one may have answered before it could see that we sleep
        if not any(asker.answered() for asker in askers):
            bells = {asker._bell.fd: asker._bell for asker in askers}
            for fd in bells.keys() & readable([*bells, *others], DOZE_S):
                bells[fd].silence()
        for asker in askers:
            asker._asker_asleep[0] = 0
        return any(asker.answered() for asker in askers)


class Answerer(_Side):
    """The side that answers: the worker. It sleeps on its bell and on the pipe of commands."""

    def __init__(self, shared: SharedArrays, commands_fd: int, bell: Bell, other: Bell) -> None:
        super().__init__(shared, bell, other)
        self._commands_fd = commands_fd

    def wait(self) -> bytes | None:
        """Until something is asked (None) or a command byte comes over the pipe (that byte; b"" at its end)."""
        if self._library is not None:
            found = self._library.channel_await(self.address, self._commands_fd, DOZE_S)
            return os.read(self._commands_fd, 1) if found else None
        done, spins = int(self._answered[0]), True
        while self._asked[0] == done:
            if not (spins and self._spin(done)) and self._sleep(done):
                return os.read(self._commands_fd, 1)
            spins = False
        self.shared["taken"][0] = self._asked[0]
        return None

    def serve(self, step: int) -> tuple[float, bytes | None]:
        """Take decisions and answer them without coming back, until a command byte comes or a step fails.

        Args:
            step: the address of a `CompiledStep` that needs nothing beside it; only where there is a library.

        Returns:
            What the step that failed said, with None, as for `CompiledStep`; nothing has been answered then. Else a
            number above 0 and the byte, as of `wait`.
        """
        assert self._library is not None, "a step that was compiled comes from the same library"
        said: float = self._library.channel_serve(self.address, step, self._commands_fd, DOZE_S)
        return said, os.read(self._commands_fd, 1) if said > 0.0 else None

    def answer(self, failed: bool = False) -> None:
        """Hand back."""
        self._failed[0] = failed
        self._answered[0] = self._asked[0]
        if self._asker_asleep[0]:
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
        self._answerer_asleep[0] = 1
        found: set[int] = set()
        # looked at once more: it may have been asked before it could be seen that we sleep
        if self._asked[0] == done:
            found = readable([self._bell.fd, self._commands_fd], DOZE_S)
        self._answerer_asleep[0] = 0
        if self._bell.fd in found:
            self._bell.silence()
        return self._commands_fd in found

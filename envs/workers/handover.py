"""Arrays that two processes share, and a hand-over between them that costs microseconds.

A decision goes to the worker and comes back over a counter that each side looks at for a while before it goes to
sleep; who sleeps is woken by a bell. To be woken takes a tenth of a millisecond on either side.
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

Shapes = Mapping[str, tuple[tuple[int, ...], type]]
ALIGN = 64  # [bytes] a cache line, so that the two sides' counters never share one
COUNTERS: Shapes = {
    **dict.fromkeys(("asked", "taken", "answered", "failed", "asker_asleep", "answerer_asleep"), ((1,), np.int64)),
    **dict.fromkeys(("decided_s", "sumo_s", "thought_s"), ((1,), np.float64)),
}
"""The hand-over's own; how long the episode's decisions took in the worker so far, and SUMO's steps of that; and how
long the worker looks for its next question before it sleeps."""
MAP_FIXED = 0x10  # Linux's and BSD's <sys/mman.h>; Python's mmap does not name it
RING = (1).to_bytes(8, sys.byteorder)
"""What an eventfd takes: a number of eight bytes that is added to it."""
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
SPIN_S = 0.0003
"""[s] Spin time of a worker without a core to spare: as long as the other side needs for a hand-over."""
THOUGHT_SPIN_S = 0.002
"""[s] Spin time of a worker with a core to spare: as long as most agents think."""
WAIT_SPIN_S = 0.02
"""[s] Spin time of who waits for a worker: as long as most steps take."""
TAKEN_S = 0.0003
"""[s] within which a worker takes a question, unless it waits for the very core that looks for its answer."""
DOZE_S = 0.05
"""[s] Longest sleep: the process that is to wake the sleeper may have died."""
MOST_SKIPPED = 63
"""Waits in a row without spinning, where it has always been in vain."""
_give_way: Callable[[], object] = getattr(os, "sched_yield", lambda: None)
"""While it spins, a side leaves its core to whoever needs it."""


def readable(descriptors: Iterable[int], within_s: float) -> set[int]:
    """Which of these can be read, or are closed at their other end, once one is or the time is over.

    Asked by poll, which knows no greatest number of a descriptor, as select does.
    """
    poller = select.poll()
    for descriptor in descriptors:
        poller.register(descriptor, select.POLLIN)
    return {descriptor for descriptor, _ in poller.poll(within_s * 1000.0)}


def thought_spin_s(workers: int) -> float:
    """[s] Spin time of each of so many workers: without a core to spare it is in the way."""
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
    """Wakes the side that sleeps on it, from this process or from one that was given `fds`.

    An eventfd where the system has them. Linux takes who writes into a pipe to go to sleep soon, and may put the
    reader on the writer's core: a step of the simulation would be computed there while another core is idle.
    """

    def __init__(self, fds: tuple[int, int] | None = None) -> None:
        if fds is None:
            fds = (os.eventfd(0),) * 2 if hasattr(os, "eventfd") else os.pipe()
        self.fds = self.fd, self.ring_fd = fds
        """To read from, which is what a sleeper waits for, and to write to."""

    def ring(self) -> None:
        """Wake the sleeper, if there is one."""
        with contextlib.suppress(BrokenPipeError):  # it died in its sleep; who waits for it finds out
            os.write(self.ring_fd, RING)

    def silence(self) -> None:
        """After it rang."""
        os.read(self.fd, 4096)

    def close(self) -> None:
        """Give its descriptors back."""
        for fd in set(self.fds):
            os.close(fd)


class _Spin:
    """Looks at something until it is so, as long as that pays.

    Who spins where cores are scarce may keep the very one that the other side waits for, whatever it offers. So each
    time in vain doubles the number of waits that do without.
    """

    def __init__(self) -> None:
        self._skip = self._skipped = 0

    def sees(self, is_so: Callable[[], bool], spin_s: float, taken: Callable[[], bool] | None = None) -> bool:
        """Whether it is so within that time.

        Args:
            spin_s: [s] 0 to do without.
            taken: what has to be so before `TAKEN_S` is over, or spinning is in vain.
        """
        if spin_s <= 0.0:
            return False
        if self._skip:
            self._skip -= 1
            return False
        found = (taken is None or _within(taken, TAKEN_S)) and _within(is_so, spin_s)
        self._skipped = self._skipped // 2 if found else min(2 * self._skipped + 1, MOST_SKIPPED)
        self._skip = self._skipped
        return found


def _within(is_so: Callable[[], bool], spin_s: float) -> bool:
    until_s = time.perf_counter() + spin_s
    while not is_so():
        if time.perf_counter() >= until_s:
            return False
        _give_way()
    return True


class _Side:
    """One side: the counters, and the bells."""

    def __init__(self, shared: SharedArrays, bell: Bell, other: Bell) -> None:
        self.shared, self._bell, self._other = shared, bell, other
        # looked at as plain numbers: numpy's take several times as long, and nothing of them is in the caches here
        self._asked, self._taken, self._answered, self._failed, self._asker_asleep, self._answerer_asleep = (
            memoryview(shared[name].data)
            for name in ("asked", "taken", "answered", "failed", "asker_asleep", "answerer_asleep")
        )


class Asker(_Side):
    """The side that asks: the environment. It sleeps on its own bell, and wakes the other with the other's."""

    def ask(self) -> None:
        """Hand over."""
        self._asked[0] += 1
        if self._answerer_asleep[0]:
            self._other.ring()

    def answered(self) -> bool:
        """Whether the answer is there, or never will be because the other side failed."""
        return self._answered[0] == self._asked[0] or self._failed[0] != 0

    def taken(self) -> bool:
        """Whether the other side has begun with it."""
        return self._taken[0] == self._asked[0]

    @property
    def failed(self) -> bool:
        """Whether the other side failed."""
        return self._failed[0] != 0


class Waiting:
    """Waits for any of several askers. To be made once for those that are waited for again and again."""

    def __init__(self, askers: Sequence[Asker]) -> None:
        self._askers, self._spin = askers, _Spin()

    def wait(self, others: Sequence[int] = (), spin_s: float = WAIT_SPIN_S) -> bool:
        """Until one has its answer or something can be read from `others`; `DOZE_S` at most.

        Args:
            spin_s: how long to look at the counters before going to sleep [s].

        Returns:
            Whether one has its answer.
        """
        askers = self._askers
        if self._answered() or (askers and self._spin.sees(self._answered, spin_s, self._taken)):
            return True
        for asker in askers:
            asker._asker_asleep[0] = 1
        # looked at once more: one may have answered before it could see that we sleep
        if not self._answered():
            bells = {asker._bell.fd: asker._bell for asker in askers}
            for fd in bells.keys() & readable([*bells, *others], DOZE_S):
                bells[fd].silence()
        for asker in askers:
            asker._asker_asleep[0] = 0
        return self._answered()

    def _answered(self) -> bool:
        return any(asker.answered() for asker in self._askers)

    def _taken(self) -> bool:
        return all(asker.taken() for asker in self._askers)


class Answerer(_Side):
    """The side that answers: the worker. It sleeps on its bell and on the pipe of commands."""

    def __init__(self, shared: SharedArrays, commands_fd: int, bell: Bell, other: Bell) -> None:
        super().__init__(shared, bell, other)
        self._commands_fd, self._spin = commands_fd, _Spin()
        self._spin_s = memoryview(shared["thought_s"].data)

    def wait(self) -> bytes | None:
        """Until something is asked (None) or a command byte comes over the pipe (that byte; b"" at its end)."""
        if not self._is_asked() and not self._spin.sees(self._is_asked, self._spin_s[0]):
            while not self._is_asked():
                if self._sleep():
                    return os.read(self._commands_fd, 1)
        self._taken[0] = self._asked[0]
        return None

    def answer(self, failed: bool = False) -> None:
        """Hand back."""
        self._failed[0] = failed
        self._answered[0] = self._asked[0]
        if self._asker_asleep[0]:
            self._other.ring()

    def _is_asked(self) -> bool:
        return self._asked[0] != self._answered[0]

    def _sleep(self) -> bool:
        """Sleep until the bell rings, a command comes or `DOZE_S` is over; whether a command is there."""
        self._answerer_asleep[0] = 1
        found: set[int] = set()
        # looked at once more: it may have been asked before it could be seen that we sleep
        if not self._is_asked():
            found = readable([self._bell.fd, self._commands_fd], DOZE_S)
        self._answerer_asleep[0] = 0
        if self._bell.fd in found:
            self._bell.silence()
        return self._commands_fd in found

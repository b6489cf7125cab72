"""One command at a time in an output folder: two would remove each other's files and mix their results."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from signals.errors import InputError

LOCKS = Path("/proc/locks")


@contextlib.contextmanager
def occupied(folder: Path) -> Iterator[None]:
    """Keep a folder, made if it is missing, from every other command that asks so, until the block ends.

    The folder itself is locked (flock), not a file in it: the system lets go of it with the process, however that
    ends, and nothing is ever left to be removed. Processes that are started meanwhile do not inherit it.

    Raises:
        InputError: another process has it, or it cannot be made.
    """
    made = not folder.exists()
    descriptor = _lock(folder)
    try:
        yield
    finally:
        if made:
            with contextlib.suppress(OSError):  # it is no longer empty
                folder.rmdir()
        os.close(descriptor)


def _lock(folder: Path) -> int:
    """The descriptor that holds the lock."""
    while True:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise InputError(
                f"cannot write into --out {folder}: {error.strerror}; make room or choose another"
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _holder(descriptor)
            os.close(descriptor)
            raise InputError(f"--out {folder} is in use by {holder}; wait for its end or choose another") from None
        except OSError:
            return descriptor  # a file system without locks: nobody can be kept away
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), folder.stat()):
                return descriptor
        os.close(descriptor)  # who had it before has removed it just now


def _holder(descriptor: int) -> str:
    """Who has locked what this is open on, where the system tells."""
    inode = os.fstat(descriptor).st_ino
    try:  # such as "1: FLOCK  ADVISORY  WRITE 4711 fe:00:2351135 0 EOF"
        lines = [line.split() for line in LOCKS.read_text().splitlines()]
        (pid,) = {of[4] for of in lines if of[1] == "FLOCK" and of[5].rpartition(":")[2] == str(inode)}
    except (OSError, ValueError, IndexError):
        return "another process"
    return f"process {pid}" if int(pid) > 0 else "another process"

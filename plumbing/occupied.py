"""One command at a time in an output: two would remove each other's files and mix their results."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from plumbing.command import check_text
from plumbing.errors import InputError
from plumbing.held import NoLocks, sweep, try_lock

LOCKS = Path("/proc/locks")
MOST_TRIES = 100
"""Each other holder may remove the folder once between our making and locking it; /proc refuses by "no such file"."""


@contextlib.contextmanager
def occupied(folder: Path) -> Iterator[None]:
    """Keep a folder, made if it is missing, from every other command that asks so, until the block ends.

    The folder itself is locked, not a file in it: the system lets go of it with the process, however that ends, and
    nothing is ever left to be removed. Processes that are started meanwhile do not inherit it.

    Raises:
        InputError: another process has it, or it cannot be made.
    """
    check_text(folder.absolute())
    if folder.exists() and not folder.is_dir():
        raise InputError(f"--out {folder} is a file; give a folder")
    with _locked(folder, folder):
        yield


@contextlib.contextmanager
def occupied_file(file: Path) -> Iterator[None]:
    """The same for one file, which need not be there: others may be written beside it at the same time.

    A hidden folder beside it is locked and then removed; after a kill the next command sweeps it.

    Raises:
        InputError: another process has it, or nothing can be written there.
    """
    check_text(file.absolute())
    digest = hashlib.sha256(os.fsencode(file.name)).hexdigest()[:8]
    with _locked(file.parent / f".intergreen-lock-{digest}.held", file):
        yield


@contextlib.contextmanager
def _locked(folder: Path, out: Path) -> Iterator[None]:
    """Lock a folder; what was made for it goes again, unless something is in there at the end."""
    sweep(folder.parent)
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    descriptor = _lock(folder, out)
    try:
        yield
    finally:
        for path in made:
            with contextlib.suppress(OSError):  # it is not empty
                path.rmdir()
        if descriptor is not None:
            os.close(descriptor)


def _lock(folder: Path, out: Path) -> int | None:
    """The descriptor that holds the lock; None on a file system without locks."""
    for _ in range(MOST_TRIES):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            return try_lock(folder)
        except FileNotFoundError:
            continue  # its last holder has removed it just now
        except BlockingIOError:
            holder = _holder(folder)
            raise InputError(f"--out {out} is in use by {holder}; wait for its end or choose another") from None
        except NoLocks:
            return None
        except OSError as error:
            raise InputError(
                f"cannot write into --out {out}: {error.strerror}; make room or choose another"
            ) from error
    raise InputError(f"cannot write into --out {out}: no folder can be made there; choose another")


def _holder(folder: Path) -> str:
    """The process that has locked it, where the system says."""
    try:  # such as "1: FLOCK  ADVISORY  WRITE 4711 fe:00:2351135 0 EOF"
        inode = str(folder.stat().st_ino)
        lines = [line.split() for line in LOCKS.read_text().splitlines()]
        (pid,) = {of[4] for of in lines if of[1] == "FLOCK" and of[5].rpartition(":")[2] == inode}
    except (OSError, ValueError, IndexError):
        return "another process"
    return f"process {pid}" if int(pid) > 0 else "another process"

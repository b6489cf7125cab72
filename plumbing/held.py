"""Hidden folders that belong to a running process. The system drops their lock with the process, however that ends.
A later process thus recognises and sweeps those of dead processes."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import stat
import tempfile
import weakref
from pathlib import Path

NAME = re.compile(r"\.intergreen-[a-z]+-\w{8}\.held")
NEW, OLD, DONE = "new", "old", "done"
"""Folders of a draft (`plumbing.whole`): the new content, the old content, and content no longer needed."""
_swept: set[Path] = set()
"""Folders that this process has swept."""


class NoLocks(OSError):
    """The file system has no locks."""


def try_lock(folder: Path) -> int:
    """The descriptor that holds the folder's lock (flock). Processes that are started meanwhile do not inherit it.

    Raises:
        BlockingIOError: another process has it.
        FileNotFoundError: the folder has gone, or another one has taken its place just now.
        NoLocks: the file system has no locks.
        OSError: it cannot be opened.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise
        except OSError as error:
            raise NoLocks(error.errno, error.strerror) from error
        if not os.path.samestat(os.fstat(descriptor), folder.stat()):
            raise FileNotFoundError
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


class HeldFolder:
    """A new, empty folder, mode 0700, that is removed on closing, at the latest when this process ends."""

    def __init__(self, parent: Path, purpose: str) -> None:
        """Dead ones beside it are swept first.

        Args:
            purpose: small letters, part of the folder's name.

        Raises:
            OSError: it cannot be made.
        """
        if (place := parent.resolve()) not in _swept:
            _swept.add(place)
            sweep(place)
        self.path, descriptor = _make(place, purpose)
        self._finalizer = weakref.finalize(self, _remove, self.path, descriptor, os.getpid())

    def __enter__(self) -> Path:
        return self.path

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove it with all that is in it."""
        self._finalizer()


def scratch(purpose: str) -> HeldFolder:
    """A folder for temporary files."""
    return HeldFolder(Path(tempfile.gettempdir()), purpose)


def sweep_scratch() -> None:
    """Remove the temporary files of dead processes of this user."""
    with contextlib.suppress(OSError):
        sweep(Path(tempfile.gettempdir()))


def sweep(folder: Path) -> None:
    """Remove what dead processes of this user have left in a folder, and put back what one of them had moved aside
    when it was killed. What cannot be read or removed stays."""
    with contextlib.suppress(OSError):
        for name in os.listdir(folder):
            if NAME.fullmatch(name):
                _sweep_one(folder / name)


def bring_back(path: Path) -> None:
    """For readers: where nothing stands, a killed exchange may have moved it aside."""
    if not path.exists():
        sweep(path.parent)


def _make(parent: Path, purpose: str) -> tuple[Path, int | None]:
    while True:
        path = Path(tempfile.mkdtemp(dir=parent, prefix=f".intergreen-{purpose}-", suffix=".held"))
        try:
            return path, try_lock(path)
        except NoLocks:
            return path, None
        except (BlockingIOError, FileNotFoundError):
            continue  # it was swept before it was locked


def _remove(path: Path, descriptor: int | None, pid: int) -> None:
    if pid != os.getpid():
        return  # a fork: it is its parent's
    shutil.rmtree(path, ignore_errors=True)
    if descriptor is not None:
        os.close(descriptor)


def _sweep_one(path: Path) -> None:
    with contextlib.suppress(OSError):
        descriptor = try_lock(path)
        try:
            found = path.lstat()  # not what a link points to, and not another user's
            if os.path.samestat(os.fstat(descriptor), found) and found.st_uid == os.geteuid():
                _put_back(path)
                shutil.rmtree(path, ignore_errors=True)
        finally:
            os.close(descriptor)


def _put_back(held: Path) -> None:
    """Put back the folders that an exchange had moved aside: folders, no links to some, and where nothing stands.

    All this may come from an archive that a stranger packed: nothing outside of it is touched.
    """
    with contextlib.suppress(OSError), contextlib.ExitStack() as opened:  # mostly, nothing had been moved aside
        old = os.open(held / OLD, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        opened.callback(os.close, old)
        to = os.open(held.parent, os.O_RDONLY | os.O_DIRECTORY)
        opened.callback(os.close, to)
        for name in os.listdir(old):
            with contextlib.suppress(OSError):
                found = os.lstat(name, dir_fd=old)
                if stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not _stands(name, to):
                    os.rename(name, name, src_dir_fd=old, dst_dir_fd=to)


def _stands(name: str, folder: int) -> bool:
    try:
        os.lstat(name, dir_fd=folder)
    except FileNotFoundError:
        return False
    return True

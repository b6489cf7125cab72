"""Files and folders that are written whole or not at all: at every moment the old one stands or the new one does."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fnmatch
import os
import shutil
import stat
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from plumbing.errors import InputError, printable, system_error
from plumbing.held import DONE, NAME, NEW, OLD, HeldFolder

AT_FDCWD, RENAME_EXCHANGE = -100, 2  # Linux's <fcntl.h>, <linux/fs.h>


class Draft:
    """A file or folder that is written beside its place, and takes it in one step.

    with Draft(out) as draft:
        ...  # make draft.path
        draft.take_place()

    Without `take_place`, and after a kill at any moment, what was there stays or comes back: where the system cannot
    exchange two folders in one step, `plumbing.held.sweep` puts the old one back.
    """

    def __init__(self, out: Path, advice: str = "make room or choose another place") -> None:
        """See the class.

        Args:
            advice: what a user can do where `out` cannot be written. An OSError within the block says so, too.

        Raises:
            InputError: nothing can be written beside `out`.
        """
        self._given, self._advice = out, advice
        with self._explained():
            self._out = out.resolve() if out.is_dir() else out
            self._out.parent.mkdir(parents=True, exist_ok=True)
            self._held = HeldFolder(self._out.parent, "draft")
            self.path = self._held.path / NEW / self._out.name
            """To be made by the caller."""
            self.path.parent.mkdir()

    def __enter__(self) -> Draft:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._held.close()
        if (refused := system_error(error)) is not None:
            raise self._explanation(refused) from error

    def keep_all_but(self, names: Collection[str]) -> None:
        """Let the new folder hold what lies in the old one, too, except these names: linked, so that it never goes.

        Raises:
            InputError: it can neither be linked nor copied.
        """
        with self._explained():
            for path in self._out.iterdir():
                if path.name in names or NAME.fullmatch(path.name):
                    continue
                if path.is_dir() and not path.is_symlink():
                    shutil.copytree(path, self.path / path.name, symlinks=True, copy_function=_link)
                else:
                    _link(path, self.path / path.name)

    def take_place(self) -> None:
        """Put it in its place, on the disk with all that is in it.

        Raises:
            InputError: it cannot be put there; what was there stays.
        """
        with self._explained():
            _settle(self.path)
            try:
                os.replace(self.path, self._out)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
                if not _exchange(self.path, self._out):
                    self._swap()
            _sync(self._out.parent)

    def _swap(self) -> None:
        """Two steps, where there is no exchange."""
        aside = self._held.path / OLD
        aside.mkdir()
        os.rename(self._out, aside / self._out.name)
        try:
            os.rename(self.path, self._out)
        except OSError:
            os.rename(aside / self._out.name, self._out)
            raise
        _sync(self._out.parent)
        os.rename(aside, self._held.path / DONE)  # half of it must not come back

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise self._explanation(error) from error

    def _explanation(self, error: OSError) -> InputError:
        reason = error.strerror or next(iter(str(error).splitlines()), type(error).__name__)
        return InputError(f"cannot write {self._given}: {reason}; {self._advice}")


def check_movable(out: Path) -> None:
    """Raises InputError for a folder that no draft can take the place of."""
    if out.is_mount():
        raise InputError(f"--out {out} is a mount point, which cannot be exchanged; give a folder in it")


def check_replaceable(out: Path, what: str, mark: str | None, own: Collection[str]) -> None:
    """Raises InputError for a folder that holds more than an earlier result: it would be lost with that one.

    Args:
        what: results of this kind, in the plural.
        mark: the file that all of them have; None for a folder that is added to and not replaced.
        own: patterns of what else may lie in one.
    """
    if not out.is_dir():
        return
    if mark is not None:
        check_movable(out)
    names = sorted(name for name in os.listdir(out) if not NAME.fullmatch(name))
    others = [name for name in names if not any(fnmatch.fnmatchcase(name, of) for of in (mark or "", *own))]
    if others or (names and mark and mark not in names):
        raise InputError(
            f"--out {out} holds something else than {what}, {printable((others or names)[0], 60)!r}, which would be "
            "lost; give a new folder"
        )


def write_whole(path: Path, write: Callable[[Path], object], mode: int | None = None) -> None:
    """Let `write` make a file beside its place, then move it there: a reader never finds half of it.

    Args:
        mode: the file's permissions; by default as `write` makes it.

    Raises:
        InputError: it cannot be written, such as on a full disk; an older file stays as it was.
    """
    with Draft(path) as draft:
        write(draft.path)
        if mode is not None:
            draft.path.chmod(mode)
        draft.take_place()


def _link(source: str | Path, target: str | Path) -> None:
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:  # a file system without links
        shutil.copy2(source, target, follow_symlinks=False)


def _settle(path: Path) -> None:
    """Wait until a file, or a folder with all that is in it, is on the disk."""
    for folder, _, files in os.walk(path):
        for name in files:
            if stat.S_ISREG(os.lstat(os.path.join(folder, name)).st_mode):
                _sync(Path(folder, name))
        _sync(Path(folder))
    if not path.is_dir():
        _sync(path)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError) if path.is_dir() else contextlib.nullcontext():
            os.fsync(descriptor)  # some file systems cannot do that to a folder
    finally:
        os.close(descriptor)


def _exchange(one: Path, other: Path) -> bool:
    """Let two folders change places in one step; false where the system or the file system cannot."""
    try:
        rename = ctypes.CDLL(None).renameat2
    except (AttributeError, OSError, TypeError):
        return False
    done: int = rename(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE)
    return done == 0

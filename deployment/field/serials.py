"""What a controller's computer remembers of the bundles and plans that it has run: their serials, and which of them
were withdrawn. One small file per kind, signing key and name of a controller, in a folder that nobody else may write
to. A controller may have two names, its engine id and its site's token: whatever is known under either counts.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from deployment.nema.codec import decode, encode
from plumbing.errors import InputError
from plumbing.plain import parse
from plumbing.whole import write_whole

FORMAT = 1
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


@dataclass(frozen=True, slots=True)
class Accepted:
    """An operator's act: an older serial was let run."""

    serial: int
    reason: str
    at: str
    """UTC, as 2026-11-22T12:00:00Z."""


@dataclass(frozen=True, slots=True)
class Serials:
    """What has run on one controller, of one kind and one signing key."""

    format: int
    kind: str
    key_sha256: str
    controller: str
    """`engine:HEX` or `site:HEX`."""
    ran: tuple[int, ...] = ()
    """Ascending."""
    withdrawn: tuple[int, ...] = ()
    """Ascending."""
    accepted: tuple[Accepted, ...] = ()

    @property
    def least(self) -> int:
        """The highest serial that has run and was not withdrawn; anything less is refused. 0: none has run."""
        return max(set(self.ran) - set(self.withdrawn), default=0)

    def with_run(self, serial: int) -> Serials:
        """After this one has run."""
        return replace(self, ran=tuple(sorted({*self.ran, serial})))

    def with_withdrawn(self, serial: int) -> Serials:
        """After a revocation of this one."""
        return replace(self, withdrawn=tuple(sorted({*self.withdrawn, serial})))


@dataclass(frozen=True, slots=True)
class Memory:
    """What is remembered of one kind and signing key under all names of one controller."""

    folder: Path
    kind: str
    key_sha256: str
    names: tuple[str, ...]

    def recall(self) -> Serials:
        """All that is known under any of the names.

        Raises:
            InputError: it is damaged, or others could have changed it.
        """
        known = [recall(self.folder, self.kind, self.key_sha256, name) for name in self.names]
        return Serials(
            FORMAT, self.kind, self.key_sha256, self.names[0],
            ran=tuple(sorted({serial for of in known for serial in of.ran})),
            withdrawn=tuple(sorted({serial for of in known for serial in of.withdrawn})),
        )  # fmt: skip

    def change(self, check: Callable[[Serials], object], changed: Callable[[Serials], Serials]) -> None:
        """Change what is known under each name, while no other process can.

        Args:
            check: given all that is known now; what it raises prevents the change.

        Raises:
            InputError: as `recall`, or it cannot be written.
        """
        with _locked(self.folder):
            check(self.recall())
            for name in self.names:
                remember(self.folder, changed(recall(self.folder, self.kind, self.key_sha256, name)))


def state_folder(given: Path | None) -> Path:
    """Where this computer remembers: what was given, or a folder of the user's own state.

    Raises:
        InputError: what was given names no folder.
    """
    if given is not None:
        if not given.name:
            raise InputError(f"--state {str(given)!r} names no folder; give one of its own")
        return given.absolute()
    home = Path(os.environ.get("XDG_STATE_HOME", ""))
    # one that is not absolute is to be ignored, as the XDG Base Directory Specification has it
    return (home if home.is_absolute() else Path.home() / ".local" / "state") / "intergreen"


def recall(folder: Path, kind: str, key_sha256: str, controller: str) -> Serials:
    """What is remembered; nothing where this controller has never been commanded from here.

    Raises:
        InputError: it is damaged, or others could have changed it.
    """
    nothing = Serials(FORMAT, kind, key_sha256, controller)
    file = _file(folder, nothing)
    try:
        _own(folder)
        _own_way(folder)
        if not file.exists() and not file.is_symlink():
            return nothing
        _own(file)
        if not file.is_file():
            raise InputError(f"{file} is no plain file; remove it by hand and begin with the newest bundle")
        content = file.read_bytes()
    except OSError as error:
        raise InputError(
            f"cannot read {error.filename or file}: {error.strerror}; make it readable by you"
        ) from error
    try:
        found = decode(Serials, parse(content))
        if (found.format, found.kind, found.key_sha256, found.controller) != (FORMAT, kind, key_sha256, controller):
            raise ValueError("it is of something else")
    except ValueError as error:
        raise InputError(
            f"{file} is damaged ({str(error)[:80]}), so nobody knows what has run here; restore it, or remove it by "
            f"hand and begin with the newest bundle"
        ) from error
    return found


def remember(folder: Path, serials: Serials) -> None:
    """Write this down, whole or not at all.

    Raises:
        InputError: it cannot be written.
    """
    _make(folder)
    text = json.dumps(encode(serials), indent=1) + "\n"
    write_whole(_file(folder, serials), lambda path: path.write_text(text, encoding="utf-8"), mode=0o600)


def _file(folder: Path, of: Serials) -> Path:
    return folder / f"{hashlib.sha256(f'{of.kind}/{of.key_sha256}/{of.controller}'.encode()).hexdigest()[:32]}.json"


def _make(folder: Path) -> None:
    """The folder, for its owner alone; so is what has to be made above it."""
    try:
        for part in (*reversed(folder.parents), folder):
            if not part.exists():
                part.mkdir(mode=0o700, exist_ok=True)
        _own(folder)
        _own_way(folder)
    except OSError as error:
        raise InputError(f"cannot write {folder}: {error.strerror}; choose another --state") from error


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep every other process that asks so out of the folder, until the block ends or this process does."""
    _make(folder)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _own_way(folder: Path) -> None:
    """Raises InputError where others could put another folder in the place of this one, or of one above it."""
    given = folder.absolute()
    for part in {*given.parents, *given.resolve().parents}:
        try:
            found = part.lstat()
        except FileNotFoundError:
            continue
        sticky = found.st_mode & stat.S_ISVTX
        others = found.st_mode & (stat.S_IWOTH | (stat.S_IWGRP if found.st_gid != os.getegid() else 0))
        if found.st_uid not in (0, os.geteuid()) or (others and not sticky and not stat.S_ISLNK(found.st_mode)):
            raise InputError(
                f"others can change {part}, and so which serials have run; choose another --state, below a folder "
                f"that only you can write to"
            )


def _own(path: Path) -> None:
    """Raises InputError where others own it or can write to it."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if stat.S_ISLNK(found.st_mode):
        raise InputError(f"{path} is a link; put what it leads to in its place")
    if found.st_uid != os.geteuid():
        raise InputError(
            f"{path} belongs to somebody else, who could change which serials have run; choose another --state"
        )
    if found.st_mode & _OTHERS_WRITE:
        raise InputError(
            f"others can write to {path} and so change which serials have run; protect it by chmod go-w {path}"
        )

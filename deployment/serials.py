"""What a controller's computer remembers of the bundles and plans that it has run: their serials, and which of them
were withdrawn. One small file per kind, signing key and controller, in a folder that nobody else may write to.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from dataclasses import dataclass, replace
from pathlib import Path

from deployment.codec import decode, encode
from scenarios.command import write_whole
from signals.errors import InputError
from signals.plain import parse

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
        """The highest serial that has run and was not withdrawn: less is refused. 0: none has."""
        return max(set(self.ran) - set(self.withdrawn), default=0)

    def with_run(self, serial: int) -> Serials:
        """After this one has run."""
        return replace(self, ran=tuple(sorted({*self.ran, serial})))

    def with_withdrawn(self, serial: int) -> Serials:
        """After a revocation of this one."""
        return replace(self, withdrawn=tuple(sorted({*self.withdrawn, serial})))


def state_folder(given: Path | None) -> Path:
    """Where this computer remembers: what was given, or a folder of the user's own state."""
    if given is not None:
        return given
    home = os.environ.get("XDG_STATE_HOME", "")  # without it, as the XDG Base Directory Specification has it
    return (Path(home) if home else Path.home() / ".local" / "state") / "intergreen"


def recall(folder: Path, kind: str, key_sha256: str, controller: str) -> Serials:
    """What is remembered; nothing where this controller has never been commanded from here.

    Raises:
        InputError: it is damaged, or others could have changed it.
    """
    nothing = Serials(FORMAT, kind, key_sha256, controller)
    file = _file(folder, nothing)
    try:
        _own(folder)
        if not file.exists() and not file.is_symlink():
            return nothing
        _own(file)
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
    """Keep this, written whole.

    Raises:
        InputError: it cannot be written.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _own(folder)
    except OSError as error:
        raise InputError(f"cannot write {folder}: {error.strerror}; choose another --state") from error
    text = json.dumps(encode(serials), indent=1) + "\n"
    write_whole(_file(folder, serials), lambda path: path.write_text(text, encoding="utf-8"), mode=0o600)


def _file(folder: Path, of: Serials) -> Path:
    return folder / f"{hashlib.sha256(f'{of.kind}/{of.key_sha256}/{of.controller}'.encode()).hexdigest()[:32]}.json"


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

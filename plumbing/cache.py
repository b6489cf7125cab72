"""The per-user cache of derived files, in which a file is either whole or not there."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

from plumbing.errors import InputError
from plumbing.held import HeldFolder, scratch
from plumbing.whole import Draft

ADVICE = "free some space there or set XDG_CACHE_HOME to another folder"


def cache_dir() -> Path:
    """The cache folder `intergreen`, made when missing, mode 0700.

    Where the home is read-only: one in the temporary folder if it is this user's alone, else a private one that goes
    with this process. SUMO reads files from here, so no other user may write there.

    Raises:
        InputError: none can be made.
    """
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    try:
        kept = (Path(home) / "intergreen").resolve(), stat.S_IWOTH
        shared = Path(tempfile.gettempdir()) / f"intergreen-cache-{os.geteuid()}", stat.S_IWOTH | stat.S_IWGRP
        for folder, lax in (kept, shared):
            if _made(folder) and _is_ours(folder, lax) and os.access(folder, os.W_OK | os.X_OK):
                return folder
        return _private().path
    except OSError as error:
        raise InputError(
            f"no writable cache folder, neither below {home} nor as a temporary one ({error.strerror}); "
            "set XDG_CACHE_HOME to a folder that can be written"
        ) from error


def _made(folder: Path) -> bool:
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError:
        return False
    return True


def _is_ours(folder: Path, lax: int) -> bool:
    """Whether it is a folder, not a link to one, of this user's, into which none of these others can write."""
    found = folder.lstat()
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & lax


@cache
def _private() -> HeldFolder:
    return scratch("cache")


def cached_file(relative: str, produce: Callable[[], bytes]) -> Path:
    """The cache's file of that name; written whole if it isn't there yet.

    The name must hold a digest of all that the content depends on.
    """
    path = cache_dir() / relative
    if path.is_file():
        return path
    data = produce()
    with Draft(path, ADVICE) as draft:
        draft.path.write_bytes(data)
        draft.take_place()
    return path


def cached_folder(relative: str, fill: Callable[[Path], None]) -> Path:
    """The cache's folder of that name; filled elsewhere and moved in, so that two processes may race."""
    path = cache_dir() / relative
    if path.is_dir():
        return path
    with Draft(path, ADVICE) as draft:
        draft.path.mkdir()
        fill(draft.path)
        if not path.is_dir():  # else another process was first, and its folder is as good as ours
            draft.take_place()
    return path

"""Plain files: their content, and its digest."""

from __future__ import annotations

import errno
import hashlib
import stat
from pathlib import Path


def plain_bytes(path: Path) -> bytes:
    """The content of a plain file.

    Raises:
        OSError: it cannot be read, or is something else, such as a pipe, which could be waited for in vain.
    """
    _check_plain(path)
    return path.read_bytes()


def _check_plain(path: Path) -> None:
    if not stat.S_ISREG(path.stat().st_mode) and not path.is_dir():  # a folder is told as such on opening it
        raise OSError(errno.EINVAL, "No plain file", str(path))


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's content, as 64 hexadecimal digits.

    Raises:
        OSError: it cannot be read, or is no plain file.
    """
    _check_plain(path)
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()

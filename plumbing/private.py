"""What is nobody else's: a signing key, a passphrase, a token. One rule says which files may hold one."""

from __future__ import annotations

import os
import shlex
import stat
from pathlib import Path

from plumbing.errors import InputError

MOST_BYTES = 2**16


def private_bytes(path: Path, what: str) -> bytes:
    """The content of a file that holds a secret, named `what` where something is wrong.

    A link leads to its target, and that is what counts. The file that was opened is the one that is judged: no other
    can take its place in between.

    Raises:
        InputError: it cannot be read, somebody else owns it, others can read or change it, or it is too large.
    """
    protect = f"chmod 600 {shlex.quote(str(path))}"
    try:
        with path.open("rb") as file:
            about = os.fstat(file.fileno())
            if about.st_uid not in (0, os.geteuid()):
                raise InputError(
                    f"{what}: {path} is somebody else's; make a copy of your own, protected by {protect}"
                )
            if stat.S_IMODE(about.st_mode) & 0o077:
                raise InputError(f"{what}: others can read {path}; protect it by {protect}")
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise InputError(f"{what}: cannot read {path} ({error.strerror}); check the path") from error
    if len(content) > MOST_BYTES:
        raise InputError(f"{what}: {path} is larger than {MOST_BYTES >> 10} KiB; give the file with the secret alone")
    return content


def write_secret(path: Path, content: bytes) -> None:
    """Write a new file that only its owner can read.

    Raises:
        InputError: there is one already, or it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}; choose another place") from error

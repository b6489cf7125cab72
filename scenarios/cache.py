"""Where derived files live: a per-user cache in which a file is either whole or not there."""

from __future__ import annotations

import getpass
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from signals.errors import InputError


def cache_dir() -> Path:
    """The cache folder `intergreen`, made when missing; a temporary one where the home is read-only."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    for folder in (Path(home) / "intergreen", Path(tempfile.gettempdir()) / f"intergreen-{_user()}"):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(folder, os.W_OK | os.X_OK):
            return folder.absolute()  # simulations run in another folder
    raise InputError(
        f"no writable cache folder: neither {home} nor {tempfile.gettempdir()}; "
        "set XDG_CACHE_HOME to a folder that can be written"
    )


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "user"


def cached_file(relative: str, produce: Callable[[], bytes]) -> Path:
    """The cache's file of that name; written whole through a temporary file if it isn't there yet.

    The name must hold a digest of all that the content depends on.
    """
    path = cache_dir() / relative
    if path.is_file():
        return path
    data = produce()
    temporary: str | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".partial-")
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
        os.replace(temporary, path)
        temporary = None
    except OSError as error:
        raise _cannot_write(path, error) from error
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
    return path


def cached_folder(relative: str, fill: Callable[[Path], None]) -> Path:
    """The cache's folder of that name; filled elsewhere and moved in, so that two processes may race."""
    path = cache_dir() / relative
    if path.is_dir():
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(dir=path.parent, prefix=".partial-"))
    except OSError as error:
        raise _cannot_write(path, error) from error
    try:
        fill(partial)
        try:
            os.replace(partial, path)
        except OSError:
            if not path.is_dir():  # else another process was first, and its folder is as good as ours
                raise
    except OSError as error:
        raise _cannot_write(path, error) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return path


def _cannot_write(path: Path, error: OSError) -> InputError:
    return InputError(
        f"cannot write {path}: {error.strerror or error}; "
        "free some space there or set XDG_CACHE_HOME to another folder"
    )

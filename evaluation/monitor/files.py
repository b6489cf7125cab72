"""Opening the files that the safety monitor judges, and the error for those that it cannot."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import IO, cast

# what reading a damaged file raises, beside the parser's own error
BROKEN_FILE = (
    EOFError,
    OSError,
    zlib.error,
    ValueError,
    LookupError,
)


class MonitorInputError(Exception):
    """A file that the monitor cannot judge. The message is one line: what, where, what next."""


def open_xml(path: Path) -> IO[bytes]:
    """A plain or gzipped XML file, opened for reading."""
    try:
        with path.open("rb") as probe:
            zipped = probe.read(2) == b"\x1f\x8b"
        return cast(IO[bytes], gzip.open(path, "rb") if zipped else path.open("rb"))
    except OSError as error:
        raise MonitorInputError(f"{path}: cannot be read ({error.strerror}); check the path") from error

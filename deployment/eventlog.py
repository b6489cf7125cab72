"""The log of a controller's day: JSON lines, rotated, from which each decision can be made again.

| k | line |
|---|---|
| start | what ran: bundle, settings, the wall clock's time |
| poll | what the controller answered: only values that changed, and names that did not come |
| lost | a poll without an answer |
| beat | the moment of a decision and what is known beside the polls |
| answer | how long the inference took, or why it failed |
| decision | what follows; a replay must write the same line, byte for byte |
| alarm | control ended between two beats, and why |
| begin, verified | the controller's tables were as in the bundle |
| written, released, refused, event | what was sent and how it went; what happened |

Times are seconds on the monotonic clock since the start: a wall clock that jumps changes nothing.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

from deployment.reading import Reading
from signals.errors import InputError
from signals.plain import parse

ROTATE_BYTES = 64 * 2**20
KEEP = 14
"""Older files; with the newest they hold more than two weeks of a usual intersection."""


def line(record: Mapping[str, Any]) -> str:
    """A record as it stands in the log."""
    return json.dumps(record, separators=(",", ":"), allow_nan=False)


class EventLog:
    """Writes the log. `None` as its place: nothing is written."""

    def __init__(self, path: Path | None, *, rotate_bytes: int = ROTATE_BYTES, keep: int = KEEP) -> None:
        """See the class.

        Raises:
            InputError: it cannot be written, or there is one already.
        """
        self.path, self._rotate_bytes, self._keep = path, rotate_bytes, keep
        self._file: TextIO | None = None
        self._bytes = 0
        self._known: dict[str, int] = {}
        self.failure = ""
        """Why nothing can be written any more."""
        if path is not None:
            if path.exists() and path.stat().st_size:
                raise InputError(f"--log {path} is there already, and a log holds one run; choose another name")
            self._open(path)

    def _open(self, path: Path) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("w", encoding="utf-8")
        except OSError as error:
            raise InputError(f"--log {path}: {error.strerror}; choose another place") from error
        self._bytes = 0

    def write(self, record: Mapping[str, Any]) -> None:
        """Append a line. It is handed to the system at once, so that a kill loses nothing.

        It raises nothing: who is in control has to give it back first, and is told by `failure`.
        """
        if self._file is None:
            return
        text = line(record) + "\n"
        try:
            if self._bytes + len(text) > self._rotate_bytes:
                self._rotate()
            assert self._file is not None
            self._file.write(text)
            self._file.flush()
        except (OSError, InputError) as error:
            self.failure = f"the log cannot be written: {error}"
            self.close()
            return
        self._bytes += len(text)

    def poll(self, reading: Reading, asked: tuple[str, ...], *, slow: bool) -> None:
        """Append an answer, by what has changed; the line `start` says which names are asked for, which slowly."""
        if self._file is None:
            return
        changed = {name: value for name, value in reading.values.items() if self._known.get(name) != value}
        self._known |= changed
        record: dict[str, Any] = {"k": "poll", "t": reading.at_s, "v": changed}
        if slow:
            record["slow"] = True
        if missing := [name for name in asked if name not in reading.values]:
            record["missing"] = missing
        self.write(record)

    def _rotate(self) -> None:
        assert self._file is not None
        assert self.path is not None
        self._file.close()
        for n in range(self._keep, 0, -1):
            older = self.path if n == 1 else self.path.with_name(f"{self.path.name}.{n - 1}")
            if older.exists():
                older.replace(self.path.with_name(f"{self.path.name}.{n}"))
        self._open(self.path)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
            self._file = None


def read_log(path: Path) -> Iterator[dict[str, Any]]:
    """The records of a log, rotated files first.

    Raises:
        InputError: there is none, it is damaged, or its beginning is gone.
    """
    if not path.is_file():
        raise InputError(f"log {path} does not exist; give what control.py --log wrote")
    rotated = sorted(
        (p for p in path.parent.iterdir() if p.stem == path.name and p.suffix[1:].isdigit()),
        key=lambda p: -int(p.suffix[1:]),
    )
    first = True
    for file in (*rotated, path):
        lines = file.read_bytes().split(b"\n")
        for number, text in enumerate(lines, start=1):
            if not text:
                continue
            try:
                record = parse(text)
                kind = record["k"]
            except (ValueError, KeyError, TypeError) as error:
                if file == path and number == len(lines):
                    return  # cut off by a kill in mid-line
                raise InputError(f"log {file}, line {number}: not a record ({error}); it is damaged") from error
            if first and kind != "start":
                raise InputError(f"log {path}: its beginning has been rotated away, and decisions rest on it")
            first = False
            yield record

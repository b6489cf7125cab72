"""The log of a controller's day: JSON lines in parts, chained by digests, from which each decision can be made again.

| k | line |
|---|---|
| start | what ran: bundle, settings, the wall clock's time; the first line of every part, see below |
| poll | what the controller answered: only values that changed, and names that did not come |
| lost | a poll without an answer |
| beat | the moment of a decision and what is known beside the polls |
| answer | how long the inference took, or why it failed |
| decision | what follows; a replay must write the same line, byte for byte |
| alarm | control ended between two beats, and why |
| begin, verified | the controller's tables were as in the bundle |
| written, released, refused, event | what was sent and how it went; what happened |
| end | the log was closed in order |

Times are seconds on the monotonic clock since the start: a wall clock that jumps changes nothing.

**Parts.** The newest part has the log's name, the one before it NAME.1, and so on. The first line of each says of
which run it is (`run`, drawn at random) and which part (`part`, from 1). From the second part on it also holds the
last digest of the part before (`before`), and what a replay needs to begin there: the last values (`values`) and all
that the pilot knew (`state`, see `deployment.field.state`).

**Chain.** Each line ends with `"h"`: the first 128 bits of SHA-256 over the last line's `h` (nothing before the first
line) followed by this line without its `h`. So a line that was changed, put in, moved or taken out is found, and
where. It proves no more than that: there is no secret in it, so whoever may write to the file can make all digests
anew, or cut lines off at its end. A digest that was kept elsewhere finds both.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from deployment.field.reading import Reading
from plumbing.errors import InputError
from plumbing.plain import parse

ROTATE_BYTES = 64 * 2**20
KEEP = 20
"""Older parts; with the newest they hold two weeks of a usual intersection, at 90 MiB a day."""
LONGEST_BYTES = 2**22
"""No line is longer; the longest are the first of each part, some kilobytes."""
DIGEST = re.compile("[0-9a-f]{32}")
_LINE = re.compile(rb'(\{.*),"h":"([0-9a-f]{32})"\}\n')


def line(record: Mapping[str, Any]) -> str:
    """A record as it stands in the log, without its digest."""
    return json.dumps(record, separators=(",", ":"), allow_nan=False)


def chained(before: str, text: bytes) -> str:
    """The digest of a line.

    Args:
        before: the digest of the line before it; empty for the first.
        text: the line without its digest.
    """
    return hashlib.sha256(before.encode() + text).hexdigest()[:32]


class EventLog:
    """Writes the log. `None` as its place: nothing is written."""

    def __init__(
        self, path: Path | None, start: Mapping[str, Any], *, rotate_bytes: int = ROTATE_BYTES, keep: int = KEEP
    ) -> None:
        """Begin the log.

        Args:
            start: what its first line says, beside run and part.
            rotate_bytes: a part that holds so much is full.
            keep: full parts that are kept.

        Raises:
            InputError: it cannot be written, or there is one already; one of a run that no controller answered makes
                room.
        """
        self.path, self._start, self._rotate_bytes, self._keep = path, start, rotate_bytes, keep
        self._run, self._part = secrets.token_hex(8), 0
        self._file: BinaryIO | None = None
        self._bytes = self._head_bytes = 0
        self._known: dict[str, int] = {}
        self.digest = ""
        """Of the last line."""
        self.failure = ""
        """Why nothing can be written any more."""
        if path is None:
            return
        older = [part for part in _parts(path) if not (part == path and _empty(part))]
        if older and (older != [path] or not _reached_nobody(path)):
            raise InputError(f"--log {path}: {older[-1]} is there already; a log holds one run, choose another name")
        try:
            if older:
                path.unlink()
            path.parent.mkdir(parents=True, exist_ok=True)
            self._begin_part({})
        except OSError as error:
            raise InputError(f"--log {path}: {error.strerror}; choose another place") from error

    def write(self, record: Mapping[str, Any]) -> None:
        """Append a line. It is handed to the system at once, so that a kill loses nothing.

        It raises nothing: who is in control has to give it back first, and is told by `failure`.
        """
        if self._file is not None:
            with self._failing():
                self._append(record)

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

    def turn(self, state: Callable[[], Mapping[str, Any]]) -> str:
        """Begin a new part where this one is full, and notice whether somebody took or cut the file; never raises.

        Args:
            state: gives what the pilot knows; asked for between two decisions.

        Returns: the last digest of the part that was closed, or an empty string.
        """
        if self._file is None:
            return ""
        with self._failing():
            self._look_after()
            if self._bytes - self._head_bytes >= self._rotate_bytes:
                closed = self.digest
                self._rotate()
                self._begin_part({"before": closed, "values": self._known, "state": state()})
                return closed
        return ""

    def close(self) -> None:
        """Write the last line and close the file."""
        self.write({"k": "end"})
        self._close()

    def _begin_part(self, more: Mapping[str, Any]) -> None:
        assert self.path is not None
        self._file = self.path.open("ab")  # appending: a file that somebody shortens gets no holes
        self._part, self._bytes = self._part + 1, 0
        self._append({"k": "start", "run": self._run, "part": self._part, **self._start, **more})
        self._head_bytes = self._bytes

    def _append(self, record: Mapping[str, Any]) -> None:
        assert self._file is not None
        text = line(record)
        self.digest = chained(self.digest, text.encode())
        whole = f'{text[:-1]},"h":"{self.digest}"}}\n'.encode()
        self._file.write(whole)
        self._file.flush()
        self._bytes += len(whole)

    def _look_after(self) -> None:
        """Whether the file is where it was, and as long as we made it."""
        assert self.path is not None
        assert self._file is not None
        here, ours = self.path.stat(), os.fstat(self._file.fileno())
        if not os.path.samestat(here, ours) or ours.st_size != self._bytes:
            raise OSError(f"somebody has replaced or cut {self.path}")

    def _rotate(self) -> None:
        assert self.path is not None
        self._close()
        for n in range(self._keep, 0, -1):
            older = self.path if n == 1 else self.path.with_name(f"{self.path.name}.{n - 1}")
            if older.exists():
                older.replace(self.path.with_name(f"{self.path.name}.{n}"))

    @contextlib.contextmanager
    def _failing(self) -> Iterator[None]:
        """What goes wrong here ends the log, and is told by `failure`."""
        try:
            yield
        except OSError as error:
            self.failure = f"the log cannot be written: {error}"
            self._close()

    def _close(self) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
            self._file = None


class LogReader:
    """The records of a log, the oldest part first; iterating checks the chain, and then the rest is known."""

    def __init__(self, path: Path, kept: str = "") -> None:
        """See the class.

        Args:
            kept: a digest that was noted while the log was written.

        Raises:
            InputError: there is no such log, or `kept` is no digest.
        """
        if kept and not DIGEST.fullmatch(kept):
            raise InputError(f"--digest is {kept!r}; give the 32 hexadecimal digits that control.py has shown")
        self.path, self._kept = path, kept
        self._files = _parts(path)
        if not self._files:
            raise InputError(f"log {path} does not exist; give what control.py --log wrote")
        self.run, self.first_part, self.last_part = "", 0, 0
        self.lines = 0
        self.digest = ""
        """Of the last line that has been read."""
        self.ended = False
        """Whether the last line is that of a log that was closed in order."""

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """The records without their digests. A last line that a kill cut off is left out.

        Raises:
            InputError: a line is damaged, the chain breaks, a part is missing or of another run, or the digest that
                was kept does not occur.
        """
        seen = False
        with contextlib.ExitStack() as opened:
            try:
                files = [opened.enter_context(file.open("rb")) for file in self._files]  # before any is renamed
            except OSError as error:
                raise InputError(f"log {error.filename}: {error.strerror}; read it once nobody moves it") from error
            for path, file in zip(self._files, files, strict=True):
                number = 0
                while text := file.readline(LONGEST_BYTES):
                    number += 1
                    if not text.endswith(b"\n") and path == self._files[-1] and len(text) < LONGEST_BYTES:
                        break  # a kill in mid-line
                    yield self._record(text, number, f"log {path}, line {number}")
                    seen = seen or self.digest == self._kept
        if self._kept and not seen:
            raise InputError(f"log {self.path}: no line has the digest {self._kept}: it was cut, or written anew")

    def _record(self, text: bytes, number: int, where: str) -> dict[str, Any]:
        found = _LINE.fullmatch(text)
        if found is None:
            raise InputError(f"{where}: not a line as control.py writes it; the log is damaged")
        body, digest = found[1] + b"}", found[2].decode()
        try:
            record: dict[str, Any] = parse(body)
            kind = record["k"]
        except (ValueError, KeyError) as error:
            raise InputError(f"{where}: not a record ({error}); the log is damaged") from error
        if (kind == "start") != (number == 1):
            raise InputError(
                f"{where}: a part begins with its line 'start', and no other is one; it was put together"
            )
        if kind == "start":
            self._begin_part(record, where)
        self.digest = chained(self.digest, body)
        if self.digest != digest:
            raise InputError(
                f"{where}: the chain of digests breaks here; this line was changed, or lines before it were "
                f"changed, moved or taken out"
            )
        self.lines, self.ended = self.lines + 1, kind == "end"
        return record

    def _begin_part(self, record: Mapping[str, Any], where: str) -> None:
        run, part, before = record.get("run"), record.get("part"), record.get("before", "")
        if not isinstance(run, str) or type(part) is not int or not isinstance(before, str):
            raise InputError(f"{where}: does not say of which run and part it is; it is no log of this version")
        if not self.lines:
            self.run, self.first_part, self.digest = run, part, before
        elif run != self.run:
            raise InputError(f"{where}: of another run than {self._files[0]}; move it to another folder")
        elif part != self.last_part + 1:
            raise InputError(
                f"{where}: part {part} follows part {self.last_part}; bring the missing parts back, or move those "
                f"before the gap to another folder"
            )
        self.last_part = part


def read_log(path: Path) -> Iterator[dict[str, Any]]:
    """The records of a log, oldest first; `LogReader` tells more.

    Raises:
        InputError: there is none, or it is damaged.
    """
    yield from LogReader(path)


def _parts(path: Path) -> list[Path]:
    """Every file that is there of a log of that name, the oldest first."""
    number = re.compile(re.escape(path.name) + r"\.([1-9][0-9]{0,8})")
    names = {file: number.fullmatch(file.name) for file in (path.parent.iterdir() if path.parent.is_dir() else ())}
    found = sorted(((int(match[1]), file) for file, match in names.items() if match), reverse=True)
    return [file for _, file in found] + [path] * path.exists()


def _reached_nobody(path: Path) -> bool:
    """Whether it is the log of a run that has ended and to which no controller ever answered: there is nothing in it
    that another try would have to keep."""
    if path.is_symlink() or not path.is_file() or path.stat().st_size > LONGEST_BYTES:
        return False
    log = LogReader(path)
    try:
        kinds = {record["k"] for record in log}
    except InputError:  # it is none of ours, or damaged
        return False
    return log.ended and kinds <= {"start", "lost", "event", "end"}


def _empty(path: Path) -> bool:
    """Whether a plain file is there that holds nothing."""
    return path.is_file() and not path.stat().st_size

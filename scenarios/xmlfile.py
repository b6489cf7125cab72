"""Reading SUMO's XML files, gzipped or not, with errors that name the file and the place."""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO
from xml.etree import ElementTree

from plumbing.errors import InputError, did_you_mean, printable

Element = ElementTree.Element
LARGEST = 1e9
"""No time [s], length [m] or count of SUMO's is larger: thirty years, twenty times around the earth."""
MOST_UNPACKED_BYTES, MOST_RATIO, SMALL_BYTES = 1 << 32, 100, 1 << 26
"""Bounds of a gzipped file: most unpacked bytes, most unpacked bytes per packed one, and a size up to which any ratio
passes. SUMO's XML packs to a tenth or a thirtieth; gzip packs uniform content to a thousandth."""
UNREADABLE = (ElementTree.ParseError, OSError, EOFError, zlib.error, ValueError, LookupError)  # an unknown encoding


def require_file(path: Path, what: str) -> Path:
    """The path itself, or an InputError that says what is missing and what lies near it."""
    if path.is_file():
        return path
    try:
        beside = [p.name for p in path.parent.iterdir() if p != path] if path.parent.is_dir() else []
    except OSError:
        beside = []
    kind = "is no plain file" if path.exists() else "does not exist"
    kind = "is a folder, not a file" if path.is_dir() else kind
    raise InputError(f"{what} {path} {kind}; check the path.{did_you_mean(path.name, beside)}")


def open_xml(path: Path) -> IO[bytes]:
    """The file's bytes, unzipped where its first bytes say gzip (SUMO looks there too, not at the name)."""
    stream = path.open("rb")
    magic = stream.read(2)
    stream.seek(0)
    return _Unpacked(stream, path) if magic == b"\x1f\x8b" else stream  # type: ignore[return-value]


class _Unpacked(gzip.GzipFile):
    """A gzipped file that is no bomb."""

    def __init__(self, stream: IO[bytes], path: Path) -> None:
        super().__init__(fileobj=stream, mode="rb")
        self.myfileobj = stream  # type: ignore[assignment]  # closed together with this one
        self._path, self._unpacked = path, 0
        self._most = min(MOST_UNPACKED_BYTES, max(SMALL_BYTES, MOST_RATIO * path.stat().st_size))

    def read(self, size: int | None = -1) -> bytes:
        """At most so many bytes. Raises InputError for a file that unpacks to too many."""
        data = super().read(self._most + 1 if size is None or size < 0 else size)
        self._unpacked += len(data)
        if self._unpacked > self._most:
            raise InputError(
                f"{self._path} unpacks to more than {self._most >> 20} MiB, far more than SUMO's files of its size; "
                "give a file that netconvert or duarouter wrote, or give it unzipped"
            )
        return data


def read_tree(path: Path, what: str) -> Element:
    """The root element of the whole file."""
    require_file(path, what)
    try:
        with open_xml(path) as stream:
            return ElementTree.parse(stream).getroot()
    except UNREADABLE as error:
        raise broken(path, what, error) from error


def root_tag(path: Path, what: str) -> str:
    """The name of the file's root element, read without the rest."""
    require_file(path, what)
    try:
        with open_xml(path) as stream:
            for _, element in ElementTree.iterparse(stream, events=("start",)):
                return str(element.tag)
    except UNREADABLE as error:
        raise broken(path, what, error) from error
    raise InputError(f"{what} {path} is empty; give an XML file of SUMO's")


def top_level(path: Path, what: str, above: tuple[Path, ...] = ()) -> Iterator[Element]:
    """The root's children one by one, each dropped afterwards, so that a big file needs little memory.

    In the place of an `<include href="…"/>` come the children of the file that it names; `above` are the files
    that include this one, resolved.
    """
    chain = (*above, path.resolve())
    for element in _children(path, what):
        if element.tag != "include":
            yield element
            continue
        file = named_file(path, element.get("href", ""), chain[0].parent, what)
        if file.resolve() in chain:
            raise InputError(f"{what} {path} includes {file}, which includes it again; leave one of the two out")
        yield from top_level(file, what, chain)


def named_file(path: Path, href: str, home: Path, what: str) -> Path:
    """The file that another one includes.

    Args:
        home: the folder that it has to lie in, resolved: that of the file that all begins with.

    Raises:
        InputError: it lies elsewhere.
    """
    file = path.absolute().parent / href
    try:
        lies_at = file.resolve()
    except (OSError, RuntimeError, ValueError) as error:  # such as a link that leads to itself
        raise InputError(f"{what} {path} includes {href!r}, which cannot be found ({error}); correct it") from error
    if not lies_at.is_relative_to(home):
        raise InputError(f"{what} {path} includes {href}, which lies outside of {home}; move it below that folder")
    return file


def _children(path: Path, what: str) -> Iterator[Element]:
    require_file(path, what)
    try:
        with open_xml(path) as stream:
            depth, root = 0, None
            for event, element in ElementTree.iterparse(stream, events=("start", "end")):
                if event == "start":
                    depth += 1
                    if root is None:
                        root = element
                else:
                    depth -= 1
                    if depth == 1 and root is not None:
                        yield element
                        root.clear()
    except UNREADABLE as error:
        raise broken(path, what, error) from error


def broken(path: Path, what: str, error: Exception) -> InputError:
    """The error for a file that cannot be read as XML."""
    return InputError(f"{what} {path} cannot be read: {error}; is it a whole, well-formed XML file?")


def finite(text: str) -> float:
    """A number of SUMO's. Raises ValueError for what is none, not finite, or beyond `LARGEST`."""
    return _bounded(float(text), text)


def whole(text: str) -> int:
    """A whole number of SUMO's. Raises ValueError for what is none, or beyond `LARGEST`."""
    return int(_bounded(int(text), text))


def _bounded(value: float, text: str) -> float:
    if not abs(value) <= LARGEST:  # NaN is not, either
        finite_one = isinstance(value, int) or math.isfinite(value)
        raise ValueError(f"{printable(text, 40)!r} is {f'beyond {LARGEST:g}' if finite_one else 'not finite'}")
    return value


def seconds(text: str | None, default: float = 0.0) -> float:
    """SUMO's time values: seconds, or [days:]hours:minutes:seconds. Raises ValueError as `finite`."""
    if text is None or not text.strip():
        return default
    parts = text.strip().split(":")
    if len(parts) == 1:
        return finite(parts[0])
    if not 3 <= len(parts) <= 4:
        raise ValueError(f"{text!r} is no time: seconds, or [days:]hours:minutes:seconds")
    days = finite(parts[0]) if len(parts) == 4 else 0.0
    hours, minutes, rest = (finite(part) for part in parts[-3:])
    value = ((abs(days) * 24 + abs(hours)) * 60 + minutes) * 60 + rest
    return _bounded(-value if text.strip().startswith("-") else value, text)

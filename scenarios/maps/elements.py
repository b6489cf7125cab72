"""The nodes, ways and relations of an extract of OpenStreetMap, one by one, whatever format they come in."""

from __future__ import annotations

import bz2
import gzip
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from xml.etree import ElementTree

from plumbing.errors import InputError, printable
from scenarios.xmlfile import MOST_UNPACKED_BYTES, SMALL_BYTES, UNREADABLE

MOST_RATIO = 400
"""Most unpacked bytes per packed one: bzip2 packs OSM's XML to a fifteenth or a thirtieth."""
_NEGATIVE = 10**15  # editors number what is not uploaded yet downwards from -1; netconvert's minus is a reverse edge


@dataclass(frozen=True, slots=True)
class Node:
    id: int
    tags: Mapping[str, str]
    lat: float
    """[degrees]"""
    lon: float


@dataclass(frozen=True, slots=True)
class Way:
    id: int
    tags: Mapping[str, str]
    nodes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Member:
    kind: str
    """"node", "way" or "relation"."""
    ref: int
    role: str


@dataclass(frozen=True, slots=True)
class Relation:
    id: int
    tags: Mapping[str, str]
    members: tuple[Member, ...]


Element = Node | Way | Relation


def elements(path: Path) -> Iterator[Element]:
    """All elements in file order. Those that an editor has deleted are left out.

    Raises:
        InputError: the file is damaged, breaks off, or is no extract of OpenStreetMap.
    """
    with path.open("rb") as stream:
        magic = stream.read(16)
    if magic[4:].startswith(b"\n\tOSMHeader"):
        yield from _pbf(path)
        return
    try:
        with path.open("rb") as stream:
            yield from _xml(path, _unpacked(stream, magic, path))
    except UNREADABLE as error:
        raise InputError(f"map {path} cannot be read: {error}; is it a whole extract of OpenStreetMap?") from error


def _unpacked(stream: IO[bytes], magic: bytes, path: Path) -> IO[bytes]:
    if magic.startswith(b"\x1f\x8b"):
        return _Bounded(gzip.GzipFile(fileobj=stream), path)  # type: ignore[return-value,arg-type]
    if magic.startswith(b"BZh"):
        return _Bounded(bz2.BZ2File(stream), path)  # type: ignore[return-value]
    return stream


class _Bounded:
    """A packed file that is no bomb."""

    def __init__(self, stream: IO[bytes], path: Path) -> None:
        self._stream, self._path, self._unpacked = stream, path, 0
        self._most = min(16 * MOST_UNPACKED_BYTES, max(SMALL_BYTES, MOST_RATIO * path.stat().st_size))

    def read(self, size: int = 1 << 16) -> bytes:
        data = self._stream.read(size)
        self._unpacked += len(data)
        if self._unpacked > self._most:
            raise InputError(f"map {self._path} unpacks to more than {self._most >> 20} MiB; give it unpacked")
        return data


def _xml(path: Path, stream: IO[bytes]) -> Iterator[Element]:
    root: ElementTree.Element | None = None
    depth = 0
    for event, element in ElementTree.iterparse(stream, events=("start", "end")):
        if event == "start":
            depth += 1
            if root is None:
                root = element
                if element.tag != "osm":
                    raise InputError(
                        f"map {path} is no extract of OpenStreetMap: its root element is "
                        f"<{printable(element.tag, 40)}>, not <osm>"
                    )
            continue
        depth -= 1
        if depth != 1:
            continue
        assert root is not None
        of = element.attrib
        if of.get("visible") != "false" and of.get("action") != "delete":
            try:
                found = _element(element)
            except (KeyError, ValueError) as error:
                what = f"a <{printable(element.tag, 40)}> without {error}" if isinstance(error, KeyError) else error
                raise InputError(f"map {path} is damaged: {what}; take the extract anew") from error
            if found is not None:
                yield found
        root.clear()


def _element(element: ElementTree.Element) -> Element | None:
    if element.tag not in ("node", "way", "relation"):
        return None
    of = element.attrib
    number = _number(of["id"])
    tags = {tag.attrib["k"]: tag.attrib["v"] for tag in element.iterfind("tag")}
    if element.tag == "node":
        return Node(number, tags, float(of["lat"]), float(of["lon"]))
    if element.tag == "way":
        return Way(number, tags, tuple(_number(nd.attrib["ref"]) for nd in element.iterfind("nd")))
    members = (m.attrib for m in element.iterfind("member"))
    return Relation(number, tags, tuple(Member(m["type"], _number(m["ref"]), m.get("role", "")) for m in members))


def _number(text: str) -> int:
    value = int(text)
    return value if value >= 0 else _NEGATIVE - value


def _pbf(path: Path) -> Iterator[Element]:
    try:
        import osmium
    except ImportError as error:
        raise InputError(
            f"map {path} is a .pbf, which the package osmium reads; install it (pip install -e '.[demand]'), or "
            "give the extract as .osm.xml"
        ) from error
    try:
        for found in osmium.FileProcessor(str(path)):
            if (element := _of_osmium(found)) is not None:
                yield element
    except (RuntimeError, ValueError, OSError, zlib.error) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise InputError(f"map {path} cannot be read: {reason}; is it a whole extract of OpenStreetMap?") from error


def _of_osmium(found: Any) -> Element | None:
    if found.deleted:
        return None
    tags = {tag.k: tag.v for tag in found.tags}
    number = _number(str(found.id))
    if found.is_node():
        return Node(number, tags, found.location.lat, found.location.lon)
    if found.is_way():
        return Way(number, tags, tuple(_number(str(nd.ref)) for nd in found.nodes))
    if found.is_relation():
        kinds = {"n": "node", "w": "way", "r": "relation"}
        return Relation(
            number, tags, tuple(Member(kinds[m.type], _number(str(m.ref)), m.role) for m in found.members)
        )
    return None

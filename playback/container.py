"""The .replay file: a head in plain JSON, packed sections, and a digest over all of it.

| bytes | content |
|---|---|
| 8 | `MAGIC` |
| 2 | version of the format, little-endian |
| 4 | length of the head |
| … | the head: JSON in UTF-8, with [name, packed size] of every section |
| … | the sections, one after the other, each packed with gzip |
| 32 | SHA-256 of everything before |
"""

from __future__ import annotations

import gzip
import hashlib
import json
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from plumbing.errors import InputError
from plumbing.plain import listed, misfit, parse, record, row, text, whole
from plumbing.whole import write_whole

MAGIC = b"\x89RPLY\r\n\x1a"
"""A byte no text begins with, and line ends that a transfer as text would change."""
VERSION = 1
MOST_BYTES = 64 * 2**20
"""Most bytes of an unpacked section: a few bytes can unpack to gigabytes. A file has at most four times as many."""
MOST_SECTIONS = 32
_START = struct.Struct("<8sHI")
_DIGEST = 32  # [bytes]
_LISTED = record({"sections": listed(row(text(60), whole(0, MOST_BYTES)), most=MOST_SECTIONS)})


def pack(head: Mapping[str, Any], sections: Mapping[str, bytes]) -> bytes:
    """The file's bytes; the same for the same content."""
    packed = {name: gzip.compress(data, 9, mtime=0) for name, data in sections.items()}
    listed = [[name, len(data)] for name, data in packed.items()]
    text = json.dumps({**head, "sections": listed}, ensure_ascii=False, separators=(",", ":")).encode()
    body = _START.pack(MAGIC, VERSION, len(text)) + text + b"".join(packed.values())
    return body + hashlib.sha256(body).digest()


def write(path: Path, head: Mapping[str, Any], sections: Mapping[str, bytes]) -> int:
    """Write the file, whole or not at all; returns its size in bytes.

    Raises:
        InputError: a section is larger than is read again, or the file cannot be written.
    """
    if large := [name for name, data in sections.items() if len(data) > MOST_BYTES]:
        raise InputError(
            f"{path}: {large[0]} of this run is larger than {MOST_BYTES >> 20} MiB; record a shorter window"
        )
    data = pack(head, sections)
    write_whole(path, lambda partial: partial.write_bytes(data))
    return len(data)


def read_bytes(path: Path) -> bytes:
    """The whole file, once its digest is found right.

    Raises:
        InputError: it is missing, no replay, too large for one, damaged, or of a newer version.
    """
    most = 4 * MOST_BYTES
    try:
        with path.open("rb") as file:
            data = file.read(len(MAGIC))
            data += file.read(most) if data == MAGIC else b""
    except FileNotFoundError as error:
        raise InputError(f"replay {path} does not exist; record one with replay.py record --out {path}") from error
    except OSError as error:
        raise InputError(f"replay {path} cannot be read: {error.strerror}; check the path") from error
    if data[: len(MAGIC)] != MAGIC or len(data) < _START.size or len(data) > most:
        raise InputError(f"{path} is no replay; give a file that replay.py record wrote")
    version = _START.unpack_from(data)[1]
    if version > VERSION:
        raise InputError(
            f"replay {path} has format {version}, newer than this version reads ({VERSION}); update intergreen"
        )
    if len(data) < _START.size + _DIGEST or hashlib.sha256(data[:-_DIGEST]).digest() != data[-_DIGEST:]:
        raise InputError(f"replay {path} is damaged or cut off: its digest does not fit; record or copy it anew")
    return data


def read_head(data: bytes) -> dict[str, Any]:
    """The head of a file's bytes. Raises ValueError where it is none, or lists other sections than follow."""
    _, _, size = _START.unpack_from(data)
    head: dict[str, Any] = parse(data[_START.size : _START.size + size], finite=False)
    misfit(_LISTED, head)
    names = [name for name, _ in head["sections"]]
    if len(set(names)) < len(names):
        raise ValueError("a section is there twice")
    if _START.size + size + sum(size for _, size in head["sections"]) + _DIGEST != len(data):
        raise ValueError("its sections are longer or shorter than its head says")
    return head


def _unpacked(name: str, packed: bytes) -> bytes:
    """A section. Raises ValueError where it is not packed as `pack` does it, or too large."""
    unzip = zlib.decompressobj(wbits=31)
    data = unzip.decompress(packed, MOST_BYTES)
    if unzip.unconsumed_tail or unzip.unused_data or not unzip.eof:
        raise ValueError(f"{name} is cut off, or larger than {MOST_BYTES >> 20} MiB")
    return data


def unpack(data: bytes, path: Path) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Head and unpacked sections of a file's bytes, as `read_bytes` has them from `path`.

    Raises:
        InputError: the head is none, or does not fit the sections, or one of these is too large.
    """
    try:
        head = read_head(data)
        place, sections = _START.size + _START.unpack_from(data)[2], {}
        for name, size in head["sections"]:
            sections[name] = _unpacked(name, data[place : place + size])
            place += size
    except (ValueError, zlib.error) as error:  # with a digest that fits
        raise InputError(f"replay {path} contradicts itself ({error}); record it anew") from error
    return head, sections


def read(path: Path) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Head and unpacked sections of a file. Raises InputError as `read_bytes` and `unpack`."""
    return unpack(read_bytes(path), path)

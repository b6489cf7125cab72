"""The .replay file: a head that anybody can read, packed sections, and a digest over it all.

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

from scenarios.command import write_whole
from signals.errors import InputError

MAGIC = b"\x89RPLY\r\n\x1a"
"""A byte no text begins with, and line ends that a transfer as text would change."""
VERSION = 1
_START = struct.Struct("<8sHI")
_DIGEST = 32  # [bytes]


def pack(head: Mapping[str, Any], sections: Mapping[str, bytes]) -> bytes:
    """The file's bytes; the same for the same content."""
    packed = {name: gzip.compress(data, 9, mtime=0) for name, data in sections.items()}
    listed = [[name, len(data)] for name, data in packed.items()]
    text = json.dumps({**head, "sections": listed}, ensure_ascii=False, separators=(",", ":")).encode()
    body = _START.pack(MAGIC, VERSION, len(text)) + text + b"".join(packed.values())
    return body + hashlib.sha256(body).digest()


def write(path: Path, head: Mapping[str, Any], sections: Mapping[str, bytes]) -> int:
    """Write the file, whole or not at all; returns its size in bytes."""
    data = pack(head, sections)
    write_whole(path, lambda partial: partial.write_bytes(data))
    return len(data)


def read_bytes(path: Path) -> bytes:
    """The whole file, once its digest is found right.

    Raises:
        InputError: it is missing, no replay, damaged, or of a newer version.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise InputError(f"replay {path} does not exist; record one with replay.py record --out {path}") from error
    except OSError as error:
        raise InputError(f"replay {path} cannot be read: {error.strerror}; check the path") from error
    if data[: len(MAGIC)] != MAGIC or len(data) < _START.size:
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
    """The head of a file's bytes."""
    _, _, size = _START.unpack_from(data)
    head: dict[str, Any] = json.loads(data[_START.size : _START.size + size])
    return head


def read(path: Path) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Head and unpacked sections.

    Raises:
        InputError: as `read_bytes`.
    """
    data = read_bytes(path)
    try:
        head = read_head(data)
        place, sections = _START.size + _START.unpack_from(data)[2], {}
        for name, size in head["sections"]:
            sections[name] = gzip.decompress(data[place : place + size])
            place += size
    except (ValueError, KeyError, TypeError, OSError, EOFError, zlib.error) as error:  # with a digest that fits
        raise InputError(f"replay {path} contradicts itself ({error}); record it anew") from error
    return head, sections

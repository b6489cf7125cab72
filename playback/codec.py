"""Arrays as bytes: variable-length integers, trajectories as second-order deltas, and small typed arrays.

The page's decode.js reads the same formats; docs/replay.md describes them.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from plumbing.plain import listed, misfit, named, one_of, parse, row, whole

IntArray = npt.NDArray[np.int64]
LONGEST = 10  # [bytes] of an unsigned 64-bit number, seven bits each


class CodecError(ValueError):
    """Bytes that are not what an encoder here writes."""


def encode_varints(values: npt.NDArray[np.integer]) -> bytes:
    """Integers of either sign, small ones in one byte: zigzag, then seven bits a byte, the lowest first (LEB128)."""
    signed = np.asarray(values, np.int64)
    left = (signed.view(np.uint64) << np.uint64(1)) ^ (signed >> 63).view(np.uint64)
    length = np.ones(len(left), np.int64)
    for size in range(1, LONGEST):
        length += left >= np.uint64(1 << 7 * size)
    start = np.concatenate(([0], np.cumsum(length)))
    out = np.zeros(start[-1], np.uint8)
    for position in range(int(length.max(initial=0))):
        used = length > position
        low = (left[used] >> np.uint64(7 * position)).astype(np.uint8) & 0x7F
        out[start[:-1][used] + position] = low | ((length[used] > position + 1).astype(np.uint8) << 7)
    return out.tobytes()


def decode_varints(data: bytes) -> IntArray:
    """The inverse of `encode_varints`.

    Raises:
        CodecError: the last number is cut off, or one is too long.
    """
    raw = np.frombuffer(data, np.uint8)
    if not raw.size:
        return np.zeros(0, np.int64)
    last = raw < 0x80
    if not last[-1]:
        raise CodecError("the last number is cut off")
    ends = np.flatnonzero(last)
    begins = np.concatenate(([0], ends[:-1] + 1))
    length = ends - begins + 1
    if length.max() > LONGEST:
        raise CodecError("a number is too long")
    values = np.zeros(len(ends), np.uint64)
    for position in range(int(length.max())):
        used = length > position
        values[used] |= (raw[begins[used] + position] & np.uint64(0x7F)).astype(np.uint64) << np.uint64(7 * position)
    return (values >> np.uint64(1)).view(np.int64) ^ -(values & np.uint64(1)).view(np.int64)


@dataclass(frozen=True)
class Tracks:
    """Positions of vehicles or persons by step: a piece for each time that one of them was there without a gap.

    Pieces [N] are in the order of their first step; their points [T] lie one piece after the other.
    """

    thing: IntArray
    """[N] which vehicle or person it is."""
    first: IntArray
    """[N] its first step; the steps of a run count from 0."""
    length: IntArray
    """[N] how many steps it lasts."""
    angle_deg: IntArray
    """[N] where it heads at first: SUMO's degrees, 0 north, clockwise, rounded."""
    x_dm: IntArray
    """[T] SUMO's x of the front bumper, rounded to 0.1 m."""
    y_dm: IntArray

    @property
    def starts(self) -> IntArray:
        """[N] where each piece's points begin."""
        return np.concatenate(([0], np.cumsum(self.length)[:-1])) if len(self.length) else np.zeros(0, np.int64)

    @property
    def steps(self) -> IntArray:
        """[T] the step of each point."""
        within = np.arange(len(self.x_dm)) - np.repeat(self.starts, self.length)
        result: IntArray = np.repeat(self.first, self.length) + within
        return result


def encode_tracks(tracks: Tracks) -> bytes:
    """Two numbers (pieces, points); five columns of the pieces; x and y in turn, as second-order deltas.

    A piece's first point is 0 there: it stands among the columns, which are first-order deltas.
    """
    starts = tracks.starts
    columns = [tracks.thing, tracks.first, tracks.length, tracks.angle_deg, tracks.x_dm[starts], tracks.y_dm[starts]]
    points = np.column_stack((_second(tracks.x_dm, starts), _second(tracks.y_dm, starts))).ravel()
    sizes = np.array([len(starts), len(tracks.x_dm)], np.int64)
    return encode_varints(np.concatenate([sizes, *(np.diff(c, prepend=0) for c in columns), points]))


def decode_tracks(data: bytes) -> Tracks:
    """The inverse of `encode_tracks`.

    Raises:
        CodecError: it is something else.
    """
    numbers = decode_varints(data)
    if numbers.size < 2:
        raise CodecError("no tracks")
    pieces, points = int(numbers[0]), int(numbers[1])
    if pieces < 0 or points < 0 or numbers.size != 2 + 6 * pieces + 2 * points:
        raise CodecError("tracks of another length")
    columns = np.cumsum(numbers[2 : 2 + 6 * pieces].reshape(6, pieces), axis=1)
    thing, first, length, angle, x, y = columns
    if (length < 1).any() or (length > points).any() or length.sum() != points:  # a sum may run over
        raise CodecError("pieces that do not fit their points")
    second = numbers[2 + 6 * pieces :].reshape(points, 2)
    starts = np.concatenate(([0], np.cumsum(length)[:-1])) if pieces else np.zeros(0, np.int64)
    xy = [_integrated(second[:, n], starts, length, begin) for n, begin in ((0, x), (1, y))]
    return Tracks(thing, first, length, angle, *xy)


def _second(values: IntArray, starts: IntArray) -> IntArray:
    """Differences of differences within each piece; the first point's is 0, the second's its first difference."""
    first = np.diff(values, prepend=0)
    first[starts] = 0
    second = np.diff(first, prepend=0)
    second[starts] = 0
    return second


def _integrated(second: IntArray, starts: IntArray, length: IntArray, begin: IntArray) -> IntArray:
    return _running(_running(second, starts, length), starts, length) + np.repeat(begin, length)


def _running(values: IntArray, starts: IntArray, length: IntArray) -> IntArray:
    """Running sums that begin anew with each piece; a piece's first value counts as 0."""
    if not len(starts):
        return values
    total = np.cumsum(values)
    result: IntArray = total - np.repeat(total[starts], length)
    return result


ARRAY_TYPES = {"u1": np.uint8, "i2": np.int16, "i4": np.int32, "f4": np.float32}
_ARRAYS = named(row(one_of(*ARRAY_TYPES), listed(whole(0, 2**31), least=1, most=4)), most=100)


def encode_arrays(arrays: Mapping[str, npt.NDArray[Any]]) -> bytes:
    """Arrays by name: a JSON head {name: [type, shape]} after its length, then each array's elements, its first
    index running fastest: first the lowest byte of all, then the next. Like stands beside like and packs better."""
    head: dict[str, Any] = {}
    planes = []
    for name, array in arrays.items():
        kind = f"{array.dtype.kind}{array.dtype.itemsize}"
        if kind not in ARRAY_TYPES:
            raise CodecError(f"array {name!r} is of type {kind}; there are {', '.join(ARRAY_TYPES)}")
        head[name] = [kind, list(array.shape)]
        raw = array.ravel(order="F").astype(array.dtype.newbyteorder("<"))
        planes.append(raw.view(np.uint8).reshape(-1, array.dtype.itemsize).T.tobytes() if array.size else b"")
    text = json.dumps(head).encode()
    return struct.pack("<I", len(text)) + text + b"".join(planes)


def decode_arrays(data: bytes) -> dict[str, npt.NDArray[Any]]:
    """The inverse of `encode_arrays`.

    Raises:
        CodecError: it is something else.
    """
    try:
        (size,) = struct.unpack_from("<I", data)
        head, place = parse(data[4 : 4 + size]), 4 + size
        misfit(_ARRAYS, head)
        arrays = {}
        for name, (kind, shape) in head.items():
            dtype = np.dtype(ARRAY_TYPES[kind]).newbyteorder("<")
            count = math.prod(shape)
            if count * dtype.itemsize > len(data) - place:
                raise ValueError(f"{name} is cut off")
            raw = np.frombuffer(data, np.uint8, count * dtype.itemsize, place).reshape(dtype.itemsize, count).T
            flat = np.ascontiguousarray(raw).view(dtype).astype(ARRAY_TYPES[kind])
            arrays[name] = flat.reshape(shape, order="F")
            place += count * dtype.itemsize
    except (struct.error, ValueError) as error:
        raise CodecError(f"no arrays ({error})") from error
    if place != len(data):
        raise CodecError("arrays of another length")
    return arrays

"""Numbers, arrays and trajectories come out of their bytes as they went in, and other bytes are refused."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from playback.codec import (
    CodecError,
    Tracks,
    decode_arrays,
    decode_tracks,
    decode_varints,
    encode_arrays,
    encode_tracks,
    encode_varints,
)

INT64 = st.integers(-(2**63), 2**63 - 1)


@given(st.lists(INT64 | st.integers(-200, 200)))
def test_integers_come_back(values: list[int]) -> None:
    assert decode_varints(encode_varints(np.array(values, np.int64))).tolist() == values


def test_small_integers_take_a_byte() -> None:
    assert encode_varints(np.array([0, -1, 1, 63, -64])) == bytes([0, 1, 2, 126, 127])
    assert len(encode_varints(np.array([64, -65]))) == 4


@pytest.mark.parametrize("data", [b"\x80", b"\x01\xff", b"\xff" * 11 + b"\x01"])
def test_broken_integers_are_refused(data: bytes) -> None:
    with pytest.raises(CodecError):
        decode_varints(data)


@st.composite
def tracks(draw: st.DrawFn) -> Tracks:
    pieces = draw(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 4000), st.integers(1, 8)), max_size=12))
    pieces.sort(key=lambda piece: piece[1])
    points = sum(length for _, _, length in pieces)
    place = st.integers(-1_000_000, 1_000_000)
    x, y = (draw(st.lists(place, min_size=points, max_size=points)) for _ in "xy")
    thing, first, length = (np.array([piece[n] for piece in pieces], np.int64) for n in range(3))
    angle = np.array(draw(st.lists(st.integers(0, 359), min_size=len(pieces), max_size=len(pieces))), np.int64)
    return Tracks(thing, first, length, angle, np.array(x, np.int64), np.array(y, np.int64))


@given(tracks())
def test_trajectories_come_back(given_tracks: Tracks) -> None:
    found = decode_tracks(encode_tracks(given_tracks))
    for name in ("thing", "first", "length", "angle_deg", "x_dm", "y_dm"):
        assert getattr(found, name).tolist() == getattr(given_tracks, name).tolist(), name


def test_steady_motion_packs_into_a_byte_a_coordinate() -> None:
    x = np.arange(1000) * 139 + 4_000_000  # 50 km/h
    steady = Tracks(*(np.array([n]) for n in (0, 0, 1000, 90)), x, np.full(1000, 77))
    assert len(encode_tracks(steady)) < 2000 + 30


@given(tracks(), st.integers(1, 40))
def test_trajectories_that_are_cut_off_are_refused(given_tracks: Tracks, missing: int) -> None:
    data = encode_tracks(given_tracks)
    with pytest.raises(CodecError):
        decode_tracks(data[: max(len(data) - missing, 0)])


@given(
    st.lists(st.integers(-(2**15), 2**15 - 1), max_size=24),
    st.lists(st.floats(width=32, allow_nan=False), max_size=24),
)
def test_arrays_come_back(whole: list[int], real: list[float]) -> None:
    arrays = {
        "a": np.array(whole, np.int16).reshape(-1, 1),
        "b": np.array(real, np.float32),
        "c": np.zeros((3, 0), np.uint8),
        "nan": np.array([np.nan, np.inf], np.float32),
    }
    found = decode_arrays(encode_arrays(arrays))
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        assert np.array_equal(found[name], array, equal_nan=array.dtype.kind == "f"), name


@pytest.mark.parametrize("data", [b"", b"\0", struct.pack("<I", 2) + b"{}x", struct.pack("<I", 9) + b'{"a":1}'])
def test_broken_arrays_are_refused(data: bytes) -> None:
    with pytest.raises(CodecError):
        decode_arrays(data)


def test_an_array_of_another_type_is_not_written() -> None:
    with pytest.raises(CodecError, match="array 'a' is of type f8"):
        encode_arrays({"a": np.zeros(2)})

"""A replay whose digest is right and whose content is not: it is told in one line, or does no harm."""

from __future__ import annotations

import copy
import gzip
import hashlib
import json
import math
import random
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from playback import container
from playback.codec import decode_arrays, decode_tracks, decode_varints, encode_arrays, encode_tracks, encode_varints
from playback.page import write_page
from playback.replay_file import Replay
from playback.rerun import again
from plumbing.errors import InputError
from scenarios.loading import load
from signals.intersection import compile_signals
from signals.layout import build_layout
from signals.timing import Timing
from tests.recordings import record, run

Parts = tuple[dict[str, Any], dict[str, bytes]]
WRONG: tuple[Any, ...] = (
    None, True, -1, 0, 10**9, 2**64, 1e300, math.nan, math.inf, "", "x" * 5000, "\x1b[2J\n", "\ud800", [], {},
    [[]] * 3, {"x": 1}, ["x", 1], [0, 0],
)  # fmt: skip
TRIED = 4
"""Of these, in each place."""
NETWORK = load("cologne1").network
PLAN = compile_signals(NETWORK, Timing())
LAYOUT = build_layout(PLAN.intersections, NETWORK)
MAY_BE_MISSING = {"about", "versions", "sha256", "branch", "m", "e", "phases", "row", "reason"}


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Parts:
    """Head and sections of a minute of cologne1."""
    short = ("--scenario", "cologne1", "--begin", "25200", "--end", "25260")
    replay = record(tmp_path_factory.mktemp("foreign") / "short.replay", "greedy", *short)
    head = {name: value for name, value in replay.head.items() if name != "sections"}
    return head, dict(replay.sections)


def places(value: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where something stands in plain values: of a list, its first and last element."""
    inside = value if isinstance(value, dict) else {0: value[0], -1: value[-1]} if value else {}
    for key, item in inside.items():
        yield (*above, key)
        if isinstance(item, (dict, list)):
            yield from places(item, (*above, key))


def changes(value: Any) -> Iterator[tuple[tuple[Any, ...], Any, Any]]:
    """Each place, what is put there (Ellipsis: nothing), and a copy in which it is so."""
    draw = random.Random(0)
    for place in places(value):
        for to in (..., *draw.sample(WRONG, TRIED)):
            inside = result = copy.deepcopy(value)
            for key in place[:-1]:
                inside = inside[key]
            if to is ...:
                del inside[place[-1]]
            else:
                inside[place[-1]] = to
            yield place, to, result


def packed(head: dict[str, Any], sections: dict[str, bytes]) -> bytes:
    """A file of these, with a digest that fits, as another program than ours might write it."""
    zipped = {name: gzip.compress(data, 1) for name, data in sections.items()}
    text = json.dumps({**head, "sections": [[name, len(data)] for name, data in zipped.items()]}).encode()
    body = struct.pack("<8sHI", container.MAGIC, container.VERSION, len(text)) + text + b"".join(zipped.values())
    return body + hashlib.sha256(body).digest()


def outcome(head: dict[str, Any], sections: dict[str, bytes], folder: Path, whole: bool = False) -> str:
    """What becomes of a file: "" where it is read, shown and made ready to run, else the line that tells why not."""
    path = folder / "foreign.replay"
    path.write_bytes(packed(head, sections))
    try:
        again(Replay.read(path)).begin(PLAN, LAYOUT, 0)
        if whole:
            write_page([path], folder / "page.html")
            Replay.read(path).episode()
    except InputError as error:
        return str(error)
    return ""


@pytest.mark.wide
def test_another_head_is_told_or_does_no_harm(parts: Parts, tmp_path: Path) -> None:
    head, sections = parts
    for place, to, other in changes(head):
        found = outcome(other, sections, tmp_path, whole=True)
        if to is ... and not set(place) & MAY_BE_MISSING and len(place) < 3 and place[0] != "timing":
            assert found, f"{place} may be missing"


@pytest.mark.wide
@pytest.mark.parametrize("name", ["network", "signals", "vehicles", "persons", "curves"])
def test_another_section_is_told_or_does_no_harm(parts: Parts, tmp_path: Path, name: str) -> None:
    head, sections = parts
    told = [
        f"its {name} cannot be read" in outcome(head, {**sections, name: json.dumps(other).encode()}, tmp_path)
        for place, to, other in changes(json.loads(sections[name]))
    ]
    assert sum(told) > 0.7 * len(told)


def test_other_decisions_are_told(parts: Parts, tmp_path: Path) -> None:
    head, sections = parts
    arrays = decode_arrays(sections["decisions"])
    for name, array in arrays.items():
        others: dict[str, Any] = {
            "another type": array.astype(np.uint8 if array.dtype == np.float32 else np.float32),
            "shorter": array[:-1],
            "of more signals": np.concatenate((array, array), axis=1),
            "flat": array.ravel(),
            "negative": array - 1 if array.dtype == np.int16 else None,
            "phases that are not there": array + np.int16(1000) if array.dtype == np.int16 else None,
            "not a number": array * np.nan if array.dtype == np.float32 and name != "scores" else None,
        }
        for what, other in others.items():
            if other is not None:
                changed = {**sections, "decisions": encode_arrays({**arrays, name: other})}
                assert "its decisions cannot be read" in outcome(head, changed, tmp_path), f"{name}: {what}"
        without = {key: value for key, value in arrays.items() if key != name}
        found = outcome(head, {**sections, "decisions": encode_arrays(without)}, tmp_path)
        assert bool(found) == (name != "scores")
    assert "neither decisions nor programs" in outcome(head, {**sections, "decisions": encode_arrays({})}, tmp_path)


def test_a_phase_that_its_signal_does_not_have_is_told(parts: Parts, tmp_path: Path) -> None:
    """Other signals may have it, so the arrays alone do not tell."""
    head, sections = parts
    arrays = decode_arrays(sections["decisions"])
    arrays = {name: np.repeat(a, 3, axis=2) if a.ndim == 3 else a for name, a in arrays.items()}
    arrays["wanted"][-1] = len(PLAN.intersections[0].phases)
    found = outcome(head, {**sections, "decisions": encode_arrays(arrays)}, tmp_path)
    assert "decides for a phase that its signal does not have" in found


@pytest.mark.parametrize("name", ["vehicle_tracks", "person_tracks"])
def test_other_tracks_are_told_or_do_no_harm(parts: Parts, tmp_path: Path, name: str) -> None:
    head, sections = parts
    numbers, draw = decode_varints(sections[name]), random.Random(0)
    columns = 2 + 6 * int(numbers[0])
    for _ in range(60):
        other = numbers.copy()
        for _ in range(draw.choice((1, 1, 4))):
            place = draw.randrange(columns)
            other[place] = draw.choice((-1, 0, 1, 61, 10**6, 2**31, 2**62, 2**63 - 1, -(2**63)))
        outcome(head, {**sections, name: encode_varints(other)}, tmp_path)
    vehicles = decode_varints(sections["vehicle_tracks"])
    lengths = slice(2 + 2 * vehicles[0], 2 + 3 * vehicles[0])
    vehicles[lengths] = 2**62  # their sum runs over
    assert "do not fit their points" in outcome(
        head, {**sections, "vehicle_tracks": encode_varints(vehicles)}, tmp_path
    )


def test_somebody_in_two_places_is_told(parts: Parts, tmp_path: Path) -> None:
    head, sections = parts
    tracks = decode_tracks(sections["vehicle_tracks"])
    tracks.thing[:] = 0
    found = outcome(head, {**sections, "vehicle_tracks": encode_tracks(tracks)}, tmp_path)
    assert "one vehicle or person is in two places at once" in found


def test_a_few_bytes_do_not_become_gigabytes(parts: Parts, tmp_path: Path) -> None:
    head, sections = parts
    found = outcome(head, {**sections, "network": bytes(2**26 + 1)}, tmp_path)
    assert "network is cut off, or larger than 64 MiB" in found
    shapes = json.dumps({"wanted": ["i2", [2**31, 2**31]]}).encode()
    found = outcome(head, {**sections, "decisions": struct.pack("<I", len(shapes)) + shapes}, tmp_path)
    assert "wanted is cut off" in found


def test_what_is_nested_without_end_is_told(parts: Parts, tmp_path: Path) -> None:
    head, sections = parts
    deep = b"[" * 100_000 + b"]" * 100_000
    assert "nested too deeply" in outcome(head, {**sections, "network": deep}, tmp_path)
    assert "nested too deeply" in outcome(
        head, {**sections, "decisions": struct.pack("<I", len(deep)) + deep}, tmp_path
    )


def test_programs_are_text(parts: Parts, tmp_path: Path) -> None:
    head, sections = parts
    found = outcome(head, {**sections, "programs": b"\xff\xfe"}, tmp_path)
    assert "its programs are no text" in found


@pytest.mark.parametrize(
    "words", [("verify",), ("counterfactual", "--controller", "greedy", "--from", "25230"), ("gui",)]
)
def test_the_commands_tell_it(parts: Parts, tmp_path: Path, words: tuple[str, ...]) -> None:
    head, sections = parts
    path = tmp_path / "foreign.replay"
    container.write(path, {**head, "scenario": {**head["scenario"], "begin_s": "7:00"}}, sections)
    with pytest.raises(InputError, match=r"its head is none of a recorded run: scenario\.begin_s is '7:00'"):
        run(words[0], path, *words[1:])
    assert list(tmp_path.iterdir()) == [path]

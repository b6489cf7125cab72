"""What is said of a replay that is no good, or that tells of another run than it proves."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from playback import container
from playback.codec import encode_tracks
from playback.replay_file import Replay
from playback.rerun import verify
from plumbing.errors import InputError
from tests.recordings import COLOGNE1, run

ROOT = Path(__file__).resolve().parents[1]


def tampered(original: Replay, to: Path, decisions: dict[str, Any] | None = None, **head: Any) -> Path:
    """A replay with other content and a digest that fits."""
    from playback.codec import encode_arrays

    _, sections = container.read(original.path)
    if decisions is not None:
        sections = {**sections, "decisions": encode_arrays(decisions)}
    content = {name: value for name, value in original.head.items() if name != "sections"}
    container.write(to, {**content, **head}, sections)
    return to


@pytest.mark.wide
def test_a_run_that_goes_another_way_is_told(
    pressed: Replay, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    decisions = {name: array.copy() for name, array in pressed.decisions.items()}
    decisions["wanted"][30:] = 0
    path = tampered(pressed, tmp_path / "other.replay", decisions)
    assert run("verify", path) == 1
    said = capsys.readouterr().out
    assert "deviates in vehicles, signals, trips from 253" in said
    verdict = verify(Replay.read(path))
    assert verdict.first_difference_s is not None
    assert 25350 <= verdict.first_difference_s < 25400
    assert verdict.max_position_m > 5
    assert verdict.delay_s != verdict.recorded_delay_s == pressed.delay_s


@pytest.mark.wide
def test_a_file_that_shows_another_run_than_it_proves_is_told(
    pressed: Replay, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its decisions and digests are right, and so is the digest of the file."""
    head, sections = container.read(pressed.path)
    ahead = dataclasses.replace(pressed.vehicle_tracks, x_dm=pressed.vehicle_tracks.x_dm + 1)
    curves = {**pressed.content("curves"), "queue_veh": [0] * pressed.head["steps"]}
    path = tmp_path / "painted.replay"
    for name, changed in (("vehicle_tracks", encode_tracks(ahead)), ("curves", json.dumps(curves).encode())):
        container.write(path, head, {**sections, name: changed})
        assert run("verify", path) == 1
        assert f"shows it otherwise in {name}: it was changed" in capsys.readouterr().out
    better = {**pressed.head["result"], "delay_s": 1.0}
    assert verify(Replay.read(tampered(pressed, path, result=better))).shown_otherwise == ("result",)


@pytest.mark.wide
@pytest.mark.parametrize("left_out", [{"trips"}, {"vehicles", "persons", "signals", "trips"}])
def test_a_file_that_proves_nothing_is_not_identical(pressed: Replay, tmp_path: Path, left_out: set[str]) -> None:
    digests = {name: digest for name, digest in pressed.digests.items() if name not in left_out}
    verdict = verify(Replay.read(tampered(pressed, tmp_path / "bare.replay", sha256=digests)))
    assert not verdict.identical
    assert set(verdict.differing) == left_out


def test_another_sumo_is_named(pressed: Replay, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    versions = {**pressed.head["versions"], "libsumo": "1.27.0"}
    digests = {**pressed.digests, "vehicles": "0" * 64}  # as if one digit had changed
    path = tampered(pressed, tmp_path / "older.replay", versions=versions, sha256=digests)
    assert run("verify", path) == 1
    said = capsys.readouterr().out
    assert said.startswith("note: recorded with SUMO 1.27.0, run with 1.")
    assert "deviates in vehicles: positions by up to 0.0 m, 0 in one run alone" in said


def refused(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        Replay.read(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_one_flipped_byte_anywhere_is_noticed(pressed: Replay, tmp_path: Path) -> None:
    data, path = pressed.path.read_bytes(), tmp_path / "flipped.replay"
    size = int.from_bytes(data[10:14], "little")
    places, at = {"head": 14, "length": 10, "digest": len(data) - 1}, 14 + size
    for name, length in pressed.head["sections"]:
        places[name] = at + length // 2
        at += length
    assert at == len(data) - 32
    assert len(places) == 11
    for name, place in places.items():
        path.write_bytes(data[:place] + bytes([data[place] ^ 0x10]) + data[place + 1 :])
        assert (
            refused(path) == f"replay {path} is damaged or cut off: its digest does not fit; record or copy it anew"
        ), name


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
def test_a_truncated_file_is_refused(pressed: Replay, tmp_path: Path, share: float) -> None:
    data, path = pressed.path.read_bytes(), tmp_path / "short.replay"
    path.write_bytes(data[: int(len(data) * share)])
    assert "is damaged or cut off" in refused(path) if share else "is no replay" in refused(path)


def test_newer_versions_other_files_and_none_are_refused(pressed: Replay, tmp_path: Path) -> None:
    data, path = pressed.path.read_bytes(), tmp_path / "file.replay"
    path.write_bytes(data[:8] + (container.VERSION + 1).to_bytes(2, "little") + data[10:])
    assert "has format 2, newer than this version reads (1); update intergreen" in refused(path)
    path.write_text("<tripinfos/>")
    assert "is no replay; give a file that replay.py record wrote" in refused(path)
    path.unlink()
    assert "does not exist; record one" in refused(path)


def test_a_section_that_somebody_else_wrote_is_told(pressed: Replay, tmp_path: Path) -> None:
    head, sections = container.read(pressed.path)
    container.write(tmp_path / "other.replay", head, {**sections, "vehicle_tracks": b"\x80", "curves": b"{"})
    with pytest.raises(InputError, match="its curves cannot be read"):
        Replay.read(tmp_path / "other.replay")
    container.write(tmp_path / "other.replay", head, {**sections, "vehicle_tracks": b"\x80"})
    with pytest.raises(InputError, match=r"its vehicle_tracks cannot be read \(the last number is cut off\)"):
        Replay.read(tmp_path / "other.replay")


def test_another_network_is_refused(pressed: Replay, tmp_path: Path) -> None:
    hashes = {**pressed.head["scenario"]["files_sha256"], "cologne1.net.xml": "0" * 64}
    scenario = {**pressed.head["scenario"], "files_sha256": hashes}
    path = tampered(pressed, tmp_path / "moved.replay", scenario=scenario)
    with pytest.raises(InputError, match=r"cologne1.net.xml is not the file that .* was recorded with; give"):
        run("verify", path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("record", *COLOGNE1, "--controller", "greddy", "--out", "x"),
            "unknown controller 'greddy'.*Did you mean 'greedy'",
        ),
        (("record", *COLOGNE1, "--controller", "greedy", "--out", "."), "is a folder; give a file"),
        (("record", *COLOGNE1, "--controller", "greedy", "--out", "x", "--seed", "-1"), "--seed is -1"),
        (("verify", "none.replay"), "none.replay does not exist"),
        (("counterfactual", "{mp}", "--controller", "actuated", "--from", "25300"), "cannot take over in mid-run"),
        (("counterfactual", "{mp}", "--controller", "greedy", "--from", "9"), "give 25200 to 25500 s"),
        (("verify", "{mp}", "--routes", "x"), "add --scenario"),
        (("view", "{mp}", "{mp}", "{mp}", "--out", "x"), "one replay or two, not 3"),
    ],
)
def test_bad_input_is_told_in_one_line(
    pressed: Replay, arguments: Sequence[str], message: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=message):
        run(*(a.format(mp=pressed.path) for a in arguments))
    assert not list(tmp_path.iterdir())


def test_the_command_leaves_with_two_and_writes_nothing(pressed: Replay, tmp_path: Path) -> None:
    bad = tmp_path / "bad.replay"
    bad.write_bytes(pressed.path.read_bytes()[:-1])
    done = subprocess.run(
        [sys.executable, "replay.py", "verify", str(bad)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: replay ")
    assert done.stderr.count("\n") == 1
    assert not done.stdout

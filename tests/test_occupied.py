"""One command at a time in an output folder, and no lock that outlives who held it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import evaluate
import export
import replay
import train
from deployment.emulator import __main__ as emulator
from evaluation import tune
from plumbing.errors import InputError
from plumbing.occupied import occupied, occupied_file

ROOT = Path(__file__).resolve().parents[1]
HOLD = """
import sys, time
from pathlib import Path
from plumbing.occupied import occupied, occupied_file
with occupied(Path(sys.argv[1])), occupied_file(Path(sys.argv[1]).with_name("mine.replay")):
    print("held", flush=True)
    time.sleep(600)
"""
SINGLE = ["--scenario", "single", "--begin", "0", "--end", "60"]
COMMANDS = {
    "evaluate": (evaluate.main, [*SINGLE, "--controllers", "greedy", "--seeds", "1"]),
    "tune": (tune.main, [*SINGLE, "--controllers", "greedy", "--runs", "12"]),
    "train": (train.main, [*SINGLE, "--steps", "50", "--overwrite"]),
    "export": (export.main, ["bundle", "runs/none", "--overwrite"]),
    "export a plan": (export.main, ["plan", "greedy", "--scenario", "single"]),
    "emulator": (emulator.main, ["--scenario", "single", "--port", "0", "--log-port", "0", "--end", "60"]),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("occupied") / "out"


@pytest.fixture(scope="module")
def holder(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that has the folder."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


@pytest.mark.parametrize("name", COMMANDS)
def test_who_comes_second_is_told_who_was_first(name: str, folder: Path, holder: subprocess.Popen[str]) -> None:
    main, words = COMMANDS[name]
    who = f"process {holder.pid}" if Path("/proc/locks").is_file() else "another process"
    with pytest.raises(InputError) as refusal:
        main([*words, "--out", str(folder)])
    assert str(refusal.value) == f"--out {folder} is in use by {who}; wait for its end or choose another"
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("words", [["record", *SINGLE, "--controller", "greedy"], ["view", "any.replay"]])
def test_a_file_is_kept_from_others_and_its_folder_is_not(
    words: list[str], folder: Path, holder: subprocess.Popen[str], tmp_path: Path
) -> None:
    mine, other = folder.with_name("mine.replay"), folder.with_name("other.replay")
    with pytest.raises(InputError, match=f"--out {mine} is in use by .*; wait for its end or choose another"):
        replay.main([*words, "--out", str(mine)])
    with occupied_file(other), pytest.raises(InputError, match="in use"):
        replay.main([*words, "--out", str(other)])
    if words[0] == "record":
        assert replay.main([*words, "--out", str(other)]) == 0
        other.unlink()
    assert [path.name for path in folder.parent.iterdir() if path.suffix == ".replay"] == []
    assert len(list(folder.parent.glob(".intergreen-*"))) == 1, "the other process's alone"


def test_the_command_ends_with_two_and_one_line(folder: Path, holder: subprocess.Popen[str]) -> None:
    words = [sys.executable, "evaluate.py", *COMMANDS["evaluate"][1], "--out", str(folder)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: --out {folder} is in use by ")
    assert done.stderr.count("\n") == 1


@pytest.mark.wide
def test_a_killed_command_leaves_the_folder_free(folder: Path, holder: subprocess.Popen[str]) -> None:
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    with occupied(folder), occupied_file(folder.with_name("mine.replay")):
        assert list(folder.iterdir()) == []
    assert list(folder.parent.iterdir()) == [folder]
    assert evaluate.main([*COMMANDS["evaluate"][1], "--out", str(folder)]) == 0
    assert (folder / "report.html").is_file()


def test_a_folder_that_stayed_empty_goes_again(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    for name, stays in (("old", True), ("new", False)):
        with pytest.raises(RuntimeError), occupied(tmp_path / name):
            raise RuntimeError
        assert (tmp_path / name).exists() == stays
    with pytest.raises(RuntimeError), occupied_file(tmp_path / "made" / "for" / "file"):
        raise RuntimeError
    assert not (tmp_path / "made").exists()
    with occupied(tmp_path / "used"):
        (tmp_path / "used" / "file").touch()
    assert (tmp_path / "used" / "file").exists()


def test_a_folder_removed_in_between_is_locked_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who was first has removed its empty folder between our opening it and our locking it."""
    folder, removed = tmp_path / "out", []

    def remove_once(file: str | Path, flags: int, opening: object = os.open) -> int:
        descriptor: int = opening(file, flags)  # type: ignore[operator]
        if not removed:
            removed.append(file)
            os.rmdir(file)
        return descriptor

    monkeypatch.setattr("plumbing.occupied.os.open", remove_once)
    with occupied(folder):
        assert removed == [folder]
        with pytest.raises(InputError, match="in use"), occupied(folder):
            raise AssertionError("two at a time")

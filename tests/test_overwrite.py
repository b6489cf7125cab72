"""`train.py --overwrite`: the older run stays until the new one has a checkpoint, whatever happens."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import evaluate
import train
from agents.run import CHECKPOINT, POLICY, read_settings
from plumbing.errors import InputError
from plumbing.occupied import occupied
from signals.timing import Timing
from tests.policy_runs import write_run

ROOT = Path(__file__).resolve().parents[1]
WORDS = [
    "--scenario",
    "single",
    "--begin",
    "0",
    "--end",
    "120",
    "--seed",
    "7",
    "--overwrite",
    "--validate-every",
    "0",
]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """An older run, and in its folder something that is no part of it."""
    folder = write_run(tmp_path / "runs" / "one", agent="ppo")
    (folder / "progress.csv").write_text("of the older run\n")
    (folder / "notes").mkdir()
    (folder / "notes" / "thesis").write_text("mine")
    return folder


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.wide
def test_a_kill_before_the_first_checkpoint_leaves_the_older_run(run: Path) -> None:
    before = files(run)
    command = [sys.executable, "train.py", *WORDS, "--steps", "100000", "--out", str(run)]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "steps (" in line:  # it has learned for some episodes
                break
        os.kill(process.pid, signal.SIGKILL)
    assert files(run) == before
    assert train.main([*WORDS, "--steps", "50", "--out", str(run)]) == 0
    assert (run / CHECKPOINT).is_file()
    assert read_settings(run)["agent"] == "dqn"
    assert files(run)["notes/thesis"] == b"mine"
    assert files(run)["progress.csv"] != before["progress.csv"]
    assert list(run.parent.iterdir()) == [run], "something was not swept"


def test_the_new_run_has_the_place_and_keeps_others_away(run: Path) -> None:
    with occupied(run), train.replacing(run) as (place, arrive):
        (place / POLICY).write_bytes(b"new")
        assert (run / POLICY).read_bytes() != b"new"
        assert arrive() == run
        assert (run / POLICY).read_bytes() == b"new"
        with pytest.raises(InputError, match=f"--out {run} is in use"), occupied(run):
            raise AssertionError("two at a time")
    with occupied(run):
        assert files(run)["notes/thesis"] == b"mine"


@pytest.mark.parametrize("read", [read_settings, lambda path: evaluate._contestant(str(path), Timing(), False)])
def test_who_reads_what_a_killed_exchange_has_moved_aside_finds_it(run: Path, read: Callable[[Path], object]) -> None:
    aside = run.parent / ".intergreen-draft-abcdefgh.held" / "old"
    aside.mkdir(parents=True)
    before = files(run)
    run.rename(aside / run.name)
    read(run)
    assert files(run) == before
    assert list(run.parent.iterdir()) == [run]


def test_a_mount_point_is_refused_before_anything_starts(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "is_mount", lambda path: path == run)
    with pytest.raises(InputError, match="is a mount point, which cannot be exchanged; give a folder in it"):
        train.main([*WORDS, "--steps", "50", "--out", str(run)])

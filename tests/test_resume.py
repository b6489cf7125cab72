"""A sweep that was killed goes on where it stopped, and ends as one that ran through."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import evaluate
from controllers.registry import make
from evaluation import simulations
from evaluation.runs import Contestant, Evaluation, finished_runs, run_all
from plumbing.errors import InputError
from scenarios.loading import load

ROOT = Path(__file__).resolve().parents[1]
WORDS = ["--scenario", "cologne1", "--end", "25320", "--controllers", "greedy", "random"]
WORDS += ["--seeds", "3", "--workers", "1", "--out", "out"]
RUNS = 2 * 3


def start(folder: Path, temporary: Path) -> subprocess.Popen[str]:
    """The command, where it can be killed."""
    folder.mkdir()
    temporary.mkdir()
    return subprocess.Popen(
        [sys.executable, str(ROOT / "evaluate.py"), *WORDS], env={**os.environ, "TMPDIR": str(temporary)},
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.wide
def test_a_killed_sweep_goes_on_and_ends_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def to_the_end(folder: Path) -> tuple[str, str]:
        monkeypatch.chdir(folder)
        assert evaluate.main(WORDS) == 0
        return capfd.readouterr()

    (tmp_path / "through").mkdir()
    table, _ = to_the_end(tmp_path / "through")

    temporary = tmp_path / "temporary"
    killed = start(tmp_path / "killed", temporary)
    runs = tmp_path / "killed" / "out" / "runs"
    deadline = time.monotonic() + 60
    while len(finished := list(runs.glob("*/seed-*/run.json"))) < RUNS // 2:
        assert killed.poll() is None, killed.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate()
    assert len(finished) < RUNS
    assert not (tmp_path / "killed" / "out" / "results.csv").exists()
    assert list(temporary.iterdir()), "nobody could have removed it"
    another = [sys.executable, "-m", "scenarios", "--json"]
    subprocess.run(another, cwd=ROOT, env={**os.environ, "TMPDIR": str(temporary)}, capture_output=True, check=True)
    assert list(temporary.iterdir()) == []
    written = {path: path.stat().st_mtime_ns for path in runs.glob("*/seed-*/run.json")}

    table_again, said = to_the_end(tmp_path / "killed")
    assert f"note: {len(written)} of {RUNS} runs were finished before" in said
    assert {path: path.stat().st_mtime_ns for path in written} == written  # not run a second time
    assert table_again == table
    assert files(tmp_path / "killed") == files(tmp_path / "through")


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Evaluation:
    contestant = Contestant("greedy", lambda: make("greedy"), identity="one")
    scenario = load("cologne1", end_s=25260)
    done = Evaluation(scenario, [contestant], [5], store=tmp_path_factory.mktemp("once") / "runs", details=True)
    run_all(done)
    return done


@pytest.fixture
def evaluation(once: Evaluation, tmp_path: Path) -> Evaluation:
    """It has been made, and what it left may be damaged."""
    assert once.store is not None
    shutil.copytree(once.store, tmp_path / "runs")
    return changed(once, store=tmp_path / "runs")


def changed(of: Evaluation, **values: object) -> Evaluation:
    return dataclasses.replace(of, **values)  # type: ignore[arg-type]


def test_a_finished_run_of_anything_else_is_not_taken(evaluation: Evaluation) -> None:
    assert set(finished_runs(evaluation).runs) == {("greedy", 5)}
    other_weights = Contestant("greedy", lambda: make("greedy"), identity="two")
    for other in (
        changed(evaluation, contestants=[other_weights]),
        changed(evaluation, scenario=load("cologne1", end_s=25261)),
        changed(evaluation, scenario=load("cologne1", end_s=25260, demand="held-out:1")),
        changed(evaluation, emissions=True),
        changed(evaluation, versions={"libsumo": "9"}),
    ):
        found = finished_runs(other)
        assert (dict(found.runs), found.stale) == ({}, 1)


@pytest.mark.wide
def test_kept_outputs_are_those_of_the_run_that_is_taken(evaluation: Evaluation, tmp_path: Path) -> None:
    """Outputs that another window has left do not pass for this one's."""
    keep = tmp_path / "sumo"
    first = changed(evaluation, keep=keep, scenario=load("cologne1", end_s=25230))
    run_all(first)
    assert set(finished_runs(first).runs) == {("greedy", 5)}
    run_all(evaluation)  # of the longer window again, and nothing kept
    asked = changed(evaluation, keep=keep)
    found = finished_runs(asked)
    assert (dict(found.runs), found.stale) == ({}, 0)
    run_all(asked, finished=found)
    assert 'time="25259.00"' in (keep / "greedy" / "seed-5" / "tls_states.xml").read_text()
    assert set(finished_runs(asked).runs) == {("greedy", 5)}


@pytest.mark.wide
def test_kept_outputs_are_all_of_one_run_or_stay(
    evaluation: Evaluation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that breaks off between two outputs leaves those of the run before."""
    keep = tmp_path / "sumo"
    first = changed(evaluation, keep=keep, scenario=load("cologne1", end_s=25230))
    run_all(first)
    before, copy = files(keep), simulations._copy

    def breaks_off(source: Path, target: Path) -> None:
        if source.name == "statistics.xml":
            raise InputError("the disk is full")
        copy(source, target)

    monkeypatch.setattr(simulations, "_copy", breaks_off)
    with pytest.raises(InputError, match="the disk is full"):
        run_all(changed(evaluation, keep=keep))
    assert files(keep) == before


@pytest.mark.wide
@pytest.mark.parametrize("damage", ["vehicles.parquet", "run.json"])
def test_a_damaged_run_is_run_anew(evaluation: Evaluation, damage: str) -> None:
    assert evaluation.store is not None
    path = evaluation.store / "greedy" / "seed-5" / damage
    content = path.read_bytes()
    path.write_bytes(content[:-20] + bytes(20))
    found = finished_runs(evaluation)
    assert (dict(found.runs), found.stale) == ({}, 1)
    run_all(evaluation, finished=found)
    assert path.read_bytes() == content
    assert finished_runs(evaluation).stale == 0


def _rewritten(folder: Path, frame: pl.DataFrame | None, content: dict[str, Any]) -> None:
    """Give run.json that content, and a table's hash where there is another table."""
    if frame is not None:
        frame.write_parquet(folder / "vehicles.parquet")
    table = folder / "vehicles.parquet"
    if table.is_file() and "vehicles.parquet" in content["files"]:
        content["files"]["vehicles.parquet"] = hashlib.sha256(table.read_bytes()).hexdigest()
    (folder / "run.json").write_text(json.dumps(content))


def test_a_run_that_somebody_else_wrote_has_the_shape_of_ours(evaluation: Evaluation) -> None:
    assert evaluation.store is not None
    folder = evaluation.store / "greedy" / "seed-5"
    content = json.loads((folder / "run.json").read_text())
    frame = pl.read_parquet(folder / "vehicles.parquet")

    def taken() -> bool:
        return bool(finished_runs(evaluation).runs)

    for name, value in (("delay_s", "<script>"), ("vehicles", [1, 2]), ("vehicles", -1), ("arrived_veh", None)):
        _rewritten(folder, None, {**content, "metrics": {**content["metrics"], name: value}})
        assert not taken(), (name, value)
    nothing = hashlib.sha256(b"").hexdigest()
    for files in ({"/dev/null": nothing}, {"../../x.parquet": "0"}, {}):
        _rewritten(folder, None, {**content, "files": files})
        assert not taken(), files
    nulls = frame.with_columns(pl.lit(None, pl.Float64).alias("delay_s"))
    for other in (frame.drop("delay_s"), frame.with_columns(pl.col("delay_s").cast(pl.String)), nulls):
        _rewritten(folder, other, content)
        assert not taken(), other.schema
    (folder / "vehicles.parquet").write_bytes(b"PAR1 is all that it has of one PAR1")
    _rewritten(folder, None, content)
    assert not taken()
    _rewritten(folder, frame, content)
    assert taken()
    (folder / "vehicles.parquet").rename(folder / "elsewhere.parquet")
    (folder / "vehicles.parquet").symlink_to(folder / "elsewhere.parquet")
    assert not taken()
    (folder / "run.json").unlink()
    os.mkfifo(folder / "run.json")
    assert not taken()


def test_half_a_write_is_cleared_away(evaluation: Evaluation) -> None:
    assert evaluation.store is not None
    half = evaluation.store / "greedy" / ".intergreen-draft-abcdefgh.held"
    (half / "new" / "seed-6").mkdir(parents=True)
    (half / "new" / "seed-6" / "run.json").write_text(json.dumps({"format": 1}))
    assert set(finished_runs(evaluation).runs) == {("greedy", 5)}
    assert not half.exists()

"""What is written whole stays whole: killed at any step, on a full disk, with others at work in the same folder."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from plumbing.errors import InputError, system_error
from plumbing.held import HeldFolder, scratch, sweep
from plumbing.whole import Draft, check_replaceable, write_whole

ROOT = Path(__file__).resolve().parents[1]
MEMORY = Path("/dev/shm")
HOLD = """
import sys, time
from pathlib import Path
from plumbing.held import scratch
from plumbing.whole import Draft
places = [scratch("test"), Draft(Path(sys.argv[1]) / "f")]
places[1].path.write_text("half")
print("held", flush=True)
time.sleep(600)
"""


@pytest.fixture(scope="module")
def outcomes() -> Any:
    """Of writes that were killed at each of their steps."""
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:  # hundreds of writes
        command = [sys.executable, "-m", "tests.kills", folder]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("kind", ["file", "bundle", "run"])
@pytest.mark.parametrize("exchange", [True, False])
def test_a_kill_at_any_step_leaves_the_old_or_the_new(outcomes: Any, kind: str, exchange: bool) -> None:
    """At once where the system exchanges folders; else after the next command has looked."""
    found = outcomes[f"{kind}-{exchange}"]
    assert {of["after"] if isinstance(of["after"], str) else "torn" for of in found} == {"old", "new"}
    assert [of["left"] for of in found if of["left"]] == [], "something was not swept"
    if exchange:
        assert [of for of in found if of["at_once"] not in ("old", "new")] == []


@contextlib.contextmanager
def another(folder: Path, temporary: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that writes there, and has a scratch folder."""
    command = [sys.executable, "-c", HOLD, str(folder)]
    with subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, "TMPDIR": str(temporary)}, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


@pytest.mark.wide
def test_the_next_command_sweeps_what_is_dead_and_nothing_else(tmp_path: Path) -> None:
    out, temporary = tmp_path / "out", tmp_path / "tmp"
    out.mkdir()
    temporary.mkdir()
    for name in (".intergreen-settings.held", ".intergreen-mine-abcdefgh", "intergreen-draft-abcdefgh.held"):
        (temporary / name).mkdir()  # not ours
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "thesis").write_text("mine")
    (temporary / ".intergreen-draft-abcdefgh.held").symlink_to(elsewhere)
    (temporary / ".intergreen-draft-hgfedcba.held").write_text("a file")
    before = set(temporary.iterdir())
    with another(out, temporary) as process:
        held = [*(set(temporary.iterdir()) - before), *out.iterdir()]
        assert len(held) == 2
        sweep(temporary)
        sweep(out)
        assert all(path.is_dir() for path in held), "a live process's folder was swept"
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert all(path.is_dir() for path in held)
        environment = {**os.environ, "TMPDIR": str(temporary)}
        done = subprocess.run([sys.executable, "-m", "scenarios", "--json"], cwd=ROOT, env=environment, check=False)
        assert done.returncode == 0
        write_whole(out / "g", lambda path: path.write_text("whole"))
    assert set(temporary.iterdir()) == before
    assert [path.name for path in out.iterdir()] == ["g"]
    assert (elsewhere / "thesis").read_text() == "mine"


def test_leftovers_that_somebody_else_made_up_move_nothing(tmp_path: Path) -> None:
    """As a stranger's archive may hold them: links to folders of the user's, and files with the names of others."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "thesis").write_text("mine")
    work = tmp_path / "work"
    for number, letter in enumerate("abcd"):
        (work / f".intergreen-draft-{letter * 8}.held").mkdir(parents=number == 0)
    (work / ".intergreen-draft-aaaaaaaa.held" / "old").symlink_to("../../docs")
    (work / "mine.replay").write_text("mine")
    for letter in "bcd":
        (work / f".intergreen-draft-{letter * 8}.held" / "old").mkdir()
    (work / ".intergreen-draft-bbbbbbbb.held" / "old" / "mine.replay").write_text("evil")
    (work / ".intergreen-draft-cccccccc.held" / "old" / "docs").symlink_to(tmp_path / "docs")
    (work / ".intergreen-draft-dddddddd.held" / "old" / "mine.replay").mkdir()
    sweep(work)
    assert [path.name for path in work.iterdir()] == ["mine.replay"]
    assert (work / "mine.replay").read_text() == "mine"
    assert (tmp_path / "docs" / "thesis").read_text() == "mine"


def test_another_users_leftovers_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = tmp_path / ".intergreen-draft-abcdefgh.held"
    theirs.mkdir()
    monkeypatch.setattr("os.geteuid", lambda: theirs.stat().st_uid + 1)
    sweep(tmp_path)
    assert theirs.is_dir()


def test_a_held_folder_is_private_and_goes_with_its_fork_or_without() -> None:
    with scratch("test") as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
        if (child := os.fork()) == 0:
            sweep(folder.parent)  # nor does a fork take it for dead
            os._exit(0)
        os.waitpid(child, 0)
        assert folder.is_dir()
    assert not folder.exists()


def test_what_is_written_has_the_usual_mode(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    (tmp_path / "folder").mkdir()
    write_whole(tmp_path / "file", lambda path: path.write_text(""))
    with Draft(tmp_path / "made") as draft:
        draft.path.mkdir()
        draft.take_place()
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "plain").stat().st_mode
    assert (tmp_path / "made").stat().st_mode == (tmp_path / "folder").stat().st_mode


def test_file_and_folder_are_on_the_disk_before_and_after_the_move(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    sync, move = os.fsync, os.replace

    def synced(descriptor: int) -> None:
        said.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)
        sync(descriptor)

    def moved(one: Path, other: Path) -> None:
        said.append("moved")
        move(one, other)

    monkeypatch.setattr("os.fsync", synced)
    monkeypatch.setattr("os.replace", moved)
    write_whole(tmp_path / "f", lambda path: path.write_text("whole"))
    assert said == ["f", "moved", tmp_path.name]


def test_a_name_as_long_as_the_system_allows_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 255)
    write_whole(path, lambda partial: partial.write_text("whole"))
    assert [found.name for found in tmp_path.iterdir()] == [path.name]


def test_a_new_folder_keeps_what_is_not_replaced(tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / "notes").mkdir(parents=True)
    (out / "notes" / "thesis").write_text("mine")
    (out / "link").symlink_to("nowhere")
    (out / "policy").write_text("old")
    (tmp_path / "name").symlink_to(out)
    with Draft(tmp_path / "name") as draft:  # a link to it stays one
        draft.path.mkdir()
        (draft.path / "policy").write_text("new")
        draft.keep_all_but(("policy",))
        draft.take_place()
    assert (tmp_path / "name").is_symlink()
    assert (out / "policy").read_text() == "new"
    assert (out / "notes" / "thesis").read_text() == "mine"
    assert (out / "link").is_symlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["name", "out"]


def test_where_nothing_can_be_made_one_line_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for act in (
        lambda: write_whole(tmp_path / "file" / "below", lambda path: path.touch()),
        lambda: write_whole(tmp_path, lambda path: path.touch()),
    ):
        with pytest.raises(InputError, match=r"^cannot write .*; make room or choose another place$"):
            act()
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.fixture
def no_room() -> Iterator[None]:
    """No file may grow beyond 4 KiB, which stands for a full disk: what is written more is refused."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.usefixtures("no_room")
def test_a_full_disk_is_told_as_such_whatever_library_meets_it(tmp_path: Path) -> None:
    """Polars reports what the system refused as an error of its own."""
    with (
        pytest.raises(InputError, match="out: File too large; make room") as caught,
        Draft(tmp_path / "out") as draft,
    ):
        pl.DataFrame({"a": range(100_000)}).write_parquet(draft.path)
    assert not isinstance(caught.value.__cause__, OSError), "else this shows nothing"
    assert system_error(ValueError("a text (os error x)")) is None
    assert system_error(InputError("cannot read (os error 2)")) is None, "it has been explained"


def test_a_folder_with_more_than_an_earlier_result_is_not_replaced(tmp_path: Path) -> None:
    def check(*names: str) -> None:
        out = tmp_path / "-".join(("out", *names))
        out.mkdir()
        for name in names:
            (out / name).touch()
        check_replaceable(out, "a model", "model.json", ("part-*",))

    check_replaceable(tmp_path / "none", "a model", "model.json", ())
    check()
    check("model.json", "part-1", ".intergreen-draft-abcd1234.held")
    with pytest.raises(InputError, match="something else than a model, 'part-1'"):
        check("part-1")
    with pytest.raises(InputError, match="something else than a model, 'a b'"):
        check("a b", "model.json", "part-1")


def test_a_folder_that_is_swept_while_it_is_made_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, removed = os.open, []

    def remove_first(file: str | Path, flags: int) -> int:
        descriptor = made(file, flags)
        if not removed and Path(file).suffix == ".held":
            removed.append(file)
            os.rmdir(file)
        return descriptor

    monkeypatch.setattr("os.open", remove_first)
    with HeldFolder(tmp_path, "test") as folder:
        assert removed
        assert folder != removed[0]
        assert folder.is_dir()

"""Control leaves a record: one that replays from any part, one whose damage is found, and no control without it."""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import control
from deployment.emulator.process import EmulatorProcess
from deployment.field.eventlog import EventLog, LogReader, line, read_log
from deployment.field.guard import Mode
from deployment.field.pilot import Pilot
from deployment.field.rerun import replay
from deployment.field.state import restore, state_of
from plumbing.errors import InputError
from tests.field import QUICK, V3, Demand, Feed, Run, beat, drive, make_pilot, start, values
from tests.policy_runs import exported_bundle


@pytest.fixture(scope="module")
def emulator() -> Iterator[EmulatorProcess]:
    with EmulatorProcess("single") as emulator:
        emulator.advance(30.0)
        yield emulator


def free(emulator: EmulatorProcess) -> bool:
    return not any(emulator.status()["commands"].values())


# --- what a part begins with


def busy_pilot(seconds: int) -> Iterator[Pilot]:
    """A pilot, second by second, that sees all kinds of things: traffic, faults, phases, a restart, control's end."""
    draw = random.Random(1)
    pilot = make_pilot(QUICK)
    feed, green, nexts, yellow = Feed(pilot), 0b10001000, 0, 0
    for second in range(seconds):
        if second % 12 == 8:  # three seconds of yellow
            green, yellow, nexts = 0, green, draw.choice((0b00100010, 0b01000100, 0b00010001))
        elif second % 12 == 11:
            green, yellow, nexts = nexts or 0b10001000, 0, 0
        for n in range(5):
            seen = values(
                greens__1=green, yellows__1=yellow, reds__1=0xFF & ~(green | yellow), ons__1=green | yellow,
                nexts__1=nexts, detectors__1=second * 37 % 256, detectors__2=second * 59 % 256, detectors__3=n % 2,
                alarms__3=int(second > 60) * 2, ped_calls__1=draw.randrange(4), up_time__0=second % 90 + 1,
            )  # fmt: skip
            feed.poll(seen)
        if second % 3 == 0:
            yield pilot  # with all that a poll leaves for the next decision
        beat(pilot, feed)
        if pilot.guard.wants_verification:
            pilot.guard.verified()
        yield pilot


def attributes(value: Any, where: str = "pilot") -> Iterator[tuple[str, Any]]:
    """Everything that an object holds, deeply, in a form that can be compared."""
    if isinstance(value, np.ndarray):
        yield where, (str(value.dtype), value.shape, value.tobytes())
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from attributes(item, f"{where}[{key!r}]")
    elif isinstance(value, (list, tuple, deque)):
        yield f"len({where})", (type(value), len(value), getattr(value, "maxlen", None))
        for n, item in enumerate(value):
            yield from attributes(item, f"{where}[{n}]")
    elif hasattr(value, "__dict__") and type(value).__module__.split(".")[0] in ("deployment", "signals"):
        for name, item in vars(value).items():
            # the last mask, and the row of an observation, are computed anew each time
            if (type(value).__name__, name) not in (("SignalMachine", "_known"), ("InputTable", "_observe")):
                yield from attributes(item, f"{where}.{name}")
    elif not callable(value):
        yield where, repr(value)


@pytest.mark.wide
def test_the_state_is_all_that_a_pilot_knows() -> None:
    """Whatever differs between two pilots of one bundle is in the state: each attribute of each object, deeply."""
    begun = make_pilot(QUICK, Mode.SHADOW)
    begun.estimator.begin(0.0)
    nothing = state_of(begun)
    alike = {(name, attribute) for name, held in nothing.items() for attribute in held}
    for n, pilot in enumerate(busy_pilot(100)):
        known = json.loads(line(state_of(pilot)))
        alike -= {
            (name, attribute) for name, attribute in alike if known[name][attribute] != nothing[name][attribute]
        }
        if n % 10 == 0:
            other = make_pilot(QUICK, Mode.SHADOW)
            restore(other, known)
            restored, original = dict(attributes(other)), dict(attributes(pilot))
            assert [name for name in original if restored.get(name) != original[name]] == []
            assert restored.keys() == original.keys()
            inputs = [each.inputs.read(each.estimator.snapshot) for each in (pilot, other)]
            assert (inputs[0] == inputs[1]).all()
    # and nothing was the same only because it never changed
    no_shared_lane = {("snapshot", "share")}
    of_vehicles = {("snapshot", name) for name in ("lanes", "lead", "expected_vph")}
    no_shared_lane |= {(f"reader {n}", name) for n in range(5) for name in ("_known_veh", "_stood")}
    no_broken_loop = {(f"queues {n}", name) for n in range(5) for name in ("_stuck_s", "_doubted")}
    assert alike == {("estimator", "_begun"), ("guard", "_retired"), *of_vehicles, *no_shared_lane, *no_broken_loop}
    pilot.guard.retire(1e6, "the bundle expired")
    restore(other, json.loads(line(state_of(pilot))))
    assert other.guard._may_enter(2e6) is pilot.guard._may_enter(2e6) is False


@pytest.mark.parametrize("spoil", ["nothing there", "too few lanes", "a word"])
def test_what_is_no_state_is_refused_in_one_line(spoil: str) -> None:
    *_, pilot = busy_pilot(3)
    known = json.loads(line(state_of(pilot)))
    changes: dict[str, Callable[[], object]] = {
        "nothing there": lambda: known.pop("guard"),
        "too few lanes": lambda: known["detectors"]["counts"].pop(),
        "a word": lambda: known["machine"].update(phase="first"),
    }
    changes[spoil]()
    began = {"k": "start", "part": 2, "fast": [], "slow": [], "values": {}, "state": known}
    with pytest.raises(InputError, match="record 1 of the log cannot be replayed; no run writes start") as caught:
        replay([began], make_pilot(QUICK), Demand(pilot.inputs))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "record",
    [
        {"k": "poll"},
        {"k": "poll", "t": 1.0, "v": [1]},
        {"k": "poll", "t": 1.0, "v": {}},
        {"k": "poll", "t": 1.0, "v": {"greens.1": "all"}},
        {"k": "poll", "t": 1.0, "v": {"greens.1": 0, "detectors.x": 1}},
        {"k": "beat", "t": "soon", "n": 1},
        {"k": "answer", "elapsed_s": 0.1},
        {"k": "decision"},
        {"k": "written"},
        {"k": "begin"},
    ],
    ids=str,
)
def test_a_record_that_no_run_writes_is_refused_in_one_line(record: dict[str, Any]) -> None:
    began = {"k": "start", "part": 1, "fast": ["greens.1", *record.get("v", ())], "slow": []}
    pilot = make_pilot(QUICK)
    with pytest.raises(InputError, match="record 2 of the log") as caught:
        replay([began, record], pilot, Demand(pilot.inputs))
    assert "\n" not in str(caught.value)


# --- ten parts of a run that controls


@pytest.fixture(scope="module")
def rotated(emulator: EmulatorProcess, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Control, and a preemption on the way, with a log of more than ten parts."""
    log = tmp_path_factory.mktemp("rotated") / "run.jsonl"
    at: dict[float, Callable[[], object]] = {
        8.0: lambda: emulator.input(preempt=1, on=1),
        9.0: lambda: emulator.input(preempt=1, on=0),
    }
    found = drive(emulator, 25.0, log, at=at, rotate_bytes=2000)
    emulator.advance(30.0)  # until the preemption is over
    return found


def decide_again(log: Path) -> tuple[int, int, int, str]:
    pilot = make_pilot(QUICK, mode=Mode.SHADOW)
    found = replay(read_log(log), pilot, Demand(pilot.inputs))
    return found.decisions, found.different, found.writes, found.first


@pytest.mark.wide
def test_acceptance_24_a_log_of_ten_parts_replays_from_whichever_is_the_oldest(rotated: Run, tmp_path: Path) -> None:
    modes = [d["mode"] for d in rotated.of("decision")]
    assert {"verifying", "controlling", "released"} <= set(modes)
    copy = tmp_path / "run.jsonl"
    for file in rotated.path.parent.glob("run.jsonl*"):
        shutil.copy(file, tmp_path)
    parts = len(list(tmp_path.iterdir()))
    assert 10 < parts < 15  # none has been given up
    digests = [record["before"] for record in rotated.of("start") if record["part"] > 1]
    assert len(digests) == parts - 1
    assert all(any(digest in text for text in rotated.told) for digest in digests)
    reader = LogReader(copy)
    assert list(reader)[-1]["k"] == "end"
    assert rotated.runtime.health()[1]["log_digest"] == reader.digest
    assert decide_again(copy) == (len(modes), 0, rotated.tally.writes, "")
    for oldest in range(parts - 1, 0, -1):
        (tmp_path / f"run.jsonl.{oldest}").unlink()
        left = [record for record in read_log(copy) if record["k"] in ("decision", "written")]
        expected = [sum(record["k"] == kind for record in left) for kind in ("decision", "written")]
        assert decide_again(copy) == (expected[0], 0, expected[1], ""), f"from part {parts - oldest + 1} on"
    assert decide_again(copy)[0] > 0


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        ("a decision", "the log has"),
        ("a state", "the log has another state of detectors"),
        ("a decision that is missing", "the decision before it is missing"),
        ("a command without decision", "no decision before it has this command"),
    ],
)
def test_what_does_not_follow_is_told_even_where_the_chain_was_made_anew(
    spoil: str, words: str, rotated: Run
) -> None:
    records = json.loads(json.dumps(rotated.log))
    kinds = [record["k"] for record in records]
    if spoil == "a state":
        records[kinds.index("start", 1)]["state"]["detectors"]["counts"][0] += 1
    elif spoil == "a command without decision":
        written = kinds.index("written")
        records.insert(written, records[written])
    elif spoil == "a decision":
        records[kinds.index("decision")]["wants"] += 1
    else:
        del records[kinds.index("decision")]
    pilot = make_pilot(QUICK, mode=Mode.SHADOW)
    found = replay(records, pilot, Demand(pilot.inputs))
    assert found.different >= 1
    assert words in found.first


# --- a log that fails on the way


@pytest.mark.parametrize("how", ["cut", "full"])
def test_acceptance_24_control_ends_with_its_log_and_nothing_more_is_commanded(
    how: str, emulator: EmulatorProcess, tmp_path: Path
) -> None:
    log, limit = tmp_path / "log", resource.getrlimit(resource.RLIMIT_FSIZE)
    written: list[int] = []

    def fail() -> None:
        written.append(log.read_text().count('"k":"written"'))
        if how == "cut":
            os.truncate(log, log.stat().st_size // 2)
        else:  # no file of this process may grow longer: as on a disk that is full, here in the middle of a decision
            resource.setrlimit(resource.RLIMIT_FSIZE, (log.stat().st_size + 400, limit[1]))

    try:
        found = drive(emulator, 9.0, log, at={6.8: fail})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    if how == "full":
        assert [record["k"] for record in found.log][-3:] == ["poll", "beat", "answer"]
    assert written[0] > 2
    assert found.tally.writes == written[0]
    assert found.tally.releases == 1
    assert found.runtime.guard.mode is Mode.RELEASED
    assert found.reason.startswith("the log cannot be written: ")
    told = [text for text in found.told if "released" in text]
    assert len(told) == 1
    assert "the log cannot be written" in told[0]
    assert free(emulator)


def test_a_watch_without_its_log_is_not_well(emulator: EmulatorProcess, tmp_path: Path) -> None:
    log = tmp_path / "log"
    found = drive(emulator, 4.0, log, at={2.0: log.unlink}, control=False)
    assert found.runtime.log.failure.startswith("the log cannot be written: ")
    assert not log.exists()
    well, told = found.runtime.health()
    assert (well, told["ok"], told["mode"]) == (False, False, "shadow")


# --- the command


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A signed bundle, and the public key."""
    path = exported_bundle(tmp_path_factory)
    return path, path.parent / "key.pub"


@pytest.fixture(scope="module")
def commanded(bundle: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """What control.py wrote, in parts, while it commanded an emulator; and what it said."""
    log = tmp_path_factory.mktemp("commanded") / "run.jsonl"
    with EmulatorProcess("single") as emulator:
        words = ("--control", *V3, "--step", emulator.url, "--duration", "18", "--log", str(log))
        process = start(bundle, emulator.port, *words, "--log-mib", "0.001")
        told, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
        assert free(emulator)
    return log, told


def replayed(bundle: tuple[Path, Path], log: Path, *more: str) -> int:
    return control.main([str(bundle[0]), "--public-key", str(bundle[1]), "--replay", str(log), *more])


def test_acceptance_24_the_command_rotates_shows_its_digests_and_replays(
    bundle: tuple[Path, Path], commanded: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log, told = commanded
    reader = LogReader(log)
    records = list(reader)
    shown = [text.rsplit(" ", 1)[1] for text in told.splitlines() if "last digest" in text]
    assert len(shown) == reader.last_part > 10  # as often rotated, and the end
    assert shown[-1] == reader.digest
    assert replayed(bundle, log, "--digest", shown[3]) == 0
    said = capsys.readouterr().out
    decisions, writes = (sum(record["k"] == kind for record in records) for kind in ("decision", "written"))
    assert f"{decisions} decisions, 0 different; {writes} commands were written\n" in said
    assert f"in parts 1 to {reader.last_part}, last digest {reader.digest}\n" in said
    assert decisions > 15
    assert writes >= 5
    for file in log.parent.iterdir():
        if file != log.with_name(f"{log.name}.{reader.last_part - 1}"):
            shutil.copy(file, tmp_path)
    newest = tmp_path / log.name
    newest.write_bytes(b"".join(newest.read_bytes().splitlines(keepends=True)[:-1]))
    assert replayed(bundle, newest) == 0
    said = capsys.readouterr().out
    assert "what came before part 2 is not there" in said
    assert "the log has no end" in said


@pytest.mark.wide
@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("edited", "the chain of digests breaks here"),
        ("cut", "the chain of digests breaks here"),
        ("without a part", "bring the missing parts back"),
        ("of another bundle", "another bundle"),
        ("of other limits", "its first line is not that of a log"),
        ("kept digest", "no line has the digest"),
    ],
)
def test_acceptance_24_a_damaged_log_is_refused_in_one_line(
    how: str, words: str, bundle: tuple[Path, Path], commanded: tuple[Path, str], tmp_path: Path
) -> None:
    log, more = tmp_path / "run.jsonl", []
    for file in commanded[0].parent.iterdir():
        shutil.copy(file, tmp_path)
    part = tmp_path / "run.jsonl.4"
    lines = part.read_bytes().splitlines(keepends=True)
    if how == "edited":
        part.write_bytes(part.read_bytes().replace(b'"changing":false', b'"changing":true', 1))
    elif how == "cut":
        part.write_bytes(b"".join(lines[: len(lines) // 2]))
    elif how == "without a part":
        part.unlink()
    elif how == "kept digest":
        more = ["--digest", "0" * 32]
    else:  # by somebody who makes the chain anew
        began = next(read_log(log))
        for file in tmp_path.iterdir():
            file.unlink()
        changed = {"bundle_sha256": "0"} if how == "of another bundle" else {"limits": {"stale_s": "long"}}
        began = {name: value for name, value in began.items() if name not in ("k", "run", "part")}
        EventLog(log, {**began, **changed}).close()
    before = {file: file.read_bytes() for file in tmp_path.iterdir()}
    with pytest.raises(InputError, match=words) as caught:
        replayed(bundle, log, *more)
    assert "\n" not in str(caught.value)
    assert before == {file: file.read_bytes() for file in tmp_path.iterdir()}


def test_a_log_without_a_decision_is_no_success(
    bundle: tuple[Path, Path], commanded: tuple[Path, str], tmp_path: Path
) -> None:
    began = {name: value for name, value in next(read_log(commanded[0])).items() if name not in ("k", "run", "part")}
    EventLog(tmp_path / "log", began).close()
    assert replayed(bundle, tmp_path / "log") == 1

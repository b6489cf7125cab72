"""The emulator on a SUMO intersection: traffic flows, SUMO shows the tables' intervals, and others read its log."""

from __future__ import annotations

import datetime
import importlib
import itertools
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from deployment.emulator import __main__ as command
from deployment.emulator import events
from deployment.emulator.process import EmulatorProcess
from deployment.nema import oids
from envs.sumo.lamps import LampSimulation
from envs.sumo.outputs import read_trips
from evaluation.details import events as evaluated
from evaluation.monitor.check import check, read_states
from plumbing.errors import InputError
from plumbing.interpreter import ROOT
from scenarios.loading import load
from tests.emulated import cabinet

ACTUATED_S = 44.0
"""Mean delay of SUMO's own actuated program on `single` (README)."""
END_S = 3600.0


@dataclass(frozen=True)
class Hour:
    folder: Path
    outcome: dict[str, Any]
    log: str


@pytest.fixture(scope="module")
def hour(tmp_path_factory: pytest.TempPathFactory) -> Hour:
    """`single`, actuated by the emulated controller, in lockstep."""
    folder = tmp_path_factory.mktemp("hour")
    with EmulatorProcess("single", out=folder) as emulator:
        assert emulator.advance(END_S)
        log = emulator.log()
        outcome = emulator.stop()
        assert emulator.process.returncode == 0
    return Hour(folder, outcome, log)


def test_actuated_operation_serves_the_traffic(hour: Hour) -> None:
    outcome = hour.outcome
    assert outcome["end_s"] == END_S
    assert 0.75 * ACTUATED_S < outcome["delay_s"] < 1.25 * ACTUATED_S
    assert outcome["collisions"] == outcome["teleported"] == outcome["emergency_stops"] == 0
    assert outcome["mmu_faults"] == outcome["monitor_findings"] == []


def test_its_delay_is_what_an_evaluation_would_find(hour: Hour) -> None:
    trips = read_trips(hour.folder / "tripinfo.xml", END_S)
    assert hour.outcome["vehicles"] == len(trips.vehicles)
    assert hour.outcome["delay_s"] == pytest.approx(trips.vehicles["delay_s"].mean())
    assert hour.outcome["arrived"] == trips.vehicles["arrival_s"].count()


def test_sumo_shows_the_intervals_of_the_tables(hour: Hour) -> None:
    """As recorded, link by link: yellow as long as the table's, red clearance and minimum green no less."""
    plan = cabinet().installation.plan
    recorded = read_states(hour.folder / "tls_states.xml").intervals["C"]
    assert check(load("single").net_file, hour.folder / "tls_states.xml") == []
    for phase in plan.phases:
        for link in phase.links:
            spells = [
                (character, sum(i.end_ms - i.start_ms for i in group) / 1000)
                for character, group in (
                    (c, list(g)) for c, g in itertools.groupby(recorded, key=lambda i, n=link: i.state[n])
                )
            ][1:-1]
            yellows = [lasted for character, lasted in spells if character == "y"]
            assert yellows == [phase.yellow_change_s] * len(yellows)
            assert len(yellows) > 10
            assert min(lasted for character, lasted in spells if character in "Gg") >= phase.min_green_s
        for link in phase.crossings:
            walks = [
                sum(i.end_ms - i.start_ms for i in group) / 1000
                for character, group in itertools.groupby(recorded, key=lambda i, n=link: i.state[n])
                if character in "Gg"
            ]
            assert walks
            assert min(walks[:-1]) >= phase.walk_s
    ends = [b.start_ms for a, b in itertools.pairwise(recorded) if "y" in a.state and set(b.state) == {"r"}]
    begins = [b.start_ms for a, b in itertools.pairwise(recorded) if set(a.state) == {"r"}]
    cleared = [next(b for b in begins if b > end) - end for end in ends if end < begins[-1]]
    assert min(cleared) >= 1000 * min(p.red_clearance_s for p in plan.phases)


@pytest.mark.wide
@pytest.mark.parametrize("seed", [1, 2])
def test_a_run_repeats_with_its_seed_and_with_no_other(seed: int, hour: Hour) -> None:
    with EmulatorProcess("single", seed=seed) as emulator:
        for _ in range(30):
            emulator.advance(4)
        rows = emulator.log().splitlines()[:-2]
    assert len(rows) > 60
    assert (rows == hour.log.splitlines()[: len(rows)]) == (seed == 1)


def test_codes_are_those_of_the_evaluations_log() -> None:
    assert (events.GREEN_BEGIN, events.GAP_OUT, events.MAX_OUT, events.FORCE_OFF, events.GREEN_END) == (
        evaluated.GREEN_BEGINS, evaluated.GAP_OUT, evaluated.MAX_OUT, evaluated.FORCE_OFF, evaluated.GREEN_ENDS,
    )  # fmt: skip
    assert (events.YELLOW_BEGIN, events.YELLOW_END, events.RED_CLEAR_BEGIN) == (
        evaluated.YELLOW_BEGINS, evaluated.YELLOW_ENDS, evaluated.RED_BEGINS,
    )  # fmt: skip
    assert (events.WALK_BEGIN, events.DONT_WALK_BEGIN) == (evaluated.WALK_BEGINS, evaluated.DONT_WALK_BEGINS)
    assert (events.DETECTOR_OFF, events.DETECTOR_ON) == (evaluated.DETECTOR_OFF, evaluated.DETECTOR_ON)
    assert events.DAY == evaluated.DAY


def test_an_independent_package_reads_the_log(hour: Hour) -> None:
    atspm = pytest.importorskip("atspm", reason="atspm is not installed; pip install '.[atspm]'")
    with atspm.SignalDataProcessor(
        raw_data=str(hour.folder / "events.parquet"), detector_config=str(hour.folder / "detectors.parquet"),
        bin_size=15, verbose=0, remove_incomplete=False,
        aggregations=[{"name": "terminations", "params": {}}, {"name": "actuations", "params": {}}],
    ) as processor:  # fmt: skip
        processor.load()
        processor.aggregate()
        ends = processor.conn.query("SELECT * FROM terminations").fetchall()
        actuations = processor.conn.query("SELECT * FROM actuations").fetchall()
    log = pl.read_parquet(hour.folder / "events.parquet")
    own = log.filter(pl.col("EventId").is_in([4, 5, 6]))
    assert sum(total for *_, total in ends) == len(own) > 200
    assert sum(total for *_, total in actuations) == len(log.filter(pl.col("EventId") == 82)) > 2000


def test_signal_replay_writes_detectors_and_reads_the_log(tmp_path: Path) -> None:
    missing = "signal-replay is not installed; pip install '.[oracles]'"
    ntcip = pytest.importorskip("signal_replay.ntcip", reason=missing)
    collector = importlib.import_module("signal_replay.collector")
    users = tmp_path / "users.json"
    users.write_text(json.dumps({"communities": [{"name": "replay", "write": ["control"]}, {"name": "public"}]}))
    with EmulatorProcess("single", users=users, end_s=600) as emulator:
        emulator.advance(10)
        where = (emulator.host, emulator.port)
        port = int(emulator.url.rpartition(":")[2])
        ntcip.send_ntcip(where, 2, 0b1000_0001, "Vehicle", "replay")  # detectors 9 and 16
        emulator.advance(1)
        ntcip.send_ntcip(where, 2, 0, "Vehicle", "replay")
        emulator.advance(1)
        ntcip.send_ntcip(where, 1, 1, "Preempt", "replay")
        emulator.advance(1)
        assert emulator.status()["preempt"] == 1
        ntcip.reset_all_detectors(where, "replay", raise_on_error=True)
        with pytest.raises(RuntimeError):
            ntcip.send_ntcip(where, 2, 255, "Vehicle", "public")
        found = collector.fetch_output_data(emulator.host, port)
        later = collector.fetch_output_data(emulator.host, port, since=datetime.datetime(2000, 1, 1, 0, 0, 11))
    rows = {(row.TimeStamp.to_pydatetime(), int(row.EventTypeID), int(row.Parameter)) for row in found.itertuples()}
    for number in (9, 16):
        begun = [t for t, code, n in rows if (code, n) == (events.DETECTOR_ON, number)]
        ended = [t for t, code, n in rows if (code, n) == (events.DETECTOR_OFF, number)]
        assert (min(ended) - min(begun)).total_seconds() == pytest.approx(1.0)
    assert 0 < len(later) < len(found)


@pytest.mark.wide
def test_time_goes_on_by_itself_at_the_speed_that_was_asked_for() -> None:
    with EmulatorProcess("single", speed=20, end_s=3000) as emulator:
        begun, first = time.monotonic(), emulator.status()["time_s"]
        time.sleep(1.5)
        seen, elapsed = emulator.status()["time_s"] - first, time.monotonic() - begun
        assert 5 * elapsed < seen < 25 * elapsed
        with pytest.raises(InputError, match="--speed 0"):
            emulator.advance(1)
        emulator.process.send_signal(signal.SIGINT)
        outcome = emulator.stop()
    assert emulator.process.returncode == 0
    assert outcome["end_s"] >= first + seen - 1


@pytest.mark.wide
def test_a_run_ends_by_itself_at_the_end() -> None:
    with EmulatorProcess("single", speed=1000, end_s=60) as emulator:
        emulator.process.wait(60)
        outcome = emulator.stop()
    assert outcome["end_s"] == 60


@pytest.mark.wide
def test_a_signal_among_several_can_be_driven() -> None:
    with EmulatorProcess("cologne3", tls_id="360082", end_s=25500) as emulator:
        assert emulator.advance(300)
        assert emulator.status()["time_s"] == 25500.0
        outcome = emulator.stop()
    assert outcome["monitor_findings"] == outcome["mmu_faults"] == []
    assert outcome["arrived"] > 30


@pytest.fixture(scope="module")
def taken() -> Iterator[EmulatorProcess]:
    with EmulatorProcess("single", end_s=60) as emulator:
        yield emulator


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--scenario", "singel"], "Did you mean 'single'?"),
        (["--scenario", "cologne3"], "choose one with --tls"),
        (["--scenario", "single", "--tls", "D"], "no signal 'D'"),
        (["--speed", "-1"], "0 or more"),
        (["--port", "70000"], "no port"),
        (["--backup", "70000"], "out of range"),
        (["--users", "/nowhere/users.json"], "users.json"),
    ],
)
def test_bad_input_is_refused_before_sumo_starts(
    words: list[str], complaint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LampSimulation, "begin", lambda *_: pytest.fail("SUMO starts"))
    with pytest.raises(InputError) as caught:
        command.main(words)
    assert complaint in str(caught.value)


@pytest.mark.wide
@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--port", "TAKEN", "--log-port", "0"], "choose another --port"),
        (["--port", "0", "--log-port", "TAKEN"], "choose another --log-port"),
    ],
)
def test_bad_input_is_one_clear_line(words: list[str], complaint: str, taken: EmulatorProcess) -> None:
    ports = {"--port": taken.port, "--log-port": int(taken.url.rpartition(":")[2])}
    given = [str(ports[words[n - 1]]) if word == "TAKEN" else word for n, word in enumerate(words)]
    done = subprocess.run(
        [sys.executable, "-m", "deployment.emulator", *given], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 2, done.stderr
    assert complaint in done.stderr
    assert [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert "Traceback" not in done.stderr


def test_requests_that_make_no_sense_are_answered(taken: EmulatorProcess) -> None:
    for method, path, parameters in (
        ("GET", "/v1/nothing", {}),
        ("GET", "/v1/advance", {}),
        ("POST", "/v1/advance", {"seconds": "soon"}),
        ("POST", "/v1/advance", {"seconds": 0.25}),
        ("POST", "/v1/input", {"preempt": 99}),
        ("POST", "/v1/input", {"lever": 1}),
        ("GET", "/v1/asclog/xml/full", {"since": "yesterday"}),
    ):
        with pytest.raises(InputError):
            taken.request(method, path, **parameters)
    assert taken.status()["time_s"] == 0


def test_the_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main(["--help"])
    told = capsys.readouterr().out
    for word in ("snmpwalk", "--speed 0", "/v1/asclog/xml/full", "policy-auth-key", "Exit status"):
        assert word in told
    assert oids.dotted(oids.CONTROL_HOLD.at(1)) in told


def test_a_monitor_that_fails_is_a_finding(tmp_path: Path) -> None:
    """In a process of its own, as it holds a simulation."""
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho Traceback >&2; echo 'OSError: no disk' >&2; exit 1\n")
    python.chmod(0o755)
    code = (
        "import sys\n"
        "from deployment.emulator.run import Emulator\n"
        "from scenarios.loading import load\n"
        "emulator = Emulator(load('single', end_s=5.0))\n"
        f"sys.executable = {str(python)!r}\n"
        "print(*emulator.end().monitor_findings, sep='\\n')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1:] == ["the independent monitor failed: OSError: no disk"], done.stderr


def test_an_emulator_that_does_not_start_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "numpy.py").write_text("raise ImportError('built for another Python')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(InputError) as caught:
        EmulatorProcess("single")
    assert str(caught.value) == "the emulator did not start: ImportError: built for another Python"

"""The command: what it imports and refuses, and what becomes of a controller when it is stopped, frozen or killed."""

from __future__ import annotations

import ipaddress
import json
import os
import signal
import socket
import subprocess
import sys
import time
import tomllib
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import control
from deployment.emulator.process import EmulatorProcess
from deployment.field.eventlog import read_log
from deployment.field.link import expect_loopback
from deployment.field.prometheus import Metrics, Page
from deployment.field.snmp.profile import credentials_from, profile_from, secret
from deployment.nema import oids
from plumbing.errors import InputError
from plumbing.interpreter import ROOT
from tests.field import V3, start
from tests.policy_runs import exported_bundle

CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
(FIELD,) = (contract for contract in CONTRACTS if contract.get("id") == "field")


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A signed bundle, and the public key."""
    path = exported_bundle(tmp_path_factory)
    return path, path.parent / "key.pub"


def until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    """Wait for it, at most so long [wall s]."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds, f"{what}: not within {seconds} s"
        time.sleep(0.02)


def free_within_backup(emulator: EmulatorProcess) -> None:
    """Backup time and a second at the latest, by the controller's own clock."""
    began_s = emulator.status()["time_s"]
    status = emulator.status()
    while any(status["commands"].values()):
        assert status["time_s"] - began_s <= 11.0
        time.sleep(0.02)
        status = emulator.status()
    assert status["control_status"] == oids.BACKUP_MODE


# --- what it is made of


@pytest.mark.wide
def test_no_learning_no_simulation_and_no_pickle_of_ours_at_run_time(
    bundle: tuple[Path, Path], tmp_path: Path
) -> None:
    """Numpy imports pickle itself for its own files; nothing else of what the field needs does."""
    program = tmp_path / "look.py"
    program.write_text(
        "import sys, builtins\n"
        "asked = set()\n"
        "plain = builtins.__import__\n"
        "def watch(name, globals=None, locals=None, fromlist=(), level=0):\n"
        "    if name.split('.')[0] in ('pickle', '_pickle', 'cPickle', 'dill', 'cloudpickle') and globals:\n"
        "        asked.add(globals.get('__name__', '?').split('.')[0])\n"
        "    return plain(name, globals, locals, fromlist, level)\n"
        "builtins.__import__ = watch\n"
        "import control\n"
        "try:\n"
        "    control.main(sys.argv[1:])\n"
        "except Exception as error:\n"
        "    print(error, file=sys.stderr)\n"
        "import json\n"
        "print(json.dumps({'modules': sorted(sys.modules), 'asked': sorted(asked)}))\n"
    )
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as nobody:
        nobody.bind(("127.0.0.1", 0))
        words = (str(bundle[0]), "--public-key", str(bundle[1]), "--target", f"127.0.0.1:{nobody.getsockname()[1]}")
        done = subprocess.run(
            [sys.executable, str(program), *words], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True, text=True, check=True,
        )  # fmt: skip
    assert "no controller answers" in done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    loaded = set(found["modules"])
    assert "deployment.field.snmp.read" in loaded
    assert "onnxruntime" in loaded
    # the same list that import-linter holds the code to; pickle is numpy's
    assert not (set(FIELD["forbidden_modules"]) - {"pickle"}) & loaded
    # what writes is not there in shadow mode
    assert "deployment.field.snmp.write" not in loaded
    # pickle: who asked for it
    assert set(found["asked"]) - {"pickle"} == {"numpy"}


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        control.main(["--help"])
    told = capsys.readouterr().out
    for words in ("shadow", "--control", "backup", "emulator", "never in a real cabinet", "exit status"):
        assert words in told


# --- bad input


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--target", "nowhere"], "--target is 'nowhere'; give HOST:PORT"),
        (["--target", "127.0.0.1:0"], "give HOST:PORT"),
        (["--target", "127.0.0.1:²"], "give HOST:PORT"),
        (["--target", "127.0.0.1:١٦١"], "give HOST:PORT"),
        (["--target", "127.0.0.1:1610", "--speed", "0"], "--speed"),
        (["--target", "127.0.0.1:1610", "--duration", "-1"], "--duration"),
        (["--target", "127.0.0.1:1610", "--snmp", "3", "--user", "policy"], "file:PATH or env:NAME"),
        (["--target", "127.0.0.1:1610", "--snmp", "3", "--community", "env:X"], "does not go with"),
        (["--target", "127.0.0.1:1610", "--profile", "standrad"], "Did you mean 'standard'"),
        (["--target", "127.0.0.1:1610", "--log-mib", "0"], "--log-mib"),
        (["--target", "127.0.0.1:1610", "--digest", "0" * 32], "--digest goes with --replay"),
        (["--replay", "nowhere.jsonl"], "log nowhere.jsonl does not exist"),
        (["--replay", "nowhere.jsonl", "--digest", "12"], "32 hexadecimal digits"),
    ],
)
def test_bad_input_is_one_line(words: list[str], message: str, bundle: tuple[Path, Path]) -> None:
    with pytest.raises(InputError) as caught:
        control.main([str(bundle[0]), "--public-key", str(bundle[1]), *words])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.wide
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--target", "10.1.7.12:161", "--speed", "2"], "--speed is for an emulator on this machine"),
        (["--target", "10.1.7.12:161", "--speed", "0.5"], "10.1.7.12"),
        (["--target", "0.0.0.0:161", "--speed", "2"], "0.0.0.0"),
        (["--target", "[2001:db8::7]:161", "--speed", "2"], "2001:db8::7"),
        (["--target", "no.such.host.invalid:161", "--speed", "2"], "cannot resolve"),
        (["--target", "10.1.7.12:161", "--step", "http://127.0.0.1:8610"], "--step is for an emulator"),
        (["--target", "127.0.0.1:1610", "--step", "http://10.1.7.12:8610"], "--step is for an emulator"),
        (["--target", "127.0.0.1:1610", "--step", "http://127.0.0.1:port"], "give an emulator's HTTP address"),
        (["--target", "127.0.0.1:1610", "--step", "http://127.0.0.1"], "give an emulator's HTTP address"),
    ],
)
def test_acceptance_25_only_an_emulator_on_this_machine_gets_another_clock(
    words: list[str], message: str, bundle: tuple[Path, Path], tmp_path: Path
) -> None:
    log = tmp_path / "log"
    with pytest.raises(InputError) as caught:
        control.main([str(bundle[0]), "--public-key", str(bundle[1]), *words, "--log", str(log)])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not log.exists()


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.8.7", "::1", "localhost"])
def test_acceptance_25_this_machine_by_any_of_its_names_is_an_emulators(host: str) -> None:
    assert ipaddress.ip_address(expect_loopback(host, "--speed")).is_loopback


@pytest.mark.wide
@pytest.mark.parametrize("version", ["1", "2c"])
def test_acceptance_25_without_snmpv3_control_needs_a_word_for_the_network(
    version: str, bundle: tuple[Path, Path], tmp_path: Path
) -> None:
    """It is refused before anything is sent; with the word it goes on, and the log says so."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as nobody:
        nobody.bind(("127.0.0.1", 0))
        nobody.settimeout(0.0)
        log = tmp_path / "log"
        words = [str(bundle[0]), "--public-key", str(bundle[1]), "--control", "--log", str(log), "--snmp", version]
        words += ["--target", f"127.0.0.1:{nobody.getsockname()[1]}"]
        with pytest.raises(InputError, match=f"--snmp {version} proves nothing about who writes"):
            control.main(words)
        with pytest.raises(BlockingIOError):
            nobody.recv(1)
        assert not log.exists()
        with pytest.raises(InputError, match="no controller answers"):
            control.main([*words, "--closed-network"])
        assert nobody.recv(1)
    began = next(read_log(log))
    assert (began["snmp"], began["closed_network"], began["mode"]) == (version, True, "control")


def test_acceptance_24_control_without_a_log_is_refused(bundle: tuple[Path, Path]) -> None:
    words = [str(bundle[0]), "--public-key", str(bundle[1]), "--control", "--target", "127.0.0.1:1610"]
    with pytest.raises(InputError, match="--control needs --log FILE"):
        control.main(words)
    with pytest.raises(InputError, match="/dev/null is there already"):
        control.main([*words, "--closed-network", "--log", "/dev/null"])


def test_secrets_come_from_the_environment_or_from_files_that_others_cannot_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "auth"
    file.write_text("long enough\n")
    file.chmod(0o644)
    with pytest.raises(InputError, match="chmod 600"):
        secret(f"file:{file}", "--auth")
    file.chmod(0o600)
    assert secret(f"file:{file}", "--auth") == "long enough"
    monkeypatch.setenv("SOME_USER", "me")
    who = credentials_from("3", {"user": "env:SOME_USER", "auth": f"file:{file}", "priv": f"file:{file}"})
    assert (who.user, who.auth_key) == ("me", "long enough")
    assert "long enough" not in repr(who)
    with pytest.raises(InputError, match="has no NOT_SET"):
        secret("env:NOT_SET", "--auth")
    with pytest.raises(InputError, match="at least 8"):
        credentials_from("3", dict.fromkeys(("user", "auth", "priv"), "env:SOME_USER"))
    with pytest.raises(InputError, match="--snmp 3 needs --auth"):
        credentials_from("3", {"user": "env:SOME_USER", "auth": None, "priv": None})


def test_a_profile_may_move_scalars_and_leave_out_only_what_can_be_done_without(tmp_path: Path) -> None:
    file = tmp_path / "acme.json"
    file.write_text('{"scalar_suffixes": {"unitControlStatus": []}, "absent": ["preemptState"], "preempts": 0}')
    profile = profile_from(str(file))
    assert profile.oid(oids.UNIT_CONTROL_STATUS) == oids.UNIT_CONTROL_STATUS.oid
    assert profile.oid(oids.UNIT_FLASH_STATUS) == (*oids.UNIT_FLASH_STATUS.oid, 0)
    file.write_text('{"absent": ["phaseStatusGroupGreens"]}')
    with pytest.raises(InputError, match="cannot be done without"):
        profile_from(str(file))
    file.write_text('{"scalar_sufixes": {}}')
    with pytest.raises(InputError, match="Did you mean 'scalar_suffixes'"):
        profile_from(str(file))


# --- metrics


def test_metrics_and_health_are_served_on_loopback() -> None:
    well = [True]
    metrics = Metrics()
    metrics.decisions.inc()
    page = Page(metrics, lambda: (well[0], {"ok": well[0]}), 0)
    try:
        url = f"http://127.0.0.1:{page.port}"
        with urllib.request.urlopen(f"{url}/metrics") as answer:
            assert b"intergreen_decisions_total 1.0" in answer.read()
        with urllib.request.urlopen(f"{url}/health") as answer:
            assert json.load(answer) == {"ok": True}
        well[0] = False
        with pytest.raises(urllib.error.HTTPError, match="503"):
            urllib.request.urlopen(f"{url}/health")
        with pytest.raises(InputError, match="--metrics-port"):
            Page(metrics, lambda: (True, {}), page.port)
    finally:
        page.close()


# --- the whole command against an emulator


@pytest.fixture(scope="module")
def free_running() -> Iterator[EmulatorProcess]:
    """Five times real time, by itself."""
    with EmulatorProcess("single", speed=5.0) as emulator:
        yield emulator


def commands(emulator: EmulatorProcess) -> bool:
    return any(emulator.status()["commands"].values())


def controlling(emulator: EmulatorProcess) -> Callable[[], bool]:
    return lambda: emulator.status()["control_status"] == oids.SYSTEM_CONTROL and commands(emulator)


@pytest.mark.wide
def test_acceptance_14_killed_frozen_or_asked_to_stop_the_controller_is_free_again(
    bundle: tuple[Path, Path], free_running: EmulatorProcess, tmp_path: Path
) -> None:
    emulator = free_running

    def begin(name: str) -> subprocess.Popen[str]:
        words = ("--control", *V3, "--speed", "5", "--log", str(tmp_path / name))
        process = start(bundle, emulator.port, *words)
        until(controlling(emulator), 20.0, "in control")
        return process

    # asked: at once
    process = begin("asked")
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=10)
    assert process.returncode == 130
    assert not commands(emulator)
    assert any(r["k"] == "released" for r in read_log(tmp_path / "asked"))

    # killed
    process = begin("killed")
    process.kill()
    process.communicate()
    free_within_backup(emulator)

    # frozen: the same; and when it goes on, it notices, and writes nothing on the strength of what it knew
    process = begin("frozen")
    process.send_signal(signal.SIGSTOP)
    frozen_at = time.monotonic()
    free_within_backup(emulator)
    while time.monotonic() - frozen_at < 4.0:
        assert not commands(emulator)
        time.sleep(0.05)
    process.send_signal(signal.SIGCONT)
    went_on = time.monotonic()
    while time.monotonic() - went_on < 1.0:
        assert not commands(emulator)
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=10)
    assert process.returncode == 130
    released = [r for r in read_log(tmp_path / "frozen") if r["k"] in ("decision", "alarm") and r.get("reason")]
    assert (
        "stood still" in released[0]["reason"]
        or "old" in released[0]["reason"]
        or "system control" in str(released[0])
    )
    assert emulator.status()["faults"] == []


@pytest.mark.slow
def test_acceptance_14_a_frozen_or_killed_controller_is_noticed(bundle: tuple[Path, Path], tmp_path: Path) -> None:
    with EmulatorProcess("single", speed=5.0) as emulator:
        process = start(bundle, emulator.port, "--control", *V3, "--speed", "5", "--log", str(tmp_path / "log"))
        until(controlling(emulator), 20.0, "in control")
        emulator.process.send_signal(signal.SIGSTOP)
        time.sleep(3.0)
        emulator.process.send_signal(signal.SIGCONT)
        time.sleep(1.0)
        emulator.kill()
        time.sleep(2.0)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=15)
    modes = [r["mode"] for r in read_log(tmp_path / "log") if r["k"] == "decision"]
    assert "controlling" in modes
    assert modes[-1] == "released"
    reasons = [r["reason"] for r in read_log(tmp_path / "log") if r.get("reason")]
    assert "old" in reasons[0] or "system control" in reasons[0] or "stood still" in reasons[0]


@pytest.mark.wide
@pytest.mark.parametrize("backup_s", [0, 61])
def test_acceptance_09_backup_0_or_too_long_is_refused_with_exit_status_2(
    backup_s: int, bundle: tuple[Path, Path], tmp_path: Path
) -> None:
    with EmulatorProcess("single", backup_s=backup_s) as emulator:
        words = ("--control", *V3, "--step", emulator.url, "--log", str(tmp_path / "log"))
        process = start(bundle, emulator.port, *words)
        _, told = process.communicate(timeout=30)
        assert process.returncode == 2
        assert told.startswith("error: ")
        assert f"unitBackupTime is {backup_s}:" in told
        assert told.count("\n") == 1
        assert not commands(emulator)


@pytest.mark.slow
def test_acceptance_19_the_command_watches_and_replays(
    bundle: tuple[Path, Path], free_running: EmulatorProcess, tmp_path: Path
) -> None:
    log = tmp_path / "watch.jsonl"
    process = start(bundle, free_running.port, "--speed", "5", "--duration", "20", "--log", str(log))
    told, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "watches, and writes nothing" in told
    assert not commands(free_running)
    again = start(bundle, 0, "--replay", str(log))
    told, _ = again.communicate(timeout=30)
    assert again.returncode == 0, told
    decisions: list[dict[str, Any]] = [r for r in read_log(log) if r["k"] == "decision"]
    assert f"{len(decisions)} decisions, 0 different; 0 commands were written" in told
    assert len(decisions) >= 15

"""Nothing is imported from the folder that a command is started in, whatever files lie there."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import sumo  # noqa: F401  (from the wheel, before a test makes its name another's)

from controllers.webster import Webster
from deployment.emulator.process import EmulatorProcess
from envs.sumo.setup import make_setup
from envs.workers.client import RemoteSimulation
from envs.workers.server import WorkerSetup
from plumbing.interpreter import ROOT, environment
from scenarios.loading import load
from tests.foreign import OURS, foreign_folder, imported, poison, run_there

HERE = ("--scenario", "my.sumocfg")
COMMANDS = {
    "train": ["train.py", *HERE, "--steps", "4", "--validate-every", "0", "--validation-runs", "1", "--out", "run"],
    "evaluate": ["evaluate.py", *HERE, "--controllers", "webster", "cop", "--seeds", "1"],
    "control": ["control.py", "--help"],
    "replay": ["replay.py", "record", *HERE, "--controller", "greedy", "--out", "a.replay"],
    "scenarios": ["-m", "scenarios", "describe", "my.sumocfg"],
    "tune": ["-m", "evaluation.tune", *HERE, "--controllers", "sotl", "--runs", "12", "--out", "tuned"],
    "monitor": ["-m", "evaluation.monitor", "--help"],
    "download": ["-m", "deployment.field.download", "--help"],
    "emulator": ["-m", "deployment.emulator", *HERE, "--port=0", "--log-port=0", "--speed=1000", "--out", "cabinet"],
    "benchmarks": ["-m", "benchmarks.replay_page", "--help"],
}
LEARNING = {"torch", "stable_baselines3", "sklearn", "onnx"}
NOT_LOADED = {"train": {"matplotlib", "onnx"}}


@pytest.mark.wide
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name == "tune" else name for name in COMMANDS]
)
def test_a_command_runs_among_files_with_the_names_of_modules(name: str, tmp_path: Path) -> None:
    words = COMMANDS[name]
    folder = foreign_folder(tmp_path, but=words[1].partition(".")[0] if words[0] == "-m" else "")
    # a cache that is given relative to the current folder, too, as SUMO runs in another one
    done = run_there(folder, words, XDG_CACHE_HOME="cache", OMP_NUM_THREADS="1", PYTHONPROFILEIMPORTTIME="1")
    assert imported(folder) == []
    assert done.returncode == 0, done.stderr
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "argparse" in loaded
    assert loaded.isdisjoint(NOT_LOADED.get(name, LEARNING)), "what takes seconds is loaded where it is needed"
    if "--out" in words:
        assert (folder / words[-1]).exists()
    if name == "emulator":
        assert "independent monitor: no finding" in done.stdout, done.stdout


def test_python_that_leaves_the_current_folder_out_needs_no_help(tmp_path: Path) -> None:
    """With -P not even the package of `python -m` is looked for in the current folder."""
    folder = foreign_folder(tmp_path)
    done = run_there(folder, ["-m", "scenarios", "describe", "my.sumocfg"], PYTHONSAFEPATH="1")
    assert imported(folder) == []
    assert done.returncode == 0, done.stderr


def test_every_package_with_a_program_is_among_these_commands() -> None:
    packages = {
        package
        for package in OURS
        for file in (ROOT / package).rglob("*.py")
        if '\nif __name__ == "__main__":' in file.read_text(encoding="utf-8")
    }
    tried = {words[1].partition(".")[0] for words in COMMANDS.values() if words[0] == "-m"}
    assert packages == {*tried, "envs"}, "envs.workers.server is started by us alone"


@pytest.fixture(params=["mine", "mi:ne"])
def here(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder, which is on the import path in every way there is; what was imported from it is told."""
    folder = tmp_path / request.param
    poison(folder)
    before_colon = tmp_path / "mi"  # what PYTHONPATH would make of the folder's name
    poison(before_colon)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PYTHONPATH", ":.:" if ":" in folder.name else f":.:{folder}:")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    yield folder
    assert imported(folder) == imported(before_colon) == []


@pytest.mark.wide
def test_a_simulation_imports_nothing_from_the_current_folder(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    setup = WorkerSetup(make_setup(load("single", end_s=20)))
    with RemoteSimulation(setup) as simulation, monkeypatch.context() as patched:
        patched.setattr(sys, "path", ["", str(here), *sys.path])
        simulation.begin(1)
        simulation.decide(np.zeros(1, np.int64))


@pytest.mark.wide
def test_an_emulator_imports_nothing_from_the_current_folder_and_writes_there(here: Path) -> None:
    out = None if ":" in here.name else Path("kept")  # SUMO takes a colon in an output's name as that of HOST:PORT
    with EmulatorProcess("single", end_s=10, out=out) as emulator:
        emulator.advance(10)
        outcome = emulator.stop()
    assert outcome["monitor_findings"] == []
    assert out is None or (here / out / "tls_states.xml").is_file()


@pytest.mark.wide
def test_the_tools_of_sumo_import_nothing_from_the_current_folder(here: Path) -> None:
    assert "<tlLogic" in Webster().additional_xml(load("single"))


def test_packages_that_pythonpath_brings_remain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", f":/opt/packages:{tmp_path}:relative:{tmp_path}/../{tmp_path.name}")
    assert environment()["PYTHONPATH"] == "/opt/packages"
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}:.")
    assert environment()["PYTHONPATH"] == str(ROOT)


@pytest.mark.wide
def test_a_checkout_with_a_colon_in_its_name_runs_its_own_code(tmp_path: Path) -> None:
    checkout, told = tmp_path / "check:out", tmp_path / "told"
    for package in OURS:
        shutil.copytree(ROOT / package, checkout / package, ignore=shutil.ignore_patterns("__pycache__"))
    script = shutil.copy(ROOT / "evaluate.py", checkout)
    with (checkout / "envs" / "workers" / "server.py").open("a") as worker:
        worker.write(f"\nwith open({str(told)!r}, 'a') as told:\n    print(__file__, file=told)\n")
    folder = foreign_folder(tmp_path)
    poison(tmp_path / "check")  # what PYTHONPATH would make of the checkout's name
    done = run_there(folder, [script, *HERE, "--controllers", "cop", "--seeds", "1"])
    assert imported(folder) == imported(tmp_path / "check") == []
    assert done.returncode == 0, done.stderr
    assert set(told.read_text().split()) == {str(checkout / "envs" / "workers" / "server.py")}


@pytest.mark.slow
def test_the_way_to_a_controller_runs_among_files_with_the_names_of_modules(tmp_path: Path) -> None:
    """export.py, control.py, evaluate.py and the emulator, each for real."""
    folder = foreign_folder(tmp_path)
    words = ["benchmarks/closed_loop.py", "--end", "120", "--tolerance", "1000", "--out", "loop"]
    done = run_there(folder, words)
    assert imported(folder) == []
    assert done.returncode == 0, done.stderr + done.stdout

"""The simulation's process: what happens when it dies, and that nothing is left behind."""

from __future__ import annotations

import contextlib
import gc
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import evaluate
from envs import SignalEnv
from envs.sumo.setup import SimulationOptions, make_setup
from envs.sumo.simulation import SimulationError
from envs.workers.client import RemoteSimulation
from envs.workers.forks import Branches
from envs.workers.server import WorkerSetup
from plumbing.errors import InputError
from scenarios.loading import load

ROOT = Path(__file__).parents[1]


def descendants(pid: int) -> set[int]:
    """The processes that a process has started, and theirs, those that have ended left out."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, parent = entry.read_text().rpartition(")")[2].split()[:2]
            if state != "Z":
                parents.setdefault(int(parent), []).append(int(entry.parent.name))
    found, todo = set(), [pid]
    while todo:
        for child in parents.get(todo.pop(), []):
            found.add(child)
            todo.append(child)
    return found


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits for its parent does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def left_after(pids: Iterable[int], seconds: float = 10.0) -> set[int]:
    """Those that still run after so long."""
    until = time.monotonic() + seconds
    left = set(pids)
    while left and time.monotonic() < until:
        time.sleep(0.02)
        left = {pid for pid in left if alive(pid)}
    return left


@pytest.fixture(scope="module")
def one() -> Iterable[SignalEnv]:
    """One signal, whatever the tests do to its processes."""
    made = SignalEnv("cologne1", end_s=load("cologne1").begin_s + 300)
    yield made
    made.close()


@pytest.fixture
def env(one: SignalEnv) -> SignalEnv:
    """It in an episode."""
    one.reset(seed=0)
    one.step(0)
    return one


def processes(env: SignalEnv) -> tuple[int, int]:
    """The template and the episode."""
    process = env._worker._process
    assert process is not None
    (episode,) = descendants(process.pid)
    return process.pid, episode


@pytest.mark.wide
@pytest.mark.parametrize("killed", ["episode", "episode, noticed late", "both", "both, noticed late"])
def test_a_killed_simulation_is_an_error_and_the_next_reset_works(env: SignalEnv, killed: str) -> None:
    template, episode = processes(env)
    first = env._worker.snapshot.vehicles.copy()
    os.kill(episode, signal.SIGKILL)
    if "both" in killed:
        os.kill(template, signal.SIGKILL)
    if "late" in killed:  # seen by the template, or by nobody, before anybody asks
        time.sleep(0.5)
    with pytest.raises(SimulationError, match=r"the simulation failed after \d+ s"):
        env.step(0)
    with pytest.raises(SimulationError, match=r"call reset\(\) first"):
        env.step(0)
    env.reset(seed=0)
    env.step(0)
    assert np.array_equal(env._worker.snapshot.vehicles, first), "and is the same episode"


def test_a_reset_takes_no_notice_of_a_simulation_that_died_meanwhile(env: SignalEnv) -> None:
    both = processes(env)
    for pid in both:
        os.kill(pid, signal.SIGKILL)
    assert not left_after(both)
    _, info = env.reset(seed=0)
    assert info["time_s"] == load("cologne1").begin_s


def test_a_killed_template_is_replaced_at_the_next_reset(env: SignalEnv) -> None:
    template, episode = processes(env)
    os.kill(template, signal.SIGKILL)
    left_after([template])
    env.reset(seed=0)
    env.step(0)
    assert not left_after([episode])


def test_a_simulation_that_hangs_is_ended_and_the_next_reset_works(env: SignalEnv) -> None:
    both = processes(env)
    first = env._worker.snapshot.vehicles.copy()
    env._worker.limit_s = 0.3
    os.kill(both[1], signal.SIGSTOP)
    with pytest.raises(SimulationError, match=r"has not answered for 0\.3 s at 252\d\d s"):
        env.step(0)
    assert not left_after(both)
    env._worker.limit_s = 60.0
    env.reset(seed=0)
    env.step(0)
    assert np.array_equal(env._worker.snapshot.vehicles, first)


def test_a_step_without_a_reset_is_an_error() -> None:
    env = SignalEnv("cologne1")
    with pytest.raises(SimulationError, match=r"call reset\(\) first"):
        env.step(0)
    env.close()


def test_closing_leaves_no_process_and_may_be_repeated() -> None:
    env = SignalEnv("cologne1")
    env.reset(seed=0)
    both = processes(env)
    env.close()
    assert not left_after(both)
    env.close()
    with pytest.raises(SimulationError, match="is closed; make a new one"):
        env.reset(seed=0)


def test_an_env_that_is_forgotten_leaves_no_process() -> None:
    env = SignalEnv("cologne1")
    env.reset(seed=0)
    both = processes(env)
    del env
    assert not left_after(both)


@pytest.mark.wide
def test_a_killed_environment_leaves_no_process() -> None:
    script = (
        "import sys, time\n"
        "from envs import SignalEnv\n"
        "env = SignalEnv('cologne1')\n"
        "env.reset(seed=0); env.step(0)\n"
        "print(env._worker._process.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    run = subprocess.Popen(
        [sys.executable, "-c", script], env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE
    )
    assert run.stdout is not None
    template = int(run.stdout.readline())
    started = {template, *descendants(template)}
    assert len(started) == 2
    run.kill()
    run.wait()
    run.stdout.close()
    assert not left_after(started)


def test_an_ended_episode_says_what_it_left() -> None:
    begin_s = load("cologne1").begin_s
    setup = make_setup(load("cologne1", end_s=begin_s + 100))
    simulation = RemoteSimulation(WorkerSetup(setup))
    simulation.begin(0)
    while not simulation.done:
        simulation.decide(simulation.snapshot.phase)
    summary = simulation.end()
    assert summary.end_s == begin_s + 100
    assert summary.running_veh > 0
    assert summary.stuck_veh == 0
    assert (summary.stuck_at, math.isnan(summary.stuck_since_s)) == ("", True)
    simulation.close()


@pytest.mark.wide
def test_an_episode_that_jams_says_where_and_since_when(tmp_path: Path) -> None:
    closed = tmp_path / "closed.add.xml"  # nobody is let through, ever
    closed.write_text(
        f'<additional><tlLogic id="C" type="static" programID="closed" offset="0">'
        f'<phase duration="1000" state="{"r" * 18}"/></tlLogic></additional>'
    )
    scenario = load("single", end_s=600)
    setup = make_setup(scenario, controlled=False, extra_additional=[closed])
    with RemoteSimulation(WorkerSetup(setup, reward="", observation="")) as simulation:
        simulation.begin(0)
        while not simulation.done:
            simulation.decide(np.zeros(0, np.int64))
        summary = simulation.end()
    assert summary.stuck_veh > 5
    assert summary.stuck_at == scenario.network.junction_of(scenario.network.connections[0]) == "C"
    assert scenario.begin_s < summary.stuck_since_s <= 300.0


class Sabotage:
    """Code that runs where this is unpickled: within an episode, sent along with its branches."""

    def __init__(self, code: str) -> None:
        self.code = code

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return exec, (self.code,)


@pytest.mark.wide
@pytest.mark.parametrize(
    ("end", "said"),
    [
        ("os.kill(os.getpid(), 9)", "SUMO died of signal 9"),
        ("os._exit(3)", "SUMO left with status 3"),
        ("1 / 0", "division by zero"),
    ],
)
def test_an_episode_that_fails_while_it_ends_is_an_error_and_no_endless_wait(
    env: SignalEnv, end: str, said: str
) -> None:
    run = env._worker
    code = f"import os, envs.sumo.simulation as s\ndef end(self): {end}\ns.Simulation.end = end"
    assert run.branch(Branches([], 1, Sabotage(code))) == []  # type: ignore[arg-type]
    with pytest.raises(SimulationError, match=f"ended early: .*{said}"):
        run.end()
    env.reset(seed=0)
    env.step(0)


def test_an_episode_that_leaves_without_a_word_is_an_error(env: SignalEnv) -> None:
    with pytest.raises(SimulationError, match="SUMO left with status 3"):
        env._worker.branch(Branches([], 1, Sabotage("import os; os._exit(3)")))  # type: ignore[arg-type]


@pytest.mark.wide
@pytest.mark.parametrize(
    ("name", "does", "said"),
    [
        ("single", "exit 3", "it left with status 3"),
        ("single", "echo Warning: in vain; kill -9 $$", "it died of signal 9"),
        ("single", "echo; echo Traceback >&2; echo 'OSError: no disk' >&2; echo >&2; exit 1", "OSError: no disk"),
        ("grid:5x5", "exit 3", "it left with status 3"),
    ],
)
def test_a_worker_that_does_not_start_is_an_error(
    name: str, does: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where its setup is more than a pipe holds, so that it breaks off while it is sent."""
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\n{does}\n")
    python.chmod(0o755)
    with RemoteSimulation(WorkerSetup(make_setup(load(name)))) as run:
        monkeypatch.setattr(sys, "executable", str(python))
        with pytest.raises(SimulationError, match=f"^a simulation's process ends at its start: {said}$"):
            run.begin(1)
        monkeypatch.undo()
        run.begin(1)


@pytest.fixture
def silent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers that never say a word."""
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nexec sleep 600\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))


@pytest.mark.usefixtures("silent")
def test_a_worker_that_does_not_start_in_time_is_ended() -> None:
    with RemoteSimulation(WorkerSetup(make_setup(load("single")))) as run:
        run.limit_s = 0.5
        with pytest.raises(SimulationError, match=r"has not started within 0\.5 s"):
            run.begin(1)
        assert not run.alive


@pytest.mark.wide
@pytest.mark.usefixtures("silent")
def test_ctrl_c_ends_an_evaluation_whose_simulations_do_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evaluation.runs.GRACE_S", 0.5)
    threading.Timer(2.0, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        evaluate.main(["--scenario", "single", "--end", "30", "--controllers", "greedy", "--seeds", "1"])


@pytest.mark.parametrize("package", ["numpy", "libsumo"])
def test_a_package_that_a_worker_cannot_load_is_named(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether the worker needs it for itself or for an episode."""
    (tmp_path / f"{package}.py").write_text("raise ImportError('built for another Python')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    setup = WorkerSetup(make_setup(load("single")))
    with RemoteSimulation(setup) as run, pytest.raises(SimulationError) as caught:
        run.begin(1)
    assert str(caught.value) == "a simulation's process ends at its start: ImportError: built for another Python"


@pytest.mark.wide
def test_a_command_whose_simulations_do_not_start_fails_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "libsumo.py").write_text("raise ImportError('built for another Python')\n")
    words = ["evaluate.py", "--scenario", "single", "--end", "60", "--controllers", "cop", "--seeds", "1"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, *words], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith(
        "error: controller cop, seed 10001: a simulation's process ends at its start: ImportError: "
    )
    assert "Traceback" not in done.stderr


def test_what_sumo_refuses_is_bad_input_in_its_own_words() -> None:
    setup = make_setup(load("single"), outputs=["--no-such-option", "1"])
    with RemoteSimulation(WorkerSetup(setup)) as run, pytest.raises(InputError) as caught:
        run.begin(1)
    assert str(caught.value).startswith("SUMO does not start with this scenario: ")
    assert "no-such-option" in str(caught.value)


@pytest.mark.wide
def test_nothing_stays_in_the_temporary_folder_or_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    setup = WorkerSetup(make_setup(load("single"), SimulationOptions(sensing="detectors")))
    files = len(os.listdir("/proc/self/fd"))
    run = RemoteSimulation(setup)
    run.begin(1)
    run.decide(np.zeros(1, np.int64))
    run.kill()
    assert not list(tmp_path.iterdir())
    del run
    RemoteSimulation(setup)  # never begun, never closed
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) <= files


@pytest.mark.wide
def test_an_end_that_cannot_be_summed_up_is_no_good_end() -> None:
    """It would read as a run in which nobody was stuck."""
    program = """
from envs.sumo.setup import SimulationOptions, make_setup
from envs.sumo.simulation import Simulation, SimulationError
from scenarios.loading import load
simulation = Simulation(make_setup(load("single")))
simulation.begin(1)
simulation._sumo.close()
try:
    simulation.end()
except SimulationError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("SUMO failed at the end, at 0 s: ")

"""Simulations on a Ray cluster: the same episodes, the same tables, the same weights, also where a machine dies."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from controllers.heuristics import Greedy
from envs.options import EnvOptions
from envs.workers.batch import SignalBatch, Turn
from envs.workers.forks import Branches
from envs.workers.host import Host
from envs.workers.protocol import SimulationWorker
from envs.workers.shipping import Parcel, files_of_setup
from plumbing.errors import InputError
from plumbing.outside import pack
from scenarios.loading import load
from tests.foreign import foreign_folder, imported, run_there
from tests.ray_nodes import ROOT, Nodes, two_nodes

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("ray") is None,
        reason="Ray is not installed; install the extra: pip install -c constraints.txt '.[ray]'",
    ),
]

RUNS = (
    "--scenario", "cologne1", "--end", "25500",
    "--controllers", "fixed_time", "actuated", "max_pressure", "greedy", "--seeds", "10", "--workers", "2",
)  # fmt: skip
FORTY = 4 * 10


def command(*arguments: str, nodes: Nodes | None = None) -> subprocess.Popen[str]:
    """A command of ours, on these nodes if there are any."""
    where = () if nodes is None else ("--engine", "ray", "--address", nodes.address)
    environment = None if nodes is None else nodes.environment
    return subprocess.Popen(
        [sys.executable, *arguments, *where],
        cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def end_of(run: subprocess.Popen[str], seconds: float) -> tuple[str, str]:
    """What a command has printed and what it has said until its end; where that does not come, as an error."""
    try:
        return run.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        run.kill()
        table, said = run.communicate()
        raise AssertionError(
            f"it has not ended within {seconds:g} s; it said:\n{said}\nand printed:\n{table}"
        ) from None


def hashes(workers: list[SimulationWorker], episodes: int) -> list[str]:
    """A digest of all that is seen and earned in each of so many episodes, over all workers."""
    batch = SignalBatch(workers, lambda worker, episode: 100 * worker + episode)
    found: list[list[str]] = [[] for _ in workers]
    running = [hashlib.sha256() for _ in workers]
    try:
        batch.reset()
        turn = 0
        while min(map(len, found)) < episodes:
            masks = batch.masks()
            for n, rows in enumerate(batch.rows):
                running[n].update(batch.observations()[rows].tobytes() + masks[rows].tobytes())
            phases = np.where(masks, (np.arange(masks.shape[1]) + turn) % masks.shape[1], -1).argmax(axis=1)
            for step in batch.step(phases):
                running[step.worker].update(step.reward.tobytes())
                if step.last is not None:
                    found[step.worker].append(running[step.worker].hexdigest())
                    running[step.worker] = hashlib.sha256(step.last.tobytes())
            turn += 1
    finally:
        batch.close()
    assert batch.failures == 0
    return [digest for of_worker in found for digest in of_worker[:episodes]]


def test_twenty_resets_on_ray_are_the_same_episodes_as_here() -> None:
    from envs.workers.cluster import Cluster

    for name, begin_s in (("cologne3", 25200.0), ("single", 0.0)):
        options = EnvOptions(name, begin_s=begin_s, end_s=begin_s + 200.0)
        here = hashes([options.worker() for _ in range(2)], 10)
        with Cluster(None, 2) as cluster:
            there = hashes([cluster.worker(options.worker().setup) for _ in range(2)], 10)
        assert there == here
        assert len(set(here)) == 20


def test_code_from_outside_goes_along_to_ray(tmp_path: Path) -> None:
    """A lambda, and a class of a file that the actors cannot import."""
    from envs.workers.cluster import Cluster

    path = tmp_path / "mine.py"
    path.write_text(
        "from signals.observations import PhaseObservation\n"
        "class Later(PhaseObservation):\n"
        "    def fill(self, snapshot):\n"
        "        super().fill(snapshot)\n"
        "        self.phase[:, :, 8] = snapshot.time_s[0]\n"
    )
    weight = 3.0
    options = EnvOptions(
        "single", end_s=200.0, observation=f"{path}:Later", reward=lambda layout, before, after: weight * after.time_s
    )
    here = hashes([options.worker()], 2)
    with Cluster(None, 1) as cluster:
        assert hashes([cluster.worker(options.setup())], 2) == here


def test_forks_on_ray_cost_what_they_cost_here() -> None:
    from envs.workers.cluster import Cluster

    options = EnvOptions("cologne1", begin_s=25200.0, end_s=25300.0)

    def tried(worker: SimulationWorker) -> list[float]:
        worker.ask_to_begin(5)
        worker.wait_until_begun()
        greedy = Greedy()
        greedy.reset(worker.setup.simulation.plan.intersections, worker.layout, 0)
        for _ in range(8):
            worker.decide(greedy.decide(worker.snapshot))
        worker.ask_to_branch(Branches([[np.array([phase])] for phase in range(3)], 6, greedy))
        outcomes = worker.branched()
        worker.decide(greedy.decide(worker.snapshot))
        worker.close()
        return [outcome.loss_s for outcome in outcomes]

    here = tried(options.worker())
    with Cluster(None, 1) as cluster:
        assert tried(cluster.worker(options.worker().setup)) == here
    assert len(set(here)) > 1


def test_an_actor_that_dies_ends_its_episode_and_the_next_begins_in_a_new_one() -> None:
    from envs.workers.cluster import Cluster

    options = EnvOptions("single", begin_s=0.0, end_s=200.0)
    with Cluster(None, 2) as cluster:
        workers = [cluster.worker(options.worker().setup) for _ in range(2)]
        batch = SignalBatch(workers, lambda worker, episode: 7)
        batch.reset()
        first = batch.observations()
        lost: list[Turn] = []
        for turn in range(12):
            if turn == 5:
                hosts = [p for p in psutil.Process().children(recursive=True) if "ray::Host" in " ".join(p.cmdline())]
                assert len(hosts) == 2
                hosts[0].kill()
            turns = batch.step(np.zeros(2, np.int64))
            ended = [each for each in turns if each.last is not None]
            if turn == 5:
                (end,) = ended
                lost.append(end)
                assert "gone" in end.failure
                assert end.reward[0] == 0.0
                rows = batch.rows[end.worker]
                assert np.array_equal(batch.observations()[rows], first[rows]), "the next episode's first"
            else:
                assert not ended
        assert batch.failures == 1
        assert workers[lost[0].worker].snapshot.time_s[0] == 6 * 5.0
        assert workers[1 - lost[0].worker].snapshot.time_s[0] == 12 * 5.0
        batch.close()


def test_forty_runs_with_a_machine_killed_in_the_middle_give_the_same_table(tmp_path: Path) -> None:
    here = command("evaluate.py", *RUNS)
    alone, said = end_of(here, 400)
    assert here.returncode == 0, said
    with two_nodes(tmp_path) as nodes:
        run = command("evaluate.py", *RUNS, "--out", str(tmp_path / "out"), "--keep-sumo-output", nodes=nodes)
        kept = tmp_path / "out" / "sumo"
        until = time.monotonic() + 400
        # between two tasks the machine would have nothing to lose, nor where it is slow to begin with its first one
        while len(list(kept.glob("*/*/tls_states.xml"))) < FORTY // 4 or not nodes.halt_within(1, "_run"):
            assert run.poll() is None, (*run.communicate(), nodes.told())
            if time.monotonic() > until:
                run.kill()
                raise AssertionError((*run.communicate(), nodes.told()))
            time.sleep(0.05)
        assert nodes.kill(1) >= 4, "raylet, worker, template and simulation among them"
        assert len(list(kept.glob("*/*/tls_states.xml"))) < FORTY
        table, said = end_of(run, 600)
        told = f"{said}\n{nodes.told()}"
    assert run.returncode == 0, told
    assert "is run again from its beginning" in said, told
    assert table.removesuffix(f"written to {tmp_path / 'out'}\n") == alone, told
    assert len(list(kept.glob("*/*/tripinfo.xml"))) == FORTY, told


def test_training_on_ray_gives_the_very_weights_of_local_processes(tmp_path: Path) -> None:
    settings = (
        "train.py", "--scenario", "single", "--end", "600", "--steps", "1200",
        "--validate-every", "0", "--workers", "2", "--out",
    )  # fmt: skip
    for name, where in (("here", ()), ("ray", ("--engine", "ray"))):
        run = command(*settings, str(tmp_path / name), *where)
        _, said = end_of(run, 400)
        assert run.returncode == 0, said
    here, there = (torch.load(tmp_path / name / "policy.pt", weights_only=True)["scorer"] for name in ("here", "ray"))
    assert here.keys() == there.keys()
    assert all(torch.equal(here[name], there[name]) for name in here)


def test_training_goes_on_when_a_machine_dies(tmp_path: Path) -> None:
    with two_nodes(tmp_path) as nodes:
        out = tmp_path / "run"
        run = command(
            "train.py", "--scenario", "single", "--end", "600", "--steps", "1500", "--validate-every", "0",
            "--workers", "2", "--out", str(out), nodes=nodes,
        )  # fmt: skip
        until = time.monotonic() + 300
        while not (out / "progress.csv").is_file():
            assert time.monotonic() < until
            assert run.poll() is None, (*run.communicate(), nodes.told())
            time.sleep(0.1)
        nodes.kill(1)
        _, said = end_of(run, 400)
        told = f"{said}\n{nodes.told()}"
    assert run.returncode == 0, told
    assert "its next episode begins in a new process" in said, told


def test_another_token_is_refused_in_one_line(tmp_path: Path) -> None:
    with two_nodes(tmp_path) as nodes:
        nodes.environment = {**nodes.environment, "RAY_AUTH_TOKEN": "not-the-token-of-this-cluster"}
        run = command("evaluate.py", *RUNS, nodes=nodes)
        _, said = end_of(run, 200)
    assert run.returncode == 2, said
    assert "refuses this token" in said
    assert len(said.splitlines()) == 1


def test_nobody_at_the_address_is_one_line() -> None:
    run = command("evaluate.py", *RUNS, "--engine", "ray", "--address", "127.0.0.1:9")
    _, said = end_of(run, 200)
    assert run.returncode == 2, said
    assert "no Ray cluster answers at 127.0.0.1:9" in said
    assert len(said.splitlines()) == 1


def test_a_machine_with_other_versions_says_so() -> None:
    setup = EnvOptions("single").worker().setup
    kind, said = Host(pack(setup), Parcel({}), {"libsumo": "0.1"}).begin(1)
    assert kind == "refused"
    assert "libsumo is" in str(said)


def test_more_workers_than_cores_of_a_cluster_are_refused(tmp_path: Path) -> None:
    with two_nodes(tmp_path) as nodes:
        run = command("evaluate.py", *RUNS[:-1], "3", nodes=nodes)
        _, said = end_of(run, 200)
    assert run.returncode == 2, said
    assert "has 2 cores; give --workers 2" in said


@pytest.mark.parametrize("where", ["here", "on a cluster"])
def test_nothing_is_imported_from_the_current_folder(where: str, tmp_path: Path) -> None:
    folder = foreign_folder(tmp_path)
    words = ["evaluate.py", "--scenario", "my.sumocfg", "--controllers", "webster", "cop", "--seeds", "1"]
    if where == "here":
        done = run_there(folder, [*words, "--engine", "ray", "--workers", "2"], PYTHONPATH="")
    else:
        with two_nodes(tmp_path) as nodes:
            words += ["--engine", "ray", "--address", nodes.address]
            done = run_there(folder, words, **{k: v for k, v in nodes.environment.items() if k.startswith("RAY_")})
    assert imported(folder) == []
    assert done.returncode == 0, done.stderr


def test_ctrl_c_leaves_nothing_behind() -> None:
    run = subprocess.Popen(
        [sys.executable, "evaluate.py", *RUNS, "--engine", "ray"],
        cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    until, started = time.monotonic() + 100, []
    while not any("envs.workers.server" in " ".join(p.cmdline()) for p in started):
        assert time.monotonic() < until
        time.sleep(0.2)
        started = [p for p in psutil.Process(run.pid).children(recursive=True) if p.status() != "zombie"]
    os.killpg(run.pid, signal.SIGINT)
    _, said = end_of(run, 60)
    assert run.returncode == 130, said
    assert said.splitlines()[-1].startswith("stopped after ")
    assert "Traceback" not in said
    _, left = psutil.wait_procs(started, timeout=20)
    assert not left


def test_files_that_a_machine_lacks_are_sent_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The actor's side, with the originals gone: it runs from its copies."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    source = load("single")
    mine = tmp_path / "mine"
    mine.mkdir()
    for path in (source.net_file, *source.route_files):
        (mine / path.name).write_bytes(path.read_bytes())
    options = EnvOptions(
        mine / source.net_file.name, routes=[mine / p.name for p in source.route_files], begin_s=0.0, end_s=100.0
    )
    setup = options.worker().setup
    parcel = Parcel.of(files_of_setup(setup.simulation))
    expected = Host(pack(setup), parcel, {}).begin(3)
    for path in mine.iterdir():
        path.unlink()
    assert Host(pack(setup), parcel, {}).begin(3) == expected
    assert expected[0] == "ok"
    with pytest.raises(InputError):
        options.worker()

"""The environments: conformance, exact resets, windows, masks, and what they refuse."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env as gymnasium_check_env
from pettingzoo.test import parallel_api_test, parallel_seed_test
from stable_baselines3.common.env_checker import check_env as sb3_check_env

import envs
from envs import NetworkEnv, SignalEnv
from envs.sumo.setup import SimulationOptions, make_setup
from envs.workers.client import RemoteSimulation
from envs.workers.server import WorkerSetup
from plumbing.errors import InputError
from scenarios.scenario import Scenario
from signals.observations import DetectorObservation, PhaseObservation
from signals.planner.observation import PlannedObservation
from tests.windows import phase_of, window

ROOT = Path(__file__).parents[1]
CONFORMING = (
    "single",  # where people walk, too
    "ingolstadt7",  # signals unlike each other
    *(pytest.param(name, marks=pytest.mark.slow) for name in ("cologne1", "cologne3", "grid4x4")),
)


@pytest.fixture(scope="module")
def cologne1() -> Iterator[SignalEnv]:
    """Five minutes, begun anew by each test."""
    env = SignalEnv(window("cologne1", 300))
    yield env
    env.close()


# --- conformance


@pytest.mark.filterwarnings("ignore:.*not within the observation space bounds:UserWarning")
@pytest.mark.parametrize("name", CONFORMING)
def test_gymnasium_and_stable_baselines3_accept_the_signal_env(name: str) -> None:
    network = NetworkEnv(window(name, 60))
    tls_id = network.possible_agents[0]
    env = SignalEnv(window(name, 60), tls_id=tls_id)
    gymnasium_check_env(env, skip_render_check=True)
    sb3_check_env(env)
    env.close()


@pytest.mark.parametrize("name", CONFORMING)
def test_pettingzoo_accepts_the_network_env(name: str) -> None:
    env = NetworkEnv(window(name, 60))
    parallel_api_test(env, num_cycles=20)
    env.close()
    made: list[NetworkEnv] = []

    def make() -> NetworkEnv:
        made.append(envs.parallel_env(window(name, 60)))
        return made[-1]

    parallel_seed_test(make, num_cycles=8)
    for one in made:
        one.close()


def test_gymnasium_makes_the_registered_id() -> None:
    env = gymnasium.make("envs:intergreen/Signal-v0", scenario=window("cologne1", 60))
    observation, _ = env.reset(seed=0)
    assert env.observation_space.contains(observation)
    env.close()


@pytest.mark.parametrize("table", [PhaseObservation, DetectorObservation, PlannedObservation])
def test_the_docstrings_tables_are_the_arrays(table: type[PhaseObservation]) -> None:
    rows = re.findall(r"^\s*\| (\d+) \| (\w+) \|.*\| ([\d.]+) \|$", table.__doc__ or "", re.MULTILINE)
    first = len(table.PHASE_FEATURES)
    assert [int(n) for n, _, _ in rows] == [*range(first), *range(len(table.MOVEMENT_FEATURES))]
    assert tuple(name for _, name, _ in rows) == table.PHASE_FEATURES + table.MOVEMENT_FEATURES
    assert [float(scale) for _, _, scale in rows[:first]] == table.PHASE_SCALE.tolist()
    assert [float(scale) for _, _, scale in rows[first:]] == table.MOVEMENT_SCALE.tolist()


# --- exact resets


class Recorded:
    """A simulation whose every vehicle's way is written down."""

    def __init__(self, scenario: Scenario, folder: Path) -> None:
        self.file = folder / "fcd.xml"
        options = ("--fcd-output", str(self.file), "--precision", "6")
        self.simulation = RemoteSimulation(WorkerSetup(make_setup(scenario, outputs=options)))

    def trajectories(self, seed: int) -> str:
        """Hash of all positions and speeds under decisions drawn from the seed."""
        random, simulation = np.random.default_rng(seed), self.simulation
        simulation.begin(seed)
        while not simulation.done:
            simulation.decide(random.integers(simulation.layout.phase_exists.sum(axis=1)))
        simulation.end()
        text = self.file.read_text()
        text = text[text.index("<fcd-export") :]  # without the date and the options
        assert text.count("<vehicle ") > 1000
        return hashlib.sha256(text.encode()).hexdigest()


def test_a_seed_gives_the_same_trajectories_at_every_reset_and_in_every_env(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    one = Recorded(window("cologne1", 200), tmp_path / "a")
    other = Recorded(window("cologne1", 200), tmp_path / "b")
    found = [one.trajectories(seed) for seed in (3, 3, 4, 3, 3, 3)]
    assert len({found[n] for n in (0, 1, 3, 4, 5)}) == 1
    assert found[2] != found[0], "another seed is another episode"
    assert other.trajectories(3) == found[0]
    one.simulation.close()
    other.simulation.close()


@pytest.mark.wide
def test_two_envs_at_once_do_not_disturb_each_other(cologne1: SignalEnv) -> None:
    def step(env: SignalEnv) -> tuple[bytes, float]:
        observation, reward, *_ = env.step(phase_of(env))
        return observation.tobytes(), reward

    first, second = cologne1, SignalEnv(window("ingolstadt1", 100))
    first.reset(seed=1)
    alone = [step(first) for _ in range(15)]
    first.reset(seed=1)
    second.reset(seed=1)
    together = []
    for _ in range(15):
        together.append(step(first))
        step(second)
    assert together == alone
    second.close()


def test_without_a_seed_episodes_differ_but_repeat_after_the_first_one_is_seeded(cologne1: SignalEnv) -> None:
    def episode(env: SignalEnv, seed: int | None) -> bytes:
        env.reset(seed=seed)
        return b"".join(env.step(0)[0].tobytes() for _ in range(12))

    first = [episode(cologne1, 5), episode(cologne1, None), episode(cologne1, None)]
    assert len(set(first)) == 3
    assert [episode(cologne1, 5), episode(cologne1, None), episode(cologne1, None)] == first


# --- windows, masks, choice of signals


def test_the_horizon_is_a_truncation_also_between_two_decisions() -> None:
    env = SignalEnv(window("cologne1", 62))
    env.reset(seed=0)
    ends = [env.step(0)[2:4] for _ in range(13)]
    assert ends == [(False, False)] * 12 + [(False, True)]
    assert env._worker.snapshot.time_s[0] == window("cologne1", 62).end_s
    env.close()


def test_a_warm_up_runs_before_the_first_decision() -> None:
    env = SignalEnv(window("cologne1", 300), warm_up_s=120)
    _, info = env.reset(seed=0)
    assert info["time_s"] == window("cologne1", 300).begin_s + 120
    assert env._worker.snapshot.vehicles.sum() > 10
    assert env._worker.snapshot.since_served_s.max() < 120, "the signals went round"
    env.close()
    with pytest.raises(InputError, match="less than the horizon"):
        SignalEnv(window("cologne1", 300), warm_up_s=300)


def test_a_masked_phase_is_not_shown_and_an_allowed_one_is(cologne1: SignalEnv) -> None:
    env = cologne1
    random = np.random.default_rng(0)
    _, info = env.reset(seed=0)
    refused = 0
    for _ in range(60):
        action, before = int(random.integers(env.action_space.n)), phase_of(env)
        mask = info["action_mask"]
        assert mask.any()
        assert np.array_equal(mask, env.action_masks())
        info = env.step(action)[-1]
        if mask[action]:
            assert phase_of(env) == action
        else:
            refused += 1
            assert phase_of(env) != action
            assert mask[phase_of(env)]
            assert not mask[before] or phase_of(env) == before
    assert refused > 5


def test_a_call_ends_a_green_that_is_held_for_too_long(cologne1: SignalEnv) -> None:
    cologne1.reset(seed=0)
    shown = []
    for _ in range(40):
        cologne1.step(0)
        shown.append(phase_of(cologne1))
    assert set(shown) != {0}, "max green is honoured"


@pytest.mark.wide
def test_the_other_signals_keep_their_program(tmp_path: Path) -> None:
    scenario = window("cologne3", 200)
    ids = make_setup(scenario).plan.tls_ids

    def states(tls_ids: list[str] | None, controlled: bool) -> dict[str, list[tuple[str, ...]]]:
        out, events = tmp_path / "states.xml", tmp_path / "events.add.xml"
        rows = [f'<timedEvent type="SaveTLSStates" source="{tls}" dest="{out}"/>' for tls in ids]
        events.write_text(f"<additional>{''.join(rows)}</additional>")
        setup = make_setup(
            scenario, SimulationOptions(tls_ids=tls_ids), controlled=controlled, extra_additional=[events]
        )
        simulation = RemoteSimulation(WorkerSetup(setup, reward="", observation=""))
        simulation.begin(1)
        while not simulation.done:
            simulation.decide((simulation.snapshot.phase + 1) % simulation.layout.phase_exists.sum(axis=1))
        simulation.end()
        simulation.close()
        found: dict[str, list[tuple[str, ...]]] = {tls: [] for tls in ids}
        for row in ET.parse(out).getroot():
            found[row.attrib["id"]].append((row.attrib["time"], row.attrib["programID"], row.attrib["state"]))
        return found

    free, chosen = states(None, False), states([ids[1]], True)
    assert chosen[ids[0]] == free[ids[0]]
    assert chosen[ids[2]] == free[ids[2]]
    # the program is swapped right at the start, so that not one state of it is shown
    assert {program for _, program, _ in chosen[ids[1]]} == {"intergreen"}
    assert chosen[ids[1]] != free[ids[1]]


# --- bad input


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scenario": "colonge1"}, "Did you mean 'cologne1'"),
        ({"scenario": "cologne1", "tls_id": "GS_cluster_357187"}, "Did you mean 'GS_cluster_357187_359543'"),
        ({"scenario": "cologne3"}, "has 3 signals; name one with tls_id"),
        ({"scenario": "cologne1", "rewards": "queue"}, "unknown option 'rewards'.*Did you mean 'reward'"),
        ({"scenario": "cologne1", "reward": "queue_vehs"}, "unknown reward.*Did you mean 'queue_veh'"),
        ({"scenario": "cologne1", "observation": "phase"}, "unknown observation.*Did you mean 'phases'"),
        ({"scenario": "cologne1", "sensing": "detector"}, "unknown sensing"),
        ({"scenario": "cologne1", "render_mode": "ansi"}, "unknown render_mode 'ansi'; choose one of human"),
        ({"scenario": "cologne1", "end_s": 100}, "is not after the begin"),
        ({"scenario": "cologne1", "warm_up_s": -1}, "warm_up_s is -1"),
        ({"scenario": "cologne1", "demand": "heldout"}, "unknown demand"),
        ({"scenario": "no/such.sumocfg"}, "no/such.sumocfg"),
    ],
)
def test_bad_settings_are_refused_in_one_line_with_a_hint(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        SignalEnv(**options)
    assert "\n" not in str(caught.value)


# --- surroundings


@pytest.mark.wide
def test_neither_sumo_home_nor_the_terminal_is_touched() -> None:
    script = (
        "from envs import NetworkEnv\n"
        "for name in ('cologne1', 'ingolstadt7'):\n"
        "    env = NetworkEnv(name)\n"
        "    env.reset(seed=0)\n"
        "    for _ in range(20): env.step({})\n"
        "    env.reset(seed=1)\n"
        "    env.close()\n"
    )
    environment = {k: v for k, v in os.environ.items() if k not in ("SUMO_HOME", "PROJ_LIB", "PROJ_DATA")}
    run = subprocess.run(
        [sys.executable, "-c", script],
        env={**environment, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")


# --- varied demand


@pytest.mark.wide
def test_each_episode_draws_its_demand_from_its_seed() -> None:
    def halting(seeds: list[int], demand_range: tuple[float, float]) -> list[tuple[int, int]]:
        env = SignalEnv(window("cologne1", 300), demand_range=demand_range)
        seen = []
        for seed in seeds:
            env.reset(seed=seed)
            for step in range(59):
                env.step((step // 6) % 4)
            seen.append((int(env._worker.snapshot.vehicles.sum()), int(env._worker.snapshot.halting.sum())))
        env.close()
        return seen

    (light,), (heavy,) = halting([3], (0.3, 0.3)), halting([3], (1.5, 1.5))
    assert light[0] < 0.5 * heavy[0]
    varied = halting([3, 4, 3], (0.3, 1.5))
    assert varied[0] == varied[2]
    assert varied[0] != varied[1]
    with pytest.raises(InputError, match="above 0"):
        SignalEnv("cologne1", demand_range=(0.0, 1.0))

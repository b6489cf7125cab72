"""What users of Gymnasium, PettingZoo, SuperSuit and Stable-Baselines3 do with an environment."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import gymnasium
import numpy as np
import pytest
import supersuit
from pettingzoo.test import api_test, render_test, seed_test
from pettingzoo.utils.conversions import parallel_to_aec

from envs import NetworkEnv, SignalEnv, SignalsVectorEnv
from envs.sumo.gui import NoPictures, render_setup
from plumbing.errors import InputError
from tests.windows import window

ROOT = Path(__file__).parents[1]
NAME = "intergreen/Signal-v0"


def as_aec(**options: Any) -> Any:
    return parallel_to_aec(NetworkEnv(window("cologne3", 60), **options))


# --- masks


def test_a_mask_is_what_spaces_sample_with() -> None:
    signal, network = SignalEnv(window("cologne1", 60)), NetworkEnv(window("cologne3", 60))
    _, info = signal.reset(seed=1)
    drawn = set()
    for _ in range(11):
        action = signal.action_space.sample(info["action_mask"])
        assert info["action_mask"][action] == 1
        drawn.add(int(action))
        info = signal.step(action)[-1]
    assert len(drawn) > 1
    assert signal.action_masks().dtype == bool, "as sb3-contrib has it"
    _, infos = network.reset(seed=1)
    network.step({a: network.action_space(a).sample(infos[a]["action_mask"]) for a in network.agents})
    many = SignalsVectorEnv(window("cologne3", 60))
    _, info = many.reset(seed=1)
    actions = many.action_space.sample(tuple(info["action_mask"]))
    assert info["action_mask"][np.arange(many.num_envs), actions].all()
    for env in (signal, network, many):
        env.close()


@pytest.mark.wide
def test_pettingzoo_accepts_the_form_in_which_agents_take_turns() -> None:
    env = as_aec()
    api_test(env, num_cycles=30)
    env.close()
    made = []

    def make() -> Any:
        made.append(as_aec())
        return made[-1]

    seed_test(make, num_cycles=6)
    for one in made:
        one.close()


def test_pettingzoo_accepts_the_pictures() -> None:
    def make(**options: Any) -> Any:
        env = as_aec(**options)
        env.metadata = {**env.metadata, "render_modes": ["rgb_array"]}  # a window needs a desktop
        return env

    try:
        render_setup("rgb_array")
    except NoPictures:
        with pytest.raises(InputError, match="rgb_array"):
            make(render_mode="rgb_array")
        return
    os.environ.setdefault("DISPLAY", ":0")  # that it is asked for a window first is the test's way
    render_test(make)


# --- Stable-Baselines3's way to make environments


@pytest.mark.wide
def test_stable_baselines3_makes_environments_where_there_is_no_display(tmp_path: Path) -> None:
    script = (
        "import shutil\n"
        "from stable_baselines3.common.env_util import make_vec_env\n"
        "assert shutil.which('Xvfb') is None\n"
        f"env = make_vec_env('envs:{NAME}', n_envs=2, env_kwargs={{'scenario': 'cologne1', 'end_s': 25260}})\n"
        "env.seed(1)\n"
        "rows = env.reset()\n"
        "rows, rewards, dones, infos = env.step([0, 1])\n"
        "print(rows.shape[0], env.render_mode, infos[0]['action_mask'].dtype)\n"
        "env.close()\n"
    )
    settings = {k: v for k, v in os.environ.items() if k != "DISPLAY"} | {
        "PATH": str(tmp_path),
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script], env=settings, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, "2 None int8\n"), done.stderr


# --- copies


@pytest.fixture(scope="module", params=["signal", "network", "vector"])
def env(request: pytest.FixtureRequest) -> Iterator[Any]:
    scenario = window("cologne3", 60)
    made: Any = {
        "signal": lambda: SignalEnv(scenario, tls_id="360082", reward="queue_veh"),
        "network": lambda: NetworkEnv(scenario, ["360082", "360086"], reward="queue_veh"),
        "vector": lambda: SignalsVectorEnv(scenario, workers=2, reward="queue_veh"),
    }[request.param]()
    yield made
    made.close()


def episode(env: Any, steps: int = 3) -> list[bytes]:
    """What the first steps of seed 7 show."""
    rows = [env.reset(seed=7)[0]]
    for _ in range(steps):
        action: Any = 1
        if isinstance(env, NetworkEnv):
            action = dict.fromkeys(env.agents, 1)
        elif isinstance(env, SignalsVectorEnv):
            action = np.ones(env.num_envs, np.int64)
        rows.append(env.step(action)[0])
    return [b"".join(part.tobytes() for part in (row.values() if isinstance(row, dict) else [row])) for row in rows]


@pytest.mark.wide
def test_a_copy_is_a_new_environment_with_the_same_arguments(env: Any) -> None:
    ways = (copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env)))
    new = [copied(env) for copied in ways]
    expected = episode(env)
    env.reset(seed=1)
    begun = [copied(env) for copied in (*ways, lambda env: cloudpickle.loads(cloudpickle.dumps(env)))]
    try:
        assert [episode(other) for other in (*new, *begun)] == [expected] * 5
        assert episode(env) == expected, "it shares nothing with its copies"
    finally:
        for other in (*new, *begun):
            other.close()


@pytest.mark.wide
def test_a_copy_has_to_be_reset() -> None:
    env = SignalEnv(window("cologne1", 60))
    env.reset(seed=1)
    other = copy.deepcopy(env)
    with pytest.raises(Exception, match="call reset"):
        other.step(0)
    env.step(0)
    for one in (env, other):
        one.close()


@pytest.mark.wide
@pytest.mark.parametrize("cpus", [1, 2])
def test_supersuit_joins_several(cpus: int) -> None:
    one = NetworkEnv(window("grid:1x2", 60))
    vector = supersuit.pettingzoo_env_to_vec_env_v1(one)
    joined = supersuit.concat_vec_envs_v1(vector, 2, num_cpus=cpus, base_class="gymnasium")
    rows, _ = joined.reset(seed=3)
    assert rows.any()
    assert joined.num_envs == 2 * len(one.possible_agents)
    assert rows.shape[0] == joined.num_envs
    truncated = [joined.step(np.zeros(joined.num_envs, np.int64))[3] for _ in range(13)]  # beyond the end
    assert [all(each) for each in truncated] == [False] * 11 + [True, False]
    joined.close()
    one.close()


@pytest.mark.wide
def test_gymnasium_makes_many_of_the_registered_id() -> None:
    many = gymnasium.make_vec(
        f"envs:{NAME}", num_envs=2, vectorization_mode="async", scenario="cologne1", end_s=25200.0 + 60
    )
    rows, info = many.reset(seed=1)
    assert rows.shape[0] == 2
    many.step(many.action_space.sample(tuple(info["action_mask"])))
    many.close()

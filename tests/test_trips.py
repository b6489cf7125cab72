"""The trips of an environment's episode are those that an evaluation of the same decisions writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from stable_baselines3.common.vec_env import DummyVecEnv

from controllers.registry import make
from envs import NetworkEnv, SignalEnv
from envs.sumo.outputs import VEHICLE_COLUMNS
from envs.sumo.simulation import SimulationError
from evaluation.runs import Contestant, Evaluation, run_all
from plumbing.errors import InputError
from tests.meddling import Meddling
from tests.windows import window

SECONDS = 300
SEED = 12345


def run(env: Any, seed: int = SEED) -> None:
    """A whole episode under max-pressure."""
    env.reset(seed=seed)
    controller: Any = make("max_pressure")
    plan, done = env._worker.setup.simulation.plan, False
    controller.reset(plan.intersections, env.layout, seed)
    while not done:
        phases = controller.decide(env.snapshot)
        if isinstance(env, NetworkEnv):
            env.step(dict(zip(env.possible_agents, phases, strict=True)))
            done = not env.agents
        else:
            done = env.step(phases[0])[3]


def test_they_are_the_table_that_evaluate_has() -> None:
    scenario = window("cologne3", SECONDS)
    env = NetworkEnv(scenario)
    run(env)
    (judged,) = run_all(Evaluation(scenario, [Contestant("max_pressure", lambda: make("max_pressure"))], [SEED]))
    trips = env.trips()
    assert trips.height > 50
    assert dict(trips.schema) == VEHICLE_COLUMNS
    assert trips.equals(judged.vehicles)
    assert env.trips() is trips, "it is not run again"
    assert env.trips("persons").height == 0
    env.reset(seed=SEED + 1)
    env.step({})
    assert env.trips() is trips, "of the last episode that has ended"
    run(env, SEED + 1)
    assert not env.trips().equals(trips)
    env.close()


@pytest.mark.wide
def test_they_outlive_a_reset_by_a_wrapper() -> None:
    env = DummyVecEnv([lambda: SignalEnv(window("cologne1", 60))])
    env.seed(3)
    env.reset()
    dones = [bool(env.step([0])[2][0]) for _ in range(13)]
    assert dones.index(True) == 11
    (trips,) = env.env_method("trips")
    assert trips.height > 5
    assert trips["planned_s"].max() < window("cologne1", 60).end_s
    env.close()


def test_what_is_wrong_is_said() -> None:
    env = SignalEnv(window("cologne1", 30))
    env.reset(seed=0)
    with pytest.raises(InputError, match="no episode has ended yet"):
        env.trips()
    while not env.step(0)[3]:
        pass
    with pytest.raises(InputError, match="no trips of 'cars'; choose vehicles or persons"):
        env.trips("cars")
    env.close()


@pytest.mark.wide
def test_an_episode_that_does_not_repeat_is_not_told_otherwise(tmp_path: Path) -> None:
    count = tmp_path / "begun"
    count.write_text("")
    env = SignalEnv(window("cologne1", 60), reward=Meddling(count))
    env.reset(seed=0)
    while not env.step(0)[3]:
        pass
    with pytest.raises(SimulationError, match="does not repeat"):
        env.trips()
    env.close()

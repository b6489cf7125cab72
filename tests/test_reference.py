"""sumo-rl's observation and rewards as we compute them, against sumo-rl itself on the same simulation."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sumo
from gymnasium import spaces

from envs import NetworkEnv, SignalEnv
from plumbing.errors import InputError

ROOT = Path(__file__).parents[1]
PEER = r"""
import json, sys, types
import libsumo, numpy as np
from sumo_rl import SumoEnvironment
from sumo_rl.environment.observations import DefaultObservationFunction
from sumo_rl.environment.traffic_signal import TrafficSignal
from envs.options import EnvOptions
from envs.sumo.simulation import Simulation
from envs.sumo.sumo_rl import exits_of
from scenarios.loading import load
from signals.reward_sum import RewardSum, terms_of
from signals.rewards import REWARDS as ALL

name, begin_s, decisions = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
scenario = load(name, begin_s=begin_s)
env = SumoEnvironment(net_file=str(scenario.net_file), route_file=str(scenario.route_files[0]))
peers = {tls: (list(s.lanes), len(s.observation_space.low), s.num_green_phases,
               s.observation_space.low.min(), s.observation_space.high.max(), s.observation_space.dtype)
         for tls, s in env.traffic_signals.items()}
REWARDS = [name for name, reward in ALL.items() if isinstance(reward, str)]
worker = EnvOptions(scenario, observation="sumo-rl", reward=" + ".join(REWARDS)).setup()
setup = worker.simulation
simulation = Simulation(setup)
simulation.begin(5)
layout, machine = setup.layout, simulation.machine
observe = worker.observes(layout, np.zeros((len(layout.tls_ids), worker.observation_shape.size), np.float32))
observe.begin(simulation)
ours = RewardSum(worker.terms, layout)
ours.begin(simulation)
# fixed_ts: a TrafficSignal that measures, and leaves the signal alone
fake = types.SimpleNamespace(fixed_ts=True, vehicles={}, observation_class=DefaultObservationFunction)
theirs = [TrafficSignal(fake, tls, 5, 0, 5, 60, 0, "queue", libsumo) for tls in layout.tls_ids]
for s, signal in enumerate(theirs):
    signal.num_green_phases = len(machine.intersections[s].phases)
random = np.random.default_rng(0)
different, values = [], {reward: set() for reward in REWARDS}
asked_s = np.full(len(theirs), simulation.now_s)
rows, each, total = observe.rows, np.zeros((len(REWARDS), len(theirs))), np.zeros(len(theirs))
for decision in range(decisions):
    mask, old, at_s = simulation.snapshot.mask.copy(), machine.phase.copy(), simulation.now_s
    simulation.decide(np.array([random.choice(np.flatnonzero(m)) for m in mask]))
    observe.write(simulation.snapshot)
    ours.write(simulation.snapshot, simulation.snapshot, total, each)
    rewards = dict(zip(REWARDS, each))
    if not np.allclose(total, each.sum(axis=0)):
        different.append([decision, "sum"])
    for s, signal in enumerate(theirs):
        if machine.phase[s] != old[s]:
            asked_s[s] = at_s
            signal.yellow_time = machine.intersections[s].intergreen_s(int(old[s]), int(machine.phase[s]))
        signal.min_green = machine.intersections[s].phases[machine.phase[s]].min_green_s
        signal.green_phase = int(machine.phase[s])
        signal.time_since_last_phase_change = simulation.now_s - asked_s[s]
        expected = signal.compute_observation()
        if not np.array_equal(expected, rows[s, :len(expected)]) or rows[s, len(expected):].any():
            different.append([decision, signal.id, "observation"])
        for reward in REWARDS:
            value = TrafficSignal.reward_fns[reward](signal)
            values[reward].add(value)
            if value != rewards[reward][s]:
                different.append([decision, signal.id, reward, value, rewards[reward][s]])
exits = exits_of(simulation)
simulation.end()
print(json.dumps({
    "lanes_equal": [peers[tls][0] == observe._lanes[s] for s, tls in enumerate(layout.tls_ids)],
    "exits_equal": [set(signal.out_lanes) == set(exits[s]) for s, signal in enumerate(theirs)],
    "sizes": {tls: peer[1] for tls, peer in peers.items()},
    "phases": {tls: peer[2] for tls, peer in peers.items()},
    "bounds": sorted({(float(p[3]), float(p[4]), str(p[5])) for p in peers.values()}),
    "different": different[:5],
    "distinct_values": {reward: len(found) for reward, found in values.items()},
}))
"""


def peer(scenario: str, begin_s: float, decisions: int) -> dict[str, Any]:
    """What a process finds that holds sumo-rl (which asks for SUMO_HOME) and ours on one simulation."""
    run = subprocess.run(
        [sys.executable, "-c", PEER, scenario, str(begin_s), str(decisions)],
        env={**os.environ, "SUMO_HOME": sumo.SUMO_HOME, "PYTHONPATH": str(ROOT)},
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    found: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize(
    ("scenario", "begin_s", "decisions"),
    [
        ("cologne3", 25200, 60),
        *(
            pytest.param(scenario, begin_s, 720, marks=pytest.mark.slow)
            for scenario, begin_s in (
                ("cologne1", 25200),
                ("cologne8", 25200),
                ("grid4x4", 0),
                ("ingolstadt21", 57600),
            )
        ),
    ],
)
def test_observations_and_rewards_are_those_of_sumo_rl_to_the_last_bit(
    scenario: str, begin_s: float, decisions: int
) -> None:
    found = peer(scenario, begin_s, decisions)
    assert found["different"] == []
    assert all(found["lanes_equal"]), "the lanes are the same in the same order"
    assert all(found["exits_equal"])
    assert min(found["distinct_values"].values()) > 20, "the comparison saw traffic"
    env = NetworkEnv(scenario, observation="sumo-rl", reward="diff-waiting-time")
    assert set(env.possible_agents) == set(found["sizes"])
    for agent in env.possible_agents:
        assert env.observation_space(agent) == spaces.Box(0, 1, (found["sizes"][agent],), np.float32)
        assert env.action_space(agent).n == found["phases"][agent]
    assert found["bounds"] == [[0.0, 1.0, "float32"]]
    env.close()


@pytest.mark.wide
def test_walking_areas_of_crossings_are_among_sumo_rls_lanes() -> None:
    found = peer("single", 0, 20)
    assert found["different"] == []
    assert found["lanes_equal"] == [True]
    assert found["exits_equal"] == [True]


@pytest.mark.parametrize(
    "reward",
    ["diff-waiting-time", *(pytest.param(n, marks=pytest.mark.slow) for n in ("average-speed", "queue", "pressure"))],
)
def test_the_environment_hands_out_what_the_reference_computes(reward: str) -> None:
    env = SignalEnv("cologne1", observation="sumo-rl", reward=reward, end_s=25260)
    observation, info = env.reset(seed=2)
    assert env.observation_space.contains(observation)
    assert observation[0] == 1.0
    assert observation[4] == 0.0, "min green is not over at the begin"
    rewards, done = [], False
    while not done:
        observation, value, _, done, info = env.step(int(np.flatnonzero(info["action_mask"])[-1]))
        assert env.observation_space.contains(observation)
        rewards.append(value)
    assert len(rewards) == 12
    assert len(set(rewards)) > 4
    env.close()


def test_a_warm_up_is_not_charged_to_the_first_decision() -> None:
    env = SignalEnv("cologne1", reward="diff-waiting-time", end_s=25800, warm_up_s=300)
    env.reset(seed=2)
    first = env.step(0)[1]
    later = [env.step(0)[1] for _ in range(10)]
    assert abs(first) <= 3 * max(abs(value) for value in later) + 1.0
    env.close()


def test_an_unknown_reward_is_refused_with_a_hint() -> None:
    with pytest.raises(InputError, match=r"unknown reward 'diff-waiting'.*Did you mean 'diff-waiting-time'"):
        SignalEnv("cologne1", reward="diff-waiting")

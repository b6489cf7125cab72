"""What learning takes on 128 situations, in torch's own operations and in each compiled library that this processor
can run, by turns: a pass of the phase network forwards and back, then a whole gradient step of DQN.

The situations are those of random decisions on a scenario. One thread. A compiled step keeps what the target network
says of a transition, and torch's does not: here it is soon known of all, in a training of those that were drawn since
the target network was last renewed.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any
from unittest import mock

import numpy as np
import torch

from agents import compiled
from agents.dqn import MaskedDoubleDQN
from agents.learners import make_learner
from agents.network import PhaseScorer
from agents.settings import DQNSettings
from agents.vec_env import SignalsVecEnv
from envs.sumo.setup import make_setup
from envs.workers.client import RemoteSimulation
from envs.workers.server import WorkerSetup
from plumbing.command import run_command
from scenarios.scenario import load

ROWS = 128
DECISIONS = 4000  # of all signals together, for the replay buffer
TORCH = "torch"


def main(arguments: list[str] | None = None) -> int:
    """The command. Returns its exit status."""
    of = argparse.ArgumentParser(prog="benchmarks/gradient.py", description=__doc__)
    of.add_argument("--scenario", default="cologne3", metavar="NAME|PATH", help="default: cologne3")
    of.add_argument("--turns", type=int, default=20, help="how often each way has its turn (default: 20)")
    of.add_argument("--json", action="store_true", help="print the figures for machines")
    options = of.parse_args(arguments)
    torch.set_num_threads(1)
    learners = experienced(options.scenario)
    tasks: dict[str, dict[str, Callable[[], Any]]] = {
        "pass": {way: partial(forwards_and_back, learner) for way, learner in learners.items()},
        "DQN step": {way: learner.gradient_step for way, learner in learners.items()},
    }
    found = {name: measure(of, options.turns) for name, of in tasks.items()}
    if options.json:
        print(json.dumps({"scenario": options.scenario, "rows": ROWS, "median_us": found}, indent=2))
        return 0
    for name, times_us in found.items():
        for way, median_us in times_us.items():
            print(f"{name:10} {way:22} {median_us:8.0f} us   {median_us / times_us[TORCH]:5.2f} x {TORCH}")
    return 0


def experienced(scenario: str) -> dict[str, MaskedDoubleDQN]:
    """Per way, a learner that has learned nothing yet; the random decisions in the replay buffer are the same."""
    settings = DQNSettings(batch_size=ROWS, learning_starts=2 * DECISIONS, greedy_exploration=0.0)
    has = compiled.processor_flags()
    built = [n for n, needed in compiled.LIBRARIES.items() if needed <= has and (compiled.FOLDER / n).exists()]
    learners: dict[str, MaskedDoubleDQN] = {}
    env = SignalsVecEnv([RemoteSimulation(WorkerSetup(make_setup(load(scenario))))], seed=0, reward_scale=0.01)
    try:
        for way in (TORCH, *built):
            with only(way):
                learner = make_learner(settings, env, 0, None)
            assert isinstance(learner, MaskedDoubleDQN)
            learners[way] = learner
        first, *others = learners.values()
        first.learn(DECISIONS)
        first.store()
    finally:
        env.close()
    for other in others:
        other.replay_buffer = first.replay_buffer
    return learners


def forwards_and_back(learner: MaskedDoubleDQN) -> None:
    """A pass, with a loss that every score takes part in but those of phases that may not be chosen."""
    network, buffer = learner.q_net.q_net, learner.replay_buffer
    assert isinstance(network, PhaseScorer)
    assert buffer is not None
    network.zero_grad()
    network(torch.from_numpy(buffer.observations[:ROWS, 0])).clamp(min=-10.0).sum().backward()


def measure(tasks: Mapping[str, Callable[[], Any]], turns: int) -> dict[str, float]:
    """Per way, the median over turns of what its task takes [us]."""
    taken: dict[str, list[float]] = {way: [] for way in tasks}
    for _ in range(turns):
        for way, task in tasks.items():
            with only(way):
                taken[way].append(_mean_us(task))
    return {way: float(np.median(of)) for way, of in taken.items()}


@contextmanager
def only(way: str) -> Iterator[None]:
    """Let nothing else compute."""
    known = {} if way == TORCH else {way: compiled.LIBRARIES[way]}
    with mock.patch.object(compiled, "LIBRARIES", known):
        compiled.library.cache_clear()
        yield
    compiled.library.cache_clear()


def _mean_us(task: Callable[[], Any], times: int = 20) -> float:
    task()  # what happens the first time only
    began_s = time.perf_counter()
    for _ in range(times):
        task()
    return (time.perf_counter() - began_s) / times * 1e6


if __name__ == "__main__":
    run_command(main)

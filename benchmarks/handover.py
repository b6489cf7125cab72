"""What a decision takes beside the worker's own time: handing the question over and the answer back, and what
PettingZoo's dictionaries take. Over an hour of random phases, and for agents that think for as long as is said.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence

import numpy as np

from benchmarks.course import SEED, random_phases
from benchmarks.speed import window
from envs import parallel_env
from envs.network_env import NetworkEnv
from plumbing.command import run_command
from plumbing.errors import InputError

THOUGHTS_MS = (0.0, 0.3, 1.0)


def main(arguments: list[str] | None = None) -> int:
    """The command. Returns its exit status."""
    of = argparse.ArgumentParser(prog="benchmarks/handover.py", description=__doc__)
    of.add_argument("--scenario", default="cologne8", metavar="NAME|PATH", help="default: cologne8")
    of.add_argument("--think", nargs="+", type=float, default=THOUGHTS_MS, metavar="MS", help="default: 0 0.3 1")
    of.add_argument("--decisions", type=int, metavar="N", help="end an episode there (default: the scenario's end)")
    of.add_argument("--turns", type=int, default=3, help="episodes of each (default: 3)")
    of.add_argument("--json", action="store_true", help="print the figures for machines")
    options = of.parse_args(arguments)
    if min(options.think) < 0 or options.turns < 1 or (options.decisions or 2) < 2:
        raise InputError("--think must be at least 0, --turns at least 1, --decisions at least 2")
    found = measure(options.scenario, options.decisions, options.think, options.turns)
    if options.json:
        print(json.dumps({"scenario": options.scenario, "thoughts": found}, indent=2))
        return 0
    for row in found:
        beside, own = f"{row['beside_us']:5.0f} us ({row['share']:.1%})", f"{row['worker_us']:5.0f}"
        print(f"{row['think_ms']:5.1f} ms of thought: {beside} beside the worker's {own}")
    return 0


def measure(scenario: str, decisions: int | None, thoughts_ms: Sequence[float], turns: int) -> list[dict[str, float]]:
    """Per thought, over all decisions but each episode's last: `beside_us` and `worker_us` (medians), and the `share`
    of the former in the sum of all."""
    env = parallel_env(window(scenario, decisions))
    taken: dict[float, list[tuple[float, float]]] = {thought_ms: [] for thought_ms in thoughts_ms}
    try:
        for _ in range(turns):
            for thought_ms, pairs in taken.items():
                pairs += _episode(env, thought_ms)
    finally:
        env.close()
    rows = []
    for thought_ms, pairs in taken.items():
        beside_us, worker_us = (np.array(of) * 1e6 for of in zip(*pairs, strict=True))
        share = beside_us.sum() / (beside_us.sum() + worker_us.sum())
        medians = {"beside_us": float(np.median(beside_us)), "worker_us": float(np.median(worker_us))}
        rows.append({"think_ms": thought_ms, **medians, "share": float(share)})
    return rows


def _episode(env: NetworkEnv, thought_ms: float) -> list[tuple[float, float]]:
    """[s] of each decision: beside the worker's own time, and that."""
    env.reset(seed=SEED)
    worker, random, found = env._worker, np.random.default_rng(SEED), list[tuple[float, float]]()
    while env.agents:
        phases = random_phases(worker.snapshot.mask, random).tolist()
        asked, until_s = dict(zip(env.agents, phases, strict=True)), time.perf_counter() + thought_ms * 1e-3
        while time.perf_counter() < until_s:
            pass
        before_s, began_s = worker.decided_s, time.perf_counter()
        env.step(asked)
        taken_s, own_s = time.perf_counter() - began_s, worker.decided_s - before_s
        found.append((taken_s - own_s, own_s))
    return found[:-1]  # with the last one the episode ends


if __name__ == "__main__":
    run_command(main)

"""What each part of native/ saves of the time that one environment takes, seen from outside.

The parts: `step`, which switches the signals and steps SUMO to the next decision in one call; `look`, which reads
what came of it; `observe`, which writes the observation. One environment for each way runs the same decisions: with
all parts, without one of them, and with none (`INTERGREEN_NATIVE=0`). They are interleaved, ten decisions of each in
turn, and the order is reversed every time. All is repeated, and of each decision the least time counts, since other
programs only add to it. Given is by how much `step` of the environment takes longer than with all parts: the median
over all tens of decisions, and its 95 % bootstrap interval. All observations and rewards must be the same.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import time
from collections.abc import Mapping
from unittest import mock

import numpy as np
import numpy.typing as npt

from benchmarks.course import SEED, Answers, random_phases
from benchmarks.speed import tell, window
from benchmarks.systems import SLICE
from envs import parallel_env
from envs.network_env import NetworkEnv
from envs.sumo.compiled import native
from native.library import PARTS, SWITCH
from plumbing.command import run_command
from plumbing.errors import InputError
from scenarios.scenario import Scenario

SCENARIOS = ("cologne1", "cologne8", "grid4x4", "grid:20x20")
ALL = "all"
WAYS = {ALL: "", **{f"without {part}": part for part in PARTS}, "none": "0"}
"""What the switch is set to."""
WARM_UP = 2 * SLICE
"""Decisions that are not counted: the network fills."""
Row = dict[str, float]


def main(arguments: list[str] | None = None) -> int:
    """The command. Returns its exit status."""
    of = argparse.ArgumentParser(
        prog="benchmarks/native_parts.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    of.add_argument(
        "--scenarios", nargs="+", default=SCENARIOS, metavar="NAME|PATH", help=f"default: {' '.join(SCENARIOS)}"
    )
    of.add_argument("--decisions", type=int, default=200, metavar="N", help="of each way (default: 200)")
    of.add_argument("--repeats", type=int, default=5, metavar="N", help="of each decision (default: 5)")
    of.add_argument("--json", action="store_true", help="print the figures for machines")
    options = of.parse_args(arguments)
    if options.decisions <= WARM_UP or options.repeats < 1:
        raise InputError(f"--decisions must be more than {WARM_UP}, --repeats at least 1")
    if native() is None:
        raise InputError("the compiled library is missing; run `make .venv` where there is a C++ compiler")
    found = {}
    for name in options.scenarios:
        found[name] = ratios(measure(window(name, options.decisions), options.repeats))
    print(json.dumps(found, indent=2) if options.json else table(found))
    return 0


def measure(scenario: Scenario, repeats: int) -> dict[str, npt.NDArray[np.float64]]:
    """[repeats, decisions] per way: seconds of each decision.

    Raises:
        RuntimeError: two ways saw unlike traffic.
    """
    taken: dict[str, list[list[float]]] = {way: [] for way in WAYS}
    answers = {way: Answers() for way in WAYS}
    with contextlib.ExitStack() as stack:
        envs = {way: stack.enter_context(contextlib.closing(started(scenario, way))) for way in WAYS}
        for repeat in range(repeats):
            tell(f"{scenario.name}: {repeat + 1} of {repeats}, {len(WAYS)} ways")
            for way, env in envs.items():
                env.reset(seed=SEED)
                taken[way].append([])
            turn = 0
            while envs[ALL].agents:
                for way in list(WAYS)[:: 1 if (turn + repeat) % 2 else -1]:
                    taken[way][-1] += ten(envs[way], answers[way], turn)
                turn += 1
    if len({each.digest for each in answers.values()}) > 1:
        raise RuntimeError(f"{scenario.name}: the ways differ in what they answer")
    return {way: np.array(seconds) for way, seconds in taken.items()}


def started(scenario: Scenario, way: str) -> NetworkEnv:
    """An environment whose worker has the parts of that way."""
    env = parallel_env(scenario)
    with mock.patch.dict(os.environ, {SWITCH: WAYS[way]}):
        env.reset(seed=SEED)
    return env


def ten(env: NetworkEnv, answers: Answers, turn: int) -> list[float]:
    """[s] of each of ten decisions at random, the same ones in every way; fewer at the end."""
    random, taken = np.random.default_rng([SEED, turn]), list[float]()
    while env.agents and len(taken) < SLICE:
        asked = dict(zip(env.agents, random_phases(env._worker.snapshot.mask, random).tolist(), strict=True))
        began = time.perf_counter()
        observations, rewards, *_ = env.step(asked)
        taken.append(time.perf_counter() - began)
        answers.add(np.stack([*observations.values()]), np.array([*rewards.values()]))
    return taken


def ratios(taken: Mapping[str, npt.NDArray[np.float64]]) -> dict[str, Row]:
    """Per way: its time as a multiple of that with all parts; median over tens of decisions, 95 % interval."""
    random, found = np.random.default_rng(SEED), dict[str, Row]()
    least = {way: seconds.min(axis=0)[WARM_UP:] for way, seconds in taken.items()}
    tens = {way: np.add.reduceat(seconds, range(0, len(seconds), SLICE)) for way, seconds in least.items()}
    for way, seconds in tens.items():
        each = seconds / tens[ALL]
        drawn = np.median(each[random.integers(0, len(each), (2000, len(each)))], axis=1)
        low, high = np.percentile(drawn, [2.5, 97.5])
        millis = float(np.median(least[way])) * 1e3
        found[way] = {"ratio": float(np.median(each)), "low": float(low), "high": float(high), "ms": millis}
    return found


def table(found: Mapping[str, Mapping[str, Row]]) -> str:
    """Markdown."""
    lines = [f"| × the time with all parts | {' | '.join(found)} |", "|---" * (1 + len(found)) + "|"]
    for way in WAYS:
        if way == ALL:
            cells = [f"1 ({each[way]['ms']:.1f} ms a decision)" for each in found.values()]
        else:
            cells = [
                f"{r['ratio']:.2f} [{r['low']:.2f}–{r['high']:.2f}]" for r in (rows[way] for rows in found.values())
            ]
        lines.append(f"| {way} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    run_command(main)

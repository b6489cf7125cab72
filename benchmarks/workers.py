"""What a second worker brings: the decisions a second of two workers, each asked again as soon as it has answered, as
a multiple of one's; and of two processes of bare libsumo beside one, which is what the machine's cores allow.

All repeat the same window of random phases. One and two go by turns, ten decisions of each process at a time, so that
a machine that is slow for a second is so for both; of two, each process's ten are timed for themselves.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from benchmarks.children import stepwise_child
from benchmarks.course import Course
from benchmarks.speed import window
from benchmarks.systems import SLICE, batch_of
from envs.workers.batch import SignalBatch
from evaluation.statistics import relative_difference
from plumbing.command import run_command
from plumbing.errors import InputError
from plumbing.held import scratch
from scenarios.scenario import Scenario

SCENARIOS = ("cologne8", "grid4x4")
GOAL = 1.75
"""Times one worker, with two on two cores."""

Slice = Callable[[npt.NDArray[np.int64]], list[float]]
"""Goes on by the decisions of these actions [decisions, signals]: how long each process took for them [s]."""


def main(arguments: list[str] | None = None) -> int:
    """The command. Returns its exit status."""
    of = argparse.ArgumentParser(prog="benchmarks/workers.py", description=__doc__)
    of.add_argument(
        "--scenarios", nargs="+", default=SCENARIOS, metavar="NAME|PATH", help=f"default: {' '.join(SCENARIOS)}"
    )
    of.add_argument("--decisions", type=int, metavar="N", help="end a window there (default: the scenario's end)")
    of.add_argument("--windows", type=int, default=8, metavar="N", help="how often each is run (default: 8)")
    of.add_argument("--json", action="store_true", help="print the figures for machines")
    options = of.parse_args(arguments)
    if options.windows < 1 or (options.decisions or 2) < 2:
        raise InputError("--windows must be at least 1, --decisions at least 2")
    found = {}
    for name in options.scenarios:
        found[name] = measure(window(name, options.decisions), options.windows)
        if not options.json:
            rows = (
                f"{what} {row['ratio']:.2f} [{row['low']:.2f}–{row['high']:.2f}]" for what, row in found[name].items()
            )
            print(f"{name}, two against one: {', '.join(rows)} (95 %; goal {GOAL:g})", flush=True)
    if options.json:
        print(json.dumps(found, indent=2))
    return 0


def measure(scenario: Scenario, windows: int) -> dict[str, dict[str, float]]:
    """`workers` and `bare`: the ratio of two to one and its 95 % bootstrap interval over windows."""
    with scratch("workers") as folder, contextlib.ExitStack() as stack:
        course = Course(scenario, folder)
        one, two = (stack.enter_context(contextlib.closing(batch_of(scenario, count))) for count in (1, 2))
        taken: dict[str, list[tuple[float, float]]] = {"workers": [], "bare": []}
        for _ in range(windows):
            taken["workers"].append(by_turns(batch_slices(one), batch_slices(two), course))
            with bare_slices(course, 1) as alone, bare_slices(course, 2) as together:
                taken["bare"].append(by_turns(alone, together, course))
    found = {}
    for what, pairs in taken.items():
        ratio = relative_difference(*zip(*pairs, strict=True))
        found[what] = {"ratio": 1 + ratio.mean, "low": 1 + ratio.low, "high": 1 + ratio.high}
    return found


def by_turns(one: Slice, two: Slice, course: Course) -> tuple[float, float]:
    """A window of one process and one of two, slice by slice: what each needs for a process's window [s]."""
    sums = [0.0, 0.0]
    actions = course.actions[:-1]  # with the last one the episode would end
    for n, begin in enumerate(range(0, len(actions), SLICE)):
        for which in (0, 1) if n % 2 else (1, 0):
            taken = (one, two)[which](actions[begin : begin + SLICE])
            sums[which] += 1.0 / sum(1.0 / each for each in taken)
    return sums[0], sums[1]


def batch_slices(batch: SignalBatch) -> Slice:
    """A new episode of each worker."""
    batch.reset()

    def go_on(actions: npt.NDArray[np.int64]) -> list[float]:
        taken, asked = [0.0] * len(batch.workers), [1] * len(batch.workers)
        began = time.perf_counter()
        for n in range(len(asked)):
            batch.send(n, actions[0])
        while not all(taken):
            for turn in batch.receive(1):
                n = turn.worker
                batch.workers[n].shared["observation"].copy()
                if asked[n] == len(actions):
                    taken[n] = time.perf_counter() - began
                    continue
                batch.send(n, actions[asked[n]])
                asked[n] += 1
        return taken

    return go_on


@contextlib.contextmanager
def bare_slices(course: Course, processes: int) -> Iterator[Slice]:
    """The same traffic in libsumo alone, prepared as in our workers."""
    recording = course.recording
    request = {"args": recording.args, "until_s": recording.until_s, "stepwise": True}
    with contextlib.ExitStack() as stack:
        children = [stack.enter_context(stepwise_child("bare", request, preload=True)) for _ in range(processes)]
        pool = stack.enter_context(ThreadPoolExecutor(processes))
        yield lambda actions: list(pool.map(lambda child: child(len(actions)), children))


if __name__ == "__main__":
    run_command(main)

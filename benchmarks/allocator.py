"""What the allocator of our workers takes off SUMO's own steps.

libsumo steps the same traffic under the signals' own programs as it comes and with mimalloc, by turns from decision
to decision. Each run does the same work at a decision, so what counts is the least time that any run took
there: most of what a machine does besides falls away.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random

import numpy as np
import numpy.typing as npt

from benchmarks.children import stepwise_child
from benchmarks.course import SEED
from benchmarks.speed import window
from envs.sumo.setup import make_setup
from plumbing.command import run_command
from plumbing.errors import InputError
from scenarios.scenario import Scenario

SCENARIOS = ("cologne1", "cologne8", "grid4x4", "ingolstadt21")
VARIANTS = {"as it comes": False, "mimalloc": True}
"""Whether libsumo has the allocator of our workers."""


def main(arguments: list[str] | None = None) -> int:
    """The command. Returns its exit status."""
    of = argparse.ArgumentParser(prog="benchmarks/allocator.py", description=__doc__)
    of.add_argument(
        "--scenarios", nargs="+", default=SCENARIOS, metavar="NAME|PATH", help=f"default: {' '.join(SCENARIOS)}"
    )
    of.add_argument(
        "--decisions", type=int, default=240, metavar="N", help="steps of five seconds each (default: 240)"
    )
    of.add_argument("--turns", type=int, default=6, help="runs of each (default: 6)")
    of.add_argument("--json", action="store_true", help="print the figures for machines")
    options = of.parse_args(arguments)
    if options.turns < 1 or options.decisions < 1:
        raise InputError("--decisions and --turns must be at least 1")
    found = {}
    for name in options.scenarios:
        found[name] = shares(measure(window(name, options.decisions), options.decisions, options.turns))
        if not options.json:
            rows = (f"{variant} {share:.3f}" for variant, share in found[name].items())
            print(f"{name}: {', '.join(rows)} of the time", flush=True)
    if options.json:
        print(json.dumps(found, indent=2))
    return 0


def measure(scenario: Scenario, decisions: int, turns: int) -> dict[str, npt.NDArray[np.float64]]:
    """[turns, decisions] what each decision's steps took, by variant [s]."""
    setup, order = make_setup(scenario, controlled=False), random.Random(SEED)
    until_s = [min(setup.begin_s + 5.0 * (n + 1), setup.end_s) for n in range(decisions)]
    request = {"args": ["sumo", *setup.sumo_args, "--seed", str(SEED)], "until_s": until_s, "stepwise": True}
    taken = {variant: np.zeros((turns, decisions)) for variant in VARIANTS}
    for turn in range(turns):
        with contextlib.ExitStack() as stack:
            runs = {
                variant: stack.enter_context(stepwise_child("bare", request, preload=preload))
                for variant, preload in VARIANTS.items()
            }
            for n in range(decisions):
                for variant in order.sample(list(runs), len(runs)):
                    taken[variant][turn, n] = runs[variant](1)
    return taken


def shares(taken: dict[str, npt.NDArray[np.float64]]) -> dict[str, float]:
    """Each variant's time as a share of what libsumo takes as it comes."""
    least_s = {variant: float(of.min(axis=0).sum()) for variant, of in taken.items()}
    whole_s = least_s[next(iter(VARIANTS))]
    return {variant: seconds / whole_s for variant, seconds in least_s.items()}


if __name__ == "__main__":
    run_command(main)

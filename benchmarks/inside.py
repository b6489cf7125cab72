"""What happens in a worker's process, with SUMO's own steps timed apart from all that we add to them.

Reads one JSON line, {"job": a pickled (WorkerSetup, seed, actions)}, and answers with seconds: `total`, that all
decisions took, and `sumo`, that SUMO's own steps took of it: the one call of libsumo's `Simulation::step`, timed
where it is made. What is left is ours, the signals' switching included. What the environment does elsewhere, such as
to write the actions, is not counted. A number in place of the actions: so many random decisions.
"""

from __future__ import annotations

import json
import os
import pickle
import sys
import time
from pathlib import Path

import numpy as np

from benchmarks.clock import quiet
from benchmarks.course import random_phases
from envs.channel import SharedArrays
from envs.worker import World


def main() -> None:
    """Run one episode with the given actions."""
    request = json.loads(sys.stdin.readline())
    setup, seed, actions = pickle.loads(Path(request["job"]).read_bytes())
    answers = quiet()
    shared = SharedArrays(setup.shapes)
    world = World(setup, shared)
    world.begin(seed)
    simulation = world.simulation
    random, total, before_s = np.random.default_rng(seed), 0.0, simulation.sumo_s
    for row in actions if isinstance(actions, np.ndarray) else range(actions):
        shared["action"][:] = row if isinstance(row, np.ndarray) else random_phases(simulation.snapshot.mask, random)
        began = time.perf_counter()
        world.decide()
        total += time.perf_counter() - began
    sumo = simulation.sumo_s - before_s
    simulation.end()
    if not 0.0 < sumo < total:
        raise SystemExit(f"SUMO's steps took {sumo:g} s of {total:g} s: they are not timed where they are made")
    os.write(answers, json.dumps({"total": total, "sumo": sumo}).encode() + b"\n")


if __name__ == "__main__":
    main()

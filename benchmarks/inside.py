"""What happens in a worker's process, with SUMO's own steps timed apart from all that we add to them.

Reads one JSON line, {"job": a pickled (WorkerSetup, seed, actions)}, and answers with seconds: `total`, `sumo` and
the parts of the rest. A number in place of the actions: so many random decisions.
"""

from __future__ import annotations

import json
import os
import pickle
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from libsumo import _libsumo

from benchmarks.clock import Clock, quiet
from benchmarks.course import random_phases
from envs.channel import SharedArrays
from envs.worker import World


def main() -> None:
    """Run one episode with the given actions."""
    request = json.loads(sys.stdin.readline())
    setup, seed, actions = pickle.loads(Path(request["job"]).read_bytes())
    answers = quiet()
    clock = Clock()
    _libsumo.simulation_step = clock.timed("sumo", _libsumo.simulation_step)
    shared = SharedArrays(setup.shapes)
    world = World(setup, shared)
    world.begin(seed)
    clock.seconds["sumo"] = 0.0
    simulation: Any = world.simulation
    owner: Any = world
    simulation.read = clock.timed("read", simulation.read)
    simulation._apply = clock.timed("set", simulation._apply)
    owner._publish = clock.timed("observe", owner._publish)
    began = time.perf_counter()
    random = np.random.default_rng(seed)
    for row in actions if isinstance(actions, np.ndarray) else range(actions):
        shared["action"][:] = row if isinstance(row, np.ndarray) else random_phases(simulation.snapshot.mask, random)
        world.decide()
    total = time.perf_counter() - began
    world.simulation.end()
    if clock.seconds["sumo"] <= 0:
        raise SystemExit(
            "SUMO's steps do not go through libsumo.simulation_step any more; adapt benchmarks/inside.py"
        )
    os.write(answers, json.dumps({"total": total, **clock.seconds}).encode() + b"\n")


if __name__ == "__main__":
    main()

"""What one pass of the phase network forwards and back takes on 128 situations: in torch's own operations and in each
compiled library that this processor can run, by turns.

The situations are those of random decisions on a scenario. One thread.
"""

from __future__ import annotations

import argparse
import json
import time
from unittest import mock

import numpy as np
import numpy.typing as npt
import torch

from agents import compiled
from agents.network import PhaseScorer
from envs.remote import RemoteSimulation
from envs.setup import make_setup
from envs.worker import WorkerSetup
from scenarios.command import run_command
from scenarios.scenario import load
from signals.observations import ObservationShape

ROWS = 128
TORCH = "torch"


def main(arguments: list[str] | None = None) -> int:
    """The command. Returns its exit status."""
    of = argparse.ArgumentParser(prog="benchmarks/gradient.py", description=__doc__)
    of.add_argument("--scenario", default="cologne3", metavar="NAME|PATH", help="default: cologne3")
    of.add_argument("--turns", type=int, default=20, help="how often each way has its turn (default: 20)")
    of.add_argument("--json", action="store_true", help="print the figures for machines")
    options = of.parse_args(arguments)
    torch.set_num_threads(1)
    rows, shape = situations(options.scenario)
    times_us = measure(rows, shape, options.turns)
    if options.json:
        print(json.dumps({"scenario": options.scenario, "rows": ROWS, "median_us": times_us}, indent=2))
        return 0
    for name, median_us in times_us.items():
        print(f"{name:22} {median_us:8.0f} us   {median_us / times_us[TORCH]:5.2f} x {TORCH}")
    return 0


def situations(scenario: str) -> tuple[torch.Tensor, ObservationShape]:
    """[ROWS, size] what signals see while phases are drawn at random."""
    setup = WorkerSetup(make_setup(load(scenario)))
    draw = np.random.default_rng(0)
    found: list[npt.NDArray[np.float32]] = []
    with RemoteSimulation(setup) as worker:
        worker.begin(0)
        while sum(len(of) for of in found) < ROWS:
            mask = worker.snapshot.mask
            worker.decide(np.where(mask, draw.random(mask.shape), -1.0).argmax(axis=1))
            found.append(worker.shared["observation"].copy())
    return torch.from_numpy(np.concatenate(found)[:ROWS]), setup.observation_shape


def measure(rows: torch.Tensor, shape: ObservationShape, turns: int) -> dict[str, float]:
    """Per way, the median over turns of what a pass takes [us]."""
    has = compiled.processor_flags()
    ways = [
        TORCH,
        *(n for n, needed in compiled.LIBRARIES.items() if needed <= has and (compiled.FOLDER / n).exists()),
    ]
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(turns):
        for name in ways:
            known = {} if name == TORCH else {name: compiled.LIBRARIES[name]}
            with mock.patch.object(compiled, "LIBRARIES", known):
                compiled.library.cache_clear()
                taken[name].append(_pass_us(PhaseScorer(shape, quick=name != TORCH), rows))
    compiled.library.cache_clear()
    return {name: float(np.median(of)) for name, of in taken.items()}


def _pass_us(network: PhaseScorer, rows: torch.Tensor, passes: int = 10) -> float:
    def once() -> None:
        network.zero_grad()
        network(rows).clamp(min=-10.0).sum().backward()

    once()  # what happens the first time only
    began = time.perf_counter()
    for _ in range(passes):
        once()
    return (time.perf_counter() - began) / passes * 1e6


if __name__ == "__main__":
    run_command(main)

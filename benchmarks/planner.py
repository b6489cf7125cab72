"""What the planner takes of a core: a decision of all signals of a scenario under cop, and a signal among few or many
where each may choose among 8 phases and has 12 streams with vehicles. By compiled code and by Python. Goal: at most
1 ms for the three signals of cologne3, and as long for each of 400 signals as for each of 3.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable

import numpy as np

from controllers.cop import Cop
from envs.sumo.setup import make_setup
from envs.workers.client import RemoteSimulation
from envs.workers.server import WorkerSetup
from native.library import library
from plumbing.command import run_command
from plumbing.errors import InputError
from scenarios.loading import load
from signals.planner import compiled, search
from signals.planner.planner import Planner
from signals.planner.search import FloatArray, Problem

SEED = 1
PHASES, STREAMS, STEPS = 8, 12, 12
FEW, MANY = 3, 400
REPEATS = 5
Search = Callable[[Problem], FloatArray]
WAYS: dict[str, Search] = {"compiled": compiled.first_costs, "Python": search.first_costs}


def main(arguments: list[str] | None = None) -> int:
    """The command. Returns its exit status."""
    of = argparse.ArgumentParser(prog="benchmarks/planner.py", description=__doc__)
    of.add_argument("--scenario", default="cologne3", metavar="NAME|PATH", help="default: cologne3")
    of.add_argument("--decisions", type=int, default=240, metavar="N", help="of the scenario (default: 240)")
    of.add_argument("--json", action="store_true", help="print the figures for machines")
    options = of.parse_args(arguments)
    if options.decisions < 1:
        raise InputError("--decisions must be at least 1")
    if library() is None:
        raise InputError("the compiled library is missing; run `make .venv` where there is a C++ compiler")
    problems = recorded(options.scenario, options.decisions)
    rows = {}
    for way, find in WAYS.items():
        whole_ms = [least_ms(find, problem, 1) for problem in problems]
        rows[way] = {
            "decision_ms": float(np.median(whole_ms)),
            "decision_p95_ms": float(np.quantile(whole_ms, 0.95)),
            **{f"signal_of_{n}_ms": least_ms(find, crowded(n), REPEATS) / n for n in (FEW, MANY)},
        }
    if options.json:
        print(json.dumps({"scenario": options.scenario, "ways": rows}, indent=2))
        return 0
    for way, row in rows.items():
        print(
            f"{way:9} {options.scenario}: {row['decision_ms']:6.2f} ms a decision (95 % below "
            f"{row['decision_p95_ms']:.2f}); {row[f'signal_of_{FEW}_ms']:.2f} ms a crowded signal of {FEW}, "
            f"{row[f'signal_of_{MANY}_ms']:.2f} of {MANY}"
        )
    return 0


def recorded(scenario: str, decisions: int) -> list[Problem]:
    """The planning problems of so many decisions, in which cop controls the signals."""
    setup = make_setup(load(scenario))
    planner, controller = Planner(setup.layout), Cop()
    found: list[Problem] = []
    controller.reset(setup.plan.intersections, setup.layout, SEED)
    with RemoteSimulation(WorkerSetup(setup, reward="", observation="")) as simulation:
        simulation.begin(SEED)
        while not simulation.done and len(found) < decisions:
            choices = simulation.snapshot.mask.sum(axis=1)
            found.append(planner.problem(simulation.snapshot.copy(), choices > 1))
            simulation.decide(controller.decide(simulation.snapshot))
    return found


def crowded(signals: int) -> Problem:
    """All phases free, and vehicles on every stream."""
    random, streams = np.random.default_rng(SEED), signals * STREAMS
    of_phases = np.zeros((signals, PHASES))
    return Problem(
        step_s=5.0,
        stream_first=np.arange(signals + 1) * STREAMS,
        queue_veh=random.integers(0, 6, streams).astype(float),
        arrivals_veh=(random.random((streams, STEPS)) < 0.3).astype(float),
        rates_vps=np.where(random.random((streams, PHASES)) < 0.35, 0.5, 0.0),
        change_s=np.broadcast_to(5.0 * (1 - np.eye(PHASES)), (signals, PHASES, PHASES)).copy(),
        least_green_s=of_phases + 5.0,
        greatest_green_s=of_phases + 60.0,
        phase_count=np.full(signals, PHASES),
        current=np.zeros(signals, np.int64),
        green_in_s=np.zeros(signals),
        held_s=np.zeros(signals),
        left_s=np.full(signals, 60.0),
        mask=np.ones((signals, PHASES), bool),
    )


def least_ms(find: Search, problem: Problem, repeats: int) -> float:
    """Time of the calling thread that a search takes: the least of some [ms]."""
    spent_s = []
    for _ in range(repeats):
        began_s = time.thread_time()
        find(problem)
        spent_s.append(time.thread_time() - began_s)
    return min(spent_s) * 1000.0


if __name__ == "__main__":
    run_command(main)

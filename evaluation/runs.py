"""Running controllers on a scenario: all with the same seeds, each simulation in a process of its own.

Threads drive the simulations: SUMO does the work in processes of its own, and a decision is short.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from evaluation.contest import Contestant, Evaluation, Job, RunFailed, RunResult, folder_names
from evaluation.simulations import OUTPUTS_OF, SimulationPool, Stopped, kept_outputs
from evaluation.store import StoredRun, clear_partial, load_run
from plumbing.errors import InputError
from plumbing.held import scratch
from scenarios.scenario import Scenario

# the names of evaluation.contest too: a caller that runs something needs both
__all__ = [
    "Contestant", "Engine", "Evaluation", "Finished", "Job", "RunFailed", "RunResult",
    "check_traffic", "cores_here", "finished_runs", "folder_names", "run_all", "run_here",
]  # fmt: skip
TURN_S = 0.2
GRACE_S = 5.0


@dataclass(frozen=True)
class Finished:
    """The usable runs of an earlier start of the same evaluation."""

    runs: Mapping[tuple[str, int], StoredRun]
    """The usable runs by controller and seed."""
    stale: int
    """Number of stored runs that cannot be used: damaged, or made with other settings, input or code."""


def finished_runs(evaluation: Evaluation) -> Finished:
    """Find them below `store`. Leftovers of a kill in the middle of a write are removed."""
    if evaluation.store is None:
        return Finished({}, 0)
    clear_partial(evaluation.store)
    folders = folder_names(evaluation.contestants)
    found: dict[tuple[str, int], StoredRun] = {}
    stale = 0
    for contestant in evaluation.contestants:
        for seed in evaluation.seeds:
            place = Path(folders[contestant.name]) / f"seed-{seed}"
            digest = evaluation.digest(contestant, seed)
            run = load_run(evaluation.store / place, digest)
            if run is not None and (
                evaluation.keep is None or _keeps(evaluation.keep / place, digest, kept_outputs(evaluation))
            ):
                found[contestant.name, seed] = run
            elif run is None and (evaluation.store / place).exists():
                stale += 1
    return Finished(found, stale)


def _keeps(folder: Path, digest: str, names: Sequence[str]) -> bool:
    """Whether SUMO's outputs in that folder are all there, and of that run."""
    try:
        same = (folder / OUTPUTS_OF).read_text(encoding="utf-8").strip() == digest
    except (OSError, ValueError):
        return False
    return same and all((folder / name).is_file() for name in names)


def check_traffic(scenario: Scenario) -> None:
    """Raises InputError where there is no vehicle whose delay could be counted."""
    if not scenario.demand_counts()[0]:
        raise InputError(
            f"scenario {scenario.name!r}, {scenario.demand} demand: no vehicle departs between "
            f"{scenario.begin_s:g} and {scenario.end_s:g} s, so there is no delay to judge by; "
            "give other --routes or another window"
        )


def cores_here() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


Engine = Callable[[Evaluation, Sequence[Job], int, Callable[[RunResult], None]], list[RunResult]]
"""Runs jobs, so many at a time, and tells of each that is done; their results, in the jobs' order."""


def run_all(
    evaluation: Evaluation,
    workers: int = 1,
    on_done: Callable[[RunResult], None] = lambda result: None,
    finished: Finished | None = None,
    engine: Engine | None = None,
) -> list[RunResult]:
    """All runs but the finished ones, `workers` at a time; the results of all, contestant by contestant.

    Args:
        engine: makes the runs; by default `run_here`, with processes on this machine.

    Raises:
        InputError: SUMO refuses the scenario, or the outputs cannot be written.
        RunFailed: a run broke off.
    """
    folders = folder_names(evaluation.contestants)
    before = {} if finished is None else finished.runs
    results = {
        (name, seed): RunResult(name, seed, run.metrics, run.table("vehicles"), run, run.findings)
        for (name, seed), run in before.items()
    }
    jobs = [
        Job(c, seed, Path(folders[c.name]) / f"seed-{seed}", evaluation.digest(c, seed) if evaluation.store else "")
        for seed in evaluation.seeds
        for c in evaluation.contestants
        if (c.name, seed) not in results
    ]
    made = (engine or run_here)(evaluation, jobs, workers, on_done)
    results |= {(job.contestant.name, job.seed): result for job, result in zip(jobs, made, strict=True)}
    return [results[c.name, seed] for c in evaluation.contestants for seed in evaluation.seeds]


def run_here(
    evaluation: Evaluation, jobs: Sequence[Job], workers: int, on_done: Callable[[RunResult], None]
) -> list[RunResult]:
    """The engine for this machine: one thread per simulation."""
    with contextlib.ExitStack() as stack:
        stop = threading.Event()
        simulations = stack.enter_context(
            contextlib.closing(SimulationPool(evaluation, stack.enter_context(scratch("evaluation")), stop))
        )
        threads = stack.enter_context(ThreadPoolExecutor(max(1, min(workers, len(jobs)))))
        stack.callback(stop.set)  # whatever ends this block: first of all no further decision
        futures = []
        for job in jobs:
            future = threads.submit(simulations.run, job)
            future.add_done_callback(lambda f: on_done(f.result()) if _succeeded(f) else None)
            futures.append(future)
        try:
            waiting = True
            while waiting:  # in short turns, since Ctrl-C does not end a long one
                done, left = wait(futures, TURN_S, return_when=FIRST_EXCEPTION)
                waiting = bool(left) and not any(future.exception() for future in done)
        finally:
            stop.set()
            threads.shutdown(wait=False, cancel_futures=True)
            # a cancelled one is done, whatever `wait` says of it
            while left := {future for future in futures if not future.done()}:
                if wait(left, GRACE_S).not_done:  # their simulations do not answer, so they do not see `stop`
                    simulations.kill()
        for future in futures:
            error = None if future.cancelled() else future.exception()
            if error is not None and not isinstance(error, Stopped):
                raise error
        return [future.result() for future in futures]


def _succeeded(future: object) -> bool:
    return not future.cancelled() and future.exception() is None  # type: ignore[attr-defined]

"""An evaluation on a Ray cluster: each run is a task on some machine, and is repeated whole where it was lost."""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import logging
import pickle
import threading
import uuid
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import ray
import ray.exceptions

from controllers.base import Controller
from envs.workers.cluster import Cluster
from envs.workers.host import refusal_of
from envs.workers.shipping import Parcel, files_of_scenario, fingerprint, scenario_here
from evaluation.contest import Evaluation, Job, RunFailed, RunResult
from evaluation.runs import TURN_S
from evaluation.simulations import SimulationPool
from plumbing.errors import InputError
from plumbing.held import scratch
from plumbing.outside import pack
from plumbing.whole import Draft

log = logging.getLogger("intergreen.ray")
MOST_ATTEMPTS = 5
"""Most attempts at one run. A machine that dies loses its runs; a run that fails this often is itself at fault."""
OUTPUT_FOLDERS = ("keep", "store")
"""The fields of `Evaluation` with folders that runs write into."""
Outcome = tuple[str, Any]
"""("done", (result, files by name)), ("failed", why) or ("refused", why)."""


@dataclasses.dataclass
class RayRuns:
    """Runs jobs as tasks; give it to `run_all` as its engine."""

    cluster: Cluster
    repeated: int = 0
    """Number of runs that were lost and started again."""

    def __call__(
        self, evaluation: Evaluation, jobs: Sequence[Job], workers: int, on_done: Callable[[RunResult], None]
    ) -> list[RunResult]:
        """The jobs' results, in their order.

        Raises:
            InputError: SUMO refuses the scenario, a machine has other versions, or outputs cannot be written.
            RunFailed: a run broke off `MOST_ATTEMPTS` times.
        """
        parcel = self.cluster.parcel(files_of_scenario(evaluation.scenario))
        # contestants make controllers from files, which other machines need not have: they get the controllers
        lean = ray.put(dataclasses.replace(evaluation, contestants=()))
        task = ray.remote(num_cpus=1, max_retries=0, scheduling_strategy="SPREAD")(_run)
        token = uuid.uuid4().hex
        waiting, attempts = deque(range(len(jobs))), [0] * len(jobs)
        running: dict[Any, int] = {}
        results: dict[int, RunResult] = {}
        try:
            while waiting or running:
                while waiting and len(running) < workers:
                    n = waiting.popleft()
                    contestant, seed, place, digest = jobs[n]
                    attempts[n] += 1
                    bare = dataclasses.replace(contestant, make=_no_controller)
                    call = task.remote(
                        token, lean, parcel, fingerprint(), Job(bare, seed, place, digest), pack(contestant.make())
                    )
                    running[call] = n
                ready, _ = ray.wait(list(running), timeout=TURN_S)
                for call in ready:
                    n = running.pop(call)
                    kind, content = _outcome(call)
                    if kind == "refused":
                        raise InputError(content)
                    if kind == "done":
                        result, files = content
                        _write_outputs(evaluation, files)
                        if result.stored is not None and evaluation.store is not None:
                            here = dataclasses.replace(result.stored, folder=evaluation.store / jobs[n].place)
                            result = dataclasses.replace(result, stored=here)
                        results[n] = result
                        on_done(result)
                        continue
                    what = f"controller {jobs[n].contestant.name}, seed {jobs[n].seed}"
                    if attempts[n] >= MOST_ATTEMPTS:
                        raise RunFailed(f"{what}: failed {MOST_ATTEMPTS} times; the last time: {content}")
                    log.warning("%s is run again from its beginning: %s", what, content)
                    self.repeated += 1
                    waiting.append(n)
        finally:
            for call in running:
                with contextlib.suppress(ray.exceptions.RayError):
                    ray.cancel(call, force=True)
        return [results[n] for n in range(len(jobs))]


def _outcome(call: Any) -> Outcome:
    try:
        outcome: Outcome = ray.get(call)
    except ray.exceptions.RayTaskError:
        raise  # a mistake of ours, with the traceback of where it happened
    except ray.exceptions.RayError as error:
        return "failed", f"its process or its machine was lost ({type(error).__name__})"
    return outcome


def _write_outputs(evaluation: Evaluation, files: Mapping[tuple[str, Path], bytes]) -> None:
    """Write a run's files into the evaluation's folders here, each folder whole or not at all."""
    folders: dict[Path, dict[str, bytes]] = {}
    for (kind, path), content in files.items():
        folders.setdefault(getattr(evaluation, kind) / path.parent, {})[path.name] = content
    for folder, contents in folders.items():
        with Draft(folder) as draft:
            draft.path.mkdir()
            for name, content in contents.items():
                (draft.path / name).write_bytes(content)
            draft.take_place()


def _no_controller() -> Controller:
    raise NotImplementedError("controllers are made where the files are")


_pools: dict[str, SimulationPool] = {}
"""In a task's process: the simulations for further runs of the same evaluation, by token."""
_open = contextlib.ExitStack()
"""Closes the pools and removes their folders."""
atexit.register(_open.close)


def _run(
    token: str,
    evaluation: Evaluation,
    parcel: Parcel,
    sender: dict[str, str],
    job: Job,
    packed: bytes,
) -> Outcome:
    """The Ray task: one run, on any machine."""
    if refusal := refusal_of(sender):
        return "refused", refusal
    try:
        pool = _pool(token, evaluation, parcel)
        contestant = dataclasses.replace(job.contestant, make=lambda: pickle.loads(packed))
        result = pool.run(job._replace(contestant=contestant))
    except InputError as error:
        return "refused", str(error)
    except RunFailed as error:
        return "failed", str(error)
    return "done", (result, _collect(pool.evaluation))


def _collect(evaluation: Evaluation) -> dict[tuple[str, Path], bytes]:
    """Read and remove the files of a run on this machine."""
    files: dict[tuple[str, Path], bytes] = {}
    for kind in OUTPUT_FOLDERS:
        folder: Path | None = getattr(evaluation, kind)
        for path in sorted(folder.rglob("*")) if folder is not None else ():
            if path.is_file():
                files[kind, path.relative_to(folder)] = path.read_bytes()  # type: ignore[arg-type]
                path.unlink()
    return files


def _pool(token: str, evaluation: Evaluation, parcel: Parcel) -> SimulationPool:
    if token not in _pools:
        _pools.clear()  # another evaluation's, or another level's of this one: it is over
        _open.close()
        folder = _open.enter_context(scratch("evaluation"))
        left = {kind: folder / kind for kind in OUTPUT_FOLDERS if getattr(evaluation, kind) is not None}
        scenario = scenario_here(evaluation.scenario, parcel.unpack())
        here = dataclasses.replace(evaluation, scenario=scenario, **left)  # type: ignore[arg-type]
        _pools[token] = _open.enter_context(contextlib.closing(SimulationPool(here, folder, threading.Event())))
    return _pools[token]

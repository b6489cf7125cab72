"""Running controllers on a scenario: all with the same seeds, each simulation in a process of its own.

Threads drive the simulations: SUMO does the work in processes of its own, and a decision is short.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from xml.sax.saxutils import quoteattr

import numpy as np
import polars as pl

from controllers.base import Controller
from controllers.programs import ProgramControl
from envs.remote import RemoteSimulation
from envs.simulation import EpisodeSummary, SimulationError, make_setup
from envs.worker import WorkerSetup
from evaluation.metrics import RunMetrics, measure
from evaluation.trips import read_statistics, read_trips
from scenarios.command import write_whole
from scenarios.scenario import Scenario
from signals.errors import InputError
from signals.timing import Timing

TURN_S = 0.2
OUTPUTS = ("tripinfo.xml", "statistics.xml", "tls_states.xml")


class RunFailed(RuntimeError):
    """A simulation or a controller failed; the message says in which run."""


class _Stopped(Exception):
    """Another run failed, or somebody pressed Ctrl-C."""


@dataclass(frozen=True)
class Contestant:
    """Somebody to judge."""

    name: str
    make: Callable[[], Controller | ProgramControl]
    """A new one for each run, since several run at a time."""
    baseline: bool = True
    """Whether the others are compared with it."""


@dataclass(frozen=True)
class Evaluation:
    """What is to be run: each contestant with each seed."""

    scenario: Scenario
    contestants: Sequence[Contestant]
    seeds: Sequence[int]
    timing: Timing = field(default_factory=Timing)
    emissions: bool = False
    """Compute CO2 and fuel, which makes SUMO about a third slower."""
    keep: Path | None = None
    """Where to leave SUMO's outputs: keep/CONTROLLER/seed-N/{tripinfo,statistics,tls_states}.xml."""


@dataclass(frozen=True)
class RunResult:
    """One run."""

    controller: str
    seed: int
    metrics: RunMetrics
    vehicles: pl.DataFrame


def run_all(
    evaluation: Evaluation, workers: int = 1, on_done: Callable[[RunResult], None] = lambda result: None
) -> list[RunResult]:
    """All runs, in the order contestant by contestant, seed by seed; `workers` at a time.

    Raises:
        InputError: SUMO refuses the scenario, or the outputs cannot be written.
        RunFailed: a run broke off.
    """
    folders = _folders(evaluation.contestants)
    jobs = [(contestant, seed) for seed in evaluation.seeds for contestant in evaluation.contestants]
    with contextlib.ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="intergreen-evaluation-")))
        stop = threading.Event()
        stage = stack.enter_context(contextlib.closing(_Stage(evaluation, scratch, stop)))
        pool = stack.enter_context(ThreadPoolExecutor(max(1, min(workers, len(jobs)))))
        stack.callback(stop.set)  # whatever ends this block: first of all no further decision
        futures = {}
        for contestant, seed in jobs:
            kept = None if evaluation.keep is None else evaluation.keep / folders[contestant.name] / f"seed-{seed}"
            future = pool.submit(stage.run, contestant, seed, kept)
            future.add_done_callback(lambda f: on_done(f.result()) if _succeeded(f) else None)
            futures[contestant.name, seed] = future
        try:
            waiting = True
            while waiting:  # in short turns, since Ctrl-C does not end a long one
                done, left = wait(futures.values(), TURN_S, return_when=FIRST_EXCEPTION)
                waiting = bool(left) and not any(future.exception() for future in done)
        finally:
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
        for future in futures.values():
            error = None if future.cancelled() else future.exception()
            if error is not None and not isinstance(error, _Stopped):
                raise error
        return [futures[c.name, seed].result() for c in evaluation.contestants for seed in evaluation.seeds]


class _Stage:
    """Simulations that wait for their next run; one serves all runs of the same setup."""

    def __init__(self, evaluation: Evaluation, scratch: Path, stop: threading.Event) -> None:
        self.evaluation, self._scratch, self._stop = evaluation, scratch, stop
        self._idle: dict[str, list[_Place]] = {}
        self._all: list[_Place] = []
        self._lock = threading.Lock()

    def run(self, contestant: Contestant, seed: int, kept: Path | None) -> RunResult:
        """One run. SUMO's outputs go to `kept`, if given, once they are complete."""
        if self._stop.is_set():
            raise _Stopped
        controller = contestant.make()
        with self._place(controller) as place:
            try:
                summary = place.episode(controller, seed, self._stop)
            except (SimulationError, ArithmeticError) as error:
                raise RunFailed(f"controller {contestant.name}, seed {seed}: {error}") from error
            end_s = self.evaluation.scenario.end_s
            trips = read_trips(place.folder / "tripinfo.xml", end_s)
            metrics = measure(trips, read_statistics(place.folder / "statistics.xml"), summary)
            if kept is not None:
                for name in OUTPUTS:
                    write_whole(kept / name, lambda path, name=name: _copy(place.folder / name, path))  # type: ignore[misc]
            for name in OUTPUTS:
                (place.folder / name).unlink(missing_ok=True)
        return RunResult(contestant.name, seed, metrics, trips.vehicles)

    @contextlib.contextmanager
    def _place(self, controller: Controller | ProgramControl) -> Iterator[_Place]:
        """A simulation for this controller; one that failed is not used again."""
        key = repr(controller) if isinstance(controller, ProgramControl) else controller.sensing
        with self._lock:
            idle = self._idle.setdefault(key, [])
            place = idle.pop() if idle else None
            if place is None:
                folder = self._scratch / str(len(self._all))
                folder.mkdir()
                place = _Place(self.evaluation, controller, folder)
                self._all.append(place)
        try:
            yield place
        except BaseException:
            place.simulation.close()
            raise
        with self._lock:
            idle.append(place)

    def close(self) -> None:
        """End all worker processes."""
        for place in self._all:
            place.simulation.close()


class _Place:
    """One simulation with the folder that SUMO writes into."""

    def __init__(self, evaluation: Evaluation, controller: Controller | ProgramControl, folder: Path) -> None:
        scenario = evaluation.scenario
        self.folder = folder
        self.program = isinstance(controller, ProgramControl)
        extra: list[Path] = []
        if isinstance(controller, ProgramControl) and (xml := controller.additional_xml(scenario.network)):
            extra.append(folder / "program.add.xml")
            extra[-1].write_text(xml)
        if evaluation.keep is not None:
            states = quoteattr(str(folder / "tls_states.xml"))
            extra.append(folder / "record.add.xml")
            extra[-1].write_text(
                f'<additional>\n    <timedEvent type="SaveTLSStates" dest={states}/>\n</additional>\n'
            )
        options = {
            "--tripinfo-output": str(folder / "tripinfo.xml"),
            "--tripinfo-output.write-unfinished": "true",
            "--tripinfo-output.write-undeparted": "true",
            "--statistic-output": str(folder / "statistics.xml"),
            "--max-depart-delay": "-1",  # else SUMO drops who waits for longer, and they count
        }
        if evaluation.emissions:
            options["--device.emissions.probability"] = "1"
        setup = make_setup(
            scenario,
            evaluation.timing,
            controlled=not self.program,
            sensing="full" if isinstance(controller, ProgramControl) else controller.sensing,
            extra_additional=extra,
            outputs=[word.replace("{", "{{").replace("}", "}}") for pair in options.items() for word in pair],
        )
        self.simulation = RemoteSimulation(WorkerSetup(setup, reward="", observe=False))

    def episode(self, controller: Controller | ProgramControl, seed: int, stop: threading.Event) -> EpisodeSummary:
        """One run to the end; the outputs are complete afterwards."""
        simulation, plan = self.simulation, self.simulation.setup.simulation.plan
        simulation.begin(seed)
        nobody = np.zeros(0, np.int64)
        if not isinstance(controller, ProgramControl):
            controller.reset(plan.intersections, simulation.layout, seed)
        while not simulation.done:
            if stop.is_set():
                raise _Stopped
            own = isinstance(controller, ProgramControl)
            simulation.decide(nobody if own else controller.decide(simulation.snapshot))  # type: ignore[union-attr]
        return simulation.end()


def _copy(source: Path, target: Path) -> None:
    """Copies a file of SUMO's, if it is whole."""
    with source.open("rb") as file:
        file.seek(max(0, source.stat().st_size - 64))
        if not file.read().rstrip().endswith(b">"):
            raise InputError(f"{source} is not whole; is the disk of {tempfile.gettempdir()} full?")
    shutil.copyfile(source, target)


def _succeeded(future: object) -> bool:
    return not future.cancelled() and future.exception() is None  # type: ignore[attr-defined]


def _folders(contestants: Sequence[Contestant]) -> dict[str, str]:
    """A folder name for each: a run directory's last part, or all of it where two end alike."""
    names = [c.name for c in contestants]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"controller {twice!r} is given twice; name each once")
    last = {name: Path(name).resolve().name if os.sep in name else name for name in names}
    ends = list(last.values())
    return {
        name: last[name] if ends.count(last[name]) == 1 else name.strip(os.sep).replace(os.sep, "-") for name in names
    }

"""Running controllers on a scenario: all with the same seeds, each simulation in a process of its own.

Threads drive the simulations: SUMO does the work in processes of its own, and a decision is short.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple
from xml.sax.saxutils import quoteattr

import numpy as np
import numpy.typing as npt
import polars as pl

from controllers.base import Controller
from controllers.mcts import TreeSearch
from controllers.programs import ProgramControl
from envs.branches import Branches, Outcome
from envs.remote import RemoteSimulation
from envs.simulation import EpisodeSummary, SimulationError, make_setup
from envs.trips import read_statistics, read_trips
from envs.worker import WorkerSetup
from evaluation.corridor import Corridor
from evaluation.details import DetailPlan, detail_additional, detail_metrics, detail_options, read_details
from evaluation.events import EventPlan, read_events
from evaluation.metrics import RunMetrics, measure
from evaluation.store import StoredRun, clear_partial, code_sha256, digest_of, load_run, save_run
from evaluation.trajectories import read_trajectories, trajectory_options
from scenarios.command import write_whole
from scenarios.scenario import Scenario
from signals.errors import InputError
from signals.loops import DetectorFaults
from signals.timing import Timing

TURN_S = 0.2
BRANCHES_AT_A_TIME = 2
"""Of one run that looks ahead; more would only help where cores have nothing else to do."""
MOST_IDLE = 16
"""Simulations that wait for a run of their kind: tuning has dozens of kinds, and each holds its network."""
OUTPUTS = ("tripinfo.xml", "statistics.xml", "tls_states.xml")
OUTPUTS_OF = "digest.txt"
"""Beside the outputs that are kept: the digest of the run that they are of."""


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
    identity: str = ""
    """What it is beside its name: the digest of a policy's weights and settings."""
    trained_on: str = ""
    """The scenario that it learned on."""
    tuned: str = ""
    """Its tuned parameters and how they were found."""


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
    store: Path | None = None
    """Where finished runs are kept, and looked for: store/CONTROLLER/seed-N/."""
    details: bool = False
    """Whether runs also tell of queues, signals and passages; only with `store`."""
    corridor: Corridor | None = None
    """Where the first seed's runs also tell of trajectories; only with `details`."""
    event_log: bool = False
    """Whether runs also write the events of a signal controller's log; only with `details`."""
    faults: DetectorFaults = field(default_factory=DetectorFaults)
    """What is wrong with the detectors of those who use them."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """Of what the runs depend on; part of what a kept run must agree with."""

    def _drawn(self, seed: int) -> bool:
        """Whether this seed is the one that pictures are drawn of."""
        return self.corridor is not None and seed == self.seeds[0]

    def corridor_for(self, seed: int) -> Corridor | None:
        """Where a run with this seed tells of trajectories."""
        return self.corridor if self._drawn(seed) else None

    def digest(self, contestant: Contestant, seed: int) -> str:
        """The digest of everything that determines a run."""
        scenario = self.scenario
        return digest_of(
            {
                "scenario": [scenario.name, scenario.demand, scenario.begin_s, scenario.end_s, scenario.options],
                "files": scenario.hashes(),
                "timing": dataclasses.asdict(self.timing),
                "faults": dataclasses.asdict(self.faults),
                "controller": [contestant.name, contestant.identity],
                "seed": seed,
                "tables": [self.emissions, self.details, self._drawn(seed), self.event_log],
                "versions": dict(self.versions),
                "code": code_sha256(),
            }
        )


@dataclass(frozen=True)
class RunResult:
    """One run."""

    controller: str
    seed: int
    metrics: RunMetrics
    vehicles: pl.DataFrame
    stored: StoredRun | None = None


@dataclass(frozen=True)
class Finished:
    """What an earlier start of the same evaluation has left."""

    runs: Mapping[tuple[str, int], StoredRun]
    """By controller and seed."""
    strangers: int
    """Runs of the same name whose settings, input or code were others, or that are damaged."""


def finished_runs(evaluation: Evaluation) -> Finished:
    """Looks for them; what a kill in the middle of a write has left is removed."""
    if evaluation.store is None:
        return Finished({}, 0)
    clear_partial(evaluation.store)
    folders = folder_names(evaluation.contestants)
    found: dict[tuple[str, int], StoredRun] = {}
    strangers = 0
    for contestant in evaluation.contestants:
        for seed in evaluation.seeds:
            place = Path(folders[contestant.name]) / f"seed-{seed}"
            digest = evaluation.digest(contestant, seed)
            run = load_run(evaluation.store / place, digest)
            if run is not None and (evaluation.keep is None or _keeps(evaluation.keep / place, digest)):
                found[contestant.name, seed] = run
            elif run is None and (evaluation.store / place).exists():
                strangers += 1
    return Finished(found, strangers)


def _keeps(folder: Path, digest: str) -> bool:
    """Whether SUMO's outputs in that folder are all there, and of that run."""
    try:
        same = (folder / OUTPUTS_OF).read_text(encoding="utf-8").strip() == digest
    except (OSError, ValueError):
        return False
    return same and all((folder / name).is_file() for name in OUTPUTS)


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


class Job(NamedTuple):
    """One run that is to be made."""

    contestant: Contestant
    seed: int
    place: Path
    """CONTROLLER/seed-N: where, below the evaluation's folders, goes what is to be left of it."""
    digest: str = ""
    """Of everything that determines it, where it is to be kept."""


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
        engine: who makes the runs; by default processes on this machine.

    Raises:
        InputError: SUMO refuses the scenario, or the outputs cannot be written.
        RunFailed: a run broke off.
    """
    folders = folder_names(evaluation.contestants)
    before = {} if finished is None else finished.runs
    results = {
        (name, seed): RunResult(name, seed, run.metrics, run.table("vehicles"), run)
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
    """The engine of this machine: a thread for each simulation at a time."""
    with contextlib.ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="intergreen-evaluation-")))
        stop = threading.Event()
        stage = stack.enter_context(contextlib.closing(Stage(evaluation, scratch, stop)))
        pool = stack.enter_context(ThreadPoolExecutor(max(1, min(workers, len(jobs)))))
        stack.callback(stop.set)  # whatever ends this block: first of all no further decision
        futures = []
        for job in jobs:
            future = pool.submit(stage.run, job)
            future.add_done_callback(lambda f: on_done(f.result()) if _succeeded(f) else None)
            futures.append(future)
        try:
            waiting = True
            while waiting:  # in short turns, since Ctrl-C does not end a long one
                done, left = wait(futures, TURN_S, return_when=FIRST_EXCEPTION)
                waiting = bool(left) and not any(future.exception() for future in done)
        finally:
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
        for future in futures:
            error = None if future.cancelled() else future.exception()
            if error is not None and not isinstance(error, _Stopped):
                raise error
        return [future.result() for future in futures]


class Stage:
    """Simulations that wait for their next run; one serves all runs of the same setup."""

    def __init__(self, evaluation: Evaluation, scratch: Path, stop: threading.Event) -> None:
        self.evaluation, self._scratch, self._stop = evaluation, scratch, stop
        self._idle: list[tuple[str, _Place]] = []
        self._all: list[_Place] = []
        self._lock = threading.Lock()
        self._events = EventPlan.of(evaluation.scenario.network) if evaluation.event_log else None
        self._details = DetailPlan.of(evaluation.scenario.network) if evaluation.details else None

    def run(self, job: Job) -> RunResult:
        """One run. What is to be left of it goes to the job's place, below the folders that the evaluation names."""
        contestant, seed, place_in, digest = job
        if self._stop.is_set():
            raise _Stopped
        controller = contestant.make()
        corridor = self.evaluation.corridor_for(seed)
        with self._place(controller, corridor) as place:
            try:
                summary = place.episode(controller, seed, self._stop)
            except (SimulationError, ArithmeticError) as error:
                raise RunFailed(f"controller {contestant.name}, seed {seed}: {error}") from error
            scenario, keep, store = self.evaluation.scenario, self.evaluation.keep, self.evaluation.store
            trips = read_trips(place.folder / "tripinfo.xml", scenario.end_s)
            statistics = read_statistics(place.folder / "statistics.xml")
            tables = {} if self._details is None else read_details(place.folder, self._details, trips)
            if self._events is not None:
                timing, end_s = self.evaluation.timing, scenario.end_s
                tables["events"] = read_events(
                    place.folder, self._events, tables["states"], end_s, controller, timing
                )
            if corridor is not None:
                tables["trajectories"] = read_trajectories(place.folder / "trajectories.xml", corridor, scenario)
            metrics = measure(
                trips, statistics, summary, scenario.begin_s, detail_metrics(tables) if tables else None
            )
            if keep is not None:
                for name in OUTPUTS:
                    source = place.folder / name
                    write_whole(keep / place_in / name, lambda path, source=source: _copy(source, path))  # type: ignore[misc]
                write_whole(keep / place_in / OUTPUTS_OF, lambda path: path.write_text(f"{digest}\n"))
            stored = None
            if store is not None:
                tables["vehicles"] = trips.vehicles
                stored = save_run(store / place_in, digest, contestant.name, seed, metrics, tables)
            for path in place.folder.glob("*.xml"):
                if not path.name.endswith(".add.xml"):
                    path.unlink()
        return RunResult(contestant.name, seed, metrics, trips.vehicles, stored)

    @contextlib.contextmanager
    def _place(self, controller: Controller | ProgramControl, corridor: Corridor | None) -> Iterator[_Place]:
        """A simulation for this controller; one that failed is not used again."""
        key = repr(controller) if isinstance(controller, ProgramControl) else controller.sensing
        key += "" if corridor is None else " on a corridor"
        with self._lock:
            number = next((n for n, (of, _) in enumerate(self._idle) if of == key), None)
            if number is not None:
                place = self._idle.pop(number)[1]
            else:
                folder = self._scratch / str(len(self._all))
                folder.mkdir()
                place = _Place(self.evaluation, controller, folder, corridor)
                self._all.append(place)
        try:
            yield place
        except BaseException:
            place.simulation.close()
            raise
        with self._lock:
            self._idle.append((key, place))
            oldest = self._idle.pop(0)[1] if len(self._idle) > MOST_IDLE else None
        if oldest is not None:
            oldest.simulation.close()

    def close(self) -> None:
        """End all worker processes."""
        for place in self._all:
            place.simulation.close()


class _Place:
    """One simulation with the folder that SUMO writes into."""

    def __init__(
        self,
        evaluation: Evaluation,
        controller: Controller | ProgramControl,
        folder: Path,
        corridor: Corridor | None = None,
    ) -> None:
        scenario = evaluation.scenario
        self.folder = folder
        self.program = isinstance(controller, ProgramControl)
        extra: list[Path] = []
        if isinstance(controller, ProgramControl) and (xml := controller.additional_xml(scenario)):
            extra.append(folder / "program.add.xml")
            extra[-1].write_text(xml)
        if evaluation.keep is not None:
            states = quoteattr(str(folder / "tls_states.xml"))
            extra.append(folder / "record.add.xml")
            extra[-1].write_text(
                f'<additional>\n    <timedEvent type="SaveTLSStates" dest={states}/>\n</additional>\n'
            )
        if evaluation.details:
            extra.append(folder / "details.add.xml")
            extra[-1].write_text(detail_additional(folder))
        if evaluation.event_log:
            extra.append(folder / "loops.add.xml")
            extra[-1].write_text(EventPlan.of(scenario.network).additional_xml(folder))
        options = {
            "--tripinfo-output": str(folder / "tripinfo.xml"),
            "--tripinfo-output.write-unfinished": "true",
            "--tripinfo-output.write-undeparted": "true",
            "--statistic-output": str(folder / "statistics.xml"),
            "--max-depart-delay": "-1",  # else SUMO drops who waits for longer, and they count
        }
        if evaluation.emissions:
            options["--device.emissions.probability"] = "1"
        if evaluation.details:
            options |= detail_options(folder)
        if corridor is not None:
            options |= trajectory_options(folder, corridor, scenario)
        setup = make_setup(
            scenario,
            evaluation.timing,
            controlled=not self.program,
            sensing="full" if isinstance(controller, ProgramControl) else controller.sensing,
            faults=evaluation.faults,
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
            if isinstance(controller, TreeSearch):
                controller.try_plans = self._try_plans
            controller.reset(plan.intersections, simulation.layout, seed)
        while not simulation.done:
            if stop.is_set():
                raise _Stopped
            own = isinstance(controller, ProgramControl)
            simulation.decide(nobody if own else controller.decide(simulation.snapshot))  # type: ignore[union-attr]
        return simulation.end()

    def _try_plans(
        self, plans: Sequence[Sequence[npt.NDArray[np.int64]]], steps: int, policy: Controller
    ) -> list[Outcome]:
        return self.simulation.branch(Branches(plans, steps, policy, at_a_time=BRANCHES_AT_A_TIME))


def _copy(source: Path, target: Path) -> None:
    """Copies a file of SUMO's, if it is whole."""
    with source.open("rb") as file:
        file.seek(max(0, source.stat().st_size - 64))
        if not file.read().rstrip().endswith(b">"):
            raise InputError(f"{source} is not whole; is the disk of {tempfile.gettempdir()} full?")
    shutil.copyfile(source, target)


def _succeeded(future: object) -> bool:
    return not future.cancelled() and future.exception() is None  # type: ignore[attr-defined]


def folder_names(contestants: Sequence[Contestant]) -> dict[str, str]:
    """A folder name for each: a run directory's last part (of an ensemble, each one's), or all of it where two end
    alike."""
    names = [c.name for c in contestants]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"controller {twice!r} is given twice; name each once")
    last = {
        name: "+".join(
            Path(part).resolve().name if os.sep in part or part == "." else part for part in name.split("+")
        )
        for name in names
    }
    ends = list(last.values())
    folders = {
        name: last[name] if ends.count(last[name]) == 1 else name.strip(os.sep).replace(os.sep, "-") for name in names
    }
    for name, folder in folders.items():
        same = next((other for other in names if other != name and folders[other] == folder), None)
        if same is not None:  # such as a directory with and without a slash at its end
            raise InputError(f"controllers {name!r} and {same!r} would share the folder {folder!r}; name each once")
    return folders

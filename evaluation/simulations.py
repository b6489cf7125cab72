"""A pool of simulations for the runs: each has a process of its own and a folder that SUMO writes into."""

from __future__ import annotations

import contextlib
import itertools
import shutil
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from xml.sax.saxutils import quoteattr

import numpy as np
import numpy.typing as npt

from controllers.base import Controller
from controllers.mcts import TreeSearch
from controllers.programs import ProgramControl
from envs.sumo.outputs import read_statistics, read_trips, trip_options
from envs.sumo.setup import SimulationOptions, literal, make_setup
from envs.sumo.simulation import EpisodeSummary, SimulationError
from envs.workers.client import RemoteSimulation
from envs.workers.forks import Branches, Outcome
from envs.workers.server import WorkerSetup
from evaluation.contest import Evaluation, Job, RunFailed, RunResult
from evaluation.details.corridor import Corridor
from evaluation.details.events import EventPlan, read_events
from evaluation.details.tables import (
    SWITCHES,
    DetailPlan,
    detail_metrics,
    detail_options,
    read_details,
    read_switches,
)
from evaluation.details.trajectories import read_trajectories, trajectory_options
from evaluation.findings import MESSAGES, MOST_WARNINGS, Findings, find_unserved, find_warnings, outputs_xml
from evaluation.measure import measure
from evaluation.store import save_run
from plumbing.errors import InputError
from plumbing.whole import Draft
from scenarios.additional import driven_by, with_additional_programs
from scenarios.from_counts import as_wanted
from scenarios.sumo_input import admitted_text
from signals.network import Program

BRANCHES_AT_A_TIME = 2
"""Forks at a time in a run of `mcts`; more help only where cores are idle."""
MOST_IDLE = 16
"""Most idle simulations: tuning has dozens of setups, and each simulation holds its network in memory."""
OUTPUTS = ("tripinfo.xml", "statistics.xml", "tls_states.xml")
OUTPUTS_OF = "digest.txt"
"""The file beside kept outputs with the digest of their run."""


class Stopped(Exception):
    """Another run failed, or the user pressed Ctrl-C."""


class SimulationPool:
    """Simulations, each reused for all runs of the same setup."""

    def __init__(self, evaluation: Evaluation, scratch: Path, stop: threading.Event) -> None:
        self.evaluation, self._scratch, self._stop = evaluation, scratch, stop
        self._idle: list[tuple[str, _Slot]] = []
        self._all: list[_Slot] = []
        self._lock = threading.Lock()
        self._events = EventPlan.of(evaluation.scenario.network) if evaluation.event_log else None
        self._details = DetailPlan.of(evaluation.scenario.network) if evaluation.details else None

    def run(self, job: Job) -> RunResult:
        """Make one run. Its files go to the job's folder below the evaluation's `keep` and `store`."""
        contestant, seed, target, digest = job
        if self._stop.is_set():
            raise Stopped
        controller = contestant.make()
        corridor = self.evaluation.corridor_for(seed)
        with self._slot(controller, corridor) as slot:
            try:
                summary = slot.episode(controller, seed, self._stop)
            except (SimulationError, ArithmeticError) as error:
                if self._stop.is_set():
                    raise Stopped from error
                raise RunFailed(f"controller {contestant.name}, seed {seed}: {error}") from error
            scenario, keep, store = self.evaluation.scenario, self.evaluation.keep, self.evaluation.store
            trips = read_trips(slot.folder / "tripinfo.xml", scenario.end_s)
            statistics = read_statistics(slot.folder / "statistics.xml")
            tables = {} if self._details is None else read_details(slot.folder, self._details, trips)
            if self._events is not None:
                timing, end_s = self.evaluation.timing, scenario.end_s
                tables["events"] = read_events(
                    slot.folder, self._events, tables["states"], end_s, timing, slot.programs
                )
            if corridor is not None:
                tables["trajectories"] = read_trajectories(slot.folder / "trajectories.xml", corridor, scenario)
            states = tables["states"] if tables else read_switches(slot.folder / SWITCHES)
            findings = Findings(
                find_unserved(slot.folder, states, summary, scenario.network),
                find_warnings(slot.folder / MESSAGES, slot.programs or {}, slot.replaced),
            )
            metrics = measure(
                trips, statistics, summary, scenario.begin_s, detail_metrics(tables) if tables else None,
                unserved_links=len(findings.unserved),
            )  # fmt: skip
            if keep is not None:
                _keep(slot.folder, keep / target, digest, kept_outputs(self.evaluation))
            stored = None
            if store is not None:
                tables["vehicles"] = trips.vehicles
                stored = save_run(store / target, digest, contestant.name, seed, metrics, tables, findings)
            for path in slot.folder.glob("*.xml"):
                if not path.name.endswith(".add.xml"):
                    path.unlink()
        return RunResult(contestant.name, seed, metrics, trips.vehicles, stored, findings)

    @contextlib.contextmanager
    def _slot(self, controller: Controller | ProgramControl, corridor: Corridor | None) -> Iterator[_Slot]:
        """A simulation for this controller. After a failure it is not used again."""
        key = repr(controller) if isinstance(controller, ProgramControl) else controller.sensing
        key += "" if corridor is None else " on a corridor"
        key += f" {getattr(controller, 'forecast', None) or ''}"
        with self._lock:
            number = next((n for n, (of, _) in enumerate(self._idle) if of == key), None)
            if number is not None:
                slot = self._idle.pop(number)[1]
            else:
                folder = self._scratch / str(len(self._all))
                folder.mkdir()
                slot = _Slot(self.evaluation, controller, folder, corridor)
                self._all.append(slot)
        try:
            yield slot
        except BaseException:
            slot.simulation.close()
            raise
        with self._lock:
            self._idle.append((key, slot))
            oldest = self._idle.pop(0)[1] if len(self._idle) > MOST_IDLE else None
        if oldest is not None:
            oldest.simulation.close()

    def kill(self) -> None:
        """End all worker processes at once; a thread that waits for one gets an error."""
        for slot in list(self._all):
            slot.simulation.kill()

    def close(self) -> None:
        """End all worker processes."""
        for slot in self._all:
            slot.simulation.close()


class _Slot:
    """One simulation with the folder that SUMO writes into."""

    def __init__(
        self,
        evaluation: Evaluation,
        controller: Controller | ProgramControl,
        folder: Path,
        corridor: Corridor | None = None,
    ) -> None:
        scenario = as_wanted(evaluation.scenario, controller)
        self.folder = folder
        self.program = isinstance(controller, ProgramControl)
        self.programs: dict[str, Program] | None = None
        """The program that SUMO runs at each signal; None where the controller decides."""
        self.replaced: frozenset[str] = frozenset()
        """Signals with a program of the controller's."""
        programs = ""
        if isinstance(controller, ProgramControl):
            programs = controller.programs_for(scenario, evaluation.tls_ids)
        if self.program:
            loaded = [admitted_text(programs, "programs")] if programs else []
            self.replaced = frozenset[str]().union(*map(driven_by, loaded))
            network = with_additional_programs(scenario.network, loaded, scenario.begin_s)
            self.programs = {tls_id: programs[-1] for tls_id, programs in network.programs.items() if programs}
        extra = [folder / "findings.add.xml"]
        extra[-1].write_text(outputs_xml(folder, scenario.network))
        if evaluation.keep is not None:
            states = quoteattr(str(folder / "tls_states.xml"))
            extra.append(folder / "record.add.xml")
            extra[-1].write_text(
                f'<additional>\n    <timedEvent type="SaveTLSStates" dest={states}/>\n</additional>\n'
            )
        if evaluation.event_log:
            extra.append(folder / "loops.add.xml")
            extra[-1].write_text(EventPlan.of(scenario.network).additional_xml(folder))
        options = {
            "--statistic-output": str(folder / "statistics.xml"),
        }
        if self.program:
            options["--error-log"] = str(folder / MESSAGES)
        if evaluation.emissions:
            options["--device.emissions.probability"] = "1"
        if evaluation.details:
            options |= detail_options(folder)
        if evaluation.recording is not None:
            options |= evaluation.recording.options(folder, scenario.net_file)
        if corridor is not None:
            options |= trajectory_options(folder, corridor, scenario)
        setup = make_setup(
            scenario,
            SimulationOptions(
                timing=evaluation.timing,
                sensing="full" if isinstance(controller, ProgramControl) else controller.sensing,
                faults=evaluation.faults,
                tls_ids=evaluation.tls_ids,
            ),
            controlled=not self.program,
            programs=programs,
            extra_additional=extra,
            most_warnings=MOST_WARNINGS if self.program else 2,
            outputs=literal([*trip_options(folder / "tripinfo.xml"), *itertools.chain(*options.items())]),
        )
        self.simulation = RemoteSimulation(WorkerSetup(setup, reward="", observation=""))

    def episode(self, controller: Controller | ProgramControl, seed: int, stop: threading.Event) -> EpisodeSummary:
        """One run to the end; the outputs are complete afterwards."""
        simulation, plan = self.simulation, self.simulation.setup.simulation.plan
        simulation.begin(seed)
        no_phases = np.zeros(0, np.int64)
        if not isinstance(controller, ProgramControl):
            if isinstance(controller, TreeSearch):
                controller.try_plans = self._try_plans
            controller.reset(plan.intersections, simulation.layout, seed)
        while not simulation.done:
            if stop.is_set():
                raise Stopped
            own = isinstance(controller, ProgramControl)
            simulation.decide(no_phases if own else controller.decide(simulation.snapshot))  # type: ignore[union-attr]
        return simulation.end()

    def _try_plans(
        self, plans: Sequence[Sequence[npt.NDArray[np.int64]]], steps: int, policy: Controller
    ) -> list[Outcome]:
        return self.simulation.branch(Branches(plans, steps, policy, at_a_time=BRANCHES_AT_A_TIME))


def kept_outputs(evaluation: Evaluation) -> tuple[str, ...]:
    """The files that a run leaves in its folder below `keep`."""
    return OUTPUTS if evaluation.recording is None else (*OUTPUTS, *evaluation.recording.files)


def _keep(folder: Path, kept: Path, digest: str, names: Sequence[str]) -> None:
    """Copy SUMO's outputs of one run, all or none."""
    with Draft(kept) as draft:
        draft.path.mkdir()
        for name in names:
            _copy(folder / name, draft.path / name)
        (draft.path / OUTPUTS_OF).write_text(f"{digest}\n")
        draft.take_place()


def _copy(source: Path, target: Path) -> None:
    """Copy a file of SUMO's. Raises InputError if it is not whole."""
    with source.open("rb") as file:
        file.seek(max(0, source.stat().st_size - 64))
        if not file.read().rstrip().endswith(b">"):
            raise InputError(f"{source} is not whole; is the disk of {tempfile.gettempdir()} full?")
    shutil.copyfile(source, target)

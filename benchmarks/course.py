"""A scenario's window under random phases, recorded once: every system then runs the same traffic again."""

from __future__ import annotations

import contextlib
import hashlib
import re
import subprocess
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.sax.saxutils import quoteattr

import numpy as np
import numpy.typing as npt

from benchmarks.children import HaltedProgram, environment, run_child, stepwise_child
from benchmarks.processes import worker_memory
from envs.sumo.setup import make_setup
from envs.workers.client import RemoteSimulation
from envs.workers.server import WorkerSetup
from scenarios.scenario import Scenario

SEED = 1


@dataclass(frozen=True)
class Recording:
    """A run that SUMO can repeat by itself: the recorded signal states, played as a plain program."""

    args: list[str]
    """SUMO's command line."""
    until_s: list[float]
    """The moments of the decisions."""

    def run_bare(self, prepared: bool = False, extra: Sequence[str] = ()) -> float:
        """libsumo, stepped from decision to decision [s]; its start is not counted.

        Args:
            prepared: with the allocator of our workers.
        """
        request = {"args": [*self.args, *extra], "until_s": self.until_s}
        return float(run_child("bare", request, preload=prepared)["seconds"])

    def run_stepwise(self) -> contextlib.AbstractContextManager[Callable[[int], float]]:
        """Bare libsumo once more, which goes on by so many decisions when told to and says how long they took [s]."""
        return stepwise_child("bare", {"args": self.args, "until_s": self.until_s, "stepwise": True})

    def run_bare_twice(self) -> float:
        """Two of these at the same time, each for itself [s]: per window, as two workers are counted."""
        with ThreadPoolExecutor(2) as pool:
            seconds = list(pool.map(lambda _: self.run_bare(), range(2)))
        return 1.0 / sum(1.0 / each for each in seconds)

    def same_traffic(self, trips: Path, folder: Path, prepared: bool = False) -> bool:
        """Whether the repetition has the very trips of that file."""
        bare = folder / "bare-trips.xml"
        self.run_bare(prepared, trip_output(bare))
        return trips_hash(trips) == trips_hash(bare)


class Course:
    """What is recorded of our environment: its actions, what it answered, and SUMO's input to repeat the traffic."""

    def __init__(self, scenario: Scenario, folder: Path) -> None:
        self.scenario, self.folder = scenario, folder
        states, ours = folder / "states.xml", folder / "ours.xml"
        recorder = record_states(states, folder / "record.add.xml")
        setup = make_setup(scenario, extra_additional=[recorder], outputs=trip_output(ours))
        self.setup = WorkerSetup(make_setup(scenario))
        self.tls_ids = setup.layout.tls_ids
        lanes = [
            {connection.from_lane for link in each.table.links for connection in link.connections}
            for each in setup.plan.intersections
        ]
        self.controlled_lanes = len(set().union(*lanes))
        self._record(setup)
        plain = make_setup(scenario, controlled=False, extra_additional=[self._programs(states)])
        interval_s = setup.timing.decision_interval_s
        self.recording = Recording(
            ["sumo", *plain.sumo_args, "--seed", str(SEED)],
            [min(setup.begin_s + (n + 1) * interval_s, setup.end_s) for n in range(self.decisions)],
        )
        self._trips = ours
        self.check()

    def check(self, prepared: bool = False) -> None:
        """Run bare libsumo, as it comes or prepared as in our workers, and compare its trips with ours.

        Raises:
            RuntimeError: they differ.
        """
        if not self.recording.same_traffic(self._trips, self.folder, prepared):
            raise RuntimeError(
                f"{self.scenario.name}: bare libsumo's traffic differs from ours; the ratio would mean nothing"
            )

    def _record(self, setup: Any) -> None:
        random, answers = np.random.default_rng(SEED), Answers()
        actions: list[npt.NDArray[np.int64]] = []
        with RemoteSimulation(WorkerSetup(setup)) as worker:
            worker.begin(SEED)
            while not worker.done:
                if actions:  # all but the last: a vectorised environment goes on to its next episode there
                    answers.add(worker.shared["observation"], worker.shared["reward"])
                actions.append(random_phases(worker.snapshot.mask, random))
                worker.decide(actions[-1])
            self.memory = worker_memory()
            worker.end()
        self.actions: npt.NDArray[np.int64] = np.array(actions)
        """[decisions, signals]"""
        self.answers = answers.digest

    def _programs(self, states: Path) -> Path:
        path = self.folder / "programs.add.xml"
        path.write_text(as_programs(states, set(self.tls_ids), self.scenario.begin_s))
        return path

    @property
    def decisions(self) -> int:
        """Of each signal."""
        return len(self.actions)

    @property
    def agent_decisions(self) -> int:
        """Of all signals."""
        return int(self.actions.size)

    def run_binary(self) -> float:
        """The stock binary, its start included [s]."""
        return _timed_binary(self.recording.args)

    def halted_binary(self) -> HaltedProgram:
        """The stock binary, its start included, which stands still but when it is told to go on."""
        return HaltedProgram([_binary(), *self.recording.args[1:]])

    def start_binary(self) -> float:
        """The stock binary's start alone: the same input, and an end that comes at once [s]."""
        args = list(self.recording.args)
        args[args.index("-e") + 1] = f"{self.scenario.begin_s:g}"
        return _timed_binary(args)

    def run_inside(self) -> dict[str, float]:
        """Our worker's own work, without a hand-over: seconds by part."""
        return run_inside(self.setup, self.actions)


def _binary() -> str:
    import sumo

    return str(Path(sumo.SUMO_HOME) / "bin" / "sumo")


def _timed_binary(args: Sequence[str]) -> float:
    began = time.perf_counter()
    subprocess.run([_binary(), *args[1:]], check=True, capture_output=True, env=environment())
    return time.perf_counter() - began


def run_inside(setup: WorkerSetup, actions: npt.NDArray[np.int64] | int) -> dict[str, float]:
    """One episode with these actions or so many random ones, as its worker times it: from when it sees what is asked
    until the answer is there.

    Returns:
        Seconds: `total`, that all decisions took, and `sumo`, that the one call of libsumo's `Simulation::step` took
        of it, timed where it is made. What is left is ours, the signals' switching included.
    """
    random = np.random.default_rng(SEED)
    with RemoteSimulation(setup) as worker:
        worker.begin(SEED)
        for row in actions if isinstance(actions, np.ndarray) else range(actions):
            chosen = row if isinstance(row, np.ndarray) else random_phases(worker.snapshot.mask, random)
            worker.decide(chosen)
        taken = {"total": worker.decided_s, "sumo": worker.sumo_s}
        worker.end()
    if not 0.0 < taken["sumo"] < taken["total"]:
        raise RuntimeError(f"SUMO's steps took {taken['sumo']:g} s of {taken['total']:g} s: they are timed elsewhere")
    return taken


class Answers:
    """A digest of all observations and rewards of a run: two runs with one digest saw the same traffic."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def add(self, observations: npt.NDArray[np.float32], rewards: npt.NDArray[np.float64]) -> None:
        """What came of one decision: [S, size] and [S]."""
        self._hash.update(observations.astype(np.float32).tobytes())
        self._hash.update(rewards.astype(np.float64).tobytes())

    @property
    def digest(self) -> str:
        """Of all that was added."""
        return self._hash.hexdigest()[:16]


def random_phases(mask: npt.NDArray[np.bool_], random: np.random.Generator) -> npt.NDArray[np.int64]:
    """[S] a random phase of each signal among those that may be chosen."""
    chosen: npt.NDArray[np.int64] = np.where(mask, random.random(mask.shape), -1.0).argmax(axis=1)
    return chosen


def record_states(states: Path, path: Path) -> Path:
    """An additional file that makes SUMO write what its signals show."""
    path.write_text(f'<additional><timedEvent type="SaveTLSStates" dest={quoteattr(str(states))}/></additional>')
    return path


def as_programs(states: Path, tls_ids: set[str], begin_s: float) -> str:
    """A static program per signal that shows what was recorded."""
    shown: dict[str, list[list[Any]]] = {tls_id: [] for tls_id in tls_ids}
    for _, element in ElementTree.iterparse(states):
        if element.tag == "tlsState" and element.get("id") in shown:
            rows, state = shown[str(element.get("id"))], element.get("state")
            if rows and rows[-1][1] == state:
                rows[-1][0] += 1.0
            else:
                rows.append([1.0, state])
            element.clear()
    text = ["<additional>"]
    for tls_id, rows in sorted(shown.items()):
        text.append(f'<tlLogic id={quoteattr(tls_id)} type="static" programID="recorded" offset="{begin_s:g}">')
        text += [f'<phase duration="{duration:g}" state="{state}"/>' for duration, state in rows]
        text.append("</tlLogic>")
    return "\n".join([*text, "</additional>"])


def trip_output(path: Path) -> list[str]:
    """SUMO's options that write every trip, also those that the end of the window cuts off."""
    return ["--tripinfo-output", str(path), "--tripinfo-output.write-unfinished", "true"]


def trips_hash(path: Path) -> str:
    """A hash of every trip, without the file's heading (it holds the date and the options)."""
    body = re.sub(r"<!--.*?-->", "", path.read_text(), flags=re.S)
    return hashlib.sha256(body.encode()).hexdigest()

"""The same seed, the same episode? Every scenario again and again in every mode, one hash per trajectory.

Printed beside is how long a reset of one worker takes: the median over the episodes of `single`.

A trajectory is all observations, rewards and masks of all signals, and every vehicle's trip, also those that the
end cuts off. Actions are random and follow from the seed and the masks. Modes: `single`, one worker reset again and
again; `fresh`, a new worker each time; `vectorised`, two workers side by side; `ray`, two actors of a Ray cluster
that is started for it, whose trips stay with them (needs the extra `ray`). More are added to `MODES`: a function that
takes a course and a number, and gives that many hashes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.course import SEED, random_phases, trip_output, trips_hash
from benchmarks.speed import tell, window
from envs.sumo.setup import make_setup
from envs.workers.batch import SignalBatch
from envs.workers.client import RemoteSimulation
from envs.workers.protocol import SimulationWorker
from envs.workers.server import WorkerSetup
from plumbing.command import run_command
from plumbing.errors import InputError, did_you_mean
from plumbing.held import scratch
from plumbing.whole import write_whole
from scenarios.loading import names
from scenarios.scenario import Scenario

QUICK = {"scenarios": ["single", "cologne1"], "resets": 4, "decisions": 60}


@dataclass(frozen=True)
class Course:
    """A scenario, and where a worker writes its trips."""

    scenario: Scenario
    folder: Path
    resets_ms: list[float] = field(default_factory=list)
    """How long the resets of one worker took."""

    def trips(self, worker: int) -> Path:
        """Of the worker's last episode that was ended."""
        return self.folder / f"trips-{worker}.xml"

    def setup(self, number: int) -> WorkerSetup:
        """Of a worker that writes its trips."""
        return WorkerSetup(make_setup(self.scenario, outputs=trip_output(self.trips(number))))

    def worker(self, number: int = 0) -> RemoteSimulation:
        """One that writes its trips."""
        return RemoteSimulation(self.setup(number))

    @property
    def decisions(self) -> int:
        """Of an episode: all but the last, at which a batch would go on to its next episode."""
        return round(self.scenario.horizon_s / 5.0) - 1


class Trajectory:
    """The actions of an episode, and the hash of what came of them."""

    def __init__(self, worker: SimulationWorker) -> None:
        self._worker = worker
        self._random, self._hash = np.random.default_rng(SEED), hashlib.sha256()

    def phases(self) -> Any:
        """[S] of the next decision, after taking note of what can be seen before it."""
        for name in ("observation", "reward"):
            self._hash.update(self._worker.shared[name].tobytes())
        self._hash.update(self._worker.snapshot.mask.tobytes())
        return random_phases(self._worker.snapshot.mask, self._random)

    def end(self, trips: Path | None = None) -> str:
        """End the episode; the hash of what was seen and, after a dot, that of the trips written there."""
        self.phases()
        seen = self._hash.hexdigest()[:8]
        if trips is None:
            return seen
        assert isinstance(self._worker, RemoteSimulation)
        self._worker.end()
        return f"{seen}.{trips_hash(trips)[:8]}"


def single(course: Course, number: int) -> list[str]:
    """One worker, reset again and again."""
    hashes = []
    with course.worker() as worker:
        for _ in range(number):
            began_s = time.perf_counter()
            worker.begin(SEED)
            course.resets_ms.append((time.perf_counter() - began_s) * 1e3)
            hashes.append(_episode(course, worker))
    return hashes


def fresh(course: Course, number: int) -> list[str]:
    """A new worker for every episode."""
    hashes = []
    for _ in range(number):
        with course.worker() as worker:
            worker.begin(SEED)
            hashes.append(_episode(course, worker))
    return hashes


def vectorised(course: Course, number: int) -> list[str]:
    """Two workers in a batch."""
    return _batch(course, [course.worker(n) for n in range(2)], [course.trips(n) for n in range(2)], number)


def ray(course: Course, number: int) -> list[str]:
    """Two actors of a Ray cluster in a batch."""
    from envs.workers.cluster import Cluster

    with Cluster(None, 2) as cluster:
        return _batch(course, [cluster.worker(course.setup(n)) for n in range(2)], [None, None], number)


def _batch(
    course: Course, workers: Sequence[SimulationWorker], trips: Sequence[Path | None], number: int
) -> list[str]:
    batch, hashes = SignalBatch(workers, lambda worker, episode: SEED), list[str]()
    try:
        while len(hashes) < number:
            batch.reset()
            seen = [Trajectory(worker) for worker in workers]
            for _ in range(course.decisions):
                batch.step(np.concatenate([each.phases() for each in seen]))
            hashes += [each.end(file) for each, file in zip(seen, trips, strict=True)]
    finally:
        batch.close()
    return hashes[:number]


def _episode(course: Course, worker: RemoteSimulation) -> str:
    """The rest of one that has begun."""
    seen = Trajectory(worker)
    for _ in range(course.decisions):
        worker.decide(seen.phases())
    return seen.end(course.trips(0))


MODES: dict[str, Callable[[Course, int], list[str]]] = {
    "single": single, "fresh": fresh, "vectorised": vectorised, "ray": ray,
}  # fmt: skip
USUAL = ("single", "fresh", "vectorised")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--scenarios", nargs="+", default=names(), metavar="NAME", help="default: all twelve")
    p.add_argument("--modes", nargs="+", default=list(USUAL), metavar="MODE", help=f"default: {' '.join(USUAL)}")
    p.add_argument("--resets", type=int, default=20, metavar="N", help="episodes in each mode (default: 20)")
    p.add_argument(
        "--decisions",
        type=int,
        metavar="N",
        help="end an episode there (default: the scenario's end; an hour has 720)",
    )
    p.add_argument("--quick", action="store_true", help="two scenarios, five minutes, four times")
    p.add_argument("--json", action="store_true", help="print JSON on stdout, and nothing else there")
    p.add_argument("--out", type=Path, metavar="DIR", help="write resets.md there, as it goes")
    return p


def main(arguments: list[str] | None = None) -> int:
    """Run, compare and print; the exit status is 1 where hashes differ."""
    command = parser().parse_args(arguments)
    if command.quick:
        vars(command).update(QUICK)
    for mode in command.modes:
        if mode not in MODES:
            raise InputError(f"unknown mode {mode!r}; known are {', '.join(MODES)}.{did_you_mean(mode, MODES)}")
    if command.resets < 1 or (command.decisions is not None and command.decisions < 2):
        raise InputError("--resets must be at least 1, --decisions at least 2")
    said = "python benchmarks/resets.py " + " ".join(arguments if arguments is not None else sys.argv[1:])
    rows: list[dict[str, Any]] = []
    for name in command.scenarios:
        scenario = window(name, command.decisions)
        with scratch("resets") as folder:
            course, hashes = Course(scenario, folder), dict[str, list[str]]()
            for mode in command.modes:
                tell(f"{name}, {mode}: {command.resets} episodes of {scenario.horizon_s:g} s")
                hashes[mode] = MODES[mode](course, command.resets)
        rows.append(row_of(name, hashes, course.resets_ms))
        if command.out is not None:
            text = f"# Resets\n\n`{said}`\n\n{table(rows)}\n"
            write_whole(command.out / "resets.md", lambda path, text=text: path.write_text(text))  # type: ignore[misc]
    print(json.dumps({"rows": rows}, indent=2) if command.json else table(rows))
    return int(not all(row["identical"] for row in rows))


def row_of(name: str, hashes: Mapping[str, Sequence[str]], resets_ms: Sequence[float] = ()) -> dict[str, Any]:
    """How many episodes of each mode equal the very first one, with or without the trips; a reset's median."""
    first = max((found[0] for found in hashes.values()), key=len)
    same = {first, first.partition(".")[0]}
    equal = {mode: sum(each in same for each in found) for mode, found in hashes.items()}
    episodes = {mode: len(found) for mode, found in hashes.items()}
    found = {"scenario": name, "hash": first, "equal": equal, "episodes": episodes, "identical": equal == episodes}
    return {**found, "reset_ms": statistics.median(resets_ms) if resets_ms else None}


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """A Markdown table."""
    modes = list(rows[0]["equal"])
    lines = [f"| scenario | hash | {' | '.join(modes)} | identical | reset [ms] |", "|---" * (4 + len(modes)) + "|"]
    for row in rows:
        counts = " | ".join(f"{row['equal'][mode]} of {row['episodes'][mode]}" for mode in modes)
        said, reset = "yes" if row["identical"] else "**no**", row["reset_ms"]
        took = "–" if reset is None else f"{reset:.0f}"
        lines.append(f"| {row['scenario']} | `{row['hash']}` | {counts} | {said} | {took} |")
    return "\n".join(lines)


if __name__ == "__main__":
    run_command(main)

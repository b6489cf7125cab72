"""What an environment remembers of an episode, and the table of its trips, for which the episode runs once more."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from envs.sumo.setup import literal
from envs.sumo.simulation import SimulationError
from envs.workers.client import RemoteSimulation
from plumbing.errors import InputError
from plumbing.held import scratch
from signals.snapshot import Snapshot

if TYPE_CHECKING:  # an environment that nobody asks for trips needs no tables
    import polars as pl

    from envs.sumo.outputs import Trips

TABLES = ("vehicles", "persons")
Decisions = tuple[int, list[npt.NDArray[np.int64]], Snapshot]
"""An ended episode: its seed, the phases asked for at each decision, and what its end looked like."""


class EpisodeMemory:
    """The decisions of a simulation's episodes: an environment's way to its trips.

    Writing trips down makes SUMO slower, and few episodes are asked for theirs. So nothing is written at first: the
    same seed and decisions give the same episode, exactly, and it is run again once somebody asks.
    """

    def __init__(self, worker: RemoteSimulation) -> None:
        self._worker = worker
        self._seed = 0
        self._decisions: list[npt.NDArray[np.int64]] = []
        self._ended: Decisions | None = None
        self._trips: Trips | None = None

    def begin(self, seed: int) -> None:
        """An episode begins. What ended before is kept until this one ends."""
        self._seed, self._decisions = seed, []

    def decided(self, phases: npt.NDArray[Any]) -> None:
        """[S] phases were asked for, and the simulation has answered."""
        self._decisions.append(np.array(phases, np.int64))
        if self._worker.done:
            self._ended = self._seed, self._decisions, self._worker.snapshot.copy()
            self._trips = None

    def trips(self, of: str) -> pl.DataFrame:
        """A table of the last episode that ended; `NetworkEnv.trips` describes it.

        Raises:
            InputError: no such table, or no episode has ended.
            SimulationError: the episode does not repeat.
        """
        if of not in TABLES:
            raise InputError(f"there are no trips of {of!r}; choose {' or '.join(TABLES)}")
        if self._ended is None:
            raise InputError("no episode has ended yet, so there are no trips; step to an episode's end first")
        if self._trips is None:
            self._trips = self._again(*self._ended)
        return self._trips.vehicles if of == "vehicles" else self._trips.persons

    def _again(self, seed: int, decisions: list[npt.NDArray[np.int64]], last: Snapshot) -> Trips:
        from envs.sumo.outputs import read_trips, trip_options

        setup = self._worker.setup
        with scratch("trips") as folder:
            path = folder / "tripinfo.xml"
            outputs = (*setup.simulation.outputs, *literal(trip_options(path)))
            simulation = dataclasses.replace(setup.simulation, outputs=outputs, render="")
            with RemoteSimulation(dataclasses.replace(setup, simulation=simulation)) as worker:
                worker.begin(seed)
                for phases in decisions:
                    worker.decide(phases)
                if not all(
                    np.array_equal(getattr(worker.snapshot, name), array, equal_nan=array.dtype.kind == "f")
                    for name, array in vars(last).items()
                ):
                    raise SimulationError(
                        "the episode does not repeat, so its trips are not known; a reward or observation from "
                        "outside must not change the simulation"
                    )
                worker.end()
            return read_trips(path, setup.simulation.end_s)

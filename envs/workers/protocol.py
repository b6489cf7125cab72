"""What a batch of simulations asks of a worker, whether in a process beside it or on another machine."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from envs.workers.forks import Branches, Outcome
from envs.workers.handover import Asker, SharedArrays
from envs.workers.server import WorkerSetup
from signals.layout import Layout
from signals.snapshot import Snapshot


class SimulationWorker(Protocol):
    """One simulation. Asked to begin or to decide, it returns at once; its arrays hold what came of it.

    `envs.workers.client.RemoteSimulation` runs in a process on this machine, `envs.workers.cluster.RayWorker` on a
    Ray cluster.
    """

    setup: WorkerSetup
    layout: Layout
    shared: SharedArrays
    """The arrays as they were at the last answer."""
    snapshot: Snapshot
    """A view of them."""
    asker: Asker | None
    """Tells when a decision is answered; None before the first episode."""

    @property
    def alive(self) -> bool:
        """Whether an answer may still come."""

    @property
    def done(self) -> bool:
        """Whether the horizon is reached."""

    @property
    def answers_fd(self) -> int:
        """Readable once what `ask_to_begin` or `ask_to_branch` asked for is done."""

    def ask_to_begin(self, seed: int) -> None:
        """Start an episode; one that still runs is ended first."""

    def wait_until_begun(self) -> None:
        """Wait for what `ask_to_begin` asked for.

        Raises:
            InputError: SUMO refused the input, or no simulation can be started.
        """

    def ask(self, phases: npt.NDArray[np.integer[Any]]) -> None:
        """Ask for a phase per signal.

        Raises:
            SimulationError: no episode is running.
        """

    def check(self) -> None:
        """After an answer, or where none will come.

        Raises:
            SimulationError: the simulation failed.
        """

    def decide(self, phases: npt.NDArray[np.integer[Any]]) -> None:
        """`ask`, and wait for the answer.

        Raises:
            SimulationError: the simulation failed.
        """

    def ask_to_branch(self, request: Branches) -> None:
        """Have plans tried in forks of the episode, which itself stays as it is.

        Raises:
            InputError: the system cannot fork simulations.
            SimulationError: no episode is running.
        """

    def branched(self) -> list[Outcome]:
        """Wait for what `ask_to_branch` asked for.

        Raises:
            SimulationError: a branch failed, or the simulation died.
        """

    def kill(self) -> None:
        """End the simulation at once; the next episode starts a new one."""

    def close(self) -> None:
        """Stop the worker. Safe to call twice."""

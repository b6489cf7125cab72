"""What would happen if: forks of a running simulation that try plans and are thrown away.

A forked child goes on exactly as its parent would, since it has all of its memory: SUMO's random state, too, so that
it knows what the future will draw. It must leave no trace outside of itself: what it writes goes nowhere, what it
reads it reads from a place of its own, and the shared arrays become its private copy.
"""

from __future__ import annotations

import errno
import fcntl
import os
import pickle
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from envs.sumo.simulation import Simulation
from envs.workers.handover import SharedArrays
from signals.snapshot import Snapshot

IntArray = npt.NDArray[np.int64]
DESCRIPTORS = "/proc/self/fd"


class Policy(Protocol):
    """Whatever decides from a snapshot, such as a controller."""

    def decide(self, snapshot: Snapshot) -> IntArray:
        """[S] the phase that each signal should show next."""


@dataclass(frozen=True)
class Branches:
    """What is to be tried."""

    plans: Sequence[Sequence[IntArray]]
    """Per branch, the phases [S] to ask for at its first decisions; at least one."""
    steps: int
    """How many decisions each branch lasts; fewer at the horizon's end."""
    policy: Policy
    """Decides where a plan is over. It sees every snapshot after the present one. Its class is this project's or an
    installed package's: the simulation's process imports nothing else."""
    at_a_time: int = 1


@dataclass(frozen=True)
class Outcome:
    """What became of one branch."""

    loss_s: float
    """Time that all vehicles together lose in it, waiting to enter included. What a vehicle loses in the very
    interval in which it arrives is not known."""
    phases: IntArray
    """[steps, S] the phase that was green, or on its way, after each decision."""


def branching_works() -> bool:
    """Whether this system lets a child reopen its files, which takes Linux's /proc."""
    return hasattr(os, "fork") and os.path.isdir(DESCRIPTORS)


def explore(simulation: Simulation, shared: SharedArrays, request: Branches) -> list[Outcome]:
    """Try each plan in a child of its own; the simulation stays as it is.

    Args:
        shared: holds the simulation's snapshot, and becomes each child's own.

    Raises:
        RuntimeError: a branch failed.
    """
    outcomes: list[Outcome] = []
    for begin in range(0, len(request.plans), max(1, request.at_a_time)):
        plans = request.plans[begin : begin + max(1, request.at_a_time)]
        together = [_start(simulation, shared, plan, request) for plan in plans]
        answers = []
        for pid, pipe in together:  # all are waited for before any is judged, so that none is left behind
            with os.fdopen(pipe, "rb") as stream:
                answers.append(stream.read())
            os.waitpid(pid, 0)
        for answer in answers:
            content: Any = pickle.loads(answer) if answer else "its process died"
            if not isinstance(content, Outcome):
                raise RuntimeError(f"a branch failed: {content}")
            outcomes.append(content)
    return outcomes


def _start(
    simulation: Simulation, shared: SharedArrays, plan: Sequence[IntArray], request: Branches
) -> tuple[int, int]:
    """The child's id, and the pipe that its answer comes through."""
    reading, writing = os.pipe()
    child = os.fork()
    if child:
        os.close(writing)
        return child, reading
    try:  # in the child, which must never return to its caller
        os.close(reading)
        shared.make_private()
        _detach()
        result: object = _follow(simulation, plan, request)
    except BaseException as error:
        result = f"{type(error).__name__}: {error}"
    try:
        with os.fdopen(writing, "wb") as stream:
            pickle.dump(result, stream)
    finally:
        os._exit(0)


def _detach() -> None:
    """Files that are read get an offset of our own; files that are written lead nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for name in os.listdir(DESCRIPTORS):
        descriptor = int(name)
        try:
            if descriptor == nowhere or not stat.S_ISREG(os.fstat(descriptor).st_mode):
                continue
            if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY:
                os.dup2(nowhere, descriptor)
                continue
            own = os.open(f"{DESCRIPTORS}/{name}", os.O_RDONLY)
        except FileNotFoundError:  # the listing's own descriptor
            continue
        except OSError as error:
            if error.errno == errno.EBADF:  # closed since it was listed
                continue
            raise
        os.lseek(own, os.lseek(descriptor, 0, os.SEEK_CUR), os.SEEK_SET)
        os.dup2(own, descriptor)
        os.close(own)


def _follow(simulation: Simulation, plan: Sequence[IntArray], request: Branches) -> Outcome:
    began = simulation.time_losses()
    latest, waiting_s, shown = dict(began), 0.0, []
    for step in range(request.steps):
        if simulation.done:
            break
        before_s = simulation.now_s
        wanted = request.policy.decide(simulation.snapshot) if step else None
        if step < len(plan):
            wanted = plan[step]
        assert wanted is not None, "a plan has at least one decision"
        simulation.decide(wanted)
        shown.append(simulation.snapshot.phase.copy())
        latest |= simulation.time_losses()
        waiting_s += simulation.pending_veh() * (simulation.now_s - before_s)
    loss_s = sum(value - began.get(vehicle, 0.0) for vehicle, value in latest.items()) + waiting_s
    return Outcome(loss_s, np.array(shown, np.int64).reshape(-1, len(simulation.snapshot.phase)))

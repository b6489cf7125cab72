"""What is compared: our environments through each of their interfaces, SUMO alone, and sumo-rl.

All of ours repeat the recorded actions, so that they run the same traffic, and what counts is the time within `step`:
choosing an action is the agent's affair. A vectorised run with W workers runs the window W times over; its time is
divided by W.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol
from unittest import mock

import numpy as np

from benchmarks.course import SEED, Answers, Course
from benchmarks.peers import PeerFailed, SumoRl
from envs import SignalEnv, parallel_env, vector_env
from envs.options import EnvOptions
from envs.workers.batch import SignalBatch
from envs.workers.client import RemoteSimulation
from native.library import SWITCH
from scenarios.scenario import Scenario

SLICE = 10
"""Decisions at a time, where several are interleaved: some 20 ms, hundreds of times what it takes to hand over."""


class Window(NamedTuple):
    """How long one window took, interleaved with others [s]."""

    seconds: float
    bare_s: float
    binary_s: float
    """Of the stock binary, its start included."""


@dataclass(frozen=True)
class System:
    """One thing to be timed."""

    name: str
    run: Callable[[], float]
    """One window of traffic [s]."""
    against: str = "bare"
    """The system that runs the same traffic with nothing beside it."""
    slow: bool = False
    """Tens of times slower than SUMO itself: repeated less often."""
    workers: int = 1
    same_traffic: Callable[[], bool] = lambda: True
    """Whether that other system has run the same traffic, trip for trip."""
    interleaved: Callable[[], Window] | None = None
    """The same window, interleaved with bare libsumo and the stock binary, a few decisions each: a machine that is
    slow for a second is so for all of them."""


OURS = (
    "ours", "ours-plain", "ours-gymnasium", "ours-core",
    "ours-vector-1", "ours-vector-2", "ours-batch-1", "ours-batch-2",
)  # fmt: skip
PEERS = ("sumo-rl-traci", "sumo-rl-libsumo", "sumo-rl-libsumo-no-info")
SYSTEMS = {
    "sumo": "the stock binary, its start included, and its start alone",
    "bare-2": "two independent processes of bare libsumo at once: what the machine's cores allow",
    "bare-prepared": "bare libsumo with the allocator that our workers use",
    "ours": "our PettingZoo environment, all signals",
    "ours-plain": "the same without compiled code (INTERGREEN_NATIVE=0)",
    "ours-gymnasium": "our Gymnasium environment; only where the network has one signal",
    "ours-core": "the worker beneath both, without the dictionaries",
    "ours-vector-1": "our Gymnasium vector environment, one worker",
    "ours-vector-2": "the same, two workers",
    "ours-batch-1": "its core, asked without waiting for the slowest: one worker",
    "ours-batch-2": "the same, two workers",
    "sumo-rl-traci": "sumo-rl as it comes",
    "sumo-rl-libsumo": "sumo-rl on libsumo, as it comes",
    "sumo-rl-libsumo-no-info": "the same with both of its info options off",
}
NOT_BY_DEFAULT = ("ours-core",)


def make_systems(
    course: Course, wanted: Sequence[str], stack: contextlib.ExitStack, notes: list[str]
) -> list[System]:
    """The systems to time on a course, beginning with `bare`; the stack closes what they hold.

    Args:
        notes: takes a line for what cannot run there.
    """
    systems = [System("bare", course.recording.run_bare)]
    if "sumo" in wanted:
        systems += [System("sumo", course.run_binary), System("sumo-start", course.start_binary)]
    if "bare-2" in wanted:
        systems.append(System("bare-2", course.recording.run_bare_twice, workers=2))
    if "bare-prepared" in wanted:
        course.check(prepared=True)
        systems.append(System("bare-prepared", lambda: course.recording.run_bare(prepared=True)))
    systems += [ours(name, course, stack) for name in OURS if name in wanted and applies(name, course)]
    if peers := [name for name in PEERS if name in wanted]:
        try:
            theirs = SumoRl(course.scenario, course.folder, course.decisions, SEED)
        except PeerFailed as error:
            notes.append(f"{course.scenario.name}: {error}")
            return systems
        stack.callback(theirs.close)
        systems.append(System("bare-of-sumo-rl", theirs.recording.run_bare, against="bare-of-sumo-rl"))
        for name in peers:
            run, same = peer(theirs, name), lambda: theirs.same_traffic
            systems.append(System(name, run, "bare-of-sumo-rl", slow="traci" in name, same_traffic=same))
    return systems


def applies(name: str, course: Course) -> bool:
    """Whether a system can run there."""
    return name != "ours-gymnasium" or len(course.tls_ids) == 1


def peer(theirs: SumoRl, name: str) -> Callable[[], float]:
    """A run of sumo-rl."""
    return lambda: theirs.run(libsumo="libsumo" in name, info="no-info" not in name)


def ours(name: str, course: Course, stack: contextlib.ExitStack) -> System:
    """One of our interfaces; its traffic is checked once, before anything is timed.

    Raises:
        RuntimeError: its observations or rewards are not the recorded ones.
    """
    kind, _, number = name.removeprefix("ours").strip("-").partition("-")
    workers = int(number or 1)
    drivers: dict[str, Callable[..., Driver]] = {
        "": PettingZoo, "plain": PlainPettingZoo, "gymnasium": Gymnasium, "core": Core,
        "vector": Vector, "batch": Batch,
    }  # fmt: skip
    driver = drivers[kind](course.scenario, workers)
    stack.callback(driver.close)
    answers = [Answers() for _ in range(workers)]
    driver.drive(course, answers)
    if any(each.digest != course.answers for each in answers):
        raise RuntimeError(f"{course.scenario.name}: {name} saw other traffic than was recorded")
    interleaved = (lambda: interleaved_window(driver, course)) if isinstance(driver, OneEnvironment) else None
    return System(name, lambda: driver.drive(course), workers=workers, interleaved=interleaved)


def interleaved_window(driver: OneEnvironment, course: Course) -> Window:
    """One window of an environment, of bare libsumo and of the stock binary: a few decisions of each in turn."""
    with course.recording.run_stepwise() as bare, course.halted_binary() as binary:
        steps = driver.steps(course)
        ours_s = bare_s = binary_s = 0.0
        for n, begin in enumerate(range(0, course.decisions, SLICE)):
            size = min(SLICE, course.decisions - begin)
            if n % 2:
                bare_s += bare(size)
            slice_s = sum(itertools.islice(steps, size))
            if n % 2 == 0:
                bare_s += bare(size)
            ours_s += slice_s
            binary_s += binary.go_on(slice_s)
        return Window(ours_s, bare_s, binary_s + binary.go_on(None))


class Driver(Protocol):
    """One of our interfaces, run through the recorded actions."""

    def drive(self, course: Course, answers: Sequence[Answers] = ()) -> float:
        """One window [s]; `answers`, one for each worker, take what came of every decision but the last."""

    def close(self) -> None:
        """Stop the workers."""


class OneEnvironment:
    """One simulation, decision by decision."""

    def steps(self, course: Course, answers: Sequence[Answers] = ()) -> Iterator[float]:
        """How long each decision of a new episode takes [s]; `answers` as in `Driver`."""
        raise NotImplementedError

    def drive(self, course: Course, answers: Sequence[Answers] = ()) -> float:
        """See `Driver`."""
        return sum(self.steps(course, answers))


class PettingZoo(OneEnvironment):
    """`envs.parallel_env`."""

    def __init__(self, scenario: Scenario, workers: int = 1) -> None:
        del workers
        self._env = parallel_env(scenario)
        self.close = self._env.close

    def steps(self, course: Course, answers: Sequence[Answers] = ()) -> Iterator[float]:
        """See `OneEnvironment`."""
        self._env.reset(seed=SEED)
        agents = self._env.possible_agents
        for row in course.actions.tolist():
            asked = dict(zip(agents, row, strict=True))
            began = time.perf_counter()
            observations, rewards, _, ended, _ = self._env.step(asked)
            taken = time.perf_counter() - began
            if answers and not ended[agents[0]]:
                answers[0].add(np.stack([*observations.values()]), np.array([*rewards.values()]))
            yield taken


class PlainPettingZoo(PettingZoo):
    """The same without compiled code."""

    def __init__(self, scenario: Scenario, workers: int = 1) -> None:
        super().__init__(scenario, workers)
        with mock.patch.dict(os.environ, {SWITCH: "0"}):
            self._env.reset(seed=SEED)  # which starts the worker


class Gymnasium(OneEnvironment):
    """`envs.SignalEnv`."""

    def __init__(self, scenario: Scenario, workers: int = 1) -> None:
        del workers
        self._env = SignalEnv(scenario)
        self.close = self._env.close

    def steps(self, course: Course, answers: Sequence[Answers] = ()) -> Iterator[float]:
        """See `OneEnvironment`."""
        self._env.reset(seed=SEED)
        for action in course.actions[:, 0].tolist():
            began = time.perf_counter()
            observation, reward, _, ended, _ = self._env.step(action)
            taken = time.perf_counter() - began
            if answers and not ended:
                answers[0].add(observation, np.array([reward]))
            yield taken


class Core(OneEnvironment):
    """The worker without an interface above it."""

    def __init__(self, scenario: Scenario, workers: int = 1) -> None:
        del workers
        self._worker = EnvOptions(scenario).worker()
        self.close = self._worker.close

    def steps(self, course: Course, answers: Sequence[Answers] = ()) -> Iterator[float]:
        """See `OneEnvironment`."""
        worker = self._worker
        worker.begin(SEED)
        for row in course.actions:
            began = time.perf_counter()
            worker.decide(row)
            taken = time.perf_counter() - began
            if answers and not worker.done:
                answers[0].add(worker.shared["observation"], worker.shared["reward"])
            yield taken


class Vector:
    """`envs.vector_env`; every worker runs the same window."""

    def __init__(self, scenario: Scenario, workers: int) -> None:
        self._env = vector_env(scenario, workers)
        self._env.batch._seed = lambda worker, episode: SEED
        self.close = self._env.close

    def drive(self, course: Course, answers: Sequence[Answers] = ()) -> float:
        """See `Driver`."""
        self._env.reset(seed=SEED)
        taken, workers = 0.0, len(self._env.batch.workers)
        for row in course.actions[:-1]:  # the last one would also begin the next episode
            asked = np.tile(row, workers)
            began = time.perf_counter()
            observations, rewards, _, _, _ = self._env.step(asked)
            taken += time.perf_counter() - began
            for rows, each in zip(self._env.batch.rows, answers, strict=False):
                each.add(observations[rows], rewards[rows])
        return taken * course.decisions / (course.decisions - 1) / workers


def batch_of(scenario: Scenario, workers: int) -> SignalBatch:
    """So many simulations of it, which all run the same traffic."""
    setup = EnvOptions(scenario).worker().setup
    return SignalBatch([RemoteSimulation(setup) for _ in range(workers)], lambda worker, episode: SEED)


class Batch:
    """`envs.workers.batch.SignalBatch`, whose workers are asked again as soon as each is ready.

    Each worker's window is timed for itself. A worker that has finished goes on until all have: as in a training, the
    machine is equally busy all the time.
    """

    def __init__(self, scenario: Scenario, workers: int) -> None:
        self._batch = batch_of(scenario, workers)
        self.close = self._batch.close

    def drive(self, course: Course, answers: Sequence[Answers] = ()) -> float:
        """See `Driver`."""
        batch, actions = self._batch, course.actions
        counted = len(actions) - 1  # the last one also begins the next episode
        batch.reset()
        asked, rates = [0] * len(batch.workers), list[float]()
        began = time.perf_counter()
        for n in range(len(batch.workers)):
            batch.send(n, actions[0])
        while len(rates) < len(batch.workers):
            for turn in batch.receive(1):
                n = turn.worker
                observation = batch.workers[n].shared["observation"].copy()
                asked[n] += 1
                if answers and asked[n] <= counted:
                    answers[n].add(observation, turn.reward)
                if asked[n] == counted:
                    rates.append(counted / (time.perf_counter() - began))
                batch.send(n, actions[asked[n] % len(actions)])
        batch.receive()  # what was asked last, so that no worker is busy when the next window begins
        return course.decisions / sum(rates)

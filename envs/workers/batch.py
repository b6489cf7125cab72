"""Several simulations as one batch of signals, each in its own process; who fails is replaced, the others go on.

This is the core of both vectorised environments, `envs.vectorised` and `agents.vec_env`. A worker may be asked as
soon as it has answered, so a loop of one's own need never wait for the slowest.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from envs.sumo.simulation import SimulationError
from envs.workers.handover import CORES, DOZE_S, WAIT_SPIN_S, Waiting, readable, thought_spin_s
from envs.workers.protocol import SimulationWorker
from envs.workers.server import reward_terms
from plumbing.errors import InputError

log = logging.getLogger("intergreen.workers")
MOST_FAILURES = 5
"""In a row of one worker, without one episode finished in between: then something is wrong for good."""
START_S = 120.0
"""[s] on the wall clock: a new process has to load its libraries and the network first."""
IDLE, DECIDING, BEGINNING = range(3)
MOST_KEPT = 256
"""Of the groups of workers that have been waited for."""


class Turn(NamedTuple):
    """What came of one decision of a worker; it is ready for the next."""

    worker: int
    reward: npt.NDArray[np.float64]
    """[S] of that worker's signals; 0 where it failed."""
    last: npt.NDArray[np.float32] | None = None
    """[S, size] the ended episode's last observation, None within an episode: the shared rows hold the next one's."""
    failure: str = ""
    """Why the episode ended before its horizon."""
    terms: Mapping[str, npt.NDArray[np.float64]] = MappingProxyType({})
    """[S] each term of the reward without its weight, by what it is called; none where it failed."""


class SignalBatch:
    """All signals of all workers, worker by worker.

    A worker that crashes, is killed or does not answer in time ends its episode there, as if the horizon were
    reached: with the last observation that it gave. Its next episode begins in a new process.

    Args:
        workers: simulations; they may be of unlike networks if their observations are cut alike.
        seed: the seed of the n-th episode of a worker, from both numbers.
        timeout_s: how long a decision may take on the wall clock (a start: at least `START_S`).

    Raises:
        InputError: no workers, or their observations differ in shape.
    """

    def __init__(
        self, workers: Sequence[SimulationWorker], seed: Callable[[int, int], int], timeout_s: float = 300.0
    ) -> None:
        self.workers = list(workers)
        if not self.workers:
            raise InputError("a batch needs at least one worker")
        self.shape = self.workers[0].setup.observation_shape
        if any(worker.setup.observation_shape != self.shape for worker in self.workers):
            raise InputError("the workers' observations differ in shape; give each the least_slots of the largest")
        for worker in self.workers:
            worker.shared["thought_s"][0] = thought_spin_s(len(self.workers))
        self.timeout_s = timeout_s
        ends = np.cumsum([worker.layout.shape[0] for worker in self.workers]).tolist()
        self.rows = [slice(start, end) for start, end in zip([0, *ends[:-1]], ends, strict=True)]
        """Which rows of the batch are whose."""
        self.size: int = ends[-1]
        self.episodes = [0] * len(self.workers)
        """Begun so far, per worker."""
        self.failures = 0
        """Episodes of all workers that ended by a failure."""
        self._seed = seed
        self._doing = [IDLE] * len(self.workers)
        self._since = [0.0] * len(self.workers)
        self._in_a_row = [0] * len(self.workers)
        self._held: dict[int, Turn] = {}
        self._waiting: dict[tuple[int, ...], Waiting] = {}
        """By the numbers of the workers that decide; emptied when one of them begins an episode."""
        self._looked_s = 0.0

    def reset(self) -> None:
        """Begin each worker's next episode, all at the same time.

        Raises:
            InputError: SUMO refuses the input.
            SimulationError: a worker's process dies at its start.
        """
        self._finish_begun()
        for n in range(len(self.workers)):
            self._begin(n)
        for n, worker in enumerate(self.workers):
            worker.wait_until_begun()
            self._doing[n] = IDLE

    def observations(self) -> npt.NDArray[np.float32]:
        """[N, size] the rows of all workers; a new array each time."""
        return np.concatenate([worker.shared["observation"] for worker in self.workers])

    def masks(self) -> npt.NDArray[np.bool_]:
        """[N, P] which phases may be chosen; a new array each time."""
        return np.concatenate([worker.snapshot.mask for worker in self.workers])

    def send(self, n: int, phases: npt.NDArray[np.integer]) -> None:
        """Ask worker `n` for a phase of each of its signals."""
        assert self._doing[n] == IDLE, f"worker {n} has not answered yet: receive its turn first"
        self._doing[n], self._since[n] = DECIDING, time.monotonic()
        self.workers[n].ask(phases)

    def asked(self, n: int) -> bool:
        """Whether worker `n` has not answered yet."""
        return self._doing[n] != IDLE

    def receive(self, least: int | None = None, among: Collection[int] | None = None) -> list[Turn]:
        """Wait until at least so many workers are ready for their next decision; what came of their last.

        Args:
            least: of those in `among` that have been asked; by default, and at most, all of them.
            among: the workers that are waited for, by default all; the others' answers stay where they are.

        Raises:
            InputError: a reward or an observation from outside fails.
            SimulationError: a worker fails again and again.
        """
        busy = [n for n, doing in enumerate(self._doing) if doing != IDLE and (among is None or n in among)]
        least = len(busy) if least is None else min(least, len(busy))
        turns: list[Turn] = []
        while True:
            # whether somebody has died is looked at now and then: it takes longer than all else
            now_s = time.monotonic()
            closely = now_s - self._looked_s >= DOZE_S
            if closely:
                self._looked_s = now_s
            for n in busy.copy():
                turn = self._advance(n, closely)
                if turn is not None:
                    turns.append(turn)
                    busy.remove(n)
            if len(turns) >= least:
                return turns
            self._wait_for(busy)

    def _wait_for(self, busy: list[int]) -> None:
        """Until one of them is worth a look, or a while."""
        doing = self._doing
        deciding = tuple([n for n in busy if doing[n] == DECIDING])
        fds = [self.workers[n].answers_fd for n in busy if doing[n] == BEGINNING] if len(deciding) < len(busy) else ()
        waiting = self._waiting.get(deciding)
        if waiting is None:
            if len(self._waiting) >= MOST_KEPT:
                self._waiting.clear()
            askers = (self.workers[n].asker for n in deciding)
            waiting = self._waiting[deciding] = Waiting([asker for asker in askers if asker is not None])
        # a core that looks at counters is one that no simulation has
        waiting.wait(fds, WAIT_SPIN_S if len(doing) - doing.count(IDLE) < CORES else 0.0)

    def give_up(self, n: int, reason: str) -> None:
        """End the episode of a worker that failed beside its decisions, as in a fork; `receive` gives its turn.

        Raises:
            SimulationError: a worker fails again and again.
        """
        self.workers[n].kill()
        self._cut_short(n, reason)

    def step(self, phases: npt.NDArray[np.integer]) -> list[Turn]:
        """Ask all workers and wait for all of them; their turns in order.

        Args:
            phases: [N]
        """
        for n, rows in enumerate(self.rows):
            self.send(n, phases[rows])
        return sorted(self.receive(), key=lambda turn: turn.worker)

    def close(self) -> None:
        """Stop all workers. Safe to call twice."""
        for worker in self.workers:
            worker.close()

    def _begin(self, n: int) -> None:
        self.workers[n].ask_to_begin(self._seed(n, self.episodes[n]))
        self._waiting.clear()  # it may be another process, with a bell of its own
        self.episodes[n] += 1
        self._doing[n], self._since[n] = BEGINNING, time.monotonic()

    def _finish_begun(self) -> None:
        """Let go of what was asked and not received: a reset in the middle."""
        for n, worker in enumerate(self.workers):
            if self._doing[n] != IDLE:
                worker.kill()
                self._doing[n] = IDLE
        self._held.clear()

    def _advance(self, n: int, closely: bool) -> Turn | None:
        """Look after a worker that was asked; its turn, once it is ready for the next decision.

        Args:
            closely: whether to find out if it is late or dead, where it has not answered.
        """
        worker = self.workers[n]
        if self._doing[n] == DECIDING:
            assert worker.asker is not None
            if worker.asker.answered():
                return self._decided(n)
        elif readable([worker.answers_fd], 0.0):
            return self._begun(n)
        return self._look_after(n) if closely else None

    def _look_after(self, n: int) -> Turn | None:
        """Of a worker that had not answered: where it is late or dead, its next episode begins."""
        worker, decides = self.workers[n], self._doing[n] == DECIDING
        allowed_s = self.timeout_s if decides else max(self.timeout_s, START_S)
        late = time.monotonic() - self._since[n] > allowed_s
        if not late and worker.alive:
            return None
        if decides and not late:  # it may have answered before it died, and says what it died of
            return self._decided(n)
        reason = _silent(allowed_s) if late else "its process was ended"
        if decides:
            worker.kill()  # so that what it observed last no longer changes
            self._cut_short(n, reason)
        else:
            self._fail(n, reason)
        return None

    def _decided(self, n: int) -> Turn | None:
        worker = self.workers[n]
        try:
            worker.check()
        except SimulationError as error:
            self._cut_short(n, str(error))
            return None
        reward = worker.shared["reward"].copy()
        terms = {name: values.copy() for name, values in reward_terms(worker.setup, worker.shared).items()}
        if not worker.done:
            self._doing[n] = IDLE
            return Turn(n, reward, terms=terms)
        self._in_a_row[n] = 0
        self._held[n] = Turn(n, reward, worker.shared["observation"].copy(), terms=terms)
        self._begin(n)
        return None

    def _cut_short(self, n: int, reason: str) -> None:
        """End an episode that failed; its turn is kept until the next one has begun."""
        worker = self.workers[n]
        self._held[n] = Turn(n, np.zeros(worker.layout.shape[0]), worker.shared["observation"].copy(), reason)
        self._fail(n, reason)

    def _begun(self, n: int) -> Turn | None:
        try:
            self.workers[n].wait_until_begun()
        except (InputError, SimulationError) as error:  # SUMO took this input before
            self._fail(n, str(error))
            return None
        self._doing[n] = IDLE
        return self._held.pop(n)

    def _fail(self, n: int, reason: str) -> None:
        self.failures += 1
        self._in_a_row[n] += 1
        if self._in_a_row[n] >= MOST_FAILURES:
            raise SimulationError(f"worker {n} failed {MOST_FAILURES} times in a row; the last time: {reason}")
        log.warning("worker %d failed (%s); its next episode begins in a new process", n, reason)
        self.workers[n].kill()
        self._begin(n)


def _silent(seconds: float) -> str:
    return f"it did not answer for {seconds:g} s"

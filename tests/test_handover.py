"""The hand-over between two processes."""

from __future__ import annotations

import os
import resource
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

from envs.sumo.setup import make_setup
from envs.workers import handover as channel
from envs.workers.batch import SignalBatch
from envs.workers.client import RemoteSimulation
from envs.workers.handover import SPIN_S, THOUGHT_SPIN_S, Answerer, Asker, Bell, SharedArrays, Waiting
from envs.workers.server import WorkerSetup
from native import library
from scenarios.loading import load
from tests.compiled import needs_library


class Sides:
    """Both sides, as in two processes but for the process; the answer to a number is its double."""

    def __init__(self) -> None:
        self.shared = SharedArrays({"number": ((1,), np.int64)})
        self._bells, (self.commands, self.order) = (Bell(), Bell()), os.pipe()
        self.asker = Asker(self.shared, *self._bells)
        self.waiting = Waiting([self.asker])
        self.answerer = Answerer(self.shared, self.commands, *self._bells[::-1])
        self.pause_s = 0.0
        self.ended_with: bytes | None = None
        self._thread = threading.Thread(target=self._answer)
        self._thread.start()

    def _answer(self) -> None:
        while (byte := self.answerer.wait()) is None:
            time.sleep(self.pause_s)
            self.shared["number"][0] *= 2
            self.answerer.answer()
        self.ended_with = byte

    def doubled(self, number: int) -> int:
        """What is answered."""
        self.shared["number"][0] = number
        self.asker.ask()
        while not self.waiting.wait():
            pass
        return int(self.shared["number"][0])

    def end(self) -> None:
        """By a command."""
        os.write(self.order, b"e")
        self._thread.join(10.0)
        for bell in self._bells:
            bell.close()
        os.close(self.commands)
        os.close(self.order)
        self.shared.close()


@pytest.fixture
def sides() -> Iterator[Sides]:
    made = Sides()
    yield made
    made.end()
    assert made.ended_with == b"e"


def test_every_question_has_its_own_answer_whoever_sleeps(sides: Sides) -> None:
    """Neither side, one or both have gone to sleep when the other one is ready."""
    for asker_s, answerer_s in ((0.0, 0.0), (0.002, 0.0), (0.0, 0.006), (0.002, 0.006)):
        sides.pause_s = answerer_s
        for number in range(1, 8):
            time.sleep(asker_s)
            assert sides.doubled(number) == 2 * number


def test_who_waits_longer_than_a_doze_is_told_that_there_is_no_answer_yet(sides: Sides) -> None:
    """So that it can look whether the other side lives."""
    sides.pause_s = 0.2
    sides.asker.ask()
    began = time.monotonic()
    assert not sides.waiting.wait()
    assert time.monotonic() - began < 0.15
    while not sides.waiting.wait():
        pass


@pytest.mark.wide
def test_an_idle_worker_leaves_the_cores_alone() -> None:
    """It looks at its counter for a moment only, however long nothing is asked."""
    with RemoteSimulation(WorkerSetup(make_setup(load("cologne1")))) as worker:
        worker.begin(1)
        worker.decide(worker.snapshot.phase)
        assert worker._process is not None
        (episode,) = _children(worker._process.pid)
        before_s = _cpu_s(episode)
        time.sleep(1.0)
        assert _cpu_s(episode) - before_s <= 0.05


def test_workers_look_long_for_their_next_question_only_where_a_core_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel, "CORES", 3)
    workers = [RemoteSimulation(WorkerSetup(make_setup(load("single")))) for _ in range(3)]
    for number, spin_s in ((1, THOUGHT_SPIN_S), (2, THOUGHT_SPIN_S), (3, SPIN_S)):
        SignalBatch(workers[:number], lambda worker, episode: 1)
        assert [worker.shared["thought_s"][0] for worker in workers[:number]] == [spin_s] * number


@pytest.mark.wide
@needs_library
@pytest.mark.parametrize("way", ["0", "1"])
def test_a_worker_tells_how_long_its_decisions_took(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(library.SWITCH, way)
    with RemoteSimulation(WorkerSetup(make_setup(load("cologne1")))) as worker:
        for seed in (1, 2):
            worker.begin(seed)
            assert worker.decided_s == worker.sumo_s == 0.0
            began, last_s = time.perf_counter(), 0.0
            for _ in range(5):
                worker.decide(worker.snapshot.phase)
                assert last_s < worker.sumo_s < worker.decided_s < time.perf_counter() - began
                last_s = worker.sumo_s


def _children(pid: int) -> list[int]:
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return [int(each) for each in file.read().split()]


def _cpu_s(pid: int) -> float:
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_descriptors_have_no_greatest_number() -> None:
    """Whoever has more than a thousand files open has simulations, too."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(soft, 1200), hard), hard))
    held = [os.open(os.devnull, os.O_RDONLY) for _ in range(1024)]
    try:
        worker = RemoteSimulation(WorkerSetup(make_setup(load("single", end_s=20))))
        batch = SignalBatch([worker], lambda worker, episode: 1)
        try:
            batch.reset()
            for _ in range(2):
                batch.send(0, batch.masks()[batch.rows[0]].argmax(axis=1))
                assert [turn.failure for turn in batch.receive()] == [""]
            assert worker.answers_fd > 1023
        finally:
            batch.close()
    finally:
        for descriptor in held:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

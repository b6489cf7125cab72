"""The allocator of the workers: there where its package is, off by its switch, never in a window."""

from __future__ import annotations

import json
import logging
import platform
import sys
import time
from pathlib import Path

import pytest

import train
from envs.sumo.setup import make_setup
from envs.workers import allocator
from envs.workers.allocator import SYSTEM, allocator_library, allocator_name, preloading
from envs.workers.client import RemoteSimulation
from envs.workers.server import WorkerSetup
from scenarios.loading import load

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux") or platform.machine() != "x86_64",
    reason="mimalloc's package is built for Linux on x86-64",
)


def test_it_goes_after_what_is_preloaded_already(caplog: pytest.LogCaptureFixture) -> None:
    library = allocator_library()
    assert Path(library).name == allocator.LIBRARY
    with caplog.at_level(logging.DEBUG):
        assert preloading({"A": "b"}) == {"A": "b", "LD_PRELOAD": library}
    assert [record.message for record in caplog.records] == [f"workers allocate with {allocator_name()}"]
    assert preloading({"LD_PRELOAD": "/x.so"})["LD_PRELOAD"] == f"/x.so:{library}"


def test_its_own_switch_turns_it_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(allocator.SWITCH, "0")
    assert preloading({"A": "b"}) == {"A": "b"}
    assert allocator_name() == SYSTEM


def preloaded(render: str) -> str:
    """What a worker's process is told: its environment variables."""
    worker = RemoteSimulation(WorkerSetup(make_setup(load("single"), render=render)))
    try:
        worker._start()
        assert worker._process is not None
        environ = Path(f"/proc/{worker._process.pid}/environ")
        while b"OMP_NUM_THREADS" not in (found := environ.read_bytes()):  # until it is Python's own
            time.sleep(0.01)
        return found.decode()
    finally:
        worker.close()


@pytest.mark.wide
def test_a_worker_runs_with_it_and_one_with_a_window_does_not() -> None:
    with RemoteSimulation(WorkerSetup(make_setup(load("single")))) as worker:
        worker.begin(1)
        assert worker._process is not None
        assert allocator_library() in Path(f"/proc/{worker._process.pid}/maps").read_text()
    assert allocator.LIBRARY in preloaded("")
    assert allocator.LIBRARY not in preloaded("rgb_array")


@pytest.mark.wide
def test_a_run_says_what_it_allocated_with(tmp_path: Path) -> None:
    words = ["--scenario", "single", "--agent", "dqn", "--steps", "50", "--end", "300", "--validate-every", "0"]
    assert train.main([*words, "--out", str(tmp_path / "run")]) == 0
    assert json.loads((tmp_path / "run" / "settings.json").read_text())["allocator"] == allocator_name()

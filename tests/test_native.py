"""The compiled library: what has to fit before it is used, and what happens where it does not."""

from __future__ import annotations

import ctypes
import dataclasses
import logging
import os
import shutil
from pathlib import Path

import libsumo
import numpy as np
import pytest
from libsumo import _libsumo

from envs.sumo.compiled import SumoFunctions, native
from envs.sumo.decision import CompiledDecision
from envs.sumo.reading import read_lane
from envs.sumo.setup import make_setup
from envs.sumo.simulation import Simulation, SimulationError
from envs.workers.client import RemoteSimulation
from envs.workers.server import WorkerSetup
from native import library
from scenarios.loading import load
from tests.compiled import needs_library


@needs_library
def test_the_compiled_library_fits_the_installed_libsumo() -> None:
    """Else it would be passed over, and nobody would know why it is slow."""
    assert native() is not None


@needs_library
def test_a_library_of_other_sources_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As after an update of the checkout alone: structures may have changed, and nothing else would tell."""
    for path in library.LIBRARY.parent.glob("*.*"):
        shutil.copy(path, tmp_path)
    monkeypatch.setattr(library, "LIBRARY", tmp_path / library.LIBRARY.name)
    assert library.library.__wrapped__() is not None
    with (tmp_path / "measures.cpp").open("a") as file:
        file.write("// another line\n")
    with caplog.at_level(logging.DEBUG):
        assert library.library.__wrapped__() is None
    assert caplog.messages == ["libintergreen.so is not used: it was built from other sources"]


@needs_library
def test_a_libsumo_without_these_functions_is_not_called(tmp_path: Path) -> None:
    """Neither one that lacks them, nor one that is not loaded, nor a copy whose symbols lie in another file."""
    compiled = native()
    assert compiled is not None
    found = SumoFunctions()
    find = compiled.library.find_sumo
    assert find(os.fsencode(_libsumo.__file__), ctypes.byref(found))
    assert {getattr(found, name) for name, _ in found._fields_}.isdisjoint({None})
    assert not find(os.fsencode(library.LIBRARY), ctypes.byref(found)), "it has none of these"
    assert not find(os.fsencode(tmp_path / "no.so"), ctypes.byref(found))
    link = tmp_path / "elsewhere.so"
    link.symlink_to(_libsumo.__file__)  # the loader knows it for the same, whose symbols lie under its first name
    assert not find(os.fsencode(link), ctypes.byref(found))


@needs_library
def test_each_switch_leaves_its_part_to_python(monkeypatch: pytest.MonkeyPatch) -> None:
    for said, parts in (("", "step look observe"), ("0", ""), ("1", "step look observe"), ("look,observe", "step")):
        monkeypatch.setenv(library.SWITCH, said)
        assert library.parts_used() == set(parts.split())
    monkeypatch.setenv(library.SWITCH, "0")
    assert library.library.__wrapped__() is None


@needs_library
def test_an_answer_that_differs_is_noticed() -> None:
    """A lane's numbers as compiled code and as Python ask for them, before any vehicle is there and later."""
    setup = make_setup(load("cologne1"))
    simulation = Simulation(setup)
    try:
        simulation.begin(1)
        decision, lanes = simulation._decision, setup.layout.lanes
        assert isinstance(decision, CompiledDecision)
        busy = 0
        for n in range(30):
            for lane in lanes:
                plain = read_lane(_libsumo, lane)
                assert decision.agrees(lane, plain)
                for place, value in enumerate(plain):
                    other = list(plain)
                    other[place] = value + 1
                    assert not decision.agrees(lane, tuple(other))  # type: ignore[arg-type]
                busy += plain[0] > 0 and plain[3] > 0
            simulation.decide(np.array([n // 3 % 2]))
        assert busy > 20
        assert not decision.agrees("no_such_lane", (0, 0, 0.0, 0.0))
    finally:
        libsumo.close()


@needs_library
def test_a_worker_says_why_it_does_without(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once, in the environment's log."""
    monkeypatch.setenv(library.SWITCH, "0")
    with RemoteSimulation(WorkerSetup(make_setup(load("single")))) as worker, caplog.at_level(logging.DEBUG):
        for seed in (1, 2):
            worker.begin(seed)
    said = [message for message in caplog.messages if message.startswith("worker:")]
    assert said == ["worker: libintergreen.so is not used: INTERGREEN_NATIVE is 0"]


@needs_library
def test_who_is_told_something_else_does_without(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CompiledDecision, "agrees", lambda *_: False)
    simulation = Simulation(make_setup(load("cologne1")))
    assert simulation.observe_compiled is not None
    try:
        with caplog.at_level(logging.DEBUG):
            simulation.begin(1)
        assert any("which is not used" in message for message in caplog.messages)
        assert simulation.observe_compiled is None
        monkeypatch.setattr(CompiledDecision, "step", None)  # a call would be an error
        monkeypatch.setattr(CompiledDecision, "look", None)
        simulation.decide(np.array([1]))
        assert simulation.snapshot.time_s[0] == simulation.now_s == simulation.setup.begin_s + 5.0
    finally:
        libsumo.close()


@pytest.mark.wide
def test_an_unknown_lane_is_an_error_and_no_number() -> None:
    """Compiled code leaves it to Python, whose message names the lane."""
    setup = make_setup(load("single"))
    lanes = ("no_such_lane", *setup.layout.lanes[1:])
    broken = WorkerSetup(dataclasses.replace(setup, layout=dataclasses.replace(setup.layout, lanes=lanes)))
    with RemoteSimulation(broken) as worker, pytest.raises(SimulationError, match="no_such_lane"):
        worker.begin(1)

"""The compiled reader and the plain one: the same questions, the same answers to the bit."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from envs.native import library
from envs.sumo.setup import make_setup
from envs.sumo.simulation import SimulationError
from envs.workers.client import RemoteSimulation
from envs.workers.server import WorkerSetup
from scenarios.scenario import load

needs_library = pytest.mark.skipif(
    not sys.platform.startswith("linux") or not any(map(shutil.which, ("c++", "g++", "clang++"))),
    reason="the compiled reader is built on Linux, and where there is a C++ compiler",
)
"""Where there is a compiler these run, so that a build which fails in silence does not pass."""

OTHERS = (("cologne3", "full"), ("single", "full"), ("single", "detectors"))


CLOCKS = ("asker_asleep", "answerer_asleep", "decided_s", "sumo_s")
"""How the two processes waited for each other, and how long things took, is none of the simulation's numbers."""


@needs_library
@pytest.mark.parametrize(
    ("name", "sensing"),
    [
        ("cologne1", "full"),  # the others' arrays are compared in test_step.py, too
        *(pytest.param(*of, marks=pytest.mark.slow) for of in OTHERS),
    ],
)
def test_the_compiled_reader_gives_the_plain_ones_numbers(
    name: str, sensing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every array of the snapshot and the observation, over 40 decisions."""
    scenario = load(name)
    setup = WorkerSetup(make_setup(scenario, sensing=sensing))
    seen: dict[str, list[dict[str, bytes]]] = {}
    for switch in ("0", "1"):
        monkeypatch.setenv(library.SWITCH, switch)
        with RemoteSimulation(setup) as worker:
            worker.begin(3)
            random, rows = np.random.default_rng(3), []
            for _ in range(40):
                mask = worker.snapshot.mask
                worker.decide(np.where(mask, random.random(mask.shape), -1.0).argmax(axis=1))
                rows.append({key: array.tobytes() for key, array in worker.shared.arrays.items()})
                assert worker.snapshot.vehicles.any() or len(rows) < 5, "an empty network would prove nothing"
        seen[switch] = rows
    for clock in CLOCKS:
        for row in (*seen["0"], *seen["1"]):
            row.pop(clock)
    assert seen["0"] == seen["1"]


@needs_library
def test_the_compiled_library_fits_the_installed_libsumo() -> None:
    """Else it would be passed over in silence, and nobody would know why it is slow."""
    assert library.native() is not None


@needs_library
def test_a_library_of_other_sources_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after an update of the checkout alone: structures may have changed, and nothing else would tell."""
    for path in library.LIBRARY.parent.glob("*.*"):
        shutil.copy(path, tmp_path)
    monkeypatch.setattr(library, "LIBRARY", tmp_path / library.LIBRARY.name)
    assert library.native.__wrapped__() is not None
    with (tmp_path / "measures.cpp").open("a") as file:
        file.write("// another line\n")
    assert library.native.__wrapped__() is None


def test_an_unknown_lane_is_an_error_and_no_number() -> None:
    """The compiled reader hands over to the plain one, whose message names the lane."""
    setup = make_setup(load("single"))
    lanes = ("no_such_lane", *setup.layout.lanes[1:])
    broken = WorkerSetup(_with_lanes(setup, lanes))
    with RemoteSimulation(broken) as worker, pytest.raises(SimulationError, match="no_such_lane"):
        worker.begin(1)


def _with_lanes(setup, lanes):  # type: ignore[no-untyped-def]
    from dataclasses import replace

    return replace(setup, layout=replace(setup.layout, lanes=lanes))

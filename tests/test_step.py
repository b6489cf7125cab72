"""Compiled decisions and the same call by call: equal to the bit, in what they say of failures, too."""

from __future__ import annotations

import ctypes
import dataclasses
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from envs.sumo.compiled import native
from envs.sumo.decision import CompiledDecision
from envs.sumo.setup import SimulationOptions, SimulationSetup, make_setup
from envs.sumo.simulation import SimulationError
from envs.workers.client import RemoteSimulation
from envs.workers.handover import COUNTERS
from envs.workers.server import WorkerSetup
from native import library
from scenarios.loading import load
from signals.layout import Gather
from signals.loops import DetectorFaults
from signals.machine import SignalMachine
from signals.measures import ApproachMeasures
from signals.observations import PhaseObservation
from signals.snapshot import Snapshot
from signals.timing import Timing
from tests.compiled import needs_library
from tests.scenario_files import user_folder

WAYS = ("0", "1")


def decisions(worker: RemoteSimulation, seed: int, fcd: Path, most: int) -> tuple[list[dict[str, bytes]], str]:
    """All shared arrays after each of that many decisions, and a hash of every vehicle's way."""
    random = np.random.default_rng(seed)
    rows: list[dict[str, bytes]] = []
    worker.begin(seed)
    while not worker.done and len(rows) < most:
        mask = worker.snapshot.mask
        worker.decide(np.where(mask, random.random(mask.shape), -1.0).argmax(axis=1))
        rows.append({key: array.tobytes() for key, array in worker.shared.arrays.items() if key not in COUNTERS})
    worker.end()
    text = fcd.read_text()
    assert text.count("<vehicle ") > most
    return rows, hashlib.sha256(text[text.index("<fcd-export") :].encode()).hexdigest()


@pytest.mark.wide
@needs_library
@pytest.mark.parametrize(
    ("name", "reward", "options"),
    [
        ("cologne3", "queue_veh", {"timing": Timing(decision_interval_s=3.0)}),
        ("cologne1", "", {"timing": Timing(decision_interval_s=0.7, sim_step_s=0.1)}),
        ("cologne1", "waiting_time_saved", {"warm_up_s": 60.0}),
        ("single", "time_loss", {}),  # where people walk, too
        pytest.param("grid4x4", "time_loss", {}, marks=pytest.mark.slow),
        pytest.param("ingolstadt7", "time_loss", {}, marks=pytest.mark.slow),
        ("single", "time_loss", {"sensing": "detectors"}),
        ("single", "pressure_veh", {"sensing": "detectors", "faults": DetectorFaults(latency_s=1.0)}),
        ("cologne1", "queue", {}),
    ],
)
def test_both_ways_give_the_same_episodes(
    name: str, reward: str, options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fcd = tmp_path / "fcd.xml"
    outputs = ("--fcd-output", str(fcd), "--precision", "6")
    setup = WorkerSetup(make_setup(load(name), SimulationOptions(**options), outputs=outputs), reward=reward)
    seen = {}
    for way in WAYS:
        monkeypatch.setenv(library.SWITCH, way)
        with RemoteSimulation(setup) as worker:
            seen[way] = [decisions(worker, seed, fcd, most) for seed, most in ((3, 40), (4, 25))]
    assert seen["0"] == seen["1"]
    (whole, _), (other, _) = seen["0"]
    assert whole[:25] != other, "another seed is another episode"


def failure(setup: SimulationSetup) -> str:
    """What a run ends with that changes the signals at every decision."""
    with RemoteSimulation(WorkerSetup(setup)) as worker:
        worker.begin(1)
        for n in range(130):
            try:
                worker.decide(np.full(len(setup.layout.tls_ids), n % 2))
            except SimulationError as error:
                return str(error)
    return "it went well"


@pytest.mark.wide
@needs_library
@pytest.mark.parametrize(("what", "named"), [("a route", "nowhere"), ("a signal", "no_such")])
def test_what_sumo_says_when_it_fails_is_told(
    what: str, named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = user_folder(tmp_path)
    (folder / "my.sumocfg").write_text(
        '<configuration><net-file value="my.net.xml.gz"/><route-files value="my.rou.xml"/>'
        '<end value="700"/></configuration>'
    )
    setup = make_setup(load(str(folder / "my.sumocfg")))
    if what == "a signal":
        setup = dataclasses.replace(setup, layout=dataclasses.replace(setup.layout, tls_ids=(named,)))
    else:  # after our own checks; SUMO reads routes as it goes
        routes, wrong = (
            folder / "my.rou.xml",
            f'<vehicle id="lost" depart="450"><route edges="S_in {named}"/></vehicle>',
        )
        routes.write_text(routes.read_text().replace("</routes>", f"{wrong}</routes>"))
    said = []
    for way in WAYS:
        monkeypatch.setenv(library.SWITCH, way)
        said.append(failure(setup))
    assert said[0] == said[1]
    assert named in said[0]


def nonnegative(random: np.random.Generator, size: int) -> npt.NDArray[np.float64]:
    return np.where(random.random(size) < 0.3, 0.0, random.random(size) * 10.0 ** random.integers(-3, 4, size))


@pytest.mark.wide
@needs_library
@pytest.mark.parametrize("width", [1, 2, 7, 8, 9, 15, 16, 23, 128, 129, 200, 300, 1000])
def test_sums_are_numpys_whatever_their_width(width: int) -> None:
    """Some rows full, some empty, some in between."""
    setup = make_setup(load("ingolstadt21"))
    layout = setup.layout
    random, controlled = np.random.default_rng(width), len(layout.streams)
    shape = layout.shape[:2]
    lengths = [0, width, *random.integers(0, width + 1, shape[0] * shape[1] - 2)]
    groups = [[(int(random.integers(controlled)), float(random.random())) for _ in range(n)] for n in lengths]
    layout = dataclasses.replace(layout, phase_streams=Gather.build(groups, shape))
    snapshot, machine = Snapshot.empty(layout), SignalMachine(setup.plan.intersections, setup.timing, shape[1])
    compiled = native()
    assert compiled is not None
    decision = CompiledDecision(compiled, layout, machine, snapshot, np.zeros(1), end_s=setup.end_s, measures=True)
    observation = PhaseObservation(layout)
    rows = observation(snapshot)
    for _ in range(20):
        snapshot.lanes[:] = nonnegative(random, snapshot.lanes.size).reshape(snapshot.lanes.shape)
        snapshot.lanes[1:, snapshot.lanes[0] == 0.0] = 0.0  # an empty lane
        snapshot.phase[:] = random.integers(0, shape[1], shape[0])
        compiled.library.measure(ctypes.c_void_p(decision.address))
        found = ApproachMeasures(layout, snapshot).phases
        assert decision.on_phases.tobytes() == np.ascontiguousarray(found.transpose(1, 2, 0)).tobytes()
        assert (snapshot.calls == (found[-1] > 0)).all()
        decision.observe(rows)
        assert rows.tobytes() == observation(snapshot).tobytes()

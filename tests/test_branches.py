"""Forks of a running simulation: exact, without a trace in the run itself, and nothing left behind."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest

from controllers.heuristics import Greedy
from envs.sumo.setup import SimulationOptions, make_setup
from envs.sumo.simulation import SimulationError
from envs.workers.client import RemoteSimulation
from envs.workers.forks import Branches
from envs.workers.server import WorkerSetup
from scenarios.loading import load
from signals.snapshot import Snapshot
from tests.branching import forked
from tests.test_worker import descendants

pytestmark = forked
END_S = (
    25_200 + 300
)  # SUMO reads the demand in blocks of 200 s: branches reach into the second one before the run does


def simulation(*outputs: str, sensing: str = "full") -> RemoteSimulation:
    scenario = load("cologne1", end_s=END_S)
    return RemoteSimulation(
        WorkerSetup(
            make_setup(scenario, SimulationOptions(sensing=sensing), outputs=outputs), reward="", observation=""
        )
    )


def greedy(of: RemoteSimulation) -> Greedy:
    controller = Greedy()
    controller.reset(of.setup.simulation.plan.intersections, of.layout, 0)
    return controller


def digest(folder: Path, branching: bool, sensing: str) -> tuple[str, list[str]]:
    """Of everything that SUMO wrote and every snapshot of a run of greedy control."""
    folder.mkdir()
    outputs = ["--fcd-output", str(folder / "fcd.xml"), "--tripinfo-output", str(folder / "trips.xml")]
    total, moments = hashlib.sha256(), []
    with simulation(*outputs, "--write-license", "false", sensing=sensing) as run:
        run.begin(7)
        controller = greedy(run)
        while not run.done:
            if branching and run.snapshot.time_s[0] % 60 == 0:
                plans = [[np.array([phase])] * 3 for phase in (1, 2)]
                run.branch(Branches(plans, 12, controller, at_a_time=2))
            run.decide(controller.decide(run.snapshot))
            moments.append(b"".join(value.tobytes() for value in vars(run.snapshot.copy()).values()).hex())
        run.end()
    for name in ("fcd.xml", "trips.xml"):
        text = (folder / name).read_text()
        total.update(text[text.index("-->") :].encode())  # the head holds the time and the options
    return total.hexdigest(), moments


@pytest.mark.wide
@pytest.mark.parametrize("sensing", ["full", "detectors"])
def test_branching_leaves_the_run_as_it_is(tmp_path: Path, sensing: str) -> None:
    plain = digest(tmp_path / "plain", False, sensing)
    assert digest(tmp_path / "branched", True, sensing) == plain
    assert "<trip" in (tmp_path / "plain" / "trips.xml").read_text()


def test_a_branch_is_what_then_happens() -> None:
    with simulation() as run:
        run.begin(7)
        controller = greedy(run)
        while run.snapshot.time_s[0] < 25_300:
            run.decide(controller.decide(run.snapshot))
        two = [np.array([2]), np.array([2])]
        before = run.snapshot.copy()
        whole, again, policy = run.branch(Branches([two, two, two[:1]], 6, controller))
        assert run.snapshot.time_s[0] == before.time_s[0]
        np.testing.assert_array_equal(run.snapshot.lanes, before.lanes)
        assert whole.loss_s == again.loss_s > 0
        assert whole.phases[:2].tolist() == [[2], [2]]
        parts, shown = [], []
        for step in range(6):
            wanted = two[step] if step < 2 else controller.decide(run.snapshot)
            (part,) = run.branch(Branches([[wanted]], 1, controller))
            run.decide(wanted)
            parts.append(part.loss_s)
            shown.append(run.snapshot.phase.tolist())
        assert sum(parts) == pytest.approx(whole.loss_s)
        assert shown == whole.phases.tolist()
        assert policy.phases[0].tolist() == [2]


def test_a_branch_ends_with_the_horizon() -> None:
    with simulation() as run:
        run.begin(7)
        controller = greedy(run)
        while run.snapshot.time_s[0] < END_S - 15:
            run.decide(controller.decide(run.snapshot))
        (outcome,) = run.branch(Branches([[np.array([0])]], 12, controller))
        assert outcome.phases.shape == (3, 1)


class _Broken:
    def decide(self, snapshot: Snapshot) -> np.ndarray:
        del snapshot
        raise ValueError("no idea")


@pytest.mark.wide
def test_a_branch_that_fails_says_why_and_nothing_is_left() -> None:
    before = descendants(os.getpid())
    with simulation() as run:
        run.begin(7)
        running = descendants(os.getpid())
        plans = [[np.array([0])]] * 5
        run.branch(Branches(plans, 2, greedy(run), at_a_time=5))
        assert descendants(os.getpid()) == running
        with pytest.raises(SimulationError, match="a branch failed: ValueError: no idea"):
            run.branch(Branches(plans, 2, _BROKEN, at_a_time=5))
        run.begin(7)  # and can go on
        run.decide(np.array([0]))
    assert descendants(os.getpid()) == before


_BROKEN = _Broken()

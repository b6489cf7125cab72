"""The observation that plans, and policies that begin as the planner."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import export
import train
from agents.registry import agent_settings, make_learner
from agents.vec_env import SignalsVecEnv
from controllers.base import choose
from controllers.cop import Cop, CopOnDetectors
from envs.sumo.approaches import ApproachReader
from envs.sumo.setup import SimulationOptions, SimulationSetup, make_setup
from envs.sumo.simulation import Simulation
from envs.workers.client import RemoteSimulation
from envs.workers.server import WorkerSetup
from plumbing.errors import InputError
from signals.layout import Layout
from signals.loops import DetectorFaults
from signals.observation_names import find_observation
from signals.observations import LIMIT, PhaseObservation
from signals.planner.observation import PlannedDetectorObservation, PlannedObservation
from signals.planner.planner import Planner
from signals.snapshot import Snapshot
from tests.compiled import needs_library
from tests.windows import window

CLEAR = 0.02  # [veh s] a single-precision feature tells smaller differences apart or not


FAULTS = DetectorFaults(0.1, 0.1, 1.0)


@cache
def driven(sensing: str = "full") -> tuple[SimulationSetup, tuple[Snapshot, ...]]:
    """What ten minutes of three signals look like under the planner; detectors fail."""
    setup = make_setup(window("cologne3", 600.0), SimulationOptions(sensing=sensing, faults=FAULTS))
    simulation, decider, seen = Simulation(setup), planner_of(sensing), []
    decider.reset(setup.plan.intersections, setup.layout, 0)
    simulation.begin(seed=1)
    while not simulation.done:
        seen.append(simulation.snapshot.copy())
        simulation.decide(decider.decide(simulation.snapshot))
    simulation.end()
    return setup, tuple(seen)


def planner_of(sensing: str) -> Cop:
    return Cop() if sensing == "full" else CopOnDetectors()


def one_clear_best(layout: Layout, snapshot: Snapshot, sensing: str = "full") -> np.ndarray:
    """[S] where one phase's plan is better than every other's, not by rounding alone."""
    costs = np.sort(np.where(snapshot.mask, Planner(layout, sensing=sensing).costs(snapshot), np.inf), axis=1)
    return np.isfinite(costs[:, 0]) & (costs[:, 1] - costs[:, 0] > CLEAR)


def test_regret_and_cost_are_the_planners() -> None:
    setup, seen = driven()
    observe, planner, choices = PlannedObservation(setup.layout), Planner(setup.layout), 0
    for snapshot in seen:
        rows = observe.raw(snapshot)
        regret, cost = (observe.phase[:, :, n] for n in (14, 15))
        choice = snapshot.mask.sum(axis=1) > 1
        costs = planner.costs(snapshot)
        assert cost[choice][snapshot.mask[choice]] == pytest.approx(costs[choice][snapshot.mask[choice]])
        assert (regret[choice].min(axis=1, where=snapshot.mask[choice], initial=np.inf) == 0.0).all()
        assert (regret[~snapshot.mask] == 0.0).all()
        assert (cost[~choice] == 0.0).all()
        choices += int(choice.sum())
        # in a new array each time, and scaled the same whichever way it is written
        scaled = observe(snapshot)
        shape = observe.shape
        width = shape.phases * shape.phase_features
        expected = rows[:, :width].reshape(len(rows), shape.phases, -1) / observe.PHASE_SCALE
        assert scaled[:, :width] == pytest.approx(np.minimum(expected, LIMIT).reshape(len(rows), -1), rel=1e-5)
    assert choices > 100


def test_arrivals_are_those_of_the_movements() -> None:
    setup, seen = driven()
    layout, observe, most = setup.layout, PlannedObservation(setup.layout), 0.0
    for snapshot in seen:
        observe.raw(snapshot)
        arriving = observe.movement[:, :, 9:].sum(axis=2)
        assert arriving == pytest.approx(layout.movement_streams.sum(snapshot.arriving.sum(axis=1)), rel=1e-5)
        most = max(most, arriving.max())
    assert most > 3.0


def test_a_phase_without_a_plan_is_at_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    setup, seen = driven()
    snapshot = next(one for one in seen if one.mask[0].sum() > 1)
    observe = PlannedObservation(setup.layout)
    costs = observe._planner.costs(snapshot)
    lost = int(np.flatnonzero(snapshot.mask[0])[-1])
    costs[0, lost] = np.inf
    monkeypatch.setattr(observe._planner, "costs", lambda _: costs)
    observe.write(snapshot)
    assert observe.phase[0, lost, 14:].tolist() == [LIMIT, LIMIT]
    assert observe.phase[0, np.flatnonzero(snapshot.mask[0])[0], 14] < LIMIT


@needs_library
def test_compiled_code_writes_the_same_rows() -> None:
    simulation = Simulation(make_setup(window("cologne1", 300.0)))
    simulation.begin(seed=1)
    compiled, plain = PlannedObservation(simulation.layout), PlannedObservation(simulation.layout)
    compiled.begin(simulation)
    assert simulation.observe_compiled is not None
    while not simulation.done:
        simulation.decide(np.argmax(simulation.snapshot.mask, axis=1))
        compiled.write(simulation.snapshot)
        plain.write(simulation.snapshot)
        assert compiled.rows.tobytes() == plain.rows.tobytes()
    simulation.end()


@needs_library
def test_who_drops_compiled_code_on_the_way_shows_what_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first vehicles come after the observation has begun; then SUMO says something else of them."""
    read = ApproachReader.read

    def other(self: ApproachReader, low: Any, snapshot: Snapshot) -> None:
        read(self, low, snapshot)
        snapshot.arriving += 1.0

    monkeypatch.setattr(ApproachReader, "read", other)
    setup, _ = driven()
    simulation, observe, plain = Simulation(setup), PlannedObservation(setup.layout), PhaseObservation(setup.layout)
    simulation.begin(seed=1)
    try:
        observe.begin(simulation)
        assert simulation.observe_compiled is not None
        while simulation.observe_compiled is not None:
            simulation.decide(simulation.snapshot.phase)
        for _ in range(10):
            simulation.decide(simulation.snapshot.phase)
        observe.write(simulation.snapshot)
        plain.write(simulation.snapshot)
    finally:
        simulation.end()
    assert plain.phase[:, :, 8].max() > 0.0, "there are vehicles"
    assert np.array_equal(observe.phase[:, :, : plain.phase.shape[2]], plain.phase)


@pytest.mark.parametrize("kind", [PhaseObservation, PlannedObservation])
@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda of: pickle.loads(pickle.dumps(of))])
def test_a_copy_shows_each_moment(kind: type[PhaseObservation], copied: Callable[[Any], Any]) -> None:
    setup, seen = driven()
    observe = kind(setup.layout)
    again = copied(observe)
    for snapshot in seen[60:62]:
        assert np.array_equal(again(snapshot), observe(snapshot))
    assert again.movement[:, :, 3].any(), "there are vehicles"


def test_a_copy_leaves_the_simulation_where_it_is() -> None:
    setup, seen = driven()
    observe = PlannedObservation(setup.layout)
    observe.begin(Simulation(setup))
    again = pickle.loads(pickle.dumps(observe))
    assert np.array_equal(again(seen[60]), PlannedObservation(setup.layout)(seen[60]))


@pytest.mark.parametrize(
    ("agent", "sensing"),
    [("ppo", "full"), ("dqn", "full"), ("a2c", "full"), ("ppo", "detectors"), ("dqn", "detectors")],
)
def test_an_untrained_network_chooses_what_the_planner_chooses(agent: str, sensing: str) -> None:
    setup, seen = driven(sensing)
    kind = find_observation("planned", sensing)
    options = SimulationOptions(sensing=sensing)
    worker = WorkerSetup(make_setup(window("cologne3", 60.0), options), observation=kind)
    env = SignalsVecEnv([RemoteSimulation(worker)], 0, 0.01)
    try:
        learner = make_learner(agent, agent_settings(agent, {}), env, 0)
    finally:
        env.close()
    network = learner.scorer()
    planner, observe, clear, kept = planner_of(sensing), kind(setup.layout), 0, 0
    planner.reset(setup.plan.intersections, setup.layout, 0)
    for snapshot in seen:
        planned = planner.decide(snapshot)
        with torch.no_grad():
            scores = network(torch.from_numpy(observe(snapshot))).numpy()
        chosen = choose(scores.astype(float), snapshot)
        best = one_clear_best(setup.layout, snapshot, sensing)
        assert (chosen[best] == planned[best]).all()
        kept += int((planned[best] == snapshot.phase[best]).sum())
        clear += int(best.sum())
    assert clear > 100
    assert 10 < kept < clear - 10, "some keep their phase, some change"


def test_detectors_show_what_their_planner_expects() -> None:
    setup, seen = driven("detectors")
    layout, planner = setup.layout, Planner(setup.layout, sensing="detectors")
    observe = PlannedDetectorObservation(layout)
    place = observe.PHASE_FEATURES.index("plan_cost")
    for snapshot in seen:
        observe.raw(snapshot)
        choice = snapshot.mask.sum(axis=1) > 1
        costs, shown = planner.costs(snapshot)[choice], observe.phase[:, :, place][choice]
        assert shown[snapshot.mask[choice]] == pytest.approx(costs[snapshot.mask[choice]])
        queue, expected = observe.movement[:, :, -2], observe.movement[:, :, -1]
        assert queue.sum() == pytest.approx(snapshot.queue_veh.sum(), rel=1e-5)
        assert expected.sum() == pytest.approx(snapshot.arriving.sum(), rel=1e-5)
    assert not np.array_equal(snapshot.queue_veh, layout.zone.sum(snapshot.halting)[layout.stream_lane])


@pytest.mark.wide
def test_no_bundle_is_made_of_it(tmp_path: Path) -> None:
    run = str(tmp_path / "run")
    words = ["--scenario", "single", "--end", "60", "--steps", "6", "--validate-every", "0"]
    assert train.main([*words, "--observation", "planned", "--out", run]) == 0
    with pytest.raises(InputError, match="was trained on the observation PlannedObservation, whose inputs no bundle"):
        export.main(["bundle", run, "--out", str(tmp_path / "b"), "--simulation-only"])

"""Multiagent rollout: what forks cost is learned, and the run itself is left alone."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch

from agents.forks import learner as learning
from agents.forks.base import NetworkBase, named_base
from agents.forks.fit import centred, fitted_to, misfit, targets_of
from agents.forks.learner import RolloutLearner
from agents.network import PhaseEncoder, PhaseScorer
from agents.registry import agent_settings
from agents.run import LearnedController, Network
from agents.settings import RolloutSettings
from agents.updates import selectable
from agents.vec_env import SignalsVecEnv
from controllers.heuristics import Greedy
from controllers.registry import CONTROLLERS
from envs.options import EnvOptions
from envs.workers.forks import Branches
from plumbing.errors import InputError
from plumbing.interpreter import ROOT
from signals.observations import PhaseObservation
from tests.branching import forked
from tests.forking import BEGIN_S, LASTS_S, close_all, learner_for, vec_env
from tests.test_agents import SHAPE, rows


@pytest.fixture(scope="module", autouse=True)
def _closed() -> Iterator[None]:
    yield
    close_all()


class Calls:
    """A callback that does something at each step."""

    def __init__(self, then: Callable[[], object]) -> None:
        self.on_step, self.on_rollout_start = then, lambda: None


def collected(learner: RolloutLearner, steps: int, then: Callable[[], object] | None = None) -> RolloutLearner:
    learner.learn(steps, Calls(then) if then else None)
    return learner


def content(learner: RolloutLearner) -> list[bytes]:
    """Of all choices that were tried."""
    parts = [walk.samples for walk in learner.walks]
    return [array.tobytes() for of in parts for array in (*of.rows, *of.losses)]


# --- the fit


def test_a_fit_learns_what_phases_cost_and_nothing_of_those_that_might_not_be_chosen() -> None:
    seen = rows(400)
    features = seen[:, : SHAPE.phases * SHAPE.phase_features].view(-1, SHAPE.phases, SHAPE.phase_features)
    losses = np.asarray(100.0 - 80.0 * features[:, :, 8], np.float64)  # what serves more costs less
    losses[:, 2] = np.nan
    targets = targets_of(losses, 50.0)
    torch.testing.assert_close(targets[:, [0, 1, 3]].sum(dim=1), torch.zeros(400), atol=1e-5, rtol=0.0)
    torch.testing.assert_close(targets[:, 0] - targets[:, 1], 1.6 * (features[:, 0, 8] - features[:, 1, 8]))
    torch.manual_seed(1)
    before = PhaseScorer(SHAPE, 16)
    settings = RolloutSettings(units=16, gradient_steps=300, batch_size=32)
    after = fitted_to(seen[:300], targets[:300], settings, SHAPE, PhaseEncoder, before.state_dict(), 3)
    again = fitted_to(seen[:300], targets[:300], settings, SHAPE, PhaseEncoder, before.state_dict(), 3)
    assert all(torch.equal(weight, again.state_dict()[name]) for name, weight in after.state_dict().items())
    with torch.no_grad():
        new, old = (float(misfit(network, seen[300:], targets[300:])) for network in (after, before))
        assert new < 0.2 * old
        best = after(seen[300:]).argmax(dim=1).numpy()
    chosen, least = losses[np.arange(300, 400), best], np.nanmin(losses[300:], axis=1)
    assert (chosen - least).mean() < 0.1 * (np.nanmean(losses[300:], axis=1) - least).mean()


def test_scores_are_centred_over_the_phases_that_are_allowed() -> None:
    allowed = torch.tensor([[True, True, False], [False, True, False]])
    found = centred(torch.tensor([[1.0, 3.0, -1e9], [-1e9, 7.0, 4.0]]), allowed)
    assert found.tolist() == [[-1.0, 1.0, 0.0], [0.0, 0.0, 0.0]]


# --- the forks


@forked
def test_choices_are_tried_within_the_budget_and_a_fit_on_them_is_better_than_before() -> None:
    env = vec_env(scenario="cologne3")
    learner = learner_for(env, round=45, samples=12, gradient_steps=60, learning_rate=1e-2)
    untrained = learner.scorer()
    collected(learner, 45)
    (walk,) = learner.walks
    assert walk.counts.sampled == len(walk.samples.rows) == len(walk.samples.losses)
    assert 10 <= walk.counts.sampled <= 12, "the budget is used, and not exceeded"
    seen, losses = np.array(walk.samples.rows), np.array(walk.samples.losses)
    assert np.array_equal(np.isfinite(losses), selectable(seen, env.shape))
    assert (np.isfinite(losses).sum(axis=1) > 1).all(), "where there is no choice there is nothing to try"
    assert np.nanmax(np.nanmax(losses, axis=1) - np.nanmin(losses, axis=1)) > 1.0, "phases differ in what they cost"
    assert (losses[np.isfinite(losses)] > 0.0).all()
    targets = targets_of(losses, learner.settings.loss_scale)
    with torch.no_grad():
        after, before = (
            float(misfit(network, torch.from_numpy(seen), targets))  # type: ignore[arg-type]
            for network in (learner.scorer(), untrained)
        )
    assert after < 0.8 * before
    assert learner.round == 1
    assert learner.num_timesteps == 45


@forked
def test_the_run_itself_goes_on_as_if_nothing_had_been_tried() -> None:
    env, seen = vec_env(), []
    learner = learner_for(env, exploration=0.0, round=40)
    collected(learner, 20, lambda: seen.append(env.workers[0].snapshot.copy()))
    assert learner.walks[0].counts.sampled > 0
    plain = EnvOptions("cologne1", begin_s=BEGIN_S, end_s=BEGIN_S + LASTS_S).worker()
    greedy = Greedy()
    plain.begin(env.batch._seed(0, 0))
    greedy.reset(plain.setup.simulation.plan.intersections, plain.layout, 0)
    for moment in seen[:-1]:  # after the last one the next episode has begun
        plain.decide(greedy.decide(plain.snapshot))
        for name, value in vars(plain.snapshot).items():
            assert np.array_equal(value, getattr(moment, name), equal_nan=True), f"{name} at {moment.time_s[0]} s"
    assert len(seen) == 20
    plain.close()


@forked
def test_exploring_takes_other_phases_than_the_base() -> None:
    def actions(exploration: float) -> list[list[int]]:
        env = vec_env()
        learner = learner_for(env, exploration=exploration, round=40, samples=20, loss_scale=1000.0)
        collected(learner, 15)
        return env.state()["history"][0]

    assert actions(0.0) != actions(1.0)


@forked
@pytest.mark.parametrize("pick", [min, max])
def test_who_answers_first_makes_no_difference(
    pick: Callable[[Collection[int]], int], monkeypatch: pytest.MonkeyPatch, unhurried: list[bytes]
) -> None:
    readable = learning.readable

    def one(descriptors: Collection[int], within_s: float) -> set[int]:
        wanted = pick(list(descriptors))
        return readable([wanted], within_s)

    monkeypatch.setattr(learning, "readable", one)
    env = vec_env(2)
    assert content(collected(learner_for(env, round=40), 40)) == unhurried


@pytest.fixture(scope="module")
def unhurried() -> list[bytes]:
    env = vec_env(2)
    found = content(collected(learner_for(env, round=40), 40))
    assert found
    return found


@forked
def test_a_worker_that_dies_while_it_forks_ends_its_episode_and_the_round_goes_on() -> None:
    env = vec_env(2)
    learner = learner_for(env, round=40)
    walk, killed = learner.walks[0], []

    def kill() -> None:
        if not killed and walk.asked:
            process = env.workers[0]._process  # type: ignore[attr-defined]
            killed.extend(psutil.Process(process.pid).children(recursive=True))
            os.killpg(process.pid, signal.SIGKILL)

    collected(learner, 40, kill)
    assert killed
    assert env.batch.failures == 1
    assert [each.counts.in_round for each in learner.walks] == [20, 20]
    assert learner.walks[1].counts.sampled == 3


@forked
@pytest.mark.parametrize("observation", ["phases", "planned"])
def test_a_fork_that_follows_a_network_is_what_then_happens(observation: str) -> None:
    worker = EnvOptions("cologne1", begin_s=BEGIN_S, end_s=BEGIN_S + 150.0, observation=observation).worker()
    observes, shape = worker.setup.observes, worker.setup.observation_shape
    assert observes is not None
    scorer = PhaseScorer(shape, 8)  # type: ignore[arg-type]
    scorer.begin_as_rule(5.0)
    base = NetworkBase(scorer.state_dict(), 8, PhaseEncoder, observes)  # type: ignore[arg-type]
    worker.begin(3)
    base.reset(worker.setup.simulation.plan.intersections, worker.layout, 0)
    for _ in range(5):
        worker.decide(base.decide(worker.snapshot))
    phases, shown = base.decide(worker.snapshot), []
    (outcome,) = worker.branch(Branches([[phases]], 20, base))
    for _ in range(20):
        worker.decide(phases)
        shown.append(worker.snapshot.phase.copy())
        phases = base.decide(worker.snapshot)
    worker.close()
    assert np.array_equal(outcome.phases, shown)
    assert len(np.unique(shown)) > 1, "it changes phases"


def test_a_base_arrives_in_another_process_without_the_learning_libraries(tmp_path: Path) -> None:
    env = vec_env()
    learner = learner_for(env)
    base = NetworkBase(learner.initial, 8, PhaseEncoder, PhaseObservation)
    intersections, layout = env.workers[0].setup.simulation.plan.intersections, env.workers[0].layout
    env.reset()
    snapshot = env.workers[0].snapshot.copy()
    base.reset(intersections, layout, 0)
    own = LearnedController(learner.initial, Network("rollout", learner.settings), "full")
    own.reset(intersections, layout, 0)
    expected = base.decide(snapshot)
    assert np.array_equal(expected, own.decide(snapshot))
    (tmp_path / "sent").write_bytes(pickle.dumps((base, snapshot)))
    code = (
        "import pickle, sys; base, snapshot = pickle.load(open(sys.argv[1], 'rb'));"
        "print(base.decide(snapshot).tolist(), 'stable_baselines3' in sys.modules)"
    )
    there = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "sent")], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert there.stdout.split("\n")[0] == f"{expected.tolist()} False"


# --- settings


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"base": "copp"}, "setting 'base' of rollout is 'copp'; choose one of cop, .*Did you mean 'cop'"),
        ({"base": "fixed_time"}, "choose one of cop"),
        ({"base": "mcts"}, "choose one of cop"),
        ({"base": 3}, "choose one of cop"),
        ({"samples": "many"}, "must be a whole number"),
        ({"samples": 0}, "above 0"),
    ],
)
def test_settings_are_checked(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        agent_settings("rollout", changes)


def test_every_base_that_settings_take_decides() -> None:
    for name in ("cop", "greedy", "max_pressure", "sotl", "random"):
        assert agent_settings("rollout", {"base": name}).base == name
        assert hasattr(CONTROLLERS[name](), "decide")


def test_a_horizon_as_long_as_an_episode_is_refused() -> None:
    env = vec_env()
    for horizon_s in (100, 98):  # which is 20 decisions, too
        with pytest.raises(InputError, match=rf"horizon_s is {horizon_s}, .* lasts 100 s.*lower it by --config"):
            learner_for(env, horizon_s=horizon_s)
    (walk,) = learner_for(env, horizon_s=93).walks
    assert (walk.quota.steps, walk.quota.horizon_s) == (19, 95.0), "no fork is cut short"


def test_a_round_in_which_nothing_could_be_tried_says_so(caplog: pytest.LogCaptureFixture) -> None:
    learner = learner_for(vec_env(), round=3)
    learner.walks[0].quota = replace(learner.walks[0].quota, horizon_s=1000.0)
    collected(learner, 3)
    assert "round 1: no choice was tried" in caplog.text
    assert not learner.awaits_judgement


def test_a_base_that_needs_another_sensing_is_refused_unless_a_network_takes_its_place() -> None:
    options = EnvOptions("cologne1", begin_s=BEGIN_S, end_s=BEGIN_S + LASTS_S, sensing="detectors")
    env = SignalsVecEnv([options.worker()], 0, 1.0)
    learner = learner_for(env)
    assert named_base("cop", "detectors").sensing == "detectors"
    assert named_base("cop").sensing == "full"
    with pytest.raises(InputError, match=r"base 'greedy' needs --sensing full, .* with detectors; .*--from RUN_DIR"):
        learner.learn(20)
    learner.begin_with(learner.initial)
    assert isinstance(learner._base(), NetworkBase)
    env.close()

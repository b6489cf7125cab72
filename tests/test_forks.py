"""Multiagent rollout: what forks cost is learned, the run itself is left alone, and rounds end by validation."""

from __future__ import annotations

import math
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest
import torch

import train as train_command
from agents.export import scorer_weights
from agents.forks import learner as learning
from agents.forks.base import NetworkBase, named_base
from agents.forks.fit import centred, fitted_to, misfit, targets_of
from agents.forks.learner import RolloutLearner
from agents.network import PhaseEncoder, PhaseScorer
from agents.registry import agent_settings, make_learner
from agents.run import CHECKPOINT, POLICY, SETTINGS, LearnedController, Network, load_controller, read_settings
from agents.settings import RolloutSettings
from agents.training import Interrupted, Progress, Schedule, train
from agents.updates import selectable
from agents.vec_env import SignalsVecEnv
from controllers.heuristics import Greedy
from controllers.registry import CONTROLLERS
from envs.options import EnvOptions
from envs.workers.forks import Branches, branching_works
from plumbing.errors import InputError
from plumbing.interpreter import ROOT
from signals.observations import PhaseObservation
from tests.test_agents import SHAPE, rows
from tests.test_learners import runs_as_onnx

forked = pytest.mark.skipif(not branching_works(), reason="forks need Linux's /proc")
SMALL: dict[str, Any] = {
    "base": "greedy",
    "round": 20,
    "samples": 6,
    "horizon_s": 15,
    "gradient_steps": 10,
    "units": 8,
    "batch_size": 4,
}
BEGIN_S, LASTS_S = 25_200.0, 100.0  # 20 decisions


_MADE: dict[tuple[str, int], SignalsVecEnv] = {}


def vec_env(workers: int = 1, scenario: str = "cologne1") -> SignalsVecEnv:
    """One that is shared by the tests, as it is before its first episode."""
    if (scenario, workers) not in _MADE:
        options = EnvOptions(scenario, begin_s=BEGIN_S, end_s=BEGIN_S + LASTS_S)
        _MADE[scenario, workers] = SignalsVecEnv([options.worker() for _ in range(workers)], 0, 1.0)
    env = _MADE[scenario, workers]
    env.batch.episodes, env.batch.failures, env.finished = [0] * workers, 0, []
    return env


@pytest.fixture(scope="module", autouse=True)
def _closed() -> Iterator[None]:
    yield
    while _MADE:
        _MADE.popitem()[1].close()


def learner_for(env: SignalsVecEnv, **changes: Any) -> RolloutLearner:
    made = make_learner("rollout", agent_settings("rollout", {**SMALL, **changes}), env, 0)
    assert isinstance(made, RolloutLearner)
    return made


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
    assert walk.counts.sampled == len(walk.samples.rows) == 12
    assert len(walk.samples.losses) == 12
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
            assert np.array_equal(value, getattr(moment, name)), f"{name} at {moment.time_s[0]} s"
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


# --- rounds

DELAYS = (30.0, 29.0, 28.0)


def delays(*values: float) -> Callable[[Any], float]:
    """A validation that finds these, one after the other."""
    left = list(values)
    return lambda controller: left.pop(0)


def trained(
    run: Path, steps: int, validate: Callable[[Any], float] | None, *, workers: int = 1, every: int = 1,
    resume: bool = False, stop_at: int | None = None,
) -> tuple[RolloutLearner, Progress | None]:  # fmt: skip
    env = vec_env(workers)
    learner = learner_for(env)
    if stop_at is not None:
        took = learner.walks[0].took

        def interrupt(*, ended: bool) -> None:
            took(ended=ended)
            if learner.walks[0].counts.moment == stop_at:
                signal.raise_signal(signal.SIGINT)

        learner.walks[0].took = interrupt  # type: ignore[method-assign]
    try:
        progress = train(
            learner, env, run, Schedule(steps, every), validate=validate, resume=resume,
            controller=lambda made: LearnedController(made.scorer().state_dict(), Network("rollout", SMALL), "full"),
        )  # fmt: skip
    except Interrupted:
        progress = None
    return learner, progress


def weights(run: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = torch.load(run / POLICY, weights_only=True)["scorer"]
    return found


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in other)


@forked
def test_rounds_end_where_validation_finds_nothing_better_and_the_best_network_is_kept(tmp_path: Path) -> None:
    fits: list[dict[str, torch.Tensor]] = []
    fit = RolloutLearner._fit

    def noted(self: RolloutLearner) -> None:
        fit(self)
        if self.awaits_judgement:
            fits.append(self.candidate)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RolloutLearner, "_fit", noted)
        patch.setattr(RolloutLearner, "_base", lambda self: named_base("greedy"))  # no process loads PyTorch
        learner, progress = trained(tmp_path / "run", 400, delays(30.0, 25.0, 25.5))
    assert progress is not None
    assert [row["delay_s"] for row in progress.validations] == [30.0, 25.0, 25.5]
    assert [row["steps"] for row in progress.validations] == [20.0, 40.0, 60.0]
    assert (learner.settled, learner.round, len(fits)) == (True, 3, 3)
    assert not same(fits[1], fits[2])
    assert same(weights(tmp_path / "run"), fits[1])
    assert "no better than the best before it" in learner.status()
    more, _ = trained(tmp_path / "run", 800, delays(), resume=True)
    assert more.num_timesteps == 60, "it goes on with nothing, but the end"


@pytest.mark.wide
@forked
def test_without_validation_on_the_way_all_rounds_are_run_and_the_last_network_is_kept(tmp_path: Path) -> None:
    learner, progress = trained(tmp_path / "run", 45, delays(30.0), every=0)
    assert progress is not None
    assert (learner.round, learner.settled) == (3, False)
    assert [row["steps"] for row in progress.validations] == [45.0]
    assert same(weights(tmp_path / "run"), learner.candidate)


@pytest.mark.wide
@forked
@pytest.mark.parametrize("stop_at", [14, 20], ids=["within a round", "at its end"])
def test_a_stopped_training_resumes_to_the_bit(stop_at: int, tmp_path: Path, through: Path) -> None:
    _, stopped = trained(tmp_path / "run", 50, delays(*DELAYS), workers=2, stop_at=stop_at)
    assert stopped is None
    judged = torch.load(tmp_path / "run" / CHECKPOINT, weights_only=True)["progress"]["validations"]
    trained(tmp_path / "run", 50, delays(*DELAYS[len(judged) :]), workers=2, resume=True)
    assert same(weights(through), weights(tmp_path / "run"))
    curves = [(run / "progress.csv").read_text().splitlines() for run in (through, tmp_path / "run")]
    whole, parts = (
        sorted(line.split(",")[2:] for line in lines) for lines in curves
    )  # as the workers came to an end
    assert whole == parts
    assert len(whole) > 2
    assert (through / "validation.csv").read_text() == (tmp_path / "run" / "validation.csv").read_text()


@pytest.fixture(scope="module")
def through(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("through") / "run"
    trained(run, 50, delays(*DELAYS), workers=2)
    return run


@pytest.mark.wide
@forked
def test_a_training_that_is_lengthened_is_that_of_as_many_steps_at_once(tmp_path: Path, through: Path) -> None:
    """Nothing falls over all steps: rounds have a length of their own."""
    trained(tmp_path / "run", 30, delays(30.0, 31.0), workers=2)  # what is left of a round is fitted, too
    assert not same(weights(through), weights(tmp_path / "run"))
    trained(tmp_path / "run", 50, delays(29.0, 28.0), workers=2, resume=True)
    assert same(weights(through), weights(tmp_path / "run"))


# --- the command


@forked
@pytest.mark.wide
def test_the_command_trains_and_its_run_is_read_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "c.yaml"
    config.write_text("".join(f"{name}: {value}\n" for name, value in SMALL.items()))
    words = ["--scenario", "cologne1", "--end", "25400", "--agent", "rollout", "--steps", "20", "--workers", "2"]
    assert train_command.main([*words, "--config", str(config), "--out", str(tmp_path / "run")]) == 0
    assert "trained 20 steps" in capsys.readouterr().out
    assert read_settings(tmp_path / "run")["agent_settings"]["base"] == "greedy"
    controller = load_controller(tmp_path / "run")
    assert controller.network.settings.base == "greedy"
    assert not controller.network.probabilities
    runs_as_onnx(controller)
    assert scorer_weights(controller).keys()
    further = [*words, "--from", str(tmp_path / "run"), "--config", str(config), "--out", str(tmp_path / "second")]
    assert train_command.main(further) == 0
    assert not same(weights(tmp_path / "run"), weights(tmp_path / "second"))
    meddled = (tmp_path / "run" / SETTINGS).read_text().replace('"greedy"', '"gready"')
    (tmp_path / "run" / SETTINGS).write_text(meddled)
    with pytest.raises(InputError, match="does not fit"):
        load_controller(tmp_path / "run")


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
    with pytest.raises(InputError, match=r"horizon_s is 100, and an episode lasts 100 s.*lower it by --config"):
        learner_for(env, horizon_s=100)


def test_a_base_that_needs_another_sensing_is_refused_unless_a_network_takes_its_place() -> None:
    options = EnvOptions("cologne1", begin_s=BEGIN_S, end_s=BEGIN_S + LASTS_S, sensing="detectors")
    env = SignalsVecEnv([options.worker()], 0, 1.0)
    learner = learner_for(env)
    with pytest.raises(InputError, match=r"base 'greedy' needs --sensing full, .* with detectors; .*--from RUN_DIR"):
        learner.learn(20)
    learner.begin_with(learner.initial)
    assert isinstance(learner._base(), NetworkBase)
    env.close()


def test_judgements_count_only_what_was_measured() -> None:
    learner = SimpleNamespace(candidate={"a": 1}, best=None, best_delay_s=math.inf, settled=False)
    judged: Callable[[Any, float], None] = RolloutLearner.judged
    judged(learner, -math.inf)
    assert (learner.best, learner.best_delay_s, learner.settled) == ({"a": 1}, math.inf, False)
    learner.candidate = {"a": 2}
    judged(learner, 30.0)
    assert (learner.best, learner.best_delay_s) == ({"a": 2}, 30.0)
    learner.candidate = {"a": 3}
    judged(learner, 30.0)
    assert (learner.best, learner.settled) == ({"a": 2}, True)

"""Multiagent rollout: rounds end by validation, a stopped training goes on, and the command."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest
import torch

import train as train_command
from agents.export import scorer_weights
from agents.forks.base import named_base
from agents.forks.learner import RolloutLearner
from agents.judgement import Judgement
from agents.run import CHECKPOINT, POLICY, SETTINGS, LearnedController, Network, load_controller, read_settings
from agents.training import Interrupted, Progress, Schedule, train
from plumbing.errors import InputError
from signals.observation_names import find_observation
from tests.branching import forked
from tests.forking import SMALL, close_all, learner_for, vec_env
from tests.test_learners import runs_as_onnx


@pytest.fixture(scope="module", autouse=True)
def _closed() -> Iterator[None]:
    yield
    close_all()


DELAYS = (30.0, 29.0, 28.0)


def delays(*values: float) -> Callable[[Any], Judgement]:
    """A validation that finds these, one after the other."""
    left = list(values)
    return lambda controller: Judgement(0, left.pop(0))


def trained(
    run: Path, steps: int, validate: Callable[[Any], Judgement] | None, *, workers: int = 1, every: int = 1,
    resume: bool = False, stop_at: int | None = None, observation: str = "phases",
) -> tuple[RolloutLearner, Progress | None]:  # fmt: skip
    env = vec_env(workers, observation=observation)
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
            controller=lambda made: LearnedController(
                made.scorer().state_dict(), Network("rollout", SMALL), find_observation(observation)  # type: ignore[arg-type]
            ),
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


@forked
def test_who_stops_a_training_at_a_rounds_end_does_not_wait_for_its_validation(tmp_path: Path) -> None:
    learner, stopped = trained(tmp_path / "run", 50, delays(), stop_at=20)
    assert stopped is None
    assert (learner.awaits_judgement, learner.num_timesteps) == (True, 20)
    assert torch.load(tmp_path / "run" / CHECKPOINT, weights_only=True)["progress"]["validations"] == []


@forked
@pytest.mark.parametrize("steps", [40, 30], ids=["at a round's end", "within a round"])
def test_a_finished_training_that_is_resumed_keeps_the_best_network(
    steps: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RolloutLearner, "_base", lambda self: named_base("greedy"))  # no process loads PyTorch
    first, _ = trained(tmp_path / "run", steps, delays(30.0, 31.0))
    kept = weights(tmp_path / "run")
    assert first.settled
    assert not same(kept, first.candidate)
    again, _ = trained(tmp_path / "run", steps, delays(), resume=True)
    assert same(weights(tmp_path / "run"), kept)
    assert again.settled


@forked
def test_a_network_to_start_from_is_judged_first_and_kept_where_a_round_is_no_better(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = learner_for(vec_env()).scorer().state_dict()
    made = RolloutLearner.__init__

    def begun(self: RolloutLearner, *given: Any) -> None:
        made(self, *given)
        self.begin_with(start)

    monkeypatch.setattr(RolloutLearner, "__init__", begun)
    monkeypatch.setattr(RolloutLearner, "_base", lambda self: named_base("greedy"))  # no process loads PyTorch
    learner, progress = trained(tmp_path / "run", 100, delays(30.0, 31.0))
    assert progress is not None
    assert [(row["steps"], row["delay_s"]) for row in progress.validations] == [(0.0, 30.0), (20.0, 31.0)]
    assert not same(learner.candidate, start)
    assert same(weights(tmp_path / "run"), start)


@forked
def test_what_is_no_better_than_the_planner_is_not_kept_and_the_rounds_go_on(tmp_path: Path) -> None:
    """It is judged before the first round; the rule stays the base until a network is better."""
    followed: list[bool] = []
    begin = RolloutLearner._begin_round

    def noted(self: RolloutLearner) -> None:
        begin(self)
        followed.append(self.best is None)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RolloutLearner, "_begin_round", noted)
        patch.setattr(RolloutLearner, "_base", lambda self: named_base("greedy"))  # no process loads PyTorch
        learner, progress = trained(tmp_path / "run", 60, delays(30.0, 30.5, 29.0, 29.5), observation="planned")
        assert progress is not None
        assert [(row["steps"], row["delay_s"]) for row in progress.validations] == [
            (0.0, 30.0), (20.0, 30.5), (40.0, 29.0), (60.0, 29.5),
        ]  # fmt: skip
        assert followed == [True, True, False]
        assert (learner.settled, learner.best_judgement) == (True, Judgement(0, 29.0))
        worse, _ = trained(tmp_path / "worse", 20, delays(30.0, 31.0), observation="planned")
    assert worse.best_judgement == Judgement(0, 30.0)
    assert same(weights(tmp_path / "worse"), worse.initial), "the planner"
    assert not same(worse.candidate, worse.initial)


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
    assert len(judged) == 1
    trained(tmp_path / "run", 50, delays(*DELAYS[1:]), workers=2, resume=True)
    assert same(weights(through), weights(tmp_path / "run"))
    curves = [(run / "progress.csv").read_text().splitlines() for run in (through, tmp_path / "run")]
    whole, parts = (
        sorted(line.split(",")[2:] for line in lines) for lines in curves
    )  # as the workers came to an end
    assert whole == parts
    assert len(whole) > 2
    judgements = [pl.read_csv(run / "validation.csv").drop("seconds") for run in (through, tmp_path / "run")]
    assert judgements[0].equals(judgements[1])


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


@forked
def test_many_signals_have_more_choices_tried() -> None:
    env = vec_env(2)
    for settings, expected in (({"samples": 7}, (4, 3)), ({"samples": 7, "samples_per_signal": 9}, (5, 4))):
        learner = learner_for(env, **settings)
        assert tuple(walk.quota.samples for walk in learner.walks) == expected
        assert learner.samples == sum(expected)
    three = learner_for(vec_env(1, "cologne3"), samples=7, samples_per_signal=9)
    assert three.samples == 27


def test_judgements_count_only_what_was_measured() -> None:
    learner = SimpleNamespace(candidate={"a": 1}, best=None, best_judgement=None, settled=False, untrained=False)
    judged: Callable[[Any, Judgement | None], None] = RolloutLearner.judged
    judged(learner, None)
    assert (learner.best, learner.best_judgement, learner.settled) == ({"a": 1}, None, False)
    learner.candidate = {"a": 2}
    judged(learner, Judgement(0, 30.0))
    assert (learner.best, learner.best_judgement) == ({"a": 2}, Judgement(0, 30.0))
    learner.candidate = {"a": 3}
    judged(learner, Judgement(1, 20.0))
    assert (learner.best, learner.settled) == ({"a": 2}, True), "a gridlock is worse than any delay"


# --- the command


@forked
@pytest.mark.wide
@pytest.mark.parametrize(("steps", "early"), [(60, True), (40, False)])
def test_the_command_tells_the_delay_of_the_network_that_is_kept(
    steps: int, early: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    find = delays(30.0, 31.0)
    monkeypatch.setattr(train_command, "_validate", lambda controller, *others: find(controller))
    monkeypatch.setattr(RolloutLearner, "_base", lambda self: named_base("greedy"))  # no process loads PyTorch
    config = tmp_path / "c.yaml"
    config.write_text("".join(f"{name}: {value}\n" for name, value in SMALL.items()))
    words = ["--scenario", "cologne1", "--end", "25400", "--agent", "rollout", "--steps", str(steps)]
    words += ["--observation", "phases"]
    assert train_command.main([*words, "--config", str(config), "--out", str(tmp_path / "run")]) == 0
    said = capsys.readouterr()
    assert "trained 40 steps in" in said.out
    assert "validation delay 30.0 s" in said.out
    assert ("stopped before the last step: round 2 was no better" in said.err) is early
    assert "\nround 2 was no better" in said.err or early


@forked
@pytest.mark.wide
def test_the_command_trains_and_its_run_is_read_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "c.yaml"
    config.write_text("".join(f"{name}: {value}\n" for name, value in SMALL.items()))
    words = ["--scenario", "cologne1", "--end", "25400", "--agent", "rollout", "--steps", "20", "--workers", "2"]
    began = [*words, "--observation", "phases", "--config", str(config), "--out", str(tmp_path / "run")]
    assert train_command.main(began) == 0
    assert "trained 20 steps" in capsys.readouterr().out
    assert read_settings(tmp_path / "run")["agent_settings"]["base"] == "greedy"
    controller = load_controller(tmp_path / "run")
    assert controller.network.settings.base == "greedy"
    assert not controller.network.probabilities
    runs_as_onnx(controller)
    assert scorer_weights(controller).keys()
    further = [*words, "--from", str(tmp_path / "run"), "--config", str(config), "--out", str(tmp_path / "second")]
    assert train_command.main(further) == 0
    ends = [(tmp_path / run / "validation.csv").read_text().splitlines() for run in ("run", "second")]
    assert ends[0][-1].split(",")[1] == ends[1][1].split(",")[1], "where the first ended the second begins"
    assert [line.split(",")[0] for line in ends[1][1:]] == ["0.0", "20.0"]
    meddled = (tmp_path / "run" / SETTINGS).read_text().replace('"greedy"', '"gready"')
    (tmp_path / "run" / SETTINGS).write_text(meddled)
    with pytest.raises(InputError, match="does not fit"):
        load_controller(tmp_path / "run")

"""Algorithms and networks: those of Stable-Baselines3, and those from outside; trained, resumed, judged, exported."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

import train as train_command
from agents.export import policy_graph, reference_scores, scorer_weights
from agents.learner import linear
from agents.named import find_controller
from agents.network import MASKED, PhaseScorer
from agents.recurrent import RecurrentScorer
from agents.registry import AGENTS, agent_settings, algorithm, encoder_class
from agents.run import (
    POLICY,
    SETTINGS,
    LearnedController,
    Network,
    load_controller,
    load_ensemble,
    save_tensors,
)
from agents.sb3 import QRDQNLearner
from envs.sumo.setup import make_setup
from plumbing.errors import InputError
from scenarios.loading import load
from signals.inputs import InputTable
from signals.layout import build_layout
from signals.observations import PhaseObservation
from signals.snapshot import Snapshot
from tests.policy_runs import write_run
from tests.test_agents import learner_for, rows, vec_env

SHAPE = PhaseObservation.shape_for(phases=4, movements=5)
WINDOW = ["--scenario", "cologne1", "--begin", "25200", "--end", "25320", "--validate-every", "0"]
MINE = """
import torch
from torch import nn

from agents.network import split
from agents.ppo import MaskedPPO


class Plain(nn.Module):
    def __init__(self, shape, units):
        super().__init__()
        self.shape, self.layer = shape, nn.Linear(shape.phase_features, units)

    def forward(self, rows):
        phases, _, _ = split(rows, self.shape)
        return torch.tanh(self.layer(phases))


class Sure(MaskedPPO):
    def train(self):
        self.ent_coef = 0.0
        super().train()


class Nothing:
    pass
"""


QUICK = {"qrdqn": "learning_starts: 10\nbatch_size: 8\n", "a2c": "n_steps: 10\n"}
ELSEWHERE = ("dqn", "ppo", "rollout")
"""In tests of their own."""


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(MINE)
    return path


@pytest.mark.wide
@pytest.mark.parametrize(
    "agent",
    [
        name if name in ("a2c", "qrdqn") else pytest.param(name, marks=pytest.mark.slow)
        for name in AGENTS
        if name not in ELSEWHERE
    ],
)
def test_an_algorithm_of_sb3_learns_is_saved_and_decides(agent: str, tmp_path: Path) -> None:
    run = tmp_path / "run"
    config = tmp_path / "c.yaml"
    config.write_text(QUICK.get(agent, "rollout: 20\n"))
    words = [*WINDOW, "--agent", agent, "--steps", "60", "--config", str(config), "--out", str(run)]
    assert train_command.main(words) == 0
    controller = load_controller(run)
    env = vec_env()
    untrained = learner_for(agent, env).scorer().state_dict()  # from the same seed
    env.close()
    assert untrained.keys() == controller.weights.keys()
    changes = [float((controller.weights[name] - weight).abs().max()) for name, weight in untrained.items()]
    assert 0.0 < max(changes) < 0.5, "it has learned a little, from the weights that its seed gives"
    setup = make_setup(load("cologne1"))
    controller.reset(setup.plan.intersections, setup.layout, 0)
    scores = controller.scores(Snapshot.empty(setup.layout))
    assert scores.shape == setup.layout.shape[:2]
    found = load_ensemble([run, run])
    assert found._probabilities == (agent != "qrdqn")


def test_an_unknown_algorithm_is_refused_with_a_suggestion() -> None:
    with pytest.raises(InputError, match=r"unknown agent 'maskable_pp'.*maskable_ppo"):
        algorithm("maskable_pp")


def test_the_mean_of_the_quantiles_is_the_score() -> None:
    env = vec_env()
    learner = learner_for("qrdqn", env)
    assert isinstance(learner, QRDQNLearner)
    seen = rows(20, env.shape)
    with torch.no_grad():
        spread = learner.quantile_net(seen)
        assert spread.shape == (20, agent_settings("qrdqn").quantiles, env.shape.phases)
        torch.testing.assert_close(learner.scorer()(seen), spread.mean(dim=1))
        assert (learner.scorer()(seen)[:, 2] == MASKED).all()
        others = learner_for("dqn", env).scorer()
        learner.begin_with(others.state_dict())
        torch.testing.assert_close(learner.scorer()(seen), others(seen))
    for _ in range(20):
        assert 2 not in learner._any_phase(seen.numpy())
    env.close()


def test_a_memory_goes_on_from_decision_to_decision_and_begins_empty() -> None:
    torch.manual_seed(0)
    scorer = RecurrentScorer(SHAPE, 8, encoder_class(""))
    seen = rows(3)
    with torch.no_grad():
        first, state = scorer(seen, scorer.begin(3))
        second, _ = scorer(seen, state)
        again, _ = scorer(seen, scorer.begin(3))
    assert not torch.allclose(first, second)
    torch.testing.assert_close(first, again)
    assert (first[:, 2] == MASKED).all()
    network = Network("recurrent_ppo", agent_settings("recurrent_ppo", {"units": 8}))
    controller = LearnedController(scorer.state_dict(), network, "full")
    with pytest.raises(InputError, match="remembers earlier decisions"):
        scorer_weights(controller)


@pytest.mark.wide
@pytest.mark.parametrize("agent", ["dqn", pytest.param("ppo", marks=pytest.mark.slow)])
def test_a_network_from_outside_is_trained_loaded_and_exported(agent: str, mine: Path, tmp_path: Path) -> None:
    run, config = tmp_path / "run", tmp_path / "c.yaml"
    config.write_text("learning_starts: 10\nbatch_size: 8\n" if agent == "dqn" else "rollout: 20\n")
    words = [*WINDOW, "--agent", agent, "--network", f"{mine}:Plain", "--config", str(config), "--out", str(run)]
    assert train_command.main([*words, "--observation", "phases", "--steps", "40"]) == 0
    settings = json.loads((run / "settings.json").read_text())
    assert settings["network"] == f"{mine}:Plain"
    with pytest.raises(InputError, match=r"names code from outside.*Plain.*--allow-code"):
        load_controller(run)
    controller = load_controller(run, allow_code=True)
    assert "encoder.layer.weight" in controller.weights
    runs_as_onnx(controller)
    with pytest.raises(InputError, match="has no C form"):
        scorer_weights(controller)


def runs_as_onnx(controller: LearnedController) -> None:
    """The graph says what the network says, and takes nothing that is no number."""
    network = load("cologne1").network
    (item,) = make_setup(load("cologne1")).plan.intersections
    table = InputTable(build_layout((item,), network), "full")
    session = onnxruntime.InferenceSession(policy_graph(controller, table))
    inputs = np.random.default_rng(0).random((50, len(table))).astype(np.float32) / table.factors
    scores = reference_scores(controller, table, inputs)
    for values, expected in zip(inputs, scores, strict=True):
        found, phase = session.run(None, {"observation": values})
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
        assert phase in (-1, int(np.argmax(found)))
    assert session.run(None, {"observation": np.full(len(table), np.nan, np.float32)})[1] == -1


@pytest.mark.wide
def test_an_algorithm_from_outside_is_trained_and_loaded(mine: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    config = tmp_path / "c.yaml"
    config.write_text("rollout: 20\n")
    words = [*WINDOW, "--agent", f"{mine}:Sure", "--steps", "40", "--config", str(config), "--out", str(run)]
    assert train_command.main(words) == 0
    with pytest.raises(InputError, match=r"names code from outside.*Sure"):
        load_controller(run)
    assert load_controller(run, allow_code=True).network.agent == f"{mine}:Sure"
    with pytest.raises(InputError, match=r"is no agents\.learner\.Learner: it has no .*learn"):
        algorithm(f"{mine}:Nothing")
    with pytest.raises(InputError, match="form module:Class"):
        encoder_class("Plain")


def test_a_device_that_there_is_not(tmp_path: Path) -> None:
    for asked, message in (("gpu", "choose auto, cpu or cuda"), ("cuda", "finds no GPU")):
        if asked == "cuda" and torch.cuda.is_available():
            continue
        with pytest.raises(InputError, match=message):
            train_command.main([*WINDOW, "--device", asked, "--out", str(tmp_path / "run")])


@pytest.mark.parametrize(
    ("option", "name", "message"),
    [
        ("--network", "json:JSONDecoder", "fails"),
        ("--network", "torch.nn:Linear", "fails"),
        ("--network", "no.such.module:X", "no module"),
        ("--agent", "json:JSONDecoder", "is no agents.learner.Learner"),
        ("--reward", " ", "--reward is empty"),
    ],
)
def test_what_is_no_code_for_it_is_refused_in_words(option: str, name: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        train_command.main([*WINDOW, option, name, "--steps", "1", "--out", str(tmp_path / "run")])


def test_a_start_from_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    source = write_run(tmp_path / "dqn", sensing="full", agent="dqn", units=64)
    words = [*WINDOW, "--steps", "1", "--from", str(source)]
    with pytest.raises(InputError, match=r"agent of the same kind \(that one is of dqn\)"):
        train_command.main([*words, "--agent", "ppo", "--out", str(tmp_path / "a")])
    for content, message in (
        ({"scorer": {n: w * torch.nan for n, w in PhaseScorer(SHAPE).state_dict().items()}}, "not finite"),
        ({"scorer": [1, 2]}, "does not fit"),
        ({}, "does not fit"),
    ):
        save_tensors(source / POLICY, content)
        with pytest.raises(InputError, match=message):
            train_command.main([*words, "--out", str(tmp_path / "b")])


def test_a_run_that_could_not_be_read_again_does_not_begin(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with pytest.raises(InputError, match="could not be read again"):
        train_command.main([*WINDOW, "--steps", "1", "--reward", "time_loss\n+ queue_veh", "--out", str(run)])
    assert not (run / SETTINGS).exists()


@pytest.mark.wide
def test_a_policy_is_the_one_that_was_found_whatever_is_written_meanwhile(mine: Path, tmp_path: Path) -> None:
    """Neither a file of code that is edited nor a run directory that is swapped is read a second time."""
    run = tmp_path / "run"
    words = [*WINDOW, "--network", f"{mine}:Plain", "--steps", "20", "--out", str(run)]
    assert train_command.main(words) == 0
    found = find_controller(str(run), allow_code=True)
    weights = load_controller(run, allow_code=True).weights
    mine.write_text("raise SystemExit")
    (run / SETTINGS).write_text("{}")
    (run / POLICY).write_bytes(b"")
    setup = make_setup(load("cologne1"))
    controller = found.make()
    assert isinstance(controller, LearnedController)
    controller.reset(setup.plan.intersections, setup.layout, 0)
    assert all(torch.equal(weight, weights[name]) for name, weight in controller._scorer.state_dict().items())


@pytest.mark.wide
def test_a_run_does_not_go_on_with_other_files(tmp_path: Path) -> None:
    run, config = tmp_path / "run", tmp_path / "c.yaml"
    config.write_text(QUICK["a2c"])
    words = [*WINDOW, "--agent", "a2c", "--steps", "20", "--config", str(config), "--out", str(run)]
    assert train_command.main(words) == 0
    settings = json.loads((run / SETTINGS).read_text())
    name = next(name for name in settings["scenario"]["files"] if name.endswith(".rou.xml"))
    settings["scenario"]["files"][name] = "0" * 64
    (run / SETTINGS).write_text(json.dumps(settings))
    with pytest.raises(InputError, match=rf"{name} of cologne1 changed since .* began"):
        train_command.main(["--out", str(run), "--resume"])


@pytest.mark.wide
def test_of_a_step_that_failed_the_last_reward_stands_in() -> None:
    env = vec_env()
    env.reset()
    _, known, *_ = env.step(np.zeros(1, np.int64))
    env.step_async(np.zeros(1, np.int64))
    env.workers[0].kill()
    _, rewards, dones, infos = env.step_wait()
    env.close()
    assert rewards.tolist() == known.tolist()
    assert dones.all()
    assert infos[0]["TimeLimit.truncated"]


def test_a_learning_rate_never_falls_below_its_end() -> None:
    rate = linear(1e-3, 5e-5)
    assert [rate(1.0), rate(0.0)] == [1e-3, 5e-5]
    assert rate(-6.2) == 5e-5, "a rollout of 1,440 steps in a training of 200"

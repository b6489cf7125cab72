"""Agents: the network's symmetries, masks everywhere, exact resume, early abort, and that a toy is learned."""

from __future__ import annotations

import json
import resource
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import train as train_command
from agents import checkpoint
from agents.dqn import MaskedDoubleDQN
from agents.exploration import Explorer
from agents.network import MASKED, PhaseScorer, StateValue
from agents.ppo import MaskedPPO
from agents.registry import AGENTS, agent_settings, algorithm, make_learner
from agents.run import (
    CHECKPOINT,
    FORMAT,
    POLICY,
    SETTINGS,
    LearnedController,
    Network,
    load_controller,
    read_settings,
    save_tensors,
)
from agents.settings import DQNSettings, PPOSettings, listed, read_config
from agents.training import Interrupted, Schedule, train
from agents.updates import TrainingDiverged
from agents.vec_env import SignalsVecEnv
from envs.sumo.setup import make_setup
from envs.workers.client import RemoteSimulation
from envs.workers.server import WorkerSetup
from plumbing.errors import InputError
from scenarios.loading import load
from signals.observations import ObservationShape, PhaseObservation

SHAPE = PhaseObservation.shape_for(phases=4, movements=5)
COLOGNE = {"begin_s": 25200.0, "end_s": 25500.0}  # 60 decisions


def rows(count: int, shape: ObservationShape = SHAPE, seed: int = 0) -> torch.Tensor:
    """Random observations in which phase 2 may not be chosen."""
    made = torch.rand(count, shape.size, generator=torch.Generator().manual_seed(seed))
    phases = made[:, : shape.phases * shape.phase_features].view(count, shape.phases, shape.phase_features)
    phases[:, :, :2] = 1.0
    phases[:, 2, 1] = 0.0
    return made


def permuted(made: torch.Tensor, phase_order: list[int], movement_order: list[int]) -> torch.Tensor:
    """The same situations with phases and movements listed in another order."""
    p, k, f = SHAPE.phases, SHAPE.movements, SHAPE.phase_features
    phases = made[:, : p * f].reshape(-1, p, f)[:, phase_order]
    service = made[:, p * f : p * f + p * k].reshape(-1, p, k)[:, phase_order][:, :, movement_order]
    movements = made[:, p * f + p * k :].reshape(-1, k, SHAPE.movement_features)[:, movement_order]
    return torch.cat([part.reshape(len(made), -1) for part in (phases, service, movements)], dim=1)


def vec_env(seed: int = 0, scale: float = 0.01, workers: int = 1) -> SignalsVecEnv:
    setup = WorkerSetup(make_setup(load("cologne1", **COLOGNE)))
    return SignalsVecEnv([RemoteSimulation(setup) for _ in range(workers)], seed, scale)


def learner_for(agent: str, env: SignalsVecEnv, changes: dict[str, float] | None = None) -> Any:
    return make_learner(agent, agent_settings(agent, changes), env, 0)


def test_scores_follow_phases_and_ignore_the_order_of_movements() -> None:
    torch.manual_seed(0)
    scorer, value, made = PhaseScorer(SHAPE), StateValue(SHAPE), rows(6)
    order = [3, 0, 2, 1]
    shuffled = permuted(made, order, [4, 2, 0, 1, 3])
    torch.testing.assert_close(scorer(shuffled), scorer(made)[:, order])
    torch.testing.assert_close(value(shuffled), value(made))


def test_weights_fit_any_number_of_phases_and_movements() -> None:
    small, large = PhaseScorer(SHAPE), PhaseScorer(PhaseObservation.shape_for(8, 16))
    large.load_state_dict(small.state_dict())
    assert large(rows(3, large.shape)).shape == (3, 8)


def test_padding_does_not_change_a_score() -> None:
    torch.manual_seed(0)
    scorer, made = PhaseScorer(SHAPE), rows(4)
    wide = PhaseObservation.shape_for(6, 9)
    padded = PhaseScorer(wide)
    padded.load_state_dict(scorer.state_dict())
    p, k, f, g = SHAPE.phases, SHAPE.movements, SHAPE.phase_features, SHAPE.movement_features
    phases, service, movements = torch.zeros(4, 6, f), torch.zeros(4, 6, 9), torch.zeros(4, 9, g)
    phases[:, :p] = made[:, : p * f].view(4, p, f)
    service[:, :p, :k] = made[:, p * f : p * f + p * k].view(4, p, k)
    movements[:, :k] = made[:, p * f + p * k :].view(4, k, g)
    wider = torch.cat([part.reshape(4, -1) for part in (phases, service, movements)], dim=1)
    torch.testing.assert_close(padded(wider)[:, :p], scorer(made))
    assert (padded(wider)[:, p:] == MASKED).all()


def test_ppo_begins_by_what_phases_serve_and_can_learn_everything_else() -> None:
    """Five in log-odds for 20 vehicles more, of which the current phase is given four."""
    env = vec_env()
    learner = learner_for("ppo", env, {"greedy_start": 5.0})
    assert isinstance(learner, MaskedPPO)
    actor, shape = learner.actor, env.workers[0].setup.observation_shape
    made = rows(50, shape)
    phases = made[:, : shape.phases * shape.phase_features].view(50, shape.phases, -1)
    expected = 5.0 * phases[:, :, shape.demand] + 5.0 * 4 / 20 * phases[:, :, 2]
    expected[:, 2] = MASKED
    scores = actor(made)
    torch.testing.assert_close(scores, expected)
    before = [weight.detach().clone() for weight in actor.parameters()]
    optimizer = torch.optim.Adam(actor.parameters(), 1e-3)
    for _ in range(3):
        optimizer.zero_grad()
        (actor(made)[:, [0, 1, 3]] - made[:, -3:]).square().mean().backward()
        optimizer.step()
    for weight, old in zip(actor.parameters(), before, strict=True):
        assert (weight != old).float().mean() > 0.2  # some units are off for these rows
    even = learner_for("ppo", env, {"greedy_start": 0.0})
    assert isinstance(even, MaskedPPO)
    assert even.actor(made)[:, 3].std() < 0.5 < scores[:, 3].std()
    env.close()


def test_dqn_masks_exploration_and_target() -> None:
    env = vec_env()
    learner = learner_for("dqn", env)
    assert isinstance(learner, MaskedDoubleDQN)
    env.close()
    made, best, everybody = rows(400).numpy(), np.full(400, 2), slice(None)
    explorer = Explorer(SHAPE, learner.explorer.greedy, [0])
    explored = explorer.choose(made, best, explorer.draw(400, 1.0), everybody)
    assert 2 not in explored
    assert set(explored.tolist()) == {0, 1, 3}
    half = explorer.choose(made, best, explorer.draw(400, 0.5), everybody)
    assert 150 < (half == 2).sum() < 250
    draws = explorer.draw(400, 0.5)
    parts = [explorer.choose(made[part], best[part], draws, part) for part in (slice(0, 100), slice(100, 400))]
    np.testing.assert_array_equal(np.concatenate(parts), explorer.choose(made, best, draws, everybody))
    assert (explorer.choose(made, best, explorer.draw(400, 0.0), everybody) == best).all()


def test_ppo_never_draws_a_masked_phase() -> None:
    env = vec_env()
    learner = learner_for("ppo", env)
    assert isinstance(learner, MaskedPPO)
    observations = torch.as_tensor(np.asarray(env.reset()))
    shape = env.workers[0].setup.observation_shape
    features = observations[:, : shape.phases * shape.phase_features].view(-1, shape.phases, shape.phase_features)
    features[:, :, 1] = torch.tensor([1.0, 0.0, 1.0, 0.0])
    drawn, _, log_probability = learner.policy(observations.repeat(300, 1))
    assert set(drawn.tolist()) == {0, 2}
    assert torch.isfinite(log_probability).all()
    assert torch.isfinite(learner.policy.get_distribution(observations).entropy()).all()
    env.close()


QUICK = {
    "dqn": {"learning_starts": 40, "batch_size": 16},
    "ppo": {"rollout": 50, "batch_size": 25},
    "a2c": {},
    "maskable_ppo": {"rollout": 50, "batch_size": 25, "n_epochs": 2},
    "trpo": {"rollout": 50, "batch_size": 25},
    "qrdqn": {"learning_starts": 40, "batch_size": 16},
    "recurrent_ppo": {"rollout": 50, "batch_size": 25, "n_epochs": 2},
}


@pytest.mark.wide
@pytest.mark.parametrize(
    ("agent", "workers"),
    [
        ("dqn", 2),
        ("ppo", 1),
        ("a2c", 1),
        pytest.param("dqn", 1, marks=pytest.mark.slow),
        *(pytest.param(agent, 1, marks=pytest.mark.slow) for agent in QUICK if agent not in ("dqn", "ppo", "a2c")),
    ],
)
def test_a_stopped_training_resumes_to_the_bit(agent: str, workers: int, tmp_path: Path) -> None:
    assert QUICK.keys() == AGENTS.keys() - {"rollout"}, "tests/test_forks.py stops that one"
    settings = agent_settings(agent, QUICK[agent])

    def trained(run: Path, stop_at: int | None, resume: bool = False) -> dict[str, Any]:
        env = vec_env(scale=settings.reward_scale, workers=workers)
        learner = make_learner(agent, settings, env, 0)
        if stop_at is not None:
            save = checkpoint.save
            learner.train = _then_stop(learner.train, learner, stop_at)  # type: ignore[method-assign]
            with pytest.raises(Interrupted):
                train(learner, env, run, Schedule(190, 0), controller=_controller, resume=resume)
            save(run, learner, env, {})
        else:
            train(learner, env, run, Schedule(190, 0), controller=_controller, resume=resume)
        env.close()
        return {name: weight.clone() for name, weight in learner.policy.state_dict().items()}

    def _then_stop(update: Any, learner: Any, at: int) -> Any:
        def wrapped(*arguments: Any, **named: Any) -> None:
            update(*arguments, **named)
            if learner.num_timesteps >= at:
                raise Interrupted

        return wrapped

    whole = trained(tmp_path / "whole", None)
    # the exception leaves right after an update: what the loop saves on Ctrl-C is this same moment
    trained(tmp_path / "parts", 130)
    _forget_progress(tmp_path / "parts")
    parts = trained(tmp_path / "parts", None, resume=True)
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    curves = [(tmp_path / run / "progress.csv").read_text().splitlines() for run in ("whole", "parts")]
    assert [line.split(",")[2] for line in curves[0]] == [line.split(",")[2] for line in curves[1]]


def _forget_progress(run: Path) -> None:
    state = torch.load(run / CHECKPOINT, weights_only=True)
    rows_so_far = (run / "progress.csv").read_text().splitlines()
    header = rows_so_far[0].split(",")
    episodes = [dict(zip(header, map(float, line.split(",")), strict=True)) for line in rows_so_far[1:]]
    state["progress"] = {"elapsed_s": 0.0, "validated": 0, "episodes": episodes, "validations": []}
    torch.save(state, run / CHECKPOINT)


def _controller(learner: Any) -> LearnedController:
    agent = next(name for name in AGENTS if algorithm(name) is type(learner))
    return LearnedController(learner.scorer().state_dict(), Network(agent, agent_settings(agent)), "full")


def test_a_loss_that_is_no_number_stops_the_training_with_a_reason(tmp_path: Path) -> None:
    env = vec_env(scale=float("nan"))
    learner = learner_for("dqn", env, {"learning_starts": 20, "batch_size": 8})
    with pytest.raises(TrainingDiverged, match="lower learning_rate"):
        train(learner, env, tmp_path, Schedule(60, 0), controller=_controller)
    env.close()


def test_train_command_end_to_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    window = ["--begin", "25200", "--end", "25350"]
    arguments = ["--scenario", "cologne1", *window, "--steps", "60", "--validate-every", "30", "--out", str(run)]
    assert train_command.main(arguments) == 0
    assert "validation delay" in capsys.readouterr().out
    validated = (run / "validation.csv").read_text().splitlines()
    assert [float(line.split(",")[0]) for line in validated[1:]] == [30.0, 60.0]
    settings = json.loads((run / SETTINGS).read_text())
    assert settings["agent"] == "dqn"
    assert settings["scenario"]["name"] == "cologne1"
    controller = load_controller(run)
    scenario = load("cologne1", **COLOGNE)
    setup = make_setup(scenario)
    with RemoteSimulation(WorkerSetup(setup, reward="")) as simulation:
        simulation.begin(1)
        controller.reset(setup.plan.intersections, setup.layout, 1)
        chosen = controller.decide(simulation.snapshot)
        assert simulation.snapshot.mask[0, chosen[0]]
    with pytest.raises(InputError, match="--resume, replace it with --overwrite"):
        train_command.main(arguments)
    kept = {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}
    for wrong in (["--scenario", "colonge1"], ["--sensing", "ful"], ["--from", str(tmp_path / "nowhere")]):
        with pytest.raises(InputError):
            train_command.main([*arguments, *wrong, "--overwrite"])
    assert {name: (run / name).read_bytes() for name in kept} == kept, "what cannot start replaces nothing"
    _tamper(run / SETTINGS, format=99)
    with pytest.raises(InputError, match="format 99"):
        load_controller(run)


def _tamper(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_run_directories_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        read_settings(tmp_path / "nowhere")
    with pytest.raises(InputError, match="is no run directory"):
        read_settings(tmp_path)
    (tmp_path / SETTINGS).write_text(
        json.dumps({"format": FORMAT, "agent": "dqn", "agent_settings": {"units": 64}, "sensing": "full"})
    )
    with pytest.raises(InputError, match="is missing"):
        load_controller(tmp_path)
    with pytest.raises(InputError, match="does not say how the run was made"):
        train_command.main(["--out", str(tmp_path), "--resume"])
    (tmp_path / POLICY).write_bytes(b"not a file of tensors")
    with pytest.raises(InputError, match="damaged"):
        load_controller(tmp_path)
    torch.save({"scorer": PhaseScorer(SHAPE, units=8).state_dict()}, tmp_path / POLICY)
    with pytest.raises(InputError, match="does not fit"):
        load_controller(tmp_path)
    broken = {name: weight * torch.nan for name, weight in PhaseScorer(SHAPE).state_dict().items()}
    torch.save({"scorer": broken}, tmp_path / POLICY)
    with pytest.raises(InputError, match="not finite"):
        load_controller(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--scenario", "colonge1"], "Did you mean 'cologne1'"),
        (["--scenario", "cologne1", "--agent", "dqm"], "Did you mean 'dqn'"),
        (["--scenario", "cologne1", "--reward", "tme_loss"], "Did you mean 'time_loss'"),
        (["--scenario", "cologne1", "--steps", "0"], "must be at least 1"),
        (["--scenario", "cologne1", "--validate-every", "-1"], "give 0 or more"),
        (["--scenario", "cologne1", "--sensing", "ful"], "choose full or detectors"),
        (["--scenario", "cologne1", "--decision-interval", "2.5"], "no multiple"),
        (["--scenario", "cologne1", "--from", "nowhere"], "does not exist"),
        ([], "--scenario is missing"),
    ],
)
def test_train_refuses_bad_input(arguments: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        train_command.main([*arguments, "--out", str(tmp_path / "run")])
    assert not (tmp_path / "run" / SETTINGS).exists()


def test_settings_of_an_agent(tmp_path: Path) -> None:
    config = tmp_path / "f.yaml"
    config.write_text("gamma: 0.9\nunits: 32\nlearning_rate: 5e-05\n")
    settings = agent_settings("dqn", read_config(config))
    assert (settings.gamma, settings.units, settings.learning_rate) == (0.9, 32, 5e-5)
    with pytest.raises(InputError, match="Did you mean 'gamma'"):
        agent_settings("dqn", {"gama": 0.9})
    with pytest.raises(InputError, match="must be a whole number"):
        agent_settings("ppo", {"n_epochs": 1.5})
    for agent, name, value, bound in (
        ("ppo", "greedy_start", -1, "0 or more"),
        ("ppo", "clip_range", 0.0, "above 0"),
        ("ppo", "units", float("inf"), "a whole number"),
        ("dqn", "units", 0, "above 0"),
        ("ppo", "batch_size", 1, "2 or more"),
        ("dqn", "learning_rate", float("nan"), "above 0"),
        ("dqn", "gamma", 1.5, "from 0 to 1"),
        ("dqn", "train_freq", 1e9, "above 0, and at most 10000"),
        ("ppo", "greedy_start", 1e308, "0 or more, and at most"),
        ("ppo", "units", 10**400 - 1, "at most 4096"),
    ):
        with pytest.raises(InputError, match=f"'{name}' of {agent} is .*; it must be .*{bound}"):
            agent_settings(agent, {name: value})
    assert agent_settings("ppo", {"greedy_start": 0, "gamma": 1}) == PPOSettings(greedy_start=0.0, gamma=1.0)
    for agent in AGENTS:  # what help tells can be set, to what it tells
        defaults = agent_settings(agent)
        told = dict(part.rsplit(" ", 1) for part in listed(defaults).split(", "))
        config.write_text("".join(f"{name}: {value}\n" for name, value in told.items()))
        assert agent_settings(agent, read_config(config)) == defaults
        assert listed(defaults).split(",")[0] in train_command.parser().format_help()
    assert agent_settings("dqn", {"batch_size": 1}) == DQNSettings(batch_size=1)
    config.write_text("- a list")
    with pytest.raises(InputError, match="name: value"):
        read_config(config)
    with pytest.raises(InputError, match=r"f2\.yaml"):
        read_config(tmp_path / "f2.yaml")
    for text in ("gamma: 2020-13-45", "gamma: !!float abc", "[" * 3000):
        config.write_text(text)
        with pytest.raises(InputError, match="is not YAML"):
            read_config(config)


def test_a_full_disk_is_one_clear_line_and_the_last_checkpoint_stays(tmp_path: Path) -> None:
    """As the system tells of it: here a file may not grow beyond a few kilobytes."""
    save_tensors(tmp_path / POLICY, {"scorer": torch.zeros(10)})
    before, limits = (tmp_path / POLICY).read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, limits[1]))
    try:
        with pytest.raises(InputError, match=r"cannot write .*policy\.pt: File too large; make room"):
            save_tensors(tmp_path / POLICY, {"scorer": torch.zeros(100_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [path.name for path in tmp_path.iterdir()] == [POLICY]
    assert (tmp_path / POLICY).read_bytes() == before

"""Runs that are lengthened, resumed from elsewhere, or asked to go on as what they are not."""

from __future__ import annotations

import dataclasses
import json
import os
import shlex
import shutil
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import evaluate
import train as train_command
from agents import training
from agents.job import command_of, job_of
from agents.judgement import Judgement
from agents.registry import agent_settings, make_learner
from agents.run import CHECKPOINT, POLICY, SETTINGS, LearnedController, Network, read_settings
from agents.settings import falling
from agents.training import Interrupted, Schedule, train
from agents.vec_env import SignalsVecEnv
from envs.options import EnvOptions
from plumbing.errors import InputError
from scenarios.loading import absolute_name
from scenarios.seeds import VALIDATION_SEEDS

CASE = Path(__file__).parent / "data" / "cases" / "train_hint_resume"
STEADY = {"learning_rate": 1e-3, "learning_rate_end": 1e-3}
SMALL = {
    "dqn": {"learning_starts": 20, "batch_size": 16, "units": 8, "exploration_start": 0.3, "exploration_end": 0.3},
    "ppo": {"rollout": 20, "batch_size": 8, "n_epochs": 2, "units": 8},
    "maskable_ppo": {"rollout": 20, "batch_size": 8, "n_epochs": 2, "units": 8},
    "qrdqn": {"learning_starts": 20, "batch_size": 16, "units": 8, "exploration_start": 0.3, "exploration_end": 0.3},
}


def weights(run: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = torch.load(run / POLICY, weights_only=True)["scorer"]
    return found


# --- lengthened


@pytest.mark.wide
@pytest.mark.parametrize("agent", SMALL)
def test_where_nothing_falls_a_lengthened_run_is_to_the_bit_that_of_as_many_steps_at_once(
    agent: str, tmp_path: Path
) -> None:
    settings = agent_settings(agent, {**SMALL[agent], **STEADY})
    assert falling(settings) == []

    def trained(run: Path, steps: int, resume: bool = False) -> dict[str, torch.Tensor]:
        worker = EnvOptions("single", begin_s=0.0, end_s=200.0).worker()
        env = SignalsVecEnv([worker], 0, settings.reward_scale)
        learner = make_learner(agent, settings, env, 0)
        network = Network(agent, settings)
        train(
            learner, env, run, Schedule(steps, 0), resume=resume,
            controller=lambda trained: LearnedController(trained.scorer().state_dict(), network, "full"),
        )  # fmt: skip
        env.close()
        return weights(run)

    whole = trained(tmp_path / "whole", 130)
    short = trained(tmp_path / "parts", 61)
    if agent == "dqn":  # what was left to learn is in the policy, and still to come where the run goes on
        kept = torch.load(tmp_path / "parts" / CHECKPOINT, weights_only=True)["learner"]
        assert kept["counters"]["due_steps"] == 1
        assert any(not torch.equal(short[name], weight) for name, weight in kept["average"].items())
    longer = trained(tmp_path / "parts", 130, resume=True)
    assert any(not torch.equal(short[name], longer[name]) for name in short)
    assert all(torch.equal(whole[name], longer[name]) for name in whole)


def test_what_falls_over_all_steps_is_named() -> None:
    assert falling(agent_settings("dqn")) == ["learning rate", "exploration"]
    assert falling(agent_settings("ppo")) == ["learning rate"]
    assert falling(agent_settings("dqn", {**STEADY, "exploration_fraction": 0})) == []


# --- the command


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A folder with a network and a run on it, made there with relative names; what was printed."""
    folder = tmp_path_factory.mktemp("mine")
    for file in CASE.iterdir():
        shutil.copy(file, folder)
    words = "--scenario my.net.xml --routes my.rou.xml --begin 0 --end 200 --steps 60 --validate-every 0 --out r"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        said: list[str] = []
        patch.setattr(train_command, "say", lambda text, error=False: said.append(str(text)))
        assert train_command.main(words.split()) == 0
    return folder, "\n".join(said)


@pytest.fixture
def run(trained: tuple[Path, str], tmp_path: Path) -> Path:
    """A copy of the run."""
    return Path(shutil.copytree(trained[0] / "r", tmp_path / "r"))


@pytest.mark.wide
def test_the_line_that_is_printed_judges_the_run(
    trained: tuple[Path, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, said = trained
    monkeypatch.chdir(folder)
    (line,) = (line for line in said.splitlines() if line.startswith("judge it: "))
    words = shlex.split(line)
    assert words[2:4] == ["python", "evaluate.py"]
    assert evaluate.main([*words[4:], "--seeds", "1", "--json"]) == 0
    judged = json.loads(capsys.readouterr().out)
    assert [entry["controller"] for entry in judged["controllers"]] == ["fixed_time", "actuated", "r"]
    assert read_settings(folder / "r")["job"]["end_s"] == 200


def test_a_finished_run_goes_on_to_more_steps_from_another_folder(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert train_command.main(["--out", "r", "--resume", "--steps", "120"]) == 0
    told = capsys.readouterr()
    assert "trained 120 steps" in told.out
    assert "learning rate and exploration fall over all steps: for the first 60 as asked for 60" in told.err
    settings = read_settings(run)
    assert (settings["job"]["steps"], settings["job"]["stretched"]) == (120, [[60, 60]])
    assert [row.split(",")[0] for row in (run / "validation.csv").read_text().splitlines()[1:]] == ["60.0", "120.0"]
    state = torch.load(run / CHECKPOINT, weights_only=True)
    assert state["learner"]["counters"]["num_timesteps"] == 120
    first, second = command_of(settings, "r").split(" && ")
    assert "--steps 60" in first
    assert second.startswith("python train.py --out r --resume --steps 120")
    # again, as it is: nothing is left to do
    assert train_command.main(["--out", "r", "--resume"]) == 0
    with pytest.raises(InputError, match="--steps is 100, and r has taken 120 already; give more"):
        train_command.main(["--out", "r", "--resume", "--steps", "100"])


def test_a_run_that_was_stretched_in_the_middle_has_no_command() -> None:
    settings = read_settings(Path(__file__).parents[1] / "examples" / "single-detectors")
    job = job_of(settings, Path("settings.json"))
    assert command_of(settings, "r").startswith("python train.py")
    cut = dataclasses.replace(job, steps=90_000, stretched=((job.steps, job.steps - 1),))
    assert command_of({**settings, "job": dataclasses.asdict(cut)}, "r").startswith("# ")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--seed", "3"], "--seed asks for 3, and the run began with 0"),
        (["--agent", "ppo"], "--agent asks for ppo, and the run began with dqn"),
        (["--workers", "2"], "--workers asks for 2"),
        (["--end", "300"], "--end asks for 300.0, and the run began with 200.0"),
        (["--max-green", "33"], "--max-green asks for 33.0"),
        (["--vary-demand", "0.5", "1"], "--vary-demand asks for 0.5 1.0, and the run began with 1.0 1.0"),
        (["--latency", "1"], "--latency asks for 1.0, and the run began with 0.0"),
        (["--tls-ids", "C"], "--tls-ids asks for C, and the run began with none"),
        (["--overwrite"], "--overwrite does not go with --resume"),
    ],
)
def test_options_that_contradict_the_run_are_refused(words: list[str], message: str, run: Path) -> None:
    before = (run / SETTINGS).read_bytes()
    with pytest.raises(InputError, match=message) as caught:
        train_command.main(["--out", str(run), "--resume", *words])
    assert "\n" not in str(caught.value)
    assert (run / SETTINGS).read_bytes() == before


def test_a_config_that_says_something_else_is_refused_and_one_that_says_the_same_is_not(
    run: Path, tmp_path: Path
) -> None:
    config = tmp_path / "c.yaml"
    config.write_text("gamma: 0.5\n")
    with pytest.raises(InputError, match="--config asks for other settings"):
        train_command.main(["--out", str(run), "--resume", "--config", str(config)])
    config.write_text("gamma: 0.98\n")
    words = ["--config", str(config), "--seed", "0", "--begin", "0", "--validate-every", "0", "--change-interval"]
    assert train_command.main(["--out", str(run), "--resume", *words, "calculated"]) == 0


def test_files_that_have_moved_are_named_anew_and_have_to_be_the_same(run: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for file in CASE.iterdir():
        shutil.copy(file, elsewhere)
    settings = read_settings(run)
    job = {**settings["job"], "scenario": "/gone/my.net.xml", "routes": ["/gone/my.rou.xml"]}
    (run / SETTINGS).write_text(json.dumps({**settings, "job": job}))
    with pytest.raises(InputError, match="/gone/my"):
        train_command.main(["--out", str(run), "--resume"])
    words = ["--out", str(run), "--resume", "--scenario", str(elsewhere / "my.net.xml")]
    words += ["--routes", str(elsewhere / "my.rou.xml")]
    assert train_command.main(words) == 0
    assert read_settings(run)["job"]["scenario"] == str(elsewhere / "my.net.xml"), "it is found there from now on"
    file = elsewhere / "my.rou.xml"
    file.write_text(file.read_text() + "<!-- another -->\n")
    with pytest.raises(InputError, match=r"my.rou.xml of .* changed since"):
        train_command.main(["--out", str(run), "--resume"])
    with pytest.raises(InputError, match=r"is not what .* began with; give the same files"):
        train_command.main(
            ["--out", str(run), "--resume", "--routes", str(shutil.copy(file, tmp_path / "my.rou.xml"))]
        )


def test_more_validation_runs_than_there_are_seeds_are_refused() -> None:
    words = ["--scenario", "single", "--out", "never", "--validation-runs", str(len(VALIDATION_SEEDS) + 1)]
    with pytest.raises(InputError, match="there are 10000 validation seeds"):
        train_command.main(words)


def test_a_name_stays_a_name_whatever_lies_in_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("single", "cologne1", "mine"):
        (tmp_path / folder).mkdir()
    (tmp_path / "mine" / "my.net.xml").touch()
    (tmp_path / "grid:2x2").touch()
    assert [absolute_name(name) for name in ("single", "cologne1", "grid:1x2", "nowhere.net.xml")] == [
        "single", "cologne1", "grid:1x2", "nowhere.net.xml",
    ]  # fmt: skip
    assert absolute_name("mine/my.net.xml") == str(tmp_path / "mine" / "my.net.xml")
    assert absolute_name("grid:2x2") == str(tmp_path / "grid:2x2"), "a file goes before an embedded name, as in load"


# --- Ctrl-C in a validation


@pytest.mark.wide
@pytest.mark.parametrize("every", [0, 20], ids=["last", "in-between"])
def test_ctrl_c_leaves_a_validation_at_once_and_the_run_goes_on_exactly(every: int, tmp_path: Path) -> None:
    settings = agent_settings("ppo", SMALL["ppo"])

    def trained(run: Path, validate: Callable[[Any], Judgement], resume: bool = False) -> training.Progress:
        worker = EnvOptions("single", begin_s=0.0, end_s=200.0).worker()
        env = SignalsVecEnv([worker], 0, settings.reward_scale)
        learner = make_learner("ppo", settings, env, 0)
        try:
            return train(
                learner, env, run, Schedule(60, every), resume=resume, validate=validate,
                controller=lambda trained: LearnedController({}, Network("ppo", settings), "full"),
            )  # fmt: skip
        finally:
            env.close()

    def endless(controller: Any) -> Judgement:
        del controller
        threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
        threading.Event().wait(20.0)
        raise AssertionError("it waits")

    whole = trained(tmp_path / "whole", lambda controller: Judgement(0, 1.0))
    with pytest.raises(Interrupted):
        trained(tmp_path / "parts", endless)
    assert not (tmp_path / "parts" / "validation.csv").exists()
    parts = trained(tmp_path / "parts", lambda controller: Judgement(0, 1.0), resume=True)
    judged = [[{**row, "seconds": None} for row in of.validations] for of in (parts, whole)]
    assert judged[0] == judged[1]
    then, now = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert all(torch.equal(then[name], now[name]) for name in then)

"""That agents learn: minutes each, so marked slow."""

from __future__ import annotations

from pathlib import Path

import pytest

import train
from agents.run import load_controller
from controllers.registry import make
from evaluation.runs import Contestant, Evaluation, run_all
from scenarios.loading import load
from scenarios.seeds import EVALUATION_SEEDS
from tests.branching import forked


@pytest.mark.slow
@pytest.mark.parametrize(("agent", "steps"), [("dqn", 12_000), ("ppo", 40_000)])
def test_a_policy_learns_to_beat_the_networks_own_plan(agent: str, steps: int, tmp_path: Path) -> None:
    run = tmp_path / agent
    arguments = ["--scenario", "cologne1", "--agent", agent, "--steps", str(steps), "--validate-every", "0"]
    assert train.main([*arguments, "--out", str(run)]) == 0
    contestants = [
        Contestant("fixed_time", lambda: make("fixed_time")),
        Contestant("learned", lambda: load_controller(run), baseline=False),
    ]
    results = run_all(Evaluation(load("cologne1"), contestants, EVALUATION_SEEDS[:3]), workers=2)
    delay_s = {
        name: [r.metrics.delay_s for r in results if r.controller == name] for name in ("fixed_time", "learned")
    }
    assert all(learned < fixed for fixed, learned in zip(delay_s["fixed_time"], delay_s["learned"], strict=True))


@pytest.mark.slow
@forked
def test_one_round_of_forks_is_better_than_the_base_that_they_follow(tmp_path: Path) -> None:
    run, config = tmp_path / "rollout", tmp_path / "config.yaml"
    config.write_text("base: greedy\nround: 1500\nsamples: 500\n")
    window = ["--scenario", "cologne1", "--end", "27000"]
    arguments = ["--agent", "rollout", "--steps", "1500", "--config", str(config), "--workers", "2"]
    assert train.main([*window, *arguments, "--validate-every", "0", "--out", str(run)]) == 0
    contestants = [
        Contestant("greedy", lambda: make("greedy")),
        Contestant("learned", lambda: load_controller(run), baseline=False),
    ]
    results = run_all(Evaluation(load("cologne1", end_s=27_000.0), contestants, EVALUATION_SEEDS[:3]), workers=2)
    delay_s = {name: [r.metrics.delay_s for r in results if r.controller == name] for name in ("greedy", "learned")}
    assert all(learned < 0.9 * base for base, learned in zip(delay_s["greedy"], delay_s["learned"], strict=True))

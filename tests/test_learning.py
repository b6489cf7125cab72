"""That agents learn: minutes each, so marked slow."""

from __future__ import annotations

from pathlib import Path

import pytest

import train
from agents.run import load_controller
from controllers.registry import make
from evaluation.runs import Contestant, Evaluation, run_all
from scenarios.scenario import load
from scenarios.seeds import EVALUATION_SEEDS


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

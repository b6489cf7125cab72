"""A policy is chosen among trainings and their validations: by gridlocks first, on validation seeds, and said so."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import evaluate
import train
from agents.choice import CHOICE, Candidate, candidates_of, choose
from agents.judgement import Judgement
from agents.named import find_controller
from agents.run import POLICY, load_tensors, validated_steps
from plumbing.errors import InputError
from scenarios.seeds import VALIDATION_SEEDS

WINDOW = ["--scenario", "single", "--end", "120"]


def test_gridlocks_count_before_delay() -> None:
    slow, fast = Judgement.of([(False, 50.0), (False, 70.0)]), Judgement.of([(True, 20.0), (False, 10.0)])
    assert (slow.gridlocked_runs, slow.delay_s) == (0, 60.0)
    assert slow < fast
    assert Judgement(0, 40.0) < slow
    assert choose([Candidate("a", fast), Candidate("b", slow), Candidate("c", slow)]).name == "b"
    with pytest.raises(InputError, match="none of --controllers is a run directory"):
        choose([])


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two short trainings, each validated on the way."""
    folder = tmp_path_factory.mktemp("trainings")
    config = folder / "small.yaml"
    config.write_text("rollout: 10\nbatch_size: 8\n")
    made = [folder / f"seed-{seed}" for seed in (0, 1)]
    for seed, out in enumerate(made):
        words = [
            "--agent",
            "ppo",
            "--config",
            str(config),
            "--steps",
            "40",
            "--seed",
            str(seed),
            "--validate-every",
            "20",
        ]
        assert train.main([*WINDOW, *words, "--out", str(out)]) == 0
    return made


def test_each_validation_keeps_its_weights(runs: list[Path]) -> None:
    run = runs[0]
    first, *_, last = validated_steps(run)
    assert first < last
    weights = [load_tensors(run / "validated" / f"{steps}.pt")["scorer"] for steps in (first, last)]
    ended = load_tensors(run / POLICY)["scorer"]
    assert all(torch.equal(weights[1][name], ended[name]) for name in ended), "the last validation is of the end"
    assert not all(torch.equal(weights[0][name], ended[name]) for name in ended)
    assert candidates_of([str(run)])[:2] == [str(run), f"{run}@{first}"]
    assert f"{run}@{last}" not in candidates_of([str(run)]), "no policy is judged twice"


def test_the_best_becomes_a_run_directory_that_says_how_it_was_chosen(
    runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "chosen"
    words = [*WINDOW, "--controllers", *map(str, runs), "fixed_time", "--choose", str(out), "--seeds"]
    seeds = [str(seed) for seed in VALIDATION_SEEDS[:2]]
    assert evaluate.main([*words, *seeds, "--workers", "1"]) == 0
    said = capsys.readouterr().out
    told = json.loads((out / CHOICE).read_text())
    names = [each["policy"] for each in told["candidates"]]
    assert names == [name for run in runs for name in candidates_of([str(run)])], "fixed_time is none"
    least = min(told["candidates"], key=lambda each: (each["gridlocked_runs"], each["delay_s"]))
    assert told["chosen"] == least["policy"]
    assert told["seeds"] == list(VALIDATION_SEEDS[:2])
    assert f"chosen: {told['chosen']}, delay {least['delay_s']:.1f} s" in said
    assert find_controller(str(out)).tuned.startswith(f"chosen from {len(names)} policies of 2 trainings, fewest")
    assert find_controller(str(out)).identity != ""
    again = ["--controllers", str(out), told["chosen"], "--seeds", *seeds, "--workers", "1", "--json"]
    assert evaluate.main([*WINDOW, *again]) == 0
    rows = json.loads(capsys.readouterr().out)["controllers"]
    assert [row["delay_s"]["mean"] for row in rows] == pytest.approx(2 * [least["delay_s"]]), "the same weights"


def test_nothing_else_is_overwritten_by_a_choice(runs: list[Path]) -> None:
    with pytest.raises(InputError, match="holds no earlier choice"):
        evaluate.main([*WINDOW, "--controllers", str(runs[0]), "--choose", str(runs[1]), "--seeds", "1"])


def test_a_validation_that_was_not_is_named(runs: list[Path]) -> None:
    with pytest.raises(InputError, match="keeps no weights of step 7; it does of "):
        find_controller(f"{runs[0]}@7")

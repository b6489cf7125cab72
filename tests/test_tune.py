"""Tuning: the same budget for each, training seeds alone, a file that repeats itself, and its use."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import evaluate
from controllers.parameters import SPACES, Range, candidates, read_tuned
from controllers.registry import make
from evaluation import tune
from plumbing.errors import InputError
from scenarios.seeds import TRAINING_SEEDS

WINDOW = ["--scenario", "single", "--begin", "0", "--end", "60"]


@pytest.mark.parametrize("runs", [12, 24, 48])
def test_the_rounds_spend_the_budget_on_training_seeds(runs: int) -> None:
    rounds = tune.rungs(runs, 3)
    assert sum(rung.settings * len(rung.seeds) for rung in rounds) == runs
    seeds = [seed for rung in rounds for seed in rung.seeds]
    assert len(set(seeds)) == 5
    assert all(seed in TRAINING_SEEDS for seed in seeds)
    with pytest.raises(InputError, match="multiple of 12"):
        tune.rungs(runs + 1, 3)


@pytest.mark.parametrize("name", list(SPACES))
def test_settings_cover_each_range_and_begin_with_the_defaults(name: str) -> None:
    drawn = candidates(name, 12, 0)
    assert drawn == candidates(name, 12, 0)
    assert drawn[0] == {}
    for key, of in SPACES[name].items():
        values = sorted(setting[key] for setting in drawn[1:])
        assert of.low <= values[0] <= of.at(1 / 11)
        assert of.at(10 / 11) <= values[-1] <= of.high
    for setting in drawn:
        make(name, **setting)


def test_a_logarithmic_range_is_halved_at_the_geometric_mean() -> None:
    assert Range(25, 1600, logarithmic=True).at(0.5) == 200
    assert Range(0, 5, whole=True).at(0.49) == 2


def test_tuning_is_repeatable_resumes_and_is_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [*WINDOW, "--controllers", "greedy", "--runs", "12", "--workers", "1"]
    words += ["--out", str(tmp_path / "found")]
    assert tune.main(words) == 0
    file = tmp_path / "found" / "tuned.json"
    first = file.read_bytes()
    content: dict[str, Any] = json.loads(first)
    greedy = content["controllers"]["greedy"]
    assert sum(len(trial["seeds"]) for trial in greedy["trials"]) == 12
    best = [trial for trial in greedy["trials"] if len(trial["seeds"]) == 5]
    assert greedy["delay_s"] == min(sum(trial["delay_s"]) / 5 for trial in best)
    assert greedy["parameters"] == greedy["trials"][0]["parameters"]

    file.unlink()
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "found" / "runs").glob("*/seed-*/run.json")}
    shutil.rmtree(kept.popitem()[0].parent)
    assert tune.main(words) == 0
    assert file.read_bytes() == first
    assert {path: path.stat().st_mtime_ns for path in kept} == kept, "finished runs are not run again"

    content["controllers"]["greedy"]["parameters"] = {"hysteresis_veh": 1000.0}
    file.write_text(json.dumps(content))
    capsys.readouterr()
    longer = ["--scenario", "single", "--begin", "0", "--end", "200"]
    assert evaluate.main([*longer, "--controllers", "greedy", f"greedy@{file}", "--seeds", "1"]) == 0
    said = capsys.readouterr().out
    assert "greedy@found: hysteresis_veh 1000; best of 12 runs on training seeds of single" in said
    plain, tuned = (
        line.split()[1] for line in said.splitlines() if line.split()[:1] in (["greedy"], ["greedy@found"])
    )
    assert float(tuned) > float(plain), "with that hysteresis it waits for max green each time"


def test_files_that_do_not_fit_are_refused_in_one_line(tmp_path: Path) -> None:
    file = tmp_path / "mine.json"
    with pytest.raises(InputError, match=r"mine\.json does not exist"):
        read_tuned(file, "greedy")
    for text, complaint in (
        ("{", "holds no tuned parameters"),
        ('{"format": 7}', "is of format 7"),
        ('{"format": 1, "controllers": {"sotl": {}}}', "nothing for 'greedy', only for sotl"),
        ('{"format": 1, "controllers": {"greedy": {"parameters": {"x": 1}}}}', "greedy's 'x' is unknown"),
    ):
        file.write_text(text)
        with pytest.raises(InputError, match=complaint):
            read_tuned(file, "greedy")
    with pytest.raises(InputError, match=r"'gredy' has nothing to tune; choose of .* Did you mean 'greedy'"):
        tune.main([*WINDOW, "--controllers", "gredy", "--out", str(tmp_path)])

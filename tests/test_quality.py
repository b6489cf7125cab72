"""Recipes and the page of what policies are worth."""

from pathlib import Path

import polars as pl
import pytest

import train
from agents.recipes import FOLDER, Recipe, recipe_of
from agents.registry import AGENTS, agent_settings
from benchmarks import quality, time_to_quality
from benchmarks.quality_page import best_rule, page, rows_of
from signals.observations import NAMED


def test_each_agent_has_a_recipe_that_can_be_followed() -> None:
    assert {path.stem for path in FOLDER.glob("*.yaml")} == set(AGENTS)
    for agent in AGENTS:
        recipe = recipe_of(agent)
        agent_settings(agent, dict(recipe.settings))
        assert recipe.observation in NAMED
        assert recipe.steps > 0 < recipe.validation_runs
    assert recipe_of("my.module:Agent") == recipe_of("../dqn") == Recipe()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], ("planned", 60_000, 6_000, 1)),
        (["--observation", "phases", "--steps", "70", "--validation-runs", "2"], ("phases", 70, 7, 2)),
        (["--sensing", "detectors"], ("planned", 60_000, 6_000, 1)),
    ],
)
def test_what_is_not_said_is_the_recipes(words: list[str], expected: tuple[object, ...]) -> None:
    command = train.parser().parse_args(["--scenario", "single", "--agent", "ppo", "--out", "x", *words])
    job = train._job(command)
    assert (job.observation, job.steps, job.validate_every, job.validation_runs) == expected


def frame(delays: dict[str, list[float]], gridlocked: str = "") -> pl.DataFrame:
    rows = [
        {
            "controller": name, "seed": 10001 + n, "delay_s": delay, "gridlocked": name == gridlocked and n == 0,
            "gridlock_at": "J" if name == gridlocked and n == 0 else "", "waiting_time_s": 1.0, "stops": 1.0,
            "resco_delay_s": 2.0, "training_s": 60.0 if "#" in name else None,
        }
        for name, values in delays.items()
        for n, delay in enumerate(values)
    ]  # fmt: skip
    return pl.DataFrame(rows)


def test_an_agents_figure_is_the_mean_of_all_trainings(tmp_path: Path) -> None:
    of = frame({"cop": [20.0, 22.0], "greedy": [30.0, 31.0], "ppo#0": [18.0, 20.0], "ppo#1": [20.0, 26.0]}, "ppo#1")
    rows = {row.name: row for row in rows_of(of)}
    assert list(rows) == ["cop", "ppo", "greedy"], "the least delay first; of equals the rule"
    assert rows["ppo"].trainings == (19.0, 23.0)
    assert rows["ppo"].delays_s == (19.0, 23.0), "by evaluation seed"
    assert (rows["ppo"].gridlocked, rows["ppo"].runs, rows["ppo"].places) == (1, 4, "1 at J")
    assert best_rule(list(rows.values())).name == "cop", "never a policy"
    of.write_parquet(tmp_path / "cologne1-fixed.parquet")
    text = page(tmp_path)
    assert "## cologne1 (3 s of yellow, no red clearance)" in text
    assert "| cologne1 (3 s of yellow, no red clearance) | cop | 21.0 [20.0, 22.0] | 21.0 " in text
    assert "+0.0 %" in text
    assert "1 of 4 gridlocked" in text


@pytest.mark.wide
def test_a_scenario_is_trained_judged_and_gone_on_with(tmp_path: Path) -> None:
    words = ["single", "--agents", "dqn", "--rules", "fixed_time", "--seeds", "1", "--steps", "2"]
    words += ["--workers", "1", "--work", str(tmp_path)]
    assert quality.main([*words, "--training-seeds", "0"]) == 0
    kept = pl.read_parquet(tmp_path / "figures" / "single.parquet")
    assert set(kept["controller"]) == {"fixed_time", "dqn#0"}
    policy = tmp_path / "single" / "dqn-0" / "policy.pt"
    began = policy.stat().st_mtime_ns
    assert quality.main([*words, "--training-seeds", "0", "1"]) == 0
    both = pl.read_parquet(tmp_path / "figures" / "single.parquet")
    assert set(both["controller"]) == {"fixed_time", "dqn#0", "dqn#1"}
    assert both.filter(pl.col("controller") != "dqn#1").equals(kept)
    assert policy.stat().st_mtime_ns == began, "not trained again"


def test_time_to_quality_lists_every_training(tmp_path: Path) -> None:
    rows: list[tuple[object, ...]] = []
    for n, seed in enumerate((10001, 10002)):
        rows += [("cop", None, None, None, seed, 20.0 + n), ("greedy", None, None, None, seed, 30.0)]
        rows += [("ppo", 0, 100, 5.0, seed, 21.0), ("ppo", 0, 200, 9.0, seed, 18.0 + n)]
        rows += [("sb3-ppo", 0, 900, 60.0, seed, 25.0), ("sb3-ppo", 1, 900, 60.0, seed, 20.5)]
    frame = pl.DataFrame(rows, schema=time_to_quality.COLUMNS, orient="row")
    frame.write_parquet(tmp_path / "cologne1.parquet")
    text = time_to_quality.page(tmp_path)
    assert "2 evaluation seeds; best rule: cop, 20.5 s" in text
    assert "| ppo | 0 | 9 s | 18.5 | 9 s | 200 |" in text
    assert "| sb3-ppo | 0 | never | 25.0 | 60 s | 900 |" in text
    assert "| sb3-ppo | 1 | never | 20.5 | 60 s | 900 |" in text, "as much is not below"


@pytest.mark.wide
def test_time_to_quality_trains_both_sides_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time_to_quality, "MARKS", 2)
    words = ["cologne1", "--agents", "dqn", "--peers", "ppo", "--steps", "2", "--budget-s", "1"]
    words += ["--peer-steps", "100", "--seeds", "1", "--rules", "greedy", "--workers", "1"]
    words += ["--work", str(tmp_path / "work"), "--out", str(tmp_path / "out")]
    assert time_to_quality.main(words) == 0
    frame = pl.read_parquet(tmp_path / "out" / "cologne1.parquet")
    assert set(frame["side"]) == {"greedy", "dqn", "sb3-ppo"}
    assert frame["delay_s"].min() > 5.0
    assert frame.filter(pl.col("side") == "sb3-ppo")["seconds"].min() > 0.0
    assert (tmp_path / "out" / "cologne1.svg").read_text().startswith("<?xml")
    kept = next((tmp_path / "work").rglob("*.zip"))
    began = kept.stat().st_mtime_ns
    assert time_to_quality.main(words) == 0
    assert kept.stat().st_mtime_ns == began, "not trained again"
    assert pl.read_parquet(tmp_path / "out" / "cologne1.parquet").equals(frame)

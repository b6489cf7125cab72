"""`--demand generated:MODEL`: days that a model makes up, once, and other ones to train on than to judge by."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import evaluate
import train
from demand.__main__ import main
from demand.counts.series import read_series
from demand.counts.store import CountsFolder
from demand.episodes import days
from envs import SignalEnv
from envs.sumo.setup import make_setup
from plumbing.errors import InputError
from scenarios.days import day_number
from scenarios.loading import absolute_demand, load
from scenarios.scenario import Scenario
from scenarios.seeds import EVALUATION_SEEDS, TRAINING_SEEDS, VALIDATION_SEEDS
from tests.counted import INTERVAL_S
from tests.foreseen import DAYS, Foreseen, foreseen

APART = (1, 2)
NUMBER = 5


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Foreseen:
    return foreseen(tmp_path_factory.mktemp("generated"))


@pytest.fixture(scope="module")
def model(town: Foreseen, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("models") / "days"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("demand.generation.judge.TREES", 5)
        assert main(["generate", str(town.counts), "--model", "resampled", "--seeds", "1", "--out", str(out)]) == 0
    return out


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Few days, in a cache of this module's own."""
    for name, value in (("TRAINING", NUMBER - sum(APART)), ("VALIDATION", APART[0]), ("EVALUATION", APART[1])):
        monkeypatch.setattr(days, name, value)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "generated-cache"))


@pytest.fixture
def made(town: Foreseen, model: Path) -> Scenario:
    return load(town.config, demand=f"generated:{model}")


seeds = st.one_of(*(st.sampled_from(of) for of in (EVALUATION_SEEDS, VALIDATION_SEEDS, TRAINING_SEEDS)))


@given(seeds, seeds)
def test_no_day_is_for_two_uses(one: int, other: int) -> None:
    def use(seed: int) -> int:
        return 0 if seed in TRAINING_SEEDS else 1 if seed in VALIDATION_SEEDS else 2

    numbers = day_number(34, one, (4, 10)), day_number(34, other, (4, 10))
    assert use(one) == use(other) or numbers[0] != numbers[1]
    assert all(0 <= number < 34 for number in numbers)


def test_all_days_of_a_use_come_up() -> None:
    assert {day_number(9, seed, (2, 3)) for seed in VALIDATION_SEEDS[:20]} == {4, 5}
    assert [day_number(9, seed, (2, 3)) for seed in EVALUATION_SEEDS[:4]] == [6, 7, 8, 6]
    assert {day_number(9, seed, (2, 3)) for seed in TRAINING_SEEDS[:20]} == {0, 1, 2, 3}


def test_days_are_whole_vehicles_near_what_the_model_makes(made: Scenario, town: Foreseen) -> None:
    assert len(made.days) == NUMBER
    assert made.days_apart == APART
    assert "by resampled" in made.made_up
    assert "which nobody has counted" in made.made_up
    assert [path.name for path in made.days] == sorted(path.name for path in made.days)
    vehicles = [path.read_text().count("<vehicle ") for path in made.days]
    real = town.config.with_suffix("").with_suffix("").parent / f"day-{DAYS[0]}.rou.xml"
    usual = real.read_text().count("<vehicle ")
    assert all(0.6 * usual < number < 1.6 * usual for number in vehicles)
    assert len(set(vehicles)) > 1
    dates = [np.datetime64(path.name[4:14]) for path in made.days]
    assert min(dates) > np.datetime64(DAYS[-1])
    assert all(np.is_busday(date) for date in dates)  # as the days of the scenario


def test_the_same_model_gives_the_same_days_and_they_are_made_once(
    made: Scenario, town: Foreseen, model: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    before = {path.name: path.read_bytes() for path in made.days}
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "elsewhere"))
    again = load(town.config, demand=f"generated:{model}")
    assert again.days[0] != made.days[0]
    assert {path.name: path.read_bytes() for path in again.days} == before
    monkeypatch.setattr(days, "days_made", None)  # would fail
    assert load(town.config, demand=f"generated:{model}").days == again.days


def test_forecasts_on_made_days_start_from_them(made: Scenario, town: Foreseen, model: Path) -> None:
    """The counts of a made day before the window, after the real days."""
    scenario = load(town.config, demand=f"generated:{model}", forecast=town.last_value)
    assert scenario.foresight is not None
    series = read_series(CountsFolder(made.days[0].parent / "counts"))
    seed = EVALUATION_SEEDS.start
    date = np.datetime64(made.days[NUMBER - APART[1]].name[4:14]).astype(int)
    last = series.values[series.clock.place[int(date - series.clock.ordinal[0]), 7 * 3600 // INTERVAL_S - 1]]
    teller = scenario.foresight.begin(seed)
    lanes = dict(zip(scenario.foresight.lanes, teller.told(None)[0], strict=True))
    whole = [lane for lane in lanes if lane.startswith("E_in")]
    counted = last[series.detectors.index("WB")] * 4
    assert sum(lanes[lane] for lane in whole) == pytest.approx(counted, abs=1e-6)
    real = read_series(CountsFolder(town.counts))
    assert (series.values[: len(real.values)] == real.values).all()


def test_an_environment_has_a_day_of_training(made: Scenario) -> None:
    setup = make_setup(made)
    env = SignalEnv(made)
    env.reset(seed=TRAINING_SEEDS.start + 1)
    env.close()
    for seed, at in ((TRAINING_SEEDS.start, range(2)), (EVALUATION_SEEDS.start, range(3, 5))):
        words = setup.args_of(seed)
        assert setup.days.index(words[words.index("-r") + 1]) in at


@pytest.mark.wide
def test_the_commands_take_a_model(
    town: Foreseen, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--scenario", str(town.config), "--demand", f"generated:{model}"]
    more = ["--agent", "a2c", "--steps", "60", "--validate-every", "0", "--out", str(tmp_path / "run")]
    assert train.main([*words, *more]) == 0
    assert evaluate.main([*words, "--controllers", "greedy", str(tmp_path / "run"), "--seeds", "2"]) == 0
    assert "MADE UP demand" in capsys.readouterr().out


def test_what_does_not_go_together_is_one_clear_line(town: Foreseen, model: Path, tmp_path: Path) -> None:
    for scenario, demand, says in (
        (town.config, f"generated:{town.counts}", "is no model of days"),
        ("tee", f"generated:{model}", "nobody knows where detectors count"),
        (town.config, "generated:", "unknown demand 'generated:'"),
    ):
        with pytest.raises(InputError, match=says):
            load(scenario, demand=demand)
    other = tmp_path / "days"
    shutil.copytree(town.days, other)
    (other / "places.csv").write_text("detector,lane\n")
    with pytest.raises(InputError, match="makes days of other detectors"):
        load(other / town.config.name, demand=f"generated:{model}")
    shutil.rmtree(other / "counts")
    with pytest.raises(InputError, match="holds no counts, from which forecasts start; calibrate again"):
        load(other / town.config.name, demand=f"generated:{model}")
    assert absolute_demand("generated:models/days") == f"generated:{Path.cwd() / 'models/days'}"

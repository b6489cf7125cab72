"""Plans from a policy: what is observed, how the search goes, and one small derivation against SUMO."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from controllers.base import Controller
from controllers.programs import GivenPrograms, ProgramControl
from controllers.registry import make
from deployment.bundle.make.sealing import Seal, plan_seal
from deployment.bundle.manifest import Identity, new_key, validity
from deployment.bundle.sealed_plans import read_sealed_plans
from deployment.nema.pattern import check_plans
from deployment.plans.files import PAGE, PLANS, PROGRAMS, UTDF, read_plans, write_plans
from deployment.plans.observe import Usage, Watched, times_of_day, usage, windows
from deployment.plans.optimise import Derivation, PlanSettings
from deployment.plans.report import interval
from evaluation.delays import delays
from evaluation.monitor.check import check
from evaluation.runs import Contestant, Evaluation, run_all
from plumbing.errors import InputError
from scenarios.loading import load
from scenarios.scenario import Scenario
from scenarios.seeds import EVALUATION_SEEDS, TRAINING_SEEDS
from signals.intersection import compile_signals

Makers = Mapping[str, Callable[[], Controller | ProgramControl]]


def used_as(shares: Sequence[Sequence[float]]) -> Usage:
    """Windows of 5 min with these green shares."""
    green = np.array(shares, float)[:, None, :] * 60
    count, _, phases = green.shape
    return Usage(np.arange(count + 1) * 300.0, green, np.ones_like(green), np.zeros((count, 1, phases, phases)))


def test_windows_lie_at_full_minutes_and_none_is_very_short() -> None:
    assert windows(0.0, 900.0).tolist() == [0, 300, 600, 900]
    assert windows(100.0, 700.0).tolist() == [100, 300, 700]
    assert windows(25_200.0, 25_500.0).tolist() == [25_200, 25_500]


def test_times_of_day_are_found_where_the_greens_change() -> None:
    morning, evening = [0.8, 0.2], [0.3, 0.7]
    used = used_as([morning] * 5 + [evening] * 4)
    assert times_of_day(used, [1.0] * 9, 3) == [(0, 5), (5, 9)]
    assert times_of_day(used, [1.0] * 9, 1) == [(0, 9)]
    assert times_of_day(used_as([morning] * 9), [1.0] * 9, 3) == [(0, 9)]  # nothing to tell apart
    assert times_of_day(used_as([morning] * 9), [0.2] * 4 + [1.0] * 5, 3) == [(0, 4), (4, 9)]  # by traffic
    with pytest.raises(InputError, match="at least 1"):
        times_of_day(used, [1.0] * 9, 0)


def test_what_a_controller_does_is_counted() -> None:
    watched = Watched(make("random"))  # type: ignore[arg-type]
    watched.shape = (1, 3, 4)
    watched.times_s = [0.0, 5.0, 10.0, 15.0, 20.0, 300.0, 305.0]
    watched.phases = [np.array([p]) for p in (0, 0, 2, 2, 2, 0, 1)]
    watched.changing = [np.array([c]) for c in (False, False, True, True, False, False, False)]
    used = usage([watched], 0.0, 600.0)
    assert used.green[:, 0].tolist() == [[2, 0, 1], [1, 1, 0]]
    assert used.starts[:, 0].tolist() == [[0, 0, 1], [1, 1, 0]]
    assert used.order(0, 3) == [0, 1, 2]
    assert used.over(0, 2).green[0, 0].tolist() == [3, 1, 1]


class Judge:
    """Pretends to simulate: a cycle of 90 s is best, and every request is noted."""

    def __init__(self) -> None:
        self.runs = 0
        self.seeds: set[int] = set()

    def __call__(self, scenario: Scenario, makers: Makers, seeds: Sequence[int]) -> dict[str, list[float]]:
        self.runs += len(makers) * len(seeds)
        self.seeds |= set(seeds)
        found = {}
        for name, maker in makers.items():
            controller = maker()
            if isinstance(controller, GivenPrograms):
                lengths = [float(x) for x in re.findall(r'phase duration="([^"]*)"', controller.xml)]
                found[name] = [abs(sum(lengths) / controller.xml.count("<tlLogic") - 90.0) + s % 2 for s in seeds]
            else:
                self._watch(controller, scenario)  # type: ignore[arg-type]
                found[name] = [0.0] * len(seeds)
        return found

    @staticmethod
    def _watch(controller: Any, scenario: Scenario) -> None:
        controller.shape = (1, 4, 12)
        for n in range(int(scenario.horizon_s / 5)):
            controller.times_s.append(scenario.begin_s + 5.0 * n)
            controller.phases.append(np.array([n // 4 % 4]))
            controller.changing.append(np.array([False]))


def derivation(judge: Any, settings: PlanSettings, end_s: float = 3600.0) -> Derivation:
    scenario = load("single", end_s=end_s)
    return Derivation(scenario, compile_signals(scenario.network).intersections, judge, settings)


def test_the_search_goes_downhill_within_its_budget_and_on_training_seeds_alone() -> None:
    judge = Judge()
    derived = derivation(judge, PlanSettings(budget=120, times=1)).derive(partial(make, "max_pressure"))  # type: ignore[arg-type]
    (signal,) = derived.plans.signals
    assert abs(signal.patterns[0].cycle_s - 90) <= 2
    assert derived.record["runs"] == judge.runs <= 120
    assert all(seed in TRAINING_SEEDS for seed in judge.seeds)
    assert not any(seed in EVALUATION_SEEDS for seed in judge.seeds)
    again = derivation(Judge(), PlanSettings(budget=120, times=1)).derive(partial(make, "max_pressure"))  # type: ignore[arg-type]
    assert again == derived
    check_plans(derived.plans)


def test_with_several_times_of_day_the_whole_day_decides() -> None:
    judge = Judge()
    derived = derivation(judge, PlanSettings(budget=160, seeds=2)).derive(partial(make, "max_pressure"))  # type: ignore[arg-type]
    searches = [search["for"] for search in derived.record["searches"]]
    assert len(derived.record["times_of_day"]) > 1
    assert searches[-1] == "the whole day"
    assert judge.runs <= 160
    started = [trial["what"] for trial in derived.record["searches"][-1]["tried"]]
    assert "the network's own greens all day" in started
    check_plans(derived.plans)


def test_a_budget_that_is_too_small_says_what_would_do() -> None:
    with pytest.raises(InputError, match=r"budget of 8 runs is too small for 1 times of day; give 9 or more"):
        derivation(Judge(), PlanSettings(budget=8, times=1)).derive(partial(make, "max_pressure"))  # type: ignore[arg-type]


def test_a_day_plan_is_for_one_day() -> None:
    scenario = dataclasses.replace(load("single"), begin_s=86_000.0, end_s=87_000.0)
    with pytest.raises(InputError, match="past midnight"):
        Derivation(scenario, compile_signals(scenario.network).intersections, Judge(), PlanSettings())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["plan", "fixed_time", "--scenario", "single"], "fixed_time chooses no phases"),
        (["plan", "max_pressure"], "no scenario of its own; give --scenario"),
        (["plan", "max_pressure", "--scenario", "single", "--windows", "0"], "--windows is 0; give at least 1"),
        (["tree", "max_pressure", "--scenario", "single"], "does not say what it thinks of each phase"),
        (["plan", "max_presure", "--scenario", "single"], "Did you mean"),
        (
            ["plan", "max_pressure", "--scenario", "single", "--controller", "D=engine:8000000001"],
            "no signal .D.",
        ),
    ],
)
def test_the_command_says_what_is_wrong(words: list[str], message: str, tmp_path: Path) -> None:
    pytest.importorskip("onnx", reason="onnx is not installed: pip install 'intergreen[export]'")
    import export

    with pytest.raises(InputError, match=message):
        export.main([*words, "--out", str(tmp_path / "out.json")])
    assert not (tmp_path / "out.json").exists()


@pytest.mark.slow
def test_the_command_exports_plans_and_a_tree_that_evaluate_takes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import evaluate
    import export

    run = str(Path(__file__).parents[1] / "examples" / "single-detectors")
    words = ["plan", run, "--end", "900", "--out", str(tmp_path), "--workers", "2"]
    words += ["--windows", "1", "--budget", "30", "--seeds", "2"]
    public = new_key(tmp_path / "key")
    words += ["--key", str(tmp_path / "key"), "--controller", "engine:800004b604", "--serial", "7"]
    assert export.main(words) == 0
    tree = ["tree", run, "--end", "900", "--out", str(tmp_path / "tree.json"), "--workers", "2", "--rounds", "2"]
    assert export.main([*tree, "--tolerance", "0.5"]) == 0
    assert {path.name for path in tmp_path.iterdir()} >= {PLANS, PROGRAMS, UTDF, PAGE, "tree.json", "tree.txt"}
    sealed = read_sealed_plans(tmp_path / "controllers" / "C", public)
    assert (sealed.manifest.serial, sealed.manifest.controller) == (7, Identity("800004b604", None))
    stored = json.loads((tmp_path / PLANS).read_text())
    assert stored["judged"]["seeds"] == [10_001, 10_002]
    capsys.readouterr()
    named = [str(tmp_path / PROGRAMS), str(tmp_path / "tree.json")]
    words = ["--scenario", "single", "--end", "900", "--seeds", "10001", "10002", "--json", "--workers", "2"]
    assert evaluate.main([*words, "--controllers", *named]) == 0
    means = {row["controller"]: row["delay_s"]["mean"] for row in json.loads(capsys.readouterr().out)["controllers"]}
    assert means[named[0]] == pytest.approx(np.mean(stored["judged"]["delay_s"]["plan"]))
    refused = ["tree", run, "--end", "600", "--out", str(tmp_path / "none.json"), "--leaves", "2", "--rounds", "1"]
    assert export.main([*refused, "--tolerance", "0"]) == 1
    assert not (tmp_path / "none.json").exists()
    assert "above the limit, +0%" in capsys.readouterr().err


def test_a_bootstrap_interval_holds_the_mean() -> None:
    low, high = interval([10.0, 12.0, 14.0])
    assert 10.0 <= low < 12.0 < high <= 14.0
    assert interval([3.0]) == (3.0, 3.0)


def test_plans_are_derived_against_sumo_and_written(tmp_path: Path) -> None:
    scenario = load("single", end_s=400.0)
    judge = partial(delays, workers=2)
    items = compile_signals(scenario.network).intersections
    settings = PlanSettings(budget=7, times=1, seeds=1)
    derived = Derivation(scenario, items, judge, settings).derive(partial(make, "max_pressure"))  # type: ignore[arg-type]
    by_id = {item.tls_id: item for item in items}
    public, site = new_key(tmp_path / "key"), Identity(None, "ab" * 32)
    seal = Seal(tmp_path / "key", 7, *validity(datetime.now(UTC), 30), {"C": site}, scenario, "0" * 64)
    delay_s = {"plan": [30.0, 32.0], "policy": [29.0, 33.0]}
    files = write_plans(tmp_path, derived, scenario, by_id, delay_s, [1, 2], {}, plan_seal(seal, ["C"], tmp_path))
    assert sorted(path.name for path in files) == sorted([PLANS, PROGRAMS, UTDF, PAGE, "C"])
    assert read_plans(tmp_path / PLANS) == derived.plans
    sealed = read_sealed_plans(tmp_path / "controllers" / "C", public)
    assert (sealed.manifest.serial, sealed.manifest.controller) == (7, site)
    assert (sealed.plans, sealed.day) == (derived.plans.signals[0], derived.plans.day)
    (tmp_path / "other" / "controllers" / "C").mkdir(parents=True)
    (tmp_path / "other" / "controllers" / "C" / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="no plan"):  # before a search that takes hours
        plan_seal(seal, ["C"], tmp_path / "other")
    stored = json.loads((tmp_path / PLANS).read_text())
    assert stored["derivation"]["runs"] <= 7
    xml = (tmp_path / PROGRAMS).read_text()
    run_all(Evaluation(scenario, [Contestant("plan", lambda: GivenPrograms(xml))], [10_001], keep=tmp_path / "sumo"))
    assert not check(scenario.net_file, tmp_path / "sumo/plan/seed-10001/tls_states.xml")
    page = (tmp_path / PAGE).read_text()
    assert "| plan | 31.0 [" in page
    assert "| policy | 31.0 [" in page


@pytest.mark.slow
@pytest.mark.parametrize("name", ["arterial", "cologne3"])
def test_networks_get_plans_that_are_no_worse_than_their_own_greens(name: str) -> None:
    scenario = load(name)
    scenario = dataclasses.replace(scenario, end_s=scenario.begin_s + 1200.0)
    items = compile_signals(scenario.network).intersections
    judge = partial(delays, workers=2)
    settings = PlanSettings(budget=60, times=1, seeds=2)
    derived = Derivation(scenario, items, judge, settings).derive(partial(make, "max_pressure"))  # type: ignore[arg-type]
    tried = derived.record["searches"][0]["tried"]
    (won,) = (trial for trial in tried if trial["won"])
    own = next(trial for trial in tried if trial["what"].startswith("the network's own"))
    shared = set(own["delay_s"]) & set(won["delay_s"])
    assert np.mean([won["delay_s"][s] for s in shared]) <= np.mean([own["delay_s"][s] for s in shared]) + 1e-9
    assert len(derived.plans.signals) == len(items)
    assert len({signal.patterns[0].cycle_s for signal in derived.plans.signals}) == 1

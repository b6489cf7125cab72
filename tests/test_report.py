"""The report: what it says, that it is whole and alone, and that a browser shows every part of it."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

import evaluate
import train
from agents.network import PhaseScorer
from agents.run import POLICY, load_controller, load_ensemble, save_tensors, write_settings
from envs.sumo.setup import make_setup
from evaluation.report.content import ReportContent
from evaluation.report.tables import delay_table
from evaluation.report.verdict import cautions, verdict
from evaluation.results.signals import level_of_service
from evaluation.results.summary import summarise
from evaluation.runs import RunResult
from evaluation.statistics import Interval
from evaluation.stress import StressCurve
from plumbing.errors import InputError
from scenarios.loading import load
from signals.observations import PhaseObservation
from signals.snapshot import Snapshot

FIGURES = ("delay", "distribution", "queue", "cumulative", "time-space", "phases", "purdue", "learning")


def untrained_run(folder: Path, seed: int = 0, agent: str = "dqn") -> Path:
    """A run directory with random weights, as if training had only begun."""
    torch.manual_seed(seed)
    weights = PhaseScorer(PhaseObservation.shape_for(1, 1), 16).state_dict()
    words = ["--scenario", "cologne1", "--agent", agent, "--steps", "300", "--seed", str(seed), "--out", str(folder)]
    job = dataclasses.asdict(train._job(train.parser().parse_args(words)))
    settings = {"agent": agent, "agent_settings": {**job["agent_settings"], "units": 16}, "sensing": "full"}
    job["agent_settings"] = settings["agent_settings"]
    folder.mkdir(parents=True)
    write_settings(folder, {**settings, "job": job, "scenario": {"name": "cologne1"}})
    save_tensors(folder / POLICY, {"scorer": dict(weights)})
    pl.DataFrame({"steps": [100.0, 200.0, 300.0], "delay_s": [90.0, 60.0, 40.0]}).write_csv(folder / "validation.csv")
    return folder


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a short evaluation on three signals."""
    folder = tmp_path_factory.mktemp("report")
    assert evaluate.main(words_for(untrained_run(folder / "a-policy"), folder / "out")) == 0
    return folder / "out"


def words_for(run: Path, out: Path) -> list[str]:
    words = ["--scenario", "cologne3", "--end", "25500", "--controllers", "fixed_time", "greedy", str(run)]
    return [*words, "--seeds", "2", "--workers", "1", "--out", str(out)]


@pytest.mark.wide
def test_a_matplotlibrc_where_it_is_started_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "matplotlibrc").write_text("text.usetex: True\naxes.facecolor: red\n")
    words = ["--scenario", "tee", "--end", "120", "--controllers", "greedy", "--seeds", "1", "--workers", "1"]
    command = [sys.executable, str(Path(evaluate.__file__)), *words, "--out", "out"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "#ff0000" not in (tmp_path / "out" / "report.html").read_text()
    (tmp_path / "matplotlibrc").write_bytes(b"\xff\xfe")
    checkout = str(Path(evaluate.__file__).parent)
    drawing = f"import sys; sys.path.insert(0, {checkout!r}); import evaluation.report.page"
    again = subprocess.run([sys.executable, "-c", drawing], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr


def test_the_page_is_whole_alone_and_small(written: Path) -> None:
    page = (written / "report.html").read_text()
    assert len(page.encode()) < 3_000_000
    assert page.endswith("</html>")
    assert not re.search(
        r"""(src|href)=["']?(https?:)?//|url\(["']?http|@import|<script|<link[^>]*stylesheet""", page
    )
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids)), "an id is there twice"
    for name in FIGURES:
        assert f'<figure id="fig-{name}"' in page
    for wanted in (
        "a-policy was trained on cologne1",
        "2 seeds can show no difference",
        "--seeds 2",
        "python train.py",
    ):
        assert wanted in page
    signals = pl.read_csv(written / "signals.csv")
    assert signals.select("controller", "tls_id").unique().height == 9
    assert pl.read_parquet(written / "movements.parquet")["delay_max_s"].min() >= 0  # type: ignore[operator]


@pytest.mark.wide
def test_the_same_results_give_the_same_page(written: Path) -> None:
    before = (written / "report.html").read_bytes()
    settings = (written / "settings.json").read_bytes()
    assert evaluate.main(words_for(written.parent / "a-policy", written)) == 0
    assert (written / "settings.json").read_bytes() == settings
    assert (written / "report.html").read_bytes() == before


@pytest.mark.wide
def test_a_browser_shows_every_part(written: Path, browser: Any) -> None:
    said: list[str] = []
    for width in (1280, 390):
        page = browser.new_page(viewport={"width": width, "height": 844})
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda r: said.append(r.url) if not r.url.startswith(("file:", "data:")) else None)
        page.goto(f"file://{written / 'report.html'}")
        assert "On cologne3 (recorded demand, 2 seeds)" in page.locator("#verdict").inner_text()
        assert page.locator("#table-delay tbody tr, #delay tbody tr").count() == 3
        for name in FIGURES:
            drawing = page.locator(f"#fig-{name} svg")
            box = drawing.bounding_box()
            assert box is not None
            assert box["width"] > 300, f"{name} is narrow"
            assert box["height"] > 80, f"{name} is flat"
            assert drawing.locator("path").count() > 10, f"{name} is empty"
        # nothing makes the page itself scroll sideways, not even a gridlock at a signal that is named as a cluster
        page.evaluate("document.querySelector('#cautions li').append(' GS_cluster' + '_254486231'.repeat(9))")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.locator("#commands").inner_text().count("python ") == 2
    assert said == []


def results_of(name: str, delays: list[float], gridlocked: int = 0) -> list[RunResult]:
    from evaluation.metrics import METRICS, RunMetrics

    found = []
    for seed, delay_s in enumerate(delays):
        values: dict[str, Any] = dict.fromkeys(METRICS, 1.0)
        values |= {"delay_s": delay_s, "gridlocked": seed < gridlocked}
        values |= {"gridlock_at": "nowhere" if seed < gridlocked else "", "gridlock_since_s": 60.0 + seed}
        values["gridlock_circle"] = 0
        found.append(RunResult(name, seed, RunMetrics(**values), pl.DataFrame()))
    return found


def content_of(results: list[RunResult], agents: list[str], **timing: Any) -> ReportContent:
    names = list(dict.fromkeys(run.controller for run in results))
    seeds = sorted({run.seed for run in results})
    settings = {"seeds": seeds, "timing": {"change_interval": "calculated", **timing}}
    summary = summarise(results, [name for name in names if name not in agents])
    paths = {name: Path(name) for name in agents}
    return ReportContent(
        load("cologne1"), summary, results, settings, {name: name for name in names}, paths,
        dict.fromkeys(agents, "cologne1"), pl.DataFrame(), pl.DataFrame(),
    )  # fmt: skip


BASE = [30.0, 31.0, 32.0, 33.0, 34.0, 35.0, 36.0, 37.0]


def test_the_verdict_says_better_worse_or_no_difference() -> None:
    better = content_of(results_of("mine", [d - 3 - d / 50 for d in BASE]) + results_of("greedy", BASE), ["mine"])
    assert "11 % less than greedy, the best of the baselines" in verdict(better)
    assert "less delay on 8 of 8 seeds, p\u00a0=\u00a00.008" in verdict(better)
    worse = content_of(results_of("mine", [d + 3 + d / 50 for d in BASE]) + results_of("greedy", BASE), ["mine"])
    assert "11 % more than greedy" in verdict(worse)
    mixed = [d + (2 if n % 2 else -2) for n, d in enumerate(BASE)]
    same = content_of(results_of("mine", mixed) + results_of("greedy", BASE), ["mine"])
    assert "no clear difference was found between mine" in verdict(same)
    assert "less delay on 4 of 8 seeds, p\u00a0=\u00a01.000" in verdict(same)


def test_the_verdict_without_agents_and_alone() -> None:
    two = content_of(results_of("greedy", BASE) + results_of("sotl", [d + 5 for d in BASE]), [])
    assert "greedy loses 33.5 s per vehicle" in verdict(two)
    assert "13 % less than sotl, the next best" in verdict(two)
    assert "nothing was compared" in verdict(content_of(results_of("greedy", BASE), []))


def test_who_is_no_baseline_is_not_called_one() -> None:
    two = content_of(results_of("mine", BASE) + results_of("other", [d - 5 for d in BASE]), ["mine", "other"])
    assert "15 % less than mine, the first named" in verdict(two)
    assert "Reference: mine, the first named." in delay_table(two).note
    three = results_of("greedy", BASE) + results_of("mcts", [d - 9 for d in BASE]) + results_of("sotl", BASE)
    content = dataclasses.replace(content_of(three, []), summary=summarise(three, ["greedy", "sotl"]))
    assert "and sotl, the next best" in verdict(content)
    alone = dataclasses.replace(content_of(three[:16], []), summary=summarise(three[:16], ["greedy"]))
    assert "more than mcts, which knows the future" in verdict(alone)


def test_one_run_has_no_interval() -> None:
    one = content_of(results_of("greedy", BASE[:1]) + results_of("sotl", BASE[1:2]), [])
    assert ">30.0<" in delay_table(one).html
    assert "30.0 [" in delay_table(content_of(results_of("greedy", [30.0, 30.0]), [])).html


def test_what_weakens_the_verdict_is_said() -> None:
    few = content_of(results_of("mine", BASE[:5]) + results_of("fixed_time", BASE[:5], gridlocked=2), ["mine"])
    said = " ".join(cautions(few))
    assert "5 seeds can show no difference at the 5 % level" in said
    assert "needs at least 6" in said
    assert "Gridlock: fixed_time in 2 of 5 runs." in said
    assert "junction nowhere, which no signal controls: fixed_time, seed 0 from 60 s on, seed 1 from 61 s on." in said
    assert "fixed_time runs in SUMO, with the programs' own change intervals" in said
    assert "some runs of fixed_time ended in gridlock" in verdict(few)


def test_a_run_too_short_for_gridlock_says_so() -> None:
    whole = content_of(results_of("greedy", BASE), [])
    short = dataclasses.replace(whole, scenario=load("cologne1", end_s=25500))
    said = "A run of 300 s is too short to tell gridlock: that takes 300 s."
    assert said in cautions(short)
    assert not any("too short" in caution for caution in cautions(whole))


def test_failing_under_stress_is_said_beside_the_verdict() -> None:
    plain = content_of(results_of("mine", [d - 3 for d in BASE]) + results_of("greedy", BASE), ["mine"])
    means = {"mine": [Interval(m, m, m) for m in (20.0, 30.0, 200.0)]}
    means["greedy"] = [Interval(m, m, m) for m in (25.0, 33.0, 60.0)]
    jams = {"mine": [1, 0, 2], "greedy": [0, 0, 0]}
    curve = StressCurve("demand", "More and less traffic", "share", [0.8, 1.0, 1.4], means, jams, 3)
    said = " ".join(cautions(dataclasses.replace(plain, stress=[curve])))
    assert "Under stress (share): mine ended runs in gridlock at 0.8, 1.4; " in said
    assert "mine has more delay than greedy at 1.4." in said


def test_level_of_service_is_hcms() -> None:
    limits = [
        (0, "A"),
        (10, "A"),
        (10.1, "B"),
        (20.1, "C"),
        (35, "C"),
        (35.1, "D"),
        (55.1, "E"),
        (80, "E"),
        (81, "F"),
    ]
    for delay_s, letter in limits:
        assert level_of_service(delay_s) == letter
    assert level_of_service(float("nan")) == "–"


def test_an_ensemble_decides_by_its_members_mean(tmp_path: Path) -> None:
    runs = [untrained_run(tmp_path / name, seed) for seed, name in enumerate(("one", "two"))]
    setup = make_setup(load("cologne3"))
    snapshot = Snapshot.empty(setup.layout)
    snapshot.lanes[:] = np.random.default_rng(1).uniform(0, 9, snapshot.lanes.shape)
    snapshot.mask[:] = setup.layout.phase_exists
    members, ensemble = [load_controller(run) for run in runs], load_ensemble(runs)
    for each in (*members, ensemble):
        each.reset(setup.plan.intersections, setup.layout, 0)
    one, two = (member.scores(snapshot) for member in members)
    assert ensemble.scores(snapshot) == pytest.approx((one + two) / 2)
    assert not np.allclose(one, two)
    probable = [untrained_run(tmp_path / f"ppo-{name}", seed, "ppo") for seed, name in enumerate(("one", "two"))]
    mean = load_ensemble(probable)
    mean.reset(setup.plan.intersections, setup.layout, 0)
    scores = np.where(snapshot.mask, mean.scores(snapshot), 0.0)
    assert scores.sum(axis=1) == pytest.approx(np.ones(3))
    expected = [np.where(snapshot.mask, np.exp(x), 0.0) for x in (one, two)]
    assert scores == pytest.approx(sum(x / x.sum(axis=1, keepdims=True) for x in expected) / 2)
    with pytest.raises(InputError, match="differ in agent"):
        load_ensemble([runs[0], probable[0]])


@pytest.mark.wide
def test_an_ensemble_is_judged_under_both_names(tmp_path: Path) -> None:
    runs = [untrained_run(tmp_path / name, seed) for seed, name in enumerate(("one", "two"))]
    name = "+".join(map(str, runs))
    words = ["--scenario", "cologne1", "--end", "25260", "--controllers", name, str(runs[0]), "--seeds", "1"]
    assert evaluate.main([*words, "--out", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "runs" / "one+two" / "seed-10001" / "run.json").is_file()
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.count("python train.py") == 3

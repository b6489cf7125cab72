"""What means hide: who was never served, and what SUMO says against a program."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import polars as pl
import pytest
from rich.console import Console

from controllers.programs import GivenPrograms, ProgramControl
from envs.sumo.simulation import EpisodeSummary
from evaluation.findings import Findings, Unserved, find_unserved, find_warnings
from evaluation.results.findings import MOST_LINKS, MOST_SIGNALS, unserved_lines, warning_lines
from evaluation.results.summary import summarise
from evaluation.results.terminal import as_table
from evaluation.runs import Contestant, Evaluation, RunResult, finished_runs, run_all
from scenarios.loading import load
from signals.network import Program
from tests.test_report import content_of, results_of

CASE = Path(__file__).parent / "data" / "cases" / "webster_next"


def given(*states: str) -> GivenPrograms:
    rows = "".join(f'<phase duration="30" state="{state}"/>' for state in states)
    return GivenPrograms(f'<additional><tlLogic id="X" type="static" programID="p">{rows}</tlLogic></additional>')


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory: pytest.TempPathFactory) -> Evaluation:
    """The network's own program; one that keeps walkers waiting; one without yellow that never serves a lane."""
    contestants = [
        Contestant("fixed_time", ProgramControl),
        Contestant("no walk", lambda: given("GGr", "yyr", "rrr")),
        Contestant("half", lambda: given("GrG", "Grr")),
    ]
    scenario = load(CASE / "my.net.xml", routes=[CASE / "my.rou.xml"], end_s=500)
    return Evaluation(scenario, contestants, [5], store=tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def results(evaluation: Evaluation) -> Sequence[RunResult]:
    return run_all(evaluation, 1)


def test_a_link_that_is_never_green_while_somebody_waits_is_found(results: Sequence[RunResult]) -> None:
    own, no_walk, half = (run.findings.unserved for run in results)
    assert own == ()
    assert no_walk == (Unserved("X", 2, walkers=True),)
    assert half == (Unserved("X", 1, walkers=False),)
    assert [run.metrics.unserved_links for run in results] == [0, 1, 1]
    assert unserved_lines(results) == [
        "never served by no walk: the crossing at link 2 of signal X, though somebody was there (in 1 of 1 runs)",
        "never served by half: link 1 of signal X, though somebody was there (in 1 of 1 runs)",
    ]


def test_who_never_arrives_is_in_the_persons_waiting_and_beside_it(results: Sequence[RunResult]) -> None:
    own, no_walk, _ = (run.metrics for run in results)
    assert own.persons_unfinished == 0
    assert no_walk.persons_unfinished > 10
    assert no_walk.person_waiting_s > 100 > own.person_waiting_s
    console = Console(file=io.StringIO(), width=200)
    console.print(as_table(summarise(results, ["fixed_time"])))
    assert "under way" in console.file.getvalue()  # type: ignore[attr-defined]


def test_what_sumo_says_against_a_program_is_told_once_per_signal(results: Sequence[RunResult]) -> None:
    assert warning_lines(results) == [
        "SUMO warns of signal X under half: missing green phase for tl-index 1",
        "SUMO warns of signal X under no walk: missing green phase for tl-index 2",
    ]


def test_findings_stay_with_a_kept_run(evaluation: Evaluation, results: Sequence[RunResult]) -> None:
    kept = finished_runs(evaluation).runs
    assert [kept[run.controller, 5].findings for run in results] == [run.findings for run in results]


def test_who_crosses_at_red_was_not_served(tmp_path: Path) -> None:
    """SUMO lets walkers go on after a while, so at the end nobody may wait any more."""
    (tmp_path / "crossed.xml").write_text('<meandata><interval><edge id=":X_c0" entered="3"/></interval></meandata>')
    network = load(CASE / "my.net.xml", routes=[CASE / "my.rou.xml"]).network
    red = pl.DataFrame({"time_s": [0.0], "tls_id": ["X"], "state": ["GGr"]})
    ended = EpisodeSummary(vehicles_waiting={("X", 0): 4})
    assert find_unserved(tmp_path, red, ended, network) == (Unserved("X", 2, walkers=True),)
    green = pl.DataFrame({"time_s": [0.0, 60.0], "tls_id": ["X", "X"], "state": ["GGr", "rrG"]})
    assert find_unserved(tmp_path, green, ended, network) == ()


def test_only_the_program_that_runs_is_judged(tmp_path: Path) -> None:
    log = tmp_path / "messages.txt"
    log.write_text(
        "Warning: Missing yellow phase in tlLogic 'A', program 'old' for tl-index 0 when switching to phase 1.\n"
        "Warning: Unsafe green phase 1 in tlLogic 'A', program 'new'. Lane 'a_0' is targeted by 2 'G'-links.\n"
        "Warning: Missing green phase in tlLogic 'A', program 'new' for tl-index 3.\n"
        "Warning: Vehicle 'v' performs emergency braking\n"
        "Warning: Missing green phase in tlLogic 'B', program 'old' for tl-index 1.\n"
    )
    programs = {name: Program(name, which, "static", 0.0, ()) for name, which in (("A", "new"), ("B", "new"))}
    assert find_warnings(log, programs, ["A"]) == (
        ("A", "unsafe green phase 1. Lane 'a_0' is targeted by 2 'G'-links (and 1 more)"),
        ("B", "missing green phase for tl-index 1"),
    )
    assert find_warnings(tmp_path / "none", programs, []) == ()


def test_the_report_names_who_was_left_out_and_many_are_counted() -> None:
    from evaluation.report.verdict import cautions, verdict

    links = tuple(Unserved("J", n, walkers=False) for n in range(MOST_LINKS + 2))
    said = tuple((f"J{n}", "missing yellow phase") for n in range(MOST_SIGNALS + 3))
    bad = [
        RunResult("bad", r.seed, r.metrics, r.vehicles, None, Findings(links, said)) for r in results_of("bad", [1.0])
    ]
    content = content_of([*bad, *results_of("good", [2.0])], [])
    assert f"bad never served {len(links)} links" in verdict(content)
    text = "\n".join(cautions(content))
    assert "Never served by bad: links 0, 1, 2, 3, 4, 5, 6, 7 of signal J and 2 more links, though" in text
    assert "SUMO warns of signal J0 under bad: missing yellow phase." in text
    assert "SUMO warns of 3 more programs." in text

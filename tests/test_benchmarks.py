"""The benchmarks' own parts: the same traffic again, tables and verdicts; and one small run of each command."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from benchmarks import allocator, handover, native_parts, planner, processes, resets, soak, speed, training, workers
from benchmarks.children import HaltedProgram
from benchmarks.course import as_programs, trips_hash
from benchmarks.peer_vec_env import own_actions, padded
from benchmarks.systems import System, Window
from benchmarks.tables import Sample, against, cost, flatness, growth_plot, markdown, rows_of, summary
from plumbing.errors import InputError
from scenarios.loading import load
from tests.compiled import needs_library

STATES = """<tlsStates>
  <tlsState time="10.00" id="a" programID="x" phase="0" state="Gr"/>
  <tlsState time="10.00" id="b" programID="x" phase="0" state="rG"/>
  <tlsState time="11.00" id="a" programID="x" phase="0" state="Gr"/>
  <tlsState time="11.00" id="b" programID="x" phase="0" state="ry"/>
</tlsStates>"""


def test_recorded_states_become_a_program(tmp_path: Path) -> None:
    (tmp_path / "states.xml").write_text(STATES)
    text = as_programs(tmp_path / "states.xml", {"a", "b"}, begin_s=10.0)
    assert '<tlLogic id="a" type="static" programID="recorded" offset="10">\n<phase duration="2" state="Gr"/>' in text
    assert '<phase duration="1" state="rG"/>\n<phase duration="1" state="ry"/>' in text


def test_trips_are_compared_without_the_heading(tmp_path: Path) -> None:
    for name, text in (("a", "<!-- monday -->\n<t/>"), ("b", "<!-- tuesday\n -->\n<t/>"), ("c", "<!-- -->\n<u/>")):
        (tmp_path / name).write_text(text)
    assert trips_hash(tmp_path / "a") == trips_hash(tmp_path / "b") != trips_hash(tmp_path / "c")


def test_ratios_are_taken_turn_by_turn() -> None:
    bare = [Sample(0, 1.0), Sample(1, 2.0), Sample(2, 4.0)]
    assert against([Sample(0, 1.5), Sample(2, 8.0)], bare) == [1.5, 2.0]
    assert cost([Sample(0, 1.5), Sample(1, 2.5)], bare, agent_decisions=1000) == {
        "us_per_decision_and_signal": 500.0,
        "us_low": 500.0,
        "us_high": 500.0,
    }


def measured(
    scenario: str = "grid:5x5", signals: int = 25, us: float = 10.0, windows: Sequence[Window] = ()
) -> list[dict[str, Any]]:
    """Rows of invented samples."""
    course: Any = SimpleNamespace(
        scenario=SimpleNamespace(name=scenario),
        tls_ids=["s"] * signals,
        controlled_lanes=8 * signals,
        decisions=100,
        agent_decisions=100 * signals,
        memory={"template_pss_mb": 90.0, "episode_pss_mb": 50.0},
    )
    systems = [
        System("bare", lambda: 0.0),
        System("bare-prepared", lambda: 0.0),
        System("sumo", lambda: 0.0),
        System("sumo-start", lambda: 0.0),
        System("ours", lambda: 0.0),
        System("ours-batch-1", lambda: 0.0),
        System("ours-batch-2", lambda: 0.0, workers=2),
        System("bare-of-sumo-rl", lambda: 0.0, "bare-of-sumo-rl"),
        System("sumo-rl-traci", lambda: 0.0, "bare-of-sumo-rl", slow=True, same_traffic=lambda: False),
    ]
    seconds = (1.0, 0.9, 1.2, 0.1, 1.1, 1.0, 0.5, 2.0, 40.0)
    samples = {
        s.name: [Sample(turn, (turn + 1) * t) for turn in range(3)] for s, t in zip(systems, seconds, strict=True)
    }
    samples["sumo-rl-traci"] = samples["sumo-rl-traci"][:1]
    own = [{"total": 1.0 + us * 1e-6 * course.agent_decisions, "sumo": 1.0}] * 3
    return rows_of(course, systems, samples, own, {"ours": windows})


def test_what_was_interleaved_is_compared_by_their_sums() -> None:
    row = next(
        row for row in measured(windows=[Window(1.0, 1.0, 2.0), Window(4.0, 3.0, 3.0)]) if row["system"] == "ours"
    )
    assert (row["ratio_to_bare"], row["low"], row["high"]) == (1.25, 1.0, round(4 / 3, 3))
    assert (row["ratio_to_binary"], row["ratio_to_binary_low"]) == (1.0, 0.5)
    assert row["repeats"] == 2, "windows, not turns"
    assert "| 1.00–1.33 (95 %) |" in markdown([row])


def test_a_halted_program_stands_still() -> None:
    with HaltedProgram(["sleep", "0.5"]) as program:
        program.go_on(0.01)
        time.sleep(0.6)
        assert program.go_on(None) > 0.0, "it had not ended while it was to stand still"
        assert program.go_on(None) == 0.0, "it runs once"
    # it may have ended before it was halted
    with pytest.raises(RuntimeError, match="false ended with 1"), HaltedProgram(["false"]) as program:
        program.go_on(None)


def test_rows_and_table() -> None:
    rows = measured()
    of = {row["system"]: row for row in rows}
    assert of["ours"]["ratio_to_bare"] == 1.1
    assert of["ours"]["ratio_to_binary"] == round(1.1 / 1.2, 3)
    assert of["ours"]["ratio_to_binary_started"] == 1.0
    assert of["sumo-rl-traci"]["ratio_to_bare"] == 20.0, "against bare libsumo on its own traffic"
    assert of["ours-batch-2"]["times_one_worker"] == 2.0
    assert of["ours-inside"]["us_per_decision_and_signal"] == pytest.approx(10.0)
    table = markdown(rows).splitlines()
    assert len({line.count("|") for line in table}) == 1
    assert any("sumo-rl-traci (other traffic)" in line for line in table)
    assert "sumo-rl-traci 18.18 × ours" in summary(rows)
    assert "ours-batch-2 2.00 [2.00–2.00] × one worker" in summary(rows)


@pytest.mark.parametrize(("large_us", "verdict"), [(11.0, ": flat"), (16.0, ": not flat")])
def test_flatness(large_us: float, verdict: str) -> None:
    rows = measured() + measured("grid:30x30", 900, large_us) + measured("cologne1", 1, 400.0)
    assert verdict in flatness(rows)
    assert flatness(measured()) == "", "one size shows nothing"


def test_the_plot_is_the_same_for_the_same_figures(tmp_path: Path) -> None:
    rows = measured() + measured("grid:10x10", 100)
    for name in ("a.svg", "b.svg"):
        growth_plot(rows, tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--systems", "sumo-rl-tracy"], "sumo-rl-traci"),
        (["--repeats", "0"], "at least 1"),
        (["--windows", "-1"], "at least 0"),
        (["--decisions", "1"], "at least 2"),
        (["--scenarios", "cologne9"], "cologne"),
    ],
)
def test_bad_arguments(arguments: list[str], said: str) -> None:
    with pytest.raises(InputError, match=said):
        speed.main(arguments)


@pytest.mark.slow
def test_a_small_run(capsys: pytest.CaptureFixture[str]) -> None:
    systems = ["ours", "ours-gymnasium", "ours-batch-2", "sumo-rl-libsumo-no-info"]
    size = ["--repeats", "1", "--decisions", "12", "--windows", "2"]
    status = speed.main(["--scenarios", "cologne1", "--systems", *systems, *size, "--json"])
    rows = {row["system"]: row for row in json.loads(capsys.readouterr().out)["rows"]}
    assert status == 0
    assert {*rows} >= {"bare", "ours", "ours-gymnasium", "ours-batch-2", "sumo-rl-libsumo-no-info", "ours-inside"}
    assert all(row["same_traffic"] and math.isfinite(row["ratio_to_bare"]) for row in rows.values())
    assert rows["ours"]["controlled_lanes"] == 8
    assert rows["ours"]["repeats"] == rows["ours-gymnasium"]["repeats"] == 2, "interleaved windows"
    assert rows["ours-batch-2"]["repeats"] == 1
    assert np.isclose(rows["bare"]["ratio_to_bare"], 1.0)


def test_unlike_signals_of_sumo_rl_fit_one_batch() -> None:
    rows = {"b": np.array([1.0, 2.0]), "a": np.array([3.0, 4.0, 5.0])}
    assert padded(rows, ["a", "b"], 3).tolist() == [[3, 4, 5], [1, 2, 0]]
    assert own_actions(np.array([3, 3]), ["a", "b"], np.array([4, 2])) == {"a": 3, "b": 1}


def test_training_rows() -> None:
    def runs(*seconds: float, **spent: float) -> list[dict[str, Any]]:
        rest = {"steps": 1000, "updates": 90}
        return [{**rest, "seconds": s, "spent": {k: v * s for k, v in spent.items()}} for s in seconds]

    answers = {
        "ours-1": runs(1.0, 2.0, environment=0.5, gradient=0.3),
        "sb3-sumo-rl": runs(4.0, 6.0, environment=0.8, gradient=0.1, sumo=0.2),
    }
    rows = training.rows_of("cologne3", 3, "dqn", answers, {"total": 2.0, "sumo": 1.5})
    of = {row["system"]: row for row in rows}
    assert of["ours-1"]["steps_per_s"] == 750
    assert (of["ours-1"]["ratio_to_sumo_rl"], of["ours-1"]["ratio_to_sumo_rl_high"]) == (3.5, 4.0)
    assert of["ours-1"]["shares"] == {"gradient": 0.3, "rollout": 0.2, "sumo": 0.375, "env": 0.125}
    assert of["sb3-sumo-rl"]["shares"] == {"gradient": 0.1, "rollout": 0.1, "sumo": 0.2, "env": 0.6}
    for text in (training.table(rows), training.profile_table(rows)):
        assert len({line.count("|") for line in text.splitlines() if "|" in line}) == 1


@pytest.mark.parametrize(
    ("series", "memory", "growing"),
    [
        ([100 + n % 3 for n in range(100)], True, False),
        ([100 + 0.2 * n for n in range(100)], True, True),
        ([50.0] * 20 + [60.0] * 80, True, False),  # warming up
        ([5000 + 0.02 * n for n in range(100)], True, False),
        ([12.0] * 100, False, False),
        ([12 + n // 40 for n in range(100)], False, True),
    ],
)
def test_what_counts_as_growing(series: list[float], memory: bool, growing: bool) -> None:
    assert soak.growth(series, memory=memory)[2] is growing


def test_the_soak_says_what_grows_and_what_is_left_behind() -> None:
    rows: list[soak.Row] = [
        {"phase": "resets", "done": n, "seconds": n, "env_private_mb": 100.0, "open_files": n} for n in range(40)
    ]
    judged = soak.verdicts(rows)
    assert {row["quantity"]: row["verdict"] for row in judged} == {"env_private_mb": "flat", "open_files": "growing"}
    said = soak.report(judged, soak.leftovers({"open_files": 3, **ZERO}, {"open_files": 5, **ZERO}))
    assert "growing: open_files (resets); left behind after closing: open_files +2." in said
    assert "too few samples" in soak.report(soak.verdicts(rows[:4]), {})


ZERO = dict.fromkeys(("processes", "threads", "shared_memory_files", "semaphores"), 0)


def test_a_days_demand_is_the_windows_repeated() -> None:
    scenario = load("single")
    text = soak.repeated(scenario, 3)
    departures = [float(found) for found in re.findall(r'depart="([\d.]+)"', text)]
    ids = re.findall(r'<(?:vehicle|person) id="([^"]+)"', text)
    assert departures == sorted(departures)
    assert len(departures) == len(set(ids)) == 3 * sum(scenario.demand_counts())
    assert text.count("<vType") == 2


def test_differing_resets_are_seen() -> None:
    same = resets.row_of("single", {"single": ["a", "a"], "vectorised": ["a", "a"]})
    other = resets.row_of("tee", {"single": ["a", "a"], "vectorised": ["a", "b"]})
    assert resets.row_of("tee", {"ray": ["a", "a"], "single": ["a.t", "a.t"]})["identical"], "Ray's has no trips"
    assert not resets.row_of("tee", {"ray": ["a", "b"], "single": ["a.t", "a.t"]})["identical"]
    assert not resets.row_of("tee", {"ray": ["a", "a"], "single": ["a.t", "a.u"]})["identical"]
    assert (same["identical"], other["identical"]) == (True, False)
    assert "| tee | `a` | 2 of 2 | 1 of 2 | **no** | – |" in resets.table([same, other])
    assert resets.row_of("single", {"single": ["a", "a", "a"]}, [300.0, 50.0, 52.0])["reset_ms"] == 52.0


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        (training, ["--agents", "dqm"]),
        (training, ["--repeats", "0"]),
        (handover, ["--think", "-1"]),
        (planner, ["--decisions", "0"]),
        (allocator, ["--turns", "0"]),
        (native_parts, ["--decisions", "20"]),
        (native_parts, ["--repeats", "0"]),
        (workers, ["--windows", "0"]),
        (resets, ["--modes", "rey"]),
        (resets, ["--resets", "0"]),
        (soak, ["--resets", "-1"]),
    ],
)
def test_bad_arguments_of_the_others(command: Any, arguments: list[str]) -> None:
    with pytest.raises(InputError):
        command.main(arguments)


@pytest.mark.slow
@pytest.mark.parametrize(
    "sides", [["ours-1"], pytest.param(["ours-1", "sb3-sumo-rl"], marks=pytest.mark.slow)], ids=["ours", "mimalloc"]
)
def test_a_small_training(sides: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    size = ["--scenarios", "cologne3", "--agents", "ppo", "--steps", "48", "--repeats", "1"]
    size += ["--change-interval", "fixed"]
    assert training.main([*size, "--sides", *sides, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [row["system"] for row in rows] == sides
    assert all(row["steps"] == 48 and row["updates"] > 0 and row["shares"]["gradient"] > 0 for row in rows)


@pytest.mark.slow
def test_small_resets(capsys: pytest.CaptureFixture[str]) -> None:
    assert resets.main(["--scenarios", "single", "--resets", "2", "--decisions", "8"]) == 0
    assert "| 2 of 2 | 2 of 2 | 2 of 2 | yes |" in capsys.readouterr().out


@pytest.mark.slow
def test_a_small_soak(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "SHARED_MEMORY", tmp_path / "none")  # other programs' files come and go there
    status = soak.main(["--resets", "12", "--samples", "12", "--days", "0.0417", "--out", str(tmp_path)])
    lines = (tmp_path / "soak.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["phase", *["resets"] * 12, "days"]
    assert "left behind after closing: nothing" in (tmp_path / "soak.md").read_text()
    assert status == 0


@needs_library
def test_what_the_planner_takes(capsys: pytest.CaptureFixture[str]) -> None:
    assert planner.main(["--scenario", "cologne3", "--decisions", "10", "--json"]) == 0
    ways = json.loads(capsys.readouterr().out)["ways"]
    assert list(ways) == ["compiled", "Python"]
    assert all(took_ms > 0.0 for row in ways.values() for took_ms in row.values())


@needs_library
def test_what_a_decision_takes_beside_the_workers_own_time(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--scenario", "single", "--decisions", "20", "--turns", "1", "--think", "0", "5", "--json"]
    assert handover.main(arguments) == 0
    rows = json.loads(capsys.readouterr().out)["thoughts"]
    assert [row["think_ms"] for row in rows] == [0.0, 5.0]
    assert all(row["beside_us"] > 0 and row["worker_us"] > 0 and 0 < row["share"] < 1 for row in rows)


@pytest.mark.slow
@needs_library
def test_each_compiled_part_is_left_out_by_turns(capsys: pytest.CaptureFixture[str]) -> None:
    assert native_parts.main(["--scenarios", "single", "--decisions", "33", "--repeats", "2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["single"]
    assert list(found) == ["all", "without step", "without look", "without observe", "none"]
    assert found["all"]["ratio"] == found["all"]["low"] == found["all"]["high"] == 1.0
    assert all(0.0 < row["low"] <= row["ratio"] <= row["high"] for row in found.values())


def test_of_each_decision_the_least_time_counts_and_of_tens_the_median() -> None:
    """Twenty decisions of a warm-up, then thirty; what one repeat of a ten was disturbed by is not seen."""
    calm = np.repeat([5.0, 1.0, 2.0, 4.0], [20, 10, 10, 10])
    disturbed = calm + np.repeat([0.0, 9.0, 0.0], [25, 10, 15])
    other = calm * np.repeat([9.0, 1.5, 1.0, 2.0], [20, 10, 10, 10])
    found = native_parts.ratios({"all": np.array([disturbed, calm]), "none": np.array([other, other + 1.0])})
    assert found["all"]["ratio"] == 1.0
    assert found["none"] == {"ratio": 1.5, "low": 1.0, "high": 2.0, "ms": 2000.0}


def test_the_least_time_of_each_decision_counts() -> None:
    taken = {"as it comes": np.array([[1.0, 4.0], [3.0, 2.0]]), "mimalloc": np.array([[2.0, 2.0], [1.0, 0.5]])}
    assert allocator.shares(taken) == {"as it comes": 1.0, "mimalloc": 0.5}


@pytest.mark.wide
def test_sumo_as_it_comes_and_with_mimalloc_by_turns(capsys: pytest.CaptureFixture[str]) -> None:
    assert allocator.main(["--scenarios", "single", "--decisions", "3", "--turns", "1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["single"]
    assert list(found) == list(allocator.VARIANTS)
    assert found["as it comes"] == 1.0
    assert all(share > 0.0 for share in found.values())


@pytest.mark.slow
def test_two_workers_beside_one_by_turns(capsys: pytest.CaptureFixture[str]) -> None:
    assert workers.main(["--scenarios", "single", "--decisions", "13", "--windows", "1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["single"]
    assert list(found) == ["workers", "bare"]
    assert all(row["low"] == row["ratio"] == row["high"] > 0.0 for row in found.values())  # one window has no spread


def test_of_two_workers_each_lap_counts_for_itself() -> None:
    """One takes 1 s for ten decisions; two take 1 and 3 s, which is what 0.75 s each would be."""
    taken: list[int] = []

    def two(actions: np.ndarray) -> list[float]:
        taken.append(len(actions))
        return [1.0, 3.0]

    course: Any = SimpleNamespace(actions=np.zeros((26, 1), np.int64))
    assert workers.by_turns(lambda actions: [1.0], two, course) == (3.0, 2.25)
    assert taken == [10, 10, 5]

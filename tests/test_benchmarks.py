"""The benchmarks' own parts: the same traffic again, tables and verdicts; and one small run of each command."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from benchmarks import speed
from benchmarks.course import as_programs, trips_hash
from benchmarks.systems import System
from benchmarks.tables import Sample, against, cost, flatness, growth_plot, markdown, rows_of, summary
from signals.errors import InputError

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


def measured(scenario: str = "grid:5x5", signals: int = 25, us: float = 10.0) -> list[dict[str, Any]]:
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
        System("bare-preloaded", lambda: 0.0),
        System("sumo", lambda: 0.0),
        System("ours", lambda: 0.0),
        System("ours-batch-1", lambda: 0.0),
        System("ours-batch-2", lambda: 0.0, workers=2),
        System("bare-of-sumo-rl", lambda: 0.0, "bare-of-sumo-rl"),
        System("sumo-rl-traci", lambda: 0.0, "bare-of-sumo-rl", slow=True, same_traffic=lambda: False),
    ]
    seconds = (1.0, 0.9, 1.2, 1.1, 1.0, 0.5, 2.0, 40.0)
    samples = {
        s.name: [Sample(turn, (turn + 1) * t) for turn in range(3)] for s, t in zip(systems, seconds, strict=True)
    }
    samples["sumo-rl-traci"] = samples["sumo-rl-traci"][:1]
    own = [{"total": 1.0 + us * 1e-6 * course.agent_decisions, "sumo": 1.0, "read": 0.0}] * 3
    return rows_of(course, systems, samples, own)


def test_rows_and_table() -> None:
    rows = measured()
    of = {row["system"]: row for row in rows}
    assert of["ours"]["ratio_to_bare"] == 1.1
    assert of["ours"]["ratio_to_binary"] == round(1.1 / 1.2, 3)
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
    pytest.importorskip("matplotlib", reason="the plot needs the extra `bench`")
    rows = measured() + measured("grid:10x10", 100)
    for name in ("a.svg", "b.svg"):
        growth_plot(rows, tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--systems", "sumo-rl-tracy"], "sumo-rl-traci"),
        (["--repeats", "0"], "at least 1"),
        (["--decisions", "1"], "at least 2"),
        (["--scenarios", "cologne9"], "cologne"),
    ],
)
def test_bad_arguments(arguments: list[str], said: str) -> None:
    with pytest.raises(InputError, match=said):
        speed.main(arguments)


def test_a_small_run(capsys: pytest.CaptureFixture[str]) -> None:
    status = speed.main(
        "--scenarios cologne1 --systems ours ours-gymnasium ours-batch-2 sumo-rl-libsumo-no-info "
        "--repeats 1 --decisions 6 --json".split()
    )
    rows = {row["system"]: row for row in json.loads(capsys.readouterr().out)["rows"]}
    assert status == 0
    assert {*rows} >= {"bare", "ours", "ours-gymnasium", "ours-batch-2", "sumo-rl-libsumo-no-info", "ours-inside"}
    assert all(row["same_traffic"] and math.isfinite(row["ratio_to_bare"]) for row in rows.values())
    assert rows["ours"]["controlled_lanes"] == 8
    assert np.isclose(rows["bare"]["ratio_to_bare"], 1.0)

"""Stress: other demand, a breakdown, failing detectors; what is changed is really changed, and nothing else is."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import polars as pl
import pytest

import evaluate
from controllers.heuristics import Greedy
from controllers.registry import make
from envs.sumo.outputs import INCIDENT_ID
from evaluation import incident
from evaluation.details.corridor import planned_flows
from evaluation.incident import find_incident, with_incident
from evaluation.runs import Contestant, Evaluation, run_all
from evaluation.stress import (
    LATENCY_S,
    applicable_kinds,
    check_kinds,
    curves_of,
    plan_stress,
    run_level,
    stress_json,
    stress_table,
)
from plumbing.errors import InputError
from scenarios.loading import load
from scenarios.scenario import Scenario
from scenarios.xmlfile import top_level


def departures(scenario: Scenario) -> dict[str, float]:
    elements = (e for path in scenario.route_files for e in top_level(path, "route file"))
    return {e.get("id", ""): float(e.get("depart", "0")) for e in elements if e.tag in ("vehicle", "trip")}


def test_scaled_demand_is_the_recorded_one_thinned_or_thickened() -> None:
    recorded = departures(load("cologne1"))
    less, little = (
        departures(load("cologne1", demand="scaled:0.8")),
        departures(load("cologne1", demand="scaled:0.6")),
    )
    more, much = departures(load("cologne1", demand="scaled:1.2")), departures(load("cologne1", demand="scaled:1.4"))
    assert set(little) < set(less) < set(recorded) < set(more) < set(much)
    for some, factor in ((little, 0.6), (less, 0.8), (more, 1.2), (much, 1.4)):
        assert len(some) == pytest.approx(factor * len(recorded), rel=0.04)
        for name in set(some) & set(recorded):
            assert some[name] == pytest.approx(recorded[name], abs=0.01)
    doubles = {name: depart_s for name, depart_s in much.items() if name not in recorded}
    shifts = [depart_s - recorded[name.rpartition("#")[0]] for name, depart_s in doubles.items()]
    assert np.std(shifts) == pytest.approx(60, rel=0.15)
    assert load("cologne1", demand="scaled:1").demand_counts() == load("cologne1").demand_counts()


@pytest.mark.parametrize(
    ("demand", "message"),
    [
        ("scaled:0", "above 0"),
        ("scaled:2.5", "at most 2"),
        ("scaled:x", "scaled:FACTOR"),
        ("scaled", "unknown demand"),
    ],
)
def test_a_wrong_factor_is_refused(demand: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load("cologne1", demand=demand)


@pytest.mark.wide
@pytest.mark.parametrize("name", ["single", "cologne3", "ingolstadt7", "grid4x4"])
def test_an_incident_follows_from_the_seed(name: str) -> None:
    scenario = load(name)
    first = find_incident(scenario, 1, 300.0)
    assert first == find_incident(scenario, 1, 300.0)
    assert len({find_incident(scenario, seed, 300.0) for seed in range(8)}) > 4
    lane = scenario.network.lanes[first.lane]
    assert lane.vehicles
    assert 0 < first.at_m < lane.length_m
    assert scenario.begin_s < first.from_s < scenario.begin_s + scenario.horizon_s / 2


class Watching(Greedy):
    """Greedy by detectors, so that their faults matter."""

    sensing = "detectors"

    def decide(self, snapshot: Any) -> Any:
        from controllers.base import choose

        return choose(
            self.layout.phase_streams.sum(snapshot.arrivals_veh + snapshot.occupied[self.layout.stream_lane]),
            snapshot,
        )


@pytest.mark.wide
def test_a_breakdown_costs_time_and_is_in_no_metric() -> None:
    plain = load("cologne3", end_s=27000)
    contestant = Contestant("fixed_time", lambda: make("fixed_time"))
    costs_s = []
    for before in run_all(Evaluation(plain, [contestant], [7])):
        hard = with_incident(plain, before.seed, 1200.0)
        (after,) = run_all(Evaluation(hard, [contestant], [before.seed]))
        assert after.vehicles.height == before.vehicles.height
        assert not after.vehicles["vehicle_id"].str.starts_with(INCIDENT_ID).any()
        assert not after.vehicles["removed"].any()
        costs_s.append(after.metrics.delay_s - before.metrics.delay_s)
    assert costs_s[0] > 2.0


@pytest.mark.wide
@pytest.mark.parametrize("controller", ["random", pytest.param("fixed_time", marks=pytest.mark.slow)])
def test_a_lane_is_blocked_at_the_same_time_whoever_controls(controller: str, tmp_path: Path) -> None:
    """On a road so full that nobody would let the car in: until then nothing is changed, and then nobody passes."""
    plain = load("single", demand="scaled:2", end_s=760)
    hard, found = with_incident(plain, 7, 240.0), find_incident(plain, 7, 240.0)
    until_s = found.from_s + 240
    undisturbed: list[list[str]] = []
    seen: list[dict[float, dict[str, tuple[str, float]]]] = []
    for number, scenario in enumerate((plain, hard)):
        path = tmp_path / f"fcd-{number}.xml"
        written = dataclasses.replace(
            scenario, options=(*scenario.options, ("fcd-output", str(path)), ("fcd-output.attributes", "lane,pos"))
        )
        (run,) = run_all(Evaluation(written, [Contestant(controller, lambda: make(controller))], [7]))
        assert not run.vehicles["removed"].any()
        text = path.read_text()
        first, last = (text.index(f'<timestep time="{time_s:.2f}"') for time_s in (0, found.from_s - 1))
        lines = [line.strip().replace("/>", ">") for line in text[first:last].splitlines()]
        undisturbed.append([line for line in lines if INCIDENT_ID not in line and line != "</timestep>"])
        seen.append(
            {
                float(step.attrib["time"]): {
                    of["id"]: (of["lane"], float(of["pos"])) for of in (each.attrib for each in step.iter("vehicle"))
                }
                for step in ElementTree.fromstring(f"<fcd-export>{text[last:]}")
            }
        )
    assert undisturbed[0] == undisturbed[1]
    assert len(undisturbed[0]) > 10_000
    before, after = seen
    car = {time_s: step.pop(INCIDENT_ID) for time_s, step in after.items() if INCIDENT_ID in step}
    at_m = pytest.approx(found.at_m, abs=0.1)
    assert all(car[t] == (found.lane, at_m) for t in np.arange(found.from_s, until_s))
    assert car.get(until_s + 30) != (found.lane, at_m)
    assert after[found.from_s - 1] == before[found.from_s - 1]

    def passing(steps: dict[float, dict[str, tuple[str, float]]], begin_s: float, end_s: float) -> int:
        """Who comes from behind the car's place to before it, on its lane."""
        at = [(steps[t - 1].get(v), now) for t in np.arange(begin_s, end_s) for v, now in steps[t].items()]
        lanes = [(was[1], now[1]) for was, now in at if was is not None and was[0] == now[0] == found.lane]
        return sum(was < found.at_m <= now for was, now in lanes)

    standing = [pos for lane, pos in after[found.from_s - 1].values() if lane == found.lane and pos > found.at_m - 20]
    assert standing, "the place is free: the road is not full enough to show anything"
    assert passing(before, found.from_s + 5, until_s) > 5
    assert passing(after, found.from_s + 5, until_s) == 0


@pytest.mark.wide
def test_levels_and_curves() -> None:
    contestants = [Contestant("greedy", lambda: make("greedy")), Contestant("loops", Watching)]
    main = Evaluation(load("cologne1", end_s=25400), contestants, [5, 6])
    results = run_all(main)
    levels = [x for x in plan_stress(main, ["demand", "detectors"], 1) if x.level in (1.4, 40, 4)]
    assert [(x.disturbance.kind, x.level) for x in levels] == [
        ("demand", 1.4), ("dropout", 40), ("stuck-on", 40), ("latency", 4),
    ]  # fmt: skip
    assert [x.size for x in levels] == [2, 1, 1, 1]  # only who uses detectors feels their faults
    done: list[Any] = []
    curves = curves_of(results, levels, [run_level(level, 1, done.append) for level in levels])
    assert len(done) == 5
    demand, dropout, _, latency = curves
    assert list(demand.levels) == [1.0, 1.4]
    assert demand.runs == 1
    undisturbed = next(r for r in results if r.controller == "greedy" and r.seed == 5)
    assert demand.delay_s["greedy"][0].mean == undisturbed.metrics.delay_s
    assert demand.delay_s["greedy"][1].mean > demand.delay_s["greedy"][0].mean
    assert list(dropout.delay_s) == ["loops"]
    assert len({curve.delay_s["loops"][1].mean for curve in curves}) == 4
    assert list(latency.levels) == [0, 4]
    table = stress_table(curves)
    assert table.height == 2 * 2 + 3 * 2
    assert stress_json(curves)[0]["levels"][0]["controllers"][0]["controller"] == "greedy"


def test_latency_beyond_a_decision_is_left_out() -> None:
    evaluation = Evaluation(load("cologne1", end_s=25400), [Contestant("loops", Watching)], [5])
    quick = dataclasses.replace(evaluation, timing=type(evaluation.timing)(decision_interval_s=2.0))
    assert [x.level for x in plan_stress(evaluation, ["detectors"], 1) if x.disturbance.kind == "latency"] == [
        *LATENCY_S
    ]
    assert [x.level for x in plan_stress(quick, ["detectors"], 1) if x.disturbance.kind == "latency"] == [1, 2]


@pytest.mark.parametrize(
    ("kinds", "message"),
    [(["demnad"], "Did you mean 'demand'"), (["detectors"], "no controller here uses detectors")],
)
def test_stress_that_cannot_be_shown(kinds: list[str], message: str) -> None:
    evaluation = Evaluation(load("cologne1", end_s=25400), [Contestant("greedy", lambda: make("greedy"))], [5])
    with pytest.raises(InputError, match=message):
        check_kinds(kinds, evaluation)


def test_all_is_what_can_be_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    greedy, loops = Contestant("greedy", lambda: make("greedy")), Contestant("loops", Watching)
    recorded = Evaluation(load("cologne1", end_s=25400), [greedy], [5])
    assert applicable_kinds(recorded) == ["demand", "held-out", "incident"]
    other = Evaluation(load("cologne1", end_s=25400, demand="scaled:0.9"), [loops], [5])
    assert applicable_kinds(other) == ["incident", "detectors"]
    monkeypatch.setattr(incident, "LEAST_LANE_M", 1e6)
    assert applicable_kinds(other) == ["detectors"]


def test_busy_is_who_is_busy_in_the_window() -> None:
    whole, part = (load("cologne1", begin_s=begin_s, end_s=28800) for begin_s in (None, 28500))
    planned, few = planned_flows(whole), planned_flows(part)
    assert 0 < sum(few.values()) < 0.2 * sum(planned.values())
    assert set(few) <= set(planned)


@pytest.mark.wide
def test_the_command_writes_curves(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--scenario", "cologne1", "--end", "25320", "--controllers", "greedy", "--seeds", "1"]
    words += ["--stress", "incident", "--out", str(tmp_path)]
    assert evaluate.main(words) == 0
    assert "blocks a lane" in capsys.readouterr().out
    table = pl.read_parquet(tmp_path / "stress.parquet")
    assert table["level"].to_list() == [0, 5, 10, 20]
    assert '<figure id="fig-stress-incident"' in (tmp_path / "report.html").read_text()
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.glob("stress/*/*/*/run.json")}
    assert len(kept) == 3
    assert evaluate.main(words) == 0  # nothing is run again
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    without = [word for word in words if word not in ("--stress", "incident")]
    assert evaluate.main(without) == 0
    assert not list(tmp_path.glob("stress.*")), "a table of another evaluation"

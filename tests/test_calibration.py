"""A scenario that is made of counts has these counts when it is simulated."""

from __future__ import annotations

import datetime
import json
import math
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from demand.__main__ import main
from demand.calibration.constraints import constraints_of
from demand.calibration.counted import (
    CountedDay,
    chosen_dates,
    counted_day,
    local_table,
    mean_day,
    time_of_day_s,
    whole_counts,
)
from demand.calibration.fit import fit_of, geh, share_ok
from demand.calibration.places import Place, Roads
from demand.counts.store import CountsFolder
from plumbing.errors import InputError
from scenarios.loading import load
from tests.counted import BEGIN_S, DAY, INTERVAL_S, counts_folder, counts_of

APPROACH = {"N_in": "SB", "E_in": "WB", "S_in": "NB", "W_in": "EB"}


def calibrate(*words: object) -> int:
    return main(["calibrate", *map(str, words)])


# -- a simulation's counts come back --------------------


def test_turning_counts_are_recovered_exactly(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On tee, counted by movement and found by compass; the scenario is as any other afterwards."""
    scenario = load("tee", end_s=1800)
    roads = Roads(scenario.network)
    places = [Place(f"{APPROACH[e]}{roads.kinds[e, to]}", e, (), (to,)) for e, of in roads.turns.items() for to in of]
    counted = counts_of(scenario, places, tmp_path / "sim")
    rows = [
        {"detector": p.detector, "kind": "movement", "approach": p.detector[:2], "movement": p.detector[2:]}
        for p in places
    ]
    folder = counts_folder(tmp_path / "counts", counted, rows)
    words = (folder, "--scenario", scenario.net_file, "--from", "07:00", "--to", "07:30", "--out", tmp_path / "out")
    assert calibrate(*words, "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert result["goal_met"]
    assert result["share_geh_below_5"] == 1.0
    assert max(hour["geh"] for hour in result["hours"]) < 1.5

    routes = ElementTree.parse(tmp_path / "out" / f"day-{DAY}.rou.xml").getroot()
    turned = Counter(tuple(route.get("edges", "").split()) for route in routes.iter("route"))
    assert turned == {(p.edge, *p.to_edges): sum(counted[p.detector]) for p in places}

    made = load(tmp_path / "out" / f"day-{DAY}.sumocfg")
    assert (made.begin_s, made.end_s) == (BEGIN_S, BEGIN_S + 1800)
    assert made.description == f"tee, calibrated to counts of {DAY}"
    assert "test.csv" in made.source
    assert made.demand_counts() == (sum(turned.values()), 0)
    assert "GEH is below 5 for 100.0%" in (tmp_path / "out" / "report.html").read_text()


@pytest.mark.wide
def test_lanes_found_by_compass_count_what_they_counted(tmp_path: Path) -> None:
    """On single, a loop at the stop line of each lane: through traffic spreads over its lanes as counted."""
    scenario = load("single")
    roads = Roads(scenario.network)
    places = [
        Place(f"{APPROACH[edge]} {n}", edge, (lane,))
        for edge in roads.approaches["C"]
        for n, lane in enumerate(roads.edges[edge])
    ]
    counted = counts_of(scenario, places, tmp_path / "sim")
    rows = [
        {"detector": p.detector, "kind": "detector", "approach": p.detector[:2], "lane": int(p.detector[-1])}
        for p in places
    ]
    folder = counts_folder(tmp_path / "counts", counted, rows)
    words = (folder, "--scenario", scenario.net_file, "--from", "07:00", "--to", "08:00", "--out", tmp_path / "out")
    assert calibrate(*words) == 0
    result = json.loads((tmp_path / "out" / "calibration.json").read_text())
    assert result["share_geh_below_5"] == 1.0
    assert {d["detector"]: d["counted_vph"] for d in result["detectors"]} == {n: sum(r) for n, r in counted.items()}
    assert not result["missing"]


@pytest.mark.wide
def test_a_goal_that_is_missed_is_said_and_no_failure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Three thousand vehicles an hour do not pass one lane at a signal."""
    folder = counts_folder(tmp_path / "counts", {"S": [750.0]}, [{"detector": "S", "approach": "NB"}])
    net = load("tee").net_file
    words = (folder, "--scenario", net, "--from", "07:00", "--to", "07:15", "--out", tmp_path / "out")
    assert calibrate(*words) == 0
    said = capsys.readouterr()
    assert "warning: the goal is missed: GEH is below 5 for 0.0% of the hourly counts, not for 95%" in said.err
    assert "never found room to enter" in said.err
    assert "the goal is missed" in (tmp_path / "out" / "report.html").read_text()


# -- counts of a day --------------------


def test_days_and_windows_are_those_of_the_clock_on_the_wall(tmp_path: Path) -> None:
    friday = DAY - datetime.timedelta(days=3)
    folder = CountsFolder(counts_folder(tmp_path / "counts", {"a": [4.0, None, 8.0, 1.0]}, days=[friday, DAY]))
    table = local_table(folder, ["a"])
    assert chosen_dates(table, [], ["mon"]) == [DAY]
    assert chosen_dates(table, [f"{friday}..{DAY}"]) == [friday, DAY]
    day = counted_day(table, DAY, BEGIN_S, BEGIN_S + 2 * 3600, INTERVAL_S)
    np.testing.assert_array_equal(day.counts["a"], [4, math.nan, 8, 1, *[math.nan] * 4])
    (tmp_path / "b").mkdir()
    wrong = CountsFolder(counts_folder(tmp_path / "b" / "counts", {"a": [-4.0, 2.0]}))
    day = counted_day(local_table(wrong, ["a"]), DAY, BEGIN_S, BEGIN_S + 1800, INTERVAL_S)
    np.testing.assert_array_equal(day.counts["a"], [math.nan, 2])
    assert mean_day(table, [friday, DAY], BEGIN_S, BEGIN_S + 3600, INTERVAL_S).counts["a"][2] == 8.0
    with pytest.raises(InputError, match=r"have nothing of 2024-07-01; they go from 2024-05-03 to 2024-05-06"):
        chosen_dates(table, ["2024-07-01"])


def test_an_hour_that_comes_twice_is_one_of_the_mean(tmp_path: Path) -> None:
    """When summer time ends, two to three o'clock comes twice."""
    autumn = datetime.date(2024, 10, 27)
    folder = counts_folder(tmp_path / "counts", {"a": [10.0]}, days=[autumn], begin_s=0)
    store = CountsFolder(folder)
    both = pl.DataFrame(
        {
            "detector": ["a", "a"],
            "time": [datetime.datetime(2024, 10, 27, hour, tzinfo=datetime.UTC) for hour in (0, 1)],
            "count": [10.0, 20.0],
        }
    ).with_columns(pl.col("time").dt.cast_time_unit("us"), occupancy=pl.lit(None, pl.Float64))
    both.with_columns(speed_mps=pl.lit(None, pl.Float64)).write_parquet(folder / "part-0000.parquet")
    day = counted_day(local_table(store, ["a"]), autumn, 7200, 8100, INTERVAL_S)
    assert day.counts["a"].tolist() == [15.0]


@given(st.lists(st.one_of(st.just(math.nan), st.floats(0, 500)), min_size=1, max_size=40))
def test_whole_counts_keep_their_sums(row: list[float]) -> None:
    found = whole_counts(np.array(row))
    assert np.array_equal(np.isnan(found), np.isnan(row))
    assert np.nanmin(found, initial=0) >= 0
    differences = np.nancumsum(found) - np.nancumsum(row)
    assert np.abs(differences).max() <= 0.5 + 1e-6


def test_times_of_day_are_read() -> None:
    assert [time_of_day_s(text) for text in ("00:00", "7:30", "24:00")] == [0, 27_000, 86_400]
    for text in ("24:15", "7", "07:60", "noon"):
        with pytest.raises(InputError, match="no time of day"):
            time_of_day_s(text)


# -- what counts say of routes --------------------


def day_of(**counts: float) -> CountedDay:
    return CountedDay("d", 0, 900, 900, {name: np.array([value]) for name, value in counts.items()})


def test_lanes_become_turns_where_they_lead_to_one_edge_and_edges_where_all_are_counted() -> None:
    roads = Roads(load("single").network)
    places = [Place(name, "W_in", (f"W_in_{n}",)) for n, name in enumerate(("right", "through", "left"), 1)]
    found = constraints_of(roads, places, day_of(right=30, through=40, left=20))
    assert found.edges["W_in"].tolist() == [90]
    assert {turn: row.tolist() for turn, row in found.turns.items()} == {("W_in", "N_out"): [20]}
    assert not found.notes, "what leads right and on is the rest"


def test_what_is_assumed_is_noted() -> None:
    roads = Roads(load("single").network)
    right = Place("right", "W_in", ("W_in_1",))  # right and through share it, and through has another lane
    found = constraints_of(roads, [right], day_of(right=30))
    assert found.turns["W_in", "E_out"].tolist() == found.turns["W_in", "S_out"].tolist() == [30]
    assert "1 of the 2 lanes to E_out and S_out are counted; the others are taken to carry as much" in found.notes[0]
    assert "counted together" in found.notes[1]


def test_movements_that_are_counted_together_make_the_edge() -> None:
    roads = Roads(load("tee").network)
    found = constraints_of(roads, [Place("LR", "S_in", (), ("E_out", "W_out"))], day_of(LR=7))
    assert found.edges["S_in"].tolist() == [7]
    assert not found.turns


# -- how well it fits --------------------


def test_geh_is_as_defined() -> None:
    assert geh(0, 0) == 0
    assert geh(120, 100) == pytest.approx(math.sqrt(2 * 20**2 / 220))
    assert geh(500, 400) == geh(400, 500)


def test_hours_are_compared_as_hourly_flows_and_unknown_intervals_left_out() -> None:
    counted = np.array([25.0, 25.0, math.nan, 25.0, 50.0, 50.0])
    day = CountedDay("d", BEGIN_S, BEGIN_S + 6 * 900, 900, {"a": counted, "b": np.full(6, math.nan)})
    fit = fit_of(day, {"a": np.array([25.0, 28.0, 99.0, 25.0, 100.0, 100.0]), "b": np.zeros(6)})
    assert [(hour.begin, hour.counted_vph, hour.simulated_vph) for hour in fit.hours] == [
        ("07:00", 100.0, 104.0), ("08:00", 200.0, 400.0),
    ]  # fmt: skip
    assert share_ok([fit]) == 0.5
    assert fit.rmse_veh == {"a": pytest.approx(math.sqrt((3**2 + 50**2 + 50**2) / 5))}


# -- bad input --------------------


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--day", "2024-07-01"), "have nothing of 2024-07-01; they go from 2024-05-06 to 2024-05-06"),
        (("--day", "May"), "'May' is no date"),
        (("--weekday", "sun"), "none of the chosen days is a sun"),
        (("--weekday", "monday"), "'monday' is neither mean nor one of mon"),
        (("--from", "12:00"), "nothing was counted on day 2024-05-06 from 12:00 to 24:00"),
        (("--from", "07:10"), "the counts come every 15 minutes"),
        (("--from", "09:00", "--to", "08:00"), "--to is not after --from"),
        (("--from", "late"), "'late' is no time of day"),
        (("--seed", "-1"), "--seed is -1"),
        (("--places", "missing.csv"), "missing.csv cannot be read"),
    ],
)
def test_what_cannot_be_calibrated_is_one_clear_line(tmp_path: Path, words: tuple[str, ...], complaint: str) -> None:
    folder = counts_folder(tmp_path / "counts", {"a": [4.0]}, [{"detector": "a", "approach": "NB"}])
    with pytest.raises(InputError, match=complaint) as caught:
        calibrate(folder, "--scenario", "tee", "--out", tmp_path / "out", *words)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.glob("out/*"))


def test_counts_for_another_network_are_refused(tmp_path: Path) -> None:
    folder = counts_folder(tmp_path / "counts", {"1": [4.0], "2": [5.0]})
    with pytest.raises(InputError, match=r"none of the 2 detectors .* has a place in .*tee\.net\.xml .*--places"):
        calibrate(folder, "--scenario", "tee", "--out", tmp_path / "out")


def test_a_network_without_signals_is_refused(tmp_path: Path) -> None:
    text = load("tee").net_file.read_text()
    net = tmp_path / "plain.net.xml"
    root = ElementTree.fromstring(text)
    for element in list(root):
        if element.tag == "tlLogic":
            root.remove(element)
        elif element.tag == "connection":
            element.attrib.pop("tl", None), element.attrib.pop("linkIndex", None)
    net.write_bytes(ElementTree.tostring(root))
    folder = counts_folder(tmp_path / "counts", {"a": [4.0]}, [{"detector": "a", "approach": "NB"}])
    with pytest.raises(InputError, match="has no traffic signals"):
        calibrate(folder, "--scenario", net, "--out", tmp_path / "out")


def test_what_is_no_calibration_is_not_overwritten(tmp_path: Path) -> None:
    folder = counts_folder(tmp_path / "counts", {"a": [4.0]}, [{"detector": "a", "approach": "NB"}])
    out = tmp_path / "thesis"
    out.mkdir()
    (out / "chapter.tex").write_text("years of work")
    with pytest.raises(InputError, match=r"something else than a calibration, 'chapter\.tex'"):
        calibrate(folder, "--scenario", "tee", "--out", out)
    assert (out / "chapter.tex").read_text() == "years of work"

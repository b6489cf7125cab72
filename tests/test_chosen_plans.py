"""Signal plans for counted flows: known delays, switches that keep every yellow, and nothing of the future."""

from __future__ import annotations

import dataclasses
import datetime
import itertools
import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import evaluate
from benchmarks.use_of_counts import CLOCK, FIXED, OWN, compared
from demand.__main__ import main
from demand.calibration.places import Place, Roads
from demand.counts.series import read_series
from demand.counts.store import CountsFolder
from demand.forecast.runtime import Forecaster
from demand.plans.additional import Switch, additional_xml, switches
from demand.plans.choice import Plan, make_plans, plan_delays
from demand.plans.days import Window, counted_vph, date_numbers, forecast_vph, usual_vph
from demand.plans.delay import control_delay_s
from demand.plans.lanes import LaneFlows, TimedSignal, lane_flows, timed_signals
from demand.plans.splits import Rates, best_cycle_s, best_greens, delays
from evaluation.monitor.__main__ import main as monitor
from plumbing.errors import InputError
from scenarios.loading import load
from tests.counted import DAY, INTERVAL_S, ZONE, counts_folder

RATES = Rates(1800.0, 900.0)
SIGNAL = "C"


@pytest.fixture(scope="module")
def single() -> tuple[TimedSignal, tuple[str, ...]]:
    """The signal of `single`, and its counted lanes: all of them."""
    roads = Roads(load("single").network)
    lanes = tuple(lane for edge in roads.approaches[SIGNAL] for lane in roads.edges[edge])
    (signal,) = timed_signals(roads.network, lanes)
    return signal, lanes


# -- delay and greens --------------------


def test_the_delay_is_that_of_the_manual() -> None:
    """Half of the capacity of half a minute of green: 10 s of uniform delay, and 2 s since arrivals are random."""
    found = control_delay_s(np.array([450.0]), np.array([30.0]), 60.0, 1800.0, 900.0)
    assert found[0] == pytest.approx(10.0 + 225.0 * (-0.5 + (0.25 + 2.0 / 225.0) ** 0.5))
    empty = control_delay_s(np.array([0.0]), np.array([30.0]), 60.0, 1800.0, 900.0)
    assert empty[0] == pytest.approx(7.5)


@given(st.floats(1, 2500), st.integers(5, 50), st.integers(1, 9))
def test_more_green_never_delays_and_more_traffic_never_helps(flow: float, green: int, more: int) -> None:
    def delay(vph: float, green_s: float) -> float:
        return float(control_delay_s(np.array([vph]), np.array([green_s]), 60.0, 1800.0, 900.0)[0])

    assert delay(flow, green + more) <= delay(flow, green) + 1e-9
    assert delay(flow + 10.0 * more, green) >= delay(flow, green) - 1e-9


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_no_other_greens_of_the_cycle_delay_less(seed: int, single: tuple[TimedSignal, tuple[str, ...]]) -> None:
    signal, lanes = single
    flows = np.random.default_rng(seed).uniform(20, 500, (2, len(lanes)))
    spare = 8
    cycle_s = signal.kept_s + sum(signal.least_s) + spare
    found = best_greens(signal, flows, cycle_s, RATES)
    assert sum(found) == cycle_s - signal.kept_s
    every = [
        np.add(signal.least_s, extra)
        for extra in itertools.product(range(spare + 1), repeat=len(signal.greens))
        if sum(extra) == spare
    ]
    least = min(float(delays(signal, list(of), flows, RATES).sum()) for of in every)
    assert float(delays(signal, found, flows, RATES).sum()) == pytest.approx(least)


def test_heavier_flows_get_a_longer_cycle(single: tuple[TimedSignal, tuple[str, ...]]) -> None:
    signal, lanes = single
    low, high = (best_cycle_s(signal, np.full((1, len(lanes)), vph), RATES) for vph in (50.0, 300.0))
    assert low < high


@pytest.mark.wide
def test_each_group_of_flows_gets_the_plan_that_is_best_for_it(single: tuple[TimedSignal, tuple[str, ...]]) -> None:
    """Two patterns, north-south and east-west: each is chosen the plan made of its like."""
    signal, lanes = single
    heavy = np.array([lane.startswith(("N", "S")) for lane in lanes])
    patterns = np.where([heavy, ~heavy], 350.0, 60.0) * np.array([[1.0], [1.01]])
    flows = np.repeat(patterns, 20, axis=0) * np.random.default_rng(0).uniform(0.95, 1.05, (40, 1))
    plans = make_plans([signal], flows, 2, RATES, 90.0)
    assert [plan.intervals for plan in plans] == [20, 20]
    chosen = plan_delays([signal], plans, flows, RATES).argmin(axis=1)
    assert chosen.tolist() == [0] * 20 + [1] * 20
    assert len(make_plans([signal], flows[:1].repeat(5, axis=0), 3, RATES, 90.0)) == 1


# -- lanes --------------------


def test_detectors_over_several_lanes_and_lanes_with_several_detectors() -> None:
    flows = LaneFlows(("a", "b"), ("l0", "l1"), np.array([[0.5, 1.0], [0.5, 0.0]]))
    assert flows.of(np.array([8.0, 6.0])).tolist() == [5.0, 4.0]
    known = flows.of(np.array([[np.nan, 6.0], [8.0, np.nan]]))
    assert np.array_equal(known, [[6.0, np.nan], [4.0, 4.0]], equal_nan=True)


def test_a_movement_is_counted_on_all_of_its_lanes() -> None:
    roads = Roads(load("single").network)
    edge = roads.approaches[SIGNAL][0]
    to, lanes = next(iter(roads.turns[edge].items()))
    found = lane_flows(roads, [Place("m", edge, (), (to,))], ["m", "elsewhere"])
    assert found.lanes == lanes
    assert found.of(np.array([12.0, 99.0])).tolist() == [12.0 / len(lanes)] * len(lanes)


def test_a_network_without_counted_signals_is_refused() -> None:
    with pytest.raises(InputError, match=r"no signal of .* has two greens to divide between counted lanes"):
        timed_signals(load("single").network, ["nowhere_0"])


# -- switches --------------------


def test_a_switch_waits_for_the_end_of_the_running_cycle() -> None:
    """Plans of 60 and 80 s: the first begins at whole minutes; 8100 s is 33 s after one of the second's."""
    found = switches([60.0, 80.0], 0.0, [7200, 8100, 9000, 9900], [0, 1, 1, 0])
    assert found == [Switch(7200.0, 0, 0.0), Switch(8100.0, 1, 20.0), Switch(9940.0, 0, 40.0)]


@given(
    st.lists(st.integers(30, 180), min_size=1, max_size=4), st.integers(0, 200),
    st.lists(st.integers(0, 3), min_size=1, max_size=12),
)  # fmt: skip
def test_every_switch_ends_one_cycle_and_begins_another(cycles: list[int], own: int, numbers: list[int]) -> None:
    chosen = [n % len(cycles) for n in numbers]
    begins = [25_200 + 900 * n for n in range(len(chosen))]
    found = switches(cycles, own, begins, chosen)
    for before, after in itertools.pairwise(found):
        assert (after.time_s - before.offset_s) % cycles[before.plan] == 0
        assert (after.time_s - after.offset_s) % cycles[after.plan] == 0
        assert before.plan != after.plan
    for begin, plan in zip(begins, chosen, strict=True):
        running = [of.plan for of in found if of.time_s < begin + 180 or of is found[0]][-1]
        assert running == plan


@pytest.mark.wide
def test_sumo_runs_the_switches_with_every_yellow_and_all_red(
    single: tuple[TimedSignal, tuple[str, ...]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two plans of different cycles, three switches, by evaluate.py: the states are the rows of one plan after the
    other, each as long as it should be, and neither SUMO nor the monitor finds anything."""
    signal, _ = single
    plans = [
        Plan(f"p{n}", {SIGNAL: tuple(s + more for s, more in zip(signal.least_s, extra, strict=True))}, 1, 1.0)
        for n, extra in enumerate(([3.0] * len(signal.greens), [10.0] + [17.0] * (len(signal.greens) - 1)))
    ]
    begins, chosen = list(range(0, 800, 200)), [0, 1, 0, 1]
    file = tmp_path / "two.add.xml"
    file.write_text(additional_xml([signal], plans, begins, chosen, "a test"))
    words = (
        "--scenario",
        "single",
        "--end",
        "1500",
        "--seeds",
        "1",
        "--workers",
        "1",
        "--keep-sumo-output",
        "--json",
    )
    assert evaluate.main([*words, "--controllers", str(file), "--out", str(tmp_path / "out")]) == 0
    told = json.loads(capsys.readouterr().out)
    assert "warnings" not in told or not told["warnings"]
    (states,) = (tmp_path / "out" / "sumo").rglob("tls_states.xml")
    assert monitor([str(load("single").net_file), str(states), "--all-signals", "--additional", str(file)]) == 0

    seen = [state.get("state") for state in ElementTree.parse(states).getroot().iter("tlsState")]
    cycles = [float(signal.durations_s(plan.greens_s[SIGNAL]).sum()) for plan in plans]
    shown: list[str] = []
    when = switches(cycles, signal.program.offset_s, begins, chosen)
    for of, until in zip(when, [*(later.time_s for later in when[1:]), 800.0], strict=True):
        durations = signal.durations_s(plans[of.plan].greens_s[SIGNAL])
        rows = [row.state for row, s in zip(signal.program.rows, durations, strict=True) for _ in range(round(s))]
        shown += [rows[round(t - of.offset_s) % len(rows)] for t in range(len(shown), round(until))]
    assert seen[: len(shown)] == shown[: len(seen)]
    assert len(seen) >= 799


# -- what is known when --------------------


@dataclasses.dataclass(frozen=True)
class Town:
    """Counts of `tee`'s movements, their last day calibrated, and a forecast of them."""

    counts: Path
    days: Path
    model: Path


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Town:
    """Sixteen equal days in which every other quarter of an hour has twice the traffic; the last one is calibrated
    from 7:00 to 7:30, and the forecast is that all stays as it was just before."""
    base = tmp_path_factory.mktemp("town")
    roads = Roads(load("tee").network)
    names = {"N_in": "SB", "E_in": "WB", "S_in": "NB", "W_in": "EB"}
    rows = [
        {"detector": f"{names[e]}{roads.kinds[e, to]}", "kind": "movement", "approach": names[e],
         "movement": roads.kinds[e, to]}
        for edges in roads.approaches.values() for e in edges for to in roads.turns[e]
    ]  # fmt: skip
    of = {str(row["detector"]): [20.0, 40.0] * 48 for row in rows}
    days = [DAY - datetime.timedelta(days=n) for n in range(16)]
    counts = counts_folder(base / "counts", of, rows, days=days, begin_s=0)
    about = json.loads((counts / "about.json").read_text())
    about["sources"][0] |= {"name": "16 days, seed 1, by pca", "format": "generated"}
    (counts / "about.json").write_text(json.dumps(about))
    words = ("--scenario", str(load("tee").net_file), "--day", str(DAY), "--from", "07:00", "--to", "07:30")
    assert main(["calibrate", str(counts), *words, "--out", str(base / "days")]) == 0
    method = ("--methods", "last_value", "--seeds", "1", "--minutes", "15", "--test-days", "1")
    method += ("--calibration-days", "1", "--out", str(base / "model"))
    assert main(["forecast", str(counts), *method]) == 0
    return Town(counts, base / "days", base / "model")


@pytest.mark.wide
def test_a_forecast_knows_what_was_counted_before_its_period_and_no_more(town: Town) -> None:
    series = read_series(CountsFolder(town.counts))
    window = Window(7 * 3600, 9 * 3600, INTERVAL_S)
    numbers = date_numbers(series, [DAY])
    found = forecast_vph(series, Forecaster(town.model), numbers, window)
    before = counted_vph(series, numbers, Window(7 * 3600 - 900, 9 * 3600 - 900, INTERVAL_S))
    assert found == pytest.approx(before, abs=1e-3)
    assert counted_vph(series, numbers, window)[0, :, 0].tolist() == [80.0, 160.0] * 4

    later = np.flatnonzero(series.clock.ordinal == series.clock.ordinal[-1])[28:]  # from 7:00 on that day
    values = series.values.copy()
    values[later] = 1000.0
    changed = forecast_vph(dataclasses.replace(series, values=values), Forecaster(town.model), numbers, window)
    assert (changed[0, 0] == found[0, 0]).all()
    assert (changed[0, 1:] != found[0, 1:]).all()


def test_what_was_imputed_informs_no_forecast(town: Town) -> None:
    """It may have been filled in from what came later."""
    series = read_series(CountsFolder(town.counts))
    numbers, window = date_numbers(series, [DAY]), Window(7 * 3600, 7 * 3600 + 900, INTERVAL_S)
    measured, values = series.measured.copy(), series.values.copy()
    just_before = int(np.flatnonzero(series.clock.ordinal == series.clock.ordinal[-1])[27])
    measured[just_before] = False
    forecasts = []
    for value in (0.0, 500.0):
        values[just_before] = value
        other = dataclasses.replace(series, values=values.copy(), measured=measured)
        forecasts.append(forecast_vph(other, Forecaster(town.model), numbers, window))
    assert (forecasts[0] == forecasts[1]).all()


def test_what_is_usual_is_the_mean_of_days_of_the_same_kind() -> None:
    counted = np.array([[1.0], [3.0], [np.nan], [50.0]])
    found = usual_vph(counted, np.array([0, 0, 0, 1]), np.array([0, 1, 2]))
    assert found[:2].tolist() == [[2.0], [50.0]]
    assert found[2].tolist() == [18.0]  # no such day: the mean of all


# -- the command --------------------


def test_scenarios_of_generated_counts_are_made_up(town: Town) -> None:
    scenario = load(town.days / f"day-{DAY}.sumocfg")
    assert "calibrated to generated counts (16 days, seed 1, by pca)" in scenario.made_up
    assert json.loads((town.days / "scenario.json").read_text())["made_up_routes"] == [f"day-{DAY}.rou.xml"]


def test_the_command_writes_schedules_that_say_why(
    town: Town, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """All days are equal, so the clock knows as much as hindsight; the forecast is a quarter of an hour late."""
    words = ("plans", str(town.counts), "--scenario", str(town.days), "--plans", "2", "--out", str(tmp_path / "out"))
    words += ("--forecast", str(town.model))
    assert main([*words, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told == json.loads((tmp_path / "out" / "plans.json").read_text())
    right = ["plan-1", "plan-2"]
    for way, plans in (("clock", right), ("forecast", right[::-1]), ("hindsight", right)):
        assert [period["plan"] for period in told["days"][way][str(DAY)]] == plans
        for period in told["days"][way][str(DAY)]:
            assert period["plan"] == min(period["computed_delay_s"], key=period["computed_delay_s"].get)
    computed = told["computed"]
    assert computed["clock"] == computed["hindsight"]
    assert computed["hindsight"]["delay_s"] <= computed["fixed"]["delay_s"]
    assert computed["hindsight"]["delay_s"] < computed["forecast"]["delay_s"]
    assert computed["forecast"]["as_in_hindsight"] == 0.0
    assert len(told["trained_on"]) == 10  # the fifteen days before the Monday, without two weekends
    root = ElementTree.parse(tmp_path / "out" / f"plans-{DAY}-clock.add.xml").getroot()
    assert [element.tag for element in root] == ["tlLogic", "tlLogic", "WAUT", "wautJunction"]
    assert main([*words]) == 0
    assert "as in hindsight" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--plans", "0"), "--plans is 0; give 1 to 20"),
        (("--saturation-headway", "0"), "--saturation-headway is 0"),
        (("--cycle", "10"), "--cycle is 10; signal"),
        (("--forecast", "nowhere"), "nowhere is no forecast"),
    ],
)
def test_bad_input_is_refused(town: Town, tmp_path: Path, words: tuple[str, ...], says: str) -> None:
    counts, days = town.counts, town.days
    with pytest.raises(InputError, match=says):
        main(["plans", str(counts), "--scenario", str(days), *words, "--out", str(tmp_path / "out")])
    assert not (tmp_path / "out" / "plans.json").exists()


def test_other_folders_are_refused(town: Town, tmp_path: Path) -> None:
    counts, days = town.counts, town.days
    with pytest.raises(InputError, match="is no folder of calibrated days"):
        main(["plans", str(counts), "--scenario", str(counts), "--out", str(tmp_path / "out")])
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter").write_text("dear")
    with pytest.raises(InputError, match="holds something else than plans"):
        main(["plans", str(counts), "--scenario", str(days), "--out", str(tmp_path / "mine")])
    early = json.loads((days / "calibration.json").read_text())
    early["days"][0]["day"] = str(DAY - datetime.timedelta(days=15))
    other = tmp_path / "early"
    other.mkdir()
    for file in filter(Path.is_file, days.iterdir()):
        (other / file.name.replace(str(DAY), early["days"][0]["day"])).write_bytes(file.read_bytes())
    (other / "calibration.json").write_text(json.dumps(early))
    config = other / f"day-{early['days'][0]['day']}.sumocfg"
    config.write_text(config.read_text().replace(str(DAY), early["days"][0]["day"]))
    with pytest.raises(InputError, match="plans are made of earlier days"):
        main(["plans", str(counts), "--scenario", str(other), "--out", str(tmp_path / "out")])


def test_dates_and_detectors_that_are_not_there_are_named(town: Town, tmp_path: Path) -> None:
    series = read_series(CountsFolder(town.counts))
    assert series.clock.zone == ZONE
    with pytest.raises(InputError, match="the counts have nothing of 2030-01-01"):
        date_numbers(series, [datetime.date(2030, 1, 1)])
    other = read_series(CountsFolder(counts_folder(tmp_path / "other", {"x": [1.0] * 96}, begin_s=0)))
    with pytest.raises(InputError, match="the forecast wants detector EBR, which the counts do not have"):
        forecast_vph(other, Forecaster(town.model), date_numbers(other, [DAY]), Window(25200, 27000, INTERVAL_S))


def test_days_are_compared_in_pairs_as_far_as_both_were_judged() -> None:
    found = compared({OWN: [4.0, 5.0, 6.0], FIXED: [3.0, 4.0, 5.0], CLOCK: [1.0, 2.0]}, "real days")
    by_clock, fixed = sorted(found["differences"], key=lambda of: of["days"])
    assert fixed["difference_s"] == [-1.0, -1.0, -1.0]
    assert fixed["p_holm"] == 0.5  # a quarter, and two comparisons
    assert (by_clock["days"], by_clock["difference_s"], by_clock["p_holm"]) == (2, [-2.0] * 3, 0.5)

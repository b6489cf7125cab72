"""Incidents from counts: found soon, never by looking ahead, told in words, and judged fairly."""

from __future__ import annotations

import dataclasses
import datetime
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from demand.__main__ import main as demand_main
from demand.counts.schema import COUNTS, About
from demand.counts.store import write_counts
from demand.incidents.alarms import alarms_of, threshold_for
from demand.incidents.groups import Group, groups_of_network, groups_of_table
from demand.incidents.judge import hold_rows, judge, truth_of
from demand.incidents.labels import with_labels
from demand.incidents.model import Model, learn_model, load_model, save_model
from demand.incidents.panel import FloatArray, Panel, to_panel
from demand.incidents.places import read_places, usual_places
from demand.incidents.simulation import INCIDENTS, Day, draw_incidents, simulate, watched_edges
from demand.incidents.words import tell_all
from plumbing.errors import InputError
from scenarios.loading import load

BEGIN = datetime.datetime(2024, 1, 1, 6, tzinfo=datetime.UTC)
HOURS = 4
ROWS = 60 * HOURS
LANES = {"a advance": 7.0, "b advance": 6.0, "a stop": 7.0, "b stop": 6.0}
"""Detectors of one road, and vehicles a minute."""
ROAD = Group("road", tuple(LANES), ("a advance", "b advance"), ("a stop", "b stop"), (), ("road",))
CLOSED = slice(120, 150)


def counted(day: int, draw: np.random.Generator | None) -> pl.DataFrame:
    """A day of minutes with a slow wave; drawn from Poisson, or exactly periodic."""
    parts = []
    wave = 1.0 + 0.3 * np.sin(np.arange(ROWS) / ROWS * np.pi)
    times = [BEGIN + datetime.timedelta(days=day, minutes=n) for n in range(ROWS)]
    for name, per_min in LANES.items():
        flow = np.round(per_min * wave) if draw is None else draw.poisson(per_min * wave).astype(float)
        columns = {
            "detector": [name] * ROWS, "time": times, "count": flow, "occupancy": np.minimum(flow * 0.02, 1.0),
            "speed_mps": np.full(ROWS, 12.0),
        }  # fmt: skip
        parts.append(pl.DataFrame(columns, schema=dict(COUNTS)))
    return pl.concat(parts).sort("detector", "time")


def closed(table: pl.DataFrame, rows: slice = CLOSED) -> pl.DataFrame:
    """The road closed behind its advance loops: nobody leaves, and a queue stands on them."""
    day = table["time"].min()
    assert isinstance(day, datetime.datetime)
    begin, end = (day + datetime.timedelta(minutes=n) for n in (rows.start, rows.stop))
    inside = pl.col("time").is_between(begin, end, closed="left")
    queue = inside & pl.col("detector").str.ends_with("advance")
    return table.with_columns(
        count=pl.when(inside).then(0.0).otherwise("count"),
        occupancy=pl.when(queue).then(1.0).when(inside).then(0.0).otherwise("occupancy"),
        speed_mps=pl.when(inside).then(None).otherwise("speed_mps"),
    )


def days(numbers: range, seed: int) -> pl.DataFrame:
    draw = np.random.default_rng(seed)
    return pl.concat(counted(n, draw) for n in numbers)


@pytest.fixture(scope="module")
def learned() -> tuple[Model, FloatArray]:
    return learn_model(to_panel(days(range(5), 1), 60, "UTC"), [ROAD], "UTC")


@pytest.fixture(scope="module")
def model(learned: tuple[Model, FloatArray]) -> Model:
    return learned[0]


@pytest.fixture(scope="module")
def bad_day() -> Panel:
    return to_panel(closed(days(range(7, 8), 2)), 60, "UTC")


def test_a_closed_road_is_found_within_three_minutes(model: Model, bad_day: Panel) -> None:
    raised = alarms_of(model.reading(bad_day).scores, bad_day.run, model.threshold, hold_rows(60))
    assert CLOSED.start <= raised[0].begin < CLOSED.start + 3  # the first one, so none before


def test_one_closed_lane_is_found_where_the_other_takes_its_traffic(model: Model) -> None:
    table = days(range(8, 9), 5)
    both = table.filter(pl.col("detector").str.starts_with("a"))["count"].to_numpy()
    moved = table.with_columns(count=pl.col("count"))
    inside = pl.col("time") >= BEGIN + datetime.timedelta(days=8, minutes=CLOSED.start)
    shifted = table.filter(pl.col("detector").str.starts_with("b")).with_columns(count=pl.col("count") + both)
    moved = pl.concat([
        table.filter(~inside), shifted.filter(inside),
        table.filter(inside, pl.col("detector").str.starts_with("a")).with_columns(count=pl.lit(0.0)),
    ]).sort("detector", "time")  # fmt: skip
    panel = to_panel(moved, 60, "UTC")
    raised = alarms_of(model.reading(panel).scores, panel.run, model.threshold, hold_rows(60))
    assert raised
    assert CLOSED.start <= raised[0].begin < CLOSED.start + 5
    assert "lane" in tell_all(model, panel, model.reading(panel))[0].kind


def test_no_alarm_on_days_that_are_all_the_same() -> None:
    same = pl.concat(counted(n, None) for n in range(6))
    panel = to_panel(same, 60, "UTC")
    model, _ = learn_model(panel, [ROAD], "UTC")
    assert tell_all(model, panel, model.reading(panel)) == []


def test_nothing_looks_ahead(model: Model, bad_day: Panel) -> None:
    now = 100
    later = bad_day.values.copy()
    later[:, now:] = np.random.default_rng(3).uniform(0.0, 9.0, later[:, now:].shape)
    later[1] = np.minimum(later[1], 1.0)
    other = model.reading(dataclasses.replace(bad_day, values=later))
    known = model.reading(bad_day)
    for name in ("expected", "z"):
        np.testing.assert_array_equal(getattr(known, name)[:, :now], getattr(other, name)[:, :now])
    np.testing.assert_array_equal(known.scores[:now], other.scores[:now])
    assert (known.scores[now:] != other.scores[now:]).any()
    # nor does a reading of the first rows alone know more or less
    first = to_panel(closed(days(range(7, 8), 2)).filter(pl.col("time") < bad_day.times[now]), 60, "UTC")
    np.testing.assert_allclose(model.reading(first).scores, known.scores[:now])


def test_words_say_where_what_and_since_when(model: Model, bad_day: Panel) -> None:
    told = tell_all(model, bad_day, model.reading(bad_day))[0]
    assert told.raised.startswith("2024-01-08T08:0")
    assert told.road == "road"
    assert "down by 100 % (0 instead of" in told.text
    assert "probably a closed road" in told.text
    assert 1.0 <= told.since_min <= 10.0


def test_unknown_values_are_no_evidence(model: Model, bad_day: Panel) -> None:
    values = bad_day.values.copy()
    values[:, CLOSED] = np.nan
    assert tell_all(model, *_read(model, dataclasses.replace(bad_day, values=values))) == []


def _read(model: Model, panel: Panel):  # type: ignore[no-untyped-def]
    return panel, model.reading(panel)


def test_a_model_is_read_as_it_was_written(model: Model, bad_day: Panel, tmp_path: Path) -> None:
    save_model(model, tmp_path / "model")
    again = load_model(tmp_path / "model")
    np.testing.assert_array_equal(again.reading(bad_day).scores, model.reading(bad_day).scores)
    assert again.groups == model.groups
    assert again.threshold == model.threshold


def _pickled(folder: Path) -> None:
    np.savez(folder / "arrays.npz", profile=np.array([{}], dtype=object))


def _other_shape(folder: Path) -> None:
    with np.load(folder / "arrays.npz") as stored:
        arrays = dict(stored)
    np.savez(folder / "arrays.npz", **{**arrays, "level": arrays["level"][:, :2]})


def _infinite(folder: Path) -> None:
    with np.load(folder / "arrays.npz") as stored:
        arrays = dict(stored)
    arrays["profile"][..., 0] = np.inf
    np.savez(folder / "arrays.npz", **arrays)


def _no_spread(folder: Path) -> None:
    with np.load(folder / "arrays.npz") as stored:
        arrays = dict(stored)
    np.savez(folder / "arrays.npz", **{**arrays, "spread": 0 * arrays["spread"]})


def _one_array(folder: Path) -> None:
    with (folder / "arrays.npz").open("wb") as stream:
        np.save(stream, np.zeros(3))


def _without_groups(folder: Path) -> None:
    content = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps({**content, "groups": []}))


def _half(folder: Path) -> None:
    data = (folder / "arrays.npz").read_bytes()
    (folder / "arrays.npz").write_bytes(data[: len(data) // 2])


@pytest.mark.parametrize(
    "damage", [_pickled, _other_shape, _without_groups, _half, _infinite, _no_spread, _one_array]
)
def test_a_damaged_model_is_refused(model: Model, tmp_path: Path, damage: Callable[[Path], None]) -> None:
    save_model(model, tmp_path / "model")
    damage(tmp_path / "model")
    with pytest.raises(InputError, match="the model is damaged"):
        load_model(tmp_path / "model")


@pytest.mark.wide
def test_known_incidents_make_a_regression(learned: tuple[Model, FloatArray]) -> None:
    model, normal = learned
    table = pl.concat(closed(days(range(n, n + 1), n)) for n in (10, 11))
    begins = [BEGIN + datetime.timedelta(days=n, minutes=CLOSED.start) for n in (10, 11)]
    ends = [BEGIN + datetime.timedelta(days=n, minutes=CLOSED.stop) for n in (10, 11)]
    incidents = _incidents(begins, ends)
    panel = to_panel(table, 60, "UTC")
    wiser = with_labels(model, normal, panel, truth_of(panel, model.groups, incidents))
    assert wiser.regression is not None
    later = to_panel(closed(days(range(20, 21), 20)), 60, "UTC")
    scores = wiser.reading(later).scores[:, 0]
    assert scores[CLOSED.start + 3 : CLOSED.stop].min() > scores[: CLOSED.start].max()


def _incidents(begins: list[datetime.datetime], ends: list[datetime.datetime]) -> pl.DataFrame:
    rows = [(begin, end, "road", "a b", "all lanes", 5.0) for begin, end in zip(begins, ends, strict=True)]
    return pl.DataFrame(rows, schema=INCIDENTS, orient="row")


def test_alarms_are_judged_by_time_and_place(bad_day: Panel) -> None:
    far = Group("far", ("a stop",), ("a stop",), (), (), ("far",))
    begin, end = (bad_day.times[n] + datetime.timedelta(seconds=30) for n in (120, 150))
    truth = truth_of(bad_day, [ROAD, far], _incidents([begin], [end]))
    scores = np.zeros((ROWS, 2))
    scores[20, 0] = 5.0  # hours before: false
    scores[123, 0] = 5.0  # known at 124: three and a half minutes after the begin
    scores[130, 1] = 5.0  # elsewhere while it lasts
    scores[170, 1] = 5.0  # its aftermath
    found = judge(scores, bad_day, truth, 5.0)
    assert found.minutes == (3.5,)
    assert (found.in_time, found.false_alarms, found.elsewhere) == (1.0, 1, 2)
    assert found.normal_days == pytest.approx((ROWS - 61) / 1440)
    assert judge(scores, bad_day, truth, 6.0).minutes == (None,)


def test_thresholds_fall_with_the_alarms_that_are_allowed() -> None:
    peaks = np.sort(np.random.default_rng(4).exponential(2.0, 400))[::-1]
    found = [threshold_for(peaks, 10.0, a_day) for a_day in (0.01, 0.1, 1.0, 3.0)]
    assert found == sorted(found, reverse=True)
    assert abs((peaks > found[2]).sum() - 10) <= 4


def test_groups_of_arterial_join_what_lies_between_signals() -> None:
    network = load("arterial").network
    places = {place.detector: place for place in usual_places(network)}
    groups = {group.name: group for group in groups_of_network(network, places, sorted(places))}
    assert len(groups) == 20
    bay = groups["eb2_bay"]
    assert bay.first == ("eb2_0 advance", "eb2_1 advance")
    assert bay.last == ("eb2_bay_0 stop", "eb2_bay_1 stop", "eb2_bay_2 stop")
    assert set(bay.feeding) == {"N1_in_1 stop", "S1_in_0 stop", "eb1_bay_0 stop", "eb1_bay_1 stop"}
    assert bay.roads == ("eb2_bay", "eb2")
    assert sorted(name for group in groups.values() for name in group.detectors) == sorted(places)


def test_without_a_network_an_approach_is_a_group() -> None:
    table = pl.DataFrame({"detector": ["1", "2", "3"], "site": ["J", "J", "J"], "approach": ["NB", "NB", None]})
    assert [group.detectors for group in groups_of_table(table, ["1", "2", "3"])] == [("1", "2"), ("3",)]


def write_folder(path: Path, table: pl.DataFrame, interval_s: int = 60) -> None:
    source = {"name": "made", "format": "made", "sha256": "", "rows": table.height}
    detectors = (
        table.select("detector")
        .unique()
        .with_columns(kind=pl.lit("detector"), site=pl.lit("J"), approach=pl.lit("NB"))
    )
    write_counts(path, About(interval_s, "UTC", (source,)), detectors, [table])


def test_the_command_learns_and_watches(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_folder(tmp_path / "normal", days(range(5), 1))
    write_folder(tmp_path / "bad", closed(days(range(7, 8), 2)))
    words = ["incidents", "learn", str(tmp_path / "normal"), "--out", str(tmp_path / "model")]
    assert demand_main(words) == 0
    words = ["incidents", "watch", str(tmp_path / "bad"), "--model", str(tmp_path / "model")]
    capsys.readouterr()
    assert demand_main([*words, "--out", str(tmp_path / "alarms"), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((tmp_path / "alarms" / "alarms.json").read_text())
    assert {alarm["road"] for alarm in printed["alarms"]} == {"J NB"}
    assert printed["alarms"][0]["text"] in (tmp_path / "alarms" / "report.html").read_text()


def test_bad_input_is_one_line(tmp_path: Path, model: Model) -> None:
    write_folder(tmp_path / "short", days(range(2), 1))
    out = str(tmp_path / "out")
    with pytest.raises(InputError, match="2 days, and learning takes 4 or more"):
        demand_main(["incidents", "learn", str(tmp_path / "short"), "--out", out])
    with pytest.raises(InputError, match="--network and --places belong together"):
        demand_main(["incidents", "learn", str(tmp_path / "short"), "--network", "arterial", "--out", out])
    with pytest.raises(InputError, match="holds no model of incidents"):
        demand_main(["incidents", "watch", str(tmp_path / "short"), "--model", out, "--out", out])
    save_model(model, tmp_path / "model")
    write_folder(tmp_path / "coarse", days(range(2), 1), 120)
    with pytest.raises(InputError, match="give counts of the same interval"):
        demand_main(
            ["incidents", "watch", str(tmp_path / "coarse"), "--model", str(tmp_path / "model"), "--out", out]
        )
    strange = days(range(2), 1).with_columns(detector=pl.lit("x ") + pl.col("detector"))
    write_folder(tmp_path / "strange", strange)
    with pytest.raises(InputError, match="none of the model's detectors is there"):
        demand_main(
            ["incidents", "watch", str(tmp_path / "strange"), "--model", str(tmp_path / "model"), "--out", out]
        )
    (tmp_path / "places.csv").write_text("detector,lane,to_end_m\na stop,eb2_9,3\n")
    with pytest.raises(InputError, match="lies on lane 'eb2_9', which the network has not"):
        read_places(tmp_path / "places.csv", load("arterial").network)
    (tmp_path / "incidents.csv").write_text("begin,end\nyesterday,today\n")
    words = ["incidents", "judge", str(tmp_path / "short"), "--model", str(tmp_path / "model")]
    with pytest.raises(InputError, match=r"incidents\.csv cannot be read"):
        demand_main([*words, "--incidents", str(tmp_path / "incidents.csv")])
    assert not Path(out).exists()


@pytest.mark.wide
def test_whoever_stops_a_simulation_of_days_waits_for_none_of_the_others() -> None:
    """A hundred days, of which each takes seconds, are neither begun nor finished."""
    scenario = load("arterial")
    places = usual_places(scenario.network)

    def stop(done: int) -> None:
        assert done == 1
        raise KeyboardInterrupt

    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        simulate(scenario, places, [Day(0, 1, 0.1), *(Day(n, n, 6.0) for n in range(1, 100))], 2, stop)
    assert time.monotonic() - begun < 20.0


@pytest.mark.wide
def test_sumo_counts_nobody_behind_a_closed_road() -> None:
    scenario = load("single")
    places = usual_places(scenario.network)
    day = Day(0, 3, 1.5, with_incidents=True)
    (incident,) = draw_incidents(scenario, watched_edges(scenario.network, places), day)
    counts, told = simulate(scenario, places, [day])
    assert counts["detector"].n_unique() == len(places)
    assert told["edge"].to_list() == [incident.edge]
    # the car needs no time; who has passed the place before needs some
    behind = [
        place.detector
        for place in places
        if place.lane in incident.lanes
        and scenario.network.lanes[place.lane].length_m - place.to_end_m > incident.at_m + 10.0
    ]
    assert behind
    begin = told["begin"][0] + datetime.timedelta(minutes=4)
    end = told["end"][0] - datetime.timedelta(minutes=1)
    passed = counts.filter(pl.col("detector").is_in(behind), pl.col("time").is_between(begin, end))["count"].sum()
    before = counts.filter(pl.col("detector").is_in(behind), pl.col("time") < told["begin"][0])["count"].sum()
    assert before > 20
    if incident.all_lanes:
        assert passed == 0
    else:
        assert passed < 0.5 * before

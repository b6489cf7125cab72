"""Forecasts that policies are shown: what the model says of what was counted, and nothing of the future."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

import evaluate
import replay
import train
from demand.counts.series import read_series
from demand.counts.store import CountsFolder
from demand.episodes.calibrated import calibrated
from demand.forecast.runtime import Forecaster
from demand.plans.lanes import lane_flows
from envs import SignalEnv
from envs.sumo.setup import make_setup
from envs.workers.client import RemoteSimulation
from envs.workers.server import WorkerSetup
from plumbing.errors import InputError
from scenarios.foresight import Remembered
from scenarios.from_counts import as_wanted
from scenarios.loading import load
from scenarios.scenario import Scenario
from signals.foreseeing import FORESEEN, SCALE, ForeseeingPhases
from signals.observation_names import foreseeing
from signals.snapshot import Snapshot
from tests.counted import INTERVAL_S
from tests.foreseen import DAYS, Foreseen, foreseen

BEGIN_S = 7 * 3600
LAST = len(FORESEEN)


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Foreseen:
    return foreseen(tmp_path_factory.mktemp("foreseen"))


def shown(scenario: Scenario, outputs: tuple[str, ...] = (), seed: int = 1) -> dict[float, np.ndarray]:
    """What a run is shown of the forecast, by the second of each decision."""
    with RemoteSimulation(
        WorkerSetup(make_setup(scenario, outputs=outputs), reward="", observation="")
    ) as simulation:
        simulation.begin(seed)
        found = {}
        while True:
            snapshot = simulation.snapshot
            found[float(snapshot.time_s[0])] = snapshot.expected_vph.copy()
            if simulation.done:
                simulation.end()
                return found
            simulation.decide(np.array([int(snapshot.time_s[0]) // 20 % snapshot.mask.shape[1]]))


def driven(file: Path, pair: tuple[str, str | None], begin_s: float, end_s: float) -> int:
    """How many vehicles left the first edge, for the second one if it is given, in this time, by SUMO's routes."""
    count = 0
    for route in ElementTree.parse(file).getroot().iter("route"):
        edges, times = route.get("edges", "").split(), map(float, route.get("exitTimes", "").split())
        for n, (edge, time) in enumerate(zip(edges, times, strict=False)):
            to = edges[n + 1] if n + 1 < len(edges) else None
            count += edge == pair[0] and pair[1] in (None, to) and begin_s <= time < end_s
    return count


def test_what_is_expected_is_what_the_model_says_of_what_was_counted(town: Foreseen) -> None:
    """At the begin of counts alone; then of what loops told."""
    scenario = load(town.config, forecast=town.linear)
    foresight, forecaster = scenario.foresight, Forecaster(town.linear)
    assert foresight is not None
    of, series = calibrated(scenario), read_series(CountsFolder(town.counts))
    flows = lane_flows(of.roads, of.places, forecaster.about.detectors)
    begin = int(series.clock.place[-2, BEGIN_S // INTERVAL_S])
    values = series.values[:begin]

    def said() -> np.ndarray:
        return flows.of(forecaster.forecast(values, series.clock.begin)[:, [0, -1], 1].T * 4)

    teller = foresight.begin(1)
    assert np.array_equal(teller.told(None), said())
    for count in (30.0, 5.0, np.nan):
        values = np.vstack([values, foresight.parts.sum(axis=1) * count])  # type: ignore[attr-defined]
        found = teller.told(np.full(len(foresight.counters), count))
        assert found == pytest.approx(said(), rel=1e-9)
    assert foresight.lanes == flows.lanes


def test_loops_count_what_drives_by(town: Foreseen, tmp_path: Path) -> None:
    """By a forecast that all stays as it was: the flow expected is what SUMO's routes tell of the last quarter."""
    scenario, file = load(town.config, forecast=town.last_value), tmp_path / "routes.xml"
    options = ("--vehroute-output", str(file), "--vehroute-output.exit-times", "true")
    found = shown(scenario, (*options, "--vehroute-output.write-unfinished", "true"))
    of, layout = calibrated(scenario), make_setup(scenario).layout
    flows = lane_flows(of.roads, of.places, [place.detector for place in of.places])
    for begin_s in (BEGIN_S, BEGIN_S + INTERVAL_S):
        told = found[begin_s + INTERVAL_S]
        counted = []
        for place in of.places:
            ways = [(place.edge, to) for to in place.to_edges] or [(place.edge, None)]
            counted.append(sum(driven(file, way, begin_s, begin_s + INTERVAL_S) for way in ways))
        flow = dict(zip(flows.lanes, flows.of(np.array(counted, float)) * 4, strict=True))
        expected = np.array([flow.get(lane, np.nan) for lane in layout.controlled])
        # who is on the loop at the moment of the count has not left the edge yet: one vehicle a lane, 4 in an hour
        assert told[0] == pytest.approx(expected, abs=4.1)
        assert np.array_equal(told[0], told[1])
        assert sum(counted) > 100
    times = sorted(found)
    assert all(np.array_equal(found[t], found[BEGIN_S]) for t in times if t < BEGIN_S + INTERVAL_S)


def test_nothing_later_is_known(town: Foreseen, tmp_path: Path) -> None:
    """Neither counts from the window's begin on, nor vehicles that come later, change what was expected before."""
    other = tmp_path / "days"
    shutil.copytree(town.days, other)
    before = shown(load(town.config, forecast=town.linear))
    changed_s = BEGIN_S + 1200
    routes = other / f"day-{DAYS[0]}.rou.xml"
    tree = ElementTree.parse(routes)
    for vehicle in list(tree.getroot().iter("vehicle")):
        if float(vehicle.get("depart", "0")) > changed_s:
            tree.getroot().remove(vehicle)
    tree.write(routes)
    part = other / "counts" / "part-0000.parquet"
    _later_counts_times(part, 9.0)
    after = shown(load(other / town.config.name, forecast=town.linear))
    last_s = BEGIN_S + 2 * INTERVAL_S
    assert all(np.array_equal(before[t], after[t]) for t in before if t < last_s)
    assert not np.array_equal(before[last_s], after[last_s])


def _later_counts_times(part: Path, factor: float) -> None:
    import polars as pl

    local = pl.col("time").dt.convert_time_zone("Europe/Berlin")
    later = (local.dt.date() == DAYS[0]) & (local.dt.hour() >= 7) | (local.dt.date() > DAYS[0])
    table = pl.read_parquet(part)
    table.with_columns(count=pl.when(later).then(pl.col("count") * factor).otherwise(pl.col("count"))).write_parquet(
        part
    )


def test_counts_before_the_begin_do_change_it(town: Foreseen, tmp_path: Path) -> None:
    import polars as pl

    other = tmp_path / "days"
    shutil.copytree(town.days, other)
    part = other / "counts" / "part-0000.parquet"
    pl.read_parquet(part).with_columns(count=pl.col("count") * 3).write_parquet(part)
    one, more = (load(f / town.config.name, forecast=town.linear).foresight for f in (town.days, other))
    assert one is not None
    assert more is not None
    assert (more.begin(1).told(None) > 2 * one.begin(1).told(None)).all()
    assert one.model == more.model
    assert one.identity != more.identity


def test_each_run_starts_from_its_own_day(town: Foreseen) -> None:
    days = load(town.config, demand=f"days:{town.days}", forecast=town.linear).foresight
    alone = [load(town.days / f"day-{day}.sumocfg", forecast=town.linear).foresight for day in DAYS]
    assert days is not None
    for seed in (0, 1):
        single = alone[seed]
        assert single is not None
        assert np.array_equal(days.begin(seed).told(None), single.begin(5).told(None))


def test_movements_are_shown_the_flow_of_their_lanes(town: Foreseen) -> None:
    layout = make_setup(load(town.config)).layout
    observe, snapshot = ForeseeingPhases(layout), Snapshot.empty(layout)
    snapshot.expected_vph[:] = np.array([[300.0], [90.0]])
    snapshot.expected_vph[:, 0] = np.nan
    row = observe.raw(snapshot)
    raw = observe.movement[0, :, -LAST:].copy()
    assert row.shape == (1, observe.shape.size)
    lanes = observe.movement[0, :, 2]
    foreseen_lanes = raw[:, 2] * lanes
    assert raw[:, 0] == pytest.approx(300.0 * foreseen_lanes, rel=1e-5)
    assert raw[:, 1] == pytest.approx(90.0 * foreseen_lanes, rel=1e-5)
    assert foreseen_lanes.sum() == pytest.approx(len(layout.controlled) - 1)
    observe.write(snapshot)
    assert observe.movement[0, :, -LAST:] == pytest.approx(raw / np.array(SCALE), rel=1e-5)


@pytest.mark.parametrize(("plain", "sensing"), [("phases", "full"), ("planned", "full"), ("phases", "detectors")])
def test_everything_else_is_shown_as_without(town: Foreseen, plain: str, sensing: str) -> None:
    rows = []
    for forecast in ("", town.last_value):
        env = SignalEnv(town.config, observation=plain, sensing=sensing, forecast=forecast)
        env.reset(seed=3)
        snapshot = env.unwrapped.snapshot
        for _ in range(30):
            env.step(int(snapshot.time_s[0]) // 20 % snapshot.mask.shape[1])
        shape = env.unwrapped._worker.setup.observation_shape
        row = env.unwrapped._worker.shared["observation"][0].copy()
        env.close()
        movements = row[shape.size - shape.movements * shape.movement_features :]
        rows.append((row[: shape.size - len(movements)], movements.reshape(shape.movements, -1)))
    (phases, movements), (same_phases, more) = rows
    assert np.array_equal(phases, same_phases)
    assert np.array_equal(movements, more[:, :-LAST])
    assert (more[:, -1] > 0).any()


def test_who_begins_within_an_interval_knows_what_is_counted_from_the_next_one_on(town: Foreseen) -> None:
    scenario = load(town.config, begin_s=BEGIN_S + 300, forecast=town.last_value)
    found = shown(scenario)
    first, second = BEGIN_S + INTERVAL_S, BEGIN_S + 2 * INTERVAL_S
    # the quarter that it has not counted all of is unknown: the model falls back on the profile, which is that day's
    assert not np.array_equal(found[first], found[second])
    assert np.isfinite(found[first]).any()


def test_the_names_of_observations() -> None:
    assert foreseeing("planned") == "planned+forecast"
    assert foreseeing("phases", "detectors") == "detectors+forecast"
    assert foreseeing("planned+forecast") == "planned+forecast"
    assert foreseeing("mine.py:Own") == "mine.py:Own"
    with pytest.raises(InputError, match=r"'sumo-rl' cannot show a forecast; choose one of phases, planned"):
        foreseeing("sumo-rl")


# -- bad input --------------------


def test_a_forecast_of_other_detectors_is_refused(town: Foreseen, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(town.last_value, model)
    (file,) = model.rglob("forecast.json")
    said = json.loads(file.read_text())
    said["detectors"][0] = "elsewhere"
    file.write_text(json.dumps(said))
    with pytest.raises(InputError, match=r"forecasts detector 'elsewhere', which the counts of .* do not have; give"):
        load(town.config, forecast=model)
    said["interval_s"] = 300
    said["detectors"] = json.loads(next(town.last_value.rglob("forecast.json")).read_text())["detectors"]
    file.write_text(json.dumps(said))
    with pytest.raises(InputError, match=r"forecasts intervals of 300 s .* and the counts of .* have 900 s"):
        load(town.config, forecast=model)


@pytest.mark.parametrize(
    ("scenario", "model", "says"),
    [
        ("tee", "last_value", "nobody knows where detectors count"),
        (None, "counts", "is no forecast"),
        (None, "nowhere", "is no forecast"),
    ],
)
def test_what_does_not_go_together_is_one_clear_line(
    town: Foreseen, scenario: str | None, model: str, says: str
) -> None:
    with pytest.raises(InputError, match=says):
        load(scenario or town.config, forecast=town.counts.parent / model)


def test_no_place_before_a_signal_is_refused(town: Foreseen, tmp_path: Path) -> None:
    other = tmp_path / "days"
    shutil.copytree(town.days, other)
    (other / "places.csv").write_text("detector,lane\n")
    with pytest.raises(InputError, match="forecasts for no detector that has a place before a signal"):
        load(other / town.config.name, forecast=town.last_value)


def test_without_onnxruntime_it_says_what_to_install(town: Foreseen, monkeypatch: pytest.MonkeyPatch) -> None:
    find: Callable[..., Any] = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *of: None if name == "onnxruntime" else find(name))
    with pytest.raises(InputError, match="a forecast needs onnxruntime, which is not installed; pip install"):
        load(town.config, forecast=town.last_value)


def test_an_observation_that_shows_a_forecast_wants_one(town: Foreseen) -> None:
    with pytest.raises(InputError, match="ForeseeingPlanned shows a forecast; give its folder: --forecast MODEL_DIR"):
        SignalEnv(town.config, observation="planned+forecast")
    layout = make_setup(load(town.config)).layout
    with pytest.raises(InputError, match="this observation shows a forecast, and none is made here"):
        ForeseeingPhases(layout)(Snapshot.empty(layout))


# -- the commands --------------------


@pytest.fixture(scope="module")
def trained(town: Foreseen, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("trained") / "run"
    assert train.main([*_words(town), "--steps", "400", "--out", str(out)]) == 0
    return out


def _words(town: Foreseen) -> list[str]:
    words = ["--scenario", str(town.config), "--demand", f"days:{town.days}", "--forecast", str(town.linear)]
    return [*words, "--agent", "a2c", "--observation", "planned", "--validate-every", "0"]


@pytest.mark.wide
def test_evaluating_and_replaying_remember_the_forecast(
    town: Foreseen, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = json.loads((trained / "settings.json").read_text())
    assert said["forecast"]["folder"] == str(town.linear)
    assert said["observation"] == "planned+forecast"
    words = ["--scenario", str(town.config), "--seeds", "1", "--workers", "1"]
    assert evaluate.main([*words, "--controllers", "greedy", str(trained), "--json"]) == 0
    delay_s = json.loads(capsys.readouterr().out)["controllers"][1]["delay_s"]["mean"]
    file = tmp_path / "run.replay"
    record = ["record", "--scenario", str(town.config), "--controller", str(trained), "--out", str(file), "--json"]
    assert replay.main(record) == 0
    assert json.loads(capsys.readouterr().out)["delay_s"] == pytest.approx(delay_s)
    assert replay.main(["verify", str(file)]) == 0  # without any loop that counts
    assert "identical" in capsys.readouterr().out
    other = ["counterfactual", str(file), "--controller", str(trained), "--from", str(BEGIN_S + 1000)]
    assert replay.main([*other, "--out", str(tmp_path / "other.replay"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["change_s"] == pytest.approx(0.0)


@pytest.mark.wide
def test_a_stopped_training_goes_on_to_the_bit(town: Foreseen, tmp_path: Path) -> None:
    config = tmp_path / "flat.yaml"
    config.write_text("learning_rate: 0.001\nlearning_rate_end: 0.001\n")
    words = [*_words(town), "--config", str(config)]
    through, twice = tmp_path / "through", tmp_path / "twice"
    assert train.main([*words, "--steps", "900", "--out", str(through)]) == 0
    assert train.main([*words, "--steps", "300", "--out", str(twice)]) == 0
    assert train.main(["--resume", "--steps", "900", "--out", str(twice)]) == 0
    import torch

    one, other = (torch.load(run / "policy.pt", weights_only=True)["scorer"] for run in (through, twice))
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.wide
def test_another_forecast_than_the_trained_one_is_refused(
    town: Foreseen, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Policy:
        forecast = Remembered(str(town.last_value), "0" * 64, "0" * 64)

    with pytest.raises(InputError, match="is another forecast than the policy was trained with; bring that one back"):
        as_wanted(load(town.config), Policy())

    class Moved:
        forecast = Remembered(str(tmp_path / "moved"), "0" * 64, "0" * 64)

    with pytest.raises(InputError, match="the policy was trained with, is not there; bring it back"):
        as_wanted(load(town.config), Moved())
    with pytest.raises(InputError, match=r"--forecast asks for|the forecast: day-.* is not what"):
        train.main(["--resume", "--steps", "900", "--forecast", str(town.last_value), "--out", str(trained)])
    with pytest.raises(InputError, match="nobody knows where detectors count"):
        evaluate.main(["--scenario", "tee", "--controllers", str(trained), "--seeds", "1"])


def test_the_tables_of_features_are_numbered_as_they_stand() -> None:
    from signals.foreseeing import ForeseeingDetectors, ForeseeingPlanned

    for table in (ForeseeingPhases, ForeseeingPlanned, ForeseeingDetectors):
        rows = re.findall(r"^\s*\| (\d+) \| (\w+) \|.*\| ([\d.]+) \|$", table.__doc__ or "", re.MULTILINE)
        assert [(table.MOVEMENT_FEATURES[int(n)], name) for n, name, _ in rows] == [(n, n) for n in FORESEEN]
        assert [float(scale) for _, _, scale in rows] == table.MOVEMENT_SCALE[-LAST:].tolist() == list(SCALE)

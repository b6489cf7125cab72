"""Forecasts: nothing of the future in them, intervals that cover what they say, models that run as trained."""

import datetime
import json

import numpy as np
import polars as pl
import pytest

from demand.__main__ import main
from demand.counts.readers import traffic_anomaly
from demand.counts.scale import restored, stabilised
from demand.counts.schema import CLEANED, COUNTS, IMPUTED, MEASURED, About
from demand.counts.series import read_series
from demand.counts.store import CountsFolder, write_counts
from demand.counts.timeline import Clock
from demand.forecast.boosting import fit_boosting, tree_graph
from demand.forecast.examples import Disturbance, disturbed, examples, moments_of, split_days, targets
from demand.forecast.features import Features, features, levels
from demand.forecast.judging import Settings, judged, steps_of
from demand.forecast.kinds import LEARNED, quantiles, tree_rows
from demand.forecast.model_folder import read_model
from demand.forecast.runtime import Forecaster
from demand.forecast.scores import conformal_offsets, score
from plumbing.errors import InputError

ZONE = "Europe/Berlin"
INTERVAL_S = 1800
BEGIN = datetime.datetime(2025, 3, 20, tzinfo=datetime.UTC) - datetime.timedelta(hours=1)  # midnight there
DAYS = 24  # over the night in which clocks go forward


def made_folder(path, *, noise=True, days=DAYS, interval_s=INTERVAL_S, seed=0, occupancy=False, state=None):
    """Three detectors with a daily course and quiet weekends."""
    rng = np.random.default_rng(seed)
    length = days * 86_400 // interval_s
    times = [BEGIN + datetime.timedelta(seconds=interval_s * n) for n in range(length)]
    clock = Clock(int(BEGIN.timestamp()), interval_s, ZONE, length)
    hour = clock.slot * interval_s / 3600
    course = (1.2 + np.sin((hour - 9) * np.pi / 12)) * np.where(clock.weekday < 5, 1.0, 0.5)
    parts = []
    for number, size in enumerate((60.0, 20.0, 3.0)):
        rate = np.rint(size * course)
        count = rng.poisson(rate).astype(float) if noise else rate
        part = {
            "detector": [f"d{number}"] * length, "time": times, "count": count,
            "occupancy": count / 400 if occupancy else [None] * length, "speed_mps": [None] * length,
        }  # fmt: skip
        if state is not None:
            part |= {"state": state(number, length), "why": [""] * length, "raw": count}
        parts.append(pl.DataFrame(part, schema_overrides={"occupancy": pl.Float64, "speed_mps": pl.Float64}))
    detectors = pl.DataFrame({"detector": ["d0", "d1", "d2"], "site": ["a", "a", "b"]})
    about = About(interval_s, ZONE, ({"name": "made", "format": "test", "sha256": "0" * 64, "rows": 3 * length},),
                  state is not None)  # fmt: skip
    columns = list(CLEANED if state is not None else COUNTS)
    write_counts(path, about, detectors, [part.select(columns) for part in parts])
    return CountsFolder(path)


@pytest.fixture(scope="module")
def series(tmp_path_factory):
    return read_series(made_folder(tmp_path_factory.mktemp("counts") / "made"))


def same(one: Features, other: Features) -> bool:
    return all(np.array_equal(getattr(one, n), getattr(other, n)) for n in Features.__dataclass_fields__)


def test_a_week_that_repeats_is_forecast_exactly_by_last_week(tmp_path):
    series = read_series(made_folder(tmp_path / "counts", noise=False))
    steps = steps_of(series, (30, 60))
    found, kept = judged(tmp_path / "out", series, "last_week", 0, Settings((30, 60), 6, 6), steps)
    assert not kept
    assert [each["mae"] for each in found["test"]["all"]] == pytest.approx([0, 0], abs=1e-9)
    last_value, _ = judged(tmp_path / "out", series, "last_value", 0, Settings((30, 60), 6, 6), steps)
    assert last_value["test"]["all"][0]["mae"] > 1


def test_no_value_after_the_moment_changes_what_a_forecast_sees(series):
    level = levels(series.values[:480])
    rng = np.random.default_rng(1)
    for moment in [*rng.integers(100, len(series.values) - 4, 12), 47, 46, 480]:  # midnights, and either side of one
        changed = series.values.copy()
        changed[moment + 1 :] = rng.uniform(0, 500, changed[moment + 1 :].shape)
        one, other = (
            features(values, series.clock, level, series.sites, (1, 2), np.array([moment]))
            for values in (series.values, changed)
        )
        assert same(one, other), f"at {moment}"


def test_a_value_at_the_moment_does_change_it(series):
    level = levels(series.values[:480])
    changed = series.values.copy()
    changed[600, 0] += 30
    one, other = (
        features(values, series.clock, level, series.sites, (1, 2), np.array([600]))
        for values in (series.values, changed)
    )
    assert (one.last_value[0, 0] != other.last_value[0, 0]).all()
    assert (one.own[0, 1] != other.own[0, 1]).any()  # of the same site
    assert (one.own[0, 2] == other.own[0, 2]).all()  # of another


def test_what_is_learned_from_ends_with_its_days(series):
    """Levels, scales and targets alike: all come from these arrays."""
    until = int(np.searchsorted(series.clock.day, 12))
    changed = series.values.copy()
    changed[until:] = 999.0
    later = type(series)(**{**series.__dict__, "values": changed})
    (one, level), (other, other_level) = (examples(s, 12, (1, 2), Disturbance(copies=1), 0) for s in (series, later))
    assert same(one.given, other.given)
    assert np.array_equal(one.target, other.target, equal_nan=True)
    assert np.array_equal(level, other_level)


def test_splits_follow_each_other(series):
    split = split_days(series, 6, 6)
    learn = moments_of(series, 3, split.learn_until, (1, 2))
    calibrate = moments_of(series, split.learn_until, split.calibrate_until, (1, 2))
    test = moments_of(series, split.calibrate_until, split.test_until, (1, 2))
    assert learn[-1] + 2 <= calibrate[0]
    assert calibrate[-1] + 2 <= test[0]
    assert series.clock.day[test + 1].min() == split.test_until - 6
    assert test[-1] + 2 == len(series.values) - 1


def test_imputed_values_inform_and_are_no_targets(tmp_path):
    folder = made_folder(
        tmp_path / "counts",
        state=lambda number, length: [IMPUTED if number == 1 and n % 3 == 0 else MEASURED for n in range(length)],
    )
    series = read_series(folder)
    moments = np.arange(300, 360)
    came = targets(series, series.values, moments, (1,))
    assert not np.isnan(series.values).any()
    assert np.array_equal(np.isnan(came[:, 1, 0]), (moments + 1) % 3 == 0)
    assert not np.isnan(came[:, 0]).any()


@pytest.mark.parametrize("factor", [0.2, 1.0, 3.0])
def test_calibrated_intervals_cover_their_share_of_a_known_noise(factor):
    rng = np.random.default_rng(2)
    base = np.full((4000, 2, 1), 6.0)
    came = restored(base + rng.standard_normal(base.shape))
    said = np.broadcast_to(np.array([-1.2816, 0.0, 1.2816]) * factor, (4000, 2, 1, 3))
    offsets = conformal_offsets(said[:2000], base[:2000], came[:2000])
    fresh = score(quantiles(said[2000:], base[2000:], offsets, "flow"), came[2000:])
    assert fresh.coverage == pytest.approx(0.8, abs=0.025)


def test_scores_of_a_known_forecast():
    found = score(np.array([[1.0, 2.0, 4.0], [0.0, 5.0, 6.0]]), np.array([4.0, 7.0]))
    assert (found.mae, found.coverage, found.width) == (2.0, 0.5, 4.5)
    assert found.rmse == 2.0


def test_the_stable_scale_goes_back(series):
    assert restored(stabilised(series.values)) == pytest.approx(series.values, abs=1e-9)


def test_disturbed_counts_stay_counts_and_leave_most_alone(series):
    found = disturbed(series.values, series, np.random.default_rng(0), Disturbance())
    assert (found == np.rint(found)).all()
    assert (found >= 0).all()
    assert 0.01 < (found != series.values).mean() < 0.3


def test_the_same_local_time_across_a_change_of_clocks():
    clock = Clock(int(BEGIN.timestamp()), INTERVAL_S, ZONE, DAYS * 48)
    (after,) = np.flatnonzero((clock.day == 11) & (clock.slot == 20))  # clocks go forward on the night of day 10
    before = clock.same_time(np.array([after]), 1)[0]
    assert (clock.day[before], clock.slot[before]) == (10, 20)
    (last,) = np.flatnonzero((clock.day == 10) & (clock.slot == 20))
    assert last - clock.same_time(np.array([last]), 1)[0] == 46  # 23 hours
    assert (clock.place[10] == -1).sum() == 2


@pytest.fixture(scope="module")
def trained(series, tmp_path_factory):
    """All that learn, on little."""
    out = tmp_path_factory.mktemp("forecasts")
    settings = Settings((30, 60), 6, 8, Disturbance(copies=1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("demand.forecast.boosting.TREES", 15)
        patch.setattr("demand.forecast.networks.EPOCHS", 3)
        results = {method: judged(out, series, method, 0, settings, (1, 2))[0] for method in (*LEARNED, "ensemble")}
    return out, results, settings


@pytest.mark.wide
@pytest.mark.parametrize("method", [*LEARNED, "ensemble"])
def test_a_saved_model_runs_as_it_was_trained(series, trained, method):
    """What the trained model scored on the test days, the loaded one scores."""
    out, results, _ = trained
    forecaster = Forecaster(out / f"{method}-seed-0")
    split = split_days(series, 6, 8)
    moments = moments_of(series, split.calibrate_until, split.test_until, (1, 2))
    found = forecaster.forecasts(series.values, series.clock.begin, moments)
    came = targets(series, series.values, moments, (1, 2))
    for step in range(2):
        told = results[method]["test"]["all"][step]
        again = score(found[:, :, step], came[:, :, step])
        assert (again.mae, again.width) == pytest.approx((told["mae"], told["width"]), abs=1e-4)
    one = forecaster.forecast(series.values[: moments[5] + 1], series.clock.begin)
    assert one == pytest.approx(found[5], abs=1e-4)
    assert (np.diff(one, axis=-1) >= 0).all()
    assert forecaster.minutes == (30, 60)


def test_every_learner_beats_the_last_value(series, trained, tmp_path):
    _, results, settings = trained
    naive, _ = judged(tmp_path, series, "last_value", 0, settings, (1, 2))
    for method, found in results.items():
        assert found["test"]["all"][0]["mae"] < naive["test"]["all"][0]["mae"], method


def test_trees_go_the_same_way_at_their_thresholds(series, monkeypatch):
    import onnxruntime

    monkeypatch.setattr("demand.forecast.boosting.TREES", 15)
    learned, _ = examples(series, 12, (1,), Disturbance(copies=0), 0)
    (models,) = fit_boosting(learned, 0).trees
    rows = tree_rows(learned.given, 0)
    for model in models:  # float32 numbers next to thresholds
        for (tree,) in model._predictors[:5]:
            inner = tree.nodes[tree.nodes["is_leaf"] == 0]
            for node in inner[:3]:
                near = rows[:3].copy()
                at = np.float32(node["num_threshold"])
                near[:, node["feature_idx"]] = [
                    np.nextafter(at, np.float32(-9e9)),
                    at,
                    np.nextafter(at, np.float32(9e9)),
                ]
                rows = np.concatenate([rows, near])
    session = onnxruntime.InferenceSession(tree_graph(models, rows.shape[1]))
    (found,) = session.run(None, {"rows": rows})
    wanted = np.stack([model.predict(rows) for model in models], axis=-1)
    assert found == pytest.approx(wanted, abs=1e-5)


def test_what_is_finished_is_kept(series, trained):
    out, results, settings = trained
    stamp = (out / "linear-seed-0" / "linear.onnx").stat().st_mtime_ns
    again, kept = judged(out, series, "linear", 0, settings, (1, 2))
    assert kept
    assert again == results["linear"]
    assert (out / "linear-seed-0" / "linear.onnx").stat().st_mtime_ns == stamp
    with pytest.raises(InputError, match="other counts or with other settings"):
        judged(out, series, "linear", 0, Settings((30, 60), 5, 8), (1, 2))


def test_a_changed_file_is_not_run(trained, tmp_path):
    import shutil

    folder = shutil.copytree(trained[0] / "linear-seed-0", tmp_path / "model")
    about, files = read_model(folder)
    assert about.detectors == ("d0", "d1", "d2")
    assert list(files) == ["linear.onnx"]
    (folder / "linear.onnx").write_bytes(b"else")
    with pytest.raises(InputError, match="is not the file that was written"):
        Forecaster(folder)


def _nan(content):
    import onnx
    from onnx import numpy_helper

    model = onnx.load_from_string(content)
    large = next(of for of in model.graph.initializer if of.data_type == onnx.TensorProto.FLOAT and len(of.dims))
    large.CopyFrom(numpy_helper.from_array(np.full(tuple(large.dims), np.nan, np.float32), large.name))
    return model.SerializeToString()


def _other(_):
    import onnx
    from onnx import helper

    ends = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [None]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", ends[:1], ends[1:])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()


def _keep(content):
    return content


@pytest.mark.parametrize(
    ("change", "about", "words"),
    [
        (_nan, {}, "do not answer with a number for each of 3 detectors"),
        (_other, {}, "its ONNX files cannot be run"),
        (lambda content: content[: len(content) // 2], {}, "its ONNX files cannot be run"),
        (_keep, {"method": "boosting"}, "not of the method boosting"),
        (_keep, {"files": {}}, "not of the method linear"),
        (_keep, {"zone": "Nowhere/Else"}, "unknown time zone"),
        (_keep, {"sites": [0, 0, 99_999]}, "more sites than detectors"),
        (_keep, {"detectors": ["d0", "d0", "d1"]}, "a detector is there twice"),
        (_keep, {"steps": [2, 1]}, "steps are not in order"),
    ],
)
def test_a_folder_that_was_tampered_with(trained, tmp_path, change, about, words):
    """Also where the digests are made to fit."""
    import hashlib
    import shutil

    folder = shutil.copytree(trained[0] / "linear-seed-0", tmp_path / "model")
    file = folder / "linear.onnx"
    file.write_bytes(change(file.read_bytes()))
    told = json.loads((folder / "forecast.json").read_text())
    told["files"] = {"linear.onnx": hashlib.sha256(file.read_bytes()).hexdigest()}
    (folder / "forecast.json").write_text(json.dumps({**told, **about}))
    with pytest.raises(InputError, match=words):
        Forecaster(folder)


def test_running_a_forecast_sends_no_telemetry(tmp_path):
    """Onnxruntime leaves a file in the temporary folder when it begins to, on being imported."""
    import os
    import subprocess
    import sys

    code = "import demand.forecast.runtime, deployment.bundle.policy"
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    environment.pop("ORT_DISABLE_TELEMETRY", None)
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
    assert list(tmp_path.iterdir()) == []


def test_a_forecast_wants_its_detectors(trained):
    with pytest.raises(InputError, match="the forecast is for 3 detectors"):
        Forecaster(trained[0] / "linear-seed-0").forecast(np.zeros((100, 2)), 0)


@pytest.mark.wide
def test_the_command_forecasts_flow_and_occupancy(tmp_path, capsys):
    made_folder(tmp_path / "counts", occupancy=True)
    given = ["forecast", str(tmp_path / "counts"), "--methods", "last_week", "linear", "--seeds", "1",
             "--minutes", "30", "--out", str(tmp_path / "out"), "--json"]  # fmt: skip
    assert main(given) == 0
    told = json.loads(capsys.readouterr().out)
    assert [each["quantity"] for each in told["forecasts"]] == ["flow", "occupancy"]
    assert [row["method"] for row in told["forecasts"][0]["rows"]] == ["last_week", "linear"]
    assert told["forecasts"][0]["minutes"] == 30
    for quantity in ("flow", "occupancy"):
        assert "<svg" in (tmp_path / "out" / f"{quantity}.svg").read_text()
    share = Forecaster(tmp_path / "out", "occupancy").forecast(np.full((600, 3), 20.0), int(BEGIN.timestamp()))
    assert (share <= 100).all()
    assert main(given) == 0
    assert "kept from before" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"days": 12}, "the counts cover 1[23] days"),
        ({"interval_s": 7200}, "intervals of 7200 s"),
    ],
)
def test_counts_that_cannot_be_forecast(tmp_path, change, words):
    made_folder(tmp_path / "counts", **change)
    with pytest.raises(InputError, match=words):
        main(["forecast", str(tmp_path / "counts"), "--out", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--methods", "magic"], "no method 'magic'"),
        (["--minutes", "20"], "no whole number of intervals"),
        (["--quantity", "occupancy"], "holds no occupancy"),
        (["--methods", "ensemble"], "wants two or more"),
    ],
)
def test_what_the_command_refuses(tmp_path, more, words):
    made_folder(tmp_path / "counts")
    with pytest.raises(InputError, match=words):
        main(["forecast", str(tmp_path / "counts"), "--out", str(tmp_path / "out"), *more])


@pytest.mark.wide
def test_the_real_counts(tmp_path, capsys):
    """The last value and last week err as published for the 17 busy detectors; what learns errs less."""
    about, detectors, table = traffic_anomaly.read()
    write_counts(tmp_path / "counts", about, detectors, [table])
    given = ["forecast", str(tmp_path / "counts"), "--methods", "last_value", "last_week", "linear", "--seeds", "1",
             "--minutes", "15", "--out", str(tmp_path / "out"), "--json"]  # fmt: skip
    assert main(given) == 0
    (found,) = json.loads(capsys.readouterr().out)["forecasts"]
    rows = {row["method"]: row["busy"] for row in found["rows"]}
    assert found["busy_detectors"] == 17
    assert rows["last_value"]["mae"] == pytest.approx(5.50, abs=0.01)
    assert rows["last_week"]["mae"] == pytest.approx(6.29, abs=0.01)
    assert rows["linear"]["mae"] < 4.6
    assert 0.75 < rows["linear"]["coverage"] < 0.85

"""Made days: whole vehicles on the right dates, the same for the same seed, and a judge that is not fooled."""

import datetime
import json

import numpy as np
import polars as pl
import pytest

from demand.__main__ import main
from demand.counts.schema import DETECTORS, About
from demand.counts.store import CountsFolder
from demand.generation.days import Days, dates_from, day_type, read_days, write_days
from demand.generation.fitting import fit
from demand.generation.judge import judge
from demand.generation.model_folder import read_generator, write_generator
from demand.generation.models import MODELS, Course
from plumbing.digest import file_sha256
from plumbing.errors import InputError

ZONE = "Europe/Berlin"
SLOTS = 48
NAMES = ("d0", "d1", "d2")


def real_days(number=28, seed=0, swing=0.3):
    """Poisson counts around a course that rises and falls by the day, for all detectors together."""
    rng = np.random.default_rng(seed)
    date = 20_000 + np.arange(number)
    types = day_type((date + 3) % 7)
    hour = np.arange(SLOTS) / 2
    course = 1.2 + np.sin((hour - 9) * np.pi / 12)
    level = np.exp(swing * rng.standard_normal(number)) * np.where(types == 0, 1.0, 0.5)
    rate = level[:, None, None] * course[:, None] * np.array([40.0, 15.0, 4.0])
    return Days(rng.poisson(rate).astype(float), types, date, NAMES, 1800, ZONE)


def table_of(days):
    return pl.DataFrame({"detector": list(days.detectors)})


def full_table(days):
    """The same as a folder holds it."""
    table = table_of(days)
    return table.select(
        [(pl.col(n) if n in table.columns else pl.lit(None)).cast(k).alias(n) for n, k in DETECTORS.items()]
    )


SOURCE = {"name": "made", "format": "test", "sha256": "0" * 64, "rows": 1}


@pytest.fixture(autouse=True)
def quickly(monkeypatch):
    """A network that has learned a little."""
    monkeypatch.setattr("demand.generation.vae.STEPS", 300)
    monkeypatch.setattr("demand.generation.judge.TREES", 40)


@pytest.fixture(scope="module")
def counts(tmp_path_factory):
    out = tmp_path_factory.mktemp("counts") / "real"
    write_days(out, real_days(), table_of(real_days()), SOURCE)
    return out


def test_days_are_read_as_they_were_written(counts):
    days, was = read_days(CountsFolder(counts)), real_days()
    assert (days.counts == was.counts).all()
    assert (days.date == was.date).all()
    assert (days.type == was.type).all()


def test_an_hour_that_clocks_jump_over_has_no_counts(tmp_path):
    date = np.array([(datetime.date(2025, 3, 29) - datetime.date(1970, 1, 1)).days + n for n in range(3)])
    days = Days(np.ones((3, SLOTS, 3)), day_type((date + 3) % 7), date, NAMES, 1800, ZONE)
    write_days(tmp_path / "out", days, table_of(days), SOURCE)
    folder = CountsFolder(tmp_path / "out")
    table = folder.frame(["d0"])
    assert table.height == 3 * SLOTS - 2
    local = table["time"].dt.convert_time_zone(ZONE).dt.to_string("%F %R").to_list()
    assert not [time for time in local if time.startswith("2025-03-30 02")]
    assert table["time"].is_unique().all()


@pytest.mark.wide
@pytest.mark.parametrize("name", MODELS)
def test_made_days_are_whole_vehicles_of_the_right_size(name):
    days = real_days()
    generator = fit(name, days, 0)
    types = np.repeat([0, 1, 2], [60, 20, 20])
    made = generator.counts(types, np.random.default_rng(1))
    assert made.shape == (100, SLOTS, 3)
    assert (made >= 0).all()
    assert (made == np.rint(made)).all()
    for detector in range(3):
        wanted = days.counts[days.type == 0][..., detector].sum(axis=1).mean()
        assert made[:60, :, detector].sum(axis=1).mean() == pytest.approx(wanted, rel=0.2)
    assert made[:60].mean() > 1.4 * made[60:].mean()  # weekends are quieter


@pytest.mark.parametrize("name", MODELS)
def test_a_saved_model_draws_the_same_days(tmp_path, name):
    days = real_days()
    generator = fit(name, days, 3)
    told = {"seed": 3, "detectors": list(NAMES), "interval_s": 1800, "zone": ZONE,
            "last_date": int(days.date[-1]), "days": len(days.date)}  # fmt: skip
    write_generator(tmp_path / "model", generator, full_table(days), told)
    saved = read_generator(tmp_path / "model")
    types = np.array([0, 1, 2])
    one, other = (g.counts(types, np.random.default_rng(5)) for g in (generator, saved.generator))
    assert (one == other).all()
    (tmp_path / "model" / "arrays.npz").write_bytes(b"else")
    with pytest.raises(InputError, match="is not the file that was written"):
        read_generator(tmp_path / "model")


@pytest.mark.parametrize(
    ("change", "table", "words"),
    [
        ({"course_spread": np.array([1.0, np.nan, 1.0])}, None, "course_spread holds what is no number"),
        ({"course_mean": np.zeros((3, 24, 3))}, None, "the course is not of 3 detectors every 1800 s"),
        ({"model_mean": np.zeros((5, 3))}, None, "is no model pca"),
        ({"model_mean": None}, None, "is no model pca"),
        ({"course_mean": np.full((3, SLOTS, 3), 1e6)}, None, "no days of its detectors"),
        ({"course_mean": np.full((3, SLOTS, 3), 1e12)}, None, "is no model pca"),
        ({}, "detector,kind,site,approach,movement,lane,x,y,position_m\nd0,,,,,,,,\n", "each of its detectors once"),
    ],
)
def test_a_folder_that_was_tampered_with(tmp_path, change, table, words):
    """Also where the digest is made to fit."""
    days = real_days()
    told = {"seed": 3, "detectors": list(NAMES), "interval_s": 1800, "zone": ZONE,
            "last_date": int(days.date[-1]), "days": len(days.date)}  # fmt: skip
    folder = tmp_path / "model"
    write_generator(folder, fit("pca", days, 3), full_table(days), told)
    arrays = {**np.load(folder / "arrays.npz"), **change}
    np.savez(folder / "arrays.npz", **{name: of for name, of in arrays.items() if of is not None})
    about = json.loads((folder / "generator.json").read_text())
    about["sha256"] = file_sha256(folder / "arrays.npz")
    (folder / "generator.json").write_text(json.dumps(about))
    if table is not None:
        (folder / "detectors.csv").write_text(table)
    with pytest.raises(InputError, match=words):
        read_generator(folder)


def test_courses_go_straight_from_hour_to_hour():
    course = Course(48, np.zeros((3, 48, 1)), np.zeros(1))
    line = np.arange(24.0)[None, :, None]
    between = course.between(line)[0, :, 0]
    assert np.diff(between[1:-1]) == pytest.approx(0.5)
    assert between.reshape(24, 2).mean(axis=1)[1:-1] == pytest.approx(np.arange(24.0)[1:-1])


@pytest.mark.wide
def test_the_judge_cannot_tell_what_is_alike_and_can_tell_what_is_not(monkeypatch):
    """Days drawn by the law of the real ones pass; days that are all alike do not, and cover less."""
    real = real_days(42, seed=1)

    class Lawful:
        def __init__(self, swing):
            self.swing = swing

        def counts(self, types, rng):
            hour = np.arange(SLOTS) / 2
            level = np.exp(self.swing * rng.standard_normal(len(types))) * np.where(types == 0, 1.0, 0.5)
            rate = (
                level[:, None, None] * (1.2 + np.sin((hour - 9) * np.pi / 12))[:, None] * np.array([40.0, 15.0, 4.0])
            )
            return rng.poisson(rate).astype(float)

    found = {}
    for swing in (0.3, 0.0):
        monkeypatch.setattr("demand.generation.judge.fit", lambda name, days, seed, swing=swing: Lawful(swing))
        found[swing] = judge("pca", real, 0)
    assert abs(found[0.3].auc_detector_days - 0.5) < 0.15
    assert found[0.0].auc_detector_days > found[0.3].auc_detector_days + 0.1
    assert found[0.0].spread_ratio < 0.7 < found[0.3].spread_ratio < 1.4
    assert found[0.0].coverage < found[0.3].coverage


def test_dates_of_weekdays_alone():
    dates, types = dates_from(datetime.date(2025, 8, 1), 5, ("weekday",))  # a Friday
    assert [int(d) - int(dates[0]) for d in dates] == [0, 3, 4, 5, 6]
    assert (types == 0).all()


def test_from_counts_to_a_model_to_counts(counts, tmp_path, capsys):
    model, made = tmp_path / "model", tmp_path / "made"
    assert main(["generate", str(counts), "--out", str(model), "--model", "pca", "--seeds", "1", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["chosen"] == "pca"
    assert 0 <= told["rows"][0]["auc_windows"] <= 1
    frames = []
    for seed in ("1", "1", "2"):
        given = ["generate", str(model), "--days", "10", "--seed", seed, "--weekdays", "--out", str(made)]
        assert main(given) == 0
        folder = CountsFolder(made)
        frames.append(folder.frame())
    assert frames[0].equals(frames[1])
    assert not frames[0].equals(frames[2])
    assert folder.about == About(1800, ZONE, folder.about.sources)
    assert folder.about.sources[0]["format"] == "generated"
    assert frames[0].height == 10 * SLOTS * 3
    local = frames[0]["time"].dt.convert_time_zone(ZONE)
    assert set(local.dt.weekday()) == {1, 2, 3, 4, 5}
    for words in (["--first", "9999-12-31"], ["--first", "1969-01-01"], ["--first", "2099-12-30"], ["--seed", "-1"]):
        with pytest.raises(InputError, match=words[0]):
            main(["generate", str(model), "--days", "10", *words, "--out", str(tmp_path / "odd")])
    assert local.min().date() > datetime.date(1970, 1, 1) + datetime.timedelta(days=int(real_days().date[-1]))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["{counts}", "--days", "3", "--out", "{out}"], "is no model of days"),
        (["{counts}", "--out", "{counts}"], "choose another"),
        (["{out}", "--out", "{out}x"], "is no folder of counts"),
    ],
)
def test_what_the_command_refuses(counts, tmp_path, given, words):
    with pytest.raises(InputError, match=words):
        main(["generate", *[word.format(counts=counts, out=tmp_path / "out") for word in given]])
    assert not (tmp_path / "out").exists()


def test_too_few_days(tmp_path):
    few = real_days(5)
    write_days(tmp_path / "few", few, table_of(few), SOURCE)
    with pytest.raises(InputError, match="has 5 whole days"):
        main(["generate", str(tmp_path / "few"), "--out", str(tmp_path / "model")])
    assert not (tmp_path / "model").exists()

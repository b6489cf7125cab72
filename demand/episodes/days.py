"""Days that a model makes up, calibrated to a scenario's network: made once, and kept in the cache."""

from __future__ import annotations

import datetime
import hashlib
import importlib.metadata
import time
from pathlib import Path

import numpy as np
import polars as pl

from demand.calibration.calibrate import Request, days_made
from demand.calibration.counted import CountedDay
from demand.calibration.folder import COUNTS, PLACES, RESULT
from demand.calibration.hand import hand_text
from demand.calibration.matching import Matches
from demand.counts.schema import COUNTS as COLUMNS
from demand.counts.schema import GENERATED, MEASURED, About
from demand.counts.store import CountsFolder, write_counts
from demand.episodes.calibrated import Calibrated, calibrated
from demand.generation.days import TYPES, Days, dates_from, day_type, write_days
from demand.generation.model_folder import ABOUT, SavedModel, read_generator
from plumbing.cache import cached_folder
from plumbing.command import say
from plumbing.digest import file_sha256
from plumbing.errors import InputError
from plumbing.held import scratch
from plumbing.plain import json_bytes
from scenarios.scenario import Scenario

TRAINING, VALIDATION, EVALUATION = 20, 4, 10
"""[days] Each has its own: what a policy is chosen and judged by, its training never saw."""
_SEED = 0
_RECIPE = "1"  # raise it when the same model should give other days than before
_EPOCH = datetime.date(1970, 1, 1)


def generated(model: Path, scenario: Scenario) -> tuple[Path, tuple[int, int]]:
    """The folder of the days that a model makes up for a scenario, and how many of the last ones are for validation
    and for evaluation.

    Raises:
        InputError: it is no model of days, or does not fit the scenario.
    """
    saved = read_generator(model)
    if scenario.demand != "recorded":
        raise InputError(
            f"scenario {scenario.name!r} has {scenario.demand} demand already; start from the recorded one"
        )
    of = calibrated(scenario)
    places = tuple(place for place in of.places if place.detector in saved.detectors)
    if not places:
        raise InputError(
            f"{model} makes days of other detectors than those of {of.path / PLACES}; give a model of the counts "
            "that the scenario was calibrated to"
        )
    if of.begin_s % saved.interval_s or of.end_s % saved.interval_s:
        raise InputError(
            f"{model} makes intervals of {saved.interval_s} s, and the window of {of.path} does not begin and end "
            "with one; calibrate another window"
        )
    name = f"generated/{_digest(model, scenario, of)[:20]}"

    def fill(out: Path) -> None:
        with scratch("generated") as ground:
            made = _drawn(saved, of)
            counts = _written(made, saved, of, ground, out / COUNTS)
            days = tuple(_counted(made, n, of) for n in range(len(made.date)))
            asked = Request(counts, scenario, of.roads, Matches(places, {}), days, "own", _SEED, "")
            _calibrate(asked, made, model, of, out)

    return cached_folder(name, fill), (VALIDATION, EVALUATION)


def _digest(model: Path, scenario: Scenario, of: Calibrated) -> str:
    """Of all that the days follow from."""
    digest = hashlib.sha256(
        f"{_RECIPE} {_SEED} {TRAINING} {VALIDATION} {EVALUATION} {of.begin_s} {of.end_s}".encode()
    )
    digest.update(importlib.metadata.version("eclipse-sumo").encode())
    read = (model / ABOUT, of.path / PLACES, of.path / RESULT, *sorted(of.counts.path.iterdir()))
    for path in (*read, scenario.net_file, *scenario.route_files, *scenario.additional_files):
        digest.update(file_sha256(path).encode())
    return digest.hexdigest()


def _drawn(saved: SavedModel, of: Calibrated) -> Days:
    """Whole days of the types that the scenario's own are of, from the day after the model's last on."""
    dates = np.array([(date - _EPOCH).days for date in of.dates.values()])
    only = [TYPES[kind] for kind in sorted(set(day_type((dates + 3) % 7).tolist()))]
    first = _EPOCH + datetime.timedelta(days=saved.last_date + 1)
    number, types = dates_from(first, TRAINING + VALIDATION + EVALUATION, only)
    counts = saved.generator.counts(types, np.random.default_rng(_SEED))
    return Days(counts, types, number, saved.detectors, saved.interval_s, saved.zone)


def _written(made: Days, saved: SavedModel, of: Calibrated, ground: Path, out: Path) -> CountsFolder:
    """The made days as counts, alone; in `out` also after the scenario's real ones, from which forecasts start."""
    source = {"name": f"{len(made.date)} days by {saved.generator.name}", "format": GENERATED, "sha256": saved.sha256}
    write_days(ground / "made", made, saved.table, source)
    alone, real = CountsFolder(ground / "made"), of.counts
    tables, sources = [alone.frame()], [source]
    if (real.about.interval_s, real.about.zone) == (saved.interval_s, saved.zone):
        count = pl.col("count")
        if real.about.cleaned:
            count = pl.when(pl.col("state") == MEASURED).then(count)
        before = pl.col("time").dt.convert_time_zone(saved.zone).dt.date() < _EPOCH + datetime.timedelta(
            days=int(made.date[0])
        )
        known = before & pl.col("detector").is_in(list(saved.detectors))
        tables.insert(0, real.frame().filter(known).with_columns(count).select(list(COLUMNS)))
        sources = [*map(dict, real.about.sources), source]
    about = About(saved.interval_s, saved.zone, tuple(sources))
    write_counts(out, about, alone.detectors(), [pl.concat(tables)])
    return alone


def _counted(made: Days, number: int, of: Calibrated) -> CountedDay:
    date = _EPOCH + datetime.timedelta(days=int(made.date[number]))
    window = slice(of.begin_s // made.interval_s, of.end_s // made.interval_s)
    counts = {name: made.counts[number, window, n] for n, name in enumerate(made.detectors)}
    return CountedDay(str(date), of.begin_s, of.end_s, made.interval_s, counts, date)


def _calibrate(asked: Request, made: Days, model: Path, of: Calibrated, out: Path) -> None:
    begun, total = time.monotonic(), len(asked.days)
    say(f"making {total} days of {model.name} for {asked.scenario.name}, once", error=True)
    for number, _ in enumerate(days_made(asked, out), 1):
        left_s = (time.monotonic() - begun) / number * (total - number)
        if number % 5 == 0 and left_s:
            say(f"{number} of {total} days, about {left_s:.0f} s left", error=True)
    (out / PLACES).write_text(hand_text(asked.matches.places), encoding="utf-8")
    days = [{"day": day.name, "date": day.name} for day in asked.days]
    window = [f"{second // 3600:02}:{second % 3600 // 60:02}" for second in (of.begin_s, of.end_s)]
    (out / RESULT).write_bytes(json_bytes({"format": "intergreen calibration 1", "window": window, "days": days}))

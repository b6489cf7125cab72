"""Training a method on one seed and judging it on the last days: what `python -m demand forecast` does again and
again."""

from __future__ import annotations

import dataclasses
import hashlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from demand.counts.series import Series
from demand.counts.timeline import Numbers
from demand.forecast.examples import Disturbance, Split, examples, moments_of, split_days, targets
from demand.forecast.features import HISTORY_DAYS, WARMUP_DAYS, features, levels
from demand.forecast.fitting import SEEDLESS, Fitted, fit
from demand.forecast.kinds import ENSEMBLE, LEARNED, Mean, Model, quantiles
from demand.forecast.model_folder import CALIBRATION, RESULT, ModelAbout, read_model, write_model
from demand.forecast.runtime import loaded
from demand.forecast.scores import BUSY, conformal_offsets, score
from plumbing.errors import InputError
from plumbing.plain import finite_or_none, misfit, named, parse

MINUTES = (5, 10, 15, 30, 45, 60)
_VERSION = 1  # of what is learned from; a folder of another one is trained anew


@dataclass(frozen=True)
class Settings:
    """What decides a forecast beside its counts."""

    minutes: tuple[int, ...]
    """[min] ahead, whole multiples of the interval."""
    test_days: int = 6
    calibration_days: int = 6
    disturbance: Disturbance = dataclasses.field(default_factory=Disturbance)


def steps_of(series: Series, minutes: tuple[int, ...] | None) -> tuple[int, ...]:
    """Intervals ahead; by default those of `MINUTES` that are whole intervals.

    Raises:
        InputError: a time ahead is not a whole number of intervals of at most an hour.
    """
    interval_s = series.clock.interval_s
    chosen = minutes or tuple(m for m in MINUTES if m * 60 % interval_s == 0)
    for m in chosen:
        if not (0 < m <= 60) or m * 60 % interval_s:
            raise InputError(
                f"--minutes {m} is no whole number of intervals of {interval_s / 60:g} minutes up to 60; "
                f"give such, as {interval_s // 60}"
            )
    return tuple(sorted({m * 60 // interval_s for m in chosen}))


def scored_step(series: Series, steps: tuple[int, ...]) -> int:
    """The number of the horizon that methods are compared by: 15 minutes, or the nearest to it."""
    return int(np.argmin([abs(step * series.clock.interval_s - 900) for step in steps]))


def judged(
    out: Path, series: Series, method: str, seed: int, settings: Settings, steps: tuple[int, ...]
) -> tuple[dict[str, Any], bool]:
    """What a method scored, and whether that had been found before; its folder stands in `out` afterwards.

    The method learns from the first days and is calibrated on those that follow, which also give its validation
    scores; then it learns from both, and forecasts the last days. Nothing is chosen by the last days.
    """
    seed = 0 if method in SEEDLESS else seed
    folder = out / f"{method}-seed-{seed}"
    fingerprint = _fingerprint(series, settings, steps)
    if (kept := _kept(folder, fingerprint)) is not None:
        return kept, True
    split = split_days(series, settings.test_days, settings.calibration_days)
    moments = moments_of(series, split.learn_until, split.calibrate_until, steps)
    came = targets(series, series.values, moments, steps)
    if method == ENSEMBLE:
        trained = _combined(out, seed, fingerprint)
        level = levels(series.values[: int(np.searchsorted(series.clock.day, split.calibrate_until))])
    else:
        trained, level = _trained_twice(series, method, seed, settings, steps, split, moments)
    # The base depends on the level only where there is no day to make a profile of.
    given = features(series.values, series.clock, level, series.sites, steps, moments)
    offsets = conformal_offsets(trained.residuals, given.base, came)
    busy = busy_detectors(series)
    validation = _scores(quantiles(trained.residuals, given.base, offsets, series.quantity), came, busy)
    found, came = forecast_days(series, trained.model, level, offsets, steps, split)
    result = {
        "method": method, "seed": seed, "fit_s": round(trained.seconds, 2),
        "validation": validation, "test": _scores(found, came, busy),
    }  # fmt: skip
    about = ModelAbout(
        series.quantity, method, seed, series.detectors, series.sites, series.clock.interval_s, series.clock.zone,
        steps, tuple(map(float, level)), tuple(tuple(map(float, row)) for row in offsets), fingerprint,
    )  # fmt: skip
    write_model(folder, about, trained.files, result, trained.residuals)
    return result, False


def forecast_days(
    series: Series, model: Model, level: Numbers, offsets: Numbers, steps: tuple[int, ...], split: Split
) -> tuple[Numbers, Numbers]:
    """(N, D, H, 3) quantiles for the test days, and (N, D, H) what came."""
    moments = moments_of(series, split.calibrate_until, split.test_until, steps)
    given = features(series.values, series.clock, level, series.sites, steps, moments)
    found = quantiles(model.residuals(given), given.base, offsets, series.quantity)
    return found, targets(series, series.values, moments, steps)


def busy_detectors(series: Series) -> Numbers:
    """(D,) which detectors have a mean of `BUSY` or more. It is taken over all days: it says what is scored, and
    enters no model."""
    known = ~np.isnan(series.values)
    mean = np.nansum(series.values, axis=0) / np.maximum(known.sum(axis=0), 1)
    return np.asarray(mean >= BUSY)


@dataclass(frozen=True)
class _Trained:
    """A method that has learned."""

    residuals: Numbers
    """(N, D, H, 3) of the first fit, on the calibration days."""
    model: Model
    """The last fit."""
    files: dict[str, bytes]
    seconds: float


def _trained_twice(
    series: Series, method: str, seed: int, settings: Settings, steps: tuple[int, ...], split: Split, moments: Numbers
) -> tuple[_Trained, Numbers]:
    """Without the calibration days, for what is judged on them; then with them. And the level of each detector."""
    begun = time.monotonic()
    first, level = _trained(series, method, seed, settings, steps, split.learn_until)
    given = features(series.values, series.clock, level, series.sites, steps, moments)
    residuals = first.residuals(given)
    last, level = _trained(series, method, seed, settings, steps, split.calibrate_until)
    return _Trained(residuals, last, last.files(), time.monotonic() - begun), level


def _combined(out: Path, seed: int, fingerprint: str) -> _Trained:
    """The mean of the methods that have learned with this seed: nothing is learned for it."""
    models: list[Model] = []
    residuals: list[Numbers] = []
    files: dict[str, bytes] = {}
    seconds = 0.0
    for method in LEARNED:
        folder = out / f"{method}-seed-{seed}"
        result = _kept(folder, fingerprint)
        if result is None:
            continue
        about, content = read_model(folder)
        models.append(loaded(folder, about, content))
        files |= content
        residuals.append(np.sort(np.load(folder / CALIBRATION, allow_pickle=False), axis=-1))
        seconds += float(result["fit_s"])
    if len(models) < 2:
        raise InputError(f"--methods {ENSEMBLE} wants two or more of {', '.join(LEARNED)} beside it")
    return _Trained(np.asarray(np.mean(residuals, axis=0)), Mean(models), files, seconds)


def _trained(
    series: Series, method: str, seed: int, settings: Settings, steps: tuple[int, ...], until_day: int
) -> tuple[Fitted, Numbers]:
    if method in SEEDLESS:
        until = int(np.searchsorted(series.clock.day, until_day))
        level = levels(series.values[:until])
        few, _ = examples(series, WARMUP_DAYS + 1, steps, Disturbance(copies=0), seed)
        return fit(method, few, series.sites, seed), level
    learned, level = examples(series, until_day, steps, settings.disturbance, seed)
    return fit(method, learned, series.sites, seed), level


def _scores(found: Numbers, came: Numbers, busy: Numbers) -> dict[str, Any]:
    """By "all" and "busy", a list over horizons."""
    told = {}
    for name, chosen in (("all", np.ones_like(busy)), ("busy", busy)):
        per_step = [score(found[:, chosen, step], came[:, chosen, step]) for step in range(came.shape[2])]
        told[name] = [{k: finite_or_none(v) for k, v in dataclasses.asdict(each).items()} for each in per_step]
    return told


def _fingerprint(series: Series, settings: Settings, steps: tuple[int, ...]) -> str:
    told = (_VERSION, HISTORY_DAYS, series.digest, dataclasses.astuple(settings), steps)
    return hashlib.sha256(repr(told).encode()).hexdigest()


def _kept(folder: Path, fingerprint: str) -> dict[str, Any] | None:
    """What an earlier run has found.

    Raises:
        InputError: the folder is of other counts or settings, or is broken.
    """
    if not folder.exists():
        return None
    about, _ = read_model(folder)
    if about.fingerprint != fingerprint:
        raise InputError(
            f"{folder} was made of other counts or with other settings; choose another --out, or remove it"
        )
    try:
        found: dict[str, Any] = parse((folder / RESULT).read_bytes())
        misfit(named(lambda value: None), found)
    except (OSError, ValueError) as error:
        raise InputError(f"{folder / RESULT} cannot be read ({error}); remove {folder} and run again") from error
    return found

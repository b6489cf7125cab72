"""`python -m demand forecast`: train, judge and keep forecasts of a folder of counts."""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from demand.counts.series import Series, quantities, read_series
from demand.counts.store import CountsFolder, check_apart
from demand.counts.timeline import FLOW, OCCUPANCY
from demand.forecast.examples import moments_of, split_days, targets
from demand.forecast.judging import Settings, busy_detectors, judged, scored_step, steps_of
from demand.forecast.kinds import ENSEMBLE, METHODS
from demand.forecast.model_folder import BEST
from demand.forecast.picture import draw
from demand.forecast.runtime import Forecaster
from demand.forecast.scores import BUSY
from demand.forecast.table import as_text, best_method, rows_of
from plumbing.command import say, say_json
from plumbing.errors import InputError
from plumbing.occupied import occupied
from plumbing.plain import json_bytes
from plumbing.whole import check_replaceable, write_whole

RESULTS = "results.json"


def main(arguments: list[str] | None = None) -> int:
    """The command. Returns its exit status."""
    options = _parser().parse_args(arguments)
    if unknown := [name for name in options.methods if name not in METHODS]:
        raise InputError(f"no method {unknown[0]!r}; there are {', '.join(METHODS)}")
    if ENSEMBLE in options.methods:
        options.methods.sort(key=lambda name: name == ENSEMBLE)  # it is made of the others
    if options.test_days < 1 or options.calibration_days < 1:
        raise InputError("--test-days and --calibration-days want 1 or more")
    folder = CountsFolder(options.counts)
    there = quantities(folder)
    wanted = there if options.quantity == "all" else (options.quantity,)
    if missing := [name for name in wanted if name not in there]:
        raise InputError(f"{options.counts} holds no {missing[0]}; it has {', '.join(there)}")
    series = {name: read_series(folder, name) for name in wanted}
    minutes = tuple(options.minutes) if options.minutes else None
    told: list[dict[str, Any]] = []
    best: dict[str, str] = {}
    out = Path(options.out)
    check_apart(out, Path(options.counts))
    with occupied(out):
        _check_place(out)
        for name, each in series.items():
            steps = steps_of(each, minutes)
            ahead = tuple(step * each.clock.interval_s // 60 for step in steps)
            settings = Settings(ahead, options.test_days, options.calibration_days)
            split_days(each, settings.test_days, settings.calibration_days)  # too few days are told at once
            found = _quantity(out / name, each, options.methods, options.seeds, settings, steps, options.json)
            told.append(found)
            best[name] = str(found["best"])
        write_whole(out / BEST, lambda path: path.write_bytes(json_bytes(best)))
        write_whole(out / RESULTS, lambda path: path.write_bytes(json_bytes({"forecasts": told})))
        for each in series.values():
            _picture(out, each, options)
    if options.json:
        say_json({"forecasts": told})
    else:
        say(f"\nwritten to {out}: the models, {RESULTS}, {BEST}, and a picture of each quantity")
    return 0


def _check_place(out: Path) -> None:
    """Raises InputError for a folder that holds something else than an earlier forecast, or what was begun of one."""
    quantities_ = (FLOW, OCCUPANCY)
    done = (BEST, RESULTS, *(f"{name}.svg" for name in quantities_)) if (out / BEST).is_file() else ()
    check_replaceable(out, "a forecast", None, (*quantities_, *done))


def _quantity(
    out: Path,
    series: Series,
    methods: Sequence[str],
    seeds: int,
    settings: Settings,
    steps: tuple[int, ...],
    quiet: bool,
) -> dict[str, Any]:
    results: dict[str, list[dict[str, Any]]] = {}
    for method in methods:
        for seed in range(seeds):
            begun = time.monotonic()
            with threadpool_limits(1):  # trees and small networks lose more by sharing than they gain
                result, kept = judged(out, series, method, seed, settings, steps)
            results.setdefault(method, []).append({**result, "seed": seed})
            note = "kept from before" if kept else f"{time.monotonic() - begun:.0f} s"
            say(f"{series.quantity}: {method}, seed {seed}: {note}", error=quiet)
    step = scored_step(series, steps)
    rows = rows_of(results, step)
    method = best_method(rows)
    seed = min(results[method], key=lambda each: each["validation"]["all"][step]["mae"])["seed"]
    busy = busy_detectors(series)
    minutes = steps[step] * series.clock.interval_s / 60
    unit = "vehicles per interval" if series.quantity == FLOW else "percent of occupancy"
    if not quiet:
        several = f"the {int(busy.sum())} of {len(busy)} with a mean of {BUSY:g} or more"
        say("")
        say(as_text(rows, f"last {settings.test_days} days, {unit}", minutes, several))
        say(f"chosen by the {settings.calibration_days} days before them: {method}, seed {seed}")
    return {
        "quantity": series.quantity, "unit": unit, "minutes": minutes, "settings": dataclasses.asdict(settings),
        "busy_detectors": int(busy.sum()), "detectors": len(busy), "rows": rows, "seeds": results,
        "best": f"{method}-seed-{seed}",
    }  # fmt: skip


def _picture(out: Path, series: Series, options: argparse.Namespace) -> None:
    forecaster = Forecaster(out, series.quantity)
    split = split_days(series, options.test_days, options.calibration_days)
    steps = forecaster.about.steps
    step = scored_step(series, steps)
    moments = moments_of(series, split.calibrate_until, split.test_until, steps)
    found = forecaster.forecasts(series.values, series.clock.begin, moments)
    came = targets(series, series.values, moments, steps)
    file = out / f"{series.quantity}.svg"
    draw(file, series, moments, steps[step], found[:, :, step], np.asarray(came[:, :, step]), forecaster.about.method)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m demand forecast",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=__doc__,
        epilog="""\
The last days (--test-days) judge, those before them (--calibration-days) calibrate the intervals and choose the best
method, and all before those are learned from. Methods, in the order of what they take:
  last_value last_week   what came last, and what came a week ago
  linear                 ridge regression on lags, profiles and levels of the day
  boosting               gradient boosting of trees
  recurrent graph        a gated recurrent network; a graph-attention network over the detectors of a site
  ensemble               the mean of those that learn
A method and seed that --out holds already is kept, so a run that was stopped goes on where it was.

examples:
  python -m demand forecast counts/mine --out forecasts/mine
  python -m demand forecast counts/mine --methods linear boosting --seeds 1 --minutes 15 30 --out forecasts/quick
  python -m demand forecast counts/mine --out forecasts/mine --json > table.json
""",
    )
    parser.add_argument("counts", help="a folder of counts, raw or cleaned; imputed values inform, but never judge")
    parser.add_argument("--out", required=True, help="folder for the models, the table and a picture")
    parser.add_argument("--methods", nargs="+", default=list(METHODS), metavar="METHOD", help="default: all of them")
    parser.add_argument("--seeds", type=int, choices=range(1, 11), default=3, metavar="N", help="1 to 10; default 3")
    parser.add_argument(
        "--minutes", type=int, nargs="+", metavar="M", help="ahead; default: 5 10 15 30 45 60, as the interval allows"
    )
    parser.add_argument("--test-days", type=int, default=6, metavar="N", help="default 6")
    parser.add_argument("--calibration-days", type=int, default=6, metavar="N", help="default 6")
    parser.add_argument("--quantity", choices=("all", FLOW, OCCUPANCY), default="all", help="default: all there are")
    parser.add_argument("--json", action="store_true", help="print the table for machines")
    return parser

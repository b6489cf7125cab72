"""`python -m demand generate`: learn what days are like, and make new ones."""

from __future__ import annotations

import argparse
import dataclasses
import datetime
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from demand.counts.schema import END_YEAR, FIRST_YEAR, GENERATED
from demand.counts.store import CountsFolder, check_apart
from demand.generation.days import SATURDAY, SUNDAY, WEEKDAY, Days, dates_from, read_days, write_days
from demand.generation.fitting import fit
from demand.generation.judge import Judgement, distance_from_ideal, judge
from demand.generation.model_folder import ABOUT, check_place, read_generator, write_generator
from demand.generation.models import MODELS
from plumbing.command import say, say_json
from plumbing.errors import InputError
from plumbing.occupied import occupied
from plumbing.plain import finite_or_none

MOST_DAYS = 3660
_EPOCH = datetime.date(1970, 1, 1)


def main(arguments: list[str] | None = None) -> int:
    """The command. Returns its exit status."""
    options = _parser().parse_args(arguments)
    source, out = Path(options.source), Path(options.out)
    check_apart(out, source)
    if not 0 <= options.seed < 2**32:
        raise InputError(f"--seed is {options.seed}; give a whole number from 0 to {2**32 - 1}")
    if (source / ABOUT).is_file():
        return _make(source, out, options)
    if options.days is not None:
        raise InputError(
            f"{source} is no model of days, so --days cannot be made from it; "
            "first run python -m demand generate COUNTS_DIR --out MODEL"
        )
    return _learn(source, out, options)


def _learn(source: Path, out: Path, options: argparse.Namespace) -> int:
    folder = CountsFolder(source)
    days = read_days(folder)
    with occupied(out), threadpool_limits(1):
        check_place(out)
        results: dict[str, list[Judgement]] = {}
        names = list(MODELS) if options.model == "best" else [options.model]
        for name in names:
            for seed in range(options.seeds):
                results.setdefault(name, []).append(judge(name, days, seed))
                say(f"{name}, seed {seed}: judged", error=options.json)
        best = min(results, key=lambda name: distance_from_ideal(results[name]))
        rows = [{"model": name, **_means(found)} for name, found in results.items()]
        told = {
            "seed": options.seed, "detectors": list(days.detectors), "interval_s": days.interval_s, "zone": days.zone,
            "last_date": int(days.date[-1]), "days": len(days.date), "judged": rows,
        }  # fmt: skip
        write_generator(out, fit(best, days, options.seed), folder.detectors(), told)
    if options.json:
        say_json({"rows": rows, "chosen": best, "days": len(days.date)})
    else:
        say(as_text(rows, days))
        say(f"written to {out}: {best}. Make days by it:")
        say(f"  python -m demand generate {out} --days 30 --seed 1 --out COUNTS_DIR")
    return 0


def _make(source: Path, out: Path, options: argparse.Namespace) -> int:
    saved = read_generator(source)
    if options.days is None or not 1 <= options.days <= MOST_DAYS:
        raise InputError(f"{source} is a model of days; say how many to make, --days 1 to {MOST_DAYS}")
    only = (WEEKDAY,) if options.weekdays else (WEEKDAY, SATURDAY, SUNDAY)
    first = options.first or _EPOCH + datetime.timedelta(days=saved.last_date + 1)
    dates, types = dates_from(first, options.days, only)
    begin, end = ((datetime.date(year, 1, 1) - _EPOCH).days for year in (FIRST_YEAR, END_YEAR))
    if not begin < dates[0] <= dates[-1] < end - 1:  # whose hours are of these years in any zone
        raise InputError(f"--first {first} and --days {options.days}: give days from {FIRST_YEAR} to {END_YEAR - 1}")
    rng = np.random.default_rng(options.seed)
    counts = saved.generator.counts(types, rng)
    days = Days(counts, types, dates, saved.detectors, saved.interval_s, saved.zone)
    row = {
        "name": f"{options.days} days, seed {options.seed}, by {saved.generator.name}", "format": GENERATED,
        "sha256": saved.sha256, "rows": int(counts.size),
    }  # fmt: skip
    with occupied(out):
        write_days(out, days, saved.table, row)
    if options.json:
        say_json({"days": options.days, "vehicles": int(counts.sum()), "model": saved.generator.name})
    else:
        each = counts.sum() / options.days
        say(
            f"{options.days} made days of {len(saved.detectors)} detectors, {each:.0f} counts a day, written to {out}"
        )
    return 0


def _means(found: list[Judgement]) -> dict[str, Any]:
    names = [field.name for field in dataclasses.fields(Judgement)]
    told: dict[str, Any] = {name: finite_or_none(fmean(getattr(j, name) for j in found)) for name in names}
    each = [dataclasses.asdict(j) for j in found]
    return {**told, "seeds": [{name: finite_or_none(v) for name, v in one.items()} for one in each]}


HEADS = ("model", "AUC, a detector's day", "AUC, three hours of all", "real days covered", "spread, made / real")


def cells_of(row: dict[str, Any]) -> list[str]:
    """A row's texts, under `HEADS`."""
    covered = "–" if row["coverage"] is None else f"{100 * row['coverage']:.0f} %"
    ratio = "–" if row["spread_ratio"] is None else f"{row['spread_ratio']:.2f}"
    return [row["model"], f"{row['auc_detector_days']:.2f}", f"{row['auc_windows']:.2f}", covered, ratio]


def as_text(rows: list[dict[str, Any]], days: Days) -> str:
    """The table for a terminal."""
    body = [list(HEADS), *(cells_of(row) for row in rows)]
    widths = [max(len(line[n]) for line in body) for n in range(len(HEADS))]
    lines = ["  ".join(cell.rjust(w) for cell, w in zip(line, widths, strict=True)) for line in body]
    return "\n".join(["", f"{len(days.date)} real days; AUC 0.50 is best: nobody can tell", *lines])


def _date(given: str) -> datetime.date:
    try:
        return datetime.date.fromisoformat(given)
    except ValueError as error:
        raise InputError(f"--first {given!r} is no date; give one like 2026-03-01") from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m demand generate",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=__doc__,
        epilog="""\
Of a folder of counts it makes a model: all kinds are judged, on days that they were not made from, and the one whose
days are hardest to tell from real ones is kept. Of a model it makes a folder of counts, in whole vehicles.
  resampled   a real day's course with some noise: the baseline
  pca         Gaussian along the principal components of the courses of days
  vae         a variational autoencoder of the courses of days

examples:
  python -m demand generate counts/mine --out models/days
  python -m demand generate models/days --days 30 --seed 1 --weekdays --out counts/made
""",
    )
    parser.add_argument("source", help="a folder of counts, or a model that this command has made")
    parser.add_argument("--out", required=True, help="folder for the model, or for the made counts")
    parser.add_argument("--days", type=int, metavar="N", help="how many to make, from a model")
    parser.add_argument(
        "--seed", type=int, default=0, metavar="S", help="of training, or of what is drawn; default 0"
    )
    parser.add_argument("--weekdays", action="store_true", help="make Mondays to Fridays only")
    parser.add_argument(
        "--first", type=_date, metavar="DATE", help="of the made days; default: the day after the last"
    )
    parser.add_argument("--model", choices=("best", *MODELS), default="best", help="kind to keep; default: the best")
    parser.add_argument(
        "--seeds", type=int, choices=range(1, 11), default=3, metavar="N", help="to judge each kind with; default 3"
    )
    parser.add_argument("--json", action="store_true", help="print the outcome for machines")
    return parser

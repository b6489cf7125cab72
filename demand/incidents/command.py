"""`python -m demand incidents`: learn what is usual, watch for what is not, and judge how well that works."""

from __future__ import annotations

import argparse
import dataclasses
import shlex
from pathlib import Path
from typing import Any

import polars as pl

from demand.counts.schema import About
from demand.counts.store import CountsFolder, check_apart, write_counts
from demand.incidents.judge import IN_TIME_MIN, Verdict, curve, judge, truth_of
from demand.incidents.labels import with_labels
from demand.incidents.model import ARRAYS, MODEL, Model, learn_model, load_model, save_model
from demand.incidents.panel import Panel, panel_of
from demand.incidents.report import ALARMS, alarms_json, verdict_of, write_report
from demand.incidents.words import tell_all
from plumbing.command import say, say_json
from plumbing.errors import InputError, printable
from plumbing.occupied import occupied
from plumbing.plain import finite_or_none
from plumbing.whole import Draft, check_replaceable

EXAMPLES = """examples:
  python -m demand incidents simulate --scenario arterial --days 5 --seed 1 --out runs/normal
  python -m demand incidents learn runs/normal/counts --out runs/usual \\
      --network arterial --places runs/normal/places.csv
  python -m demand incidents simulate --scenario arterial --days 2 --seed 2 --incidents --out runs/bad
  python -m demand incidents watch runs/bad/counts --model runs/usual --out runs/alarms
  python -m demand incidents judge runs/bad/counts --model runs/usual --incidents runs/bad/incidents.csv

Learning takes a folder of counts (python -m demand import) of four days or more, by minutes where there is a choice,
and no labels. With --network and --places, detectors up- and downstream of each other are read together; without,
each approach or detector is watched by itself, and a closed road looks like a dead detector.
"""


def main(arguments: list[str] | None = None) -> int:
    """The command. Returns its exit status."""
    options = _parser().parse_args(arguments)
    status: int = options.run(options)
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m demand incidents", description=__doc__, epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    steps = parser.add_subparsers(dest="step", metavar="STEP", required=True)
    learn = steps.add_parser("learn", help="learn what is usual from a folder of counts")
    learn.add_argument("counts", type=Path, help="folder of counts; some unknown incidents in it do little harm")
    learn.add_argument("--network", help="scenario name, .sumocfg or .net.xml: what lies up- and downstream of what")
    learn.add_argument(
        "--places", type=Path, help="CSV of detector, lane, to_end_m [m]: where the detectors lie in it"
    )
    learn.add_argument(
        "--false-alarms", type=float, default=1.0, metavar="N", help="false alarms in 24 hours to allow (default 1)"
    )
    learn.add_argument("--labelled", type=Path, metavar="COUNTS", help="further counts, with known incidents")
    learn.add_argument("--incidents", type=Path, help="CSV of those: begin, end, edge, lanes, severity, at_m")
    learn.add_argument("--out", type=Path, required=True, help="folder of the model")
    learn.set_defaults(run=_learn)
    watch = steps.add_parser("watch", help="raise alarms for a folder of counts, in plain words")
    watch.add_argument("counts", type=Path)
    watch.add_argument("--model", type=Path, required=True)
    watch.add_argument("--threshold", type=float, help="instead of the one that was learned; higher: fewer alarms")
    watch.add_argument("--json", action="store_true", help="print the alarms for machines")
    watch.add_argument("--out", type=Path, required=True, help="folder for report.html and alarms.json")
    watch.set_defaults(run=_watch)
    judge_ = steps.add_parser("judge", help="compare alarms with known incidents")
    judge_.add_argument("counts", type=Path)
    judge_.add_argument("--model", type=Path, required=True)
    judge_.add_argument(
        "--incidents", type=Path, required=True, help="CSV of begin, end, edge, lanes, severity, at_m"
    )
    judge_.add_argument("--json", action="store_true", help="print the table for machines")
    judge_.set_defaults(run=_judge)
    simulate = steps.add_parser("simulate", help="days of a scenario in SUMO as its detectors count them")
    simulate.add_argument("--scenario", default="arterial", help="name or path (default arterial)")
    simulate.add_argument("--days", type=int, default=5, help="(default 5)")
    simulate.add_argument("--seed", type=int, default=1, help="days of other seeds are other days (default 1)")
    simulate.add_argument(
        "--stretch", type=float, default=6.0, help="hours of a day per hour of the scenario (default 6)"
    )
    simulate.add_argument("--incidents", action="store_true", help="close lanes, about once in an hour")
    simulate.add_argument("--workers", type=int, default=1, help="simulations at a time (default 1)")
    simulate.add_argument("--out", type=Path, required=True, help="folder for counts/, places.csv and incidents.csv")
    simulate.set_defaults(run=_simulate)
    return parser


def _learn(options: argparse.Namespace) -> int:
    from demand.incidents.groups import groups_of_network, groups_of_table

    if not 0 < options.false_alarms <= 1000:
        raise InputError(f"--false-alarms is {options.false_alarms:g}; give a number above 0 and up to 1000")
    if (options.network is None) != (options.places is None):
        raise InputError("--network and --places belong together: give both, or neither")
    if (options.labelled is None) != (options.incidents is None):
        raise InputError("--labelled and --incidents belong together: give both, or neither")
    folder = CountsFolder(options.counts)
    check_apart(options.out, options.counts, options.places, options.labelled, options.incidents)
    with occupied(options.out):
        check_replaceable(options.out, "a model of incidents", MODEL, (ARRAYS,))
        panel = panel_of(folder)
        if options.network is None:
            groups = groups_of_table(folder.detectors(), panel.detectors)
        else:
            from demand.incidents.places import read_places
            from scenarios.loading import load

            network = load(options.network).network
            places = read_places(options.places, network)
            if missing := [name for name in panel.detectors if name not in places]:
                say(f"{len(missing)} detectors have no place and are not watched, such as {printable(missing[0])}")
            groups = groups_of_network(network, places, panel.detectors)
            if not groups:
                raise InputError(f"{options.places} names none of the detectors of {options.counts}; check the names")
        say(f"{len(panel.detectors)} detectors in {len(groups)} groups, {len(panel.times)} intervals")
        model, normal = learn_model(
            panel,
            groups,
            folder.about.zone,
            options.false_alarms,
            lambda done, of: say(f"learned {done} of {of} passes"),
        )
        if options.labelled is not None:
            labelled = _same_interval(options.labelled, model, options.counts)
            truth = truth_of(labelled, model.groups, read_incidents(options.incidents))
            model = with_labels(model, normal, labelled, truth)
        save_model(model, options.out)
    say(f"threshold {model.threshold:.2f}, for {model.a_day:g} false alarms in 24 hours: {options.out}")
    counts, out = shlex.quote(str(options.counts)), shlex.quote(str(options.out))
    say(f"next, with newer counts: python -m demand incidents watch {counts} --model {out} --out {out}-alarms")
    return 0


def _opened(options: argparse.Namespace) -> tuple[Model, Panel]:
    model = load_model(options.model)
    return model, _same_interval(options.counts, model, options.model)


def _same_interval(counts: Path, model: Model, learned_from: Path) -> Panel:
    folder = CountsFolder(counts)
    if folder.about.interval_s != model.usual.interval_s:
        raise InputError(
            f"{counts} counts every {folder.about.interval_s} s, and {learned_from} every "
            f"{model.usual.interval_s} s; give counts of the same interval"
        )
    if folder.about.zone != model.zone:
        raise InputError(
            f"{counts} is of {folder.about.zone}, and {learned_from} of {model.zone}; give counts of the same place"
        )
    return panel_of(folder, model.usual.detectors)


def _watch(options: argparse.Namespace) -> int:
    model, panel = _opened(options)
    if options.threshold is not None:
        model = dataclasses.replace(model, threshold=options.threshold)
    check_apart(options.out, options.counts, options.model)
    with occupied(options.out):
        check_replaceable(options.out, "alarms", ALARMS, ("report.html",))
        reading = model.reading(panel)
        told = tell_all(model, panel, reading)
        write_report(options.out, str(options.counts), told, model, panel, reading)
    if options.json:
        say_json(alarms_json(told, model, panel))
        return 0
    for alarm in told:
        say(f"{alarm.raised[:10]} {alarm.text}")
    say(f"{verdict_of(told, panel)} {options.out / 'report.html'}")
    return 0


def _judge(options: argparse.Namespace) -> int:
    model, panel = _opened(options)
    incidents = read_incidents(options.incidents)
    truth = truth_of(panel, model.groups, incidents)
    scores = model.reading(panel).scores
    chosen, all_ = judge(scores, panel, truth, model.threshold), curve(scores, panel, truth, 25)
    if options.json:
        say_json({"chosen": verdict_json(chosen), "curve": [verdict_json(v) for v in all_]})
        return 0
    say("threshold  detected  within 5 min  median min  false alarms/24 h")
    for v in [*all_, chosen]:
        say(
            f"{v.threshold:9.2f}  {v.detected:8.0%}  {v.in_time:12.0%}  {v.median_min or float('nan'):10.1f}  "
            f"{v.false_a_day:17.2f}{'  the chosen one' if v is chosen else ''}"
        )
    say(f"{chosen.incidents} incidents, {24 * chosen.normal_days:.1f} hours without; in time: {IN_TIME_MIN:g} min")
    return 0


def verdict_json(v: Verdict) -> dict[str, Any]:
    """A verdict as plain values."""
    return {
        "threshold": finite_or_none(v.threshold), "incidents": v.incidents, "detected": v.detected,
        "within_5_min": v.in_time, "median_min": v.median_min, "false_alarms": v.false_alarms,
        "normal_days": v.normal_days, "false_alarms_a_day": v.false_a_day, "alarms_elsewhere": v.elsewhere,
    }  # fmt: skip


def read_incidents(path: Path) -> pl.DataFrame:
    """A CSV of incidents, with times of ISO 8601 in UTC.

    Raises:
        InputError: it cannot be read.
    """
    from demand.incidents.simulation import INCIDENTS

    try:
        table = pl.read_csv(path, infer_schema=False)
        return table.select(
            pl.col(name).str.to_datetime("%Y-%m-%dT%H:%M:%S%z", time_unit="us", time_zone="UTC")
            if name in ("begin", "end")
            else pl.col(name).cast(kind)
            for name, kind in INCIDENTS.items()
        )
    except (OSError, pl.exceptions.PolarsError) as error:
        reason = printable(next(iter(str(error).splitlines()), type(error).__name__))
        raise InputError(
            f"{path} cannot be read ({reason}); give a CSV of {', '.join(INCIDENTS)}, with times such as "
            "2024-01-31T17:42:00+0000"
        ) from error


def _simulate(options: argparse.Namespace) -> int:
    from demand.incidents.places import places_table, usual_places
    from demand.incidents.simulation import Day, simulate
    from scenarios.loading import load

    if not 1 <= options.days <= 1000 or not 1 <= options.stretch <= 24 or not 1 <= options.workers <= 256:
        raise InputError("--days is 1 to 1000, --stretch 1 to 24, --workers 1 to 256; correct the one that is not")
    if not 0 <= options.seed < 10**6:
        raise InputError(f"--seed is {options.seed}; give a whole number from 0 to 999999")
    scenario = load(options.scenario)
    places = usual_places(scenario.network)
    days = [Day(n, 1000 * options.seed + n, options.stretch, options.incidents) for n in range(options.days)]
    with occupied(options.out):
        check_replaceable(options.out, "simulated days", "incidents.csv", ("counts", "places.csv"))
        progress = lambda done: say(f"simulated {done} of {len(days)} days", error=True)  # noqa: E731
        counts, incidents = simulate(scenario, places, days, options.workers, progress)
        write_simulated(options.out, scenario.name, counts, incidents, places_table(places))
    say(f"{counts.height} rows of {len(places)} detectors, {incidents.height} incidents: {options.out}")
    return 0


def write_simulated(
    out: Path, name: str, counts: pl.DataFrame, incidents: pl.DataFrame, places: pl.DataFrame
) -> None:
    """Write simulated days: counts/, incidents.csv and places.csv."""
    from demand.incidents.simulation import INTERVAL_S

    source = {"name": name, "format": "simulated", "sha256": "", "rows": counts.height}
    detectors = counts.select("detector").unique().with_columns(kind=pl.lit("detector"))
    with Draft(out) as draft:
        draft.path.mkdir()
        write_counts(draft.path / "counts", About(INTERVAL_S, "UTC", (source,)), detectors, [counts])
        times = (pl.col(of).dt.to_string("%Y-%m-%dT%H:%M:%S%z") for of in ("begin", "end"))
        incidents.with_columns(*times).write_csv(draft.path / "incidents.csv")
        places.write_csv(draft.path / "places.csv")
        draft.take_place()

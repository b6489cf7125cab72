"""`python -m demand calibrate` makes a scenario whose traffic agrees with counts, and says how well it does."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from demand.calibration.calibrate import Request, calibrate
from demand.calibration.counted import (
    MEAN,
    WEEKDAYS,
    CountedDay,
    chosen_dates,
    counted_day,
    local_table,
    mean_day,
    time_of_day_s,
)
from demand.calibration.fit import GEH_OK, GOAL
from demand.calibration.folder import RESULT, check_place
from demand.calibration.hand import read_hand
from demand.calibration.matching import Matches, match
from demand.calibration.places import Roads
from demand.calibration.projection import to_metres
from demand.counts.store import CountsFolder, check_apart
from plumbing.command import say, say_json
from plumbing.errors import InputError, printable
from plumbing.occupied import occupied
from plumbing.whole import Draft
from scenarios.arguments import add_file_arguments
from scenarios.loading import load
from scenarios.scenario import Scenario

EPILOG = """examples:
  python -m demand calibrate counts/main --scenario single --day 2024-05-06 --from 07:00 --to 09:00 --out towns/one
  python -m demand calibrate counts/main --scenario town.net.xml --places places.csv --days 2024-04-18..2024-05-05 \\
      --weekday mon tue wed thu fri --from 07:00 --to 09:00 --out towns/weeks
  python -m demand calibrate counts/main --scenario town.net.xml --weekday mean --out towns/mean
  python train.py --scenario towns/weeks/day-2024-04-18.sumocfg --demand days:towns/weeks --out runs/weeks

Where a detector is follows from its row in the counts' detectors.csv (approach, movement, lane, x, y), or from a
file (--places):
  detector,edge,lane,from_edge,to_edge,position_m
  loop 1,W_in,,,,          the whole edge
  loop 2,,W_in_2,,,40      a lane, 40 m before the stop line
  EBL,,,W_in,N_out,        a movement
The folder that comes out holds such a file, with all places: correct it and give it back with --places.

Routes are chosen by SUMO's routeSampler.py so that they agree with the counts; one simulation then counts what the
detectors would have. GEH below 5 for 95 % of the hourly counts is the goal; where it is missed, a warning says so.
exit status: 0 ok (also where the goal is missed), 2 bad input, 130 stopped by Ctrl-C."""

_SHOWN = 30


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(
        prog="python -m demand calibrate",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument("counts", type=Path, metavar="COUNTS_DIR", help="a folder of python -m demand import or clean")
    p.add_argument("--scenario", required=True, metavar="NAME|PATH", help="the network: a name, .sumocfg or .net.xml")
    add_file_arguments(p)
    p.add_argument("--places", type=Path, metavar="FILE.csv", help="where detectors are; what it leaves out is found")
    p.add_argument("--day", dest="days", nargs="+", metavar="DATE", default=[], help="one day, such as 2024-05-06")
    p.add_argument(
        "--days",
        dest="spans",
        nargs="+",
        metavar="DATE..DATE",
        default=[],
        help="days and spans of days (default: all)",
    )
    p.add_argument(
        "--weekday", nargs="+", metavar="mean|mon … sun", default=[],
        help="mean: one scenario of the mean working day; names: of the chosen days only these. 'mean sat sun' is "
        "the mean weekend day",
    )  # fmt: skip
    p.add_argument(
        "--from", dest="start", default="00:00", metavar="HH:MM", help="begin of the window (default: 00:00)"
    )
    p.add_argument("--to", dest="end", default="24:00", metavar="HH:MM", help="its end (default: 24:00)")
    p.add_argument(
        "--program", choices=("own", "webster"), default="own",
        help="the signal plan of the simulation that is compared with the counts: the network's own, or one that "
        "SUMO's tools set for these routes (default: own)",
    )  # fmt: skip
    p.add_argument("--seed", type=int, default=1, help="of the sampling and the simulation (default: 1)")
    p.add_argument("--json", action="store_true", help="print the result as JSON")
    p.add_argument("--out", type=Path, required=True, metavar="DIR", help="the folder to make")
    return p


def main(arguments: list[str] | None = None) -> int:
    """The command. Returns its exit status."""
    words = sys.argv[2:] if arguments is None else arguments
    options = parser().parse_args(words)
    folder = CountsFolder(options.counts)
    begin_s, end_s = time_of_day_s(options.start), time_of_day_s(options.end)
    scenario = load(options.scenario, routes=options.routes, additional=options.additional)
    check_apart(options.out, options.counts)
    roads = Roads(scenario.network)
    matches = find_places(folder, scenario, roads, options.places)
    _tell_matches(matches)
    days = _days(folder, matches, options, begin_s, end_s)
    command = shlex.join(("python", "-m", "demand", "calibrate", *words))
    asked = Request(folder, scenario, roads, matches, tuple(days), options.program, options.seed, command)
    with occupied(options.out):
        check_place(options.out)
        with Draft(options.out) as draft:
            draft.path.mkdir()
            result = calibrate(asked, draft.path)
            draft.take_place()
    _tell(result, options)
    return 0


def find_places(folder: CountsFolder, scenario: Scenario, roads: Roads, by_hand: Path | None) -> Matches:
    """Where the detectors of a folder are in a network.

    Raises:
        InputError: none of them is anywhere.
    """
    table = folder.detectors()
    names = table["detector"].to_list()
    known = read_hand(by_hand, roads, names) if by_hand else []
    needs = table.filter(~pl.col("detector").is_in([place.detector for place in known]))
    placed = needs["x"].is_not_null().any()
    matches = match(roads, table.to_dicts(), to_metres(scenario.net_file) if placed else lambda x, y: (x, y), known)
    if not matches.places:
        name, why = next(iter(matches.missing.items()))
        raise InputError(
            f"none of the {len(names)} detectors of {folder.path} has a place in {scenario.net_file} "
            f"({printable(name, 40)}: {why}); state where they are with --places FILE.csv (see --help)"
        )
    return matches


def _tell_matches(matches: Matches) -> None:
    for place in matches.doubtful:
        say(f"doubtful: {printable(place.detector)} at {place.words}: {'; '.join(place.doubts)}", error=True)
    for name, why in matches.missing.items():
        say(f"left out: {printable(name)}: {why}", error=True)


def _days(
    folder: CountsFolder, matches: Matches, options: argparse.Namespace, begin_s: int, end_s: int
) -> list[CountedDay]:
    placed = [place.detector for place in matches.places]
    table = local_table(folder, placed)
    mean, names = MEAN in options.weekday, [day for day in options.weekday if day != MEAN]
    for name in names:
        if name not in WEEKDAYS:
            raise InputError(f"--weekday {printable(name, 40)!r} is neither {MEAN} nor one of {', '.join(WEEKDAYS)}")
    weekdays = names or (list(WEEKDAYS[:5]) if mean else [])
    dates = chosen_dates(table, [*options.days, *options.spans], weekdays, str(folder.path))
    interval_s = folder.about.interval_s
    if mean:
        return [mean_day(table, dates, begin_s, end_s, interval_s)]
    return [counted_day(table, date, begin_s, end_s, interval_s) for date in dates]


def _tell(result: Mapping[str, Any], options: argparse.Namespace) -> None:
    if options.json:
        say_json(result)
    else:
        rows: list[tuple[str, ...]] = [
            ("detector", "counted/h", "simulated/h", "mean GEH", "worst GEH", f"GEH<{GEH_OK:g}", "RMSE veh")
        ]
        detectors = sorted(result["detectors"], key=lambda of: -of["worst_geh"])
        for of in detectors[:_SHOWN]:
            flows = (f"{of[name]:.0f}" for name in ("counted_vph", "simulated_vph"))
            fit = (f"{of[name]:.1f}" for name in ("mean_geh", "worst_geh"))
            rows.append(
                (printable(of["detector"], 40), *flows, *fit, f"{of['share_ok']:.0%}", f"{of['rmse_veh']:.1f}")
            )
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            first, *rest = (cell.rjust(width) for cell, width in zip(row, widths, strict=True))
            say("  ".join((row[0].ljust(len(first)), *rest)))
        if len(detectors) > _SHOWN:
            say(f"and {len(detectors) - _SHOWN} more, which fit better; {RESULT} has all")
        say(
            f"GEH below 5 for {result['share_geh_below_5']:.1%} of {result['hourly_counts']:,} hourly counts"
            f" (goal: {GOAL:.0%})"
        )
    for line in result["warnings"]:
        say(f"warning: {line}", error=True)
    first = options.out / f"day-{result['days'][0]['day']}.sumocfg"
    many = f" --demand {shlex.quote(f'days:{options.out}')}" if len(result["days"]) > 1 else ""
    told = shlex.quote(str(first))
    say(f"report: {options.out / 'report.html'}", error=options.json)
    say(
        f"next: python evaluate.py --scenario {told}{many} --controllers fixed_time actuated greedy",
        error=options.json,
    )
    train = (
        f"python train.py --scenario {told}{many} --agent ppo --observation planned --steps 20000 --out runs/first"
    )
    say(f"      {train}", error=options.json)

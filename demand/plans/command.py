"""`python -m demand plans`: signal plans for the flows that come, and which of them runs when.

Plans are made for groups of similar flows of earlier days. For each day of a calibrated folder, one of them is chosen
every quarter of an hour, and the days' schedules are written as SUMO's additional files, which evaluate.py takes as
controllers.
"""

from __future__ import annotations

import argparse
import datetime
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from demand.calibration.hand import read_hand
from demand.calibration.places import Roads
from demand.counts.series import Series, read_series
from demand.counts.store import CountsFolder, check_apart
from demand.counts.timeline import Numbers
from demand.forecast.runtime import Forecaster
from demand.plans.additional import additional_xml
from demand.plans.choice import Plan, filled, make_plans, plan_delays
from demand.plans.days import (
    Window,
    counted_vph,
    date_numbers,
    date_of,
    forecast_vph,
    types_of,
    usual_vph,
    window_of,
)
from demand.plans.folder import DaysFolder, read_folder
from demand.plans.lanes import LaneFlows, TimedSignal, lane_flows, timed_signals
from demand.plans.splits import LONGEST_CYCLE_S, Rates
from demand.plans.tables import as_text, result_of
from plumbing.command import say, say_json
from plumbing.errors import InputError
from plumbing.occupied import occupied
from plumbing.plain import json_bytes
from plumbing.whole import Draft, check_replaceable

RESULT = "plans.json"
CLOCK, FORECAST, HINDSIGHT = "clock", "forecast", "hindsight"
WHY = {
    CLOCK: "by the clock: for the flows usual at that time on earlier days",
    FORECAST: "by forecast: for the flows forecast at the begin of each period by what was counted until then",
    HINDSIGHT: "in hindsight: for the flows that came, which nobody knows beforehand; an upper reference",
}
EPILOG = """examples:
  python -m demand plans counts/mine --scenario towns/last --out plans/last
  python -m demand forecast counts/mine --minutes 15 --test-days 8 --out forecasts/mine
  python -m demand plans counts/mine --scenario towns/last --forecast forecasts/mine --plans 6 --out plans/last
  python evaluate.py --scenario towns/last/day-2024-05-06.sumocfg --seeds 1 --controllers fixed_time \\
      plans/last/plans-fixed.add.xml plans/last/plans-2024-05-06-clock.add.xml \\
      plans/last/plans-2024-05-06-forecast.add.xml

Plans are made of the days before the first one of --scenario. The forecast must not have learned from the days that
it is tried on: keep them out of its training with --test-days.

--out gets plans-DAY-clock.add.xml (the flows usual at that time), plans-DAY-forecast.add.xml (with --forecast),
plans-DAY-hindsight.add.xml (the flows that came: an upper reference), plans-fixed.add.xml (the one best plan for all
earlier flows), and plans.json, which says which plan runs when, and why.
exit status: 0 ok, 2 bad input, 130 stopped by Ctrl-C."""
MOST_PLANS = 20


def main(arguments: list[str] | None = None) -> int:
    """The command. Returns its exit status."""
    words = sys.argv[2:] if arguments is None else arguments
    options = _parser().parse_args(words)
    _check(options)
    check_apart(options.out, options.counts, options.scenario, options.forecast)
    folder = read_folder(options.scenario)
    forecaster = Forecaster(options.forecast) if options.forecast else None
    series = read_series(CountsFolder(options.counts))
    window = window_of(series, folder.begin_s, folder.end_s)
    roads = Roads(folder.scenario.network)
    lanes = lane_flows(roads, read_hand(folder.places, roads, series.detectors), series.detectors)
    signals = timed_signals(folder.scenario.network, lanes.lanes)
    _check_cycle(options.cycle, signals, window)
    with occupied(options.out), threadpool_limits(1):
        check_replaceable(options.out, "plans", RESULT, ("plans-*.add.xml",))
        told = {"command": shlex.join(("python", "-m", "demand", "plans", *words)), "scenario": folder.path.name}
        result = _choose(options, folder, series, window, lanes, signals, forecaster, told)
    if options.json:
        say_json(result)
    else:
        say(as_text(result))
    say(f"written to {options.out}; judge them with", error=options.json)
    day, more = folder.days[0], f" {options.out}/plans-{folder.days[0]}-{FORECAST}.add.xml" if forecaster else ""
    say(
        f"  python evaluate.py --scenario {folder.path}/day-{day}.sumocfg --seeds 1 --controllers fixed_time "
        f"{options.out}/plans-fixed.add.xml {options.out}/plans-{day}-{CLOCK}.add.xml{more}",
        error=options.json,
    )
    return 0


def _choose(
    options: argparse.Namespace,
    folder: DaysFolder,
    series: Series,
    window: Window,
    lanes: LaneFlows,
    signals: list[TimedSignal],
    forecaster: Forecaster | None,
    told: Mapping[str, Any],
) -> dict[str, Any]:
    """Make the plans and the schedules, and write them. Returns what plans.json holds."""
    dates = [date_of(day, folder.path) for day in folder.days]
    numbers, types = date_numbers(series, dates), types_of(dates)
    earlier = _earlier(series, min(dates))
    past = date_numbers(series, earlier)
    before = lanes.of(counted_vph(series, past, window))
    past_types = types_of(earlier)
    if np.isnan(before).all():
        raise InputError(
            f"{options.counts} knows no count of the window on days before {min(dates)}; import more days"
        )
    alike = np.isin(past_types, types) if np.isin(past_types, types).any() else np.ones(len(past), bool)
    usual_past = usual_vph(before, past_types, past_types)
    learned = filled(before, usual_past)[alike].reshape(-1, len(lanes.lanes))
    rates = Rates(3600.0 / options.saturation_headway, float(window.period_s))
    say(f"plans for {len(learned):,} intervals of {int(alike.sum())} days", error=options.json)
    plans = make_plans(signals, learned, options.plans, rates, options.cycle)
    fixed = make_plans(signals, learned, 1, rates, options.cycle)
    usual = filled(usual_vph(before, past_types, types), np.array(0.0))
    came = filled(lanes.of(counted_vph(series, numbers, window)), usual)
    flows = {CLOCK: usual, HINDSIGHT: came}
    if forecaster is not None:
        foreseen = filled(lanes.of(forecast_vph(series, forecaster, numbers, window)), usual)
        flows = {CLOCK: usual, FORECAST: foreseen, HINDSIGHT: came}
    costs = {way: _costs(signals, plans, of, rates) for way, of in flows.items()}
    chosen = {way: cost.argmin(axis=2) for way, cost in costs.items()}
    method = forecaster.about.method if forecaster else None
    result = result_of(
        {**told, "trained_on": [str(date) for date, like in zip(earlier, alike, strict=True) if like],
         "saturation_headway_s": options.saturation_headway, "forecast": method,
         "ways": {way: WHY[way] for way in flows}},
        signals, (fixed[0], plans), folder.days, window, flows, costs, chosen,
        _costs(signals, fixed, came, rates)[:, :, 0],
    )  # fmt: skip
    files = _files(signals, plans, fixed, folder.days, window, chosen)
    with Draft(options.out) as draft:
        draft.path.mkdir()
        for name, content in files.items():
            (draft.path / name).write_text(content, encoding="utf-8")
        (draft.path / RESULT).write_bytes(json_bytes(result))
        draft.take_place()
    return result


def _costs(signals: Sequence[TimedSignal], plans: Sequence[Plan], flows: Numbers, rates: Rates) -> Numbers:
    """(days, periods, plans) vehicle-seconds of delay an hour."""
    days, periods, lanes = flows.shape
    return plan_delays(signals, plans, flows.reshape(-1, lanes), rates).reshape(days, periods, len(plans))


def _files(
    signals: Sequence[TimedSignal],
    plans: Sequence[Plan],
    fixed: Sequence[Plan],
    days: Sequence[str],
    window: Window,
    chosen: Mapping[str, Numbers],
) -> dict[str, str]:
    begins_s = window.begins_s
    files = {
        "plans-fixed.add.xml": additional_xml(
            signals, fixed, begins_s, [0] * len(begins_s), "the one best plan for all"
        )
    }
    for way, of in chosen.items():
        for day, numbers in zip(days, of, strict=True):
            why = f"{day}: {WHY[way]}"
            files[f"plans-{day}-{way}.add.xml"] = additional_xml(
                signals, plans, begins_s, [int(n) for n in numbers], why
            )
    return files


def _earlier(series: Series, first: datetime.date) -> list[datetime.date]:
    """All days of a series before a date. Raises InputError where there is none."""
    begin = datetime.date(1970, 1, 1) + datetime.timedelta(days=int(series.clock.ordinal[0]))
    found = [begin + datetime.timedelta(days=n) for n in range((first - begin).days)]
    if not found:
        raise InputError(
            f"the counts begin on {begin}, and the first day to choose plans for is {first}; plans are "
            "made of earlier days: calibrate later ones"
        )
    return found


def _check(options: argparse.Namespace) -> None:
    if not 1 <= options.plans <= MOST_PLANS:
        raise InputError(f"--plans is {options.plans}; give 1 to {MOST_PLANS}")
    if not 1.0 <= options.saturation_headway <= 4.0:
        raise InputError(f"--saturation-headway is {options.saturation_headway:g}; give 1 to 4 seconds")


def _check_cycle(cycle_s: float | None, signals: Sequence[TimedSignal], window: Window) -> None:
    for signal in signals:
        least = signal.kept_s + sum(signal.least_s)
        if cycle_s is not None and not (least <= cycle_s <= LONGEST_CYCLE_S and cycle_s == round(cycle_s)):
            raise InputError(
                f"--cycle is {cycle_s:g}; signal {signal.program.tls_id} needs whole seconds from {least:g} to "
                f"{LONGEST_CYCLE_S}"
            )
        if (cycle_s or signal.cycle_s) > window.period_s:
            raise InputError(
                f"the cycle of signal {signal.program.tls_id} is longer than the {window.period_s} s that a plan "
                "holds; give --cycle"
            )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m demand plans",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "counts", type=Path, metavar="COUNTS_DIR", help="a folder of python -m demand import or clean"
    )
    parser.add_argument(
        "--scenario", type=Path, required=True, metavar="DAYS_FOLDER",
        help="a folder of python -m demand calibrate: the days to choose plans for, and where detectors are",
    )  # fmt: skip
    parser.add_argument(
        "--forecast", type=Path, metavar="MODEL", help="a folder of python -m demand forecast: also choose by it"
    )
    parser.add_argument("--plans", type=int, default=4, metavar="K", help="how many to choose from (default: 4)")
    parser.add_argument(
        "--cycle", type=float, metavar="S",
        help="of all plans (default: each plan's best for a single signal; several keep their own, with offsets)",
    )  # fmt: skip
    parser.add_argument(
        "--saturation-headway", type=float, default=2.0, metavar="S",
        help="seconds between two vehicles of a lane that leave a queue (default: 2)",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print plans.json")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the folder to make")
    return parser

"""The options that choose a scenario and its timing, the same in every command."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from scenarios.clock import timing_for
from scenarios.loading import load
from scenarios.scenario import Scenario
from signals.loops import DetectorFaults
from signals.timing import Timing


def add_scenario_arguments(parser: argparse.ArgumentParser, *, required: bool = True, demand: bool = True) -> None:
    """Which network and traffic, and which part of the day.

    Args:
        required: whether a scenario has to be named.
        demand: whether other traffic than the recorded may be asked for.
    """
    parser.add_argument(
        "--scenario", required=required, help="a name (python -m scenarios lists them), .sumocfg or .net.xml"
    )
    add_file_arguments(parser)
    parser.add_argument("--begin", type=float, metavar="S", help="begin of the window [s] (default: the scenario's)")
    parser.add_argument("--end", type=float, metavar="S", help="end of the window [s] (default: the scenario's)")
    parser.add_argument(
        "--ignore-junction-blocker", type=float, metavar="S",
        help="SUMO's option: who has stood inside a junction for so long no longer holds up those who cross; named "
        "with all results (default: the scenario's, else never; -1: never)",
    )  # fmt: skip
    if demand:
        parser.add_argument(
            "--demand", default="recorded", metavar="recorded|held-out[:SEED]|scaled:F|days:FOLDER|generated:MODEL",
            help="held-out: rescaled and jittered demand that no training saw; scaled: F times the recorded one; "
            "days: each run has one of the folder's days (day-*.rou.xml), by its seed; generated: days that a model "
            "of python -m demand generate makes up for a calibrated scenario, other ones for training than for "
            "evaluation (default: recorded)",
        )  # fmt: skip


def add_fault_arguments(parser: argparse.ArgumentParser) -> None:
    """How detectors fail, see `signals.loops.DetectorFaults`."""
    parser.add_argument("--dropout", type=float, default=0.0, help="probability that a detector dies in an episode")
    parser.add_argument(
        "--stuck-on", type=float, default=0.0, help="probability that a detector sticks in an episode"
    )
    parser.add_argument("--latency", type=float, default=0.0, metavar="S", help="age of the detectors' readings [s]")


def faults_from(options: argparse.Namespace) -> DetectorFaults:
    """The faults that these options ask for.

    Raises:
        InputError: they are no probabilities, or do not go together.
    """
    return DetectorFaults(options.dropout, options.stuck_on, options.latency)


def add_file_arguments(parser: argparse.ArgumentParser) -> None:
    """Files beside a network's own."""
    parser.add_argument("--routes", nargs="+", default=[], type=Path, metavar="FILE", help="route files")
    parser.add_argument("--additional", nargs="+", default=[], type=Path, metavar="FILE", help="additional files")


def demand_from(options: argparse.Namespace) -> str:
    """The demand that these options ask for, as `load` wants it."""
    asked: str = getattr(options, "demand", "recorded")
    return "held-out:1" if asked == "held-out" else asked


def scenario_from(options: argparse.Namespace) -> Scenario:
    """The scenario that these options choose.

    Raises:
        InputError: there is none, or a file is wrong.
    """
    return load(
        options.scenario,
        routes=options.routes,
        additional=options.additional,
        begin_s=options.begin,
        end_s=options.end,
        demand=demand_from(options),
        ignore_junction_blocker_s=options.ignore_junction_blocker,
    )


TIMING_OPTIONS = {
    "yellow": ("yellow_change_s", "least yellow [s]"),
    "red-clearance": ("red_clearance_s", "least red clearance where paths conflict [s]"),
    "min-green": ("min_green_s", "least green [s]"),
    "max-green": ("max_green_s", "greatest green while others wait, where a program states none [s]"),
    "max-red": ("max_red_s", "longest red of a link; at least two cycles of the network's own program [s]"),
    "decision-interval": ("decision_interval_s", "time between decisions [s]"),
    "sim-step": ("sim_step_s", "length of a simulation step [s]"),
}


TIMING_WORDS = ("change_interval", "spillback_guard")
"""Fields of `Timing` that are no numbers; their options have the same names."""


def add_timing_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that set `Timing`, the same in every command."""
    defaults, group = Timing(), parser.add_argument_group("timing")
    for option, (name, meaning) in TIMING_OPTIONS.items():
        value = getattr(defaults, name)
        configured = name == "sim_step_s"
        said = f"the configuration's step-length, else {value:g}" if configured else f"{value:g}"
        group.add_argument(
            f"--{option}", type=float, default=None if configured else value, metavar="S",
            help=f"{meaning} (default: {said})",
        )  # fmt: skip
    group.add_argument(
        "--change-interval", default=defaults.change_interval, metavar="KIND",
        help="calculated (yellow by speed, red clearance by geometry; the default), or fixed (the two values "
        "above for all, as most published studies have it: for comparison only)",
    )  # fmt: skip
    group.add_argument(
        "--spillback-guard", action="store_true", default=defaults.spillback_guard,
        help="begin no green whose exits are all full, and end such a one early for a phase that can flow (default: "
        "off; not with detectors, which do not see the exits)",
    )  # fmt: skip


def timing_from(arguments: argparse.Namespace) -> Timing:
    """The timing that these options ask for, on the scenario that they name.

    Raises:
        InputError: the values do not go together.
    """
    values = {name: getattr(arguments, option.replace("-", "_")) for option, (name, _) in TIMING_OPTIONS.items()}
    asked: dict[str, Any] = {name: value for name, value in values.items() if value is not None}
    asked |= {name: getattr(arguments, name) for name in TIMING_WORDS}
    return timing_for(arguments.scenario or "", **asked)

"""The options that choose a scenario, the same in every command."""

from __future__ import annotations

import argparse
from pathlib import Path

from scenarios.scenario import Scenario, load


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
    if demand:
        parser.add_argument(
            "--demand", default="recorded", metavar="recorded|held-out[:SEED]|scaled:F",
            help="held-out: rescaled and jittered demand that no training saw; scaled: F times the recorded one "
            "(default: recorded)",
        )  # fmt: skip


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
    )

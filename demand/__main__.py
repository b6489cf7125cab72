"""`python -m demand` makes scenarios, forecasts and generated days of a file of counts; `--help` lists the steps."""

from __future__ import annotations

import argparse
import importlib
import sys

from plumbing.command import run_command

COMMANDS: dict[str, tuple[str, str]] = {
    "import": ("demand.counts.command", "read counts into a counts folder, whatever format they come in"),
    "clean": ("demand.cleaning.command", "find what is wrong in a counts folder, fill short gaps, and report"),
    "calibrate": ("demand.calibration.command", "make a scenario whose traffic agrees with counts"),
    "forecast": ("demand.forecast.command", "train and judge forecasts 5 to 60 minutes ahead"),
    "generate": ("demand.generation.command", "learn what days are like, and make new ones"),
    "plans": ("demand.plans.command", "choose signal plans by the clock, by forecast, and in hindsight"),
    "incidents": (
        "demand.incidents.command",
        "learn what is usual, and raise alarms for what is not, in plain words",
    ),
}
"""Each command's module, which has `main(arguments) -> exit status`, and its line of help. A module is imported only
when its command is called, so that importing counts needs no learning library."""


def main(arguments: list[str] | None = None) -> int:
    """The command. Returns its exit status."""
    words = sys.argv[1:] if arguments is None else arguments
    parser = argparse.ArgumentParser(
        prog="python -m demand",
        description=__doc__,
        epilog="python -m demand COMMAND --help explains a command; docs/demand.md walks through all of them.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, (_, help_) in COMMANDS.items():
        commands.add_parser(name, help=help_, add_help=False)
    options, _ = parser.parse_known_args(words[:1])
    module = importlib.import_module(COMMANDS[options.command][0])
    status: int = module.main(words[1:])
    return status


if __name__ == "__main__":
    run_command(main)

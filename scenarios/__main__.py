"""`python -m scenarios` lists the scenarios; `describe` explains every signal of one; `picture` draws it; `import`
makes one of a map."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from plumbing.command import run_command, say, say_json
from plumbing.errors import InputError
from scenarios.clock import timing_for
from scenarios.loading import load, names
from scenarios.provenance import made_up_line
from scenarios.scenario import Scenario


def main(arguments: list[str] | None = None) -> int:
    """The command. Returns its exit status."""
    words = sys.argv[1:] if arguments is None else arguments
    options = _parser().parse_args(words)
    if options.command == "import":
        from scenarios.maps.command import run

        return run(options, words)
    if options.command == "describe":
        return _describe(_load(options), options.json, options.changes)
    if options.command == "picture":
        from scenarios.picture import draw, legend
        from scenarios.streets import read_streets

        scenario = _load(options)
        streets = read_streets(scenario.net_file)
        draw(scenario.network, options.out, streets)
        for number, tls_id, place in legend(scenario.network, streets):
            say(f"{number:>4}  {tls_id}{'; ' + place if place else ''}")
        say(f"wrote {options.out}")
        return 0
    return _list(options.json)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m scenarios",
        description="Lists the scenarios, explains one's signals, or makes one of a map.",
        epilog="examples: python -m scenarios describe cologne3 · python -m scenarios describe my.net.xml "
        "--routes my.rou.xml · python -m scenarios picture grid:2x5 --out grid.svg · python -m scenarios import "
        "town.osm.xml --out towns/mine",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    commands = parser.add_subparsers(dest="command", metavar="describe | picture | import")
    for name, help_ in (
        ("describe", "explain every signal: its phases, and what can't be controlled"),
        ("picture", "draw the network as an SVG file"),
    ):
        command = commands.add_parser(name, help=help_)
        command.add_argument("scenario", help="a name, a .sumocfg or a folder with one, or a .net.xml(.gz) file")
        command.add_argument("--routes", nargs="+", default=[], type=Path, help="route files")
        command.add_argument("--additional", nargs="+", default=[], type=Path, help="additional files")
        if name == "describe":
            command.add_argument("--changes", action="store_true", help="every change interval, phase by phase, too")
            command.add_argument(
                "--json", action="store_true", default=argparse.SUPPRESS, help="print JSON instead of text"
            )
        else:
            command.add_argument("--out", type=Path, required=True, help="the SVG file to write")
    from scenarios.maps.command import add_parser

    add_parser(commands)
    return parser


def _load(options: argparse.Namespace) -> Scenario:
    return load(options.scenario, routes=options.routes, additional=options.additional)


def summary(scenario: Scenario) -> dict[str, Any]:
    """A scenario's row of the list."""
    network = scenario.network
    signals = scenario.signals
    lanes = {c.from_lane for tls in signals for c in network.controlled[tls] if network.lanes[c.from_lane].vehicles}
    vehicles, persons = scenario.demand_counts()
    return {
        "name": scenario.name,
        "description": scenario.description,
        "signals": len(signals),
        "controlled_lanes": len(lanes),
        "vehicles": vehicles,
        "persons": persons,
        "begin_s": scenario.begin_s,
        "end_s": scenario.end_s,
        "duration_s": scenario.horizon_s,
        "licence": scenario.licence,
        "source": scenario.source,
        "made_up": scenario.made_up,
    }


def _list(as_json: bool) -> int:
    rows: list[dict[str, Any]] = []
    missing: list[str] = []
    for name in names():
        try:
            rows.append(summary(load(name)))
        except InputError as error:  # sumo-rl may be missing; the others can be listed all the same
            missing.append(f"{name}: {error}")
    if as_json:
        say_json({"scenarios": rows, "unavailable": missing})
        return 0
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for title in ("name", "signals", "lanes", "vehicles", "persons", "seconds", "licence"):
        table.add_column(title, justify="left" if title in ("name", "licence") else "right", no_wrap=True)
    for row in rows:
        table.add_row(
            row["name"],
            str(row["signals"]),
            str(row["controlled_lanes"]),
            str(row["vehicles"]),
            str(row["persons"]),
            f"{row['duration_s']:.0f}",
            row["licence"],
        )
    console = Console()
    console.print(table)
    console.print()
    sources = dict.fromkeys(row["source"] for row in rows)
    for source in sources:
        console.print(
            f"{', '.join(row['name'] for row in rows if row['source'] == source)}: {source}",
            highlight=False,
            soft_wrap=True,
        )
    console.print(
        "grid comes in any size (grid:2x5); your own .sumocfg or .net.xml works in place of a name.\n"
        "python -m scenarios describe NAME explains the signals of one.",
        highlight=False,
        soft_wrap=True,
    )
    for line in missing:
        say(f"unavailable: {line}", error=True)
    return 0


def _describe(scenario: Scenario, as_json: bool, changes: bool) -> int:
    about = summary(scenario)
    signals = _explained(scenario, changes or as_json)
    if as_json:
        say_json({**about, "explanation": signals})
        return 0
    say(f"{about['name']}: {about['description']}")
    say(
        f"  {about['signals']} signals, {about['controlled_lanes']} controlled lanes, "
        f"{about['vehicles']} vehicles, {about['persons']} persons, "
        f"{about['begin_s']:.0f} to {about['end_s']:.0f} s"
    )
    say(f"  licence {about['licence']}; source: {about['source']}")
    if scenario.made_up:
        say(f"  {made_up_line(scenario.made_up)}")
    say("\n".join(["", *signals]))
    return 0


def _explained(scenario: Scenario, everything: bool) -> list[str]:
    """The lines that explain each signal, with the timing that a run has; imported late, as the plain list needs no
    geometry."""
    network, timing = scenario.network, timing_for(scenario)
    if everything:
        from signals.intersection import explain

        return list(explain(network, timing))
    from scenarios.describe import overview

    return overview(network, timing)


if __name__ == "__main__":
    run_command(main)

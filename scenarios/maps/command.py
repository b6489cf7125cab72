"""`python -m scenarios import`: a map becomes a scenario, and all that was guessed or made up on the way is said."""

from __future__ import annotations

import argparse
import dataclasses
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from plumbing.command import check_text, say, say_json
from plumbing.errors import InputError, printable
from plumbing.held import scratch
from plumbing.occupied import occupied
from plumbing.whole import Draft
from scenarios.clock import timing_for
from scenarios.loading import load
from scenarios.maps.assumption import CLEARING_S, HOUR_S, LEVELS, WARM_UP_S, Assumption
from scenarios.maps.convert import convert
from scenarios.maps.driving_side import driving_side
from scenarios.maps.extract import read_extract
from scenarios.maps.folder import LICENCE, Imported, Signal, check_out, next_commands, write_texts
from scenarios.maps.guesses import guesses
from scenarios.maps.made_up import DEMAND_S, counts, made_up, write_routes
from scenarios.maps.trial import OPTIONS, Trial, level_that_is_carried
from scenarios.naming import expanded
from scenarios.netfile import read_network
from scenarios.picture import draw, legend
from scenarios.provenance import made_up_line
from scenarios.streets import Street, read_streets
from scenarios.xmlfile import require_file
from signals.intersection import compile_signals
from signals.network import RoadNetwork

_SHOWN = 40  # signals listed in the terminal; the README has them all


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `import` to the command's parser."""
    parser = commands.add_parser(
        "import",
        help="make a scenario of an extract of OpenStreetMap",
        description="Makes a scenario of a map: a network with signals and crossings, and demand. Nothing is "
        "downloaded: export an extract on openstreetmap.org, or cut one out of a country's .pbf (osmium extract). "
        "What the map does not say is guessed, and listed; what nobody has counted is made up, and marked so in "
        "every table.",
        epilog="examples: python -m scenarios import town.osm.xml --out towns/mine · python -m scenarios import "
        "town.osm.pbf --out towns/mine --demand light · python -m scenarios import town.osm.gz --out towns/mine "
        "--routes counted.rou.xml",
    )
    parser.add_argument("map", type=Path, metavar="MAP", help=".osm, .osm.xml, the same as .gz or .bz2, or .osm.pbf")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the folder to make")
    demand = parser.add_mutually_exclusive_group()
    demand.add_argument(
        "--demand", choices=list(LEVELS), default="medium",
        help="how much traffic to make up, by road class and lane at the rim (default: medium)",
    )  # fmt: skip
    demand.add_argument(
        "--vehicles-per-hour", type=float, metavar="N", help="the same distribution, with so many vehicles in all"
    )
    demand.add_argument(
        "--routes", nargs="+", type=Path, metavar="FILE", help="route files of your own; none is made up"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of the made-up trips (default: 0)")
    parser.add_argument(
        "--traffic", choices=("auto", "left", "right"), default="auto",
        help="the side that traffic drives on (default: auto, by tags, roundabouts, addresses or place; it says how)",
    )  # fmt: skip
    parser.add_argument(
        "--guess-signals", action="store_true", help="let SUMO set signals at large junctions, where the map has none"
    )
    parser.add_argument("--licence", default=LICENCE, metavar="TEXT", help="the map's (default: OpenStreetMap's)")
    parser.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print JSON instead of text")


def run(options: argparse.Namespace, words: Sequence[str]) -> int:
    """The command. Returns its exit status.

    Raises:
        InputError: the map makes no scenario, or something cannot be written; nothing is left half written.
    """
    source, out = expanded(options.map), expanded(options.out)
    for word in words:
        check_text(word)
    require_file(source, "map")
    given = [expanded(path) for path in options.routes or ()]
    for path in given:
        require_file(path, "route file")
    if len({path.name for path in given}) < len(given):
        raise InputError("--routes: two files have the same name; rename one")
    level = options.demand if options.vehicles_per_hour is None else "own"
    assumption = Assumption(level, options.vehicles_per_hour, options.seed)
    with occupied(out):
        check_out(out)
        return _import(options, words, source, out, given, assumption)


def _import(
    options: argparse.Namespace, words: Sequence[str], source: Path, out: Path, given: list[Path],
    assumption: Assumption,
) -> int:  # fmt: skip
    def note(line: str) -> None:
        say(line, error=options.json)

    name = out.resolve().name
    note(f"reading {source}")
    extract = read_extract(source)
    if not (extract.signal_nodes or extract.signalled_crossings or options.guess_signals):
        raise InputError(
            f"map {source} has {len(extract.ways)} roads, but no traffic signals (highway=traffic_signals), so there "
            "is nothing to control; --guess-signals lets SUMO set some at large junctions"
        )
    side = driving_side(extract, options.traffic)
    with scratch("import") as folder, Draft(out) as draft:
        draft.path.mkdir()
        net = draft.path / f"{name}.net.xml"
        note(
            f"converting {len(extract.ways)} roads and {len(extract.signal_nodes)} points with signals by netconvert"
        )
        converted = convert(extract, net, folder, lefthand=side.left, guess_signals=options.guess_signals)
        network, streets = read_network(net), read_streets(net)
        if not network.controlled or not network.programs:
            raise InputError(
                f"map {source}: none of its {len(extract.signal_nodes)} points with signals stands at a junction of "
                "roads, so there is nothing to control; give a larger extract"
            )
        found = guesses(extract, network, streets, converted, side, options.guess_signals)
        imported = Imported(
            source.name, extract.sha256, printable(options.licence), tuple(words), _signals(network, streets),
            tuple(found), dict(converted.warnings), (), "", {}, (),
        )  # fmt: skip
        if given:
            for path in given:
                shutil.copyfile(path, draft.path / path.name)
            imported = dataclasses.replace(imported, route_files=tuple(path.name for path in given))
        else:
            imported = _with_demand(imported, net, network, streets, assumption, folder, note)
        draw(network, draft.path / f"{name}.svg", streets)
        write_texts(draft.path, name, imported, _config(name, imported), out)
        load(draft.path / f"{name}.sumocfg")  # whatever would stop a training stops the import
        draft.take_place()
    if options.json:
        say_json({**imported.plain(name), "out": str(out), "next": list(next_commands(out))})
    else:
        _tell(imported, out, name)
    return 0


def _with_demand(
    imported: Imported, net: Path, network: RoadNetwork, streets: dict[str, Street], assumption: Assumption,
    folder: Path, note: Callable[[str], None],
) -> Imported:  # fmt: skip
    """The import with demand that is made up, at a level that fixed time carries."""
    note("making up demand")
    departures = made_up(net, network, streets, assumption, folder)
    note(f"trying it with fixed time ({_listed(counts(departures))})")
    kept, trials = level_that_is_carried(net, departures, assumption.seed, folder, lambda trial: note(f"  {trial}"))
    found = counts(kept)
    said = _made_up(assumption, trials[-1], found)
    write_routes(kept, net.with_name(net.name.replace(".net.xml", ".rou.xml")), made_up_line(said))
    routes = (net.name.replace(".net.xml", ".rou.xml"),)
    return dataclasses.replace(
        imported, route_files=routes, made_up=said, departures=found, trials=tuple(map(str, trials))
    )


def _made_up(assumption: Assumption, last: Trial, found: dict[str, int]) -> str:
    """What of the demand is made up, in a sentence without its full stop."""
    per_h = found.get("car", 0) * HOUR_S / DEMAND_S
    asked = (
        assumption.level if assumption.vehicles_per_h is None else f"{assumption.vehicles_per_h:g} vehicles an hour"
    )
    lowered = f", lowered to {last.share:.0%} of it as fixed time did not carry it" if last.share < 1 else ""
    jams = "" if last.carried else ", which fixed time does not carry either"
    return (
        f"nobody has counted it; {per_h:.0f} cars an hour by road class at the rim (level {asked}{lowered}{jams}), "
        f"seed {assumption.seed}: {_listed(found)}"
    )


def _listed(found: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {kind}{'s' if count != 1 else ''}" for kind, count in found.items())


def _signals(network: RoadNetwork, streets: dict[str, Street]) -> tuple[Signal, ...]:
    """What `scenarios describe` finds, by number."""
    plan = compile_signals(network, timing_for(""))
    phases = {item.tls_id: len(item.phases) for item in plan.intersections}
    reasons = {refusal.tls_id: refusal.reason for refusal in plan.refusals}
    return tuple(
        Signal(
            number,
            tls_id,
            place,
            phases.get(tls_id, 0),
            "" if tls_id in phases else reasons.get(tls_id, "no program"),
        )
        for number, tls_id, place in legend(network, streets)
    )


def _config(name: str, imported: Imported) -> list[tuple[str, str]]:
    """The options of the .sumocfg."""
    found = [("net-file", f"{name}.net.xml"), ("route-files", ",".join(imported.route_files))]
    if imported.made_up:  # with routes of the user's, the window is that of their departures
        found += [("begin", "0"), ("end", f"{WARM_UP_S + HOUR_S + CLEARING_S:g}")]
    return [*found, *OPTIONS]


def _tell(imported: Imported, out: Path, name: str) -> None:
    say(f"\n{name}: {imported.description}")
    for signal in imported.signals[:_SHOWN]:
        state = f"left to its program: {signal.left_alone}" if signal.left_alone else f"{signal.phases} phases"
        say(f"  {signal.number:>3}  {signal.tls_id:<28}  {state}{'; ' + signal.streets if signal.streets else ''}")
    if len(imported.signals) > _SHOWN:
        say(f"  … and {len(imported.signals) - _SHOWN} more in {out / 'README.md'}")
    say(f"the numbers are those of {out / f'{name}.svg'}")
    say("\nguessed, as the map does not say it:")
    for guess in imported.guesses:
        say(f"  {guess.what}: {guess.text}")
    if imported.warnings:
        say(f"  {sum(imported.warnings.values())} warnings of netconvert, by kind in {out / 'import.json'}")
    if imported.made_up:
        say(f"\n{made_up_line(imported.made_up)}")
    say(f"\nlicence: {imported.licence}\nwritten to {out}; next:")
    for line in next_commands(out):
        say(f"  {line}")

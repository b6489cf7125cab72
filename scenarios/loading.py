"""`load(name or path)` gives a Scenario: found, its files and its window checked, ready for SUMO."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from plumbing.errors import InputError, did_you_mean
from plumbing.several import several
from scenarios import build, resco
from scenarios.blockers import with_blocker
from scenarios.config import SumoConfig, read_config
from scenarios.from_counts import with_forecast, with_generated
from scenarios.naming import expanded, name_of
from scenarios.provenance import made_up_of, read_provenance
from scenarios.scenario import Scenario, plain
from scenarios.xmlfile import LARGEST, require_file, root_tag

CLEARING_S = 600.0
"""Time after the last departure at which a run ends by default."""
_OPEN_END_S = 3600.0  # for demand that never ends
MOST_DEPARTURES = 10_000_000
"""In a window: a whole country's day. More is a slip in a rate."""


def names() -> list[str]:
    """The scenarios that `load` knows by name. `grid` also comes in sizes, such as `grid:2x5`."""
    return [*build.EMBEDDED, *build.LAYOUTS, *resco.MAPS]


def load(
    name_or_path: str | Path,
    *,
    routes: Sequence[str | Path] = (),
    additional: Sequence[str | Path] = (),
    begin_s: float | None = None,
    end_s: float | None = None,
    demand: str = "recorded",
    ignore_junction_blocker_s: float | None = None,
    forecast: str | Path = "",
) -> Scenario:
    """Finds and checks a scenario: one of `names()`, a .sumocfg or a folder with one, or a .net.xml(.gz) with its
    routes.

    Args:
        routes: route files; with a name or a sumocfg they replace its own.
        additional: additional files, loaded after those of the sumocfg.
        begin_s, end_s: the window; by default the sumocfg's, else from the first departure until 600 s after
            the last.
        demand: "recorded", "held-out:SEED", "scaled:FACTOR", "days:FOLDER" with a route file per day, or
            "generated:MODEL" with days that a model of days makes up for a calibrated scenario.
        ignore_junction_blocker_s: SUMO's --ignore-junction-blocker [s]: who has stood inside a junction for so long
            no longer holds up those who cross its way; negative: never. By default as the configuration says, else
            never.
        forecast: a folder of `python -m demand forecast`, whose best model then forecasts as runs go on; "" for none.

    Raises:
        InputError: whatever is missing, broken or doesn't fit, in one line.
    """
    changed = _demand_of(demand)
    found = _find(name_or_path)
    if ignore_junction_blocker_s is not None:
        found = dataclasses.replace(found, options=with_blocker(found.options, ignore_junction_blocker_s))
    if routes:
        found = dataclasses.replace(found, route_files=_files("routes", routes))
    found = dataclasses.replace(found, additional_files=(*found.additional_files, *_files("additional", additional)))
    for path in (found.net_file, *found.route_files, *found.additional_files):
        what = "network" if path == found.net_file else "additional file"
        require_file(path, "route file" if path in found.route_files else what)
    let_in = found.sumo_files  # before anything else reads them
    found.without_waut(())
    found = dataclasses.replace(found, made_up=made_up_of(found.route_files))
    network = found.network
    if not network.controlled or not network.programs:
        raise InputError(
            f"network {found.net_file} has no traffic signals, so there is nothing to control; "
            "give one with signals (netconvert --tls.guess sets some)"
        )
    found = _with_window(found, begin_s, end_s)
    found.__dict__["sumo_files"] = let_in  # read once
    found = changed(found)
    return with_forecast(found, forecast) if forecast else found


def absolute_name(name_or_path: str | Path) -> str:
    """What `load` finds from any folder: a name stays as it is, a file gets its absolute path."""
    name = str(name_or_path)
    path = expanded(name)
    return str(path.absolute()) if path.exists() and not (name in resco.MAPS or _is_embedded(name)) else name


def absolute_demand(demand: str) -> str:
    """What `load` finds from any folder: a folder gets its absolute path."""
    kind, _, folder = demand.partition(":")
    return f"{kind}:{expanded(folder).absolute()}" if kind in ("days", "generated") and folder else demand


def _is_embedded(name: str) -> bool:
    return name.partition(":")[0] in (*build.EMBEDDED, *build.LAYOUTS) and not Path(name).is_file()


def _find(name_or_path: str | Path) -> Scenario:
    name = str(name_or_path)
    if name in resco.MAPS:
        of = resco.MAPS[name]
        scenario = _from_config(resco.config_path(name))
        return dataclasses.replace(
            scenario, name=name, description=of.description, licence=of.licence, source=of.source
        )
    if _is_embedded(name):
        built = build.embedded(name)
        return Scenario(
            name=name,
            description=built.description,
            licence="Apache-2.0",
            source="this project",
            net_file=built.net_file,
            route_files=(built.route_file,),
            additional_files=(),
            begin_s=built.begin_s,
            end_s=built.end_s,
            options=built.options,
        )
    path = expanded(name)
    if not path.exists() and not re.search(r"[/\\]|\.(xml|gz|sumocfg)$", name):
        raise InputError(
            f"unknown scenario {name!r}.{did_you_mean(name, names())} "
            f"Known are {', '.join(names())}; or give a .sumocfg or .net.xml file"
        )
    if path.is_dir():
        path = _only_config(path)
    tag = root_tag(path, "scenario")
    if tag == "net":
        return Scenario(
            name=name_of(path),
            **_about(path, path, "a network of the user's"),
            net_file=path.absolute(),
            route_files=(),
            additional_files=(),
            begin_s=math.nan,
            end_s=math.nan,
        )
    if tag.endswith("onfiguration"):
        return _from_config(path)
    raise InputError(
        f"{path} is neither a SUMO configuration nor a network: its root element is <{tag}>; "
        "give a .sumocfg or a .net.xml file (route files go with --routes)"
    )


def _only_config(folder: Path) -> Path:
    """The one configuration in a folder, such as one that `python -m scenarios import` has made."""
    found = sorted(folder.glob("*.sumocfg"))
    if len(found) != 1:
        names = ", ".join(path.name for path in found[:5]) or "none"
        raise InputError(
            f"scenario {folder} is a folder, which has to hold one .sumocfg (found: {names}); name a file"
        )
    return found[0]


def _about(path: Path, net_file: Path, description: str) -> dict[str, Any]:
    """Description, licence and source of what a user names: as the folder of the network says, where it does."""
    said = read_provenance(net_file.absolute().parent)
    if said is None or said.network != net_file.name:
        return {"description": description, "licence": "the user's", "source": path.name}
    return {"description": said.description, "licence": said.licence, "source": said.source}


def _from_config(path: Path) -> Scenario:
    config: SumoConfig = read_config(path)
    return Scenario(
        name=name_of(path),
        **_about(path, config.net_file, "a scenario of the user's"),
        net_file=config.net_file,
        route_files=config.route_files,
        additional_files=config.additional_files,
        begin_s=0.0 if config.begin_s is None else config.begin_s,
        end_s=math.nan if config.end_s is None else config.end_s,
        sumocfg=path.absolute(),
        options=config.options,
    )


def _with_window(found: Scenario, begin_s: float | None, end_s: float | None) -> Scenario:
    """Settles begin and end, and checks that something departs between them."""
    for given_s in (begin_s, end_s):
        if given_s is not None and not abs(given_s) <= LARGEST:
            raise InputError(f"scenario {found.name!r}: {given_s:g} is no time; give --begin and --end in seconds")
    planned = found.planned
    first_s, last_s = planned.first_s, planned.last_s
    begin = found.begin_s if begin_s is None else float(begin_s)
    if math.isnan(begin):
        begin = float(math.floor(first_s)) if first_s is not None else 0.0
    end = found.end_s if end_s is None else float(end_s)
    if math.isnan(end):
        end = begin if last_s is None else math.ceil(last_s) + CLEARING_S
        open_ended = any(math.isinf(f.end_s) and f.number is None for f in planned.flows)
        if last_s is None or open_ended:
            end = max(end, begin + _OPEN_END_S)
    if begin < 0:
        raise InputError(
            f"scenario {found.name!r}: the begin ({plain(begin)} s) is negative, and SUMO's clock starts at 0; "
            "give another --begin"
        )
    begin, end = round(begin, 3), round(end, 3)  # SUMO counts milliseconds
    if end <= begin:
        raise InputError(
            f"scenario {found.name!r}: the end ({plain(end)} s) is not after the begin "
            f"({plain(begin)} s); give --begin and --end in seconds"
        )
    options = found.options
    if not planned.in_order and "route-steps" not in dict(options):
        options = (*options, ("route-steps", "0"))  # else SUMO drops what follows the first late departure
    settled = dataclasses.replace(found, begin_s=begin, end_s=end, options=options)
    settled.__dict__["planned"] = planned  # read once
    if begin == found.begin_s or not found.additional_files:
        settled.__dict__["network"] = found.network
    counts = settled.demand_counts()
    if sum(counts) > MOST_DEPARTURES:
        raise InputError(
            f"scenario {found.name!r} plans {plain(sum(counts))} departures between {plain(begin)} s and "
            f"{plain(end)} s, more than {MOST_DEPARTURES:,}; correct the flows' rates, or give a shorter window"
        )
    if first_s is not None and counts == (0, 0):
        until = f"to {plain(last_s)} s" if last_s is not None else "on"
        raise InputError(
            f"scenario {found.name!r}: nothing departs between {plain(begin)} s and "
            f"{plain(end)} s; its demand runs from {plain(first_s)} s {until}"
        )
    return settled


def _demand_of(demand: str) -> Callable[[Scenario], Scenario]:
    """The function that changes a recorded scenario to this demand."""
    if demand == "recorded":
        return lambda found: found
    if match := re.fullmatch(r"held-out:(\d+)", demand):
        seed = int(match[1])
        return lambda found: found.held_out(seed)
    if match := re.fullmatch(r"scaled:(\d*\.?\d+)", demand):
        factor = float(match[1])
        if 0 < factor <= 2:
            return lambda found: found.scaled(factor)
        raise InputError(f"demand {demand!r}: the factor must be above 0 and at most 2")
    if demand.startswith("days:") and demand != "days:":
        folder = demand.removeprefix("days:")
        return lambda found: found.with_days(folder)
    if demand.startswith("generated:") and demand != "generated:":
        model = demand.removeprefix("generated:")
        return lambda found: with_generated(found, model)
    raise InputError(
        f"unknown demand {demand!r}; give 'recorded', 'held-out:SEED', such as 'held-out:1', 'scaled:FACTOR', "
        "such as 'scaled:1.2', 'days:FOLDER', or 'generated:MODEL'"
    )


def _files(name: str, given: Sequence[str | Path]) -> tuple[Path, ...]:
    return tuple(expanded(path).absolute() for path in several(name, given, (str, Path), "files"))

"""`load(name or path)` gives a Scenario: the files, the window and the demand, checked, ready for SUMO."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from plumbing.cache import cached_file
from plumbing.digest import file_sha256
from plumbing.errors import InputError, did_you_mean
from plumbing.several import several
from scenarios import build, resco
from scenarios.about import read_about
from scenarios.additional import (
    check_programs,
    driven_by,
    holds_demand,
    is_demand,
    releasing,
    with_additional_programs,
)
from scenarios.blockers import blocker_s, with_blocker
from scenarios.config import FILE_OPTIONS, SumoConfig, config_text, is_on, read_config
from scenarios.days import check_days, day_files
from scenarios.demand import Demand, read_demand
from scenarios.heldout import held_out_routes, scaled_routes
from scenarios.naming import expanded, name_of
from scenarios.netfile import read_network
from scenarios.provenance import made_up_of, read_provenance
from scenarios.sumo_input import admitted, admitted_text, parts
from scenarios.xmlfile import LARGEST, require_file, root_tag
from signals.network import RoadNetwork

CLEARING_S = 600.0
"""Time after the last departure at which a run ends by default."""
_OPEN_END_S = 3600.0  # for demand that never ends
MOST_DEPARTURES = 10_000_000
"""In a window: a whole country's day. More is a slip in a rate."""


@dataclass(frozen=True)
class SumoFiles:
    """Files as SUMO is handed them."""

    net_file: Path
    route_files: tuple[Path, ...]
    options: Mapping[str, str]
    """The values of `FILE_OPTIONS`."""


@dataclass(frozen=True)
class Scenario:
    """A network with the demand of one time window [begin_s, end_s)."""

    name: str
    description: str
    licence: str
    source: str
    net_file: Path
    route_files: tuple[Path, ...]
    additional_files: tuple[Path, ...]
    begin_s: float
    end_s: float
    sumocfg: Path | None = None
    demand: str = "recorded"
    """"recorded", "held-out:SEED", "scaled:FACTOR" or "days:FOLDER"."""
    days: tuple[Path, ...] = ()
    """Route files of several days, of which each run has one, by its seed (`scenarios.days`); `route_files` holds the
    first one."""
    options: tuple[tuple[str, str], ...] = ()
    """The sumocfg's further options, such as time-to-teleport; without its outputs, seed and gui settings."""
    made_up: str = ""
    """What of the demand nobody has counted, in a sentence that goes wherever results are shown; "" where nothing."""

    @property
    def horizon_s(self) -> float:
        return self.end_s - self.begin_s

    @property
    def scale(self) -> float:
        """How many times the planned vehicles (and not persons) SUMO lets depart."""
        return float(dict(self.options).get("scale", "1"))

    @property
    def demand_shown(self) -> str:
        """The demand in a word or two, for people: `demand`, and whether it is made up."""
        if not self.made_up:
            return self.demand
        return "made-up" if self.demand == "recorded" else f"{self.demand} of made-up"

    @property
    def ignore_junction_blocker_s(self) -> float | None:
        """After how long SUMO lets others pass who stands inside a junction [s]; None where it never does."""
        return blocker_s(self.options)

    @cached_property
    def network(self) -> RoadNetwork:
        """The road network; of each signal's programs the last one is the one that SUMO starts with."""
        network = read_network(self.net_file)
        check_programs(network, self.additional_files)
        return with_additional_programs(network, self.additional_files, self.begin_s)

    @property
    def signals(self) -> tuple[str, ...]:
        """The signals that have a program and control links."""
        return tuple(tls_id for tls_id in self.network.controlled if tls_id in self.network.programs)

    @cached_property
    def planned(self) -> Demand:
        """The departures that the files plan, checked against the network."""
        ignored = is_on(dict(self.options).get("ignore-route-errors", ""))
        edges = None if ignored else self.network.edges.keys()
        return read_demand(self.route_files, self.additional_files, edges, f"network {self.net_file}")

    def demand_counts(self) -> tuple[int, int]:
        """Vehicles and persons planned to depart in [begin_s, end_s); flows drawn at random: as expected."""
        vehicles, persons = self.planned.counts(self.begin_s, self.end_s)
        return round(vehicles * self.scale), persons

    def sumo_args(
        self, extra_additional: Sequence[Path] = (), controlled: Collection[str] = (), programs: str = ""
    ) -> list[str]:
        """SUMO's options that load the scenario; append seed, step length and outputs as you like.

        All of the scenario's files pass `scenarios.sumo_input` first.

        Args:
            extra_additional: files of our own, which SUMO is handed as they are, such as what records a run.
            controlled: signals that someone else drives: a time-of-day switch (WAUT) lets go of them.
            programs: signal programs from anywhere, as the text of an additional file; a time-of-day switch of the
                scenario's lets go of the signals that this text drives.

        Raises:
            InputError: a file, or what it includes, cannot be read.
        """
        args: list[str] = []
        if self.options:
            # in a file, so that an option that the caller gives too wins; SUMO refuses one given twice
            options = [(name, self.sumo_files.options.get(name, value)) for name, value in self.options]
            data = config_text(options).encode()
            digest = hashlib.sha256(data).hexdigest()[:20]
            args += ["-c", str(cached_file(f"options/{digest}.sumocfg", lambda: data))]
        args += ["-n", str(self.sumo_files.net_file)]
        if self.route_files:
            args += ["-r", ",".join(str(path) for path in self.sumo_files.route_files)]
        given = [admitted_text(programs, "programs")] if programs else []
        driven = frozenset(controlled).union(*(driven_by(path) for path in given))
        additional = (*self.without_waut(driven), *given, *extra_additional)
        if additional:
            args += ["-a", ",".join(str(path) for path in additional)]
        return [*args, "-b", _number(self.begin_s), "-e", _number(self.end_s)]

    @cached_property
    def sumo_files(self) -> SumoFiles:
        """The files to hand to SUMO, read once."""
        options = {
            name: ",".join(str(admitted(Path(file), name)) for file in value.split(","))
            for name, value in self.options
            if name in FILE_OPTIONS
        }
        routes = tuple(admitted(path, "route file") for path in self.route_files)
        return SumoFiles(admitted(self.net_file, "network"), routes, options)

    def without_waut(self, tls_ids: Collection[str]) -> tuple[Path, ...]:
        """The additional files to hand to SUMO, without elements that would switch these signals."""
        return tuple(admitted(path, "additional file", releasing(tls_ids)) for path in self.additional_files)

    def held_out(self, seed: int) -> Scenario:
        """The scenario with its demand rescaled and shifted in time, the same for the same seed."""
        return self._with_demand(f"held-out:{seed}", partial(held_out_routes, seed=seed))

    def scaled(self, factor: float) -> Scenario:
        """The scenario with so many times its demand, everything else as it is."""
        return self._with_demand(f"scaled:{factor:g}", partial(scaled_routes, factor=factor))

    def with_days(self, folder: str) -> Scenario:
        """The scenario with the days of a folder in the place of its demand: each run has one of them."""
        days = day_files(expanded(folder).absolute(), self.name)

        def first(*_: object) -> Path:
            return days[0]

        found = self._with_demand(f"days:{expanded(folder).absolute()}", first)
        check_days(days, self.network, self.begin_s, self.end_s)
        return dataclasses.replace(found, days=days, made_up=made_up_of(days))

    def _with_demand(self, demand: str, write: Callable[..., Path]) -> Scenario:
        if self.demand != "recorded":
            raise InputError(f"scenario {self.name!r} has {self.demand} demand already; start from the recorded one")
        both = [path for path in self.additional_files if holds_demand(path)]
        routes = write((*both, *self.route_files), self.additional_files, self.begin_s, self.end_s)
        additional = tuple(
            admitted(path, "additional file", is_demand) if path in both else path for path in self.additional_files
        )
        return dataclasses.replace(self, route_files=(routes,), additional_files=additional, demand=demand)

    def hashes(self) -> dict[str, str]:
        """SHA-256 of each input file, by its name (with its folders where files share one)."""
        files = [self.net_file]
        named = [Path(file) for name, value in self.options if name in FILE_OPTIONS for file in value.split(",")]
        for path in (*dict.fromkeys((*self.route_files, *self.days)), *self.additional_files, *named):
            files += parts(path, "file")
        names = [path.name for path in files]
        found: dict[str, str] = {}
        for path in files:
            name = path.name if names.count(path.name) == 1 else f"{path.parent.name}/{path.name}"
            for folder in path.parent.parents:  # as much of the path as it takes: each file counts
                if name not in found:
                    break
                name = f"{folder.name}/{name}"
            found[name] = file_sha256(path)
        return found


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
) -> Scenario:
    """Finds and checks a scenario: one of `names()`, a .sumocfg or a folder with one, or a .net.xml(.gz) with its
    routes.

    Args:
        routes: route files; with a name or a sumocfg they replace its own.
        additional: additional files, loaded after those of the sumocfg.
        begin_s, end_s: the window; by default the sumocfg's, else from the first departure until 600 s after
            the last.
        demand: "recorded", "held-out:SEED", "scaled:FACTOR", or "days:FOLDER" with a route file per day.
        ignore_junction_blocker_s: SUMO's --ignore-junction-blocker [s]: who has stood inside a junction for so long
            no longer holds up those who cross its way; negative: never. By default as the configuration says, else
            never.

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
    return changed(found)


def absolute_name(name_or_path: str | Path) -> str:
    """What `load` finds from any folder: a name stays as it is, a file gets its absolute path."""
    name = str(name_or_path)
    path = expanded(name)
    return str(path.absolute()) if path.exists() and not (name in resco.MAPS or _is_embedded(name)) else name


def absolute_demand(demand: str) -> str:
    """What `load` finds from any folder: the days of a folder get its absolute path."""
    kind, _, folder = demand.partition(":")
    return f"days:{expanded(folder).absolute()}" if kind == "days" and folder else demand


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
    about = read_about(path.parent)
    return Scenario(
        name=name_of(path),
        **(vars(about) if about else _about(path, config.net_file, "a scenario of the user's")),
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
            f"scenario {found.name!r}: the begin ({_number(begin)} s) is negative, and SUMO's clock starts at 0; "
            "give another --begin"
        )
    begin, end = round(begin, 3), round(end, 3)  # SUMO counts milliseconds
    if end <= begin:
        raise InputError(
            f"scenario {found.name!r}: the end ({_number(end)} s) is not after the begin "
            f"({_number(begin)} s); give --begin and --end in seconds"
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
            f"scenario {found.name!r} plans {_number(sum(counts))} departures between {_number(begin)} s and "
            f"{_number(end)} s, more than {MOST_DEPARTURES:,}; correct the flows' rates, or give a shorter window"
        )
    if first_s is not None and counts == (0, 0):
        until = f"to {_number(last_s)} s" if last_s is not None else "on"
        raise InputError(
            f"scenario {found.name!r}: nothing departs between {_number(begin)} s and "
            f"{_number(end)} s; its demand runs from {_number(first_s)} s {until}"
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
    raise InputError(
        f"unknown demand {demand!r}; give 'recorded', 'held-out:SEED', such as 'held-out:1', 'scaled:FACTOR', "
        "such as 'scaled:1.2', or 'days:FOLDER'"
    )


def _files(name: str, given: Sequence[str | Path]) -> tuple[Path, ...]:
    return tuple(expanded(path).absolute() for path in several(name, given, (str, Path), "files"))


def _number(value: float) -> str:
    return f"{value:.3f}".rstrip("0").rstrip(".") if abs(value) < 1e12 else f"{value:g}"

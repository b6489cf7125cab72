"""A scenario: a network with the demand of one time window, and what SUMO is told to load it."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path

from plumbing.cache import cached_file
from plumbing.digest import file_sha256
from plumbing.errors import InputError
from scenarios.additional import (
    check_programs,
    driven_by,
    holds_demand,
    is_demand,
    releasing,
    with_additional_programs,
)
from scenarios.blockers import blocker_s
from scenarios.config import FILE_OPTIONS, config_text, is_on
from scenarios.days import NONE_APART, check_days, day_files
from scenarios.demand import Demand, read_demand
from scenarios.foresight import Foresight
from scenarios.heldout import held_out_routes, scaled_routes
from scenarios.naming import expanded
from scenarios.netfile import read_network
from scenarios.provenance import made_up_of
from scenarios.sumo_input import admitted, admitted_text, parts
from signals.network import RoadNetwork


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
    """"recorded", "held-out:SEED", "scaled:FACTOR", "days:FOLDER" or "generated:MODEL"."""
    days: tuple[Path, ...] = ()
    """Route files of several days, of which each run has one, by its seed (`scenarios.days`); `route_files` holds the
    first one."""
    days_apart: tuple[int, int] = NONE_APART
    """Of these, how many at the end are for validation and for evaluation alone."""
    foresight: Foresight | None = field(default=None, compare=False, repr=False)
    """A forecast of the traffic of its runs; see `scenarios.from_counts`."""
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
        return [*args, "-b", plain(self.begin_s), "-e", plain(self.end_s)]

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


def plain(value: float) -> str:
    """A time or count as SUMO and people read it: no zeros at its end, three decimals at most."""
    return f"{value:.3f}".rstrip("0").rstrip(".") if abs(value) < 1e12 else f"{value:g}"

"""A replay file: the record of one episode, made from a run, and the way back from it to the episode."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from playback import container
from playback.codec import Tracks, decode_arrays, decode_tracks, encode_arrays, encode_tracks
from playback.contents import check_head, check_section
from playback.curves import curves
from playback.play import Arrays, Episode, Played
from playback.scene import scene, vehicle_types
from plumbing.errors import InputError
from plumbing.identity import installed
from plumbing.plain import parse
from scenarios.blockers import blocker_s
from scenarios.loading import load
from scenarios.scenario import Scenario
from signals.intersection import compile_signals
from signals.timing import Timing, timing_of

PACKAGES = ("intergreen", "eclipse-sumo", "libsumo", "numpy")
SUMO = "libsumo"
"""The package that moves the traffic: another version is another run."""
_JSON = partial(parse, finite=False)
SECTIONS: Mapping[str, tuple[Callable[[bytes], Any], str]] = {
    **dict.fromkeys(("network", "signals", "vehicles", "persons", "curves"), (_JSON, "")),
    "decisions": (decode_arrays, ""),
    "vehicle_tracks": (decode_tracks, "vehicles"),
    "person_tracks": (decode_tracks, "persons"),
}
"""How each is decoded, and which other one has the ids that it numbers. `programs` is text."""
EXACT_S = 3  # digits of times; SUMO counts milliseconds


@dataclass(frozen=True)
class Source:
    """The source of a scenario, as the user named it."""

    scenario: str
    routes: tuple[str, ...] = ()
    additional: tuple[str, ...] = ()

    def load(
        self, begin_s: float | None, end_s: float | None, demand: str, ignore_junction_blocker_s: float | None = None
    ) -> Scenario:
        """The scenario. Raises InputError where something is missing."""
        return load(
            self.scenario, routes=self.routes, additional=self.additional,
            begin_s=begin_s, end_s=end_s, demand=demand, ignore_junction_blocker_s=ignore_junction_blocker_s,
        )  # fmt: skip


def versions() -> dict[str, str]:
    """Versions of the packages that determine a run."""
    return installed(PACKAGES)


@dataclass(frozen=True)
class Replay:
    """One episode, read from its file. Arrays as in `play.DecisionLog`, `codec.Tracks` and `curves.curves`."""

    head: dict[str, Any]
    sections: Mapping[str, bytes]
    path: Path
    _read: dict[str, Any] = field(default_factory=dict, repr=False)
    """Sections that were decoded and checked."""

    @staticmethod
    def read(path: Path) -> Replay:
        """Raises InputError where the file is missing, damaged, of a newer version, or no replay."""
        return Replay.of(container.read_bytes(path), path)

    @staticmethod
    def of(data: bytes, path: Path) -> Replay:
        """A file's bytes, all of them checked: whoever wrote them, they say what a run of ours can say.

        Raises:
            InputError: the head or a section holds something else.
        """
        replay = Replay(*container.unpack(data, path), path)
        try:
            check_head(replay.head)
        except (ValueError, InputError) as error:
            raise InputError(f"replay {path}: its head is none of a recorded run: {error}; record it anew") from error
        for name in SECTIONS:
            replay.content(name)
        if not replay.decisions and replay.programs is None:
            raise InputError(f"replay {path} holds neither decisions nor programs; record it anew")
        return replay

    @property
    def title(self) -> str:
        """Scenario, controller and seed in a few words."""
        return f"{self.head['scenario']['name']}, {self.head['controller']['name']}, seed {self.head['seed']}"

    @property
    def ignore_junction_blocker_s(self) -> float | None:
        """See `scenarios.blockers`; None where it was off."""
        return blocker_s([(name, value) for name, value in self.head["scenario"]["options"]])

    @property
    def made_up(self) -> str:
        """What of the demand was made up; "" where nothing was."""
        return str(self.head["scenario"].get("made_up", ""))

    @property
    def digests(self) -> dict[str, str]:
        """SHA-256 of what SUMO printed."""
        found: dict[str, str] = self.head["sha256"]
        return found

    @property
    def delay_s(self) -> float:
        """Mean over all vehicles that were to depart; NaN without vehicles."""
        value = self.head["result"]["delay_s"]
        return float("nan") if value is None else float(value)

    @property
    def decisions(self) -> Arrays:
        """See `play.DecisionLog`; empty where programs ran."""
        arrays: Arrays = self.content("decisions")
        return arrays

    @property
    def vehicle_tracks(self) -> Tracks:
        """The tracks of `vehicles`, which they name by number."""
        tracks: Tracks = self.content("vehicle_tracks")
        return tracks

    @property
    def person_tracks(self) -> Tracks:
        """The tracks of `persons`, which they name by number."""
        tracks: Tracks = self.content("person_tracks")
        return tracks

    @cached_property
    def programs(self) -> str | None:
        """The additional file of a controller that left the signals to SUMO's own programs; None without one."""
        try:
            return None if "programs" not in self.sections else self.sections["programs"].decode("utf-8")
        except UnicodeDecodeError as error:
            raise InputError(f"replay {self.path}: its programs are no text ({error}); record it anew") from error

    def content(self, name: str) -> Any:
        """The content of a section, decoded and checked.

        Raises:
            InputError: it holds something else.
        """
        if name not in self._read:
            decode, numbered = SECTIONS[name]
            try:
                if name not in self.sections:
                    raise ValueError("it is missing")
                content = decode(self.sections[name])
                check_section(name, content, self.head, self.content(numbered)["ids"] if numbered else ())
            except ValueError as error:  # with a digest that fits: made by something else
                raise InputError(
                    f"replay {self.path}: its {name} cannot be read ({error}); record it anew"
                ) from error
            self._read[name] = content
        return self._read[name]

    @property
    def timing(self) -> Timing:
        """The clocks that it was recorded with."""
        return timing_of(self.head["timing"])

    def episode(self, source: Source | None = None) -> Episode:
        """The episode to run to see the same again.

        Args:
            source: where the scenario lies now, if not where the head says.

        Raises:
            InputError: a file of the scenario is missing, or is not the recorded one.
        """
        of = self.head["scenario"]
        recorded = Source(of["given"], tuple(of["routes"]), tuple(of["additional"]))
        try:
            on_s = self.ignore_junction_blocker_s
            blocker = -1.0 if on_s is None else on_s  # whatever a configuration says
            scenario = (source or recorded).load(of["begin_s"], of["end_s"], of["demand"], blocker)
        except (InputError, OSError, ValueError) as error:  # a name that no system takes, too
            where = "" if source else f"; if it lies elsewhere than where {self.path} was recorded, give --scenario"
            raise InputError(f"{error}{where}") from error
        hashes = scenario.hashes()
        changed = [name for name, digest in of["files_sha256"].items() if hashes.get(name) != digest]
        changed += [name for name in hashes if name not in of["files_sha256"]]
        if changed:
            raise InputError(
                f"scenario {scenario.name!r}: {', '.join(changed)} is not the file that {self.path} was recorded "
                f"with; give the recorded one with --scenario, --routes and --additional"
            )
        if [list(pair) for pair in scenario.options] != of["options"]:
            raise InputError(
                f"scenario {scenario.name!r}: its options are not those that {self.path} was recorded with "
                f"({_pairs(of['options'])}); restore its .sumocfg"
            )
        controlled = None if self.programs is not None else tuple(self.head["signals"])
        return Episode(scenario, self.head["seed"], self.timing, self.head["sensing"], self.programs, controlled)


def _pairs(options: Sequence[Sequence[str]]) -> str:
    return ", ".join(f"{name} {value}" for name, value in options) or "none"


def save(
    path: Path,
    played: Played,
    episode: Episode,
    source: Source,
    controller: Mapping[str, Any],
    branch: Mapping[str, Any] | None = None,
) -> int:
    """Write a run down; returns the file's size in bytes. The same run gives the same bytes.

    Args:
        controller: its name, and whatever else says how it came about.
        branch: for a counterfactual, what it branched off from, and when.

    Raises:
        InputError: the file cannot be written.
    """
    scenario, timing = episode.scenario, episode.timing
    head: dict[str, Any] = {
        "about": "a recorded run of traffic signals; docs/replay.md of intergreen describes this file",
        "scenario": {
            "name": scenario.name,
            "given": source.scenario,
            "routes": list(source.routes),
            "additional": list(source.additional),
            "demand": scenario.demand,
            "begin_s": scenario.begin_s,
            "end_s": scenario.end_s,
            "options": [list(pair) for pair in scenario.options],
            "files_sha256": scenario.hashes(),
            **({"made_up": scenario.made_up} if scenario.made_up else {}),
        },
        "controller": dict(controller),
        "seed": episode.seed,
        "sensing": episode.sensing,
        "timing": dataclasses.asdict(timing),
        "steps": episode.steps,
        "signals": list(played.plan.tls_ids),
        "versions": versions(),
        "sha256": played.digests,
        "result": result_of(played),
        "branch": None if branch is None else dict(branch),
    }
    sections = {"network": _json(_scene(episode, played)), **sections_of(episode, played)}
    if episode.programs is not None:
        sections["programs"] = episode.programs.encode()
    return container.write(path, head, sections)


def result_of(played: Played) -> dict[str, Any]:
    """A run in a few figures, as the head has them."""
    delay_s = played.trips.delay_s
    return {
        "vehicles": len(played.trips.vehicles["id"]),
        "delay_s": None if delay_s != delay_s else delay_s,
        "arrived_veh": sum(t is not None for t in played.trips.vehicles["arrival_s"]),
        "stuck_veh": played.summary.stuck_veh,
        "positions": len(played.vehicles.step) + len(played.persons.step),
    }


def sections_of(episode: Episode, played: Played) -> dict[str, bytes]:
    """The sections of a run's file."""
    return {
        "signals": _json(played.signals.as_json()),
        "vehicles": _json(_vehicles(episode.scenario, played)),
        "persons": _json({"ids": played.persons.ids, "trips": played.trips.persons}),
        "curves": _json(_curves(episode, played)),
        "decisions": encode_arrays(played.decisions),
        "vehicle_tracks": encode_tracks(played.vehicles.tracks()),
        "person_tracks": encode_tracks(played.persons.tracks()),
    }


def _json(content: Any) -> bytes:
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()


def _scene(episode: Episode, played: Played) -> dict[str, Any]:
    network = episode.scenario.network
    return scene(network, compile_signals(network, episode.timing), played.plan.tls_ids)


def _vehicles(scenario: Scenario, played: Played) -> dict[str, Any]:
    """The ids that the tracks number, with their types; and the trips by column."""
    trips: dict[str, list[Any]] = {
        name: [round(v, EXACT_S) if isinstance(v, float) else v for v in column]
        for name, column in played.trips.vehicles.items()
        if name != "speed_factor"
    }
    types = vehicle_types(scenario, [*played.vehicles.types, *trips["type"]])
    order = list(types)
    number = {name: n for n, name in enumerate(order)}
    trips["type"] = [number[name] for name in trips["type"]]
    return {
        "ids": played.vehicles.ids,
        "type_of": [number[name] for name in played.vehicles.types],
        "types": [{"id": name, **types[name]} for name in order],
        "trips": trips,
    }


def _curves(episode: Episode, played: Played) -> dict[str, list[float]]:
    limits = {lane.id: lane.speed_mps for lane in episode.scenario.network.lanes.values()}
    begin_s, step_s = episode.scenario.begin_s, episode.timing.sim_step_s
    found = curves(played.vehicles, played.trips, limits, begin_s, episode.steps, step_s)
    return {
        name: [round(v, 1) if name == "delay_s" else int(v) for v in values.tolist()]
        for name, values in found.items()
    }

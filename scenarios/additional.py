"""Additional files: the signal programs that are active, and what of a file would disturb a run: a time-of-day switch
(WAUT) that would take a signal away, and vehicles that a held-out demand replaces."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from plumbing.errors import InputError
from scenarios.netfile import read_programs
from scenarios.sumo_input import Unwanted
from scenarios.xmlfile import seconds, top_level
from signals.network import Program, RoadNetwork

DEMAND_TAGS = frozenset({"vehicle", "trip", "flow", "person", "personFlow"})


@dataclass
class _Schedule:
    """A WAUT: which program a signal runs at which time of day."""

    start: str
    switches: list[tuple[float, str]] = field(default_factory=list)
    tls_ids: list[str] = field(default_factory=list)

    def program_at(self, time_s: float) -> str:
        current = self.start
        for when_s, program in sorted(self.switches, key=lambda switch: switch[0]):
            if when_s <= time_s:
                current = program
        return current


def with_additional_programs(network: RoadNetwork, files: Sequence[Path], begin_s: float) -> RoadNetwork:
    """The network after SUMO has loaded these files: per signal, the program it starts with is the last one.

    A tlLogic without phases only sets parameters of a program that is there, so it activates nothing. A WAUT
    overrides the order of loading.
    """
    programs = [p for path in files for p in read_programs(path) if p.rows]
    network = network.with_programs(tuple(programs))
    for schedule in _schedules(files).values():
        for tls_id in schedule.tls_ids:
            wanted = schedule.program_at(begin_s)
            known: tuple[Program, ...] = network.programs.get(tls_id, ())
            network = network.with_programs(tuple(p for p in known if p.program_id == wanted))
    return network


def _schedules(files: Iterable[Path]) -> dict[str, _Schedule]:
    found: dict[str, _Schedule] = {}
    for path in files:
        for element in top_level(path, "additional file"):
            if element.tag == "WAUT":
                shift_s = _time(element.get("refTime"), path)
                schedule = found.setdefault(element.get("id", ""), _Schedule(element.get("startProg", "")))
                schedule.switches += [
                    (_time(s.get("time"), path) + shift_s, s.get("to", "")) for s in element.iter("wautSwitch")
                ]
            elif element.tag == "wautJunction" and element.get("wautID") in found:
                found[element.get("wautID", "")].tls_ids.append(element.get("junctionID", ""))
    return found


def _time(text: str | None, path: Path) -> float:
    try:
        return seconds(text)
    except ValueError as error:
        raise InputError(f"additional file {path}: a WAUT has a time that is none ({error}); correct it") from error


def releasing(tls_ids: Collection[str]) -> Unwanted:
    """For `admitted`: leaves out the WAUT entries that would switch these signals."""
    ids = frozenset(tls_ids)
    return lambda tag, attributes: tag == "wautJunction" and attributes.get("junctionID") in ids


def driven_by(path: Path) -> frozenset[str]:
    """The signals that an additional file drives: with a program of its own, or by switching between programs."""
    programs = {program.tls_id for program in read_programs(path) if program.rows}
    switched = (tls_id for schedule in _schedules([path]).values() for tls_id in schedule.tls_ids)
    return frozenset(programs).union(switched)


def of_others(tls_ids: Collection[str]) -> Unwanted:
    """For `admitted`: leaves out programs, and WAUT entries, of any signals but these."""
    ids = frozenset(tls_ids)
    return lambda tag, attributes: (
        (tag == "tlLogic" and attributes.get("id") not in ids)
        or (tag == "wautJunction" and attributes.get("junctionID") not in ids)
    )


def is_demand(tag: str, attributes: Mapping[str, str]) -> bool:
    """For `admitted`: leaves out vehicles and persons."""
    del attributes
    return tag in DEMAND_TAGS


def holds_demand(path: Path) -> bool:
    """Whether an additional file has vehicles or persons of its own."""
    return any(element.tag in DEMAND_TAGS for element in top_level(path, "additional file"))


def check_programs(network: RoadNetwork, files: Sequence[Path]) -> None:
    """Raises InputError for a program that SUMO would refuse: a signal unknown, or a program loaded twice."""
    seen = {(p.tls_id, p.program_id) for programs in network.programs.values() for p in programs}
    for path in files:
        for program in read_programs(path):
            if program.tls_id not in network.programs and program.tls_id not in network.controlled:
                raise InputError(
                    f"additional file {path}: tlLogic {program.tls_id!r} names a signal that "
                    f"network {network.source} doesn't have; use the file made for this network"
                )
            if program.rows and (program.tls_id, program.program_id) in seen:
                raise InputError(
                    f"additional file {path}: tlLogic {program.tls_id!r} has a second program "
                    f"{program.program_id!r}; give it another programID"
                )
            seen.add((program.tls_id, program.program_id))

"""Additional files: the signal programs that are active, and copies in which a run can't be disturbed.

A copy is made only where one is needed: where a file would write its output beside the user's, where it holds
vehicles that a held-out demand replaces, or where its time-of-day switch (WAUT) would take a signal away.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

from scenarios.cache import cached_file
from scenarios.netfile import read_programs
from scenarios.xmlfile import Element, included_file, read_tree, seconds, top_level
from signals.errors import InputError
from signals.network import Program, RoadNetwork

DEMAND_TAGS = frozenset({"vehicle", "trip", "flow", "person", "personFlow"})
_OUTPUT_TAGS = frozenset(
    {
        "e1Detector",
        "inductionLoop",
        "instantInductionLoop",
        "e2Detector",
        "laneAreaDetector",
        "e3Detector",
        "entryExitDetector",
        "edgeData",
        "laneData",
        "routeProbe",
        "vTypeProbe",
    }
)
_NOWHERE = "NUL"  # SUMO's own word for no output, on every platform


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


def undisturbing(path: Path, released: Collection[str] = (), without_demand: bool = False) -> Path:
    """The file, or a copy without its outputs, without the WAUT entries of `released`, without vehicles."""
    root = read_tree(path, "additional file")
    _inline(root, path)
    if not any([_silence(root), _release(root, released), without_demand and _drop_demand(root)]):
        return path
    _make_absolute(root, path)
    data = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    digest = hashlib.sha256(data).hexdigest()[:20]
    name = path.name.removesuffix(".gz")
    return cached_file(f"additional/{digest}/{name}", lambda: data)


def _inline(root: Element, path: Path) -> None:
    """Put what a file includes in the place of the include: a schedule may stand there, too."""
    for place, element in reversed(list(enumerate(root))):
        if element.tag == "include":
            file = included_file(path, element)
            inner = read_tree(file, "additional file")
            _inline(inner, file)
            _make_absolute(inner, file)
            root[place : place + 1] = list(inner)


def _make_absolute(root: Element, path: Path) -> None:
    """Names of files that stand beside this one."""
    folder = path.absolute().parent
    for element in root.iter():
        for name in ("href", "file", "imgFile"):
            value = element.get(name)
            if value and (folder / value).is_file():
                element.set(name, str(folder / value))


def holds_demand(path: Path) -> bool:
    """Whether an additional file has vehicles or persons of its own."""
    return any(element.tag in DEMAND_TAGS for element in top_level(path, "additional file"))


def _silence(root: Element) -> bool:
    changed = False
    for element in list(root):
        if element.tag == "timedEvent":  # such as SaveTLSStates: all that it does is write
            root.remove(element)
            changed = True
        elif element.tag in _OUTPUT_TAGS and element.get("file", _NOWHERE) not in (_NOWHERE, "/dev/null"):
            element.set("file", _NOWHERE)
            changed = True
        elif element.tag == "calibrator" and "output" in element.attrib:
            del element.attrib["output"]
            changed = True
    return changed


def _release(root: Element, tls_ids: Collection[str]) -> bool:
    entries = [e for e in root if e.tag == "wautJunction" and e.get("junctionID") in set(tls_ids)]
    for entry in entries:
        root.remove(entry)
    return bool(entries)


def _drop_demand(root: Element) -> bool:
    entries = [e for e in root if e.tag in DEMAND_TAGS]
    for entry in entries:
        root.remove(entry)
    return bool(entries)


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

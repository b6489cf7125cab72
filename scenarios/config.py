"""Reading a .sumocfg: its input files and times, and the options that a run of ours should keep.

Options on the list of `scenarios.sumo_input` are kept; a few are refused. What writes a file is left out, and
logging, TraCI port, window and random seed belong to the command that starts a run: a line names each such option
that does not have SUMO's default.
"""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree
from xml.sax.saxutils import quoteattr

from plumbing.errors import InputError, printable
from scenarios import sumo_input
from scenarios.xmlfile import UNREADABLE, Element, broken, finite, open_xml, require_file, seconds

FILE_OPTIONS = ("weight-files", "load-state")
"""Options that name files for SUMO to read, beside those of `INPUTS`."""
INPUTS = {"net-file": "FILE", "route-files": "FILE", "additional-files": "FILE", "begin": "TIME", "end": "TIME"}
"""What a scenario is made of, with SUMO's name for the kind of its value."""
REFUSED = {
    "mesosim": "queues without lanes stand before no signal in it, so there is nothing to control",
    "tls.all-off": "it switches the signals off that are to be controlled",
}
"""Options that make a run meaningless where they are on."""
_SAID_BY_NAME = 40
MOST_BYTES = 1 << 20
"""A configuration is a list of options."""
_VARIABLE = re.compile(r"\$\{[^}]*\}")


@dataclass(frozen=True)
class SumoConfig:
    net_file: Path
    route_files: tuple[Path, ...]
    additional_files: tuple[Path, ...]
    begin_s: float | None
    end_s: float | None
    options: tuple[tuple[str, str], ...]
    """Further options in file order, with paths made absolute."""


def read_config(path: Path) -> SumoConfig:
    """Reads a .sumocfg. Raises InputError when it is broken or names no network."""
    found: dict[str, str] = {}
    left_out: Counter[str] = Counter()
    of_the_run: dict[str, str] = {}
    lists = sumo_input.lists()
    for section in _read_small(path):
        for element in [section] if "value" in section.attrib or "v" in section.attrib else section:
            name = element.tag.replace(".knownveh", ".explicit")
            name = lists.synonyms.get(name, name)
            value = element.get("value", element.get("v", "")).strip()
            if name in REFUSED and is_on(value):
                raise InputError(f"configuration {path} sets {name}: {REFUSED[name]}; take it out")
            if name in INPUTS or name in lists.options:
                if value:
                    found[name] = _without_variables(path, name, value)
                    _check(path, name, found[name], lists.options.get(name, INPUTS.get(name, "")))
            elif name in lists.of_the_run:
                if value and not same_value(value, lists.of_the_run[name]):
                    of_the_run[name] = value
            elif value and not same_value(value, lists.left_out.get(name, "")):
                left_out[name] += 1
    if left_out:
        sumo_input.say_once(sumo_input.left_out_line(f"configuration {path}", left_out, _SAID_BY_NAME))
    if of_the_run:
        told = ", ".join(f"{printable(name, 60)} ({printable(value, 40)})" for name, value in of_the_run.items())
        sumo_input.say_once(f"configuration {path}: set aside, as the command that starts a run sees to it: {told}")
    if "net-file" not in found:
        raise InputError(f'configuration {path} names no network; add <net-file value="…"/> to its <input>')
    folder = path.absolute().parent
    if len(nets := _paths(found.pop("net-file"), folder)) != 1:
        raise InputError(f"configuration {path}: net-file has to name one network, not {len(nets)}; correct it")
    begin, end = (seconds(found.pop(name)) if name in found else None for name in ("begin", "end"))
    try:
        finite(found.get("scale", "1"))
    except ValueError as error:
        raise InputError(f"configuration {path}: scale is no number ({error}); give a factor, such as 1") from error
    return SumoConfig(
        net_file=nets[0],
        route_files=_paths(found.pop("route-files", ""), folder),
        additional_files=_paths(found.pop("additional-files", ""), folder),
        begin_s=begin,
        end_s=None if end is not None and end < 0 else end,
        options=tuple(
            (name, ",".join(map(str, _paths(value, folder))) if name in FILE_OPTIONS else value)
            for name, value in found.items()
        ),
    )


def _check(path: Path, name: str, value: str, kind: str) -> None:
    """Raises InputError for a value that SUMO would refuse, and with it the option."""
    if kind == "TIME":
        try:
            seconds(value)
        except ValueError as error:
            raise InputError(f"configuration {path}: {name} is no time ({error}); give seconds") from error
    elif kind in _KINDS:
        fits, what = _KINDS[kind]
        if not fits(value):
            raise InputError(f"configuration {path}: {name} is {printable(value, 60)!r}, which is {what}; correct it")


def _read_small(path: Path) -> Element:
    """The root of a configuration that is as small and flat as all are."""
    require_file(path, "configuration")
    depth = 0
    root: Element | None = None
    try:
        with open_xml(path) as stream:
            data = stream.read(MOST_BYTES + 1)
        if len(data) > MOST_BYTES:
            raise InputError(f"configuration {path} has more than {MOST_BYTES >> 20} MiB; give a .sumocfg")
        for event, element in ElementTree.iterparse(io.BytesIO(data), events=("start", "end")):
            root = element if root is None else root
            depth += 1 if event == "start" else -1
            if depth > sumo_input.MOST_DEPTH:
                raise InputError(
                    f"configuration {path} is nested more than {sumo_input.MOST_DEPTH} deep; make it flat"
                )
    except UNREADABLE as error:
        raise broken(path, "configuration", error) from error
    assert root is not None  # else there was no element, which is no XML
    return root


def config_text(options: Sequence[tuple[str, str]]) -> str:
    """A configuration that holds just these options; what is given on SUMO's command line overrides it."""
    lines = "".join(f"    <{name} value={quoteattr(value)}/>\n" for name, value in options)
    return f"<configuration>\n{lines}</configuration>\n"


def note_set_aside(name: str, options: Sequence[tuple[str, str]], words: Sequence[str]) -> None:
    """Say once which of a scenario's options give way to what a run sets itself.

    Args:
        name: the scenario's.
        words: SUMO's command line of the run; on it, a value follows each option.
    """
    ours = {option[2:]: value for option, value in pairwise(words) if option.startswith("--")}
    for option, value in options:
        if option in ours and not same_value(value, ours[option]):
            why = f", {_WHY[option]}" if option in _WHY else ""
            told = f"its {option} ({printable(value, 40)}) is set aside"
            sumo_input.say_once(f"scenario {name!r}: {told}: runs have {ours[option]}{why}")


_WHY = {
    "time-to-teleport": "so that nobody is taken out of a jam",
    "max-depart-delay": "so that who waits to be let in counts",
    "step-length": "as the timing says",
}


def is_on(value: str) -> bool:
    """Whether an option that is true or false has one of SUMO's words for true."""
    return value.lower() in ("true", "1", "yes", "on", "t", "x")


def _is_off(value: str) -> bool:
    return value.lower() in ("false", "0", "no", "off", "f", "-")


def _is_int(value: str) -> bool:
    return re.fullmatch(r"[+-]?[0-9]{1,20}", value) is not None and abs(int(value)) < 2**31


def _is_float(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return value.isascii() and "_" not in value


_KINDS: Mapping[str, tuple[Callable[[str], bool], str]] = {
    "BOOL": (lambda value: is_on(value) or _is_off(value), "neither true nor false"),
    "INT": (_is_int, "no whole number"),
    "FLOAT": (_is_float, "no number"),
}
"""Per kind of SUMO's options, whether it takes a value, and what any other value is."""


def same_value(one: str, other: str) -> bool:
    """Whether SUMO understands the same by both: as numbers, times, or yes and no."""
    if one == other:
        return True
    try:
        return seconds(one or "nothing") == seconds(other or "nothing")
    except ValueError:
        return (is_on(one) and is_on(other)) or (_is_off(one) and _is_off(other))


def _without_variables(path: Path, name: str, value: str) -> str:
    """The value. SUMO would put the environment into it, and a replay would pass that on to its readers."""
    if "${SUMO_HOME}" in value:
        import sumo  # the wheel knows its place, so SUMO_HOME need not be set

        value = value.replace("${SUMO_HOME}", str(sumo.SUMO_HOME))
    if found := _VARIABLE.search(value):
        raise InputError(
            f"configuration {path}: {name} holds {found[0]}, and environment variables are not read here; "
            "write out what it stands for"
        )
    return value


def _paths(value: str, folder: Path) -> tuple[Path, ...]:
    return tuple(folder / part.strip() for part in value.split(",") if part.strip())

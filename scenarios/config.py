"""What a .sumocfg asks for: its input files and times, and the options that a run of ours should keep.

What it would write is left out, so that a run never writes beside the user's files; so are its window, its
logging, its TraCI port and its random seed, which belong to whoever starts the run.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from os.path import expandvars
from pathlib import Path
from xml.sax.saxutils import quoteattr

from scenarios.xmlfile import finite, read_tree, seconds
from signals.errors import InputError

_SYNONYMS = {
    "n": "net-file",
    "net": "net-file",
    "r": "route-files",
    "routes": "route-files",
    "a": "additional-files",
    "additional": "additional-files",
    "b": "begin",
    "e": "end",
}
_DROPPED_SECTIONS = {"output", "report", "gui_only", "traci_server", "random_number", "configuration"}
# Options may stand outside of their section, so they are recognised by name as well. The first group is what
# SUMO 1.28 writes; then come logging, gui, TraCI and randomness.
_DROPPED = re.compile(
    r".*-output($|\.)|output[.-]|netstate|ndump|dump-|save-|.*\.output$|device\.(ssm|toc)\.file$|"
    r"(person-fcd|summary|tripinfo|personinfo|vehroutes|personroutes)($|\.)|write-(license|metadata)$|"
    r"human-readable-time$|precision($|\.)|device\.ssm\.filter-edges|pedestrian\.jupedsim\.(wkt|py)|"
    r"verbose$|print-options$|help$|version$|xml-validation|no-warnings$|suppress-warnings$|aggregate-warnings$|"
    r"(message-|error-)?log($|[.-])|language$|duration-log|no-duration-log$|no-step-log$|step-log|"
    r"gui-|quit-on-end$|game|start$|delay$|breakpoints$|edgedata-files$|data-files$|alternative-net-file$|"
    r"selection-file$|demo$|disable-textures$|registry-viewport$|window-|tracker-interval$|"
    r"remote-port$|num-clients$|random$|abs-rand$|seed$|srand$|thread-rngs$|configuration-file$|[A-Zvltdgm?cC]$"
)


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
    root = read_tree(path, "configuration")
    for section in root:
        for element in [section] if "value" in section.attrib or "v" in section.attrib else section:
            name = _SYNONYMS.get(element.tag, element.tag)
            value = _expand(element.get("value", element.get("v", "")).strip())
            inputs = ("net-file", "route-files", "additional-files", "begin", "end")
            dropped = section.tag in _DROPPED_SECTIONS or _DROPPED.match(name)
            if value and (name in inputs or not dropped):
                found[name] = value
    if "net-file" not in found:
        raise InputError(f'configuration {path} names no network; add <net-file value="…"/> to its <input>')
    folder = path.absolute().parent
    try:
        begin = seconds(found.pop("begin")) if "begin" in found else None
        end = seconds(found.pop("end")) if "end" in found else None
    except ValueError as error:
        raise InputError(f"configuration {path}: begin or end is no time ({error}); give seconds") from error
    try:
        finite(found.get("scale", "1"))
    except ValueError as error:
        raise InputError(f"configuration {path}: scale is no number ({error}); give a factor, such as 1") from error
    return SumoConfig(
        net_file=_paths(found.pop("net-file"), folder)[0],
        route_files=_paths(found.pop("route-files", ""), folder),
        additional_files=_paths(found.pop("additional-files", ""), folder),
        begin_s=begin,
        end_s=None if end is not None and end < 0 else end,
        options=tuple((name, _absolute(value, folder)) for name, value in found.items()),
    )


def config_text(options: Sequence[tuple[str, str]]) -> str:
    """A configuration that holds just these options; what is given on SUMO's command line overrides it."""
    lines = "".join(f"    <{name} value={quoteattr(value)}/>\n" for name, value in options)
    return f"<configuration>\n{lines}</configuration>\n"


def _expand(value: str) -> str:
    if "${SUMO_HOME}" in value:
        import sumo  # the wheel knows its place, so that nobody has to set SUMO_HOME

        value = value.replace("${SUMO_HOME}", str(sumo.SUMO_HOME))
    return expandvars(value)


def _paths(value: str, folder: Path) -> tuple[Path, ...]:
    return tuple(folder / part.strip() for part in value.split(",") if part.strip())


def _absolute(value: str, folder: Path) -> str:
    """The value; those of its comma-separated parts that name a file beside the configuration, absolute."""
    parts = [part.strip() for part in value.split(",")]
    if not any((folder / part).is_file() for part in parts if part):
        return value
    return ",".join(str(folder / part) if part and (folder / part).is_file() else part for part in parts)

"""What a table of means hides: links of signals that nobody was served at, and SUMO's warnings about a program."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree
from xml.sax.saxutils import quoteattr

import polars as pl

from envs.sumo.outputs import not_whole
from envs.sumo.simulation import EpisodeSummary
from evaluation.details.tables import SWITCHES
from plumbing.errors import printable
from plumbing.plain import Shape, listed, record, row, text, whole
from signals.network import Program, RoadNetwork

CROSSED, MESSAGES = "crossed.xml", "messages.txt"
"""Outputs that this reads."""
_CLOSED = frozenset("ryYuR")
"""A link whose character is always one of these is never served; others are green, or the signal is off."""
_ABOUT_PROGRAM = re.compile(
    r"Warning: (?P<what>.+?) in tlLogic '(?P<tls>[^']*)', program '(?P<program>[^']*)'(?P<rest>.*)"
)
MOST_WARNINGS = 1000
"""SUMO is asked for so many of each kind."""


@dataclass(frozen=True, order=True)
class Unserved:
    """A link of a signal that was not green in the whole run, although somebody was there for it."""

    tls_id: str
    link_index: int
    walkers: bool
    """Whether it is a crossing."""


@dataclass(frozen=True)
class Findings:
    """Those of one run."""

    unserved: tuple[Unserved, ...] = ()
    warnings: tuple[tuple[str, str], ...] = ()
    """Per signal whose program SUMO warns of: its id, and what SUMO says of it, shortened."""

    def as_json(self) -> dict[str, list[list[object]]]:
        """Plain values."""
        return {
            "unserved": [[u.tls_id, u.link_index, int(u.walkers)] for u in self.unserved],
            "warnings": [list(pair) for pair in self.warnings],
        }

    @staticmethod
    def of(content: Mapping[str, list[list[object]]]) -> Findings:
        """From plain values that have `SHAPE`."""
        unserved = tuple(Unserved(str(t), int(str(n)), bool(w)) for t, n, w in content["unserved"])
        return Findings(unserved, tuple((str(tls_id), str(said)) for tls_id, said in content["warnings"]))


SHAPE: Shape = record(
    {"unserved": listed(row(text(), whole(0, 10**6), whole(0, 1))), "warnings": listed(row(text(), text()))}
)


def outputs_xml(folder: Path, network: RoadNetwork) -> str:
    """SUMO's additional file for the outputs: signal states as they switch, and how many persons cross where."""
    lines = [f'<timedEvent type="SaveTLSSwitchStates" dest={quoteattr(str(folder / SWITCHES))}/>']
    if crossings := " ".join(_crossings(network)):
        lines.append(
            f'<edgeData id="intergreen-crossed" file={quoteattr(str(folder / CROSSED))} detectPersons="walk" '
            f'withInternal="true" edges={quoteattr(crossings)}/>'
        )
    return "<additional>\n" + "".join(f"    {line}\n" for line in lines) + "</additional>\n"


def find_unserved(
    folder: Path, states: pl.DataFrame, summary: EpisodeSummary, network: RoadNetwork
) -> tuple[Unserved, ...]:
    """The links that a run did not serve.

    Args:
        folder: of the run's outputs.
        states: the states as they switch, as `evaluation.details.tables.STATES`.

    Raises:
        InputError: an output is not whole.
    """
    served = _served(states)
    wanted = {Unserved(*link, walkers=False) for link in summary.vehicles_waiting}
    crossings = _crossings(network)
    walked = _crossed(folder / CROSSED) if crossings else set()
    for edge in {*summary.walkers_waiting, *walked} & crossings.keys():
        links = crossings[edge]
        if not links & served:
            wanted.add(Unserved(*min(links), walkers=True))
    return tuple(sorted(u for u in wanted if (u.tls_id, u.link_index) not in served))


def _served(states: pl.DataFrame) -> set[tuple[str, int]]:
    seen = states.unique(["tls_id", "state"])
    rows = zip(seen["tls_id"].to_list(), seen["state"].to_list(), strict=True)
    return {(tls_id, link) for tls_id, state in rows for link, c in enumerate(state) if c not in _CLOSED}


def _crossings(network: RoadNetwork) -> dict[str, frozenset[tuple[str, int]]]:
    """Per crossing with a signal, its links: either way may have one of its own."""
    found: dict[str, set[tuple[str, int]]] = defaultdict(set)
    for connection in network.connections:
        if connection.tls_id is None or connection.link_index is None:
            continue
        for edge in (connection.from_edge, connection.to_edge):
            if network.edges[edge].function == "crossing":
                found[edge].add((connection.tls_id, connection.link_index))
    return {edge: frozenset(links) for edge, links in found.items()}


def _crossed(path: Path) -> set[str]:
    """The crossings that somebody went over."""
    try:
        edges = ElementTree.parse(path).getroot().iter("edge")
        return {edge.attrib["id"] for edge in edges if float(edge.attrib.get("entered", "0")) > 0}
    except (ElementTree.ParseError, KeyError, ValueError, OSError) as error:
        raise not_whole(path, error) from error


def find_warnings(
    path: Path, programs: Mapping[str, Program], replaced: Iterable[str]
) -> tuple[tuple[str, str], ...]:
    """What SUMO says against the programs of a run, once per signal.

    Args:
        path: SUMO's log of warnings; missing where there are none.
        programs: the program that each signal starts with.
        replaced: signals with a program that is not the network's own: of these, that program alone counts.
    """
    if not path.exists():
        return ()
    replaced = frozenset(replaced)
    said: dict[str, list[str]] = defaultdict(list)
    for match in _lines(path):
        tls_id = match["tls"]
        if tls_id not in programs or (tls_id in replaced and match["program"] != programs[tls_id].program_id):
            continue
        what = f"{match['what']}{match['rest']}".strip().rstrip(".")
        said[tls_id].append(what[0].lower() + what[1:])
    return tuple(
        (tls_id, printable(lines[0], 300) + (f" (and {len(lines) - 1} more)" if len(lines) > 1 else ""))
        for tls_id, lines in sorted(said.items())
    )


def _lines(path: Path) -> Iterator[re.Match[str]]:
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        if match := _ABOUT_PROGRAM.search(line):
            yield match

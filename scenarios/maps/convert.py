"""From an extract to SUMO's network, by netconvert with settings that suit signals.

netconvert's options: https://sumo.dlr.de/docs/netconvert.html; for OpenStreetMap
https://sumo.dlr.de/docs/Networks/Import/OpenStreetMap.html
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import quoteattr

from plumbing.errors import InputError, printable
from scenarios.maps.extract import Extract
from scenarios.sumo_tools import home, run_binary, without_comments
from scenarios.xmlfile import read_tree

TYPEMAPS = (
    "osmNetconvert.typ.xml", "osmNetconvertUrbanDe.typ.xml", "osmNetconvertPedestrians.typ.xml",
    "osmNetconvertBicycle.typ.xml",
)  # fmt: skip
"""SUMO's own: speeds within towns, pavements, and lanes for bicycles."""
OPTIONS = (
    "--geometry.remove", "--ramps.guess", "--roundabouts.guess",
    "--junctions.join", "--junctions.corner-detail", "5",
    # signals: one for a junction however many nodes carry it, and none where only a road goes on
    "--tls.discard-simple", "--tls.guess-signals", "--tls.guess-signals.dist", "30", "--tls.join",
    "--tls.default-type", "static", "--tls.allred.time", "2",
    "--no-turnarounds.tls",
    "--osm.turn-lanes", "--osm.bike-access", "--osm.sidewalks", "--sidewalks.guess", "--osm.crossings",
    "--crossings.guess", "--crossings.guess.speed-threshold", "9",  # without a signal only across slow streets
    "--output.street-names", "--output.original-names",
    "--remove-edges.isolated", "--aggregate-warnings", "1",
)  # fmt: skip
MOST_WARNINGS = 40
_SIGNS = frozenset({"highway", "crossing"})
_TOTAL = re.compile(r"^(\d+) total messages of type: (.*)$")


@dataclass(frozen=True)
class Converted:
    """What netconvert made, and what it said."""

    joined: tuple[tuple[int, ...], ...]
    """The nodes of each junction that was joined of several."""
    warnings: Mapping[str, int]
    """netconvert's warnings by kind, the most frequent first."""


def convert(extract: Extract, net: Path, scratch: Path, *, lefthand: bool, guess_signals: bool = False) -> Converted:
    """Write the network of an extract.

    Args:
        net: the .net.xml file to write.
        scratch: a folder for files on the way.
        lefthand: whether traffic drives on the left.
        guess_signals: set signals at large junctions, too, where the map has none.

    Raises:
        InputError: netconvert cannot make a network of it.
    """
    source, joins = scratch / "map.osm.xml", scratch / "joined.nod.xml"
    write_osm(extract, source)
    maps = ",".join(str(home() / "data" / "typemap" / name) for name in TYPEMAPS)
    words = ["--osm-files", str(source), "--type-files", maps, "--output-file", str(net), *OPTIONS]
    words += ["--junctions.join-output", str(joins)]
    words += ["--lefthand"] * lefthand + ["--tls.guess", "--tls.guess.joining"] * guess_signals
    said = run_binary("netconvert", words, scratch)
    if said.status != 0 or not net.is_file():
        raise InputError(f"map {extract.path}: netconvert makes no network of it: {printable(said.reason)}")
    if not net.read_bytes().rstrip().endswith(b"</net>"):  # it does not notice a full disk
        raise InputError(f"map {extract.path}: the network that netconvert wrote is cut off; make room on the disk")
    without_comments(net)
    joined = []
    if joins.is_file():
        for element in read_tree(joins, "list of joined junctions"):
            words = element.get("nodes", "").split()
            joined.append(tuple(int(word) for word in words if word.lstrip("-").isdigit()))
    return Converted(tuple(joined), _warnings(said.errors))


def write_osm(extract: Extract, file: Path) -> None:
    """Write what is kept of an extract as XML: netconvert reads no .pbf and no .bz2, and sees nothing but roads."""
    with file.open("w", encoding="utf-8") as out:
        out.write('<?xml version="1.0" encoding="UTF-8"?>\n<osm version="0.6">\n')
        for node in extract.nodes.values():
            place = f'<node id="{node.id}" version="1" lat="{node.lat:.7f}" lon="{node.lon:.7f}"'
            # on a track alone, a signal would become one of a railway, which keeps a tram out of the next section
            tags = (
                node.tags if node.id in extract.on_roads else {k: v for k, v in node.tags.items() if k not in _SIGNS}
            )
            out.write(f"{place}>{_tags(tags)}</node>\n" if tags else f"{place}/>\n")
        for way in extract.ways:
            refs = "".join(f'<nd ref="{number}"/>' for number in way.nodes)
            out.write(f'<way id="{way.id}" version="1">{refs}{_tags(way.tags)}</way>\n')
        for relation in extract.restrictions:
            members = "".join(
                f'<member type="{m.kind}" ref="{m.ref}" role={quoteattr(m.role)}/>' for m in relation.members
            )
            out.write(f'<relation id="{relation.id}" version="1">{members}{_tags(relation.tags)}</relation>\n')
        out.write("</osm>\n")


def _tags(tags: Mapping[str, str]) -> str:
    return "".join(f"<tag k={quoteattr(_plain(key))} v={quoteattr(_plain(value))}/>" for key, value in tags.items())


def _plain(text: str) -> str:
    """Text that XML can hold: a .pbf may hold control characters."""
    return "".join(c if c.isprintable() else " " for c in text)


def _warnings(errors: str) -> dict[str, int]:
    found: Counter[str] = Counter()
    for line in errors.splitlines():
        if line.startswith("Warning: "):
            text = line.removeprefix("Warning: ")
            total = _TOTAL.match(text)
            count, kind = (int(total[1]), total[2]) if total else (1, re.sub(r"'[^']*'|-?\d[\d.]*", "%", text))
            kind = re.sub(r"\s*'%'", " %", kind)
            found[printable(kind)] = max(found[printable(kind)], count)
    return dict(found.most_common(MOST_WARNINGS))

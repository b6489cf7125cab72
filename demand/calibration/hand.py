"""The file in which somebody says where detectors are: a CSV, one detector a line.

    detector,edge,lane,from_edge,to_edge,position_m
    loop 1,W_in,,,,          counts the whole edge
    loop 2,,W_in_2,,,40      counts one lane, 40 m before the stop line; several lanes are divided by spaces
    EBL,,,W_in,N_out,        counts a movement; several exits are divided by spaces

Columns that are not needed may be left out.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from demand.calibration.places import STOP_BAR_M, Place, Roads, check_distinct
from plumbing.errors import InputError, did_you_mean, printable

COLUMNS = ("detector", "edge", "lane", "from_edge", "to_edge", "position_m")
_MOST_BYTES = 1 << 26


def read_hand(path: Path, roads: Roads, detectors: Sequence[str]) -> list[Place]:
    """The places that a file states.

    Args:
        detectors: those that are counted; one that is not is a slip.

    Raises:
        InputError: the file is none, or names what is not there.
    """
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise InputError(f"{path} is larger than any list of detectors; give a CSV with {', '.join(COLUMNS)}")
        rows = csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig")), skipinitialspace=True)
        lines = [{k: (v or "").strip() for k, v in row.items() if isinstance(k, str)} for row in rows if row]
        names = rows.fieldnames or ()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}; give the file of --places") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} is no CSV in UTF-8 ({error}); save it as one") from error
    if unknown := [name for name in names if name not in COLUMNS]:
        hint = did_you_mean(unknown[0], COLUMNS)
        raise InputError(
            f"{path}: no column is called {printable(unknown[0], 60)!r}; there are {', '.join(COLUMNS)}.{hint}"
        )
    if "detector" not in names:
        raise InputError(f"{path} has no column detector; its first line has to name some of {', '.join(COLUMNS)}")
    places = [
        _place(f"{path}, line {number}", row, roads, detectors)
        for number, row in enumerate(lines, 2)
        if any(row.values())
    ]
    check_distinct(places)
    return places


def _place(where: str, row: Mapping[str, str], roads: Roads, detectors: Sequence[str]) -> Place:
    detector, edge, from_edge = row["detector"], row.get("edge", ""), row.get("from_edge", "")
    to_edges, lanes = tuple(row.get("to_edge", "").split()), tuple(row.get("lane", "").split())
    if detector not in detectors:
        hint = did_you_mean(detector, detectors)
        raise InputError(
            f"{where}: there are no counts of a detector {printable(detector, 60)!r}.{hint} Take the line out"
        )
    if sum(map(bool, (edge, lanes, from_edge or to_edges))) != 1:
        raise InputError(f"{where}: give either an edge, or lanes, or from_edge with to_edge")
    position_m = _position(where, row.get("position_m", ""))
    if edge:
        _check(where, "edge", edge, roads.edges)
        return Place(detector, edge, roads.edges[edge], position_m=position_m)
    if lanes:
        known = {lane: of for of, them in roads.edges.items() for lane in them}
        for lane in lanes:
            _check(where, "lane", lane, known)
        if len({known[lane] for lane in lanes}) != 1:
            raise InputError(f"{where}: the lanes {' '.join(lanes)} are of several edges; give those of one")
        return Place(detector, known[lanes[0]], lanes, position_m=position_m)
    _check(where, "edge", from_edge, roads.edges)
    for to in to_edges or ("",):
        if to not in roads.turns.get(from_edge, {}):
            leads = ", ".join(roads.turns.get(from_edge, {})) or "nowhere"
            raise InputError(
                f"{where}: edge {from_edge!r} does not lead to {printable(to, 60)!r}; it leads to {leads}"
            )
    return Place(detector, from_edge, (), to_edges)


def _position(where: str, text: str) -> float:
    try:
        value = float(text) if text else STOP_BAR_M
    except ValueError:
        value = -1.0
    if not 0 <= value < 1e5:
        raise InputError(
            f"{where}: position_m is {printable(text, 40)!r}; give the distance to the stop line in metres"
        )
    return value


def _check(where: str, what: str, name: str, known: Mapping[str, object]) -> None:
    if name not in known:
        raise InputError(
            f"{where}: the network has no {what} {printable(name, 60)!r} for cars.{did_you_mean(name, known)}"
        )


def hand_text(places: Sequence[Place]) -> str:
    """The file that states these places."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for place in places:
        movement = bool(place.to_edges)
        lane, start = ("", place.edge) if movement else (" ".join(place.lanes), "")
        position = "" if movement or place.position_m == STOP_BAR_M else f"{place.position_m:g}"
        writer.writerow((place.detector, "", lane, start, " ".join(place.to_edges), position))
    return out.getvalue()

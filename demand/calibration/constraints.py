"""From detectors on lanes to what a route sampler understands: how many vehicles pass an edge, or turn from one edge
to another, in each interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from demand.calibration.counted import CountedDay, whole_counts
from demand.calibration.places import Place, Roads

Row = npt.NDArray[np.float64]


@dataclass
class Constraints:
    """[I] vehicles in each interval; NaN where nothing is known."""

    edges: dict[str, Row] = field(default_factory=dict)
    turns: dict[tuple[str, str], Row] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    """What was assumed."""


def constraints_of(roads: Roads, places: Sequence[Place], day: CountedDay) -> Constraints:
    """What the counts of a day say of the routes.

    Lanes that lead to one edge alone make a turn; all lanes of an edge together make the edge. Where some lanes of a
    movement have no detector they are taken to carry as much as those that have one. Where lanes lead to several
    edges and their edge is not counted as a whole, they are taken to lead to each alike. Each assumption is noted.
    """
    result = Constraints()
    of_edge: dict[str, list[Place]] = {}
    for place in places:
        if place.detector in day.counts:
            of_edge.setdefault(place.edge, []).append(place)
    for edge, there in of_edge.items():
        _movements(roads, edge, [p for p in there if p.to_edges], day, result)
        _lanes(roads, edge, [p for p in there if not p.to_edges], day, result)
    for rows in (result.edges, result.turns):
        for key, row in rows.items():
            rows[key] = whole_counts(row)  # type: ignore[index]
    return result


def lane_counts(places: Sequence[Place], day: CountedDay) -> dict[str, Row]:
    """Per lane with detectors of its own, the mean of their counts."""
    found: dict[str, list[Row]] = {}
    for place in places:
        if len(place.lanes) == 1 and place.detector in day.counts:
            found.setdefault(place.lanes[0], []).append(day.counts[place.detector])
    return {lane: _mean(rows) for lane, rows in found.items()}


def _movements(roads: Roads, edge: str, places: Sequence[Place], day: CountedDay, result: Constraints) -> None:
    counted: dict[tuple[str, ...], list[Row]] = {}
    for place in places:
        counted.setdefault(tuple(sorted(place.to_edges)), []).append(day.counts[place.detector])
    for to_edges, rows in counted.items():
        _group(roads, edge, to_edges, _mean(rows), result, f"the movements from {edge} to {' and '.join(to_edges)}")


def _lanes(roads: Roads, edge: str, places: Sequence[Place], day: CountedDay, result: Constraints) -> None:
    all_lanes = roads.edges[edge]
    whole = [day.counts[p.detector] for p in places if set(p.lanes) == set(all_lanes)]
    if whole:
        result.edges[edge] = _mean(whole)
    parts: dict[tuple[str, ...], list[Row]] = {}
    for place in places:
        if set(place.lanes) != set(all_lanes) or len(all_lanes) == 1:
            parts.setdefault(tuple(sorted(place.lanes)), []).append(day.counts[place.detector])
    counted: dict[str, tuple[tuple[str, ...], Row]] = {}  # per lane, the group of lanes that it is counted with
    for lanes, rows in sorted(parts.items(), key=lambda part: len(part[0])):
        if not set(lanes) & counted.keys():
            counted |= dict.fromkeys(lanes, (lanes, _mean(rows)))
    if counted.keys() == set(all_lanes) and edge not in result.edges and len(all_lanes) > 1:
        result.edges[edge] = _sum(dict(counted.values()).values())
    for component, to_edges in _components(roads, edge, counted):
        groups = dict(counted[lane] for lane in component if lane in counted)
        if not groups or not to_edges:
            continue
        row, have = _sum(groups.values()), sum(map(len, groups))
        if have < len(component):
            result.notes.append(
                f"{edge}: {have} of the {len(component)} lanes to {' and '.join(to_edges)} are counted; the "
                "others are taken to carry as much"
            )
            row = row * len(component) / have
        if len(to_edges) > 1 and edge in result.edges:
            continue  # what the edge's other movements leave over is theirs
        _group(roads, edge, to_edges, row, result, f"lanes {', '.join(component)}")


def _components(
    roads: Roads, edge: str, counted: Mapping[str, tuple[tuple[str, ...], Row]]
) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Lanes that have to be counted together, since they share an exit or a detector, and their exits."""
    turns = roads.turns.get(edge, {})
    bundles = [set(lanes) for lanes in turns.values()] + [set(lanes) for lanes, _ in counted.values()]
    merged: list[set[str]] = []
    for bundle in bundles:
        apart = [other for other in merged if not other & bundle]
        joined = bundle.union(*(other for other in merged if other & bundle))
        merged = [*apart, joined]
    order = roads.edges[edge]
    found = []
    for lanes in merged:
        exits = tuple(sorted(to for to, of in turns.items() if set(of) & lanes))
        found.append((tuple(lane for lane in order if lane in lanes), exits))
    return found


def _group(roads: Roads, edge: str, to_edges: Sequence[str], row: Row, result: Constraints, what: str) -> None:
    """A count of one or several turns together."""
    if len(to_edges) == 1:
        if (edge, to_edges[0]) not in result.turns:
            result.turns[edge, to_edges[0]] = row
    elif set(to_edges) == set(roads.turns.get(edge, {})):
        result.edges.setdefault(edge, row)
    else:
        result.notes.append(f"{what} are counted together; each exit is taken to get as many")
        for to in to_edges:
            result.turns.setdefault((edge, to), row / len(to_edges))


def _sum(rows: object) -> Row:
    return np.sum(np.array(list(rows)), axis=0)  # type: ignore[call-overload,no-any-return]


def _mean(rows: Sequence[Row]) -> Row:
    """The mean of what is known."""
    table = np.array(rows)
    known = np.isfinite(table)
    total = np.where(known, table, 0.0).sum(axis=0)
    return np.where(known.any(axis=0), total / np.maximum(known.sum(axis=0), 1), np.nan)

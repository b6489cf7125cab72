"""Each vehicle's delay per signal, from SUMO's route output with exit times.

The way is cut at the signals. A section runs from the junction of the signal before (or from the planned departure)
to behind the junction of the next signal, so that all time lost on the way to a signal counts for it, however long
the queue. Time lost after the last signal counts for no signal. SUMO 1.28 writes an edge's exit time when a vehicle
has left the junction behind it, and -1 for edges not left by the end.

Free driving time is the section's length over the speed limit, times one factor per vehicle. The factor makes the
sections' losses add up to SUMO's own time loss for the trip. So a bus or a bicycle, which drives below the limit, is
not counted as delayed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import polars as pl

from envs.sumo.outputs import Trips, not_whole
from signals.links import internal_path
from signals.network import RoadNetwork

COLUMNS: Mapping[str, type[pl.DataType]] = {
    "vehicle_id": pl.String,
    "tls_id": pl.String,
    "from_edge": pl.String,
    "to_edge": pl.String,
    "entered_s": pl.Float64,  # the section's begin: the signal before was passed, or the insertion
    "expected_s": pl.Float64,  # when it would have come to the stop line at its own free speed
    "passed_s": pl.Float64,  # when it was behind the junction; null if it was not by the end
    "delay_s": pl.Float64,  # lost in the section, wait to be inserted included
}
_FACTOR_BOUNDS = (0.5, 20.0)  # what a vehicle's own speed can explain; beyond, the trip's data do not fit


@dataclass(frozen=True)
class Ways:
    """Free driving times of the network, and its signals."""

    free_s: Mapping[str, float]
    """Per edge, at the speed limit [s]."""
    inside_s: Mapping[tuple[str, str], float]
    """Per pair of edges, the junction between them [s]."""
    signals: Mapping[tuple[str, str], str]
    """Per pair of edges with a signal between them, its tls id."""


def ways_of(network: RoadNetwork) -> Ways:
    """The same for all runs of a scenario."""
    free_s = {
        edge.id: network.edge_length_m(edge.id)
        / max(0.1, max(network.lanes[lane].speed_mps for lane in edge.lane_ids))
        for edge in network.edges.values()
        if edge.function == "normal" and edge.lane_ids
    }
    inside_s: dict[tuple[str, str], float] = {}
    signals: dict[tuple[str, str], str] = {}
    for connection in network.connections:
        pair = connection.from_edge, connection.to_edge
        if pair[0] not in free_s or pair[1] not in free_s:
            continue
        if connection.tls_id is not None:
            signals[pair] = connection.tls_id
        if pair not in inside_s:
            lanes = [network.lanes[lane] for lane in internal_path(network, connection)]
            inside_s[pair] = sum(lane.length_m / max(0.1, lane.speed_mps) for lane in lanes)
    return Ways(free_s, inside_s, signals)


def read_passages(path: Path, ways: Ways, trips: Trips) -> pl.DataFrame:
    """One row per vehicle and signal that it came to.

    Raises:
        InputError: the output is not whole.
    """
    known = {
        row["vehicle_id"]: row
        for row in trips.vehicles.select(
            "vehicle_id", "depart_s", "depart_delay_s", "time_loss_s", "arrival_s"
        ).iter_rows(named=True)
    }
    columns: dict[str, list[Any]] = defaultdict(list)
    try:
        with path.open("rb") as stream:
            for _, element in ElementTree.iterparse(stream):
                if element.tag != "vehicle":
                    continue
                trip = known.get(element.attrib["id"])
                routes = [r for r in element.iter("route") if "exitTimes" in r.attrib]
                if trip is not None and trip["depart_s"] is not None and routes:
                    edges = routes[-1].attrib["edges"].split()
                    exits = [float(value) for value in routes[-1].attrib["exitTimes"].split()]
                    for row in _sections(trip, edges, exits, ways):
                        for name, value in zip(COLUMNS, row, strict=True):
                            columns[name].append(value)
                element.clear()
    except (ElementTree.ParseError, KeyError, ValueError, OSError) as error:
        raise not_whole(path, error, "route output") from error
    return pl.DataFrame({name: columns[name] for name in COLUMNS}, schema=dict(COLUMNS))


def _sections(trip: Mapping[str, Any], edges: list[str], exits: list[float], ways: Ways) -> Iterator[tuple[Any, ...]]:
    """The rows of one vehicle."""
    exits = exits[: len(edges)]
    left = next((n for n, time_s in enumerate(exits) if time_s < 0), len(exits))  # edges that it has left
    begin_s = float(trip["depart_s"])
    factor = _factor(trip, edges, exits[:left], ways)
    section_s, entered_s, nominal_s = begin_s, begin_s, 0.0
    lost_s = 0.0  # in the sections before
    waited_s = float(trip["depart_delay_s"])  # to be inserted: for the first signal's account
    for n, edge in enumerate(edges):
        pair = (edge, edges[n + 1]) if n + 1 < len(edges) else None
        nominal_s += ways.free_s.get(edge, 0.0) + (ways.inside_s.get(pair, 0.0) if pair else 0.0)
        tls_id = ways.signals.get(pair) if pair else None
        if n >= left:  # still under way: what it lost and no earlier section has
            ahead = _next_signal(edges, n, ways)
            if trip["arrival_s"] is None and ahead is not None:
                at, tls_id = ahead
                rest_s = max(0.0, float(trip["time_loss_s"]) - lost_s)
                inside_s = ways.inside_s.get((edges[at], edges[at + 1]), 0.0)
                expected_s = section_s + factor * (nominal_s + _nominal_s(edges, n + 1, at, ways) - inside_s)
                yield (trip["vehicle_id"], tls_id, edges[at], edges[at + 1], section_s, expected_s, None,
                       rest_s + waited_s)  # fmt: skip
            return
        entered_s = exits[n]
        if tls_id is not None:
            assert pair is not None
            delay_s = max(0.0, entered_s - section_s - factor * nominal_s)
            lost_s += delay_s
            expected_s = section_s + factor * (nominal_s - ways.inside_s.get(pair, 0.0))
            yield (trip["vehicle_id"], tls_id, *pair, section_s, expected_s, entered_s, delay_s + waited_s)
            section_s, nominal_s, waited_s = entered_s, 0.0, 0.0


def _factor(trip: Mapping[str, Any], edges: list[str], exits: list[float], ways: Ways) -> float:
    """Free driving time of this vehicle over that at the speed limit."""
    if trip["arrival_s"] is None or not exits:
        return 1.0
    nominal_s = _nominal_s(edges, 0, len(edges) - 1, ways)
    free_s = float(trip["arrival_s"]) - float(trip["depart_s"]) - float(trip["time_loss_s"])
    if nominal_s <= 0:
        return 1.0
    return min(max(free_s / nominal_s, _FACTOR_BOUNDS[0]), _FACTOR_BOUNDS[1])


def _nominal_s(edges: list[str], first: int, last: int, ways: Ways) -> float:
    """From the begin of edge `first` to the end of edge `last`, junctions between and behind them included."""
    total = 0.0
    for n in range(first, last + 1):
        total += ways.free_s.get(edges[n], 0.0)
        if n + 1 < len(edges):
            total += ways.inside_s.get((edges[n], edges[n + 1]), 0.0)
    return total


def _next_signal(edges: list[str], start: int, ways: Ways) -> tuple[int, str] | None:
    """Index of the edge before the next signal from edge `start` on, and the signal."""
    for n in range(start, len(edges) - 1):
        tls_id = ways.signals.get((edges[n], edges[n + 1]))
        if tls_id is not None:
            return n, tls_id
    return None

"""The scene that the page draws: the network's geometry and its signals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from scenarios.scenario import Scenario
from scenarios.xmlfile import top_level
from signals.intersection import SignalPlan
from signals.links import crossing_lane
from signals.network import Connection, Lane, Point, RoadNetwork

VEHICLE_SIZES = {
    "passenger": (5.0, 1.8), "private": (5.0, 1.8), "taxi": (5.0, 1.8), "evehicle": (5.0, 1.8), "hov": (5.0, 1.8),
    "emergency": (6.5, 2.16), "delivery": (6.5, 2.16), "truck": (7.1, 2.4), "trailer": (16.5, 2.55),
    "bus": (12.0, 2.5), "coach": (14.0, 2.6), "motorcycle": (2.2, 0.9), "moped": (2.1, 0.8), "bicycle": (1.6, 0.65),
    "scooter": (1.2, 0.5), "tram": (22.0, 2.4), "rail_urban": (36.5, 3.0), "rail": (135.0, 2.84),
    "pedestrian": (0.215, 0.478),
}  # fmt: skip
"""Length and width [m] by vehicle class.
Source: https://sumo.dlr.de/docs/Vehicle_Type_Parameter_Defaults.html"""
DEFAULT_CLASSES = {
    "DEFAULT_PEDTYPE": "pedestrian",
    "DEFAULT_BIKETYPE": "bicycle",
    "DEFAULT_TAXITYPE": "taxi",
    "DEFAULT_RAILTYPE": "rail",
}
KINDS = {"crossing": "crossing", "walkingarea": "walkingarea", "internal": "internal"}


def scene(network: RoadNetwork, compiled: SignalPlan, decided: Sequence[str]) -> dict[str, Any]:
    """Lanes, junctions and signals; lengths in 0.1 m, shapes as differences from point to point.

    Args:
        compiled: the controllable signals, whatever controls them in this run.
        decided: the tls ids in the order of the decisions; empty where programs run.
    """
    lanes: list[dict[str, Any]] = []
    place: dict[str, int] = {}
    for lane in network.lanes.values():
        edge = network.edges[lane.edge_id]
        if len(lane.shape) < 2 or edge.function == "connector":
            continue
        place[lane.id] = len(lanes)
        lanes.append({"k": _kind(lane, edge.function), "w": _dm(lane.width_m), "s": _shape(lane.shape)})
        if edge.function == "normal" and lane.index > 0 and lane.vehicles:
            lanes[-1]["m"] = 1  # a marking towards the lane on its right
        if edge.function == "normal":
            lanes[-1]["e"] = edge.id
    junctions, joints = _outlines(network)
    by_id = {i.tls_id: i for i in compiled.intersections}
    reasons = {refusal.tls_id: refusal.reason for refusal in compiled.refusals}
    signals: list[dict[str, Any]] = []
    for tls_id, connections in network.controlled.items():
        entry: dict[str, Any] = {"id": tls_id, "links": _links(network, connections, place)}
        if tls_id in by_id:
            entry["phases"] = [
                {"name": p.name, "state": p.state, "min": p.min_green_s, "max": p.max_green_s}
                for p in by_id[tls_id].phases
            ]
        if tls_id in decided:
            entry["row"] = list(decided).index(tls_id)
        if tls_id in reasons:
            entry["reason"] = reasons[tls_id]
        signals.append(entry)
    return {"lanes": lanes, "junctions": junctions, "joints": joints, "signals": signals}


def _outlines(network: RoadNetwork) -> tuple[list[list[int]], list[list[int]]]:
    """Junctions where roads meet, and joints where one only goes on."""
    neighbours: dict[str, set[str]] = {}
    for edge in network.edges.values():
        if edge.function == "normal":
            neighbours.setdefault(edge.from_junction, set()).add(edge.to_junction)
            neighbours.setdefault(edge.to_junction, set()).add(edge.from_junction)
    junctions: list[list[int]] = []
    joints: list[list[int]] = []
    for junction in network.junctions.values():
        if len(junction.shape) > 2 and junction.type != "internal":
            (junctions if len(neighbours.get(junction.id, ())) > 2 else joints).append(_shape(junction.shape))
    return junctions, joints


def _kind(lane: Lane, function: str) -> str:
    if function in KINDS:
        return KINDS[function]
    if lane.rail:
        return "rail"
    return "road" if lane.vehicles else "path"


def _links(
    network: RoadNetwork, connections: Sequence[Connection], place: dict[str, int]
) -> list[tuple[int, int, str, int]]:
    """Per connection: link index, its lane (a crossing for walkers), direction, the lane that it leads to."""
    links = []
    for connection in connections:
        crossing = crossing_lane(network, connection)
        lane = crossing if crossing is not None else connection.from_lane
        if lane in place and connection.link_index is not None:
            direction = "w" if crossing is not None else connection.direction
            links.append((connection.link_index, place[lane], direction, place.get(connection.to_lane, -1)))
    return links


def _dm(metres: float) -> int:
    return round(metres * 10)


def _shape(points: Sequence[Point]) -> list[int]:
    flat: list[int] = []
    before = (0, 0)
    for point in points:
        now = (_dm(point[0]), _dm(point[1]))
        if flat and now == before:
            continue
        flat += [now[0] - before[0], now[1] - before[1]]
        before = now
    return flat


def vehicle_types(scenario: Scenario, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Class, length and width [m] of each type, from the scenario's files or SUMO's defaults."""
    wanted, found = set(names), {}
    for path in (*scenario.additional_files, *scenario.route_files):
        for element in top_level(path, "route file"):
            for inside in element.iter("vType"):
                if inside.get("id") in wanted:
                    found[inside.attrib["id"]] = dict(inside.attrib)
    result = {}
    for name in dict.fromkeys(names):
        of = found.get(name, {})
        kind = of.get("vClass") or DEFAULT_CLASSES.get(name, "passenger")
        length, width = VEHICLE_SIZES.get(kind, VEHICLE_SIZES["passenger"])
        result[name] = {
            "class": kind,
            "length_m": float(of.get("length", length)),
            "width_m": float(of.get("width", width)),
        }
    return result

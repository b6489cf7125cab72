"""Reads SUMO's network files into the plain records of `signals.network`.

The format: https://sumo.dlr.de/docs/Networks/SUMO_Road_Networks.html
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from plumbing.errors import InputError, printable
from scenarios.xmlfile import Element, finite, read_tree, seconds, top_level, whole
from signals.network import Connection, Edge, Junction, Lane, Point, Program, ProgramRow, RoadNetwork
from signals.vclasses import VEHICLE_CLASSES

DEFAULT_LANE_WIDTH_M = 3.2  # SUMO_const_laneWidth

_TABLE = ("foes", "response")
_MARKUP = frozenset("<>&\"'")


def read_network(path: Path) -> RoadNetwork:
    """The network of a .net.xml or .net.xml.gz file, with every lane: internal, crossing, walking area too.

    Raises InputError for a file that is missing, broken, or no SUMO network.
    """
    root = read_tree(path, "network")
    if root.tag != "net":
        raise InputError(
            f"{path} is not a SUMO network: its root element is <{root.tag}>, not <net>; "
            "give the .net.xml file that netconvert wrote"
        )
    try:
        return _network(root, str(path))
    except (KeyError, ValueError) as error:
        detail = f"attribute {error} is missing" if isinstance(error, KeyError) else str(error)
        raise InputError(f"network {path} is incomplete: {detail}; write it anew with netconvert") from error


def read_programs(path: Path) -> tuple[Program, ...]:
    """The signal programs of an additional file, in file order."""
    try:
        return tuple(_program(element) for element in top_level(path, "additional file") if element.tag == "tlLogic")
    except (KeyError, ValueError) as error:
        raise InputError(
            f"additional file {path}: a tlLogic is incomplete ({error}); "
            "it needs id, programID and phases with duration and state"
        ) from error


def _network(root: Element, source: str) -> RoadNetwork:
    lanes: dict[str, Lane] = {}
    edges: dict[str, Edge] = {}
    junctions: dict[str, Junction] = {}
    programs: dict[str, tuple[Program, ...]] = {}
    links: list[Element] = []
    for element in root:
        tag = element.tag
        if tag == "edge":
            edge = _edge(element, lanes)
            edges[edge.id] = edge
        elif tag == "connection":
            links.append(element)
        elif tag == "junction":
            junctions[element.attrib["id"]] = _junction(element)
        elif tag in ("WAUT", "wautJunction", "include"):
            raise InputError(
                f"network {source} holds a <{tag}>, which could take signals away from their controller; "
                "move it to an additional file (--additional)"
            )
        elif tag == "tlLogic":
            program = _program(element)
            programs[program.tls_id] = (*programs.get(program.tls_id, ()), program)
    connections = tuple(_connection(link.attrib, edges) for link in links)
    for connection in connections:
        if connection.via is not None and connection.via not in lanes:
            raise ValueError(f"a connection runs via lane {connection.via!r}, which is missing")
        for lane in (connection.from_lane, connection.to_lane):
            if not lanes[lane].shape:
                raise ValueError(f"lane {lane!r} has no shape")
    return RoadNetwork(lanes, edges, connections, junctions, programs, source)


def _edge(element: Element, lanes: dict[str, Lane]) -> Edge:
    attributes = element.attrib
    edge_id = _id(attributes["id"])
    function = attributes.get("function", "normal")
    footway = function in ("crossing", "walkingarea")
    ids: list[str] = []
    for lane in element.iter("lane"):
        of = lane.attrib
        ids.append(_id(of["id"]))
        lanes[of["id"]] = Lane(
            id=of["id"],
            edge_id=edge_id,
            index=whole(of["index"]),
            length_m=_at_least_0(of["length"]),
            speed_mps=_at_least_0(of["speed"]),
            width_m=_at_least_0(of["width"]) if "width" in of else DEFAULT_LANE_WIDTH_M,
            shape=_shape(of.get("shape", "")),
            classes=frozenset() if footway else _classes(of.get("allow"), of.get("disallow")),
        )
    return Edge(
        id=edge_id,
        function=function,
        from_junction=attributes.get("from", ""),
        to_junction=attributes.get("to", ""),
        lane_ids=tuple(ids),
        crossed_edges=tuple(attributes.get("crossingEdges", "").split()),
    )


@cache
def _classes(allow: str | None, disallow: str | None) -> frozenset[str]:
    """The vehicles, trams included, that may use a lane; shared by all lanes that say the same."""
    if allow is not None and allow != "all":
        return VEHICLE_CLASSES & set(allow.split())
    if disallow == "all":
        return frozenset()
    return VEHICLE_CLASSES - set((disallow or "").split())


def _shape(text: str) -> tuple[Point, ...]:
    points: list[Point] = []
    for point in text.split():
        x, y, *_ = point.split(",")  # a third value is the height
        points.append((finite(x), finite(y)))
    return tuple(points)


def _id(text: str) -> str:
    """An id that SUMO writes into its outputs, where it leaves markup as it is."""
    if not text.isprintable() or _MARKUP & set(text):
        raise ValueError(f"the id {printable(text, 60)!r} holds <, >, &, a quote, or what cannot be printed")
    return text


def _at_least_0(text: str) -> float:
    if (value := finite(text)) < 0:
        raise ValueError(f"{text!r} is negative")
    return value


def _lane(edges: dict[str, Edge], edge: str, index: str) -> str:
    if edge not in edges or not 0 <= whole(index) < len(edges[edge].lane_ids):
        raise ValueError(f"a connection uses lane {index} of edge {edge!r}, which is missing")
    return edges[edge].lane_ids[whole(index)]


def _connection(of: dict[str, str], edges: dict[str, Edge]) -> Connection:
    from_edge, to_edge = of["from"], of["to"]
    index = of.get("linkIndex")
    return Connection(
        from_lane=_lane(edges, from_edge, of["fromLane"]),
        to_lane=_lane(edges, to_edge, of["toLane"]),
        from_edge=from_edge,
        to_edge=to_edge,
        via=of.get("via"),
        direction=of.get("dir", "s"),
        tls_id=_id(of["tl"]) if "tl" in of else None,
        link_index=None if index is None else whole(index),
    )


def _junction(element: Element) -> Junction:
    of = element.attrib
    requests = {whole(r.attrib["index"]): r.attrib for r in element if r.tag == "request"}
    count = max(requests, default=-1) + 1
    none = "0" * min(count, len(requests))  # an index may be any number
    if len(requests) < count or any(len(r.get(name, none)) != count for r in requests.values() for name in _TABLE):
        raise ValueError(f"junction {of['id']!r} has a right-of-way table with gaps")
    return Junction(
        id=of["id"],
        type=of.get("type", ""),
        incoming_lanes=tuple(of.get("incLanes", "").split()),
        internal_lanes=tuple(of.get("intLanes", "").split()),
        foes=tuple(requests[i].get("foes", none) if i in requests else none for i in range(count)),
        response=tuple(requests[i].get("response", none) if i in requests else none for i in range(count)),
        shape=_shape(of.get("shape", "")),
    )


def _program(element: Element) -> Program:
    of = element.attrib
    offset = of.get("offset", "0")
    return Program(
        tls_id=_id(of["id"]),
        program_id=_id(of.get("programID", "0")),
        type=of.get("type", "static"),
        offset_s=0.0 if offset == "begin" else seconds(offset),
        rows=tuple(_row(phase.attrib) for phase in element if phase.tag == "phase"),
        params=tuple((p.attrib["key"], p.attrib.get("value", "")) for p in element if p.tag == "param"),
    )


def _row(of: dict[str, str]) -> ProgramRow:
    # a phase of an actuated program may leave its duration out; SUMO then takes minDur
    duration = seconds(of["duration"] if "duration" in of else of["minDur"])
    if duration < 0:
        raise ValueError(f"a phase lasts {duration:g} s")
    return ProgramRow(
        duration_s=duration,
        state=of["state"].replace("Y", "y"),  # the yellow of a link with priority, to SUMO
        min_duration_s=seconds(of["minDur"]) if "minDur" in of else None,
        max_duration_s=seconds(of["maxDur"]) if "maxDur" in of else None,
        next=tuple(whole(i) for i in of.get("next", "").split()),
        name=of.get("name", ""),
        yellow_s=seconds(of.get("yellow")),
        red_s=seconds(of.get("red")),
    )

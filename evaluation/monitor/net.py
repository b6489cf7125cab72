"""The safety monitor's view of a network: the links of each signal, their conflicts, and right of way.

Read afresh from the .net.xml alone. It shares no code with the part of the project that drives the signals,
since it exists to catch that part's mistakes.
"""

from __future__ import annotations

import cmath
import math
import xml.etree.ElementTree as ET
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import combinations_with_replacement
from pathlib import Path

from evaluation.monitor.files import BROKEN_FILE, MonitorInputError, open_xml
from evaluation.monitor.geometry import centre_lines_cross, join_shapes, parse_shape
from evaluation.monitor.links import LinkPath, Relation, SignalLinks, run_side_by_side
from evaluation.monitor.programs import Programs, read_additional
from evaluation.monitor.traffic import classes_of, clearing_speed_mps, cycles_alone, rail_length_m

RAIL = ("rail_signal", "rail_crossing")  # types of junctions
STRAIGHT_DEG = 20.0  # a path that bends by less does not turn
DEFAULT_WIDTH_M = 3.2  # SUMO's lane width where the net names none


def read_signals(net_file: Path, additional: Sequence[Path] = ()) -> dict[str, SignalLinks]:
    """Every signal of a net file with its conflicts, by tls id. Those of rails are listed without links.

    Args:
        additional: files whose signal programs replace the net's, in the order in which SUMO loads them.

    Raises:
        MonitorInputError: a file cannot be read, or contradicts itself.
    """
    try:
        with open_xml(net_file) as stream:
            root = ET.parse(stream).getroot()
    except (ET.ParseError, *BROKEN_FILE) as error:
        raise MonitorInputError(f"{net_file}: not a readable XML file ({error}); rebuild the net") from error
    if root.tag != "net":
        raise MonitorInputError(f"{net_file}: root element is <{root.tag}>, not <net>; give a SUMO net file")
    try:
        programs = Programs()
        programs.add(root)
        for file in additional:
            read_additional(file, programs)
        return _Net(root).signals(programs)
    except (LookupError, ValueError) as error:
        raise MonitorInputError(f"{net_file}: the net contradicts itself: {error}; rebuild it") from error


class _Net:
    """The parts of a net that matter here, and the derivation of links from them."""

    def __init__(self, root: ET.Element) -> None:
        self.lanes: dict[str, dict[str, str]] = {}
        self.lane_of: dict[tuple[str, str], str] = {}
        self.function: dict[str, str] = {}
        for edge in root.iter("edge"):
            # SUMO numbers an edge's lanes in file order, whatever their `index`
            for index, lane in enumerate(edge.iter("lane")):
                self.lanes[lane.attrib["id"]] = lane.attrib
                self.lane_of[edge.attrib["id"], str(index)] = lane.attrib["id"]
            self.function[edge.attrib["id"]] = edge.get("function", "normal")
        self.connections: dict[str, list[dict[str, str]]] = defaultdict(list)
        for connection in root.iter("connection"):
            lane_id = self.lane_of[connection.attrib["from"], connection.attrib["fromLane"]]
            self.connections[lane_id].append(connection.attrib)
        self.junctions = {
            junction.attrib["id"]: junction
            for junction in root.iter("junction")
            if junction.get("type") != "internal"
        }
        self.foes: dict[str, list[str]] = {}
        self.response: dict[str, list[str]] = {}

    def signals(self, programs: Programs) -> dict[str, SignalLinks]:
        """All signals, by tls id."""
        signals: dict[str, SignalLinks] = {}
        for junction_id, junction in self.junctions.items():
            rail = junction.get("type") in RAIL
            for connection, lane_id, request in self._controlled(junction_id, junction):
                signal = signals.setdefault(connection["tl"], SignalLinks(connection["tl"], rail=rail))
                if rail:
                    continue
                path = self._path(junction_id, connection, lane_id, request)
                signal.paths[int(connection["linkIndex"])].append(path)
                if path.crossing_length_m is not None:
                    # a crossing may have a second index, for walking the other way, where one leaves it
                    for back in self.connections[path.to_lane]:
                        if back.get("tl") == connection["tl"] and _has_link(back):
                            signal.paths[int(back["linkIndex"])].append(path)
        for signal in signals.values():
            signal.relations = list(self._relations(signal))
            signal.programs = programs.of(signal.tls_id)
        return signals

    def _controlled(self, junction_id: str, junction: ET.Element) -> list[tuple[dict[str, str], str, int | None]]:
        """A junction's signalled connections with their approach lane and row of its right-of-way table.

        SUMO numbers them by incoming lane and, within a lane, in file order; ways onto and off a walking area
        other than those onto a crossing have no row. `intLanes` names the last internal lane of each row:
        both must agree.
        """
        rows = sorted(junction.iter("request"), key=lambda row: int(row.attrib["index"]))
        self.foes[junction_id] = [row.attrib["foes"][::-1] for row in rows]
        self.response[junction_id] = [row.attrib["response"][::-1] for row in rows]
        found = [
            (connection, lane_id)
            for lane_id in junction.get("incLanes", "").split()
            for connection in self.connections[lane_id]
            if self._counts(connection)
        ]
        if not any(_has_link(connection) for connection, _ in found):
            return []
        if not rows or junction.get("type") in RAIL:
            return [(connection, lane_id, None) for connection, lane_id in found if _has_link(connection)]
        if len(rows) != len(found):
            raise ValueError(f"junction {junction_id!r}: {len(rows)} requests, {len(found)} connections")
        internal = junction.get("intLanes", "").split()
        for row, (connection, _) in enumerate(found):
            if internal and internal[row : row + 1] != self._inside(connection)[-1:]:
                raise ValueError(f"junction {junction_id!r}: intLanes does not fit request {row}")
        return [
            (connection, lane_id, row) for row, (connection, lane_id) in enumerate(found) if _has_link(connection)
        ]

    def _counts(self, connection: dict[str, str]) -> bool:
        source, target = self.function[connection["from"]], self.function[connection["to"]]
        return target != "walkingarea" and (source != "walkingarea" or target == "crossing")

    def _inside(self, connection: dict[str, str]) -> list[str]:
        """The internal lanes of a connection in driving order: a long turn has several."""
        if self.function[connection["to"]] == "crossing":
            return [self.lane_of[connection["to"], connection["toLane"]]]
        chain: list[str] = []
        via = connection.get("via")
        while via is not None and via not in chain:
            chain.append(via)
            onward = self.connections[via]
            via = onward[0].get("via") if onward else None
        return chain

    def _path(self, junction_id: str, connection: dict[str, str], lane_id: str, request: int | None) -> LinkPath:
        inside = [self.lanes[name] for name in self._inside(connection)]
        crossing = self.function[connection["to"]] == "crossing"
        approach = self.lanes[lane_id]
        to_lane = self.lane_of[connection["to"], connection["toLane"]]
        users = frozenset.intersection(*map(classes_of, (approach, *inside, self.lanes[to_lane])))
        shapes = [parse_shape(lane["shape"]) for lane in inside]
        if not shapes:  # a net without internal lanes: straight across
            shapes = [parse_shape(approach["shape"])[-1:], parse_shape(self.lanes[to_lane]["shape"])[:1]]
        return LinkPath(
            junction=junction_id,
            request=request,
            from_lane=lane_id,
            to_lane=to_lane,
            line=join_shapes(shapes),
            width_m=float((inside or [approach])[0].get("width", DEFAULT_WIDTH_M)),
            speed_mps=clearing_speed_mps(approach, users),
            rail_length_m=None if crossing else rail_length_m(users),
            cycles=not crossing and cycles_alone(users),
            crossing_length_m=float(inside[0]["length"]) if crossing else None,
            bend_deg=0.0 if crossing else self._bend_deg(approach, self.lanes[to_lane]),
            edges=(connection["from"], connection["to"]),
        )

    def _bend_deg(self, approach: dict[str, str], leave: dict[str, str]) -> float:
        ends = parse_shape(approach["shape"])[-2:], parse_shape(leave["shape"])[:2]
        before, after = (complex(*end[-1]) - complex(*end[0]) for end in ends)
        return abs(math.degrees(cmath.phase(after / before))) if before else 0.0

    def _relations(self, signal: SignalLinks) -> Iterator[Relation]:
        for first, second in combinations_with_replacement(sorted(signal.paths), 2):
            pairs, verdicts = [], []
            for index, a in enumerate(signal.paths[first]):
                # within one link index every pair once
                for b in signal.paths[second][index + 1 if first == second else 0 :]:
                    verdict = self._meet(a, b)
                    if verdict is not None:
                        pairs.append((a, b))
                        verdicts.append(verdict)
            if pairs:
                yield Relation(
                    first,
                    second,
                    all(a_yields for a_yields, _ in verdicts),
                    all(b_yields for _, b_yields in verdicts),
                    all(a_yields or b_yields for a_yields, b_yields in verdicts),
                    tuple(pairs),
                    any(self._are_streets(a, b) for a, b in pairs),
                )

    def _are_streets(self, a: LinkPath, b: LinkPath) -> bool:
        apart = a.edges[0] != b.edges[0] and a.edges[1] != b.edges[1]
        return apart and max(a.bend_deg, b.bend_deg) < STRAIGHT_DEG

    def _meet(self, a: LinkPath, b: LinkPath) -> tuple[bool, bool] | None:
        """Which path yields, as (a to b, b to a); None when the two never meet."""
        if a.from_lane == b.from_lane:
            return None  # one lane: they follow each other
        merge = a.to_lane == b.to_lane and a.crossing_length_m is None
        if a.junction != b.junction or a.request is None or b.request is None:
            # no table holds this pair, so neither yields
            crosses = a.line is not None and b.line is not None and centre_lines_cross(a.line, b.line)
            return (False, False) if crosses or merge else None
        foes, response = self.foes[a.junction], self.response[a.junction]
        a_yields = response[a.request][b.request] == "1"
        b_yields = response[b.request][a.request] == "1"
        bits = foes[a.request][b.request] + foes[b.request][a.request]
        if not merge and bits in ("01", "10") and run_side_by_side(a, b):
            return None
        if "1" in bits or a_yields or b_yields:
            return a_yields, b_yields
        # SUMO warns of a lane that is the target of two G links even without a foe bit, and asks for a g
        return (True, True) if merge else None


def _has_link(connection: dict[str, str]) -> bool:
    """Whether a connection is controlled by a character of a signal's state. A link index below 0 is none: a level
    crossing has it for the rails."""
    return "tl" in connection and int(connection["linkIndex"]) >= 0

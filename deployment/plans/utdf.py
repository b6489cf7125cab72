"""A pattern of a whole network as UTDF (version 8, combined CSV), the format that timing tools exchange; and back.

UTDF holds one timing plan, so each pattern is a file. Signals are nodes 1, 2, …; what lies around them follows.
Metric units; offsets are referenced to the first coordinated phase's green (`Referenced To` 3), as everywhere here.

| here | in UTDF |
|---|---|
| split | MaxGreen + Yellow + AllRed |
| sequence | BRP: the group between barriers, the ring, the place in it |
| mode none, min_recall, ped_recall, max_recall | Recall 0, 1, 2, 3 |
| max_ped_recall | Recall 3, and Walk given |
| omitted | BRP alone |
| coordinated phases | Reference Phase, the first ring's times 100 |
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from deployment.nema.pattern import (
    Pattern,
    PlanSet,
    Split,
    check_pattern,
    clock,
    cycle_begin_s,
    group_order,
    least_split_s,
    timeline,
)
from plumbing.errors import InputError
from signals.intersection import Intersection
from signals.nema import MOST_PHASES, NemaPhase, NemaPlan
from signals.network import Edge, RoadNetwork

BOUNDS = {"NB": 90, "SB": 270, "EB": 0, "WB": 180, "NE": 45, "NW": 135, "SE": 315, "SW": 225}
"""Approaches by where they lead, and that direction [degrees, counter-clockwise from east]."""
TURNS = ("U", "L2", "L", "T", "R", "R2")
DIRECTIONS = {"s": ("T",), "l": ("L", "L2"), "L": ("L2", "L"), "r": ("R", "R2"), "R": ("R2", "R"), "t": ("U",)}
"""Per SUMO direction, the turns that it may be listed as."""
TITLES = {
    "Network": "Network Settings",
    "Nodes": "Node Data",
    "Links": "Link Data",
    "Lanes": "Lane Group Data",
    "Timeplans": "Timing Plan Settings",
    "Phases": "Phasing Data",
}
RECALL = {"none": 0, "min_recall": 1, "ped_recall": 2, "max_recall": 3, "max_ped_recall": 3}
FIRST_GREEN = 3
PRETIMED = 0
Table = list[list[str]]


def utdf_text(plans: PlanSet, number: int, items: Mapping[str, Intersection], network: RoadNetwork) -> str:
    """One pattern of every signal, as a file's content.

    Raises:
        InputError: a signal has more approaches than UTDF can tell apart, or an id has a comma.
    """
    nodes = _Nodes([signal.nema.tls_id for signal in plans.signals], items, network)
    lanes, times, phases = _lanes_header(), [["RECORDNAME", "INTID", "DATA"]], _phases_header()
    links = [["RECORDNAME", "INTID", *BOUNDS]]
    for name, node in nodes.numbers.items():
        links += _links(node, nodes.approaches(name), nodes, network)
    for node, signal in enumerate(plans.signals, start=1):
        nema, pattern = signal.nema, signal.pattern(number)
        check_pattern(pattern, nema)
        lanes += _lanes(node, items[nema.tls_id], nema, nodes, network)
        times += _times(node, pattern, nema)
        phases += _phases(node, pattern, nema)
    begins = next((event.minute for event in plans.day if event.pattern == number), 0)
    settings = [["RECORDNAME", "DATA"], ["UTDFVERSION", "8"], ["Metric", "1"], ["ScenarioTime", clock(begins)]]
    tables = {"Network": settings, "Nodes": nodes.table(), "Links": links}
    return write_tables({**tables, "Lanes": lanes, "Timeplans": times, "Phases": phases})


def read_utdf(text: str, nema: Sequence[NemaPlan], number: int) -> dict[str, Pattern]:
    """The pattern that a file holds for each of these signals, by tls id, checked against its set-up.

    Raises:
        InputError: it is no such file, a signal is missing, or a pattern cannot be run.
    """
    tables = read_tables(text)
    described = {row["DESCRIPTION"]: row["INTID"] for row in _rows(tables, "Nodes")}
    found = {}
    for plan in nema:
        if plan.tls_id not in described:
            raise InputError(f"the UTDF file has no node for tls {plan.tls_id!r}; write it anew for this network")
        found[plan.tls_id] = _read_pattern(tables, described[plan.tls_id], plan, number)
        check_pattern(found[plan.tls_id], plan)
    return found


def write_tables(tables: Mapping[str, Table]) -> str:
    """The sections, each with its title; a cell holds no comma and no line end."""
    for table in tables.values():
        for cell in (cell for row in table for cell in row):
            if set(cell) & set(",\n\r"):
                raise InputError(f"{cell!r} has a comma or a line end in it, which UTDF cannot hold; rename it")
    sections = (
        f"[{name}]\n{TITLES[name]}\n" + "".join(",".join(row) + "\n" for row in table)
        for name, table in tables.items()
    )
    return "\n".join(sections)


def read_tables(text: str) -> dict[str, Table]:
    """The inverse of `write_tables`, for any combined file.

    Raises:
        InputError: a section is missing.
    """
    tables: dict[str, Table] = {}
    lines = iter(text.splitlines())
    table: Table = []
    for line in lines:
        name = line.split(",")[0].strip().strip("[]")
        if line.startswith("[") and name in TITLES:
            table = tables.setdefault(name, [])
            next(lines, None)  # its title
        elif line.strip(", "):
            table.append(line.split(","))
    if missing := [name for name in TITLES if name not in tables]:
        raise InputError(f"the UTDF file has no section [{missing[0]}]; give a combined file of version 8")
    return tables


class _Nodes:
    """The nodes' numbers: signals first, then the junctions that their approaches come from and exits lead to."""

    def __init__(self, tls_ids: Sequence[str], items: Mapping[str, Intersection], network: RoadNetwork) -> None:
        self._network = network
        self._signal_of: dict[str, str] = {}
        self._entering: dict[str, dict[str, None]] = {tls_id: {} for tls_id in tls_ids}
        leaving: dict[str, dict[str, None]] = {tls_id: {} for tls_id in tls_ids}
        for tls_id in tls_ids:
            for movement in items[tls_id].movements:
                if not movement.pedestrian:
                    self._entering[tls_id][movement.from_edge] = None
                    leaving[tls_id][movement.to_edge] = None
                    self._signal_of[network.edges[movement.from_edge].to_junction] = tls_id
        edges = [network.edges[e] for of in (self._entering, leaving) for ids in of.values() for e in ids]
        around = [j for edge in edges for j in (edge.from_junction, edge.to_junction) if j not in self._signal_of]
        self.numbers = {name: n for n, name in enumerate((*tls_ids, *dict.fromkeys(around)), start=1)}
        self._signals = set(tls_ids)
        for ids in leaving.values():
            for name in ids:
                target = network.edges[name].to_junction
                if target not in self._signal_of:
                    self._entering.setdefault(target, {})[name] = None

    def number(self, junction: str) -> int:
        """Of a junction, or of the signal that it belongs to."""
        return self.numbers[self._signal_of.get(junction, junction)]

    def approaches(self, name: str) -> dict[str, Edge]:
        """The edges that lead into a node, by bound."""
        edges = [self._network.edges[e] for e in self._entering.get(name, ())]
        edges = [e for e in edges if e.from_junction in self.numbers or e.from_junction in self._signal_of]
        if len(edges) > len(BOUNDS):
            raise InputError(f"tls {name!r} has {len(edges)} approaches, UTDF tells {len(BOUNDS)} apart")
        if not edges:
            return {}
        from scipy.optimize import linear_sum_assignment  # takes half a second to load

        cost = [[_turn(_heading(e, self._network), to) + (to % 90) / 9 for to in BOUNDS.values()] for e in edges]
        rows, columns = linear_sum_assignment(np.array(cost))
        found = {list(BOUNDS)[c]: edges[r] for r, c in zip(rows.tolist(), columns.tolist(), strict=True)}
        return {bound: found[bound] for bound in BOUNDS if bound in found}

    def table(self) -> Table:
        """The section."""
        rows = [["INTID", "TYPE", "X", "Y", "Z", "DESCRIPTION", "CBD"]]
        for name, number in self.numbers.items():
            junctions = [j for j, tls_id in self._signal_of.items() if tls_id == name] or [name]
            points = [p for j in junctions for p in self._network.junctions[j].shape] or [(0.0, 0.0)]
            x, y = (sum(values) / len(points) for values in zip(*points, strict=True))
            rows.append([str(number), "0" if name in self._signals else "1", f"{x:.1f}", f"{y:.1f}", "0", name, ""])
        return rows


def _heading(edge: Edge, network: RoadNetwork) -> float:
    """Where an edge leads at its end [degrees]."""
    (x0, y0), (x1, y1) = network.lanes[edge.lane_ids[0]].shape[-2:]
    return math.degrees(math.atan2(y1 - y0, x1 - x0))


def _turn(a: float, b: float) -> float:
    """The angle between two directions [degrees]."""
    return abs((a - b + 180) % 360 - 180)


def _links(node: int, approaches: Mapping[str, Edge], nodes: _Nodes, network: RoadNetwork) -> Table:
    if not approaches:
        return []
    lane = {bound: network.lanes[edge.lane_ids[-1]] for bound, edge in approaches.items()}
    told = {
        "Up ID": {b: str(nodes.number(e.from_junction)) for b, e in approaches.items()},
        "Lanes": {b: str(sum(network.lanes[i].vehicles for i in e.lane_ids)) for b, e in approaches.items()},
        "Name": {b: e.id for b, e in approaches.items()},
        "Distance": {b: f"{lane[b].length_m:.0f}" for b in approaches},
        "Speed": {b: f"{lane[b].speed_mps * 3.6:.0f}" for b in approaches},
        "Time": {b: f"{lane[b].length_m / max(lane[b].speed_mps, 0.1):.1f}" for b in approaches},
    }
    return [[name, str(node), *(values.get(bound, "") for bound in BOUNDS)] for name, values in told.items()]


def _lanes_header() -> Table:
    return [["RECORDNAME", "INTID", *(bound + turn for bound in BOUNDS for turn in TURNS), "PED", "HOLD"]]


def _lanes(node: int, item: Intersection, nema: NemaPlan, nodes: _Nodes, network: RoadNetwork) -> Table:
    """Where each movement leads, its lanes, and the phases that let it go: with priority, or yielding."""
    rows: dict[str, dict[str, str]] = {}

    def put(record: str, movement: str, value: object) -> None:
        rows.setdefault(record, {})[movement] = str(value)

    for bound, edge in nodes.approaches(item.tls_id).items():
        turns: dict[str, list[int]] = {}
        of_lane: dict[str, set[str]] = {}
        for movement in (m for m in item.movements if m.from_edge == edge.id and not m.pedestrian):
            options = DIRECTIONS.get(movement.direction, ("T",))
            turn = next((t for t in options if t not in turns), options[-1])
            turns.setdefault(turn, []).extend(movement.links)
            put("Up Node", bound + turn, nodes.number(edge.from_junction))
            put("Dest Node", bound + turn, nodes.number(network.edges[movement.to_edge].to_junction))
            for lane in movement.lanes:
                of_lane.setdefault(lane, set()).add(turn)
        group = {lane: min(served, key=lambda t: (t != "T", TURNS.index(t))) for lane, served in of_lane.items()}
        for turn, links in turns.items():
            own = [served for lane, served in of_lane.items() if group[lane] == turn]
            left = any(t in served for served in own for t in ("L", "L2", "U") if t != turn)
            right = any(t in served for served in own for t in ("R", "R2") if t != turn)
            put("Lanes", bound + turn, len(own))
            put("Shared", bound + turn, left + 2 * right)
            put("Speed", bound + turn, f"{network.lanes[edge.lane_ids[-1]].speed_mps * 3.6:.0f}")
            for record, character in (("Phase", "G"), ("PermPhase", "g")):
                wanted = [i for i in links if nema.green[i] == character]
                for n, phase in enumerate(_phases_of(nema, wanted)[:4], start=1):
                    put(f"{record}{n}", bound + turn, phase)
    names = _lanes_header()[0][2:]
    order = ["Up Node", "Dest Node", "Lanes", "Shared", "Speed"]
    order += [f"{record}{n}" for n in range(1, 5) for record in ("Phase", "PermPhase")]
    return [
        [record, str(node), *(rows[record].get(name, "") for name in names)] for record in order if record in rows
    ]


def _phases_of(nema: NemaPlan, links: Sequence[int]) -> list[int]:
    found = [phase.number for phase in nema.phases if set(phase.links) & set(links)]
    found += [n for overlap in nema.overlaps if set(overlap.links) & set(links) for n in overlap.phases]
    return sorted(set(found))


def _times(node: int, pattern: Pattern, nema: NemaPlan) -> Table:
    coordinated = [split.phase for split in pattern.splits if split.coordinated]
    coordinated.sort(key=lambda n: nema.phase(n).ring)
    reference = coordinated[0] * 100 + coordinated[1] if len(coordinated) > 1 else coordinated[0]
    told = {
        "Control Type": PRETIMED, "Cycle Length": pattern.cycle_s, "Lock Timings": 0, "Referenced To": FIRST_GREEN,
        "Reference Phase": reference, "Offset": pattern.offset_s, "Master": 0, "Yield": 0,
        "Node 0": node, "Node 1": 0,
    }  # fmt: skip
    return [[name, str(node), str(value)] for name, value in told.items()]


def _phases_header() -> Table:
    return [["RECORDNAME", "INTID", *(f"D{n}" for n in range(1, MOST_PHASES + 1))]]


def _phases(node: int, pattern: Pattern, nema: NemaPlan) -> Table:
    order, begin_s = group_order(pattern, nema), cycle_begin_s(pattern, nema)
    on = {of.phase: of for of in timeline(pattern, nema)}
    told: dict[int, dict[str, str]] = {}
    for ring_number, ring in enumerate(pattern.sequence, start=1):
        for n in ring:
            group = next(g for g in order if n in g)
            place = [m for m in ring if m in group].index(n) + 1
            told[n] = {"BRP": f"{order.index(group) + 1}{ring_number}{place}"}
            split, phase = pattern.split(n), nema.phase(n)
            if split.mode != "omitted":
                told[n] |= _phase(phase, split)
                starts, ends = begin_s + on[n].start_s, begin_s + on[n].green_end_s
                told[n]["Start"] = _number(starts % pattern.cycle_s)
                told[n]["End"] = _number((begin_s + on[n].end_s) % pattern.cycle_s)
                told[n]["Yield"] = _number(ends % pattern.cycle_s)
                told[n]["LocalStart"] = _number((starts - pattern.offset_s) % pattern.cycle_s)
                told[n]["LocalYield"] = _number((ends - pattern.offset_s) % pattern.cycle_s)
    records = dict.fromkeys(record for values in told.values() for record in values)
    numbers = range(1, MOST_PHASES + 1)
    return [[record, str(node), *(told.get(n, {}).get(record, "") for n in numbers)] for record in records]


def _phase(phase: NemaPhase, split: Split) -> dict[str, str]:
    green_s = split.split_s - phase.yellow_change_s - phase.red_clearance_s
    walks = bool(phase.crossings) and split.mode != "max_recall"
    return {
        "MinGreen": _number(phase.min_green_s),
        "MaxGreen": _number(green_s),
        "VehExt": _number(phase.passage_s),
        "Yellow": _number(phase.yellow_change_s),
        "AllRed": _number(phase.red_clearance_s),
        "Recall": str(RECALL[split.mode]),
        "Walk": _number(phase.walk_s) if walks else "",
        "DontWalk": _number(phase.pedestrian_clearance_s) if walks else "",
        "PedCalls": "0" if walks else "",
        "MinSplit": str(least_split_s(phase, split.mode)),
        "DualEntry": "1" if split.coordinated else "0",
        "InhibitMax": "1",
    }


def _read_pattern(tables: Mapping[str, Table], node: str, nema: NemaPlan, number: int) -> Pattern:
    times = {row["RECORDNAME"]: row["DATA"] for row in _rows(tables, "Timeplans") if row["INTID"] == node}
    told = {row["RECORDNAME"]: row for row in _rows(tables, "Phases") if row["INTID"] == node}
    try:
        if int(times["Referenced To"]) != FIRST_GREEN:
            raise InputError(f"node {node}: offsets are not referenced to the first green; set Referenced To to 3")
        reference = int(times["Reference Phase"])
        coordinated = {reference // 100, reference % 100} - {0}
        splits, places = [], []
        for phase in nema.phases:
            column = f"D{phase.number}"
            brp = told["BRP"][column]
            places.append((int(brp[1]), int(brp[0]), int(brp[2]), phase.number))
            if not told["MinGreen"][column]:
                splits.append(Split(phase.number, 0, "omitted"))
                continue
            parts = [float(told[record][column]) for record in ("MaxGreen", "Yellow", "AllRed")]
            recall = int(told["Recall"][column])
            mode = next(m for m, code in RECALL.items() if code == recall)
            if mode == "max_recall" and told["Walk"][column]:
                mode = "max_ped_recall"
            splits.append(Split(phase.number, round(sum(parts)), mode, phase.number in coordinated))
        rings = sorted({ring for ring, *_ in places})
        sequence = tuple(tuple(n for r, _, _, n in sorted(places) if r == ring) for ring in rings)
        return Pattern(
            number, round(float(times["Cycle Length"])), round(float(times["Offset"])), sequence, tuple(splits)
        )
    except (KeyError, ValueError, IndexError, StopIteration, OverflowError) as error:
        raise InputError(f"the UTDF file's node {node} is not whole ({type(error).__name__}: {error})") from error


def _rows(tables: Mapping[str, Table], name: str) -> list[dict[str, str]]:
    if not tables[name]:
        raise InputError(f"the UTDF file's section [{name}] is empty; give a combined file of version 8")
    header, *rows = tables[name]
    return [dict(zip(header, row, strict=False)) for row in rows]


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")

"""The grid scenario in any size: plain nodes, edges and connections, and the flows through them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_SPEED_MPS = 13.89  # 50 km/h
_STEPS = {"N": (1, 0), "E": (0, 1), "S": (-1, 0), "W": (0, -1)}  # heading: (row, column)
_FROM = "SWNE"  # headings of the vehicles that come from north, east, south, west: the order of the links
_RIGHT = {"N": "E", "E": "S", "S": "W", "W": "N"}
_LEFT = {to: heading for heading, to in _RIGHT.items()}

Node = tuple[int, int]


def plain(rows: int, columns: int, settings: Mapping[str, Any]) -> tuple[dict[str, str], dict[str, Any]]:
    """Plain XML texts by file name, and flows by route: straight through, and with one turn on the way.

    Approaches have a lane for through and right and one for left; edges hold two lanes all along.
    """
    spacing_m, arm_m = float(settings["spacing_m"]), float(settings["arm_m"])

    def inside(node: Node) -> bool:
        return 0 <= node[0] < rows and 0 <= node[1] < columns

    def place(node: Node) -> tuple[float, float]:
        x = node[1] * spacing_m + (arm_m - spacing_m) * ((node[1] == columns) - (node[1] == -1))
        y = node[0] * spacing_m + (arm_m - spacing_m) * ((node[0] == rows) - (node[0] == -1))
        return x, y

    crossings = [(row, column) for row in range(rows) for column in range(columns)]
    nodes: dict[Node, str] = dict.fromkeys(crossings, "traffic_light")
    edges: list[str] = []
    links: list[str] = []
    plans: list[str] = []
    for node in crossings:
        plans += _plan(node, settings["plan"])
        for heading in _FROM:
            beyond = _next(node, heading)
            nodes.setdefault(beyond, "priority")
            before = _next(node, _RIGHT[_RIGHT[heading]])
            pairs = [(node, beyond)] if inside(beyond) else [(node, beyond), (beyond, node)]
            for start, end in pairs:
                edges.append(
                    f'<edge id="{_edge(start, end)}" from="{_name(start)}" to="{_name(end)}" '
                    f'numLanes="2" speed="{_SPEED_MPS}"/>'
                )
            turns = ((0, _RIGHT[heading]), (0, heading), (1, _LEFT[heading]))
            for number, (lane, turn) in enumerate(turns):
                to = _edge(node, _next(node, turn))
                ends = f'from="{_edge(before, node)}" to="{to}" fromLane="{lane}" toLane="{lane}"'
                links.append(f"<connection {ends}/>")
                index = 3 * _FROM.index(heading) + number
                plans.append(f'<connection {ends} tl="{_name(node)}" linkIndex="{index}"/>')
    points = [
        f'<node id="{_name(node)}" x="{place(node)[0]:g}" y="{place(node)[1]:g}" type="{kind}"/>'
        for node, kind in nodes.items()
    ]
    files = {
        "grid.nod.xml": _xml("nodes", points),
        "grid.edg.xml": _xml("edges", edges),
        "grid.con.xml": _xml("connections", links),
        "grid.tll.xml": _xml("tlLogics", plans),
    }
    return files, dict(_flows(rows, columns, settings))


def _plan(node: Node, settings: Mapping[str, Any]) -> list[str]:
    """Two phases with left turns that give way; the offsets make a wave to the east and to the north."""
    wave_s = node[1] * int(settings["eastward_s"]) + node[0] * int(settings["northward_s"])
    yellow_s, red_s = int(settings["yellow_s"]), int(settings["all_red_s"])
    greens = [
        (int(settings["north_south_green_s"]), "{0}rrr{0}rrr"),
        (int(settings["east_west_green_s"]), "rrr{0}rrr{0}"),
    ]
    cycle_s = sum(green_s + yellow_s + red_s for green_s, _ in greens)
    lines = [f'<tlLogic id="{_name(node)}" type="static" programID="0" offset="{wave_s % cycle_s}">']
    for green_s, shown in greens:
        for duration_s, state in (
            (green_s, shown.format("GGg")),
            (yellow_s, shown.format("yyy")),
            (red_s, "r" * 12),
        ):
            lines.append(f'    <phase duration="{duration_s}" state="{state}"/>')
    return [*lines, "</tlLogic>"]


def _flows(rows: int, columns: int, settings: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    entries: list[tuple[Node, str]] = [((row, -1), "E") for row in range(rows)]
    entries += [((row, columns), "W") for row in range(rows)]
    entries += [((-1, column), "N") for column in range(columns)]
    entries += [((rows, column), "S") for column in range(columns)]
    turning = float(settings["turning_share"])
    for entry, heading in entries:
        per_h = float(settings["vehicles_per_h"][heading])
        profile = settings["profiles"][heading]
        length = columns if heading in "EW" else rows
        yield (
            _route(entry, heading, None, rows, columns),
            {"per_h": per_h * (1 - turning), "profile": profile},
        )
        for blocks in range(1, length + 1):
            for turn, share in ((_RIGHT[heading], 0.5), (_LEFT[heading], 0.5)):
                yield (
                    _route(entry, heading, (blocks, turn), rows, columns),
                    {"per_h": per_h * turning * share / length, "profile": profile},
                )


def _route(entry: Node, heading: str, turn: tuple[int, str] | None, rows: int, columns: int) -> str:
    """The edges from an entry until the network ends, with a turn after so many blocks."""
    node, blocks = entry, 0
    found: list[str] = []
    while not found or (0 <= node[0] < rows and 0 <= node[1] < columns):
        if turn is not None and blocks == turn[0]:
            heading = turn[1]
        following = _next(node, heading)
        found.append(_edge(node, following))
        node, blocks = following, blocks + 1
    return " ".join(found)


def _next(node: Node, heading: str) -> Node:
    return node[0] + _STEPS[heading][0], node[1] + _STEPS[heading][1]


def _name(node: Node) -> str:
    """`r0c0` at the lower left; a minus outside of the grid becomes an m."""
    return f"r{node[0]}c{node[1]}".replace("-", "m")


def _edge(start: Node, end: Node) -> str:
    return f"{_name(start)}_{_name(end)}"


def _xml(root: str, lines: list[str]) -> str:
    return f"<{root}>\n" + "".join(f"    {line}\n" for line in lines) + f"</{root}>\n"

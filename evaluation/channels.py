"""A signal's links as the numbered phases of a field controller: one per approach and turn, not per stage.

What an agent calls a phase is a set of greens; a NEMA phase, an event log's phase or a split diagram's row is one
movement's green, yellow and red. The numbers follow the usual eight-phase picture by the direction of travel:

| travelling | through (and right) | left, where it has lanes of its own |
|---|---|---|
| north | 2 | 5 |
| east | 4 | 7 |
| south | 6 | 1 |
| west | 8 | 3 |

Each approach takes the free direction nearest to its own, the widest first. A fifth and further approach take
9 and 10, 11 and 12, and so on. Crossings have pedestrian numbers of their own: 2, 4, 6, … in order of link index.
There is no claim that these phases run in rings: which of them are green together is the program's affair.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from signals.links import crossing_lane
from signals.network import Connection, RoadNetwork

SLOTS = {
    90.0: ("northbound", 2, 5),
    0.0: ("eastbound", 4, 7),
    -90.0: ("southbound", 6, 1),
    180.0: ("westbound", 8, 3),
}
"""By the angle of travel [degrees, mathematical]: name, number of the through phase, number of the left."""
GREEN, YELLOW, RED = "G", "Y", "R"


@dataclass(frozen=True)
class Channel:
    """One movement group that is shown as one phase."""

    tls_id: str
    number: int
    name: str
    approach: str
    """The edge that it comes from; of a crossing, the edge that is the crossing."""
    left: bool
    pedestrian: bool
    links: tuple[int, ...]
    lanes: tuple[str, ...]
    exits: tuple[str, ...]
    """The edges that it leads to."""

    def display(self, state: str) -> str:
        """What it shows: green where any of its links has green, yielding or not."""
        shown = {state[link] for link in self.links if link < len(state)}
        if shown & set("Gg"):
            return GREEN
        return YELLOW if shown & set("yu") else RED


def channels_of(network: RoadNetwork, tls_id: str) -> tuple[Channel, ...]:
    """All channels of a signal, vehicles' by number, then crossings."""
    by_approach: dict[str, list[Connection]] = {}
    crossings: dict[int, str] = {}
    for c in network.controlled.get(tls_id, ()):
        if c.link_index is None:
            continue
        crossing = crossing_lane(network, c)
        if crossing is not None:
            crossings.setdefault(c.link_index, network.lanes[crossing].edge_id)
        elif network.lanes[c.from_lane].vehicles:
            by_approach.setdefault(c.from_edge, []).append(c)
    found: list[Channel] = []
    free = dict(SLOTS)
    further = 9
    for edge, connections in sorted(by_approach.items(), key=lambda item: (-len(_lanes(item[1])), item[0])):
        angle = _angle(network, connections[0].from_lane)
        if free:
            nearest = min(free, key=lambda slot: abs(math.remainder(angle - slot, 360.0)))
            _, through, left = free.pop(nearest)
        else:
            through, left, further = further, further + 1, further + 2
        heading = SLOTS[min(SLOTS, key=lambda slot: abs(math.remainder(angle - slot, 360.0)))][0]
        lefts = [lane for lane in _lanes(connections) if _only_left(lane, connections)]
        if len(lefts) == len(_lanes(connections)):
            lefts = []  # nothing but left: the approach's one phase
        for number, lanes in ((through, [x for x in _lanes(connections) if x not in lefts]), (left, lefts)):
            own = [c for c in connections if c.from_lane in lanes]
            if own:
                name = heading + (" left" if lanes is lefts else "")
                found.append(
                    Channel(
                        tls_id, number, name, edge, lanes is lefts, False,
                        tuple(sorted({c.link_index for c in own if c.link_index is not None})),
                        tuple(lanes), tuple(dict.fromkeys(c.to_edge for c in own)),
                    )
                )  # fmt: skip
    found.sort(key=lambda channel: channel.number)
    walks: dict[str, list[int]] = {}
    for link, edge in sorted(crossings.items()):
        walks.setdefault(edge, []).append(link)  # both directions of one crossing
    for n, (edge, links) in enumerate(walks.items()):
        found.append(Channel(tls_id, 2 * n + 2, "crossing", edge, False, True, tuple(links), (), ()))
    return tuple(found)


def _lanes(connections: Sequence[Connection]) -> list[str]:
    return list(dict.fromkeys(c.from_lane for c in connections))


def _only_left(lane: str, connections: Sequence[Connection]) -> bool:
    turns = {c.direction for c in connections if c.from_lane == lane}
    return bool(turns & {"l", "L"}) and turns <= {"l", "L", "t"}


def _angle(network: RoadNetwork, lane: str) -> float:
    """The direction of travel at the stop line [degrees]."""
    shape = network.lanes[lane].shape
    (x0, y0), (x1, y1) = shape[-2] if len(shape) > 1 else shape[-1], shape[-1]
    return math.degrees(math.atan2(y1 - y0, x1 - x0))


def displays(channel: Channel, states: pl.DataFrame, end_s: float) -> list[tuple[float, float, str]]:
    """What a channel showed: (from, to, "G", "Y" or "R"), from the states table of a run."""
    own = states.filter(tls_id=channel.tls_id)
    spells: list[tuple[float, float, str]] = []
    for time_s, state in zip(own["time_s"], own["state"], strict=True):
        shown = channel.display(state)
        if spells and spells[-1][2] == shown:
            continue
        if spells:
            spells[-1] = (spells[-1][0], time_s, spells[-1][2])
        spells.append((time_s, end_s, shown))
    return spells

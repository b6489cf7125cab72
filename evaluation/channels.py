"""A signal's links as the numbered rows of an event log and of a split diagram.

What an agent calls a phase is a set of greens; a NEMA phase, an event log's phase or a split diagram's row is one
movement's green, yellow and red. `signals.nema` decides the numbers, so that a log speaks of the same phases as the
signal's bundle, timing sheet and plans:

| number | row |
|---|---|
| 1 to 8 | the NEMA phase of that number |
| 9 and up | the plan's overlaps, overlap 1 first; then links that none of its phases serves, by approach and turn |

A NEMA phase whose greens are all overlaps has no row of its own. A crossing has the number of the NEMA phase with
which it walks, the least of several. A signal that no NEMA plan can be made for (its program is refused, or has more
than eight phases) has its rows numbered from 1, by approach and turn, and its crossings from 1.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import polars as pl

from plumbing.errors import InputError
from signals.intersection import Refusal, compile_signal
from signals.links import crossing_lane
from signals.nema import MOST_PHASES, NemaPlan, nema_plan
from signals.network import Connection, RoadNetwork
from signals.timing import Timing

HEADINGS = {90.0: "northbound", 0.0: "eastbound", -90.0: "southbound", 180.0: "westbound"}
"""By the angle of travel [degrees, mathematical]."""
GREEN, YELLOW, RED = "G", "Y", "R"


@dataclass(frozen=True)
class Channel:
    """The links that are shown as one row."""

    tls_id: str
    number: int
    name: str
    pedestrian: bool
    links: tuple[int, ...]
    lanes: tuple[str, ...] = ()
    """A lane whose links are in several rows belongs to the row that lets it go straight on."""
    ways: frozenset[tuple[str, str]] = frozenset()
    """(approach, exit) of everything that it lets go."""

    def display(self, state: str) -> str:
        """What it shows: green where any of its links has green, yielding or not."""
        shown = {state[link] for link in self.links if link < len(state)}
        if shown & set("Gg"):
            return GREEN
        return YELLOW if shown & set("yu") else RED


def channels_of(network: RoadNetwork, tls_id: str) -> tuple[Channel, ...]:
    """All channels of a signal, vehicles' by number, then crossings."""
    vehicles: list[Connection] = []
    walks: dict[str, list[int]] = {}
    for c in network.controlled.get(tls_id, ()):
        if c.link_index is None:
            continue
        crossing = crossing_lane(network, c)
        if crossing is not None:  # both directions of one crossing are one row
            walks.setdefault(network.lanes[crossing].edge_id, []).append(c.link_index)
        elif network.lanes[c.from_lane].vehicles:
            vehicles.append(c)
    plan = _plan(network, tls_id)
    of_phases, of_walks = _rows(plan) if plan else ({}, {})
    served = {link for links in of_phases.values() for link in links}
    rest = _by_approach([c for c in vehicles if c.link_index not in served])
    rows = {**of_phases, **dict(enumerate(rest, start=max([MOST_PHASES if plan else 0, *of_phases]) + 1))}
    found = []
    for number, links in sorted(rows.items()):
        own = [c for c in vehicles if c.link_index in links]
        if own:
            lanes = tuple(lane for lane in _lanes(own) if _row_of(lane, vehicles, rows) == number)
            ways = frozenset((c.from_edge, c.to_edge) for c in own)
            shown = tuple(sorted({c.link_index for c in own if c.link_index is not None}))
            found.append(Channel(tls_id, number, _name(network, own), False, shown, lanes, ways))
    others = (tuple(sorted(set(links))) for _, links in sorted(walks.items(), key=lambda walk: min(walk[1])))
    unserved = [links for links in others if not set(links) <= {i for own in of_walks.values() for i in own}]
    numbered = {**of_walks, **dict(enumerate(unserved, start=max(of_walks, default=0) + 1))}
    found += [Channel(tls_id, number, "crossing", True, links) for number, links in sorted(numbered.items())]
    return tuple(found)


def by_approach(network: RoadNetwork, channel: Channel) -> tuple[Channel, ...]:
    """A vehicles' channel taken apart: the same number for each of its approaches."""
    own = [c for c in network.controlled[channel.tls_id] if c.link_index in channel.links]
    found = []
    for edge in dict.fromkeys(c.from_edge for c in own):
        part = [c for c in own if c.from_edge == edge]
        links = tuple(sorted({c.link_index for c in part if c.link_index is not None}))
        lanes = tuple(lane for lane in channel.lanes if lane in _lanes(part))
        ways = frozenset((c.from_edge, c.to_edge) for c in part)
        found.append(Channel(channel.tls_id, channel.number, _name(network, part), False, links, lanes, ways))
    return tuple(found)


def _plan(network: RoadNetwork, tls_id: str) -> NemaPlan | None:
    """The signal as a controller is set up for it, or None where none can be."""
    if tls_id not in network.programs:
        return None
    item = compile_signal(network, tls_id, Timing())  # no number depends on the timing
    try:
        return None if isinstance(item, Refusal) else nema_plan(item)
    except InputError:
        return None


def _rows(plan: NemaPlan) -> tuple[dict[int, tuple[int, ...]], dict[int, tuple[int, ...]]]:
    """By number, the links of NEMA phases and overlaps; and the crossings."""
    rows = {phase.number: phase.links for phase in plan.phases if phase.links}
    rows |= {MOST_PHASES + overlap.number: overlap.links for overlap in plan.overlaps}
    walks: dict[int, tuple[int, ...]] = {}
    for phase in plan.phases:
        known = {link for links in walks.values() for link in links}
        if own := tuple(link for link in phase.crossings if link not in known):
            walks[phase.number] = own
    return rows, walks


def _by_approach(connections: Sequence[Connection]) -> list[tuple[int, ...]]:
    """Links by approach, those of lanes that only turn left apart."""
    groups: dict[tuple[str, bool], set[int]] = {}
    seen: set[int] = set()
    for c in sorted(connections, key=lambda c: (c.from_edge, _only_left(c.from_lane, connections))):
        if c.link_index is not None and c.link_index not in seen:
            seen.add(c.link_index)
            groups.setdefault((c.from_edge, _only_left(c.from_lane, connections)), set()).add(c.link_index)
    return [tuple(sorted(links)) for links in groups.values()]


def _row_of(lane: str, connections: Iterable[Connection], rows: dict[int, tuple[int, ...]]) -> int:
    """The row that a lane belongs to."""
    own = [c for c in connections if c.from_lane == lane]
    first = min(own, key=lambda c: (c.direction.lower() != "s", c.link_index))
    return min(number for number, links in rows.items() if first.link_index in links)


def _lanes(connections: Sequence[Connection]) -> list[str]:
    return list(dict.fromkeys(c.from_lane for c in connections))


def _only_left(lane: str, connections: Sequence[Connection]) -> bool:
    turns = {c.direction for c in connections if c.from_lane == lane}
    return bool(turns & {"l", "L"}) and turns <= {"l", "L", "t"}


def _name(network: RoadNetwork, connections: Sequence[Connection]) -> str:
    """Such as "northbound" and "northbound left": each approach's direction of travel, and its turn if it is one."""
    names: dict[str, None] = {}
    for edge in dict.fromkeys(c.from_edge for c in connections):
        turns = {c.direction.lower() for c in connections if c.from_edge == edge} - {"t"}
        turn = {frozenset("l"): " left", frozenset("r"): " right"}.get(frozenset(turns), "")
        names[heading(network, edge) + turn] = None
    return " + ".join(names)


def heading(network: RoadNetwork, edge: str) -> str:
    """The direction of travel at an approach's stop line, in words."""
    shape = network.lanes[network.edges[edge].lane_ids[-1]].shape
    (x0, y0), (x1, y1) = shape[-2] if len(shape) > 1 else shape[-1], shape[-1]
    angle = math.degrees(math.atan2(y1 - y0, x1 - x0))
    return HEADINGS[min(HEADINGS, key=lambda other: abs(math.remainder(angle - other, 360.0)))]


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

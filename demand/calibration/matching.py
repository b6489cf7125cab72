"""Finds the place of each detector by what its table says: the direction of travel, the movement, the lane, or the
position. What is doubtful says so; what cannot be placed is told with the reason."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from demand.calibration.places import STOP_BAR_M, Place, Roads, angle_between_deg
from plumbing.errors import InputError, printable
from signals.network import Point

COMPASS = {"N": 0.0, "NE": 45.0, "E": 90.0, "SE": 135.0, "S": 180.0, "SW": 225.0, "W": 270.0, "NW": 315.0}
MOST_OFF_DEG = 60.0
"""An approach that is turned further away than this from what the table says is another one."""
DOUBT_OFF_DEG = 30.0
NEAR_M, FAR_M = 5.0, 30.0
"""A position may be this far from a lane's middle without a doubt, and at all."""
_AMBIGUOUS_M = 3.0


@dataclass(frozen=True)
class Matches:
    """The places that were found, and why others were not."""

    places: tuple[Place, ...]
    missing: Mapping[str, str]
    """Per detector without a place, the reason."""

    @property
    def doubtful(self) -> tuple[Place, ...]:
        """Places with doubts."""
        return tuple(place for place in self.places if place.doubts)


def match(
    roads: Roads,
    detectors: Sequence[Mapping[str, Any]],
    to_metres: Callable[[float, float], Point],
    by_hand: Sequence[Place] = (),
) -> Matches:
    """The places of detectors.

    Args:
        detectors: rows with the columns of `demand.counts.schema.DETECTORS`.
        to_metres: from x and y to the network's metres.
        by_hand: places that are known; they win.
    """
    known = {place.detector: place for place in by_hand}
    places, missing = [], {}
    for row in detectors:
        if (name := row["detector"]) in known:
            places.append(known[name])
            continue
        try:
            places.append(_place(roads, row, to_metres))
        except InputError as error:
            missing[name] = str(error)
    return Matches(_checked(places), missing)


def _place(roads: Roads, row: Mapping[str, Any], to_metres: Callable[[float, float], Point]) -> Place:
    wanted = bearing_of(row["approach"])
    if row["x"] is not None and row["y"] is not None:
        return _by_position(roads, row, to_metres(row["x"], row["y"]), wanted)
    if wanted is None:
        raise InputError("neither an approach nor a position is known")
    return _by_compass(roads, row, wanted)


def bearing_of(approach: str | None) -> float | None:
    """The direction of travel [degrees from north] of "NB", "N" or "northbound"; None where nothing is said.

    Raises:
        InputError: it is no direction.
    """
    if not approach:
        return None
    word = approach.strip().upper().replace("-", "").replace(" ", "")
    for long, short in (("BOUND", ""), ("NORTH", "N"), ("SOUTH", "S"), ("EAST", "E"), ("WEST", "W")):
        word = word.replace(long, short)
    word = word[:-1] if word.endswith("B") else word
    if word not in COMPASS:
        raise InputError(f"approach {printable(approach, 40)!r} is no direction such as NB or SW")
    return COMPASS[word]


def _by_compass(roads: Roads, row: Mapping[str, Any], wanted: float) -> Place:
    edges = _of_site(roads, row["site"])
    off = sorted((angle_between_deg(roads.bearing_deg(edge), wanted), edge) for edge in edges)
    if not off or off[0][0] > MOST_OFF_DEG:
        raise InputError(f"no approach leads {row['approach']}")
    edge, doubts = off[0][1], []
    if off[0][0] > DOUBT_OFF_DEG:
        doubts.append(f"the approach is {off[0][0]:.0f}° off {row['approach']}")
    if len(off) > 1 and off[1][0] - off[0][0] < DOUBT_OFF_DEG:
        doubts.append(f"{off[1][1]} leads nearly as much {row['approach']}")
    return _within(roads, row, edge, "compass", doubts)


def _of_site(roads: Roads, site: str | None) -> tuple[str, ...]:
    """The approaches of the signal that a site means."""
    signals = roads.approaches
    if site in signals:
        return signals[site]
    at = {edge: roads.network.edges[edge].to_junction for edges in signals.values() for edge in edges}
    if site and (edges := tuple(edge for edge, junction in at.items() if junction == site)):
        return edges
    if len(signals) == 1:
        return next(iter(signals.values()))
    raise InputError(
        f"the network has {len(signals)} signals, and none is called {printable(site or 'nothing', 40)!r}"
    )


def _by_position(roads: Roads, row: Mapping[str, Any], point: Point, wanted: float | None) -> Place:
    found: list[tuple[float, float, str, str]] = []
    for edge, lanes in roads.edges.items():
        if wanted is not None and angle_between_deg(roads.bearing_deg(edge), wanted) > MOST_OFF_DEG:
            continue
        for lane in lanes:
            found.append((*roads.distance_m(lane, point), edge, lane))
    found.sort()
    if not found or found[0][0] > FAR_M:
        why = f"the nearest lane is {found[0][0]:.0f} m away" if found else "no road leads that way"
        raise InputError(f"{why}, at {point[0]:.0f}, {point[1]:.0f} m of the network")
    away, back_m, edge, lane = found[0]
    doubts = [f"{away:.0f} m from the middle of its lane"] if away > NEAR_M else []
    other = next((f for f in found if f[2] != edge), None)
    if other is not None and other[0] - away < _AMBIGUOUS_M:
        doubts.append(f"{other[2]} is as near")
    position_m = back_m if row["position_m"] is None else row["position_m"]
    if row["movement"] or row["lane"] is not None:
        place = _within(roads, row, edge, "position", doubts)
        return replace(place, position_m=max(STOP_BAR_M, position_m)) if place.lanes else place
    return Place(row["detector"], edge, (lane,), (), max(STOP_BAR_M, position_m), "position", tuple(doubts))


def _within(roads: Roads, row: Mapping[str, Any], edge: str, how: str, doubts: list[str]) -> Place:
    """The lane or the movement of an approach."""
    movement = (row["movement"] or "").upper()
    exits = tuple(to for to in roads.turns.get(edge, {}) if roads.kinds[edge, to] in movement)
    if lost := [word for word in movement if word not in {roads.kinds[edge, to] for to in exits}]:
        kinds = "".join(sorted({roads.kinds[edge, to] for to in roads.turns.get(edge, {})}))
        raise InputError(f"{edge} has no movement {''.join(lost)!r}, only {kinds or 'none'!r}")
    position_m = STOP_BAR_M if row["position_m"] is None else max(STOP_BAR_M, row["position_m"])
    lanes = roads.edges[edge]
    if row["lane"] is not None:
        if not 0 <= row["lane"] < len(lanes):
            raise InputError(f"{edge} has {len(lanes)} lanes, and none is lane {row['lane']} from the right, 0 first")
        lane = lanes[row["lane"]]
        if exits and not all(lane in roads.turns[edge][to] for to in exits):
            doubts.append(f"lane {lane} does not serve {movement}")
        return Place(row["detector"], edge, (lane,), (), position_m, how, tuple(doubts))
    if exits and row["kind"] != "detector":
        return Place(row["detector"], edge, (), exits, how=how, doubts=tuple(doubts))
    if exits:  # a loop on all lanes of a movement
        serving = {lane for to in exits for lane in roads.turns[edge][to]}
        lanes = tuple(lane for lane in lanes if lane in serving)
        shared = {to for to, of in roads.turns[edge].items() if set(of) & serving} - set(exits)
        if shared:
            doubts.append(f"its lanes lead to {' and '.join(sorted(shared))}, too")
    return Place(row["detector"], edge, lanes, (), position_m, how, tuple(doubts))


def _checked(places: Sequence[Place]) -> tuple[Place, ...]:
    """With a doubt where two detectors count the same."""
    at: dict[tuple[object, ...], list[str]] = {}
    for place in places:
        at.setdefault((place.edge, place.lanes, place.to_edges), []).append(place.detector)
    found = []
    for place in places:
        others = [d for d in at[place.edge, place.lanes, place.to_edges] if d != place.detector]
        same = f"counts the same as {' and '.join(others)}" if others and place.how != "hand" else ""
        found.append(replace(place, doubts=(*place.doubts, same)) if same else place)
    return tuple(found)


def bound_m(place: Place, roads: Roads) -> float:
    """Its distance to the stop line [m], within its lane."""
    length_m = min(roads.network.lanes[lane].length_m for lane in place.lanes)
    return max(0.1, min(place.position_m, length_m - 0.1)) if math.isfinite(place.position_m) else STOP_BAR_M

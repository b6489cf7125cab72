"""The links of a signal as the safety monitor sees them: their ways over the junction and how these meet."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from evaluation.monitor.geometry import Polyline, centre_lines_cross, far_end_m
from evaluation.monitor.programs import Program
from evaluation.monitor.traffic import CAR_WIDTH_M, RAIL_WIDTH_M


@dataclass(frozen=True)
class LinkPath:
    """One controlled connection: its way from the stop line through the junction."""

    junction: str
    request: int | None
    """Row of the junction's right-of-way table; None where the net has no such table."""
    from_lane: str
    to_lane: str
    line: Polyline | None
    """Centre line inside the junction; None when it has no extent."""
    width_m: float
    speed_mps: float
    """How fast vehicles leave: the speed limit of the approach lane, or slower where it is for bicycles alone."""
    rail_length_m: float | None
    """Length of the vehicles where it is for rail-bound ones alone."""
    cycles: bool
    """Whether it is for bicycles alone."""
    crossing_length_m: float | None
    """Length of a pedestrian crossing; None for vehicles."""
    bend_deg: float
    """Angle to the approach's direction, to either side; 0 for a crossing."""
    edges: tuple[str, str]
    """Incoming and outgoing edge."""


@dataclass(frozen=True)
class Relation:
    """How two links of one signal get in each other's way (`first` ≤ `second`)."""

    first: int
    second: int
    first_yields: bool
    """Every path of `first` yields to every path of `second` that it meets, by the junction's table."""
    second_yields: bool
    one_yields: bool
    """In every pair of paths that meet at least one yields."""
    pairs: tuple[tuple[LinkPath, LinkPath], ...]
    streets: bool
    """Two of the paths neither turn nor merge: two streets, or a street and its crossing. Their right of way is for
    the hours in which the signal is off, not for a green."""


@dataclass
class SignalLinks:
    """The links of one signal by link index, and the pairs of them that conflict."""

    tls_id: str
    paths: dict[int, list[LinkPath]] = field(default_factory=lambda: defaultdict(list))
    relations: list[Relation] = field(default_factory=list)
    programs: list[Program] = field(default_factory=list)
    """The network's own."""
    rail: bool = False
    """A rail signal or a level crossing: it guards a track by rules of its own and is not judged."""

    def is_crossing(self, link: int) -> bool:
        """Whether a link index serves pedestrians only."""
        return all(path.crossing_length_m is not None for path in self.paths[link])

    def foes(self) -> dict[int, dict[int, bool]]:
        """Per link the conflicting ones, each with whether it yields to the link."""
        found: dict[int, dict[int, bool]] = {link: {} for link in self.paths}
        for relation in self.relations:
            if relation.first != relation.second:
                found[relation.first][relation.second] = relation.second_yields
                found[relation.second][relation.first] = relation.first_yields
        return found

    def crossings_m(self) -> dict[int, float]:
        """Length of each link that is a crossing."""
        return {
            link: max(path.crossing_length_m or 0.0 for path in paths)
            for link, paths in self.paths.items()
            if self.is_crossing(link)
        }


def run_side_by_side(a: LinkPath, b: LinkPath) -> bool:
    """Whether one is for trams or bicycles alone and their vehicles do not touch. netconvert may enter such a pair as
    foes for one of the two only."""
    if not any(path.cycles or path.rail_length_m is not None for path in (a, b)) or a.line is None or b.line is None:
        return False
    a_m, b_m = (CAR_WIDTH_M if path.rail_length_m is None else RAIL_WIDTH_M for path in (a, b))
    return far_end_m(a.line, a_m, b.line, b_m) is None and not centre_lines_cross(a.line, b.line)


def clearance_s(relation: Relation, leaving: int, vehicle_length_m: float, walking_speed_mps: float) -> float:
    """Red clearance [s] that link `leaving` needs before the other link of a relation may start.

    Vehicles: (W + L)/V, W from the stop line to the far end of the area shared with the other path, L the
    vehicle's length, or a rail-bound one's where only these may go, V the speed limit of the approach, or a
    bicycle's speed where only these may go (ITE, Traffic Engineering Handbook); 0 where the two paths share no area.
    Pedestrians: the crossing's length at walking speed (MUTCD 4E.06).
    """
    needed = 0.0
    for first, second in relation.pairs:
        mine, other = (first, second) if leaving == relation.first else (second, first)
        if mine.crossing_length_m is not None:
            needed = max(needed, mine.crossing_length_m / walking_speed_mps)
        elif mine.line is not None and other.line is not None:
            reach = far_end_m(mine.line, mine.width_m, other.line, other.width_m)
            if reach is not None:
                length_m = max(vehicle_length_m, mine.rail_length_m or 0.0)
                needed = max(needed, (reach + length_m) / mine.speed_mps)
    return needed

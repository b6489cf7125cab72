"""An incident: a broken-down car blocks a lane of a busy approach for some minutes.

The car is a standing vehicle, not a closed lane: drivers pass it where they can, as in the street, and no route
becomes invalid. Place and time follow from the seed and are the same for all controllers, to the second. The car
itself is in no metric.

SUMO inserts a car where and when there is room, which depends on the controller. The car therefore parks beside the
road from the beginning of the run, when the road is empty, and later moves onto its lane unchecked, with collisions
ignored. A vehicle that is just there drives on; one that is too close to brake ends up beyond the car. The car draws
no random numbers, so the run is the undisturbed one until the incident.
"""

from __future__ import annotations

import dataclasses
import hashlib
import random
from collections import Counter
from dataclasses import dataclass
from xml.sax.saxutils import quoteattr

from envs.sumo.outputs import INCIDENT_ID
from evaluation.details.approaches import approaches_of
from evaluation.details.corridor import planned_flows
from plumbing.cache import cached_file
from plumbing.errors import InputError
from scenarios.scenario import Scenario

LEAST_LANE_M = 40.0
BEFORE_STOP_LINE_M = 60.0
BUSIEST = 3
"""The place is drawn among this many of the busiest."""


@dataclass(frozen=True)
class Incident:
    """One incident: its place and time."""

    lane: str
    lane_index: int
    """Among its edge's lanes."""
    edge: str
    onward: str
    """The edge on which the car leaves afterwards."""
    at_m: float
    from_s: float
    duration_s: float

    def xml(self, begin_s: float) -> str:
        """SUMO's additional file with the incident, for a run that begins at `begin_s`."""
        place = f'lane={quoteattr(self.lane)} startPos="{self.at_m - 1:.1f}" endPos="{self.at_m:.1f}"'
        return (
            "<additional>\n"
            f'    <vType id="{INCIDENT_ID}" vClass="ignoring" length="5" speedDev="0" carFollowModel="IDM"/>\n'
            f'    <vehicle id="{INCIDENT_ID}" type="{INCIDENT_ID}" depart="{begin_s:.2f}"'
            f' departLane="{self.lane_index}" departPos="{self.at_m:.1f}" departSpeed="0" insertionChecks="none">\n'
            f"        <route edges={quoteattr(f'{self.edge} {self.onward}')}/>\n"
            f'        <stop {place} parking="true" until="{self.from_s:.0f}"/>\n'
            f'        <stop {place} until="{self.from_s + self.duration_s:.0f}"/>\n'
            "    </vehicle>\n</additional>\n"
        )


def find_incident(scenario: Scenario, seed: int, duration_s: float) -> Incident:
    """The incident of this seed: on one of the busiest approaches, with two lanes or more if there are such, in the
    second quarter of the run.

    Raises:
        InputError: no lane is long enough.
    """
    network = scenario.network
    flows: Counter[str] = Counter()
    for (edge, _), count in planned_flows(scenario).items():
        flows[edge] += count
    found: dict[str, tuple[bool, int]] = {}
    for approach in approaches_of(network):
        for edge in dict.fromkeys(network.lanes[lane].edge_id for lane in approach.behind_m):
            lanes = [network.lanes[lane] for lane in network.edges[edge].lane_ids]
            open_lanes = [lane for lane in lanes if lane.vehicles and not lane.rail]
            if _lanes_to_block(scenario, edge) and min(lane.length_m for lane in open_lanes) >= LEAST_LANE_M:
                found[edge] = len(open_lanes) > 1, flows[edge]
    if not found:
        raise InputError(
            f"scenario {scenario.name!r}: no approach has a lane of {LEAST_LANE_M:g} m for an incident; "
            "leave incident out of --stress"
        )
    if any(several for several, _ in found.values()):
        found = {edge: value for edge, value in found.items() if value[0]}
    busiest = sorted(found, key=lambda edge: (-found[edge][1], edge))[:BUSIEST]
    draw = random.Random(f"intergreen incident {seed}")
    edge = draw.choice(busiest)
    lane = draw.choice(_lanes_to_block(scenario, edge))
    length_m = network.lanes[lane].length_m
    return Incident(
        lane=lane,
        lane_index=network.edges[edge].lane_ids.index(lane),
        edge=edge,
        onward=_leads(scenario, lane),
        at_m=max(length_m / 2, length_m - BEFORE_STOP_LINE_M),
        from_s=round(scenario.begin_s + scenario.horizon_s * draw.uniform(0.25, 0.5)),
        duration_s=duration_s,
    )


def with_incident(scenario: Scenario, seed: int, duration_s: float) -> Scenario:
    """The scenario with this seed's incident."""
    data = find_incident(scenario, seed, duration_s).xml(scenario.begin_s).encode()
    digest = hashlib.sha256(data).hexdigest()[:20]
    path = cached_file(f"incident/{digest}/incident.add.xml", lambda: data)
    options = {**dict(scenario.options), "collision.action": "none"}  # by default SUMO removes overlapping vehicles
    files = (*scenario.additional_files, path)
    return dataclasses.replace(scenario, additional_files=files, options=tuple(options.items()))


def _leads(scenario: Scenario, lane: str) -> str:
    """An edge that the lane leads to, or ""."""
    network = scenario.network
    onward = [c.to_edge for c in network.outgoing.get(lane, ()) if network.edges[c.to_edge].function == "normal"]
    return onward[0] if onward else ""


def _lanes_to_block(scenario: Scenario, edge: str) -> list[str]:
    """The edge's lanes on which the car can stand and drive on afterwards."""
    network = scenario.network
    lanes = ((lane, network.lanes[lane]) for lane in network.edges[edge].lane_ids)
    return [lane for lane, of in lanes if of.vehicles and not of.rail and _leads(scenario, lane)]

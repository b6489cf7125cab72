"""The head of a jam: the junction that a queue waits for, or a circle of junctions that wait for each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from signals.snapshot import HALTING_MPS


@dataclass(frozen=True, slots=True)
class Head:
    """What holds up a queue."""

    junction: str
    circle: int = 0
    """How many junctions wait for each other in a circle, this one among them; 0 where they do not."""


def head_of(low: Any, stuck: Mapping[str, float]) -> Head:
    """Follow the queue of the vehicle that has stood for longest to its head.

    From lane to lane: to where the first vehicle of a lane wants to go, as long as there is no room for it and the
    first one there is stuck, too (else that queue moves, if slowly); otherwise to who is stuck inside the junction
    that it cannot enter.

    Args:
        low: SUMO, by calls such as `vehicle_getLaneID`.
        stuck: per vehicle that is stuck how long it has stood [s]; at least one.
    """
    queue = _Queue(low, stuck)
    passed: list[str] = []
    lane = low.vehicle_getLaneID(max(stuck, key=lambda vehicle: stuck[vehicle]))
    while lane not in passed:
        passed.append(lane)
        onward = queue.onward(lane, passed)
        if onward is None:
            return Head(queue.junction_of(lane))
        lane = onward
    circle = passed[passed.index(lane) :]
    junctions = list(dict.fromkeys(map(queue.junction_of, circle)))
    longest = max(circle, key=queue.stood_s)
    return Head(queue.junction_of(longest), len(junctions) if len(junctions) > 1 else 0)


class _Queue:
    """Questions to SUMO about who stands where."""

    def __init__(self, low: Any, stuck: Mapping[str, float]) -> None:
        self.low, self.stuck = low, stuck

    def onward(self, lane: str, passed: Sequence[str]) -> str | None:
        """The lane that the first vehicle of a lane waits for; None where it waits for none."""
        low = self.low
        first = self.first_on(lane)
        if first not in self.stuck:
            return None
        links = low.vehicle_getNextLinks(first)
        if links:
            target, inside = links[0][0], links[0][4]
            for ahead in (inside, target):
                if ahead and ahead != lane and self.first_on(ahead) in self.stuck and not self._room(ahead, first):
                    return str(ahead)
        junction = self.junction_of(lane)
        inside_it = {vehicle: low.vehicle_getLaneID(vehicle) for vehicle in self.stuck}
        others = [
            vehicle
            for vehicle, at in inside_it.items()
            if at.startswith(":") and at not in passed and self.junction_of(at) == junction
        ]
        return inside_it[max(others, key=lambda vehicle: self.stuck[vehicle])] if others else None

    def on(self, lane: str) -> list[str]:
        """The vehicles on a lane, the first one last."""
        low = self.low
        return sorted(low.lane_getLastStepVehicleIDs(lane), key=low.vehicle_getLanePosition) if lane else []

    def first_on(self, lane: str) -> str:
        """The foremost vehicle of a lane; "" where it is empty."""
        return next(reversed(self.on(lane)), "")

    def _room(self, lane: str, vehicle: str) -> bool:
        """Whether a vehicle finds room at the beginning of a lane, or will since who is there drives on."""
        low, vehicles = self.low, self.on(lane)
        if not vehicles or low.vehicle_getSpeed(vehicles[0]) >= HALTING_MPS:
            return True
        end_m = low.vehicle_getLanePosition(vehicles[0]) - low.vehicle_getLength(vehicles[0])
        return bool(end_m >= low.vehicle_getLength(vehicle) + low.vehicle_getMinGap(vehicle))

    def stood_s(self, lane: str) -> float:
        """How long the first vehicle of a lane has stood [s]."""
        return self.stuck.get(self.first_on(lane), 0.0)

    def junction_of(self, lane: str) -> str:
        """The junction that a lane lies in or leads to; "" for who is on none."""
        if not lane:
            return ""
        if lane.startswith(":"):
            return lane[1:].rsplit("_", 2)[0]
        junction: str = self.low.edge_getToJunction(self.low.lane_getEdgeID(lane))
        return junction

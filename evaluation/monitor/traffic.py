"""Who may take a way over a junction, and how fast and how long they are: what a clearance is calculated for.

The defaults are SUMO's
(https://sumo.dlr.de/docs/Vehicle_Type_Parameter_Defaults.html), since a net file tells classes, not vehicles.
"""

from __future__ import annotations

CYCLES = frozenset({"bicycle", "scooter"})
CYCLE_MPS = 20 / 3.6
"""How fast a bicycle wants to go at most (`desiredMaxSpeed`): 20 km/h. A scooter is faster."""
CAR_WIDTH_M, RAIL_WIDTH_M = 1.8, 3.0
RAIL_LENGTH_M = {
    "tram": 22.0,
    "rail_urban": 109.5,
    "rail": 135.0,
    "rail_electric": 200.0,
    "rail_fast": 200.0,
    "subway": 109.5,
    "cable_car": 5.0,
}
"""Length of a rail-bound vehicle by class."""
OTHER_CLASSES = frozenset({
    "private", "emergency", "authority", "army", "vip", "passenger", "hov", "taxi", "bus", "coach", "delivery",
    "truck", "trailer", "motorcycle", "moped", "bicycle", "evehicle", "scooter", "custom1", "custom2",
})  # fmt: skip
LEAST_SPEED_MPS = 0.1  # a closed lane's limit may be 0, which must not break a quotient


def classes_of(lane: dict[str, str]) -> frozenset[str]:
    """The classes of vehicles that may use a lane, by its `allow` and `disallow`; pedestrians apart."""
    every = OTHER_CLASSES | set(RAIL_LENGTH_M)
    allow, disallow = lane.get("allow"), lane.get("disallow", "")
    if allow is not None and allow != "all":
        return every & set(allow.split())
    return frozenset() if disallow == "all" else every - set(disallow.split())


def clearing_speed_mps(approach: dict[str, str], classes: frozenset[str]) -> float:
    """How fast these leave that come from a lane: at its speed limit, and bicycles alone no faster than they go."""
    limit_mps = max(float(approach["speed"]), LEAST_SPEED_MPS)
    return min(limit_mps, CYCLE_MPS) if cycles_alone(classes) else limit_mps


def cycles_alone(classes: frozenset[str]) -> bool:
    """Whether these are bicycles and scooters, and nothing else."""
    return bool(classes) and classes <= CYCLES


def rail_length_m(classes: frozenset[str]) -> float | None:
    """Length of the longest of these where all are bound to rails; otherwise None."""
    return max(RAIL_LENGTH_M[name] for name in classes) if classes and classes <= RAIL_LENGTH_M.keys() else None

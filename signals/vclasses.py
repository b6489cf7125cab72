"""SUMO's vehicle classes: who may use a lane, how fast it rides off a junction and how long it is.

The lists and lengths are SUMO's defaults, which its release 1.28 reports as they stand here
(https://sumo.dlr.de/docs/Vehicle_Type_Parameter_Defaults.html).
"""

from __future__ import annotations

from collections.abc import Set

RAIL_LENGTHS_M = {
    "tram": 22.0,
    "rail_urban": 109.5,
    "rail": 135.0,
    "rail_electric": 200.0,
    "rail_fast": 200.0,
    "subway": 109.5,
    "cable_car": 5.0,
}
RAIL_CLASSES = frozenset(RAIL_LENGTHS_M)
CYCLE_CLASSES = frozenset({"bicycle", "scooter"})
ROAD_CLASSES = CYCLE_CLASSES | {
    "private",
    "emergency",
    "authority",
    "army",
    "vip",
    "passenger",
    "hov",
    "taxi",
    "bus",
    "coach",
    "delivery",
    "truck",
    "trailer",
    "motorcycle",
    "moped",
    "evehicle",
    "custom1",
    "custom2",
}
VEHICLE_CLASSES = ROAD_CLASSES | RAIL_CLASSES
CYCLING_MPS = 20 / 3.6
"""The speed that a bicycle of SUMO's wants to ride at (`desiredMaxSpeed`); a scooter's is higher."""


def cycles_only(classes: Set[str]) -> bool:
    """Whether these are bicycles or scooters, and nothing else."""
    return bool(classes) and classes <= CYCLE_CLASSES


def rail_only(classes: Set[str]) -> bool:
    """Whether these are bound to rails, all of them."""
    return bool(classes) and classes <= RAIL_CLASSES


def rail_length_m(classes: Set[str]) -> float:
    """Length of the longest of these where all are bound to rails; otherwise 0 [m]."""
    return max(RAIL_LENGTHS_M[name] for name in classes) if rail_only(classes) else 0.0

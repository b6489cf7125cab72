"""The formulas of yellow change, red clearance and pedestrian clearance, in SI units, with their sources."""

from __future__ import annotations

FOOT_M = 0.3048
GRAVITY_MPS2 = 9.81


def yellow_change_s(
    speed_mps: float,
    *,
    grade: float = 0.0,
    perception_s: float = 1.0,
    deceleration_mps2: float = 10 * FOOT_M,
) -> float:
    """Yellow change interval Y = t + V / (2a + 2Gg), bounded to 3–6 s [s].

    Source: ITE, Traffic Engineering Handbook; bounds from MUTCD 2009 section 4D.26.

    >>> round(yellow_change_s(45 * 0.44704), 1)
    4.3
    """
    calculated = perception_s + speed_mps / (2 * deceleration_mps2 + 2 * grade * GRAVITY_MPS2)
    return min(max(calculated, 3.0), 6.0)


def red_clearance_s(distance_m: float, speed_mps: float, *, vehicle_length_m: float = 20 * FOOT_M) -> float:
    """Red clearance R = (W + L) / V [s].

    `distance_m` is W, from the stop line to the far side of the conflict along the vehicle's path.
    Source: ITE, Traffic Engineering Handbook.

    >>> round(red_clearance_s(80 * 0.3048, 45 * 0.44704), 1)
    1.5
    """
    return (distance_m + vehicle_length_m) / speed_mps


def pedestrian_clearance_s(crossing_length_m: float, walking_speed_mps: float = 3.5 * FOOT_M) -> float:
    """Time to walk across [s]. Source: MUTCD 2009 section 4E.06."""
    return crossing_length_m / walking_speed_mps

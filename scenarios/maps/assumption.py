"""The assumption that stands in for counts: how many vehicles enter per road class, and what else moves.

None of these numbers was measured anywhere. They are round values within what roads of each class carry in a town, so
that there is something to train on until there are counts (docs/demand.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from plumbing.errors import InputError

PER_LANE_VEH_H = {
    "motorway": 1000.0, "trunk": 700.0, "primary": 450.0, "secondary": 300.0, "tertiary": 180.0,
    "unclassified": 80.0, "residential": 50.0, "living_street": 10.0,
}  # fmt: skip
"""Vehicles per hour and lane that enter where a road of this class begins at the rim, at the level `medium`. A slip
road (`…_link`) has half of its class; any other road has that of `unclassified`."""
LEVELS = {"light": 0.5, "medium": 1.0, "heavy": 1.5}
"""Factors on all of it."""
INSIDE = 0.1
"""Vehicles that start within the network, per vehicle that enters it at the rim; as many end there."""
BICYCLES_PER_VEHICLE = 0.1
"""Where there are lanes or ways for bicycles."""
WALKERS_PER_CROSSING_H = 30.0
"""People per hour and signalised crossing, who walk in its surroundings."""
TRAM_HEADWAY_S = 600.0
"""Time between two trams at each place where a track enters."""
WARM_UP_S, HOUR_S, CLEARING_S = 600.0, 3600.0, 600.0
"""The network fills for ten minutes, then comes an hour; the window ends ten minutes after the last departure."""


@dataclass(frozen=True)
class Assumption:
    """What to make up."""

    level: str = "medium"
    """One of `LEVELS`; "own" where a total is given."""
    vehicles_per_h: float | None = None
    """Vehicles that enter or start per hour in the whole network; None: by road class and level."""
    seed: int = 0

    def __post_init__(self) -> None:
        """Raises InputError for a total that is none."""
        if self.vehicles_per_h is not None and not 1 <= self.vehicles_per_h <= 1e6:
            raise InputError(f"--vehicles-per-hour {self.vehicles_per_h:g}: give a number from 1 to 1,000,000")

    @property
    def factor(self) -> float:
        return LEVELS.get(self.level, 1.0)


def per_lane_veh_h(kind: str) -> float:
    """Vehicles per hour and lane at the level `medium`.

    Args:
        kind: netconvert's type of an edge, such as `highway.secondary` or `cycleway.lane|highway.tertiary`.
    """
    names = [word.removeprefix("highway.") for word in kind.split("|") if word.startswith("highway.")]
    rates = [_rate(name, PER_LANE_VEH_H) for name in names]
    return max(rates, default=PER_LANE_VEH_H["unclassified"])


def _rate(name: str, rates: Mapping[str, float]) -> float:
    base = name.removesuffix("_link")
    return rates.get(base, rates["unclassified"]) * (0.5 if base != name else 1.0)

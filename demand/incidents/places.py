"""Where detectors lie in a network: their lanes, and their distance to the end of the road that they watch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from plumbing.errors import InputError, did_you_mean, printable
from signals.network import RoadNetwork

STOP_M = 3.0  # [m] as signals.loops.STOP_BAR_M: halting bodies cover it
ADVANCE_M = 90.0  # [m] ahead of the stop line: where a queue that clears in each cycle seldom reaches
_MOST_BEHIND_M = 30.0  # [m] a shorter piece of road before a fork holds no loop of its own
COLUMNS = {"detector": pl.String(), "lane": pl.String(), "to_end_m": pl.Float64()}


@dataclass(frozen=True)
class Place:
    """One detector's place."""

    detector: str
    lane: str
    to_end_m: float
    """Distance to the end of the lane [m]."""


def read_places(path: Path, network: RoadNetwork) -> dict[str, Place]:
    """The places of a CSV with the columns detector, lane and to_end_m, by detector.

    Raises:
        InputError: it cannot be read, or names a lane that the network lacks.
    """
    try:
        table = pl.read_csv(path, schema_overrides=COLUMNS)
    except (OSError, pl.exceptions.PolarsError) as error:
        reason = printable(next(iter(str(error).splitlines()), type(error).__name__))
        raise InputError(f"{path} cannot be read ({reason}); give a CSV of {', '.join(COLUMNS)}") from error
    if missing := [name for name in COLUMNS if name not in table.columns]:
        raise InputError(f"{path} has no column {missing[0]!r}; it takes {', '.join(COLUMNS)}")
    found: dict[str, Place] = {}
    for detector, lane, to_end_m in table.select(list(COLUMNS)).iter_rows():
        if lane not in network.lanes:
            hint = did_you_mean(str(lane), network.lanes)
            raise InputError(f"{path}: detector {printable(detector)!r} lies on lane {printable(lane)!r}, which "
                             f"the network has not; correct the file or give its own network.{hint}")  # fmt: skip
        if detector is None or to_end_m is None or not 0 <= to_end_m <= 1e5:
            raise InputError(f"{path}: to_end_m of detector {printable(detector)!r} is {to_end_m}; give metres")
        found[str(detector)] = Place(str(detector), str(lane), float(to_end_m))
    return found


def places_table(places: Sequence[Place]) -> pl.DataFrame:
    """The table that `read_places` reads."""
    return pl.DataFrame([(p.detector, p.lane, p.to_end_m) for p in places], schema=dict(COLUMNS), orient="row")


def usual_places(network: RoadNetwork) -> list[Place]:
    """A stop-bar loop and an advance loop for every lane that leads to a signal, as streets are equipped.

    The advance loop of a lane that is shorter than that lies on the lanes that lead into it.
    """
    found: dict[str, Place] = {}
    for lane_id in dict.fromkeys(c.from_lane for links in network.controlled.values() for c in links):
        lane = network.lanes[lane_id]
        if not lane.vehicles or network.edges[lane.edge_id].function != "normal":
            continue
        _add(found, Place(f"{lane_id} stop", lane_id, min(STOP_M, lane.length_m / 2)))
        if lane.length_m > ADVANCE_M:
            _add(found, Place(f"{lane_id} advance", lane_id, ADVANCE_M))
            continue
        for before in network.incoming.get(lane_id, ()):
            upstream = network.lanes[before.from_lane]
            if before.tls_id is None and upstream.length_m > _MOST_BEHIND_M:
                behind_m = max(ADVANCE_M - lane.length_m, STOP_M)
                _add(found, Place(f"{upstream.id} advance", upstream.id, min(behind_m, upstream.length_m / 2)))
    return list(found.values())


def _add(found: dict[str, Place], place: Place) -> None:
    found.setdefault(place.detector, place)

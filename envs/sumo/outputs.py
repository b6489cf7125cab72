"""Reading what SUMO wrote about a run: its trip output and its statistics.

What SUMO 1.28 writes with `write-unfinished` and `write-undeparted`, found by trying: a vehicle that was
never inserted has `depart="-1"` and as `departDelay` the time from its planned departure to the run's end;
one that is planned for the end itself is listed, too, with 0 (and is not counted here). A person on the way at
the end has `duration="-1"` and no time loss, so its mean is over those who arrived. The waiting time of a person's
`walk` is the time that it stood, as before a crossing; that of a `ride` is the wait for the vehicle. Both are written
of stages that go on at the end, too; a stage that has not begun is left out or has -1 there.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import polars as pl

from plumbing.errors import InputError

VEHICLE_COLUMNS: Mapping[str, type[pl.DataType]] = {
    "vehicle_id": pl.String,
    "planned_s": pl.Float64,  # when it was to depart [s of simulation]
    "depart_s": pl.Float64,  # when it was inserted; null if never
    "arrival_s": pl.Float64,  # null if it did not arrive
    "delay_s": pl.Float64,  # time_loss_s + depart_delay_s
    "time_loss_s": pl.Float64,
    "depart_delay_s": pl.Float64,
    "travel_time_s": pl.Float64,  # insertion to arrival; null if it did not arrive
    "waiting_time_s": pl.Float64,  # below 0.1 m/s, over the whole trip so far
    "stops": pl.Int64,  # how often it came to a halt, other than where it was to stop
    "distance_m": pl.Float64,
    "removed": pl.Boolean,  # taken out of the simulation on its way
    "co2_g": pl.Float64,  # null without emissions
    "fuel_g": pl.Float64,
}
PERSON_COLUMNS: Mapping[str, type[pl.DataType]] = {
    "person_id": pl.String,
    "depart_s": pl.Float64,
    "arrived": pl.Boolean,
    "walk_waiting_s": pl.Float64,  # stood while walking, arrived or not; null if it has not walked
    "ride_waiting_s": pl.Float64,  # waited for vehicles to ride in, arrived or not; null if for none
    "time_loss_s": pl.Float64,  # null if it did not arrive
}
INCIDENT_ID = "intergreen-incident"
"""How the ids of vehicles begin that block a lane on purpose."""
_LEFT_BY_ITSELF = ("", "end")  # of the attribute `vaporized`


@dataclass(frozen=True)
class Trips:
    """One row per vehicle that was to depart in [begin, end), and one per person who set out."""

    vehicles: pl.DataFrame
    persons: pl.DataFrame
    own_veh: int = 0
    """Inserted vehicles that are no traffic but a hardship of ours (a breakdown); in no table."""


def trip_options(path: Path) -> tuple[str, ...]:
    """SUMO's options that write the trips of every vehicle that was to depart, for `read_trips`."""
    return (
        "--tripinfo-output", str(path),
        "--tripinfo-output.write-unfinished", "true",
        "--tripinfo-output.write-undeparted", "true",
    )  # fmt: skip


def read_trips(path: Path, end_s: float) -> Trips:
    """The trip output of a run that ended at `end_s`.

    Raises:
        InputError: the file is not whole.
    """
    vehicles: dict[str, list[Any]] = defaultdict(list)
    persons: dict[str, list[Any]] = defaultdict(list)
    own_veh = 0
    try:
        with path.open("rb") as stream:
            for _, element in ElementTree.iterparse(stream):
                if element.tag == "tripinfo":
                    row = vehicle_row(element, end_s)
                    if element.attrib["id"].startswith(INCIDENT_ID):
                        own_veh += float(element.attrib["depart"]) >= 0
                    elif row is not None:
                        _append(vehicles, VEHICLE_COLUMNS, row)
                    element.clear()
                elif element.tag == "personinfo":
                    person = person_row(element)
                    if person is not None:
                        _append(persons, PERSON_COLUMNS, person)
                    element.clear()
    except (ElementTree.ParseError, KeyError, ValueError, OSError) as error:
        raise not_whole(path, error, "trip output") from error
    return Trips(_frame(vehicles, VEHICLE_COLUMNS), _frame(persons, PERSON_COLUMNS), own_veh)


def not_whole(path: Path, error: Exception, what: str = "output") -> InputError:
    """The error to raise for an output of SUMO's that is torn or misses something."""
    return InputError(f"{path} is not SUMO's whole {what} ({error}); is the disk of {path.parent} full?")


def _append(columns: dict[str, list[Any]], names: Mapping[str, Any], row: Mapping[str, Any]) -> None:
    for name in names:
        columns[name].append(row[name])


def _frame(columns: dict[str, list[Any]], schema: Mapping[str, type[pl.DataType]]) -> pl.DataFrame:
    return pl.DataFrame({name: columns[name] for name in schema}, schema=dict(schema))


def vehicle_row(element: ElementTree.Element, end_s: float) -> dict[str, Any] | None:
    """What a `tripinfo` says, by column name; None of who was planned for the run's end or later."""
    of = element.attrib
    depart, arrival, depart_delay = float(of["depart"]), float(of["arrival"]), float(of["departDelay"])
    inserted = depart >= 0
    if not inserted and depart_delay <= 0:
        return None
    removed = of.get("vaporized", "") not in _LEFT_BY_ITSELF
    arrived = arrival >= 0 and not removed
    emissions = element.find("emissions")
    return {
        "vehicle_id": of["id"],
        "type": of["vType"],
        "planned_s": (depart if inserted else end_s) - depart_delay,
        "depart_s": depart if inserted else None,
        "arrival_s": arrival if arrived else None,
        "delay_s": float(of["timeLoss"]) + depart_delay,
        "time_loss_s": float(of["timeLoss"]),
        "depart_delay_s": depart_delay,
        "travel_time_s": float(of["duration"]) if arrived else None,
        "waiting_time_s": float(of["waitingTime"]),
        "stops": int(of["waitingCount"]),
        "distance_m": float(of["routeLength"]),
        "speed_factor": float(of["speedFactor"]),
        "removed": removed,
        "co2_g": None if emissions is None else float(emissions.attrib["CO2_abs"]) / 1000.0,  # from mg
        "fuel_g": None if emissions is None else float(emissions.attrib["fuel_abs"]) / 1000.0,
    }


def person_row(element: ElementTree.Element) -> dict[str, Any] | None:
    """What a `personinfo` says, by column name; None of who never set out."""
    of = element.attrib
    if float(of["depart"]) < 0:
        return None
    duration = float(of["duration"])
    arrived = duration >= 0
    return {
        "person_id": of["id"],
        "depart_s": float(of["depart"]),
        "arrived": arrived,
        "duration_s": duration if arrived else None,
        "waiting_time_s": float(of["waitingTime"]) if arrived else None,
        "walk_waiting_s": _waited_s(element, "walk"),
        "ride_waiting_s": _waited_s(element, "ride"),
        "time_loss_s": float(of["timeLoss"]) if arrived else None,
    }


def _waited_s(person: ElementTree.Element, stage: str) -> float | None:
    """The waiting in a person's stages of one kind [s]; None without any that has begun."""
    begun = [
        waited_s
        for each in person.iter(stage)
        if (waited_s := float(each.attrib["waitingTime"])) >= 0
        and (stage == "ride" or float(each.attrib["depart"]) >= 0)
    ]
    return sum(begun) if begun else None


@dataclass(frozen=True)
class Statistics:
    """Counts of a whole run, from SUMO's statistic output."""

    inserted_veh: int
    teleported_veh: int
    collisions: int
    emergency_stops: int
    emergency_brakings: int
    jammed_persons: int = 0


def read_statistics(path: Path) -> Statistics:
    """Raises InputError when the file is not whole."""
    try:
        root = ElementTree.parse(path).getroot()
        found = {child.tag: child.attrib for child in root}
        safety = found["safety"]
        return Statistics(
            inserted_veh=int(found["vehicles"]["inserted"]),
            teleported_veh=int(found["teleports"]["total"]),
            collisions=int(safety["collisions"]),
            emergency_stops=int(safety["emergencyStops"]),
            emergency_brakings=int(safety["emergencyBraking"]),
            jammed_persons=int(found["persons"]["jammed"]),
        )
    except (ElementTree.ParseError, KeyError, ValueError, OSError) as error:
        raise not_whole(path, error, "statistic output") from error

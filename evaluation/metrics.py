"""The metrics of one run. Each field says its quantity, unit and population; `METRICS` lists them."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import polars as pl

from envs.simulation import STUCK_S, EpisodeSummary
from evaluation.trips import Statistics, Trips
from signals.errors import InputError

GRIDLOCK_LEAST_VEH = 5
GRIDLOCK_SHARE = 0.05


@dataclass(frozen=True)
class RunMetrics:
    """What one run came to. A mean over nobody is NaN.

    "All" below are all vehicles that were to depart in [begin, end): those that arrived, those under way at
    the end, and those that were never inserted. A mean over the finished favours whoever keeps vehicles out.
    """

    vehicles: int
    """All of them."""
    delay_s: float
    """Mean over all of time loss + departure delay [s]. Time loss: SUMO's, against driving at the vehicle's
    own desired speed, to arrival or the end. Departure delay: planned departure to insertion or the end."""
    time_loss_s: float
    """Its first part: mean over all [s]; 0 for the never inserted."""
    depart_delay_s: float
    """Its second part: mean over all [s]."""
    travel_time_s: float
    """Mean over arrived vehicles, insertion to arrival [s]. Says little where many did not arrive."""
    waiting_time_s: float
    """Mean over inserted vehicles of the time below 0.1 m/s on the whole trip, up to the end [s]."""
    stops: float
    """Mean over inserted vehicles: how often each came to a halt (below 0.1 m/s)."""
    arrived_veh: int
    """Vehicles that reached their destination."""
    running_veh: int
    """Inserted, and still under way at the end."""
    uninserted_veh: int
    """Never inserted: no room up to the end."""
    removed_veh: int
    """Taken out by SUMO on their way (where a scenario's options say so); their delay ends there."""
    teleported_veh: int
    """Teleports in the run."""
    collisions: int
    emergency_stops: int
    emergency_brakings: int
    stuck_veh: int
    """Vehicles that at the end had stood still for at least 300 s."""
    gridlocked: bool
    """Whether stuck_veh is at least 5 and at least 5 % of the vehicles under way."""
    resco_delay_s: float
    """Delay as the RESCO benchmark counts it [s]: of the never-inserted vehicles, only those planned after
    the last inserted one's planned departure. For its published figures' sake; otherwise use delay_s."""
    persons_arrived: int
    persons_unfinished: int
    """Set out, and under way at the end: SUMO tells nothing of their waiting, so watch their number."""
    person_waiting_s: float
    """Mean over arrived persons of the time below 0.1 m/s, as at crossings [s]."""
    person_time_loss_s: float
    """Mean over arrived persons [s]."""
    co2_g: float
    """Mean over inserted vehicles, up to arrival or the end [g]. NaN unless emissions are computed."""
    fuel_g: float
    """As co2_g."""


METRICS = tuple(f.name for f in dataclasses.fields(RunMetrics) if f.name != "gridlocked")
"""The fields that are averaged over runs."""


def measure(trips: Trips, statistics: Statistics, summary: EpisodeSummary) -> RunMetrics:
    """The metrics of a run.

    Raises:
        InputError: the trip output does not list every inserted vehicle.
    """
    assert STUCK_S == 300.0, "the docstrings above say 300 s"
    vehicles, persons = trips.vehicles, trips.persons
    inserted = vehicles.filter(pl.col("depart_s").is_not_null())
    if inserted.height != statistics.inserted_veh:
        raise InputError(
            f"SUMO's trip output lists {inserted.height} of {statistics.inserted_veh} inserted vehicles; "
            "take tripinfo device settings out of the scenario's vehicle types and options"
        )
    arrived = int(inserted["arrival_s"].count())
    removed = int(inserted["removed"].sum())
    running = inserted.height - arrived - removed
    with_arrival = persons.filter(pl.col("arrived"))
    return RunMetrics(
        vehicles=vehicles.height,
        delay_s=_mean(vehicles["delay_s"]),
        time_loss_s=_mean(vehicles["time_loss_s"]),
        depart_delay_s=_mean(vehicles["depart_delay_s"]),
        travel_time_s=_mean(vehicles["travel_time_s"]),
        waiting_time_s=_mean(inserted["waiting_time_s"]),
        stops=_mean(inserted["stops"]),
        arrived_veh=arrived,
        running_veh=running,
        uninserted_veh=vehicles.height - inserted.height,
        removed_veh=removed,
        teleported_veh=statistics.teleported_veh,
        collisions=statistics.collisions,
        emergency_stops=statistics.emergency_stops,
        emergency_brakings=statistics.emergency_brakings,
        stuck_veh=summary.stuck_veh,
        gridlocked=is_gridlocked(summary),
        resco_delay_s=_resco_delay_s(vehicles),
        persons_arrived=with_arrival.height,
        persons_unfinished=persons.height - with_arrival.height,
        person_waiting_s=_mean(with_arrival["waiting_time_s"]),
        person_time_loss_s=_mean(with_arrival["time_loss_s"]),
        co2_g=_mean(inserted["co2_g"]),
        fuel_g=_mean(inserted["fuel_g"]),
    )


def is_gridlocked(summary: EpisodeSummary) -> bool:
    """Whether enough vehicles were stuck at the end."""
    return summary.stuck_veh >= max(GRIDLOCK_LEAST_VEH, GRIDLOCK_SHARE * summary.running_veh)


def _resco_delay_s(vehicles: pl.DataFrame) -> float:
    """Source: RESCO (Ault and Sharon 2021), utils/readXML.py."""
    inserted = pl.col("depart_s").is_not_null()
    last = vehicles.filter(inserted).sort("depart_s")["planned_s"]
    after = pl.col("planned_s") > (last[-1] if last.len() else -math.inf)
    return _mean(vehicles.filter(inserted | after)["delay_s"])


def _mean(values: pl.Series) -> float:
    """The mean of what is there, always summed in the same order."""
    present = values.drop_nulls().to_list()
    return math.fsum(present) / len(present) if present else math.nan

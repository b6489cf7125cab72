"""Computes the metrics of one run from what SUMO wrote; `evaluation.metrics` says what each of them is."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import polars as pl

from envs.sumo.outputs import Statistics, Trips
from envs.sumo.simulation import STUCK_S, EpisodeSummary
from evaluation.metrics import RunMetrics
from plumbing.errors import InputError

GRIDLOCK_LEAST_VEH = 5
GRIDLOCK_SHARE = 0.05


def measure(
    trips: Trips,
    statistics: Statistics,
    summary: EpisodeSummary,
    begin_s: float = 0.0,
    details: Mapping[str, float] | None = None,
    unserved_links: int = 0,
) -> RunMetrics:
    """The metrics of a run that began at `begin_s`; `details` has those of `DETAILS`.

    Raises:
        InputError: the trip output does not list every inserted vehicle.
    """
    assert STUCK_S == 300.0, "evaluation.metrics says 300 s"
    vehicles, persons = trips.vehicles, trips.persons
    inserted = vehicles.filter(pl.col("depart_s").is_not_null())
    if inserted.height + trips.own_veh != statistics.inserted_veh:
        raise InputError(
            f"SUMO's trip output lists {inserted.height} of {statistics.inserted_veh} inserted vehicles; "
            "take tripinfo device settings out of the scenario's vehicle types and options"
        )
    arrived = int(inserted["arrival_s"].count())
    removed = int(inserted["removed"].sum())
    running = inserted.height - arrived - removed
    with_arrival = persons.filter(pl.col("arrived"))
    horizon_s = summary.end_s - begin_s
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
        gridlocked=(gridlocked := is_gridlocked(summary)),
        gridlock_at=summary.stuck_at if gridlocked else "",
        gridlock_circle=summary.stuck_circle if gridlocked else 0,
        gridlock_since_s=summary.stuck_since_s if gridlocked else math.nan,
        delay_p95_s=percentile(vehicles["delay_s"], 95),
        delay_max_s=percentile(vehicles["delay_s"], 100),
        throughput_vph=3600.0 * arrived / horizon_s if horizon_s > 0 else math.nan,
        resco_delay_s=_resco_delay_s(vehicles),
        persons_arrived=with_arrival.height,
        persons_unfinished=persons.height - with_arrival.height,
        persons_jammed=statistics.jammed_persons,
        person_waiting_s=_mean(persons["walk_waiting_s"]),
        person_time_loss_s=_mean(with_arrival["time_loss_s"]),
        person_waiting_p95_s=percentile(persons["walk_waiting_s"], 95),
        person_waiting_max_s=percentile(persons["walk_waiting_s"], 100),
        ride_waiting_s=_mean(persons["ride_waiting_s"]),
        unserved_links=unserved_links,
        co2_g=_mean(inserted["co2_g"]),
        fuel_g=_mean(inserted["fuel_g"]),
        **(details or {}),
    )


def is_gridlocked(summary: EpisodeSummary) -> bool:
    """Whether at the end at least 5 vehicles and 5 % of those under way were stuck."""
    return summary.stuck_veh >= max(GRIDLOCK_LEAST_VEH, GRIDLOCK_SHARE * summary.running_veh)


def _resco_delay_s(vehicles: pl.DataFrame) -> float:
    """Source: RESCO (Ault and Sharon 2021), utils/readXML.py."""
    inserted = pl.col("depart_s").is_not_null()
    last = vehicles.filter(inserted).sort("depart_s")["planned_s"]
    after = pl.col("planned_s") > (last[-1] if last.len() else -math.inf)
    return _mean(vehicles.filter(inserted | after)["delay_s"])


def percentile(values: pl.Series, share: float) -> float:
    """The `share`-th percentile of the values that are not null, interpolated; NaN without any."""
    present = values.drop_nulls().to_numpy()
    return float(np.percentile(present, share)) if present.size else math.nan


def _mean(values: pl.Series) -> float:
    """The mean of the values that are not null, summed in their order; NaN without any."""
    present = values.drop_nulls().to_list()
    return math.fsum(present) / len(present) if present else math.nan

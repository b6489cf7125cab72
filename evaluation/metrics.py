"""The metrics of one run. Each field says its quantity, unit and population; `METRICS` lists them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from envs.sumo.outputs import Statistics, Trips
from envs.sumo.simulation import STUCK_S, EpisodeSummary
from plumbing.errors import InputError

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
    gridlock_at: str
    """Of a gridlocked run: the junction where a vehicle has been stuck for longest, inside it if any is."""
    gridlock_since_s: float
    """Since when that vehicle has stood still, in the scenario's time [s]; NaN where the run is not gridlocked."""
    delay_p95_s: float
    """The delay that 5 % of all exceed [s]."""
    delay_max_s: float
    """The greatest delay of all [s]."""
    throughput_vph: float
    """Arrived vehicles per hour of the window."""
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
    person_waiting_p95_s: float
    """The waiting that 5 % of the arrived persons exceed [s]."""
    person_waiting_max_s: float
    """The greatest waiting of an arrived person [s]."""
    co2_g: float
    """Mean over inserted vehicles, up to arrival or the end [g]. NaN unless emissions are computed."""
    fuel_g: float
    """As co2_g."""
    # what follows needs more of SUMO's outputs, and is NaN unless the results are written (--out)
    queue_veh: float = math.nan
    """Vehicles in the network below 0.1 m/s, mean over the window."""
    queue_max_veh: float = math.nan
    """The same, greatest."""
    spillback_share: float = math.nan
    """Share of the window during which some signal's queue reaches its upstream junction (a vehicle stands within
    7.5 m of it)."""
    spillback_events: float = math.nan
    """How often, over all approaches, a queue comes to reach its upstream junction."""
    signal_delay_s: float = math.nan
    """Mean over all vehicles that came to a signal, once per signal, of the time lost from the signal before (or
    from the planned departure) to behind the junction; up to the end where it was not passed [s]."""
    movement_p95_s: float = math.nan
    """The worst-served movement: the greatest 95th percentile of signal_delay_s over movements with at least 20
    vehicles [s]."""
    movement_max_s: float = math.nan
    """The greatest signal_delay_s of a single vehicle [s]."""


METRICS = tuple(f.name for f in dataclasses.fields(RunMetrics) if not f.name.startswith("gridlock"))
"""The fields that are averaged over runs."""


DETAILS = tuple(f.name for f in dataclasses.fields(RunMetrics) if f.default is not dataclasses.MISSING)
"""The fields that only a run whose results are written has."""


def measure(
    trips: Trips,
    statistics: Statistics,
    summary: EpisodeSummary,
    begin_s: float = 0.0,
    details: Mapping[str, float] | None = None,
) -> RunMetrics:
    """The metrics of a run that began at `begin_s`; `details` has those of `DETAILS`.

    Raises:
        InputError: the trip output does not list every inserted vehicle.
    """
    assert STUCK_S == 300.0, "the docstrings above say 300 s"
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
        gridlock_since_s=summary.stuck_since_s if gridlocked else math.nan,
        delay_p95_s=percentile(vehicles["delay_s"], 95),
        delay_max_s=percentile(vehicles["delay_s"], 100),
        throughput_vph=3600.0 * arrived / horizon_s if horizon_s > 0 else math.nan,
        resco_delay_s=_resco_delay_s(vehicles),
        persons_arrived=with_arrival.height,
        persons_unfinished=persons.height - with_arrival.height,
        person_waiting_s=_mean(with_arrival["waiting_time_s"]),
        person_time_loss_s=_mean(with_arrival["time_loss_s"]),
        person_waiting_p95_s=percentile(with_arrival["waiting_time_s"], 95),
        person_waiting_max_s=percentile(with_arrival["waiting_time_s"], 100),
        co2_g=_mean(inserted["co2_g"]),
        fuel_g=_mean(inserted["fuel_g"]),
        **(details or {}),
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


def percentile(values: pl.Series, share: float) -> float:
    """The value below which so many percent of what is there lie, interpolated; NaN over nobody."""
    present = values.drop_nulls().to_numpy()
    return float(np.percentile(present, share)) if present.size else math.nan


def _mean(values: pl.Series) -> float:
    """The mean of what is there, always summed in the same order."""
    present = values.drop_nulls().to_list()
    return math.fsum(present) / len(present) if present else math.nan

"""The metrics of one run: the only place that says what each is called, its unit, population, format and meaning.

The terminal's table, the report with its tables and glossary, the JSON and CSV files and the table in
docs/evaluation.md all read it. A new metric is a field of `RunMetrics` with its `Metric`, and its value in
`evaluation.measure` (or in `evaluation.details.tables.detail_metrics`, where it needs the outputs of --out).
"""

from __future__ import annotations

import dataclasses
import math
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

ALL = "mean over every vehicle that was to depart, arrived or not"
ENTERED = "mean over the vehicles that entered the network"
PERSONS = "mean over the persons that arrived"
WALKERS = "over the persons that set out and walked, arrived or not"
RUN = "number in the run"


@dataclass(frozen=True)
class Metric:
    """Name, meaning and format of a metric."""

    title: str
    """Its heading in the report."""
    unit: str
    """Unit of the value; "" for shares and plain counts."""
    population: str
    """The population that a run's value is taken over."""
    caption: str
    """Its meaning, as part of a sentence."""
    form: str = ".1f"
    """Format of the value, as for `format`."""
    terminal: str = ""
    """Heading in the terminal's table; empty: not shown there."""
    table: Literal["", "delay", "beyond"] = ""
    """The report's table with a column for it. The report's table of all metrics has every one."""

    @property
    def heading(self) -> str:
        """Title and unit, such as `delay [s]`."""
        return f"{self.title} [{self.unit}]" if self.unit else self.title

    @property
    def definition(self) -> str:
        """Meaning and population, for a glossary."""
        return f"{self.caption}; {self.population}"

    def row(self, key: str) -> str:
        """Its row of the table in docs/evaluation.md."""
        return f"| `{key}` | {self.unit or '–'} | {self.caption} | {self.population} |"

    def text(self, value: float) -> str:
        """A value as tables show it."""
        return shown(value, self.form)


def shown(value: float, form: str) -> str:
    """A number in that form; a dash where there is none."""
    return format(value, form).replace("%", " %") if math.isfinite(value) else "–"


# fmt: off
@dataclass(frozen=True)
class RunMetrics:
    """The metrics of one run. A mean over an empty population is NaN.

    A mean over the finished alone favours a controller that keeps vehicles out, so delay counts every vehicle that
    was to depart in [begin, end).
    """

    vehicles: Annotated[int, Metric("vehicles", "veh", RUN, "every vehicle that was to depart", ",.0f")]
    delay_s: Annotated[float, Metric("delay", "s", ALL,
        "time loss + departure delay", terminal="delay s", table="delay")]
    time_loss_s: Annotated[float, Metric("time loss", "s", ALL,
        "SUMO's, against driving at the vehicle's own desired speed, to arrival or the end; 0 if never inserted")]
    depart_delay_s: Annotated[float, Metric("departure delay", "s", ALL,
        "the wait to be let into the network: from the planned departure to insertion or the end")]
    travel_time_s: Annotated[float, Metric("travel time", "s", "mean over the vehicles that arrived",
        "from insertion to arrival; says little where many did not arrive", terminal="travel\ntime s")]
    waiting_time_s: Annotated[float, Metric("waiting", "s", ENTERED,
        "time below 0.1 m/s on the whole trip, to its end or the run's", terminal="waiting\ns", table="delay")]
    stops: Annotated[float, Metric("stops", "", ENTERED,
        "how often a vehicle came to a halt (below 0.1 m/s)", ".2f", "stops", "delay")]
    arrived_veh: Annotated[int, Metric("arrived", "veh", RUN,
        "vehicles that reached their destination", ",.0f", "arrived", "delay")]
    running_veh: Annotated[int, Metric("under way", "veh", RUN,
        "vehicles that entered and had not arrived at the end", ",.0f", "running", "delay")]
    uninserted_veh: Annotated[int, Metric("never let in", "veh", RUN,
        "vehicles for which there was no room up to the end", ",.0f", "unin-\nserted", "delay")]
    removed_veh: Annotated[int, Metric("removed", "veh", RUN,
        "vehicles that SUMO took out on their way, where a scenario's options say so; their delay ends there",
        ",.0f")]
    teleported_veh: Annotated[int, Metric("teleported", "veh", RUN, "SUMO's teleports", ",.0f", "tele-\nported")]
    collisions: Annotated[int, Metric("collisions", "", RUN, "SUMO's count", ",.0f")]
    emergency_stops: Annotated[int, Metric("emergency stops", "", RUN, "SUMO's count", ",.0f")]
    emergency_brakings: Annotated[int, Metric("emergency brakings", "", RUN, "SUMO's count", ",.0f")]
    stuck_veh: Annotated[int, Metric("stuck", "veh", RUN,
        "vehicles that at the end had stood still for at least 300 s", ",.0f")]
    gridlocked: bool
    """Whether stuck_veh is at least 5 and at least 5 % of the vehicles under way."""
    gridlock_at: str
    """The junction at the head of the queue of the vehicle that has been stuck for longest; "" without gridlock."""
    gridlock_circle: int
    """How many junctions wait for each other in a circle there; 0 where they do not, or without gridlock."""
    gridlock_since_s: float
    """Since when that vehicle has stood still, in the scenario's time [s]; NaN where the run is not gridlocked."""
    delay_p95_s: Annotated[float, Metric("95 % of vehicles below", "s", "over the same vehicles as delay",
        "the delay that 5 % of the vehicles exceed", ".0f", table="beyond")]
    delay_max_s: Annotated[float, Metric("worst vehicle", "s", "over the same vehicles as delay",
        "the greatest delay", ".0f", table="beyond")]
    throughput_vph: Annotated[float, Metric("throughput", "veh/h", "over the run",
        "arrived vehicles per hour of the window", ",.0f", table="beyond")]
    resco_delay_s: Annotated[float, Metric("RESCO's delay", "s",
        "mean over the vehicles that entered, and of those never inserted the ones planned after the last insertion",
        "delay as the RESCO benchmark counts it, for its published figures alone")]
    persons_arrived: Annotated[int, Metric("persons arrived", "", RUN, "persons that ended their trip", ",.0f")]
    persons_unfinished: Annotated[int, Metric("persons under way", "", RUN,
        "persons that set out and had not arrived", ",.0f", "persons\nunder way", "beyond")]
    persons_jammed: Annotated[int, Metric("persons jammed", "", RUN,
        "persons that stood for so long (300 s, unless the scenario says otherwise) that SUMO let them walk on, at "
        "red too", ",.0f")]
    person_waiting_s: Annotated[float, Metric("pedestrians wait, mean", "s", f"mean {WALKERS}",
        "time that they stood while walking, as at crossings; waiting for a bus does not count", terminal=
        "walkers'\nwaiting s", table="beyond")]
    person_time_loss_s: Annotated[float, Metric("pedestrians' time loss", "s", PERSONS, "SUMO's time loss")]
    person_waiting_p95_s: Annotated[float, Metric("pedestrians wait, 95 % below", "s", WALKERS,
        "the waiting that 5 % of the persons exceed", ".0f", table="beyond")]
    person_waiting_max_s: Annotated[float, Metric("pedestrians wait, most", "s", WALKERS,
        "the greatest waiting of a person", ".0f")]
    ride_waiting_s: Annotated[float, Metric("wait for a ride", "s",
        "mean over the persons that waited for a vehicle to ride in, arrived or not",
        "time from coming to the stop until the bus, train or car comes, or up to the end")]
    unserved_links: Annotated[int, Metric("links never served", "", RUN,
        "links of signals without any green in the whole run although somebody had stood before them for 120 s at "
        "the end, or had crossed there at red", ",.0f", table="beyond")]
    co2_g: Annotated[float, Metric("CO2", "g/veh", ENTERED,
        "emitted to arrival or the end (HBEFA, by SUMO); with --emissions", ".0f", "CO2\ng", "beyond")]
    fuel_g: Annotated[float, Metric("fuel", "g/veh", ENTERED,
        "used to arrival or the end (HBEFA, by SUMO); with --emissions", ".0f", table="beyond")]
    # what follows needs more of SUMO's outputs, and is NaN unless the results are written (--out)
    queue_veh: Annotated[float, Metric("standing, mean", "veh", "mean over the run, sampled every 10 s",
        "vehicles in the network below 0.1 m/s", table="beyond")] = math.nan
    queue_max_veh: Annotated[float, Metric("standing, most", "veh", "greatest of the run, sampled every 10 s",
        "vehicles in the network below 0.1 m/s", ".0f", table="beyond")] = math.nan
    spillback_share: Annotated[float, Metric("spillback, of the time", "", "share of the run, sampled every 10 s",
        "some signal's queue reaches its upstream junction: a vehicle stands within 7.5 m of it",
        ".1%", table="beyond")] = math.nan
    spillback_events: Annotated[float, Metric("spillback, events", "", "sum over all approaches",
        "how often a queue comes to reach its upstream junction", table="beyond")] = math.nan
    signal_delay_s: Annotated[float, Metric("delay at a signal", "s",
        "mean over all vehicles that came to a signal, once per signal",
        "time lost from the signal before (or from the planned departure) to behind the junction, or up to the end",
        table="beyond")] = math.nan
    movement_p95_s: Annotated[float, Metric("worst movement, 95 % below", "s",
        "greatest over the movements with at least 20 vehicles",
        "the delay at a signal that 5 % of a movement's vehicles exceed", ".0f", table="beyond")] = math.nan
    movement_max_s: Annotated[float, Metric("worst at a signal", "s", "over all vehicles that came to a signal",
        "the greatest delay at a signal of one vehicle", ".0f")] = math.nan
# fmt: on


TYPES: Mapping[str, type] = typing.get_type_hints(RunMetrics)
"""The type of each field of `RunMetrics`."""
METRICS: dict[str, Metric] = {
    name: next(each for each in typing.get_args(hint) if isinstance(each, Metric))
    for name, hint in typing.get_type_hints(RunMetrics, include_extras=True).items()
    if typing.get_origin(hint) is Annotated
}
"""All metrics by key, in the fields' order. The four fields of the gridlock are no numbers to average."""
DETAILS = tuple(f.name for f in dataclasses.fields(RunMetrics) if f.default is not dataclasses.MISSING)
"""The fields that are NaN unless a run's results are written."""


def present(metrics: Iterable[str], values: Iterable[Mapping[str, float]]) -> list[str]:
    """The metrics that have a value for at least one controller; those of persons only where there are any."""
    known = list(values)
    nobody = not any(each["persons_arrived"] + each["persons_unfinished"] > 0 for each in known)
    return [
        key
        for key in metrics
        if any(math.isfinite(each[key]) for each in known) and not (nobody and key.startswith("person"))
    ]

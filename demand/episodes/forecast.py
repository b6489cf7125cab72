"""A trained forecast beside a running simulation: what it has counted so far, after what was known before its begin.

The model sees the counts until the window's begin (those that the scenario's folder keeps, measured ones alone), and
then what loops at the detectors' places have counted in the simulation. Nothing that comes later is handed to it.
"""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from demand.calibration.matching import bound_m
from demand.calibration.places import Place, Roads
from demand.counts.series import Series, read_series
from demand.counts.timeline import FLOW, Numbers
from demand.episodes.calibrated import Calibrated, calibrated, dates_of
from demand.forecast.features import HISTORY_DAYS
from demand.forecast.model_folder import ABOUT, ModelAbout, best_of, read_model
from demand.forecast.runtime import Forecaster, loaded
from demand.plans.lanes import LaneFlows, lane_flows
from plumbing.digest import file_sha256
from plumbing.errors import InputError, printable
from scenarios.days import day_number
from scenarios.scenario import Scenario

_EPOCH = datetime.date(1970, 1, 1)
_DAY_S = 86_400


@dataclass(frozen=True)
class Before:
    """What is known when an episode begins."""

    values: Numbers
    """(T, D) vehicles per interval, in the order of the model's detectors; NaN where nothing is known."""
    begin: int
    """Of the first interval [seconds since 1970, UTC]."""


@dataclass(frozen=True)
class Forecast:
    """See `scenarios.foresight.Foresight`."""

    model: str
    identity: str
    interval_s: int
    counters: tuple[tuple[str, float], ...]
    lanes: tuple[str, ...]
    about: ModelAbout
    files: Mapping[str, bytes]
    """The model, which goes along to where the simulation runs."""
    parts: Numbers
    """(D, counters) whether a counter is a part of what a detector counts."""
    flows: LaneFlows
    days: tuple[Before, ...]
    apart: tuple[int, int]
    """See `scenarios.days.day_number`."""

    def begin(self, seed: int) -> Episode:
        """See `Foresight`."""
        return Episode(self, self.days[day_number(len(self.days), seed, self.apart)])


class Episode:
    """See `scenarios.foresight.Teller`."""

    def __init__(self, of: Forecast, before: Before) -> None:
        self._of, self._before = of, before
        self._forecaster = Forecaster.of(of.about, of.files)
        self._counted: list[Numbers] = []

    def told(self, counts: Numbers | None) -> Numbers:
        """See `Teller`."""
        of = self._of
        if counts is not None:
            parts = np.where(of.parts, counts, 0.0).sum(axis=1)
            self._counted.append(np.where(of.parts.any(axis=1), parts, np.nan))
        values = np.vstack([self._before.values, *self._counted])
        median = self._forecaster.forecast(values, self._before.begin)[:, [0, -1], 1]
        return of.flows.of(median.T * 3600.0 / of.interval_s)


def foresight(model: Path, scenario: Scenario) -> Forecast:
    """The forecast of a folder for a scenario.

    Raises:
        InputError: it is none, or does not fit the scenario.
    """
    folder = best_of(model)
    about, files = read_model(folder)
    if about.quantity != FLOW:
        raise InputError(f"{model} forecasts {about.quantity}; give a forecast of {FLOW}")
    loaded(folder, about, files)  # whether its files can be run is better known now
    of = calibrated(scenario)
    series = read_series(of.counts, FLOW)
    _check(model, about, series, of)
    places = [place for place in of.places if place.detector in about.detectors]
    controlled = {c.from_lane for links in scenario.network.controlled.values() for c in links}
    flows = lane_flows(of.roads, places, about.detectors)
    if not controlled.intersection(flows.lanes):
        raise InputError(
            f"{model} forecasts for no detector that has a place before a signal in {of.path}; give the forecast of "
            "the counts that the scenario was calibrated to"
        )
    counters, parts = _counters(of.roads, places, about.detectors)
    days = tuple(_before(about, series, date, int(scenario.begin_s)) for date in dates_of(scenario, of))
    model_sha256 = file_sha256(folder / ABOUT)  # it names its files' digests
    return Forecast(
        model_sha256, _identity(model_sha256, days), about.interval_s, counters, flows.lanes, about, files, parts,
        flows, days, scenario.days_apart,
    )  # fmt: skip


def _check(model: Path, about: ModelAbout, series: Series, of: Calibrated) -> None:
    if unknown := [name for name in about.detectors if name not in series.detectors]:
        raise InputError(
            f"{model} forecasts detector {printable(unknown[0], 60)!r}, which the counts of {of.path} do not have; "
            "give the forecast of the counts that the scenario was calibrated to"
        )
    clock = series.clock
    if (about.interval_s, about.zone) != (clock.interval_s, clock.zone):
        raise InputError(
            f"{model} forecasts intervals of {about.interval_s} s in {about.zone}, and the counts of {of.path} have "
            f"{clock.interval_s} s in {clock.zone}; give the forecast of these counts"
        )


def _before(about: ModelAbout, series: Series, date: datetime.date, begin_s: int) -> Before:
    """What was measured before the window of a date, as far back as a forecast looks."""
    interval_s = about.interval_s
    number = (date - _EPOCH).days - int(series.clock.ordinal[0])
    if number < 0:
        raise InputError(f"the counts of the scenario begin after its day {date}; calibrate again")
    slots = series.clock.slots
    missing = max(0, (number + 2) * slots - series.clock.length)
    clock = series.clock.longer(missing)
    later = clock.place[number, begin_s // interval_s :]
    end = int(later[later >= 0][0])  # where clocks jump over the begin: what comes next
    first = max(0, end - HISTORY_DAYS * _DAY_S // interval_s)
    columns = [series.detectors.index(name) for name in about.detectors]
    known = np.where(series.measured, series.values, np.nan)[first:end, columns]
    if len(known) < end - first or not len(known):  # a day after the last that was counted, or the first one's begin
        first, end = (first, end) if end > first else (end - 1, end)
        known = np.vstack([known, np.full((end - first - len(known), len(columns)), np.nan)])
    return Before(known, clock.begin + first * interval_s)


def _counters(
    roads: Roads, places: Sequence[Place], detectors: Sequence[str]
) -> tuple[tuple[tuple[str, float], ...], Numbers]:
    """Where loops count, and (D, counters) which of them make a detector's count: those on its lanes or, for one that
    counts a movement, on the ways through the junction."""
    loops = {place.detector: _loops(roads, place) for place in places}
    counters = tuple(dict.fromkeys(loop for of in loops.values() for loop in of))
    return counters, np.array([[counter in loops.get(name, ()) for counter in counters] for name in detectors])


def _loops(roads: Roads, place: Place) -> list[tuple[str, float]]:
    if not place.to_edges:
        return [(lane, bound_m(place, roads)) for lane in place.lanes]
    network, found = roads.network, []
    for c in network.connections:
        if c.from_edge == place.edge and c.to_edge in place.to_edges and c.via is not None:
            found.append((c.via, max(0.1, network.lanes[c.via].length_m - 0.1)))
    return list(dict.fromkeys(found))


def _identity(model: str, days: Sequence[Before]) -> str:
    digest = hashlib.sha256(model.encode())
    for day in days:
        digest.update(str(day.begin).encode() + np.ascontiguousarray(day.values).tobytes())
    return digest.hexdigest()

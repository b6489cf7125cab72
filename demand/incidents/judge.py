"""How well alarms tell incidents that are known: detection rate, minutes to detect, false alarms a day.

An incident is detected by an alarm that is raised while it lasts, on the stretch of road where it lies or the next
one up- or downstream. An alarm in a time without incident is false. While an incident lasts, and for half an hour
after it, traffic is disturbed elsewhere, too: alarms there are counted by themselves, and that time counts for no
false alarms.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from demand.incidents.alarms import HOLD_S, Alarm, alarms_of
from demand.incidents.groups import Group
from demand.incidents.panel import FloatArray, Panel

AFTER_S = 1800.0
IN_TIME_MIN = 5.0
_DAY_S = 86_400.0


@dataclass(frozen=True)
class Truth:
    """The incidents of a panel's days."""

    begin: npt.NDArray[np.float64]
    """[N] seconds since 1970."""
    end: npt.NDArray[np.float64]
    """[N]"""
    groups: tuple[frozenset[int], ...]
    """[N] the groups whose alarm tells of it."""
    at: npt.NDArray[np.float64]
    """[T] when each row's interval ends: only then its counts are known."""
    disturbed: npt.NDArray[np.bool_]
    """[T] rows in the time of an incident or soon after one."""
    labels: tuple[str, ...]
    """[N] what kind each is."""
    own: tuple[int, ...]
    """[N] the group of the road where it lies; -1: no group watches that."""

    def normal_days(self, interval_s: int) -> float:
        """Time without incident, in days of 24 hours."""
        return float((~self.disturbed).sum() * interval_s / _DAY_S)


@dataclass(frozen=True)
class Verdict:
    """What a threshold's alarms came to."""

    threshold: float
    incidents: int
    minutes: tuple[float | None, ...]
    """[N] from each incident's begin to its first alarm; None: not detected."""
    false_alarms: int
    normal_days: float
    elsewhere: int
    """Alarms on other roads while an incident lasts, and soon after."""

    @property
    def detected(self) -> float:
        """Share of the incidents that were detected at all."""
        return sum(m is not None for m in self.minutes) / max(self.incidents, 1)

    @property
    def in_time(self) -> float:
        """Share that was detected within five minutes."""
        return sum(m is not None and m <= IN_TIME_MIN for m in self.minutes) / max(self.incidents, 1)

    @property
    def median_min(self) -> float | None:
        """Median time to detection of those that were detected [min]."""
        found = [m for m in self.minutes if m is not None]
        return float(np.median(found)) if found else None

    @property
    def false_a_day(self) -> float:
        """False alarms in 24 hours without incident."""
        return self.false_alarms / self.normal_days if self.normal_days else 0.0


def truth_of(panel: Panel, groups: Sequence[Group], incidents: pl.DataFrame) -> Truth:
    """The incidents of a table with the columns of `demand.incidents.simulation.INCIDENTS`."""
    at = np.array([time.timestamp() + panel.interval_s for time in panel.times])
    begin = np.array([_seconds(time) for time in incidents["begin"]], float)
    end = np.array([_seconds(time) for time in incidents["end"]], float)
    disturbed = np.zeros(len(at), bool)
    for first, last in zip(begin, end, strict=True):
        disturbed |= (at > first) & (at - panel.interval_s < last + AFTER_S)
    of_detector = {name: n for n, group in enumerate(groups) for name in group.detectors}
    fed_by = [{of_detector[name] for name in group.feeding if name in of_detector} for group in groups]
    near, own = [], []
    for edge in incidents["edge"]:
        here = {n for n, group in enumerate(groups) if edge in group.roads}
        up = {n for g in here for n in fed_by[g]}
        down = {n for n in range(len(groups)) if fed_by[n] & here}
        near.append(frozenset(here | up | down))
        own.append(min(here, default=-1))
    return Truth(begin, end, tuple(near), at, disturbed, tuple(incidents["severity"]), tuple(own))


def judge(scores: FloatArray, panel: Panel, truth: Truth, threshold: float) -> Verdict:
    """What the alarms at a threshold come to."""
    raised = alarms_of(scores, panel.run, threshold, hold_rows(panel.interval_s))
    return verdict(raised, panel, truth, threshold)


def verdict(raised: Iterable[Alarm], panel: Panel, truth: Truth, threshold: float) -> Verdict:
    """The same of alarms that are known already."""
    minutes: list[float | None] = [None] * len(truth.begin)
    false = elsewhere = 0
    for alarm in raised:
        at = truth.at[alarm.begin]
        tells = [
            n
            for n in range(len(minutes))
            if alarm.group in truth.groups[n] and truth.begin[n] < at <= truth.end[n] + panel.interval_s
        ]
        for n in tells:
            after_min = (at - truth.begin[n]) / 60.0
            minutes[n] = min(after_min, minutes[n] if minutes[n] is not None else np.inf)
        if not truth.disturbed[alarm.begin]:
            false += 1
        elif not tells:
            elsewhere += 1
    days = truth.normal_days(panel.interval_s)
    return Verdict(threshold, len(minutes), tuple(minutes), false, days, elsewhere)


def curve(scores: FloatArray, panel: Panel, truth: Truth, points: int = 60) -> list[Verdict]:
    """Verdicts at thresholds from one that gives no alarm to one that gives many."""
    finite = scores[np.isfinite(scores)]
    levels = np.quantile(finite, 1.0 - np.geomspace(1e-6, 0.05, points)) if len(finite) else np.array([])
    return [judge(scores, panel, truth, float(level)) for level in np.unique(levels)[::-1]]


def hold_rows(interval_s: int) -> int:
    """Rows for which a score has to stay low until its alarm ends."""
    return max(round(HOLD_S / interval_s), 1)


def _seconds(time: datetime.datetime) -> float:
    return time.timestamp()

"""An alarm in plain words: where, what is unusual and by how much, what it probably is, since when."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo

import numpy as np

from demand.incidents.alarms import Alarm, alarms_of
from demand.incidents.evidence import (
    ARRIVES,
    AVOIDED,
    COUNT,
    EMPTY,
    FEWER,
    KINDS,
    LEAVES,
    OCCUPANCY,
    QUEUE_BEFORE,
    QUEUE_FEWER,
    QUEUE_LANE,
    QUEUE_LEAVES,
    SPEED,
)  # fmt: skip
from demand.incidents.groups import Group
from demand.incidents.judge import hold_rows
from demand.incidents.model import Model, Reading
from demand.incidents.panel import FloatArray, Panel
from demand.incidents.scores import SCORED

PROBABLY = {
    LEAVES: "probably a closed road before its end, or dead detectors there",
    ARRIVES: "probably a closed road before its first detectors, or dead detectors there",
    EMPTY: "probably a closed lane, or a dead detector",
    AVOIDED: "probably a closed lane, or a dead detector",
    FEWER: "probably a lane that is closed some way off",
    QUEUE_LEAVES: "probably a closed road between the queue and its end",
    QUEUE_LANE: "probably a closed lane",
    QUEUE_FEWER: "probably a closed lane",
    QUEUE_BEFORE: "probably a closed road between the junction upstream and its first detectors",
}
BEGUN = 0.1  # share of the present evidence below which it had not begun: in traffic a sum seldom falls to 0 itself
_MOST_ROWS = 10  # what is told is the mean since it began, of the last so many intervals
_MOST_TOLD = 3
_NOTABLE = {"count": 0.4, "occupancy": 1.0, "speed_mps": 0.4}  # shares of the usual value that are worth a word
_LEAST = {"count": 0.5, "occupancy": 0.05, "speed_mps": 2.0}  # and differences


@dataclass(frozen=True)
class Told:
    """One alarm, told."""

    raised: str
    """When, in the place's own time, ISO 8601 by minutes."""
    until: str
    road: str
    kind: str
    since_min: float
    """Time from the begin of what is unusual to the alarm [min]."""
    score: float
    text: str


def tell_all(model: Model, panel: Panel, reading: Reading) -> list[Told]:
    """Every alarm of a panel in words, by time. What is told of one uses nothing later than its own interval."""
    raised = alarms_of(reading.scores, panel.run, model.threshold, hold_rows(panel.interval_s))
    return [_tell(model, panel, reading, alarm) for alarm in raised]


def _tell(model: Model, panel: Panel, reading: Reading, alarm: Alarm) -> Told:
    group, at = model.groups[alarm.group], alarm.begin
    of_kind = model.surprise.by_kind(reading.evidence[at])[alarm.group]
    kind = max(SCORED, key=lambda k: of_kind[k])
    began = at
    rising = reading.evidence[:, alarm.group, kind]
    while began > 0 and panel.run[began - 1] == panel.run[at] and rising[began - 1] > BEGUN * rising[at]:
        began -= 1  # where a cumulative sum left the ground is where the change probably was (Page 1954)
    rows = slice(max(began, at - _MOST_ROWS + 1), at + 1)
    column = {name: n for n, name in enumerate(panel.detectors)}
    found = [part for name in group.detectors for part in _differences(panel, reading, rows, column[name], name)]
    found.sort(key=lambda part: -part[0])
    zone = ZoneInfo(model.zone)
    ends = datetime.timedelta(seconds=panel.interval_s)
    when, begin = ((panel.times[row] + shift).astimezone(zone) for row, shift in ((at, ends), (began, 0 * ends)))
    since_min = (at - began + 1) * panel.interval_s / 60.0
    facts = "; ".join(text for _, text in found[:_MOST_TOLD]) or KINDS[kind]
    text = (
        f"{when:%H:%M}, {_where(group)}: {facts}. {KINDS[kind].capitalize()}: {PROBABLY[kind]}; "
        f"since {begin:%H:%M} ({since_min:g} min)."
    )
    until = (panel.times[alarm.end] + ends).astimezone(zone)
    return Told(
        when.isoformat(timespec="minutes"), until.isoformat(timespec="minutes"), group.name, KINDS[kind], since_min,
        round(float(reading.scores[at, alarm.group]), 2), text,
    )  # fmt: skip


def _where(group: Group) -> str:
    roads = f" ({', '.join(group.roads)})" if len(group.roads) > 1 else ""
    return f"{group.name}{roads}"


def _differences(
    panel: Panel, reading: Reading, rows: slice, detector: int, name: str
) -> Sequence[tuple[float, str]]:
    """What one detector says: how unusual, and in words."""
    found: list[tuple[float, str]] = []
    for measure, key in ((COUNT, "count"), (OCCUPANCY, "occupancy"), (SPEED, "speed_mps")):
        value, usual = _means(panel.values[measure, rows, detector], reading.expected[measure, rows, detector])
        if not np.isfinite(value) or usual <= 1e-6 or abs(value - usual) < max(_NOTABLE[key] * usual, _LEAST[key]):
            continue
        weight = abs(float(np.nansum(reading.z[measure, rows, detector])))
        found.append((weight, _in_words(key, value, usual, panel.interval_s, name)))
    return found


def _means(values: FloatArray, usual: FloatArray) -> tuple[float, float]:
    known = np.isfinite(values) & np.isfinite(usual)
    if not known.any():
        return float("nan"), float("nan")
    return float(values[known].mean()), float(usual[known].mean())


def _in_words(measure: str, value: float, usual: float, interval_s: int, name: str) -> str:
    ratio = value / usual
    change = f"{ratio:.1f} times its usual value" if ratio >= 1.5 else f"{'up' if ratio > 1 else 'down'} by "
    if ratio < 1.5:
        change += f"{abs(1 - ratio):.0%}".replace("%", " %")
    if measure == "count":
        an_hour = 3600.0 / interval_s
        return f"flow at {name} {change} ({value * an_hour:.0f} instead of {usual * an_hour:.0f} vehicles an hour)"
    if measure == "occupancy":
        return f"occupancy at {name} {change} ({100 * value:.0f} % instead of {100 * usual:.0f} %)"
    return f"speed at {name} {change} ({3.6 * value:.0f} instead of {3.6 * usual:.0f} km/h)"

"""From scores to alarms, and the threshold that keeps false ones to so many a day."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from demand.incidents.panel import FloatArray

HOLD_S = 600.0  # an alarm ends when its score has stayed below the threshold for so long
LEAST_SCALE = 0.02  # of scores; far fewer than three different peaks make no tail
TAIL_SHARE = 0.5  # of the peaks of normal days, the highest ones that the tail is fitted to


@dataclass(frozen=True)
class Alarm:
    """One alarm of one group of detectors."""

    group: int
    begin: int
    """Row at whose end it was raised."""
    end: int
    """The last row at which its score reached the threshold."""


def alarms_of(scores: FloatArray, run: npt.NDArray[np.int64], threshold: float, hold_rows: int) -> list[Alarm]:
    """The alarms of scores [T, G], by their begin. Whether there is one at a row depends on no later row.

    Args:
        run: [T] number of the unbroken run of rows; no alarm goes on from one to the next.
    """
    found: list[Alarm] = []
    for group in range(scores.shape[1]):
        rows = np.flatnonzero(scores[:, group] >= threshold)
        if not len(rows):
            continue
        apart = (np.diff(rows) > hold_rows) | (np.diff(run[rows]) > 0)
        begins, ends = np.concatenate([[0], np.flatnonzero(apart) + 1]), np.concatenate([np.flatnonzero(apart), [-1]])
        found += [Alarm(group, int(rows[b]), int(rows[e])) for b, e in zip(begins, ends, strict=True)]
    return sorted(found, key=lambda alarm: (alarm.begin, alarm.group))


def peaks(scores: FloatArray, run: npt.NDArray[np.int64], hold_rows: int, use: npt.NDArray[np.bool_]) -> FloatArray:
    """The highest scores of normal times, at most one of a group within `hold_rows`: what might be alarms.

    Args:
        use: [T] rows that count.
    """
    found: list[float] = []
    for group in range(scores.shape[1]):
        left = np.where(use, scores[:, group], -np.inf)
        while np.isfinite(top := left.max()):
            row = int(left.argmax())
            found.append(float(top))
            near = slice(max(row - hold_rows, 0), row + hold_rows + 1)
            left[near] = np.where(run[near] == run[row], -np.inf, left[near])
    return np.sort(np.array(found))[::-1]


def threshold_for(of_normal_days: Sequence[float] | FloatArray, days: float, a_day: float) -> float:
    """The threshold that so many peaks a day exceed.

    Few days hold no alarm as rare as that, so the upper peaks are taken to be exponentially distributed above a
    level, as the simplest case of peaks over a threshold (J. Pickands, Statistical Inference Using Extreme Order
    Statistics, 1975, with shape 0), and the threshold is read off that line.

    Args:
        of_normal_days: what `peaks` found, the highest first.
        days: their length, in days of 24 hours.
    """
    found = np.asarray(of_normal_days, float)
    if not len(found):
        return np.inf
    # from the level that is passed about ten times as often as asked for, as far as there are as many
    level, scale, number = tail_of(found, int(max(10.0 * a_day * days, 20.0)))
    return level + scale * max(float(np.log(max(number, 1.0) / (a_day * days))), 0.0)


def tail_of(found: FloatArray, most: int = 40, least_scale: float = LEAST_SCALE) -> tuple[float, float, float]:
    """An exponential tail of peaks, the highest first: from what level, by how much it falls to 1/e, and how many.

    Args:
        most: peaks that it is fitted to.
    """
    number = int(min(most, TAIL_SHARE * len(found)))
    if number < 3:
        return (float(found[0]) if len(found) else 0.0), least_scale, float(min(len(found), 1))
    level = float(found[number])
    return level, max(float((found[:number] - level).mean()), least_scale), float(number)

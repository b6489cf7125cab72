"""Evidence of something unusual on a stretch of road, added up over the minutes.

Each kind of evidence is a cumulative sum (E. S. Page, Continuous Inspection Schemes, 1954): it grows while what comes
in speaks for a disturbance, and falls back to 0 in normal traffic, so that it needs no window. Too little traffic
weighs as the logarithm of the likelihood that nearly nothing passes against that of the usual flow, both Poisson and
divided by how much more than Poisson the counts scatter; long queues and traffic that has moved to another lane by
scaled residuals.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from demand.incidents.groups import Group
from demand.incidents.panel import MEASURES, FloatArray, Panel
from demand.incidents.usual import Usual

LEFT = 0.1  # share of the usual flow that passes a closed road: who turns off before it, who squeezes by
HALF = 0.5  # of a lane that is closed so far upstream that drivers come back to it
ALLOWED = 1.0  # standard deviations that a residual may lie off without being evidence
CAP = 25.0  # evidence stops growing here, so that it is gone soon after the end
COUNT, OCCUPANCY, SPEED = (MEASURES.index(name) for name in MEASURES)
KINDS = (
    "little traffic leaves",
    "little traffic arrives",
    "a lane is empty",
    "a lane is avoided",
    "fewer use a lane",
    "a queue upstream",
    "a queue at the end",
    "slow upstream",
    "a queue, and little traffic leaves",
    "a queue, and a lane is empty or avoided",
    "a queue, and fewer leave by a lane",
    "a queue before the junction upstream, and little traffic arrives",
)
"""The kinds of evidence, in the order of the last axis of `evidence`. Of two things at once, the weaker counts."""
LEAVES, ARRIVES, EMPTY, AVOIDED, FEWER, QUEUE, AT_END, SLOW, QUEUE_LEAVES, QUEUE_LANE, QUEUE_FEWER, QUEUE_BEFORE = (
    range(len(KINDS))
)


def evidence(panel: Panel, usual: Usual, groups: Sequence[Group], expected: FloatArray, z: FloatArray) -> FloatArray:
    """[T, G, K] of each group by kind. No row depends on a later one.

    Args:
        expected, z: what `usual` says of the panel.
    """
    column = {name: n for n, name in enumerate(panel.detectors)}
    count, forecast, spread = panel.values[COUNT], expected[COUNT], usual.spread[COUNT]
    rows = [
        [[column[name] for name in names if name in column] for names in (group.first, group.last, group.feeding)]
        for group in groups
    ]
    steps: list[FloatArray] = [
        _starvation(count, forecast, spread, LEFT),
        _starvation(count, forecast, spread, HALF),
        np.nan_to_num(z[OCCUPANCY]) - ALLOWED,
        -np.nan_to_num(z[SPEED]) - ALLOWED,
        np.stack([_starved_together(count, forecast, spread, last or first) for first, last, _ in rows], 1),
        np.stack([_starved_together(count, forecast, spread, first) for first, _, _ in rows], 1),
    ]
    across = [lanes for first, last, _ in rows for lanes in (first, last)]
    for left in (LEFT, HALF):
        steps += [_avoidance(count[:, lanes], forecast[:, lanes], left) for lanes in across]
    sums = _cumulated(np.concatenate(steps, 1), panel.run)  # all at once: Python walks over the rows
    parts = np.split(sums, np.cumsum([of.shape[1] for of in steps])[:-1], 1)
    empty, halved, busy, slow, leaving, arriving = parts[:6]
    avoided, fewer = parts[6 : 6 + len(across)], parts[6 + len(across) :]
    found = np.zeros((len(panel.times), len(groups), len(KINDS)))
    found[:, :, LEAVES], found[:, :, ARRIVES] = leaving, arriving
    for g, (first, last, feeding) in enumerate(rows):
        of = found[:, g]
        of[:, EMPTY] = empty[:, [*first, *last]].max(1)
        of[:, AVOIDED] = np.concatenate(avoided[2 * g : 2 * g + 2], 1).max(1)
        of[:, FEWER] = np.concatenate(fewer[2 * g : 2 * g + 2], 1).max(1)
        of[:, QUEUE], of[:, AT_END] = busy[:, first].max(1), busy[:, last or first].max(1)
        of[:, SLOW] = slow[:, first].max(1)
        queue = np.maximum(of[:, QUEUE], of[:, SLOW])
        of[:, QUEUE_LEAVES] = np.minimum(queue, of[:, LEAVES])
        of[:, QUEUE_LANE] = np.minimum(queue, np.maximum(of[:, EMPTY], of[:, AVOIDED]))
        of[:, QUEUE_FEWER] = np.minimum(queue, np.maximum(halved[:, last or first].max(1), of[:, FEWER]))
        if feeding:
            of[:, QUEUE_BEFORE] = np.minimum(busy[:, feeding].max(1), of[:, ARRIVES])
    return found


def _avoidance(count: FloatArray, expected: FloatArray, left: float) -> FloatArray:
    """[T, L] log likelihood ratio that a lane has this part of its usual share of those who pass, and not all."""
    if count.shape[1] == 1:
        return np.zeros_like(count)  # alone, a lane has all of them
    known = np.asarray(np.isfinite(count).all(1) & np.isfinite(expected).all(1))
    count, expected = (np.where(known[:, None], of, 0.0) for of in (count, expected))
    share = np.clip(expected / np.maximum(expected.sum(1, keepdims=True), 0.1), 0.0, 0.95)
    others = count.sum(1, keepdims=True) - count
    ratio: FloatArray = others * np.log((1.0 - left * share) / (1.0 - share)) + count * np.log(left)
    return ratio


def _starvation(count: FloatArray, expected: FloatArray, spread: FloatArray, left: float) -> FloatArray:
    """[T, D] log likelihood ratio that this part of the usual flow passes; 0: nothing is known."""
    excess = np.maximum((spread[:, 0] + spread[:, 1] * expected) / np.maximum(expected, 0.1), 1.0)
    ratio: FloatArray = np.nan_to_num(((1.0 - left) * expected + np.log(left) * count) / excess)
    return ratio


def _starved_together(count: FloatArray, expected: FloatArray, spread: FloatArray, lanes: list[int]) -> FloatArray:
    """[T]: the same of detectors side by side."""
    count, expected, spread = count[:, lanes], expected[:, lanes], spread[lanes]
    known = np.isfinite(count) & np.isfinite(expected)
    total, forecast = np.where(known, count, 0.0).sum(1), np.where(known, expected, 0.0).sum(1)
    variance = np.where(known, spread[:, 0] + spread[:, 1] * np.nan_to_num(expected), 0.0).sum(1)
    excess = np.maximum(variance / np.maximum(forecast, 0.1), 1.0)
    ratio: FloatArray = ((1.0 - LEFT) * forecast + np.log(LEFT) * total) / excess
    return ratio


def _cumulated(steps: FloatArray, run: np.ndarray) -> FloatArray:
    """Page's sums down the rows, from 0 to `CAP`, anew in each run."""
    found = np.zeros_like(steps)
    sums = np.zeros(steps.shape[1:])
    for t in range(len(steps)):
        if t and run[t] != run[t - 1]:
            sums = np.zeros_like(sums)
        sums = np.clip(sums + steps[t], 0.0, CAP)
        found[t] = sums
    return found

"""One number for each stretch of road and minute: how unusual it is. Four ways, from a classic rule to a few labels.

| method | learned from | score |
|---|---|---|
| `california` | nothing | the three tests of the California algorithm on occupancy (H. J. Payne and S. C. Tignor, Freeway Incident-Detection Algorithms Based on Decision Trees with States, 1978), by how many times all three are passed |
| `residuals` | normal days | -log10 of how often a day the most unusual kind of evidence peaks so high |
| `forest` | normal days | anomaly score of an isolation forest on all evidence (F. T. Liu and others, 2008) |
| `labelled` | normal days and some known incidents | log odds of a logistic regression on the same, by self-training where days without labels are given (D. Yarowsky, 1995) |
"""  # noqa: E501

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from demand.incidents.alarms import peaks, tail_of
from demand.incidents.evidence import AT_END, COUNT, KINDS, OCCUPANCY, QUEUE, SLOW, SPEED
from demand.incidents.groups import Group
from demand.incidents.judge import hold_rows
from demand.incidents.panel import FloatArray, Panel

METHODS = ("california", "residuals", "forest", "labelled")
CALIFORNIA = (0.08, 0.5, 0.16)  # the thresholds of Payne and Tignor's first example, occupancy as a share
_BEFORE_ROWS = 2  # the third test compares with the downstream occupancy two intervals ago
_SHORT_ROWS = 3
LEAST_SCALE = 0.5  # of evidence, in natural logarithms: few peaks must not make a tail that nothing passes
SCORED = [k for k in range(len(KINDS)) if k not in (QUEUE, AT_END, SLOW)]
"""Numbers of the kinds that raise an alarm by themselves: a queue alone may be much traffic."""
TAIL_PEAKS = 12
BELIEF_PEAKS = 6.0
TRUST = 1.0  # what a group never showed is at most ten times as rare there as elsewhere
RARELY = -2.0  # a score of what happens a hundred times a day: no lower one is told apart
MEANS = ("arriving", "leaving", "occupied upstream", "occupied at the end", "speed upstream", "usual flow")


def california(panel: Panel, groups: Sequence[Group]) -> FloatArray:
    """[T, G] of the stretch between the first and the last detectors, and of that from what feeds it to the first."""
    column = {name: n for n, name in enumerate(panel.detectors)}
    occupancy = panel.values[OCCUPANCY]
    found = np.zeros((len(panel.times), len(groups)))

    def mean(names: Sequence[str]) -> FloatArray:
        with np.errstate(invalid="ignore"):
            lanes = occupancy[:, [column[name] for name in names if name in column]]
            known = np.isfinite(lanes)
            total: FloatArray = np.where(known, lanes, 0.0).sum(1) / known.sum(1)
            return total

    for g, group in enumerate(groups):
        for upstream, downstream in ((group.first, group.last), (group.feeding, group.first)):
            if not upstream or not downstream:
                continue
            up, down = mean(upstream), mean(downstream)
            before = np.full_like(down, np.nan)
            before[_BEFORE_ROWS:] = np.where(
                panel.run[_BEFORE_ROWS:] == panel.run[:-_BEFORE_ROWS], down[:-_BEFORE_ROWS], np.nan
            )
            with np.errstate(invalid="ignore", divide="ignore"):
                tests = np.stack([up - down, (up - down) / up, (before - down) / before])
                passed = np.nan_to_num(
                    (tests / np.array(CALIFORNIA)[:, None]).min(0), nan=0.0, posinf=0.0, neginf=0.0
                )
            found[:, g] = np.maximum(found[:, g], passed)
    return found


@dataclass(frozen=True)
class Surprise:
    """How often each kind of evidence peaks how high on normal days, on each stretch of road: side roads queue up to
    their advance loops every day, main roads never."""

    level: FloatArray
    """[G, K] from where the tail is known."""
    scale: FloatArray
    """[G, K] by how much evidence has to grow to be e times as rare."""
    a_day: FloatArray
    """[G, K] peaks above the level in 24 hours."""
    elsewhere: FloatArray
    """[3, K] the same three of all groups taken together, for one of them."""

    def scores(self, evidence: FloatArray) -> FloatArray:
        """[T, G] of the most unusual kind of those that no rush hour brings about."""
        found: FloatArray = self.by_kind(evidence)[..., SCORED].max(-1)
        return found

    def by_kind(self, evidence: FloatArray) -> FloatArray:
        """[T, G, K] -log10 of how often a day such evidence, or more, comes up there."""
        own = _rarity(evidence, self.level, self.scale, self.a_day)
        # days that were learned hold few peaks of one group: what others show now and then may come here, too
        return np.minimum(own, _rarity(evidence, *self.elsewhere) + TRUST)


def _rarity(evidence: FloatArray, level: FloatArray, scale: FloatArray, a_day: FloatArray) -> FloatArray:
    rarer = (evidence - level) / scale / np.log(10.0) - np.log10(a_day)
    return np.where(evidence > level, np.maximum(rarer, RARELY), RARELY)


def learn_surprise(evidence: FloatArray, panel: Panel, days: float) -> Surprise:
    """Learn from the evidence of normal days [T, G, K], of models that had not seen the day.

    A tail of few peaks is drawn towards the median of all groups'.
    """
    use, hold = np.ones(len(panel.times), bool), hold_rows(panel.interval_s)
    level, scale, number = (np.zeros(evidence.shape[1:]) for _ in range(3))
    together = np.zeros((3, len(KINDS)))
    for k in range(len(KINDS)):
        found = peaks(evidence[:, :, k], panel.run, hold, use)
        together[:, k] = tail_of(found[found > 0], least_scale=LEAST_SCALE)
        for g in range(evidence.shape[1]):
            found = peaks(evidence[:, g : g + 1, k], panel.run, hold, use)
            level[g, k], scale[g, k], number[g, k] = tail_of(found[found > 0], TAIL_PEAKS, LEAST_SCALE)
    usual = np.median(scale, 0)
    scale = (number * scale + BELIEF_PEAKS * usual) / (number + BELIEF_PEAKS)
    together[2] = np.maximum(together[2], 1.0) / days / evidence.shape[1]
    return Surprise(level, scale, np.maximum(number, 1.0) / days, together)


def features(
    panel: Panel, groups: Sequence[Group], evidence: FloatArray, expected: FloatArray, z: FloatArray
) -> FloatArray:
    """[T, G, F] what the forest and the regression see: evidence, and residuals of the last three intervals."""
    column = {name: n for n, name in enumerate(panel.detectors)}
    found = np.zeros((*evidence.shape[:2], len(KINDS) + len(MEANS)))
    found[..., : len(KINDS)] = np.log1p(evidence)
    short = np.nan_to_num(z)
    short = np.mean([_earlier(short, panel.run, ago) for ago in range(_SHORT_ROWS)], 0)
    for g, group in enumerate(groups):
        first = [column[name] for name in group.first if name in column]
        last = [column[name] for name in group.last if name in column] or first
        picked = ((COUNT, first), (COUNT, last), (OCCUPANCY, first), (OCCUPANCY, last), (SPEED, first))
        for n, (measure, lanes) in enumerate(picked):
            found[:, g, len(KINDS) + n] = short[measure][:, lanes].mean(1)
        found[:, g, -1] = np.log1p(np.nan_to_num(expected[COUNT][:, last]).sum(1))
    return found


def _earlier(values: FloatArray, run: npt.NDArray[np.int64], rows: int) -> FloatArray:
    """[M, T, D] moved down by so many rows; 0 before a run's begin."""
    if not rows:
        return values
    found = np.zeros_like(values)
    found[:, rows:] = np.where((run[rows:] == run[:-rows])[None, :, None], values[:, :-rows], 0.0)
    return found


@dataclass(frozen=True)
class Regression:
    """A logistic regression, as numbers."""

    mean: FloatArray
    scale: FloatArray
    weights: FloatArray
    intercept: float

    def scores(self, features_: FloatArray) -> FloatArray:
        """[T, G] log odds of an incident."""
        found: FloatArray = (features_ - self.mean) / self.scale @ self.weights + self.intercept
        return found


def learn_labelled(
    features_: FloatArray, labels: npt.NDArray[np.int64], unlabelled: FloatArray | None = None
) -> Regression:
    """Learn from rows [N, F] with labels 0 and 1, and by self-training from rows without.

    What a regression is sure of (odds of 20 to 1) becomes a label for the next, three times.
    """
    from sklearn.linear_model import LogisticRegression  # a library that watching does without

    mean, scale = features_.mean(0), features_.std(0) + 1e-6
    x, y = (features_ - mean) / scale, labels
    pool = None if unlabelled is None or not len(unlabelled) else (unlabelled - mean) / scale
    model: Any = LogisticRegression(C=0.3, class_weight="balanced", max_iter=500).fit(x, y)
    for _ in range(3):
        if pool is None:
            break
        odds = model.decision_function(pool)
        sure = np.abs(odds) > np.log(20.0)
        both, told = np.concatenate([x, pool[sure]]), np.concatenate([y, (odds[sure] > 0).astype(np.int64)])
        model = LogisticRegression(C=0.3, class_weight="balanced", max_iter=500).fit(both, told)
    return Regression(mean, scale, model.coef_[0].astype(float), float(model.intercept_[0]))


def learn_forest(features_: FloatArray, seed: int = 0) -> Any:
    """An isolation forest of rows [N, F] of normal days; its `score_samples` is the lower, the more unusual."""
    from sklearn.ensemble import IsolationForest

    return IsolationForest(n_estimators=100, max_samples=1024, random_state=seed).fit(features_)


def forest_scores(forest: Any, features_: FloatArray) -> FloatArray:
    """[T, G] of an isolation forest, from 0 to 1."""
    rows = features_.reshape(-1, features_.shape[-1])
    found: FloatArray = -forest.score_samples(rows).reshape(features_.shape[:2])
    return found

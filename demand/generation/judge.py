"""Whether made days pass for real ones: can a classifier tell them, and do they spread as real ones do?

A model is judged against days that it was not made from: the days are dealt into folds, and each fold is compared
with days made from the others. So one that repeats what it has seen gains nothing by it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold

from demand.counts.scale import stabilised
from demand.counts.timeline import Numbers
from demand.generation.days import TYPES, Days
from demand.generation.fitting import fit

FOLDS, CLASSIFIER_FOLDS, TREES = 3, 5, 100
MADE_FOR_COVERAGE = 4  # made days for each real one
WINDOWS = 8  # of three hours


@dataclass(frozen=True)
class Judgement:
    """Of one model and seed."""

    auc_detector_days: float
    """Area under the curve of a classifier that sees one detector's day: 0.5 where it can only guess."""
    auc_windows: float
    """The same of one that sees three hours of all detectors."""
    coverage: float
    """Share of real days that have a made day nearer than the nearest other real day of their type."""
    spread_ratio: float
    """Median over hours and detectors of the spread of made days over that of real ones, weekdays; 1 is best."""


def judge(name: str, days: Days, seed: int) -> Judgement:
    """Judge one kind of model on these days."""
    folds = _dealt(days)
    made, more = [], []
    rng = np.random.default_rng(seed)
    for fold in range(folds.max() + 1):
        held = days.of(np.flatnonzero(folds == fold))
        generator = fit(name, days.of(np.flatnonzero(folds != fold)), seed)
        made.append(generator.counts(held.type, rng))
        more.append(generator.counts(np.repeat(held.type, MADE_FOR_COVERAGE), rng))
    order = np.concatenate([np.flatnonzero(folds == fold) for fold in range(folds.max() + 1)])
    real = days.of(order)
    one, many = np.concatenate(made), np.concatenate(more)
    many_types = np.concatenate([np.repeat(days.type[folds == f], MADE_FOR_COVERAGE) for f in range(folds.max() + 1)])
    return Judgement(
        _auc(_detector_days(real.counts, real.type), _detector_days(one, real.type), seed),
        _auc(_windows(real.counts, real.type), _windows(one, real.type), seed),
        _coverage(real.counts, real.type, many, many_types),
        _spread_ratio(real, many, many_types),
    )


def _dealt(days: Days) -> Numbers:
    """(days,) a fold for each, dealt in turn within each type."""
    found = np.zeros(len(days.type), np.int64)
    for kind in range(len(TYPES)):
        of_kind = np.flatnonzero(days.type == kind)
        found[of_kind] = np.arange(len(of_kind)) % FOLDS
    return found


def _hours(counts: Numbers) -> Numbers:
    """(days, hours, D) totals, stabilised."""
    count, slots, detectors = counts.shape
    hours = min(24, slots)
    return stabilised(counts.reshape(count, hours, -1, detectors).sum(axis=2))


def _detector_days(counts: Numbers, types: Numbers) -> tuple[Numbers, Numbers]:
    """A row for each detector's day, and the number of its day: hours, roughness, how neighbours go together."""
    hours = _hours(counts).transpose(0, 2, 1)
    stable = stabilised(counts)
    jumps = np.diff(stable, axis=1)
    rough = np.abs(jumps).mean(axis=1)
    swings = -(jumps[:, 1:] * jumps[:, :-1]).mean(axis=1)
    zeros = (counts == 0).mean(axis=1)
    top = stable.max(axis=1)
    day, detectors = hours.shape[:2]
    who = np.broadcast_to(np.arange(detectors), (day, detectors))
    extra = np.stack([rough, swings, zeros, top, who, np.repeat(types[:, None], detectors, axis=1)], axis=-1)
    rows = np.concatenate([hours, extra], axis=-1).reshape(day * detectors, -1)
    return rows, np.repeat(np.arange(day), detectors)


def _windows(counts: Numbers, types: Numbers) -> tuple[Numbers, Numbers]:
    """A row for each three hours of a day, and the number of its day: the totals of all detectors."""
    day, slots, detectors = counts.shape
    windows = min(WINDOWS, slots)
    totals = stabilised(counts.reshape(day, windows, -1, detectors).sum(axis=2))
    number = np.broadcast_to(np.arange(windows), (day, windows))
    extra = np.stack([number, np.repeat(types[:, None], windows, axis=1)], axis=-1)
    return np.concatenate([totals, extra], axis=-1).reshape(day * windows, -1), np.repeat(np.arange(day), windows)


def _auc(real: tuple[Numbers, Numbers], made: tuple[Numbers, Numbers], seed: int) -> float:
    """Of a random forest, cross-validated: no day is both learned from and judged by."""
    rows = np.concatenate([real[0], made[0]])
    label = np.repeat([0, 1], [len(real[0]), len(made[0])])
    groups = np.concatenate([real[1], made[1] + real[1].max() + 1])
    said = np.zeros(len(rows))
    for learn, test in GroupKFold(CLASSIFIER_FOLDS, shuffle=True, random_state=seed).split(rows, label, groups):
        forest = RandomForestClassifier(TREES, min_samples_leaf=3, random_state=seed).fit(rows[learn], label[learn])
        said[test] = forest.predict_proba(rows[test])[:, 1]
    return float(roc_auc_score(label, said))


def _coverage(real: Numbers, types: Numbers, made: Numbers, made_types: Numbers) -> float:
    here, there = (_hours(counts).reshape(len(counts), -1) for counts in (real, made))
    covered = []
    for number, kind in enumerate(types):
        others = np.flatnonzero((types == kind) & (np.arange(len(types)) != number))
        if not len(others):
            continue
        nearest = np.linalg.norm(here[others] - here[number], axis=1).min()
        covered.append(bool(np.linalg.norm(there[made_types == kind] - here[number], axis=1).min() <= nearest))
    return float(np.mean(covered)) if covered else float("nan")


def _spread_ratio(real: Days, made: Numbers, made_types: Numbers) -> float:
    of_real = _hours(real.counts[real.type == 0]).std(axis=0)
    of_made = _hours(made[made_types == 0]).std(axis=0)
    return float(np.median(of_made / np.maximum(of_real, 1e-6)))


def distance_from_ideal(judgements: Sequence[Judgement]) -> float:
    """What models are ordered by: how far both classifiers are from guessing, on the mean."""
    return float(np.mean([abs(j.auc_detector_days - 0.5) + abs(j.auc_windows - 0.5) for j in judgements]))

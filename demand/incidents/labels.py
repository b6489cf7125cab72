"""A few known incidents: what they add to a model that was learned without labels.

The regression sees normal days as they were held out, and of each known incident its first minutes on its own road.
By self-training it goes on with disturbed times that have no label.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from demand.incidents.judge import Truth
from demand.incidents.model import Model, threshold_of
from demand.incidents.panel import FloatArray, Panel
from demand.incidents.scores import features, learn_labelled
from plumbing.errors import InputError

FIRST_S = 1200.0
AFTER_BEGIN_S = 60.0  # before, hardly any vehicle has met it
EVERY_ROW = 2  # of normal days; neighbouring rows tell nearly the same


def labelled_rows(
    normal: FloatArray, seen: FloatArray, truth: Truth, which: Sequence[int]
) -> tuple[FloatArray, npt.NDArray[np.int64]]:
    """Rows [N, F] and their labels.

    Args:
        normal: [T, G, F] features of normal days.
        seen: [T, G, F] features of the days with incidents.
        which: the incidents that are known.
    """
    rows = [normal.reshape(-1, normal.shape[-1])[::EVERY_ROW]]
    for n in which:
        if truth.own[n] >= 0:
            until = min(truth.end[n], truth.begin[n] + FIRST_S)
            rows.append(seen[(truth.at > truth.begin[n] + AFTER_BEGIN_S) & (truth.at <= until), truth.own[n]])
    x = np.concatenate(rows)
    return x, (np.arange(len(x)) >= len(rows[0])).astype(np.int64)


def with_labels(model: Model, normal: FloatArray, panel: Panel, truth: Truth) -> Model:
    """The model with a regression on known incidents, and the threshold of it in the panel's normal times.

    Args:
        normal: [T, G, F] features of days that the model was learned from, held out.
        panel: days with known incidents.

    Raises:
        InputError: none of them lies on a road that is watched, or no time is without one.
    """
    reading = model.reading(panel)
    seen = features(panel, model.groups, reading.evidence, reading.expected, reading.z)
    x, y = labelled_rows(normal, seen, truth, range(len(truth.begin)))
    if not y.any() or truth.disturbed.all():
        raise InputError("the labelled counts hold no incident on a watched road, or nothing else; give more days")
    unlabelled = seen[truth.disturbed].reshape(-1, seen.shape[-1])
    regression = learn_labelled(x, y, unlabelled)
    threshold = threshold_of(regression.scores(seen), panel, ~truth.disturbed, model.a_day)
    return dataclasses.replace(model, regression=regression, threshold=threshold)

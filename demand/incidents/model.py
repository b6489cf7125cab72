"""A model of what is usual at a place, and its folder: `model.json` and `arrays.npz`, plain numbers without code."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from demand.counts.store import check_zone
from demand.incidents.alarms import peaks, threshold_for
from demand.incidents.evidence import KINDS, evidence
from demand.incidents.groups import Group
from demand.incidents.judge import hold_rows
from demand.incidents.panel import MEASURES, FloatArray, Panel
from demand.incidents.scores import MEANS, Regression, Surprise, features, learn_surprise
from demand.incidents.usual import Usual, learn_usual
from plumbing.digest import plain_bytes
from plumbing.errors import InputError
from plumbing.plain import json_bytes, listed, misfit, number, one_of, optional, parse, record, text, whole
from plumbing.whole import Draft

FOLDS = 5
FORMAT = "intergreen incidents 1"
MODEL, ARRAYS = "model.json", "arrays.npz"
_DAY_S = 86_400.0
_WIDTH = 4  # inputs of the regression in demand.incidents.usual


@dataclass(frozen=True)
class Model:
    """All that watching takes."""

    zone: str
    groups: tuple[Group, ...]
    usual: Usual
    surprise: Surprise
    threshold: float
    """Of the scores; an alarm is raised from there on."""
    a_day: float
    """False alarms in 24 hours that the threshold was chosen for."""
    regression: Regression | None = None
    """Where incidents were known; else the most unusual kind of evidence is the score."""

    def reading(self, panel: Panel) -> Reading:
        """What the model says of counts. No row depends on a later one."""
        expected, z = self.usual.residuals(panel, feeding_of(self.groups, panel.detectors))
        found = evidence(panel, self.usual, self.groups, expected, z)
        scores = self.surprise.scores(found)
        if self.regression is not None:
            scores = self.regression.scores(features(panel, self.groups, found, expected, z))
        return Reading(expected, z, found, scores)


@dataclass(frozen=True)
class Reading:
    """What a model says of a panel."""

    expected: FloatArray
    """[M, T, D]"""
    z: FloatArray
    """[M, T, D]"""
    evidence: FloatArray
    """[T, G, K]"""
    scores: FloatArray
    """[T, G]"""


def feeding_of(groups: Sequence[Group], detectors: Sequence[str]) -> list[list[int]]:
    """[D] per detector the numbers of those whose traffic it sees next: a group's last row sees that of its first."""
    column = {name: n for n, name in enumerate(detectors)}
    found: list[list[int]] = [[] for _ in detectors]
    for group in groups:
        for name in group.first:
            found[column[name]] = [column[other] for other in group.feeding if other in column]
        for name in group.last:
            found[column[name]] = [column[other] for other in group.first]
    return found


def left_out(
    panel: Panel, groups: Sequence[Group], say: Callable[[int, int], object] = lambda done, of: None
) -> Reading:
    """What models say of days that they were not learned from; the scores are 0."""
    feeding, days = feeding_of(groups, panel.detectors), np.unique(panel.day)
    folds = min(FOLDS, len(days))
    if len(days) < 4:
        raise InputError(f"the counts hold {len(days)} days, and learning takes 4 or more; give more days")
    expected, z = np.zeros_like(panel.values), np.zeros_like(panel.values)
    found = np.zeros((len(panel.times), len(groups), len(KINDS)))
    for fold in range(folds):
        rows = np.isin(panel.day, days[fold::folds])
        usual = learn_usual(_rows(panel, ~rows), feeding)
        held = _rows(panel, rows)
        expected[:, rows], z[:, rows] = usual.residuals(held, feeding)
        found[rows] = evidence(held, usual, groups, expected[:, rows], z[:, rows])
        say(fold + 1, folds)
    return Reading(expected, z, found, np.zeros(found.shape[:2]))


def learn_model(
    panel: Panel,
    groups: Sequence[Group],
    zone: str,
    a_day: float = 1.0,
    say: Callable[[int, int], object] = lambda done, of: None,
) -> tuple[Model, FloatArray]:
    """Learn what is usual, without labels; days that hold a few incidents do, too.

    Args:
        a_day: false alarms in 24 hours to choose the threshold for.
        say: told how many of how many passes are done.

    Returns:
        The model, and features [T, G, F] of the panel of models that had not seen the day.

    Raises:
        InputError: there are too few days.
    """
    held = left_out(panel, groups, lambda done, of: say(done, of + 1))
    surprise = learn_surprise(held.evidence, panel, panel_days(panel))
    usual = learn_usual(panel, feeding_of(groups, panel.detectors))
    say(FOLDS + 1, FOLDS + 1)
    everything = np.ones(len(panel.times), bool)
    threshold = threshold_of(_left_out_scores(held.evidence, panel), panel, everything, a_day)
    model = Model(zone, tuple(groups), usual, surprise, threshold, a_day)
    return model, features(panel, groups, held.evidence, held.expected, held.z)


def _left_out_scores(evidence_: FloatArray, panel: Panel) -> FloatArray:
    """[T, G] scores of each day by the peaks of the others: by its own, no day looks as odd as a new one does."""
    found, days = np.zeros(evidence_.shape[:2]), np.unique(panel.day)
    for fold in range(min(FOLDS, len(days))):
        rows = np.isin(panel.day, days[fold::FOLDS])
        others = _rows(panel, ~rows)
        found[rows] = learn_surprise(evidence_[~rows], others, panel_days(others)).scores(evidence_[rows])
    return found


def threshold_of(scores: FloatArray, panel: Panel, normal: np.ndarray, a_day: float) -> float:
    """The threshold that gives so many alarms in 24 hours of normal rows [T]."""
    found = peaks(scores, panel.run, hold_rows(panel.interval_s), normal)
    return threshold_for(found, float(normal.sum()) * panel.interval_s / _DAY_S, a_day)


def panel_days(panel: Panel) -> float:
    """The time that a panel covers, in days of 24 hours."""
    return len(panel.times) * panel.interval_s / _DAY_S


def _rows(panel: Panel, rows: np.ndarray) -> Panel:
    """Some rows of a panel, in days that stay whole."""
    kept = np.flatnonzero(rows)
    run = panel.run[kept]
    breaks = (np.diff(kept) > 1) | (np.diff(run) > 0) if len(kept) else np.zeros(0, bool)
    return Panel(
        panel.detectors, tuple(panel.times[n] for n in kept), panel.interval_s, panel.values[:, kept],
        panel.slot[kept], panel.weekend[kept], panel.day[kept],
        np.concatenate([[0], np.cumsum(breaks)]).astype(np.int64),
    )  # fmt: skip


_GROUP = record({
    "name": text(500), "detectors": listed(text(500)), "first": listed(text(500), 1), "last": listed(text(500)),
    "feeding": listed(text(500)), "roads": listed(text(500)),
})  # fmt: skip
_CONTENT = record({
    "format": one_of(FORMAT), "zone": text(100), "interval_s": whole(1, 86_400), "detectors": listed(text(500), 1),
    "groups": listed(_GROUP, 1), "threshold": number(-1e6, 1e6), "a_day": number(0, 1e6),
    "intercept": optional(number()),
})  # fmt: skip


def save_model(model: Model, out: Path) -> None:
    """Write a model's folder, whole or not at all. Raises InputError where it cannot be written."""
    usual, surprise, regression = model.usual, model.surprise, model.regression
    arrays = {
        "profile": usual.profile, "weights": usual.weights, "spread": usual.spread,
        "level": surprise.level, "scale": surprise.scale, "rate": surprise.a_day, "elsewhere": surprise.elsewhere,
    }  # fmt: skip
    if regression is not None:
        arrays |= {"mean": regression.mean, "deviation": regression.scale, "coefficients": regression.weights}
    content = {
        "format": FORMAT,
        "zone": model.zone,
        "interval_s": usual.interval_s,
        "threshold": model.threshold,
        "a_day": model.a_day,
        "intercept": None if regression is None else regression.intercept,
        "detectors": list(usual.detectors),
        "groups": [
            {name: list(of) if isinstance(of, tuple) else of for name, of in vars(group).items()}
            for group in model.groups
        ],
    }  # fmt: skip
    with Draft(out) as draft:
        draft.path.mkdir()
        (draft.path / MODEL).write_bytes(json_bytes(content))
        np.savez_compressed(draft.path / ARRAYS, **arrays)  # type: ignore[arg-type]
        draft.take_place()


def load_model(folder: Path) -> Model:
    """A model from its folder, checked.

    Raises:
        InputError: it is none, or something in it is not what it has to be.
    """
    try:
        content: dict[str, Any] = parse(plain_bytes(folder / MODEL))
        misfit(_CONTENT, content)
        detectors = tuple(content["detectors"])
        groups = tuple(
            Group(g["name"], *(tuple(g[name]) for name in ("detectors", "first", "last", "feeding", "roads")))
            for g in content["groups"]
        )
        unknown = [n for g in groups for n in (*g.detectors, *g.first, *g.last) if n not in set(detectors)]
        if unknown or len(set(detectors)) < len(detectors):
            raise ValueError("its groups name other detectors, or one is there twice")
        arrays = _arrays(folder / ARRAYS, len(detectors), content)
    except OSError as error:
        raise InputError(
            f"{folder} holds no model of incidents ({Path(error.filename or folder).name}: {error.strerror}); "
            "make one with python -m demand incidents learn"
        ) from error
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{folder}: the model is damaged ({error}); learn it again") from error
    check_zone(content["zone"])
    usual = Usual(detectors, content["interval_s"], arrays["profile"], arrays["weights"], arrays["spread"])
    surprise = Surprise(arrays["level"], arrays["scale"], arrays["rate"], arrays["elsewhere"])
    regression = None
    if content["intercept"] is not None:
        regression = Regression(
            arrays["mean"], arrays["deviation"], arrays["coefficients"], float(content["intercept"])
        )
    return Model(
        content["zone"], groups, usual, surprise, float(content["threshold"]), float(content["a_day"]), regression
    )


def _arrays(file: Path, detectors: int, content: dict[str, Any]) -> dict[str, FloatArray]:
    measures, groups, kinds, seen = len(MEASURES), len(content["groups"]), len(KINDS), len(KINDS) + len(MEANS)
    shapes: dict[str, tuple[int, ...]] = {
        "profile": (measures, 2, 86_400 // content["interval_s"], detectors),
        "weights": (measures, detectors, _WIDTH), "spread": (measures, detectors, 2),
        "level": (groups, kinds), "scale": (groups, kinds), "rate": (groups, kinds), "elsewhere": (3, kinds),
    }  # fmt: skip
    if content["intercept"] is not None:
        shapes |= dict.fromkeys(("mean", "deviation", "coefficients"), (seen,))
    positive = {"scale": ..., "rate": ..., "deviation": ..., "elsewhere": slice(1, 3), "spread": (..., 0)}
    found: dict[str, FloatArray] = {}
    stream = io.BytesIO(plain_bytes(file))
    with zipfile.ZipFile(stream):  # else numpy reads other files, too
        pass
    with np.load(stream, allow_pickle=False) as stored:
        for name, shape in shapes.items():
            array = stored[name]
            if array.shape != shape or array.dtype != np.float64:
                raise ValueError(f"{name} is {array.dtype} {array.shape}, not float64 {shape}")
            if not np.isfinite(array[~np.isnan(array)] if name == "profile" else array).all():
                raise ValueError(f"{name} holds what is no number")
            if name in positive and not (array[positive[name]] > 0).all():
                raise ValueError(f"{name} holds what is not above 0")
            found[name] = array
    return found

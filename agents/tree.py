"""A policy as a decision tree that people can read, and the controller that decides by it; `agents.viper` makes one.

A signal's phases differ in number and kind from one intersection to the next, so a classifier over phases would fit
one signal alone and could not be told which phases may not be chosen. The tree scores *one phase at a time* instead:
it asks about the phase (who waits for it, how long), about how it stands to the best of the others, and about the
phase that is green now. All phases of all signals go through the same tree, and the selectable one with the best
score is chosen: the share of decisions in which the policy chose a phase that looked like this. Between equal scores
the current phase stays, then the one that has waited longest goes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from controllers.base import Phases, choose
from plumbing.errors import InputError
from plumbing.plain import parse
from signals.intersection import Intersection
from signals.layout import Layout
from signals.observations import OBSERVATIONS, SENSED, observation_for
from signals.snapshot import Snapshot

FloatArray = npt.NDArray[np.float64]
FORMAT = 1
KIND = "phase score tree"
_OWN = ("current", "green_age", "since_served", "change", "lanes")
_UNITS = {
    "current": "", "green_age": "s", "since_served": "s", "vehicles": "veh", "halting": "veh", "waiting": "s",
    "new_vehicles": "veh", "downstream_halting": "veh", "pedestrians": "persons", "occupied": "lanes",
    "occupancy": "", "arrivals": "veh", "new_arrivals": "veh", "flow": "veh", "gap": "s", "healthy": "", "call": "",
    "backed_up": "", "change": "s", "lanes": "lanes", "loss": "veh",
}  # fmt: skip
_WORDS = {
    "current": "it is green now",
    "green_age": "green for",
    "since_served": "time since it was green",
    "change": "time that the change to it takes",
    "lanes": "lanes that it serves",
    "vehicles": "vehicles on its approaches",
    "halting": "vehicles that stand on its approaches",
    "waiting": "their waiting time",
    "loss": "vehicles' worth of time that is being lost on its approaches",
    "new_vehicles": "vehicles that only it would serve",
    "downstream_halting": "vehicles that stand at its exits",
    "pedestrians": "pedestrians at its crossings",
    "occupied": "stop bars occupied",
    "occupancy": "occupancy of its stop bars",
    "arrivals": "vehicles that have come",
    "new_arrivals": "vehicles that have come and only it would serve",
    "flow": "vehicles that came in the last interval",
    "gap": "longest gap at its stop bars",
    "healthy": "share of plausible detectors",
    "call": "a pedestrian has pressed its button",
    "backed_up": "occupancy of its advance detectors",
}


@dataclass(frozen=True, slots=True)
class Feature:
    """What one column of a phase's row holds."""

    name: str
    """As in the observation's table; with "- others" the difference to the best other selectable phase, with
    "of current" the current phase's value, with "at most" the greatest over the movements that it serves."""
    words: str
    unit: str


def features(sensing: str) -> tuple[Feature, ...]:
    """The columns for a sensing level, in order."""
    kind = OBSERVATIONS[sensing]
    sensed = kind.PHASE_FEATURES[SENSED:]
    found = [Feature(name, _WORDS[name], _UNITS[name]) for name in (*_OWN, *sensed)]
    found += [
        Feature(f"{name} - others", f"{_WORDS[name]}, more than for any other phase by", _UNITS[name])
        for name in ("since_served", *sensed)
    ]
    found += [
        Feature(f"{name} of current", f"of the phase that is green now: {_WORDS[name]}", _UNITS[name])
        for name in ("green_age", *sensed)
    ]
    found += [
        Feature(f"{name} at most", f"{_WORDS[name]} (of one movement)", _UNITS[name])
        for name in kind.MOVEMENT_FEATURES[2:]
    ]
    return tuple(found)


class PhaseRows:
    """[S, P, F] rows of `features`, in the units of the observation's table, from a snapshot."""

    def __init__(self, sensing: str, layout: Layout) -> None:
        self._observe = observation_for(sensing, layout)
        self._shape, self._layout = self._observe.shape, layout
        self._names = self._observe.PHASE_FEATURES
        self._own = [self._names.index(name) for name in _OWN]
        self._sensed = list(range(SENSED, len(self._names)))

    def __call__(self, snapshot: Snapshot) -> FloatArray:
        """The rows; those of phases that do not exist mean nothing."""
        shape, signals = self._shape, np.arange(len(snapshot.phase))
        rows = self._observe(snapshot).astype(np.float64)
        first = shape.phases * shape.phase_features
        phases = rows[:, :first].reshape(-1, shape.phases, shape.phase_features) * self._observe.PHASE_SCALE
        movements = rows[:, first + shape.phases * shape.movements :]
        movements = movements.reshape(-1, shape.movements, shape.movement_features) * self._observe.MOVEMENT_SCALE
        compared = phases[:, :, [self._names.index("since_served"), *self._sensed]]
        current = phases[signals, snapshot.phase][:, None, [self._names.index("green_age"), *self._sensed]]
        served = np.where(self._layout.service[..., None] > 0, movements[:, None, :, 2:], 0.0)
        return np.concatenate(
            (
                phases[:, :, [*self._own, *self._sensed]],
                compared - _best_other(compared, snapshot.mask),
                np.broadcast_to(current, (*phases.shape[:2], current.shape[2])),
                served.max(axis=2),
            ),
            axis=2,
        )


def _best_other(values: FloatArray, mask: npt.NDArray[np.bool_]) -> FloatArray:
    """[S, P, F] the greatest over the other selectable phases; 0 where there is none."""
    allowed = np.where(mask[:, :, None], values, -np.inf)
    best = allowed.max(axis=1, keepdims=True)
    at = allowed.argmax(axis=1)[:, None, :]
    without = allowed.copy()
    np.put_along_axis(without, at, -np.inf, axis=1)
    second = without.max(axis=1, keepdims=True)
    own = np.arange(values.shape[1])[None, :, None] == at
    found: FloatArray = np.where(own, second, best)
    return np.where(np.isfinite(found), found, 0.0)


@dataclass(frozen=True, slots=True)
class Node:
    """A question, or a leaf: then `feature` is -1."""

    feature: int
    threshold: float
    """At most this leads to `low`, more to `high`."""
    low: int
    high: int
    score: float
    """Share of the phases here that the policy chose, by weight."""
    decisions: int
    """Phases that came here in training."""


@dataclass(frozen=True)
class Tree:
    """The tree as data."""

    sensing: str
    nodes: tuple[Node, ...]

    def scores(self, rows: FloatArray) -> FloatArray:
        """[..., F] rows to [...] scores."""
        flat = rows.reshape(-1, rows.shape[-1])
        feature = np.array([node.feature for node in self.nodes])
        threshold = np.array([node.threshold for node in self.nodes])
        low, high = np.array([node.low for node in self.nodes]), np.array([node.high for node in self.nodes])
        at = np.zeros(len(flat), np.int64)
        while (inner := feature[at] >= 0).any():
            ask = np.where(inner, feature[at], 0)
            goes_low = flat[np.arange(len(flat)), ask] <= threshold[at]
            at = np.where(inner, np.where(goes_low, low[at], high[at]), at)
        found: FloatArray = np.array([node.score for node in self.nodes])[at]
        return found.reshape(rows.shape[:-1])

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "format": FORMAT,
            "kind": KIND,
            "sensing": self.sensing,
            "rule": "each selectable phase goes through the tree; the best score is chosen; between equals the "
            "current phase stays, then the one that has waited longest goes",
            "features": [{"name": f.name, "meaning": f.words, "unit": f.unit} for f in features(self.sensing)],
            "nodes": [
                {"score": node.score, "decisions": node.decisions}
                if node.feature < 0
                else {"feature": node.feature, "at_most": node.threshold, "then": node.low, "else": node.high}
                for node in self.nodes
            ],
        }

    @staticmethod
    def from_json(content: Mapping[str, Any]) -> Tree:
        """The inverse of `as_json`.

        Raises:
            InputError: it holds something else.
        """
        try:
            if content["kind"] != KIND or content["format"] != FORMAT:
                raise InputError(f"this is no {KIND} of format {FORMAT}; distil the policy anew")
            sensing = str(content["sensing"])
            expected = [f.name for f in features(sensing)]
            if [f["name"] for f in content["features"]] != expected:
                raise InputError(
                    "the tree asks for other features than this version computes; distil the policy anew"
                )
            nodes = tuple(
                Node(-1, 0.0, 0, 0, float(n["score"]), int(n["decisions"]))
                if "score" in n
                else Node(int(n["feature"]), float(n["at_most"]), int(n["then"]), int(n["else"]), 0.0, 0)
                for n in content["nodes"]
            )
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise InputError(
                f"this is no {KIND} ({type(error).__name__}: {error}); distil the policy anew"
            ) from error
        for number, node in enumerate(nodes):  # forwards only, so that every walk ends
            inner = node.feature >= 0
            sound = number < node.low < len(nodes) and number < node.high < len(nodes)
            if node.feature >= len(expected) or (inner and not (sound and np.isfinite(node.threshold))):
                raise InputError(f"node {number} of the tree leads nowhere; distil the policy anew")
            if not inner and not np.isfinite(node.score):
                raise InputError(f"node {number} of the tree has no finite score; distil the policy anew")
        if not nodes:
            raise InputError("the tree has no nodes; distil the policy anew")
        return Tree(sensing, nodes)

    def in_words(self) -> str:
        """The tree as nested questions about one phase."""
        named = features(self.sensing)
        lines: list[str] = []

        def tell(number: int, depth: int) -> None:
            node, indent = self.nodes[number], "    " * depth
            if node.feature < 0:
                lines.append(f"{indent}score {node.score:.2f}  ({node.decisions} phases in training)")
                return
            asked = named[node.feature]
            if asked.unit == "" and node.threshold == 0.5:
                question = f"not: {asked.words}"
            else:
                question = f"{asked.words} at most {node.threshold:.3g}{' ' + asked.unit if asked.unit else ''}"
            lines.append(f"{indent}if {question}:")
            tell(node.low, depth + 1)
            lines.append(f"{indent}else:")
            tell(node.high, depth + 1)

        tell(0, 0)
        return "\n".join(lines) + "\n"


def read_tree(path: Path) -> Tree:
    """The tree of a tree.json.

    Raises:
        InputError: it is missing, or holds something else.
    """
    try:
        content = parse(path.read_bytes())
    except (OSError, ValueError) as error:
        raise InputError(f"{path} holds no tree ({error}); make one with export.py tree") from error
    try:
        return Tree.from_json(content)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


class TreeController:
    """Decides by a tree; needs neither scikit-learn nor torch."""

    def __init__(self, tree: Tree) -> None:
        self.sensing = tree.sensing
        self.tree = tree
        self._rows: PhaseRows | None = None
        self.last_scores: FloatArray | None = None

    def reset(self, intersections: Sequence[Intersection], layout: Layout, seed: int) -> None:
        """A new episode with these signals."""
        del intersections, seed
        self._rows = PhaseRows(self.sensing, layout)

    def decide(self, snapshot: Snapshot) -> Phases:
        """[S] the selectable phase with the best score."""
        assert self._rows is not None, "call reset first"
        self.last_scores = self.tree.scores(self._rows(snapshot))
        return choose(self.last_scores + _patience(snapshot), snapshot, hysteresis=2e-6)


def _patience(snapshot: Snapshot) -> FloatArray:
    """[S, P] below 1e-6: more for who has waited longer, so that it decides between equal scores only."""
    waited: FloatArray = 1e-6 * np.minimum(snapshot.since_served_s, 1e5) / (1e5 + 1.0)
    return waited

"""Golden inputs: recorded situations with what the trained policy said; every other form is held against it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.float32]
Phases = npt.NDArray[np.int64]
KEPT = 256
"""Situations that a bundle keeps of a recording, evenly over its time."""
MASKED_BELOW = -1e8
"""Scores of phases that may not be chosen lie below; they are not compared."""
TOLERANCE = 1e-4
"""Greatest difference of a score, as a share of the greatest score of its situation (at least 1). The forms sum up in
single precision, in different orders."""
LEAST = 200


@dataclass(frozen=True)
class Golden:
    """[G] situations."""

    inputs: Rows
    """[G, N]"""
    scores: Rows
    """[G, P]"""
    phases: Phases
    """[G]"""

    def thinned(self, count: int = KEPT) -> Golden:
        """`count` of them, evenly spaced; all of them where there are fewer."""
        chosen = np.unique(np.linspace(0, len(self.phases) - 1, min(count, len(self.phases))).astype(int))
        return Golden(self.inputs[chosen], self.scores[chosen], self.phases[chosen])

    def document(self) -> dict[str, Any]:
        """As JSON; each number is the shortest that reads back to the same single-precision value."""
        return {
            "inputs": [_shortest(row) for row in self.inputs],
            "scores": [_shortest(row) for row in self.scores],
            "phases": self.phases.tolist(),
        }

    @staticmethod
    def read(content: Any) -> Golden:
        """The inverse of `document`. Raises ValueError, KeyError or TypeError for any other content."""
        golden = Golden(
            np.array(content["inputs"], np.float32),
            np.array(content["scores"], np.float32),
            np.array(content["phases"], np.int64),
        )
        count = len(golden.phases)
        if count < LEAST or golden.inputs.ndim != 2 or golden.scores.ndim != 2:
            raise ValueError(f"there are {count} golden inputs, fewer than {LEAST}, or they have no common length")
        if not len(golden.inputs) == len(golden.scores) == count:
            raise ValueError("inputs, scores and phases are not equally many")
        if not (np.isfinite(golden.inputs).all() and np.isfinite(golden.scores).all()):
            raise ValueError("not all are finite")
        return golden


@dataclass(frozen=True, slots=True)
class Agreement:
    """How a form of the policy compares with the trained one."""

    count: int
    same_phase: int
    ties: int
    """How many of the others the trained policy scores alike for both phases, within the tolerance."""
    worst_difference: float
    """Greatest difference of a score, relative to the greatest score of its situation (at least 1)."""

    @property
    def holds(self) -> bool:
        return self.same_phase + self.ties == self.count and self.worst_difference <= TOLERANCE


def compare(answer: Callable[[Rows], tuple[Rows, int]], golden: Golden) -> Agreement:
    """Compare another form of the policy with the trained one: infinitely different if it masks other phases."""
    same = ties = 0
    worst = 0.0
    for values, scores, phase in zip(golden.inputs, golden.scores, golden.phases.tolist(), strict=True):
        found, chosen = answer(values)
        open_ = scores > MASKED_BELOW
        if not np.array_equal(open_, found > MASKED_BELOW):
            return Agreement(len(golden.phases), 0, 0, float("inf"))
        size = max(float(np.abs(scores[open_]).max(initial=0.0)), 1.0)
        worst = max(worst, float(np.abs(scores[open_] - found[open_]).max(initial=0.0)) / size)
        if chosen == phase:
            same += 1
        else:
            may = 0 <= chosen < len(scores) and bool(open_[chosen])
            ties += may and bool(abs(scores[phase] - scores[chosen]) <= TOLERANCE * size)
    return Agreement(len(golden.phases), same, ties, worst)


def _shortest(row: Rows) -> list[float]:
    return [float(str(value)) for value in row]

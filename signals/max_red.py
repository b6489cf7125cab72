"""The bound on every red: how long a link may stay red, and which phase has to come next so that none does longer.

Links that are green in the same phases are one group: they begin and end together, so one bound serves them all.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from signals.intersection import Intersection
from signals.phases import RANK, Phase
from signals.timing import Timing

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
CYCLES = 2.0
"""A link may wait for at least so many cycles of the network's own program."""
MOST_CYCLE_S = 300.0
"""What is longer is no cycle: rows of hours hold a green until somebody switches it by hand."""


@dataclass(frozen=True, slots=True)
class MaxRed:
    """One signal's bound, and what it takes to keep it."""

    bound_s: float
    """The longest red of a link that some phase serves [s]."""
    least_s: float
    """The least bound that can be kept [s]."""
    change_s: float
    """The longest change between two phases [s]."""
    round_s: float
    """The longest time from asking for a phase until the next one can be asked for [s]."""
    serves: BoolArray
    """[G, P] whether a phase serves a group of links; without the groups that every phase serves."""


def groups(states: Sequence[str]) -> list[tuple[bool, ...]]:
    """Over the phases' states, which of them let a link go, a turn on red included: each pattern once, in order of
    the first link that has it."""
    columns = zip(*states, strict=True)
    patterns = dict.fromkeys(tuple(RANK[character] > 0 for character in column) for column in columns)
    return [pattern for pattern in patterns if any(pattern) and not all(pattern)]


def max_red(item: Intersection, timing: Timing) -> MaxRed:
    """The bound for one signal: the greatest of `Timing.max_red_s`, `CYCLES` cycles of the network's own program, and
    the time that it takes to serve all groups after a phase of free choice."""
    used = [link.index for link in item.table.links if link.used]
    patterns = groups(["".join(phase.state[i] for i in used) for phase in item.phases])
    serves = np.array(patterns, bool).reshape(len(patterns), len(item.phases))
    change_s = max((item.intergreen_s(old, new) for old, new in item.changes), default=0.0)
    held_s = max(_held_s(item.phases, item.settling_s.values()))
    round_s = timing.decision_interval_s * math.ceil((change_s + held_s) / timing.decision_interval_s - 1e-9)
    cycle_s = min(sum(row.duration_s for row in item.program.rows), MOST_CYCLE_S)
    least_s = change_s + (min(serves.shape) + 1) * round_s
    return MaxRed(max(timing.max_red_s, CYCLES * cycle_s, least_s), least_s, change_s, round_s, serves)


def _held_s(phases: Sequence[Phase], settling_s: Iterable[tuple[float, ...]]) -> list[float]:
    """How long a green may have to be kept before another phase can be asked for [s]."""
    return [*(phase.min_green_s for phase in phases), *(max(times, default=0.0) for times in settling_s)]


def overdue(waits_s: FloatArray, serves: BoolArray, red: MaxRed) -> int | None:
    """The phase that has to come next so that no group is red for longer than the bound, or None while any may come.

    Groups are served in the order in which they have waited, by the phase that serves the next of them and of all
    others those that have waited longest. One is due once there is only just time for the rounds of those that have
    waited longer, for its own, and for one phase of free choice. It counts with a round of its own even where an
    earlier one would serve it: the free choice may part the two.

    Args:
        waits_s: [G] how long each group has been without green; 0 where it has green.
        serves: [G, P] whether a phase serves it.
        red: the signal's bound.
    """
    order = np.argsort(-waits_s, kind="stable")
    order = order[waits_s[order] > 0.0]
    left, first, rounds, late = np.ones(len(order), bool), None, 0, False
    for place, group in enumerate(order):
        late = late or bool(waits_s[group] > red.bound_s - (red.change_s + (rounds + 1) * red.round_s))
        if left[place]:
            phase = _best(serves[order] & left[:, None], place)
            first = phase if first is None else first
            left &= ~serves[order, phase]
            rounds += 1
        if late:
            return first
    return None


def _best(serves: BoolArray, place: int) -> int:
    """Of the phases that serve the group at this place, the one that serves the earliest of the others [G, P]."""
    phases = np.flatnonzero(serves[place])
    for row in serves:
        if row[phases].any():
            phases = phases[row[phases]]
    return int(phases[0])

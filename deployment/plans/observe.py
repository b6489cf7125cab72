"""What a policy does with its greens over the day, and the times of day at which that changes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from controllers.base import Controller, Phases
from plumbing.errors import InputError
from signals.intersection import Intersection
from signals.layout import Layout
from signals.snapshot import Snapshot

FloatArray = npt.NDArray[np.float64]
WINDOW_S = 300.0
"""Length of a window over which green shares are counted [s]: a few cycles."""
LEAST_WINDOWS = 3
"""A time of day lasts at least so many windows, 15 min: a plan needs some cycles to settle in."""
WORTH = 0.1
"""Least share of the variation between windows that a further time of day has to explain."""


class Watched:
    """A controller whose decisions are noted as it makes them."""

    def __init__(self, controller: Controller) -> None:
        self.sensing = controller.sensing
        self._controller = controller
        self.times_s: list[float] = []
        self.phases: list[npt.NDArray[np.int64]] = []
        self.changing: list[npt.NDArray[np.bool_]] = []
        self.shape = (0, 0, 0)

    def reset(self, intersections: Sequence[Intersection], layout: Layout, seed: int) -> None:
        """A new episode: what was noted before is forgotten."""
        self.times_s, self.phases, self.changing = [], [], []
        self.shape = layout.shape
        self._controller.reset(intersections, layout, seed)

    def decide(self, snapshot: Snapshot) -> Phases:
        """The controller's own decision."""
        self.times_s.append(float(snapshot.time_s[0]))
        self.phases.append(snapshot.phase.copy())
        self.changing.append(snapshot.changing.copy())
        return self._controller.decide(snapshot)


@dataclass(frozen=True)
class Usage:
    """How greens were used, window by window: [W] windows, [S] signals, [P] phases."""

    edges_s: FloatArray
    """[W + 1] where the windows begin and end, simulation time."""
    green: FloatArray
    """[W, S, P] decisions at which a phase was green."""
    starts: FloatArray
    """[W, S, P] how often a phase was chosen anew."""
    follows: FloatArray
    """[W, S, P, P] how often the second followed the first."""

    def over(self, first: int, last: int) -> Usage:
        """The sum of windows first to last (excluded), as one."""
        return Usage(
            self.edges_s[[first, last]],
            self.green[first:last].sum(0, keepdims=True),
            self.starts[first:last].sum(0, keepdims=True),
            self.follows[first:last].sum(0, keepdims=True),
        )

    def shares(self) -> FloatArray:
        """[W, S, P] each phase's share of the green."""
        total = self.green.sum(2, keepdims=True)
        shares: FloatArray = self.green / np.maximum(total, 1.0)
        return shares

    def cycle_s(self, runs: int = 1) -> FloatArray:
        """[W, S] mean time between two services of a phase, over the phases that were served at all [s]."""
        served = (self.starts > 0).sum(2)
        mean_starts = self.starts.sum(2) / np.maximum(served, 1) / runs
        lengths: FloatArray = np.diff(self.edges_s)[:, None] / np.maximum(mean_starts, 0.5)
        return lengths

    def order(self, signal: int, phases: int) -> list[int]:
        """A signal's phases in the order in which one most often followed the other, over all windows."""
        follows = self.follows[:, signal, :phases, :phases].sum(0)
        found = [int(np.argmax(self.green[:, signal, :phases].sum(0)))]
        while len(found) < phases:
            rest = [p for p in range(phases) if p not in found]
            found.append(max(rest, key=lambda p: (follows[found[-1], p], -p)))
        return found


def windows(begin_s: float, end_s: float, window_s: float = WINDOW_S) -> FloatArray:
    """Edges at full multiples of the window, as a day plan's events are at full minutes; none is very short."""
    first = math.floor(begin_s / window_s) * window_s + window_s
    inner = np.arange(first, end_s, window_s)
    inner = inner[(inner - begin_s >= window_s / 2) & (end_s - inner >= window_s / 2)]
    edges: FloatArray = np.array([begin_s, *inner, end_s])
    return edges


def usage(runs: Sequence[Watched], begin_s: float, end_s: float, window_s: float = WINDOW_S) -> Usage:
    """What the runs of a policy have noted, summed over them."""
    edges = windows(begin_s, end_s, window_s)
    signals, phases, _ = runs[0].shape
    count = len(edges) - 1
    green, starts = np.zeros((count, signals, phases)), np.zeros((count, signals, phases))
    follows = np.zeros((count, signals, phases, phases))
    every = np.arange(signals)
    for run in runs:
        before: npt.NDArray[np.int64] | None = None
        for time_s, phase, changing in zip(run.times_s, run.phases, run.changing, strict=True):
            window = min(int(np.searchsorted(edges, time_s, side="right")) - 1, count - 1)
            green[window, every, phase] += ~changing
            if before is not None:
                changed = np.flatnonzero(phase != before)
                starts[window, changed, phase[changed]] += 1
                follows[window, changed, before[changed], phase[changed]] += 1
            before = phase
    return Usage(edges, green, starts, follows)


def times_of_day(used: Usage, volume: Sequence[float], most: int) -> list[tuple[int, int]]:
    """Windows joined into at most `most` times of day, (first, last + 1) each.

    The partition into consecutive pieces with the least sum of squares of green shares and traffic volume, by dynamic
    programming (Fisher 1958, On grouping for maximum homogeneity); as few pieces as explain nearly as much.

    Args:
        volume: [W] vehicles that depart in each window, per second.
    """
    if most < 1:
        raise InputError(f"times of day: {most} are asked for; give at least 1")
    count = len(used.edges_s) - 1
    rates = np.asarray(volume, float)
    features = np.column_stack((used.shares().reshape(count, -1), rates / max(rates.max(), 1e-9)))
    weight = np.diff(used.edges_s) / WINDOW_S
    least = min(LEAST_WINDOWS, count)

    def cost(first: int, last: int) -> float:
        part, w = features[first:last], weight[first:last, None]
        mean = (part * w).sum(0) / w.sum()
        return float((((part - mean) ** 2) * w).sum())

    best: dict[tuple[int, int], tuple[float, list[tuple[int, int]]]] = {(0, 0): (0.0, [])}
    for pieces in range(1, most + 1):
        for last in range(least, count + 1):
            options = [
                (best[pieces - 1, first][0] + cost(first, last), [*best[pieces - 1, first][1], (first, last)])
                for first in range(last - least + 1)
                if (pieces - 1, first) in best
            ]
            if options:
                best[pieces, last] = min(options, key=lambda option: option[0])
    found = {pieces: best[pieces, count] for pieces in range(1, most + 1) if (pieces, count) in best}
    whole = found[1][0]
    chosen = 1
    for pieces in sorted(found)[1:]:
        if found[chosen][0] - found[pieces][0] >= WORTH * whole * (pieces - chosen) and whole > 1e-9:
            chosen = pieces
    return found[chosen][1]

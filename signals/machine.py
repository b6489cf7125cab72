"""The state machine below every agent: the only writer of signal states.

Whatever it is asked for, it shows only the phases and change intervals that were compiled beforehand, keeps
min green, completes each change, forces one at max green where another phase has a call, and lets no link that some
phase serves be red for longer than max red. It holds all signals of a run as arrays, so that a decision costs the
same handful of operations for one signal and for hundreds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from signals.intersection import Intersection
from signals.max_red import max_red, overdue
from signals.snapshot import Snapshot
from signals.timing import Timing

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
FOREVER_S = 1e6  # [s] a green lasts until the machine ends it


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the program that the simulator runs between two decisions."""

    duration_s: float
    state: str
    next: int


def program_rows(intersection: Intersection) -> tuple[tuple[Row, ...], dict[tuple[int, int], int]]:
    """One signal's program: a row per green phase, then every change; and where each change begins.

    A change's last row leads to its phase, so that nothing has to be called while it runs.
    """
    rows = [Row(FOREVER_S, phase.state, phase.index) for phase in intersection.phases]
    entries: dict[tuple[int, int], int] = {}
    for (old, new), intervals in intersection.changes.items():
        entries[old, new] = len(rows) if intervals else new
        for position, interval in enumerate(intervals, start=1):
            following = len(rows) + 1 if position < len(intervals) else new
            rows.append(Row(interval.duration_s, interval.state, following))
    return tuple(rows), entries


class SignalMachine:
    """The states of all controlled signals, [S] signals with up to [P] phases each."""

    def __init__(self, intersections: Sequence[Intersection], timing: Timing, width: int = 1) -> None:
        """See the class.

        Args:
            width: phases that the arrays have room for at least.
        """
        self.intersections = tuple(intersections)
        self.timing = timing
        size = len(self.intersections)
        width = max(width, *(len(i.phases) for i in self.intersections), 1)
        self.phase_count: IntArray = np.array([len(i.phases) for i in self.intersections], np.int64)
        self.exists: BoolArray = np.arange(width)[None, :] < self.phase_count[:, None]
        self.rows: list[tuple[Row, ...]] = []
        self._entry: IntArray = np.zeros((size, width, width), np.int64)
        self._change_s: FloatArray = np.zeros((size, width, width))
        self._min_green_s: FloatArray = np.zeros((size, width))
        self._max_green_s: FloatArray = np.full((size, width), math.inf)
        self._settling_s: FloatArray = np.zeros((size, width, width, width))
        self.own_green_s: FloatArray = np.zeros((size, width))
        for s, intersection in enumerate(self.intersections):
            rows, entries = program_rows(intersection)
            self.rows.append(rows)
            for phase in intersection.phases:
                self._min_green_s[s, phase.index] = phase.min_green_s
                self._max_green_s[s, phase.index] = phase.max_green_s
                self.own_green_s[s, phase.index] = phase.duration_s
            for (old, new), row in entries.items():
                self._entry[s, old, new] = row
                self._change_s[s, old, new] = intersection.intergreen_s(old, new)
                self._settling_s[s, old, new, : len(intersection.phases)] = intersection.settling_s[old, new]
        self.max_red = [max_red(intersection, timing) for intersection in self.intersections]
        """[S] how long a link may be red."""
        most = max((len(red.serves) for red in self.max_red), default=0)
        self._red_serves: BoolArray = np.zeros((size, most, width), bool)
        self._red_count: IntArray = np.array([len(red.serves) for red in self.max_red], np.int64)
        self._red_rounds: IntArray = np.array([min(red.serves.shape) + 1 for red in self.max_red], np.int64)
        reds = [(red.bound_s, red.change_s, red.round_s) for red in self.max_red]
        self._red_s: FloatArray = np.array(reds, float).reshape(-1, 3)  # also where no signal is controlled
        for s, red in enumerate(self.max_red):
            self._red_serves[s, : len(red.serves), : red.serves.shape[1]] = red.serves
        self._signals = np.arange(size)
        self.phase: IntArray = np.zeros(size, np.int64)
        self.green_since_s: FloatArray = np.zeros(size)
        self.settled_at_s: FloatArray = np.zeros((size, width))
        self.served_until_s: FloatArray = np.zeros((size, width))
        self.green_until_s: FloatArray = np.zeros((size, width))
        self.blocked: BoolArray = np.zeros((size, width), bool)
        """[S, P] which phases are of no use now, by `signals.spillback`; see `block`."""
        self._held_until_s: FloatArray = np.zeros(size)
        self._max_until_s: FloatArray = np.zeros(size)
        self._settles = bool(self._settling_s.any())
        self.now_s = 0.0
        self._known: tuple[float, bytes, BoolArray] | None = None

    def reset(self, now_s: float) -> None:
        """Begin in each signal's first phase, its green starting now."""
        self.now_s = now_s
        self.phase[:] = 0
        self.green_since_s[:] = now_s
        self.served_until_s[:] = now_s
        self.green_until_s[:] = now_s
        self.settled_at_s[:] = now_s
        self.blocked[:] = False
        self._bound_green(slice(None))
        self._known = None

    def bound_red(self, max_red_s: float) -> None:
        """No link is red for longer than this either, where its signal can keep it [s]."""
        for s, red in enumerate(self.max_red):
            bound_s = min(red.bound_s, max(max_red_s, red.least_s))
            self.max_red[s] = replace(red, bound_s=bound_s)
            self._red_s[s, 0] = bound_s

    @property
    def changing(self) -> BoolArray:
        """[S] whether a signal is between two greens."""
        return self.green_since_s > self.now_s + 1e-6

    @property
    def green_age_s(self) -> FloatArray:
        """[S] how long the current green has lasted; 0 during a change [s]."""
        return np.maximum(self.now_s - self.green_since_s, 0.0)

    @property
    def since_served_s(self) -> FloatArray:
        """[S, P] how long ago each phase was last green; 0 for the one that is or comes next [s]."""
        since: FloatArray = (self.now_s - self.served_until_s) * self.exists
        return since

    def show(self, snapshot: Snapshot) -> None:
        """Write the signals' part of a snapshot: phases, changes and ages; not the mask, which needs its calls."""
        snapshot.phase[:] = self.phase
        since_green_s = self.now_s - self.green_since_s
        np.less(since_green_s, -1e-6, out=snapshot.changing)
        np.maximum(self.green_since_s - self.now_s, 0.0, out=snapshot.green_in_s)
        np.maximum(since_green_s, 0.0, out=snapshot.green_age_s)
        np.subtract(self.now_s, self.served_until_s, out=snapshot.since_served_s)
        np.multiply(snapshot.since_served_s, self.exists, out=snapshot.since_served_s)

    def block(self, blocked: BoolArray) -> None:
        """From now on these phases [S, P] are of no use, as their exits are full; until the next call."""
        self.blocked[:] = blocked
        self._known = None

    def mask(self, calls: BoolArray) -> BoolArray:
        """[S, P] which phases may be chosen now; at least one of every signal.

        Args:
            calls: [S, P] whether a vehicle or pedestrian waits for a phase that is not green.
        """
        return self._mask(calls).copy()

    def show_mask(self, snapshot: Snapshot) -> None:
        """Write a snapshot's mask, by its calls."""
        snapshot.mask[:] = self._mask(snapshot.calls)

    def _mask(self, calls: BoolArray) -> BoolArray:
        """The mask itself, which is computed once for a moment and its calls."""
        if self._known is not None and self._known[0] == self.now_s and self._known[1] == calls.tobytes():
            return self._known[2]
        s, current = self._signals, self.phase
        held = self.now_s < self._held_until_s - 1e-6
        settled = self.exists
        if self._settles:
            # what ended earlier may still have to be cleared for a phase, however short its own change is
            settled = settled & (self.now_s + self._change_s[s, current] >= self.settled_at_s - 1e-6)
        mask = settled.copy()
        mask[held] = False
        mask[s, current] = True
        # the next decision would come too late
        over = ~held & (self.now_s + self.timing.decision_interval_s > self._max_until_s + 1e-6)
        useless = ~held & self.blocked[s, current]
        if over.any() or self.blocked.any():
            mask = self._ended(mask, calls, over, useless)
        for signal, phase in self._due():
            if not held[signal]:
                # what cannot begin yet, since something has to be cleared first, begins as soon as it can
                mask[signal] = False
                mask[signal, phase if settled[signal, phase] else current[signal]] = True
        self._known = self.now_s, calls.tobytes(), mask
        return mask

    def _ended(self, mask: BoolArray, calls: BoolArray, over: BoolArray, useless: BoolArray) -> BoolArray:
        """The mask [S, P] where max green and the spillback guard leave less of it.

        What is blocked does not begin. A green that is over, or of no use, ends for a called phase that is not
        blocked; where all that are called are blocked, one that is both ends for these, as without the guard.

        Args:
            over: [S] whether max green is reached.
            useless: [S] whether the current phase may end and is blocked.
        """
        s, current = self._signals, self.phase
        stays = np.zeros_like(mask)
        stays[s, current] = True
        called = mask & calls & ~stays
        flowing = called & ~self.blocked
        found = mask & (~self.blocked | stays)
        for ends, phases in ((over & useless, called), (over | useless, flowing)):
            ends = ends & phases.any(axis=1)
            found[ends] = phases[ends]
        return found

    @property
    def red_s(self) -> FloatArray:
        """[S, G] how long ago each group of links was last green; 0 where it is [s]."""
        last_s = np.where(self._red_serves, self.green_until_s[:, None, :], -np.inf).max(axis=-1)
        since: FloatArray = np.where(np.isfinite(last_s), self.now_s - last_s, 0.0)
        return since

    def _due(self) -> list[tuple[int, int]]:
        """(signal, phase) where a link would be red for too long unless this phase comes next."""
        waits_s = self.red_s
        bound_s, change_s, round_s = self._red_s.T
        near = waits_s.max(axis=-1, initial=0.0) > bound_s - (change_s + self._red_rounds * round_s)
        found = []
        for s in np.flatnonzero(near).tolist():
            red = self.max_red[s]
            phase = overdue(waits_s[s, : len(red.serves)], self._red_serves[s, : len(red.serves)], red)
            if phase is not None:
                found.append((s, phase))
        return found

    def request(self, phases: npt.NDArray[np.integer], calls: BoolArray) -> list[tuple[int, int]]:
        """Ask for a phase per signal; returns (signal, row) for every signal whose display has to change.

        A phase that the mask forbids is not shown: the current one stays, or at max green or max red the phase
        among those allowed that has waited longest is served.
        """
        index = np.asarray(phases)
        mask = self._mask(calls)
        valid = (index >= 0) & (index < mask.shape[1])
        if not valid.all():
            index = np.where(valid, index, 0)
        index = index.astype(np.int64, copy=False)
        allowed = valid & mask[self._signals, index]
        if not allowed.all():
            stay = mask[self._signals, self.phase]
            longest = np.argmin(np.where(mask, self.served_until_s, np.inf), axis=1)
            index = np.where(allowed, index, np.where(stay, self.phase, longest))
        changed = (index != self.phase).nonzero()[0]
        if not changed.size:
            return []
        self._known = None
        old, new = self.phase[changed], index[changed]
        self.served_until_s[changed, old] = self.now_s
        self.green_until_s[changed, old] = self.now_s
        green_since_s = self.now_s + self._change_s[changed, old, new]
        self.green_since_s[changed] = green_since_s
        if self._settles:
            settled_at_s = green_since_s[:, None] + self._settling_s[changed, old, new]
            self.settled_at_s[changed] = np.maximum(self.settled_at_s[changed], settled_at_s)
        self.phase[changed] = new
        self._bound_green(changed)
        return list(zip(changed.tolist(), self._entry[changed, old, new].tolist(), strict=True))

    def follow(self, signal: int, phase: int, green_since_s: float) -> None:
        """Take over the display of another controller, such as one in the field.

        Args:
            phase: the one that is green or comes next.
            green_since_s: when its green began, or is expected to.
        """
        old = int(self.phase[signal])
        if phase == old and abs(green_since_s - float(self.green_since_s[signal])) < 1e-9:
            return
        self._known = None
        if phase != old:
            self.served_until_s[signal, old] = self.now_s
            if not self.changing[signal]:
                self.green_until_s[signal, old] = self.now_s
            self.phase[signal] = phase
        if self._settles and phase != old:
            settled_at_s = green_since_s + self._settling_s[signal, old, phase]
            self.settled_at_s[signal] = np.maximum(self.settled_at_s[signal], settled_at_s)
        self.green_since_s[signal] = green_since_s
        self._bound_green(np.array([signal]))

    def change_s(self, signal: int, old: int, new: int) -> float:
        """How long the change between two phases lasts [s]."""
        return float(self._change_s[signal, old, new])

    def _bound_green(self, s: IntArray | slice) -> None:
        """Note how long the green that has been decided on is held, and when it is over at the latest."""
        signals = self._signals[s]
        self._held_until_s[s] = self.green_since_s[s] + self._min_green_s[signals, self.phase[s]]
        self._max_until_s[s] = self.green_since_s[s] + self._max_green_s[signals, self.phase[s]]

    def advance(self, now_s: float) -> None:
        """Time has passed."""
        self.now_s = now_s
        self.served_until_s[self._signals, self.phase] = now_s
        green = np.flatnonzero(~self.changing)  # a phase that comes next serves nobody yet
        self.green_until_s[green, self.phase[green]] = now_s

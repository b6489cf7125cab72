"""Loops as a controller tells of them: bits that are polled become counts, occupied seconds and gaps.

What is not plausible in these is judged by `signals.loops.LoopReader`, as in training; here only what a simulation
does not have: groups that do not answer, the controller's own alarms, and bits that flicker faster than traffic."""

from __future__ import annotations

import math
from collections import deque

import numpy as np
import numpy.typing as npt

from signals.loops import LoopPlan, LoopReader

MISSING_AFTER_S = 5.0  # [s] without a value of its group, while other values came
CHATTER_RISES, CHATTER_S = 20, 20.0  # vehicles follow each other at 1.5 s or more, also out of a queue
RECOVERED_AFTER_S = 60.0  # [s] without the fault
CHATTERING, ALARM, MISSING = "chattering", "alarm", "missing"
FloatArray = npt.NDArray[np.float64]


class Detectors:
    """All loops of one intersection; detector n + 1 of the controller is loop n of `signals.loops.LoopReader`."""

    def __init__(self, plan: LoopPlan, reader: LoopReader) -> None:
        self.ids = reader.ids
        size = len(self.ids)
        self.counts: FloatArray = np.zeros(size)
        """[loops] vehicles counted since the start."""
        self.busy_s: FloatArray = np.zeros(size)
        """[loops] seconds occupied since the start."""
        self._left_s: FloatArray = np.full(size, -math.inf)
        self._on = np.zeros(size, bool)
        self._seen_s: FloatArray = np.full(size, -math.inf)
        self._begun_s = self._answered_s = math.nan
        self._rises: tuple[deque[float], ...] = tuple(deque(maxlen=CHATTER_RISES) for _ in range(size))
        self._alarms = np.zeros(size, bool)
        self.faults: list[str] = [""] * size
        """[loops] what is wrong with each, or an empty string."""
        self._bad_until_s: FloatArray = np.full(size, -math.inf)
        place = {name: n for n, name in enumerate(self.ids)}
        self.lanes: list[tuple[int, ...]] = []
        """Per controlled lane, its loops."""
        for stop, advance in zip(plan.stop_bar, plan.advance, strict=True):
            ahead = [place[name] for name, _ in advance]
            self.lanes.append((place[stop], *ahead))

    def update(self, at_s: float, active: dict[int, int], alarms: dict[int, int]) -> None:
        """Take the detectors' bits of a poll.

        Args:
            active, alarms: octets by the number of their group, from 1; those that did not come are left out.
        """
        if math.isnan(self._begun_s):
            self._begun_s = at_s
        self._answered_s = at_s
        for n in range(len(self.ids)):
            group, bit = n // 8 + 1, n % 8
            if group in alarms:
                self._alarms[n] = bool(alarms[group] >> bit & 1)
            if group not in active:
                continue
            on, was, before = bool(active[group] >> bit & 1), bool(self._on[n]), float(self._seen_s[n])
            known = before > -math.inf
            trusted = not self.faults[n]  # else it is read as an empty loop
            if known and trusted and at_s - before <= 1.0:  # after a longer break nobody knows what was in between
                self.busy_s[n] += (at_s - before) * (on + was) / 2
            middle = (at_s + before) / 2 if known else at_s
            if on and not was:
                self.counts[n] += known and trusted  # the first poll does not tell an arrival
                self._rises[n].append(at_s)
            elif was and not on:
                self._left_s[n] = middle
            self._on[n], self._seen_s[n] = on, at_s

    def gaps_s(self, now_s: float) -> FloatArray:
        """[loops] time since the last vehicle left; 0 while occupied, negative if none came yet."""
        never = np.isinf(self._left_s)
        gaps: FloatArray = np.where(self._on, 0.0, np.where(never, -1.0, now_s - np.where(never, 0.0, self._left_s)))
        return gaps

    def judge(self, now_s: float) -> None:
        """Bring `faults` up to now. A fault is forgotten a minute after its last sign, once the loop has told of a
        vehicle since: one that has fallen silent may be dead."""
        for n in range(len(self.ids)):
            fault = self._fault(n, now_s)
            if fault:
                self.faults[n], self._bad_until_s[n] = fault, now_s + RECOVERED_AFTER_S
            elif self.faults[n] and now_s >= self._bad_until_s[n] and self._told_since(n, self._bad_until_s[n]):
                self.faults[n] = ""

    def _told_since(self, n: int, bad_until_s: float) -> bool:
        rises = self._rises[n]
        return bool(rises) and rises[-1] > bad_until_s - RECOVERED_AFTER_S

    def _fault(self, n: int, now_s: float) -> str:
        if self._answered_s - max(float(self._seen_s[n]), self._begun_s) > MISSING_AFTER_S:
            return MISSING
        if self._alarms[n]:
            return ALARM
        rises = self._rises[n]
        return CHATTERING if len(rises) == CHATTER_RISES and now_s - rises[0] < CHATTER_S else ""

    @property
    def blind(self) -> npt.NDArray[np.bool_]:
        """[loops] whether a loop's readings are left out."""
        return np.array([bool(fault) for fault in self.faults], bool)

    @property
    def bad_lanes(self) -> npt.NDArray[np.bool_]:
        """[C] whether a controlled lane has a loop that is left out."""
        return np.array([any(self.faults[n] for n in loops) for loops in self.lanes], bool)

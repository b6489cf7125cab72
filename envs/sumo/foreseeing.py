"""Counts in a running simulation for a forecast, asks it whenever an interval ends, and shows what it tells."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from envs.sumo.reading import read_counts
from scenarios.foresight import Foresight, Teller
from signals.layout import Layout
from signals.snapshot import Snapshot

_LATE_S = 1e-6  # SUMO's clock counts milliseconds; sums of floats may lie this little below


class ForecastReader:
    """Fills `Snapshot.expected_vph`.

    Args:
        foresight: what forecasts.
        layout: of the snapshot.
    """

    def __init__(self, foresight: Foresight, layout: Layout) -> None:
        self._foresight = foresight
        self._ids = tuple(f"intergreen forecast {n}" for n in range(len(foresight.counters)))
        number = {lane: n for n, lane in enumerate(foresight.lanes)}
        pairs = [(c, number[lane]) for c, lane in enumerate(layout.controlled) if lane in number]
        self._shown, self._told = np.array(pairs, np.int64).reshape(-1, 2).T
        self._expected = np.full((2, len(layout.controlled)), np.nan)
        self._teller: Teller | None = None
        self._interval = 0
        self._before: npt.NDArray[np.float64] | None = None

    @property
    def places(self) -> dict[str, tuple[str, float]]:
        """Where loops have to be, as `envs.sumo.loops.loops_xml` takes it."""
        return {
            name: (lane, -back_m) for name, (lane, back_m) in zip(self._ids, self._foresight.counters, strict=True)
        }

    def reset(self, now_s: float, seed: int) -> None:
        """An episode begins."""
        self._teller = self._foresight.begin(seed)
        self._interval = self._number(now_s)
        # who comes in the middle of an interval has not counted all of it
        whole = now_s - self._interval * self._foresight.interval_s < 1.0
        self._before = np.zeros(len(self._ids)) if whole else None
        self._show(self._teller.told(None))

    def read(self, low: Any, now_s: float, snapshot: Snapshot) -> None:
        """Ask the forecast again if an interval has ended, and show what it tells."""
        if (number := self._number(now_s)) != self._interval:
            self._end(low, number)
        snapshot.expected_vph[:] = self._expected

    def _end(self, low: Any, number: int) -> None:
        assert self._teller is not None
        counted = read_counts(low, self._ids)
        unknown = np.full(len(self._ids), np.nan)
        between = number - self._interval
        if between == 1 and self._before is not None:
            found = self._teller.told(counted - self._before)
        else:  # nobody has looked meanwhile, so which interval had how many is not known
            for _ in range(between):
                found = self._teller.told(unknown)
        self._show(found)
        self._interval, self._before = number, counted

    def _show(self, told: npt.NDArray[np.float64]) -> None:
        self._expected[:, self._shown] = told[:, self._told]

    def _number(self, now_s: float) -> int:
        return int((now_s + _LATE_S) // self._foresight.interval_s)

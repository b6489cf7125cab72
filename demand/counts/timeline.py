"""Which local day and time of day each interval of a series has: days and weeks are counted by the place's clocks."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

Numbers: TypeAlias = NDArray[Any]
FLOW, OCCUPANCY = "flow", "occupancy"  # what a series holds
_DAY_S = 86_400


@dataclass(frozen=True)
class Clock:
    """Consecutive intervals of one length."""

    begin: int
    """Begin of the first interval [seconds since 1970, UTC]."""
    interval_s: int
    zone: str
    """IANA name."""
    length: int
    """Number of intervals."""

    def longer(self, by: int) -> Clock:
        """With so many intervals more at the end."""
        return Clock(self.begin, self.interval_s, self.zone, self.length + by)

    @property
    def slots(self) -> int:
        """Intervals of a day of 24 hours."""
        return _DAY_S // self.interval_s

    @cached_property
    def _local(self) -> tuple[Numbers, Numbers]:
        zone = ZoneInfo(self.zone)
        seconds = self.begin + self.interval_s * np.arange(self.length, dtype=np.int64)
        # The offset is looked up once every quarter of an hour: clocks change at whole ones.
        quarter = seconds // 900
        distinct, inverse = np.unique(quarter, return_inverse=True)
        offsets = np.array([_offset_s(int(q) * 900, zone) for q in distinct], np.int64)
        local = seconds + offsets[inverse]
        return local // _DAY_S, local % _DAY_S // self.interval_s

    @property
    def ordinal(self) -> Numbers:
        """(intervals,) local date of each interval [days since 1970-01-01]."""
        return self._local[0]

    @property
    def day(self) -> Numbers:
        """(intervals,) number of the local day, from 0."""
        return np.asarray(self._local[0] - self._local[0][0])

    @property
    def slot(self) -> Numbers:
        """(intervals,) number of the interval within its local day; where clocks go back, some are there twice."""
        return self._local[1]

    @property
    def weekday(self) -> Numbers:
        """(intervals,) 0 for Monday to 6 for Sunday."""
        return np.asarray((self._local[0] + 3) % 7)  # 1970-01-01 was a Thursday

    @cached_property
    def place(self) -> Numbers:
        """(days, slots) the interval of each local day and time, the first where clocks go back; -1 where there is
        none."""
        found = np.full((int(self.day[-1]) + 1, self.slots), -1, np.int64)
        _, first = np.unique(self.day * self.slots + self.slot, return_index=True)
        found[self.day[first], self.slot[first]] = first
        return found

    def same_time(self, of: Numbers, days_before: int, later: int = 0) -> Numbers:
        """The interval of the same local time some days before, `later` slots later; -1 where there is none."""
        slot = self.slot[of] + later
        day = self.day[of] - days_before + slot // self.slots
        inside = (day >= 0) & (day < len(self.place))
        found: Numbers = np.where(inside, self.place[np.clip(day, 0, len(self.place) - 1), slot % self.slots], -1)
        return found


def _offset_s(second: int, zone: ZoneInfo) -> int:
    offset = datetime.datetime.fromtimestamp(second, zone).utcoffset()
    return int(offset.total_seconds()) if offset is not None else 0

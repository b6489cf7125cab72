"""The high-resolution event log: Indiana's enumeration, kept in memory, and given away as XML, rows or Parquet.

Source of the codes: Sturdevant et al. 2012, Indiana traffic signal hi resolution data logger enumerations.
"""

from __future__ import annotations

import bisect
import datetime
import itertools
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from deployment.emulator.settings import TICKS_PER_S, Detector, members

PHASE_ON, GREEN_BEGIN, MIN_COMPLETE, GAP_OUT, MAX_OUT, FORCE_OFF, GREEN_END = 0, 1, 3, 4, 5, 6, 7
YELLOW_BEGIN, YELLOW_END, RED_CLEAR_BEGIN, RED_CLEAR_END, PHASE_INACTIVE = 8, 9, 10, 11, 12
WALK_BEGIN, PED_CLEAR_BEGIN, DONT_WALK_BEGIN = 21, 22, 23
PHASE_CALL, CALL_DROPPED, PED_CALL = 43, 44, 45
HOLD_ON, HOLD_OFF, OMIT_ON, OMIT_OFF, PED_OMIT_ON, PED_OMIT_OFF = 41, 42, 46, 47, 48, 49
OVERLAP_GREEN, OVERLAP_YELLOW, OVERLAP_RED_CLEAR, OVERLAP_OFF = 61, 63, 64, 65
DETECTOR_OFF, DETECTOR_ON, BUTTON_OFF, BUTTON_ON = 81, 82, 89, 90
PREEMPT_INPUT_ON, PREEMPT_INPUT_OFF, PREEMPT_ENTRY, PREEMPT_DWELL, PREEMPT_EXIT = 102, 104, 105, 107, 111
PATTERN_CHANGE, CYCLE_CHANGE, OFFSET_CHANGE, COORD_STATE = 131, 132, 133, 150
FLASH_STATUS, UNIT_ALARM, CONTROL_STATUS, POWER_RESTORED = 173, 174, 175, 184
DAY = datetime.datetime(2000, 1, 1)
"""Simulation second 0, as in the evaluation's logs."""
KEPT = 500_000
"""Events in memory; an hour of a busy junction has some fifty thousand."""

Event = tuple[int, int, int]
"""(tick, code, parameter)"""


class EventLog:
    """A ring of the latest events."""

    def __init__(self, device: str, kept: int = KEPT) -> None:
        self.device = device
        self.rows: deque[Event] = deque(maxlen=kept)

    def add(self, tick: int, code: int, parameter: int) -> None:
        """Append one; ticks never decrease."""
        self.rows.append((tick, code, parameter))

    def since(self, moment: datetime.datetime | None) -> list[Event]:
        """Events at or after a moment; all for None."""
        if moment is None:
            return list(self.rows)
        tick = (moment - DAY) / datetime.timedelta(seconds=1 / TICKS_PER_S)
        first = bisect.bisect_left(self.rows, tick, key=lambda row: row[0])
        return list(itertools.islice(self.rows, first, None))

    def xml(self, moment: datetime.datetime | None = None) -> str:
        """As controllers serve it at /v1/asclog/xml/full."""
        rows = "".join(
            f'<Event ID="{n}" TimeStamp="{stamp(tick):%m-%d-%Y %H:%M:%S}.{tick % TICKS_PER_S}" '
            f'EventTypeID="{code}" Parameter="{parameter}"/>\n'
            for n, (tick, code, parameter) in enumerate(self.since(moment), start=1)
        )
        head, tail = "<EventResponses>\n<EventResponse>\n", "</EventResponse>\n</EventResponses>\n"
        return f'<?xml version="1.0" encoding="UTF-8"?>\n{head}{rows}{tail}'

    def write_parquet(self, folder: Path, detectors: Iterable[Detector]) -> None:
        """The two tables that `atspm` reads: events.parquet, and detectors.parquet, which says whose they are."""
        import polars as pl

        events: dict[str, Any] = {
            "TimeStamp": pl.Datetime("us"), "DeviceId": pl.String, "EventId": pl.Int16, "Parameter": pl.Int16,
        }  # fmt: skip
        rows = [(stamp(tick), self.device, code, parameter) for tick, code, parameter in self.rows]
        pl.DataFrame(rows, schema=events, orient="row").write_parquet(folder / "events.parquet")
        whose: dict[str, Any] = {
            "DeviceId": pl.String, "Phase": pl.Int16, "Parameter": pl.Int16, "Function": pl.String,
        }  # fmt: skip
        places = [
            (self.device, next(members(d.calls or d.extends)), d.number, "Presence" if d.calls else "Advance")
            for d in detectors
            if d.calls or d.extends
        ]
        pl.DataFrame(places, schema=whose, orient="row").write_parquet(folder / "detectors.parquet")


def stamp(tick: int) -> datetime.datetime:
    """The moment of a tick."""
    return DAY + datetime.timedelta(milliseconds=100 * tick)


def parse_since(text: str) -> datetime.datetime:
    """`11-22-2026 09:30:00.0`, as signal-replay asks.

    Raises:
        ValueError: it is no such moment.
    """
    return datetime.datetime.strptime(text, "%m-%d-%Y %H:%M:%S.%f")

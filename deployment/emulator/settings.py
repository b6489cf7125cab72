"""What a controller is set up with, as its ring logic reads it: phases, overlaps, detectors, plans and the clock's
schedule. All times are in ticks of a tenth of a second, and a set of phases is a mask whose bit 0 is phase 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

TICKS_PER_S = 10


def mask(phases: Iterable[int]) -> int:
    """The mask of these phases: `mask([2, 6]) == 0b00100010`."""
    return sum(1 << phase - 1 for phase in set(phases))


def members(phases: int) -> Iterator[int]:
    """The phases of a mask, ascending."""
    while phases:
        low = phases & -phases
        yield low.bit_length()
        phases ^= low


@dataclass(frozen=True, slots=True)
class PhaseTimes:
    """A NEMA phase's row of the phase table."""

    number: int
    ring: int
    concurrent: int
    """Mask of the other rings' phases that may be on with it."""
    walk: int
    """0: it has no crossing."""
    pedestrian_clear: int
    min_green: int
    passage: int
    maximum: int
    yellow: int
    red_clear: int
    red_revert: int

    @property
    def least_service(self) -> int:
        """From green to the end of red clearance, with a pedestrian where it has a crossing."""
        green = max(self.min_green, self.walk + self.pedestrian_clear if self.walk else 0)
        return green + self.yellow + self.red_clear


@dataclass(frozen=True, slots=True)
class OverlapTimes:
    """An overlap: green with any of its phases, and from one of them to the next; it ends as the last one does."""

    number: int
    included: int
    rivals: int
    """Mask of the phases that must not start before it is red and cleared."""


@dataclass(frozen=True, slots=True)
class Separation:
    """How long a phase waits after something that it may be on with, but must not start into the tail of: vehicles
    that gave way to it, or that it gives way to, are still on the junction."""

    kind: str
    """"phase", "overlap" or "walk"."""
    number: int
    """Of the phase (whose walk it is) or overlap that has ended."""
    ticks: int
    """From the end of its yellow, or of the walk."""


@dataclass(frozen=True, slots=True)
class Detector:
    """A vehicle detector: where its vehicles want to go."""

    number: int
    calls: int
    """Mask of the phases that an occupied loop calls."""
    extends: int
    """Mask of the phases whose green it extends."""
    lane: str = ""
    loop: str = ""


@dataclass(frozen=True, slots=True)
class Split:
    """A phase's row of a split. Seconds."""

    time_s: int
    mode: int
    coordinated: bool


@dataclass(frozen=True, slots=True)
class Pattern:
    """A coordination pattern. Seconds; a cycle of 0: the row is not used."""

    cycle_s: int
    offset_s: int
    split: int
    sequence: int


@dataclass(frozen=True, slots=True)
class ScheduleEntry:
    """Days on which a day plan applies; bits from 1, as NTCIP 1201 has them."""

    months: int
    weekdays: int
    dates: int
    day_plan: int


@dataclass(frozen=True)
class Settings:
    """Everything at once, so that a transaction replaces it in one assignment."""

    phases: dict[int, PhaseTimes]
    overlaps: dict[int, OverlapTimes]
    detectors: dict[int, Detector]
    backup: int
    """0: never."""
    report_period: int
    """Of volume and occupancy."""
    sequences: dict[int, tuple[tuple[int, ...], ...]]
    patterns: dict[int, Pattern] = field(default_factory=dict)
    splits: dict[int, dict[int, Split]] = field(default_factory=dict)
    actions: dict[int, int] = field(default_factory=dict)
    """Pattern per timebase action."""
    schedule: tuple[ScheduleEntry, ...] = ()
    day_plans: dict[int, tuple[tuple[int, int], ...]] = field(default_factory=dict)
    """(minute of the day, action) per day plan, in order of time."""
    preempts: tuple[int, ...] = ()
    """Mask of the phases that each preempt dwells in."""
    separations: dict[int, tuple[Separation, ...]] = field(default_factory=dict)
    """Per phase that starts."""

    def components(self) -> tuple[int, ...]:
        """Masks of phases between two barriers: those linked by concurrency, in order of the first ring."""
        found: list[int] = []
        for phase in (p for ring in self.sequences[1] for p in ring):
            if any(group >> phase - 1 & 1 for group in found):
                continue
            group = 1 << phase - 1
            while (wider := _widened(self.phases, group)) != group:
                group = wider
            found.append(group)
        return tuple(found)


def _widened(phases: dict[int, PhaseTimes], group: int) -> int:
    for phase in members(group):
        group |= phases[phase].concurrent
    return group

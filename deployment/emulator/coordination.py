"""Coordination: where in its cycle a pattern is, and what follows for each phase: hold, force-off, too late to start.

The local zero is the beginning of the coordinated phase's split. From there the splits follow each other in the order
of the sequence; each phase is forced off so that its yellow and red clearance end with its split. The coordinated
phase is held through its own split. A pattern that takes over dwells in the coordinated phase until it fits.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from deployment.emulator.commands import Effective
from deployment.emulator.rings import PED_CLEAR, Rings
from deployment.emulator.settings import TICKS_PER_S, Pattern, Settings, Split
from deployment.nema import oids


@dataclass
class Coordinator:
    """One pattern that runs."""

    settings: Settings
    number: int
    pattern: Pattern
    split: dict[int, Split] = field(default_factory=dict)
    starts: dict[int, int] = field(default_factory=dict)
    """Per phase, the beginning of its split after local zero [ticks]."""
    force_at: dict[int, int] = field(default_factory=dict)
    """Per green phase, the tick at which it is forced off."""

    def __post_init__(self) -> None:
        self.split = self.settings.splits[self.pattern.split]
        served = {p: row for p, row in self.split.items() if row.mode != oids.SPLIT_OMIT}
        at = 0
        for group in self._groups():
            longest = 0
            for order in self.settings.sequences[self.pattern.sequence]:
                start = at
                for phase in order:
                    if group >> phase - 1 & 1 and phase in served:
                        self.starts[phase] = start
                        start += served[phase].time_s * TICKS_PER_S
                longest = max(longest, start - at)
            at += longest
        first = min(self.starts[p] for p, row in served.items() if row.coordinated)
        self.starts = {p: (start - first) % self.cycle for p, start in self.starts.items()}

    def _groups(self) -> tuple[int, ...]:
        flat = [p for order in self.settings.sequences[self.pattern.sequence] for p in order]
        return tuple(
            sorted(self.settings.components(), key=lambda g: next(n for n, p in enumerate(flat) if g >> p - 1 & 1))
        )

    @property
    def cycle(self) -> int:
        """[ticks]"""
        return self.pattern.cycle_s * TICKS_PER_S

    def local(self, now: int) -> int:
        """Ticks since local zero; `now` counts from midnight."""
        return (now - self.pattern.offset_s * TICKS_PER_S) % self.cycle

    def force_point(self, phase: int) -> int:
        """Where in the cycle a phase's green ends at the latest."""
        return (self.starts[phase] + self._green_length(phase)) % self.cycle

    def apply(self, eff: Effective, rings: Rings, now: int) -> None:
        """Add what the pattern asks for at this tick; `now` counts from midnight."""
        local, greens = self.local(now), rings.greens()
        change = max(
            (t.yellow + t.red_clear for p, t in self.settings.phases.items() if greens >> p - 1 & 1), default=0
        )
        # a coordinated phase that rests in walk leaves it early enough for flashing don't walk to end with its green
        walks = rings.walking() | rings.walking(PED_CLEAR)
        leaving = max(
            (
                self.settings.phases[p].pedestrian_clear
                for p, row in self.split.items()
                if row.coordinated and walks >> p - 1 & 1
            ),
            default=0,
        )
        eff.no_maximum = True
        for phase, row in self.split.items():
            bit = 1 << phase - 1
            if row.mode == oids.SPLIT_OMIT:
                eff.omit |= bit
                continue
            if row.coordinated or row.mode in (
                oids.SPLIT_MIN_RECALL,
                oids.SPLIT_MAX_RECALL,
                oids.SPLIT_MAX_PED_RECALL,
            ):
                eff.call |= bit
            if row.mode in (oids.SPLIT_MAX_RECALL, oids.SPLIT_MAX_PED_RECALL):
                eff.max_recall |= bit
            if row.mode in (oids.SPLIT_PED_RECALL, oids.SPLIT_MAX_PED_RECALL):
                eff.ped_call |= bit
            left = (self.force_point(phase) - local) % self.cycle
            if not greens & bit:
                self.force_at.pop(phase, None)
                needed = self._least_green(phase, bool((rings.ped_calls | eff.ped_call) & bit)) + change
                if not row.coordinated and not needed <= left <= self._opens(phase) + leaving:
                    eff.late |= bit
                continue
            due = self.force_at.setdefault(phase, now + left)
            if row.coordinated and (local - self.starts[phase]) % self.cycle < self._green_length(phase) - leaving:
                eff.hold |= bit
            elif now >= due:
                eff.split_end |= bit

    def _opens(self, phase: int) -> int:
        """How long before its force-off a phase may be chosen at the earliest: when the coordinated phase ends."""
        coordinated = next(p for p, row in self.split.items() if row.coordinated)
        return (self.force_point(phase) - self.force_point(coordinated)) % self.cycle or self.cycle

    def _green_length(self, phase: int) -> int:
        times = self.settings.phases[phase]
        return self.split[phase].time_s * TICKS_PER_S - times.yellow - times.red_clear

    def _least_green(self, phase: int, pedestrian: bool) -> int:
        times = self.settings.phases[phase]
        return max(times.min_green, times.walk + times.pedestrian_clear if times.walk and pedestrian else 0)

"""The rings: which NEMA phases time green, walk, yellow and red clearance, and what comes next.

Phases of different rings may be on together if their concurrency says so; groups of them that it links lie between
two barriers, which all rings cross together. A tick is a tenth of a second: what is decided at tick n shows from
then on. A green ends only after its minimum, its walk and its pedestrian clearance, and what conflicts with it
begins only when its yellow and its red clearance are over, whatever is asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from deployment.emulator import events
from deployment.emulator.commands import Effective
from deployment.emulator.settings import OverlapTimes, Settings, mask, members

IDLE, GREEN, YELLOW, RED_CLEAR = range(4)
DONT_WALK, WALK, PED_CLEAR = range(3)
LONG_AGO = -(10**9)
Log = Callable[[int, int], None]
"""(code, parameter)"""


@dataclass(slots=True)
class Ring:
    """One ring: the phase that it times, and the one that it goes to."""

    order: tuple[int, ...]
    phase: int = 0
    """0: none, it rests in red."""
    shown: int = IDLE
    since: int = 0
    walk: int = DONT_WALK
    walk_since: int = 0
    extended: int = 0
    """When a vehicle last extended the green."""
    maximum_since: int = -1
    """Since when a conflicting call waits; -1: none does."""
    next: int = 0
    last: int = 0
    """The phase that it served last."""


@dataclass(slots=True)
class OverlapLamp:
    """What an overlap shows, since when."""

    shown: int = IDLE
    since: int = 0
    yellow: int = 0
    red_clear: int = 0
    """Those of the phase that it ends with."""
    ended: int = LONG_AGO
    """When its last yellow ended."""


@dataclass
class Rings:
    """All rings of a controller."""

    settings: Settings
    log: Log
    rings: list[Ring] = field(default_factory=list)
    overlaps: dict[int, OverlapLamp] = field(default_factory=dict)
    red_since: dict[int, int] = field(default_factory=dict)
    """When a phase's last red began; for red revert."""
    walk_ended: dict[int, int] = field(default_factory=dict)
    ped_calls: int = 0
    """Latched until the walk begins."""
    now: int = 0
    _fresh: bool = True
    """Whether the tick is a new one: a tick may be gone through again when a command has come."""

    def __post_init__(self) -> None:
        self.rings = [Ring(order) for order in self.settings.sequences[1]]
        self.overlaps = {number: OverlapLamp() for number in self.settings.overlaps}
        self.take(self.settings, 1)
        self.exist = mask(self.settings.phases)

    def take(self, settings: Settings, sequence: int) -> None:
        """Work with other tables from now on; what runs is timed by the new ones."""
        self.settings = settings
        self.components = settings.components()
        for ring, order in zip(self.rings, settings.sequences.get(sequence, settings.sequences[1]), strict=True):
            ring.order = order
        flat = [p for order in (ring.order for ring in self.rings) for p in order]
        self.components = tuple(
            sorted(self.components, key=lambda group: next(n for n, p in enumerate(flat) if group >> p - 1 & 1))
        )

    # what is on

    def greens(self) -> int:
        """Mask of the phases that show green."""
        return sum(1 << ring.phase - 1 for ring in self.rings if ring.shown == GREEN)

    def yellows(self) -> int:
        """Mask of the phases that show yellow."""
        return sum(1 << ring.phase - 1 for ring in self.rings if ring.shown == YELLOW)

    def on(self) -> int:
        """Mask of the phases that time green, yellow or red clearance."""
        return sum(1 << ring.phase - 1 for ring in self.rings if ring.phase)

    def nexts(self) -> int:
        """Mask of the phases that have been chosen to come next."""
        return sum(1 << ring.next - 1 for ring in self.rings if ring.next)

    def walking(self, shown: int = WALK) -> int:
        """Mask of the phases whose pedestrians see that."""
        return sum(1 << ring.phase - 1 for ring in self.rings if ring.phase and ring.walk == shown)

    def dark(self) -> bool:
        """Whether everything is red and cleared."""
        return not self.on() and all(lamp.shown == IDLE for lamp in self.overlaps.values())

    # a tick

    def time(self, now: int, eff: Effective, calls: int, extends: int) -> int:
        """Go to this tick: what runs goes on, and what is over ends.

        Args:
            calls: mask of the phases that vehicles call.
            extends: mask of the phases whose detectors are occupied.

        Returns:
            mask of the phases that wait for a green and may have one.
        """
        self._fresh, self.now = now != self.now, now
        walkable = sum(1 << n - 1 for n, p in self.settings.phases.items() if p.walk)
        latched = eff.ped_call & walkable & ~self.walking() & ~self.ped_calls
        if latched:
            self.ped_calls |= latched
            for phase in members(latched):
                self.log(events.PED_CALL, phase)
        waiting = (calls | eff.call | eff.max_recall | self.ped_calls & ~eff.ped_omit) & ~self.greens()
        waiting &= ~eff.omit & ~eff.late & self.exist
        for number, ring in enumerate(self.rings):
            if eff.stop_time >> number & 1 and self._fresh:
                self._stand_still(ring)
            self._expire(ring)
        self._expire_overlaps()
        for ring in self.rings:
            if ring.shown == GREEN:
                self._time_green(ring, eff, waiting, extends)
        return waiting

    def stop(self) -> None:
        """End every green that may end, and choose nothing to come."""
        for ring in self.rings:
            ring.next = 0
            if self._served(ring):
                self.end_green(ring, events.FORCE_OFF, 0)

    def start(self, eff: Effective) -> None:
        """What has been chosen begins, where nothing stands against it any more."""
        for ring in self.rings:
            if ring.phase or not ring.next or eff.all_stop:
                continue
            phase = ring.next
            if eff.omit >> phase - 1 & 1:
                ring.next = 0
            elif self._clear_for(phase, ring):
                self._begin(ring, phase, eff)
        self._show_overlaps()

    @staticmethod
    def _stand_still(ring: Ring) -> None:
        """Everything that the ring times began a tick later."""
        ring.since, ring.walk_since, ring.extended = ring.since + 1, ring.walk_since + 1, ring.extended + 1
        if ring.maximum_since >= 0:
            ring.maximum_since += 1

    def _expire(self, ring: Ring) -> None:
        """Yellow and red clearance run their full time."""
        if ring.shown == YELLOW:
            times = self.settings.phases[ring.phase]
            if self.now - ring.since >= times.yellow:
                ring.shown, ring.since = RED_CLEAR, self.now
                self.red_since[ring.phase] = self.now
                self.log(events.YELLOW_END, ring.phase)
                self.log(events.RED_CLEAR_BEGIN, ring.phase)
        if ring.shown == RED_CLEAR and self.now - ring.since >= self.settings.phases[ring.phase].red_clear:
            self.log(events.RED_CLEAR_END, ring.phase)
            self.log(events.PHASE_INACTIVE, ring.phase)
            ring.last, ring.phase, ring.shown = ring.phase, 0, IDLE

    def _time_green(self, ring: Ring, eff: Effective, waiting: int, extends: int) -> None:
        times, bit = self.settings.phases[ring.phase], 1 << ring.phase - 1
        if self._fresh and self.now - ring.since == times.min_green:
            self.log(events.MIN_COMPLETE, ring.phase)
        if extends & bit:
            ring.extended = self.now
        conflicting = waiting & ~times.concurrent & ~bit
        if not conflicting:
            ring.maximum_since = -1
        elif ring.maximum_since < 0:
            ring.maximum_since = ring.since if self.now - ring.since <= 1 else self.now
        held = bool(eff.hold & bit) and not eff.all_stop
        wanted = bool(eff.force_off & bit or conflicting) or eff.all_stop
        shown_for = self.now - ring.walk_since
        if ring.walk == WALK and shown_for >= times.walk and wanted and not held:
            self._walk(ring, PED_CLEAR)
        elif ring.walk == PED_CLEAR and shown_for >= times.pedestrian_clear:
            self._walk(ring, DONT_WALK)
        elif self.ped_calls & bit & ~eff.ped_omit and ring.walk == DONT_WALK and (held or not wanted):
            self._walk_late(ring)
        if ring.walk == PED_CLEAR and times.pedestrian_clear == 0:
            self._walk(ring, DONT_WALK)

    def _walk_late(self, ring: Ring) -> None:
        """In the middle of a green: a call has come, and nobody else waits."""
        if self._separated(ring.phase):
            self._walk(ring, WALK)

    def _walk(self, ring: Ring, shown: int) -> None:
        ring.walk, ring.walk_since = shown, self.now
        if shown == PED_CLEAR:
            self.walk_ended[ring.phase] = self.now
        if shown == WALK:
            self.ped_calls &= ~(1 << ring.phase - 1)
        codes = {WALK: events.WALK_BEGIN, PED_CLEAR: events.PED_CLEAR_BEGIN, DONT_WALK: events.DONT_WALK_BEGIN}
        self.log(codes[shown], ring.phase)

    def _served(self, ring: Ring) -> bool:
        """Whether minimum green, walk and pedestrian clearance are over."""
        return (
            ring.shown == GREEN
            and ring.walk == DONT_WALK
            and self.now - ring.since >= self.settings.phases[ring.phase].min_green
        )

    def reason(self, ring: Ring, eff: Effective) -> int:
        """Why the green may end now, as an event code; 0 if it may not."""
        times, bit = self.settings.phases[ring.phase], 1 << ring.phase - 1
        if not self._served(ring) or eff.hold & bit:
            return 0
        if (eff.force_off | eff.split_end) & bit:
            return events.FORCE_OFF
        waited = self.now - ring.maximum_since if ring.maximum_since >= 0 else 0
        if not eff.no_maximum and ring.maximum_since >= 0 and waited >= times.maximum:
            return events.MAX_OUT
        if not eff.max_recall & bit and self.now - ring.extended >= times.passage:
            return events.GAP_OUT
        return 0

    def fits(self, phase: int, others: int) -> bool:
        """Whether a phase may be on with these."""
        return not others & ~self.settings.phases[phase].concurrent

    def end_green(self, ring: Ring, reason: int, following: int) -> None:
        ring.shown, ring.since, ring.next = YELLOW, self.now, following
        for code in (reason, events.GREEN_END, events.YELLOW_BEGIN):
            self.log(code, ring.phase)

    def _clear_for(self, phase: int, ring: Ring) -> bool:
        """Whether nothing conflicting is on, red revert is over, and no overlap stands against it."""
        on = sum(1 << r.phase - 1 for r in self.rings if r.phase and r is not ring)
        reverted = self.now - self.red_since.get(phase, LONG_AGO) >= self.settings.phases[phase].red_revert
        return self.fits(phase, on) and reverted and self._separated(phase) and not any(
            (times.rivals >> phase - 1 & 1 and self.overlaps[n].shown != IDLE)
            or (times.included >> phase - 1 & 1 and self.overlaps[n].shown in (YELLOW, RED_CLEAR))
            for n, times in self.settings.overlaps.items()
        )  # fmt: skip

    def _separated(self, phase: int) -> bool:
        """Whether it starts into the tail of nothing that it may be on with."""
        for row in self.settings.separations.get(phase, ()):
            if row.kind == "overlap":
                lamp = self.overlaps[row.number]
                shown, ended = lamp.shown, lamp.ended
            else:
                ring = next((r for r in self.rings if r.phase == row.number), None)
                shown = ring.shown if ring else IDLE
                ended = self.red_since.get(row.number, LONG_AGO)
                if row.kind == "walk":
                    walking = ring is not None and ring.walk == WALK
                    shown, ended = GREEN if walking else IDLE, self.walk_ended.get(row.number, LONG_AGO)
            if shown == YELLOW or (shown != GREEN and self.now - ended < row.ticks):
                return False
        return True

    def _begin(self, ring: Ring, phase: int, eff: Effective) -> None:
        ring.phase, ring.next, ring.shown = phase, 0, GREEN
        ring.since = ring.extended = self.now
        ring.maximum_since, ring.walk, ring.walk_since = -1, DONT_WALK, self.now
        self.log(events.PHASE_ON, phase)
        self.log(events.GREEN_BEGIN, phase)
        if self.ped_calls & ~eff.ped_omit & 1 << phase - 1:
            self._walk(ring, WALK)

    def _expire_overlaps(self) -> None:
        for number, lamp in self.overlaps.items():
            if lamp.shown == YELLOW and self.now - lamp.since >= lamp.yellow:
                lamp.shown, lamp.since, lamp.ended = RED_CLEAR, self.now, self.now
                self.log(events.OVERLAP_RED_CLEAR, number)
            if lamp.shown == RED_CLEAR and self.now - lamp.since >= lamp.red_clear:
                lamp.shown, lamp.since = IDLE, self.now
                self.log(events.OVERLAP_OFF, number)

    def _show_overlaps(self) -> None:
        for number, times in self.settings.overlaps.items():
            lamp = self.overlaps[number]
            if lamp.shown == GREEN and not self._overlap_lit(times):
                lamp.shown, lamp.since = YELLOW, self.now
                lamp.yellow, lamp.red_clear = self._ending(times)
                self.log(events.OVERLAP_YELLOW, number)
            elif lamp.shown == IDLE and self.greens() & times.included:
                lamp.shown, lamp.since = GREEN, self.now
                self.log(events.OVERLAP_GREEN, number)

    def _overlap_lit(self, times: OverlapTimes) -> bool:
        """Green with any of its phases, and on the way from one of them to another."""
        if self.greens() & times.included:
            return True
        ending = any(times.included << 1 >> (ring.phase or ring.last) & 1 for ring in self.rings)
        return ending and bool(self.nexts() & times.included)

    def _ending(self, times: OverlapTimes) -> tuple[int, int]:
        """Yellow and red clearance of the phases that an overlap ends with; each is long enough for its links."""
        now = [r.phase for r in self.rings if r.shown == YELLOW and times.included >> r.phase - 1 & 1]
        own = now or [n for r in self.rings if times.included << 1 >> (n := r.phase or r.last) & 1]
        phases = [self.settings.phases[n] for n in own or members(times.included)]
        return max(p.yellow for p in phases), max(p.red_clear for p in phases)

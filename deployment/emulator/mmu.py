"""The conflict monitor (MMU): a device of its own beside the controller. It knows its programme card and sees the
lamps, nothing else; what it finds latches, and the intersection flashes until someone resets it.

What a monitor checks, and no more (NEMA TS 2): conflicting indications, a channel that shows nothing, yellows that
are missing or shorter than 2.7 s, and less than 2.7 s from the end of a green to a conflicting one.
"""

from __future__ import annotations

from dataclasses import dataclass

from signals.intersection import Intersection
from signals.phases import is_green

LEAST_YELLOW, LEAST_CHANGE = 27, 27
"""[0.1 s] NEMA TS 2 asks for 2.7 s, plus or minus 0.1 s."""
CONFLICT_AFTER, RED_FAIL_AFTER = 4, 10
"""[0.1 s] A conflict has to last for 0.35 to 0.5 s, a dark channel for 0.7 to 1 s, before it counts."""
ACTIVE, KNOWN = "Ggy", "Ggyr"
FLASHING = "o"


@dataclass(frozen=True, slots=True)
class Fault:
    """What the monitor found, and when."""

    tick: int
    kind: str
    channels: tuple[int, ...]
    message: str


@dataclass(frozen=True)
class Card:
    """The programme card: which channels may be active together, and which have no yellow."""

    permitted: tuple[frozenset[int], ...]
    """Per channel, those that may be active with it."""
    walks: frozenset[int]
    unused: frozenset[int]

    @staticmethod
    def of(item: Intersection) -> Card:
        """From the network's conflicts: those that never meet, and those that are green together by design, of which
        one gives way."""
        table, size = item.table, len(item.table.links)
        together = [
            {j for p in item.phases if is_green(p.state[i]) for j in range(size) if is_green(p.state[j])}
            for i in range(size)
        ]
        permitted = tuple(
            frozenset(j for j in range(size) if i == j or not table.conflicts[i, j] or j in together[i])
            for i in range(size)
        )
        walks = frozenset(link.index for link in table.links if link.pedestrian)
        return Card(permitted, walks, frozenset(link.index for link in table.links if not link.used))


class Monitor:
    """Watches the lamps, tick by tick."""

    def __init__(self, card: Card) -> None:
        self.card = card
        self.fault: Fault | None = None
        self.found: list[Fault] = []
        """Everything since it was installed; a reset does not forget."""
        self.reset()

    def reset(self) -> None:
        """Let go of a latched fault, and watch from anew."""
        size = len(self.card.permitted)
        self.fault = None
        self._before = ""
        self._yellow_since = [-1] * size
        self._ended = [-(10**9)] * size
        self._dark_for = [0] * size
        self._conflict_for: dict[tuple[int, int], int] = {}

    def watch(self, tick: int, lamps: str) -> Fault | None:
        """See the lamps of this tick. Returns the fault that is latched, if there is one."""
        if self.fault is None:
            if lamps == self._before and not self._conflict_for and not any(self._dark_for):
                return None
            fault = self._judge(tick, lamps)
            self._before = lamps
            if fault is not None:
                self.fault = fault
                self.found.append(fault)
        return self.fault

    def _judge(self, tick: int, lamps: str) -> Fault | None:
        if len(lamps) != len(self.card.permitted):
            return Fault(tick, "red_fail", (), f"{len(lamps)} channels, the card has {len(self.card.permitted)}")
        if set(lamps) == {FLASHING}:
            self._yellow_since = [-1] * len(lamps)
            return None  # the controller's flash: the monitor stands by
        before = self._before if set(self._before) - {FLASHING} else "r" * len(lamps)
        return (
            self._dark(tick, lamps)
            or self._conflicts(tick, lamps)
            or self._yellows(tick, before, lamps)
            or self._clearances(tick, before, lamps)
        )

    def _dark(self, tick: int, lamps: str) -> Fault | None:
        for channel, shown in enumerate(lamps):
            self._dark_for[channel] = self._dark_for[channel] + 1 if shown not in KNOWN else 0
            if self._dark_for[channel] >= RED_FAIL_AFTER and channel not in self.card.unused:
                return Fault(tick, "red_fail", (channel,), f"channel {channel} shows no indication ({shown!r})")
        return None

    def _conflicts(self, tick: int, lamps: str) -> Fault | None:
        active = [channel for channel, shown in enumerate(lamps) if shown in ACTIVE]
        pairs = {(i, j) for n, i in enumerate(active) for j in active[n + 1 :] if j not in self.card.permitted[i]}
        self._conflict_for = {pair: self._conflict_for.get(pair, 0) + 1 for pair in pairs}
        for pair, lasted in sorted(self._conflict_for.items()):
            if lasted >= CONFLICT_AFTER:
                i, j = pair
                return Fault(tick, "conflict", pair, f"channels {i} ({lamps[i]}) and {j} ({lamps[j]}) conflict")
        return None

    def _yellows(self, tick: int, before: str, lamps: str) -> Fault | None:
        for channel, (old, new) in enumerate(zip(before, lamps, strict=True)):
            if old == new or channel in self.card.walks:
                continue
            if new == "y":
                self._yellow_since[channel] = tick
            elif old in "Gg" and new == "r":
                return Fault(
                    tick, "no_yellow", (channel,), f"channel {channel} goes from green to red without yellow"
                )
            elif old == "y" and self._yellow_since[channel] >= 0:
                lasted = tick - self._yellow_since[channel]
                if lasted < LEAST_YELLOW:
                    text = f"channel {channel} showed yellow for {lasted / 10:g} s, not 2.7 s"
                    return Fault(tick, "short_yellow", (channel,), text)
        return None

    def _clearances(self, tick: int, before: str, lamps: str) -> Fault | None:
        """From the end of a green (or walk) to the beginning of a conflicting one."""
        for channel, (old, new) in enumerate(zip(before, lamps, strict=True)):
            if old in "Gg" and new not in "Gg":
                self._ended[channel] = tick
        for channel, (old, new) in enumerate(zip(before, lamps, strict=True)):
            if new in "Gg" and old not in "Gg":
                for other, ended in enumerate(self._ended):
                    if other not in self.card.permitted[channel] and tick - ended < LEAST_CHANGE:
                        text = (
                            f"channel {channel} turns green {(tick - ended) / 10:g} s after conflicting {other} ended"
                        )
                        return Fault(tick, "short_clearance", (other, channel), text)
        return None

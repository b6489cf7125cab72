"""The change interval between any two phases: what is shown from the end of one green to the next.

Each link that loses its green shows its own yellow, then red until everything that it conflicts with may go.
Crossings end first and are cleared while vehicles of the old phase may still have green, as in the field.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field

from signals.clearance import pedestrian_clearance_s, red_clearance_s, yellow_change_s
from signals.links import LinkTable, conflict_distance_m
from signals.network import Program
from signals.own_times import own_clearances_s, own_yellow_s
from signals.phases import Phase, is_green
from signals.timing import Timing


@dataclass(frozen=True, slots=True)
class Interval:
    """An unchanging display within a change."""

    duration_s: float
    state: str


@dataclass
class ChangeTimes:
    """Yellow and red clearance per link of one signal, calculated once and looked up for every pair."""

    table: LinkTable
    program: Program
    timing: Timing
    _clearances: dict[tuple[int, int], float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._own_clearance_s = own_clearances_s(self.program, self.table, self.timing)
        self._yellow = [self._yellow_of(link.index) for link in self.table.links]

    def _yellow_of(self, index: int) -> float:
        link = self.table.links[index]
        if not link.used or link.pedestrian:
            return 0.0
        least = self.timing.yellow_change_s
        if self.timing.change_interval == "fixed":
            return least
        return max(least, yellow_change_s(link.yellow_speed_mps), own_yellow_s(self.program, index))

    def yellow_s(self, link: int) -> float:
        """Yellow change of a vehicle link; 0 for a crossing, which has none [s]."""
        return self._yellow[link]

    def clearance_s(self, ending: int, starting: int) -> float:
        """From the end of one link's yellow (a crossing's walk) to the start of a foe's green [s]."""
        if not self.table.conflicts[ending, starting]:
            return 0.0
        pair = (ending, starting)
        if pair not in self._clearances:
            link, timing = self.table.links[ending], self.timing
            own = max(timing.red_clearance_s, float(self._own_clearance_s[ending, starting]))
            walk = pedestrian_clearance_s(link.crossing_m, timing.walking_speed_mps)  # 0 without a walk
            if link.pedestrian:
                needed = 0.0
            elif timing.change_interval == "fixed":
                needed, own = timing.red_clearance_s, own if walk else 0.0
            else:
                needed = red_clearance_s(
                    conflict_distance_m(link, self.table.links[starting]),
                    link.speed_mps,
                    vehicle_length_m=max(timing.vehicle_length_m, link.rail_length_m),
                )
            self._clearances[pair] = max(walk, needed, own)
        return self._clearances[pair]


def change_intervals(old: Phase, new: Phase, times: ChangeTimes) -> tuple[Interval, ...]:
    """The displays between two phases, in order; empty where no link has to end first."""
    table, step = times.table, times.timing.sim_step_s
    pairs = list(zip(old.state, new.state, strict=True))
    starting = [i for i, (a, b) in enumerate(pairs) if is_green(b) and not is_green(a)]
    ending = [i for i, (a, b) in enumerate(pairs) if is_green(a) and not is_green(b)]
    # a link that gains priority begins, too: its drivers yield to none from then on
    raised = [i for i, (a, b) in enumerate(pairs) if a in "go" and b in "GO"]
    # a link that keeps its green but loses its priority to a foe that begins has to be ended first, too
    ending += [
        i
        for i, (a, b) in enumerate(pairs)
        if a in "GO" and b in "go" and any(table.conflicts[i, j] for j in (*starting, *raised))
    ]
    if not ending:
        return ()
    restarted = set(ending)
    begins = starting + raised + [i for i in ending if is_green(new.state[i])]
    yellow = {i: math.ceil(times.yellow_s(i) / step - 1e-9) for i in ending}
    lead = {}  # [steps] per ending link, from the end of its green to the start of the new phase
    for i in ending:
        clear = max((times.clearance_s(i, j) for j in begins if j != i), default=0.0)
        lead[i] = yellow[i] + math.ceil(clear / step - 1e-9)
    vehicles = [i for i in ending if not table.links[i].pedestrian and table.links[i].used]
    total = max(lead.values())
    # vehicles end together, as late as the longest of their changes allows; crossings at once
    begun = {i: total - max(lead[j] for j in vehicles) if i in vehicles else 0 for i in ending}
    cuts = sorted({0, total, *begun.values(), *(begun[i] + yellow[i] for i in ending)})
    shown: list[Interval] = []
    for at, until in itertools.pairwise(cuts):
        characters = []
        for i, (a, b) in enumerate(pairs):
            if i in restarted:
                characters.append(a if at < begun[i] else "y" if at < begun[i] + yellow[i] else "r")
            elif is_green(a) and is_green(b):
                characters.append(a if a in "go" else b)  # yields until the new phase stands
            elif a == "s" and b == "s":
                characters.append("s")
            else:
                characters.append("r")
        state = "".join(characters)
        if shown and shown[-1].state == state:
            shown[-1] = Interval(shown[-1].duration_s + (until - at) * step, state)
        else:
            shown.append(Interval((until - at) * step, state))
    return tuple(shown)


def settling_s(old: Phase, new: Phase, later: Phase, shown: tuple[Interval, ...], times: ChangeTimes) -> float:
    """How long after `new` has begun a phase `later` may begin at the earliest, because of what `old` let go [s].

    A change clears the foes of what begins with it. What ended then, but meets nobody before a later phase, may
    still need its time when that one begins: a long crossing, say, that a short phase in between does not touch.
    """
    table, needed = times.table, 0.0
    begins = [
        j
        for j, (b, c) in enumerate(zip(new.state, later.state, strict=True))
        if is_green(c) and (not is_green(b) or (b in "go" and c in "GO"))
    ]
    for i, (a, b) in enumerate(zip(old.state, new.state, strict=True)):
        lowered = a in "GO" and b in "go"  # keeps its green, but vehicles that entered with priority have to get out
        if not is_green(a) or (is_green(b) and not lowered):
            continue
        clear = max((times.clearance_s(i, j) for j in begins if j != i and table.conflicts[i, j]), default=None)
        if clear is None:
            continue
        if lowered:
            clear += times.yellow_s(i)
        for interval in reversed(shown):  # the part of it that this change has covered already
            if not lowered and interval.state[i] != "r":
                break
            clear -= interval.duration_s
        needed = max(needed, clear)
    return needed

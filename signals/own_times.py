"""The change times that a network's own program keeps: they stand where they are longer than the calculated ones.

A link's *own yellow* is the longest that the program shows it. The *own clearance* of a pair, a link that ends and a
foe that starts, is the longest time from the end of the one's yellow (of its green, where no yellow follows) to the
beginning of the other's green or of its priority, over all changes in which the program goes from one to the other.

A change is over when what has begun stands for a least green, or has ended again: a foe that begins after a whole
other phase began in another change. Nor is it a change of this link's where others of the old greens go on for a
least green and end then: that is a phase of theirs. Greens that go on beyond the change, as a free right turn's, are
no phase, however long they last alone. Crossings end before the vehicles beside them, so that these may go on for as
long as slow walkers need.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from signals.links import LinkTable
from signals.network import Program, ProgramRow
from signals.phases import is_green
from signals.timing import Timing

SLOW_WALK_MPS = 0.63
"""Where vehicles go on beside a crossing for longer than the slowest walkers need, its walk was cut short: that is no
clearance. This is the speed with a walking frame, 2.07 ft/s (FHWA, Designing Sidewalks and Trails for Access, part 1,
table 4-1)."""


def own_yellow_s(program: Program, link: int) -> float:
    """The longest yellow that the program itself gives a link, over consecutive rows [s]."""
    rows, longest = program.rows, 0.0
    for first in range(len(rows)):
        ahead, seen = [(first, 0.0)], set()
        while ahead:
            number, run = ahead.pop()
            if number in seen or rows[number].state[link] != "y":
                continue
            seen.add(number)
            run += rows[number].duration_s
            longest = max(longest, run)
            ahead += [(following, run) for following in program.following(number)]
    return longest


def own_clearances_s(program: Program, table: LinkTable, timing: Timing) -> npt.NDArray[np.float64]:
    """[n, n] per link that ends and foe that starts, the clearance that the program itself keeps [s].

    A pair that no change of the program shows has the longest of its first link's to any foe; where there is none,
    the longest time until anything begins. It is 0 where links do not conflict.
    """
    size = len(table.links)
    shown = np.full((size, size), np.nan)
    rest = np.zeros(size)
    walks = frozenset(link.index for link in table.links if link.pedestrian)
    rows = [_Row.of(row, walks) for row in program.rows]
    successors = [program.following(number) for number in range(len(rows))]
    for link in table.links:
        if not link.used or not table.conflicts[link.index].any():
            continue
        longest_tail_s = link.crossing_m / SLOW_WALK_MPS if link.pedestrian else 0.0
        until_any_s = 0.0
        yielding = table.yields[:, link.index]
        for greens, priority, clear_s, tail_s in _begins(rows, successors, link.index, timing.min_green_s):
            if tail_s >= timing.min_green_s and tail_s > longest_tail_s:
                continue
            until_any_s = max(until_any_s, clear_s)
            # who had the right of way while both were green begins nothing against this link
            begun = greens | {j for j in priority if yielding[j]}
            foes = [j for j in begun if table.conflicts[link.index, j]]
            shown[link.index, foes] = np.fmax(shown[link.index, foes], clear_s)
        known = shown[link.index][~np.isnan(shown[link.index])]
        rest[link.index] = known.max() if known.size else until_any_s
    return np.where(table.conflicts, np.where(np.isnan(shown), rest[:, None], shown), 0.0)


@dataclass(frozen=True, slots=True)
class _Row:
    state: str
    duration_s: float
    greens: frozenset[int]
    priority: frozenset[int]

    @classmethod
    def of(cls, row: ProgramRow, walks: frozenset[int]) -> _Row:
        """A walk's yellow, which is not shown here, is part of its clearance."""
        state = "".join("r" if c == "y" and i in walks else c for i, c in enumerate(row.state))
        greens = frozenset(i for i, c in enumerate(state) if is_green(c))
        return cls(state, row.duration_s, greens, frozenset(i for i in greens if state[i] in "GO"))


def _begins(
    rows: list[_Row], successors: list[tuple[int, ...]], link: int, least_green_s: float
) -> Iterator[tuple[frozenset[int], frozenset[int], float, float]]:
    """What begins after each end of a link, within the same change.

    Yields:
        The links whose green begins together, those whose priority does, the time since the end [s], and for how much
        of it others of the old greens went on that are over by now [s].
    """
    for last, first in ((n, m) for n in range(len(rows)) for m in successors[n] if _ends(rows, link, n, m)):
        ahead: list[tuple[int, tuple[int, ...], frozenset[int], float]] = [(first, (last,), frozenset(), 0.0)]
        seen = set()
        while ahead:
            number, path, begun, stood_s = ahead.pop()
            row, before = rows[number], rows[path[-1]]
            if number in seen or link in row.greens or begun - row.greens:
                continue
            seen.add(number)
            greens, priority = row.greens - before.greens, (row.priority & before.greens) - before.priority
            if greens or priority:
                between = [rows[n] for n in path[1:]]
                clear_s = sum(r.duration_s for r in between)
                yield greens, priority, clear_s, sum(r.duration_s for r in between if r.greens - row.greens)
            begun |= greens | priority
            stood_s += row.duration_s if begun else 0.0
            if stood_s < least_green_s:
                ahead += [(following, (*path, number), begun, stood_s) for following in successors[number]]


def _ends(rows: list[_Row], link: int, number: int, following: int) -> bool:
    """Whether a link's yellow, or its green without one, is over at the end of a row."""
    now, then = rows[number].state[link], rows[following].state[link]
    return then != "y" and not is_green(then) and (now == "y" or is_green(now))

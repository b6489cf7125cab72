"""The order in which a program shows its rows, where `next` says another than that of the file.

Of several rows in `next`, SUMO's `actuated` type chooses by its detectors, `static` always takes the first, and
`delay_based` does not look at `next` (SUMO 1.28, by trying). So a program that loses its detectors needs one cycle in
which each of its greens has its turn: else the first row may follow itself for ever.
"""

from __future__ import annotations

import dataclasses
import heapq
from collections.abc import Collection, Sequence

from signals.network import Program
from signals.phases import is_green

_AGAIN = 1000
"""Cost of a row with a green that the cycle has already, in rows: one green should have one place."""


def in_one_cycle(program: Program) -> Program:
    """The program with its rows in the order of one cycle, each followed by the one behind it.

    The cycle goes along `next` alone, so no row follows another one than it may. It holds every green that SUMO can
    come to again and again; rows that only lead in are left out. A row stands in it twice where there is no other
    way.
    """
    if not any(row.next for row in program.rows):
        return program
    order = range(len(program.rows)) if program.type == "delay_based" else _cycle(program)
    return dataclasses.replace(
        program, rows=tuple(dataclasses.replace(program.rows[number], next=()) for number in order)
    )


def _cycle(program: Program) -> list[int]:
    followers = [program.following(number) for number in range(len(program.rows))]
    within_reach = {number: _reach(followers, number) for number in sorted(_reach(followers, 0) | {0})}
    first = next(n for n, ahead in within_reach.items() if all(n in within_reach[m] for m in ahead))
    wanted = _greens(program, within_reach[first])
    cycle, seen = [first], {first}
    while missing := wanted - seen:
        path = _path(followers, cycle[-1], missing, wanted & seen)
        cycle += path
        seen.update(path)
    return cycle + _path(followers, cycle[-1], {first}, wanted & seen)[:-1]


def _reach(followers: Sequence[Sequence[int]], start: int) -> set[int]:
    """The rows that may come after this one, sooner or later."""
    found: set[int] = set()
    ahead = list(followers[start])
    while ahead:
        number = ahead.pop()
        if number not in found:
            found.add(number)
            ahead += followers[number]
    return found


def _greens(program: Program, numbers: Collection[int]) -> set[int]:
    """Of these rows, those with a green and no yellow, and those that alone serve some link."""
    states = {number: program.rows[number].state for number in sorted(numbers)}
    plain = {n for n, state in states.items() if any(map(is_green, state)) and not set(state) & set("yu")}
    served = {link for n in plain for link, c in enumerate(states[n]) if is_green(c)}
    return plain | {n for n, s in states.items() if any(is_green(c) for i, c in enumerate(s) if i not in served)}


def _path(
    followers: Sequence[Sequence[int]], start: int, goals: Collection[int], avoided: Collection[int]
) -> list[int]:
    """The cheapest way from a row to any of others, which is there; without the row that it begins at."""
    ahead: list[tuple[int, list[int]]] = [(0, [start])]
    done: set[int] = set()
    while True:
        cost, path = heapq.heappop(ahead)
        if len(path) > 1 and path[-1] in goals:
            return path[1:]
        if path[-1] not in done:
            done.add(path[-1])
            for number in followers[path[-1]]:
                heapq.heappush(ahead, (cost + (_AGAIN if number in avoided else 1), [*path, number]))

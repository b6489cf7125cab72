"""From the rows of a signal program to its legal green phases.

A program in a network file is raw material: it holds all-red rows, rows that repeat, rows that only end some
movements, and rows in which two foes both have priority. What comes out can be shown safely, and every link that
the program serves is served.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from signals.links import LinkTable
from signals.network import Program, ProgramRow
from signals.phases import LIT, RANK, Phase, PhaseSet, is_green, within
from signals.safe_states import incompatible_pairs, never_safe, safe_parts, why_apart
from signals.timing import Timing

CHANGING = frozenset("yu")
TO_RED = str.maketrans("yu", "rr")


@dataclass(frozen=True, slots=True)
class _Green:
    """A state that is shown, and what the program says of it."""

    state: str
    row: int
    """The row that it comes from, or the first of several."""
    name: str
    duration_s: float
    least_s: float
    most_s: float


@dataclass(frozen=True, slots=True)
class _Run:
    """Consecutive rows that come to the same states, as one green."""

    green: _Green
    """As the program has it, its dark signals lit: not safe yet."""
    parts: tuple[str, ...]
    """What shows it safely, the weightiest first."""


def green_phases(program: Program, table: LinkTable, timing: Timing) -> PhaseSet:
    """The phases that an agent may choose from, in the program's order.

    Consecutive rows that come to the same state are one green: its duration and bounds are those of the whole. Of a
    row that has to be taken apart the weightiest part is shown, and each other part that serves a link which nothing
    else does. A link that is green only while others end is shown by its longest such row, with those red.
    """
    notes: list[str] = []
    served, never = _served_ranks(program, table), never_safe(table)
    missing = {i: rank for i, rank in served.items() if i not in never}
    kept: list[_Green] = []

    def keep(run: _Run, parts: Iterable[str], *, all_of_them: bool = False) -> None:
        for part in parts:
            new = [i for i, rank in missing.items() if RANK[part[i]] >= rank]
            if new or all_of_them:
                kept.append(dataclasses.replace(run.green, state=part))
            for i in new:
                del missing[i]

    steady = _runs(program, table, timing, _steady, notes)
    for run in steady:
        keep(run, run.parts[:1], all_of_them=True)
    for run in steady:
        keep(run, run.parts)
    if missing:
        ending = _runs(program, table, timing, _while_others_end, notes)
        for run in sorted(ending, key=lambda run: -run.green.duration_s):
            keep(run, run.parts)
    for number, row in enumerate(program.rows):  # a turn on red that no state has room for gets a green
        wanted = {i for i in missing if row.state[i] == "s"}
        if wanted:
            state = "".join("g" if i in wanted else c for i, c in enumerate(_lets_go(row.state)))
            run = _run(program, [number], state, safe_parts(state, table), timing)
            keep(run, run.parts)
    phases = _phases(_each_once(kept, table, notes), table, timing, notes)
    return PhaseSet(phases, tuple(notes), tuple(i for i in served if i in never or i in missing))


def _served_ranks(program: Program, table: LinkTable) -> dict[int, int]:
    """What the program gives each link that it serves, as a `RANK`: a green, or leave to go after a stop.

    Rows in which the whole signal is dark or blinks do not count.
    """
    rows = [_lets_go(row.state) for row in program.rows if not _dark(row.state, table)]
    best = {i: max((RANK[state[i]] for state in rows), default=0) for i in _used(table)}
    return {i: min(rank, 2) for i, rank in best.items() if rank > 0}


def _used(table: LinkTable) -> list[int]:
    return [link.index for link in table.links if link.used]


def _dark(state: str, table: LinkTable) -> bool:
    """Whether every lamp that counts is switched off or blinks."""
    return all(state[i] in "oO" for i in _used(table))


def _seen(state: str, table: LinkTable) -> str:
    """The state without the lamps that control nothing, unless no others are green."""
    seen = "".join(c if link.used else "r" for c, link in zip(state, table.links, strict=True))
    return seen if any(map(is_green, seen)) else state


def _lets_go(state: str) -> str:
    """The state with its dark signals lit, and what ends or begins red."""
    return state.translate(LIT).translate(TO_RED)


def _steady(state: str) -> str | None:
    """What a row shows in which nothing ends or begins; None for another."""
    return None if CHANGING & set(state) else _lets_go(state)


def _while_others_end(state: str) -> str | None:
    """What a row lets go on in which something ends or begins; None for another."""
    return _lets_go(state) if CHANGING & set(state) else None


def _runs(
    program: Program, table: LinkTable, timing: Timing, shown: Callable[[str], str | None], notes: list[str]
) -> list[_Run]:
    """The rows with greens. Those that follow each other alone and come to the same are one, also over the cycle's
    end."""
    states: list[str] = []
    for number, row in enumerate(program.rows):
        state = shown(row.state) or ""
        if not any(map(is_green, state)):
            state = ""
        elif _dark(row.state, table):
            notes.append(f"row {number} {row.state} is dark or blinking: no phase")
            state = ""
        states.append(state)
    parts = {state: safe_parts(state, table) if state else () for state in dict.fromkeys(states)}
    keys = [tuple(_seen(part, table) for part in parts[state]) for state in states]
    begins = [keys[n] != keys[n - 1] or program.following((n - 1) % len(keys)) != (n,) for n in range(len(keys))]
    first = begins.index(True) if True in begins else 0
    alike: list[list[int]] = []
    for n in (*range(first, len(keys)), *range(first)):
        if begins[n] or not alike:
            alike.append([])
        alike[-1].append(n)
    runs = []
    for numbers in alike:
        if not keys[numbers[0]]:
            continue
        state = states[min(numbers)]
        run = _run(program, numbers, state, parts[state], timing)
        runs.append(run)
        if shown is _steady:
            notes += _what_changed(program.rows[run.green.row].state, run, table)
            if len(numbers) > 1:
                told = ", ".join(str(n) for n in numbers)
                notes.append(f"rows {told} let the same go: one green of {run.green.duration_s:g} s")
    return sorted(runs, key=lambda run: run.green.row)


def _run(program: Program, numbers: Sequence[int], state: str, parts: tuple[str, ...], timing: Timing) -> _Run:
    rows = [program.rows[n] for n in numbers]
    least_s, most_s = _bounds(rows, timing)
    name = next((row.name for row in rows if row.name), "")
    duration_s = sum(row.duration_s for row in rows)
    return _Run(_Green(state, min(numbers), name, duration_s, least_s, most_s), parts)


def _bounds(rows: Sequence[ProgramRow], timing: Timing) -> tuple[float, float]:
    """The least and the greatest green of rows that follow each other [s], as far as they say.

    Where some of several have bounds, the others' maxDur is SUMO's default: the duration where minDur is not given,
    else none.
    """
    lone = len(rows) == 1 or all(row.min_duration_s is None and row.max_duration_s is None for row in rows)
    least = most = 0.0
    for row in rows:
        fixed_s = row.duration_s if row.min_duration_s is None else None
        least += row.min_duration_s or 0.0
        if row.max_duration_s is not None:
            most += row.max_duration_s
        elif lone or fixed_s is None:
            most = math.inf
        else:
            most += fixed_s
    return least, most if most < math.inf else timing.max_green_s


def _what_changed(own: str, run: _Run, table: LinkTable) -> list[str]:
    """Why a row is not shown as it is, a line or none."""
    number, lit, parts = run.green.row, run.green.state, run.parts
    if parts == (own,):
        return []
    if len(parts) > 1:
        pairs = "; ".join(why_apart(table, i, j) for i, j in incompatible_pairs(lit, table)[:3])
        return [f"row {number} {own} is taken apart into {' and '.join(parts)}: {pairs}"]
    why = "with its dark signals lit" if parts[0] == lit else "so that of two foes one gives way"
    return [f"row {number} {own} is shown as {parts[0]}, {why}"]


def _each_once(kept: Iterable[_Green], table: LinkTable, notes: list[str]) -> list[_Green]:
    """Each state once, in the program's order.

    One that the program shows at two times of its cycle may be as short as the shorter of both and as long as the
    longer; its duration is their sum, so that it keeps its share of the cycle.
    """
    found: dict[str, _Green] = {}
    for one in sorted(kept, key=lambda one: one.row):  # stable: a row's parts keep their order
        key = _seen(one.state, table)
        if key not in found:
            found[key] = one
            continue
        known = found[key]
        notes.append(f"row {one.row} {one.state} repeats row {known.row}")
        found[key] = dataclasses.replace(
            known,
            duration_s=known.duration_s + one.duration_s,
            least_s=min(known.least_s, one.least_s),
            most_s=max(known.most_s, one.most_s),
        )
    return list(found.values())


def _phases(kept: Sequence[_Green], table: LinkTable, timing: Timing, notes: list[str]) -> tuple[Phase, ...]:
    phases: list[Phase] = []
    for one in kept:
        if any(within(_seen(one.state, table), _seen(other.state, table)) for other in kept if other is not one):
            notes.append(f"row {one.row} {one.state} only ends movements of another row: no phase of its own")
            continue
        greens = [link for c, link in zip(one.state, table.links, strict=True) if is_green(c)]
        walk = any(link.crossing_m > 0 for link in greens)
        least_s = max(timing.min_green_s, one.least_s, timing.walk_s if walk else 0.0)
        name = one.name or _name(one.state, table)
        bounds = least_s, max(one.most_s, least_s)
        phases.append(Phase(len(phases), name, one.state, *bounds, one.duration_s, walk))
    return tuple(phases)


def _name(state: str, table: LinkTable) -> str:
    """Directions and turns: "north straight+left, …"; edges' ids stand for the compass."""
    parts: dict[str, list[str]] = {}
    words = {"s": "straight", "l": "left", "L": "left", "r": "right", "R": "right", "t": "turn"}
    for character, link in zip(state, table.links, strict=True):
        if not is_green(character) or not link.connections:
            continue
        if link.pedestrian:
            parts.setdefault("crossings", [])
            continue
        for connection in link.connections:
            turns = parts.setdefault(connection.from_edge, [])
            word = words.get(connection.direction, connection.direction)
            word += "" if character in "GO" else " (yields)"
            if word not in turns:
                turns.append(word)
    return "; ".join(f"{edge} {'+'.join(turns)}".strip() for edge, turns in parts.items())

"""From the rows of a signal program to its legal green phases.

A program in a network file is raw material: it holds all-red rows, rows that repeat, rows that only end some
movements, and rows in which two foes both have priority. What remains here can be shown safely.
"""

from __future__ import annotations

from dataclasses import dataclass

from signals.clearance import pedestrian_clearance_s
from signals.links import LinkTable
from signals.network import Program
from signals.timing import Timing

RANK = {"r": 0, "u": 0, "y": 0, "s": 1, "o": 2, "g": 2, "O": 3, "G": 3}
"""How permissive a character is: stop, go after a stop, yielding green, green with priority."""
STATE_CHARACTERS = "rygGsuoO"
LIT = str.maketrans("oO", "gG")
"""Maps the characters of a switched-off signal to greens: as permissive, but ended by a yellow."""


@dataclass(frozen=True, slots=True)
class Phase:
    """Greens that are served together: what an agent chooses."""

    index: int
    name: str
    state: str
    min_green_s: float
    max_green_s: float
    duration_s: float
    """How long the network's own program shows it."""
    walk: bool
    """Whether it serves a crossing."""


@dataclass(frozen=True, slots=True)
class PhaseSet:
    phases: tuple[Phase, ...]
    notes: tuple[str, ...]
    """Changes and omissions with their reasons, a line each."""


def is_green(character: str) -> bool:
    """Whether vehicles may enter without stopping first: G and g, and O and o of a dark signal."""
    return RANK[character] >= 2


def unsafe_pairs(state: str, table: LinkTable) -> list[tuple[int, int]]:
    """The conflicting pairs of links that a state lets go together although neither gives way."""
    greens = [i for i, c in enumerate(state) if RANK[c] > 0]
    found = []
    for position, i in enumerate(greens):
        for j in greens[: position + 1]:  # itself, too: connections that share a character may conflict
            if table.conflicts[i, j] and not _gives_way(state, table, i, j):
                found.append((j, i))
    return found


def _gives_way(state: str, table: LinkTable, i: int, j: int) -> bool:
    a, b = RANK[state[i]], RANK[state[j]]
    return bool((a < 3 and table.yields[i, j]) or (b < 3 and table.yields[j, i]))


def green_phases(program: Program, table: LinkTable, timing: Timing) -> PhaseSet:
    """The phases that an agent may choose from, in the program's order."""
    notes: list[str] = []
    kept: list[tuple[str, int]] = []
    for number, row in enumerate(program.rows):
        if any(c in "yu" for c in row.state) or not any(is_green(c) for c in row.state):
            continue  # an interval between two greens, or an all-red
        if all(row.state[link.index] in "oO" for link in table.links if link.used):
            notes.append(f"row {number} {row.state} is dark or blinking: no phase")
            continue
        state = _made_safe(row.state.translate(LIT), table)
        if state is None:
            pairs = ", ".join(f"{i} and {j}" for i, j in unsafe_pairs(row.state, table))
            notes.append(f"row {number} {row.state} is left out: links {pairs} conflict, neither gives way")
            continue
        if state != row.state:
            lit = (
                "with its dark signals lit"
                if state == row.state.translate(LIT)
                else "so that of two foes one gives way"
            )
            notes.append(f"row {number} {row.state} is shown as {state}, {lit}")
        if state in (known for known, _ in kept):
            notes.append(f"row {number} {row.state} repeats an earlier one")
            continue
        kept.append((state, number))
    phases: list[Phase] = []
    for state, number in kept:
        if any(
            within(state, other) and (other_number < number or not within(other, state))
            for other, other_number in kept
            if other != state
        ):
            notes.append(f"row {number} {state} only ends movements of another row: no phase of its own")
            continue
        phases.append(_phase(len(phases), state, number, program, table, timing))
    return PhaseSet(tuple(phases), tuple(notes))


def _made_safe(state: str, table: LinkTable) -> str | None:
    """The state with priority taken from links that have to give way; None where that does not help.

    A turn on red that the right of way puts before a link with green is not shown.
    """
    characters = list(state)
    for i, j in unsafe_pairs(state, table):
        for give, take in ((i, j), (j, i)):
            if characters[give] == "s":
                characters[give] = "r"
                break
            if table.yields[give, take] and characters[give] == "G":
                characters[give] = "g"
                break
    safe = "".join(characters)
    return None if unsafe_pairs(safe, table) else safe


def within(state: str, other: str) -> bool:
    """Whether `other` lets go everything that `state` does, with the same priority or more."""
    return all(RANK[a] <= RANK[b] for a, b in zip(state, other, strict=True))


def _phase(index: int, state: str, number: int, program: Program, table: LinkTable, timing: Timing) -> Phase:
    row = program.rows[number]
    walk = any(is_green(c) and link.crossing_m > 0 for c, link in zip(state, table.links, strict=True))
    min_green = max(timing.min_green_s, row.min_duration_s or 0.0, timing.walk_s if walk else 0.0)
    max_green = row.max_duration_s if row.max_duration_s is not None else timing.max_green_s
    name = row.name or _name(state, table)
    return Phase(index, name, state, min_green, max(max_green, min_green), row.duration_s, walk)


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


def own_yellow_s(program: Program, link: int) -> float:
    """The longest yellow that the program itself gives a link, over consecutive rows [s]."""
    longest = run = 0.0
    for row in (*program.rows, *program.rows):
        run = run + row.duration_s if row.state[link] == "y" else 0.0
        longest = max(longest, run)
    return longest


def own_clearance_s(program: Program, link: int) -> float:
    """The red clearance that the program itself keeps after a link's yellow [s].

    That is the longest time from the end of its yellow to the next row that shows greens only.
    """
    rows = program.rows
    longest = 0.0
    for number, row in enumerate(rows):
        if row.state[link] != "y" or rows[(number + 1) % len(rows)].state[link] == "y":
            continue
        cleared = 0.0
        for step in range(1, len(rows)):
            following = rows[(number + step) % len(rows)]
            greens = any(is_green(c) for c in following.state)
            if greens and not any(c in "yu" for c in following.state):
                break
            cleared += following.duration_s
        longest = max(longest, cleared)
    return longest


def walk_clearance_s(table: LinkTable, link: int, timing: Timing) -> float:
    """Pedestrian clearance of a crossing's link [s]."""
    return pedestrian_clearance_s(table.links[link].crossing_m, timing.walking_speed_mps)

"""What a signal state lets go, which greens are unsafe together, and the phases that agents choose from."""

from __future__ import annotations

from dataclasses import dataclass

from signals.links import LinkTable

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
    lost: tuple[int, ...] = ()
    """The links that the program serves and no phase does."""


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


def within(state: str, other: str) -> bool:
    """Whether `other` lets go everything that `state` does, with the same priority or more."""
    return all(RANK[a] <= RANK[b] for a, b in zip(state, other, strict=True))

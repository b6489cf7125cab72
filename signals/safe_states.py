"""A state of a signal program made safe: foes that cannot share a green are given one each.

Where one of two foes has to give way, it yields under the same green. Where neither can, the state is taken apart:
each part lets go what gets along, and together they let go everything that the state does.
"""

from __future__ import annotations

from signals.links import Link, LinkTable, apart
from signals.phases import RANK, is_green, unsafe_pairs


def safe_parts(state: str, table: LinkTable) -> tuple[str, ...]:
    """The states that together let go what `state` does, none of them with an unsafe pair; the weightiest first.

    One, unless foes among its greens have to be parted. A turn on red that the right of way puts before a link with
    green is not shown, and neither is a link whose own connections conflict (see `never_safe`).
    """
    lowered, never = _lowered(state, table), never_safe(table)
    kept = zip(state, lowered, strict=True)
    shown = "".join("r" if low == "r" or i in never else own for i, (own, low) in enumerate(kept))
    foes = incompatible_pairs(shown, table)
    if not foes:
        return ("".join("r" if i in never else c for i, c in enumerate(lowered)),)
    greens = [i for i, c in enumerate(shown) if RANK[c] > 0]
    against: dict[int, set[int]] = {i: set() for i in greens}
    for i, j in foes:
        against[i].add(j)
        against[j].add(i)
    parts = []
    for members in _classes(against):
        part = set(members)
        for i in greens:  # whatever gets along with all of them goes, too
            if not against[i] & part:
                part.add(i)
        text = "".join(c if i in part else "r" for i, c in enumerate(shown))
        parts.append(_lowered(text, table))
    return tuple(sorted(dict.fromkeys(parts), key=lambda part: _weight(part, table), reverse=True))


def incompatible_pairs(state: str, table: LinkTable) -> list[tuple[int, int]]:
    """The pairs i < j that a state lets go together although neither may be made to give way."""
    return [
        (i, j)
        for i, j in unsafe_pairs(state, table)
        if i != j and not (_may_yield(state, table, i, j) or _may_yield(state, table, j, i))
    ]


def never_safe(table: LinkTable) -> frozenset[int]:
    """The links that no state can let go safely: their own connections conflict, and none gives way."""
    return frozenset(i for i in range(len(table.links)) if table.conflicts[i, i] and not table.yields[i, i])


def why_apart(table: LinkTable, i: int, j: int) -> str:
    """Why two links, or the connections of one, never share a green, in words."""
    if i == j:
        return f"connections of link {i} conflict and neither gives way"
    for ahead, turn in ((i, j), (j, i)):
        if table.through_yields[ahead, turn]:
            return f"link {ahead} goes straight on and would have to give way to link {turn}, which turns"
    if _cross(table.links[i], table.links[j]):
        walk = table.links[i].crossing_m or table.links[j].crossing_m
        kind = "a through movement and a crossing" if walk else "two through movements"
        return f"links {i} and {j} are {kind} that conflict"
    return f"links {i} and {j} conflict and neither gives way"


def _cross(one: Link, other: Link) -> bool:
    """Whether they hold two connections that go straight on and have neither approach nor exit in common."""
    return any(
        apart(a, b)
        for a, first in zip(one.connections, one.straight, strict=True)
        for b, second in zip(other.connections, other.straight, strict=True)
        if first and second
    )


def _may_yield(state: str, table: LinkTable, give: int, take: int) -> bool:
    """Whether `give` can be made to yield: who goes straight on with the program's priority yields to no turn."""
    own = state[give] == "G" and give != take and bool(table.through_yields[give, take])
    return bool(table.yields[give, take]) and not own


def _lowered(state: str, table: LinkTable) -> str:
    """The state with priority taken from links that have to give way, and without turns on red that never do."""
    characters = list(state)
    for i, j in unsafe_pairs(state, table):
        for give, take in ((i, j), (j, i)):
            if characters[give] == "s":
                characters[give] = "r"
                break
            if characters[give] == "G" and _may_yield(state, table, give, take):
                characters[give] = "g"
                break
    return "".join(characters)


def _classes(against: dict[int, set[int]]) -> list[list[int]]:
    """The links that have foes, in few classes without foes: a colouring by saturation.

    Exact where two classes do (Brélaz 1979, New methods to color the vertices of a graph, CACM 22(4)).
    """
    colour: dict[int, int] = {}
    left = [i for i, foes in against.items() if foes]

    def taken(i: int) -> set[int]:
        return {colour[j] for j in against[i] if j in colour}

    while left:
        chosen = max(left, key=lambda i: (len(taken(i)), len(against[i]), -i))
        colour[chosen] = next(c for c in range(len(against)) if c not in taken(chosen))
        left.remove(chosen)
    return [[i for i, c in sorted(colour.items()) if c == number] for number in range(1 + max(colour.values()))]


def _weight(part: str, table: LinkTable) -> tuple[int, int, tuple[int, ...]]:
    """What makes a part the first choice: who goes straight on with priority, then all greens, then the order."""
    straight = sum(c == "G" and any(link.straight) for c, link in zip(part, table.links, strict=True))
    greens = [i for i, c in enumerate(part) if is_green(c)]
    return straight, sum(RANK[c] for c in part), tuple(-i for i in greens)

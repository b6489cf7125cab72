"""What a program of SUMO's type "NEMA" means, as an ordinary program of rows.

Its rows are no displays but NEMA phases: one is green per ring, and phases of two rings are green together where
they stand between the same barriers. Yellow and red clearance are attributes of each. The parameters `ring1` and
`ring2` list them in order, two places per ring between two barriers, with 0 for a place that is empty; a phase that
both rings name is green alone (https://sumo.dlr.de/docs/Simulation/NEMA.html).
"""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Collection, Iterable

from plumbing.errors import InputError
from signals.network import Program, ProgramRow
from signals.phases import RANK, is_green

NEMA_TYPE = "NEMA"
_PLACES = 2  # of a ring between two barriers, as SUMO counts them

Pair = tuple[int, ...]
"""The NEMA phases that are green together: one per ring, or one alone."""


def ordinary_program(program: Program) -> Program:
    """The program itself; of type "NEMA" a program with a row per pair of phases and rows for the changes between.

    Each green row has the greatest minimum and the least maximum green of its phases. Every phase that ends shows its
    own yellow and red, and those that end together begin their next greens together. A pair lasts as long as its
    maximum green where the rings come to it side by side, and otherwise as long as its minimum.

    Raises:
        InputError: a ring is missing or names a phase that the program does not have; SUMO refuses these, too.
    """
    if program.type != NEMA_TYPE:
        return program
    phases = _phases(program)
    pairs = _pairs(_ring(program, "ring1", phases), _ring(program, "ring2", phases))
    rows: list[ProgramRow] = []
    for position, (pair, side_by_side) in enumerate(pairs):
        rows.append(_green_row([phases[n] for n in pair], side_by_side))
        following = pairs[(position + 1) % len(pairs)][0]
        rows += _change_rows(pair, following, phases)
    return dataclasses.replace(program, type="actuated", rows=tuple(rows))


def _phases(program: Program) -> dict[int, ProgramRow]:
    """Per number, its row; of two with the same number SUMO takes the first."""
    found: dict[int, ProgramRow] = {}
    for row in program.rows:
        if number := re.match(r"\s*(\d+)", row.name):
            found.setdefault(int(number[1]), row)
    return found


def _ring(program: Program, name: str, phases: Collection[int]) -> list[int]:
    """The digits of a ring's parameter; SUMO reads nothing else of it."""
    ring = [int(digit) for digit in re.findall(r"[0-9]", dict(program.params).get(name, ""))]
    if not any(ring):
        raise InputError(f"its NEMA program {program.program_id!r} has no {name}; give its phases in order")
    for number in ring:
        if number and number not in phases:
            raise InputError(
                f"{name} of its NEMA program {program.program_id!r} has phase {number}, which no row is named after"
            )
    return ring


def _pairs(first: list[int], second: list[int]) -> list[tuple[Pair, bool]]:
    """The pairs in the order in which the rings come to them, and whether they do so side by side."""
    found: list[tuple[Pair, bool]] = []
    for place in range(0, max(len(first), len(second)), _PLACES):
        one, other = ([n for n in ring[place : place + _PLACES] if n] for ring in (first, second))
        if not one or not other:
            found += [((n,), True) for n in one or other]
            continue
        for i, j in sorted(itertools.product(range(len(one)), range(len(other))), key=lambda at: (sum(at), at)):
            a, b = one[i], other[j]
            if a == b or (a not in other and b not in one):
                found.append((tuple(dict.fromkeys((a, b))), i == j or min(len(one), len(other)) == 1))
    return found


def _green_row(members: list[ProgramRow], side_by_side: bool) -> ProgramRow:
    least = max(row.min_duration_s or 0.0 for row in members)
    bounds = [row.max_duration_s for row in members if row.max_duration_s is not None]
    most = max(min(bounds), least) if bounds else None
    longest = most if most is not None else min(row.duration_s for row in members)
    return ProgramRow(
        duration_s=longest if side_by_side or not least else least,
        state="".join(_strongest(characters) for characters in zip(*(row.state for row in members), strict=True)),
        min_duration_s=least or None,
        max_duration_s=most,
        name="+".join(row.name.strip() for row in members),
    )


def _change_rows(old: Pair, new: Pair, phases: dict[int, ProgramRow]) -> list[ProgramRow]:
    """From one pair's green to the next one's: the phases that end are cleared at the same moment."""
    staying = [phases[n] for n in old if n in new]
    leaving = [phases[n] for n in old if n not in new]
    total = max((row.yellow_s + row.red_s for row in leaving), default=0.0)
    # no green goes on beside another's red clearance
    longest_red = max((row.red_s for row in leaving), default=0.0)
    yellow_at = [total - max(row.yellow_s + row.red_s, longest_red) for row in leaving]
    ends_at = [begin + row.yellow_s for row, begin in zip(leaving, yellow_at, strict=True)]
    cuts = sorted({0.0, total, *yellow_at, *ends_at})
    shown = []
    for at, until in itertools.pairwise(cuts):
        characters = []
        for i in range(len(leaving[0].state)):
            kept = _strongest(row.state[i] for row in staying)
            ends = [(row, begin) for row, begin in zip(leaving, yellow_at, strict=True) if is_green(row.state[i])]
            if all(RANK[row.state[i]] <= RANK[kept] for row, _ in ends):
                characters.append(kept)
            else:  # priority ends with its own yellow and red, even where the link may go on and give way
                characters.append(_strongest(_ending(row, i, at - begin) for row, begin in ends))
        shown.append(ProgramRow(until - at, "".join(characters)))
    return shown


def _ending(row: ProgramRow, link: int, since_s: float) -> str:
    """What a link of a phase that ends shows so long after its yellow began [s]."""
    return row.state[link] if since_s < 0 else "y" if since_s < row.yellow_s else "r"


def _strongest(characters: Iterable[str]) -> str:
    return max(characters, key=lambda c: (RANK[c], c == "y"), default="r")

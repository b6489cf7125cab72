"""Signals whose links meet nobody, such as a ramp meter: the choice is between green and red for all.

The "all red" phase serves no link. It lasts at least as long as any green, or the program's own `minDur`. Its
greatest duration bounds it while the green has a call, as that of a green does.
"""

from __future__ import annotations

import dataclasses

from signals.green_phases import green_phases
from signals.links import LinkTable
from signals.network import Program
from signals.phases import Phase, PhaseSet
from signals.timing import Timing

ALL_RED = "all red"


def metered_phases(program: Program, table: LinkTable, timing: Timing) -> PhaseSet:
    """The program's green phases, and red for all where the program shows that, too."""
    found = green_phases(program, table, timing)
    used = [link.index for link in table.links if link.used]
    reds = [row for row in program.rows if all(row.state[i] == "r" for i in used)]
    if not reds or not found.phases:
        return found
    longest = max(reds, key=lambda row: row.duration_s)
    least_s = max(timing.min_green_s, longest.min_duration_s or 0.0)
    most_s = longest.max_duration_s if longest.max_duration_s is not None else timing.max_green_s
    state, index = "r" * len(table.links), len(found.phases)
    red = Phase(index, ALL_RED, state, least_s, max(most_s, least_s), longest.duration_s, walk=False)
    return dataclasses.replace(found, phases=(*found.phases, red))

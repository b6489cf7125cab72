"""Plans and their times as SUMO's additional files: programs, and a WAUT that switches between them.

All plans of a signal have the same rows and cycle; only greens differ. A switch comes at the cycle's begin, where one
plan ends its last row and the other begins its first, so every yellow and all-red is shown in full.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from xml.sax.saxutils import quoteattr

import numpy as np

from demand.plans.choice import Plan
from demand.plans.lanes import TimedSignal


def switches(
    signal: TimedSignal, cycle_s: float, begins_s: Sequence[int], chosen: Sequence[int]
) -> list[tuple[float, int]]:
    """When a signal begins which plan; the first holds from the start. A switch waits for the cycle's begin.

    Args:
        begins_s: of each period [s].
        chosen: number of each period's plan.
    """
    found: list[tuple[float, int]] = []
    offset_s = signal.program.offset_s % cycle_s
    for begin_s, plan in zip(begins_s, chosen, strict=True):
        if not found:
            found.append((float(begin_s), plan))
        elif plan != found[-1][1]:
            found.append((offset_s + math.ceil((begin_s - offset_s) / cycle_s) * cycle_s, plan))
    return found


def additional_xml(
    signals: Sequence[TimedSignal], plans: Sequence[Plan], begins_s: Sequence[int], chosen: Sequence[int], why: str
) -> str:
    """The file's content. With one plan throughout there is no switch.

    Args:
        why: who reads the file is told so; without "--".
    """
    used = sorted(set(chosen))
    parts = [f"<additional>\n  <!-- {why.replace('--', '- -')} -->\n"]
    for signal in signals:
        tls_id, of = signal.program.tls_id, [signal.durations_s(p.greens_s[signal.program.tls_id]) for p in plans]
        for number in used:
            parts.append(_program(signal, plans[number].name, of[number]))
        when = switches(signal, float(of[used[0]].sum()), begins_s, chosen)
        if len(used) > 1:
            name = quoteattr(f"plans of {tls_id}")
            parts.append(f'  <WAUT id={name} refTime="0" startProg={quoteattr(plans[when[0][1]].name)}>\n')
            for time_s, number in when[1:]:
                parts.append(f'    <wautSwitch time="{time_s:g}" to={quoteattr(plans[number].name)}/>\n')
            parts.append(f"  </WAUT>\n  <wautJunction wautID={name} junctionID={quoteattr(tls_id)}/>\n")
    return "".join([*parts, "</additional>\n"])


def _program(signal: TimedSignal, name: str, durations_s: np.ndarray) -> str:  # type: ignore[type-arg]
    program = signal.program
    offset_s = program.offset_s % float(durations_s.sum())
    rows = "".join(
        f'    <phase duration="{duration:g}" state={quoteattr(row.state)}/>\n'
        for row, duration in zip(program.rows, durations_s, strict=True)
    )
    head = f'  <tlLogic id={quoteattr(program.tls_id)} type="static" programID={quoteattr(name)} offset="{offset_s:g}">\n'
    return f"{head}{rows}  </tlLogic>\n"

"""Plans and their times as SUMO's additional files: programs, and a WAUT that switches between them.

All plans of a signal have the same rows; greens and cycle differ. A switch waits for the end of the running plan's
cycle, and the next plan is shifted to begin its own just then: one ends its last row, the other begins its first, and
every yellow and all-red is shown in full. So a plan may be there several times, with another offset each.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import quoteattr

from demand.counts.timeline import Numbers
from demand.plans.choice import Plan
from demand.plans.lanes import TimedSignal


@dataclass(frozen=True)
class Switch:
    """A plan begins."""

    time_s: float
    plan: int
    offset_s: float
    """Of its program: where in its cycle SUMO's time 0 would be."""


def switches(
    cycles_s: Sequence[float], own_offset_s: float, begins_s: Sequence[int], chosen: Sequence[int]
) -> list[Switch]:
    """When a signal begins which plan; the first one holds from the start.

    Args:
        cycles_s: of each plan.
        own_offset_s: the signal's own, which the first plan keeps.
        begins_s: of each period [s].
        chosen: number of each period's plan.
    """
    found: list[Switch] = []
    for begin_s, plan in zip(begins_s, chosen, strict=True):
        if not found:
            found.append(Switch(float(begin_s), plan, own_offset_s % cycles_s[plan]))
        elif plan != found[-1].plan:
            running = found[-1]
            cycle_s = cycles_s[running.plan]
            time_s = running.offset_s + math.ceil((begin_s - running.offset_s) / cycle_s) * cycle_s
            found.append(Switch(time_s, plan, time_s % cycles_s[plan]))
    return found


def additional_xml(
    signals: Sequence[TimedSignal], plans: Sequence[Plan], begins_s: Sequence[int], chosen: Sequence[int], why: str
) -> str:
    """The file's content. With one plan throughout there is no switch.

    Args:
        why: who reads the file is told so.
    """
    parts = [f"<additional>\n  <!-- {why} -->\n"]
    for signal in signals:
        tls_id = signal.program.tls_id
        rows = [signal.durations_s(plan.greens_s[tls_id]) for plan in plans]
        cycles_s = [float(of.sum()) for of in rows]
        when = switches(cycles_s, signal.program.offset_s, begins_s, chosen)
        names = [f"{plans[of.plan].name} from {of.offset_s:g} s" for of in when]
        programs = dict(zip(names, when, strict=True))
        parts += [_program(signal, name, of.offset_s, rows[of.plan]) for name, of in programs.items()]
        if len(when) > 1:
            waut = quoteattr(f"plans of {tls_id}")
            parts.append(f'  <WAUT id={waut} refTime="0" startProg={quoteattr(names[0])}>\n')
            parts += [
                f'    <wautSwitch time="{of.time_s:g}" to={quoteattr(name)}/>\n'
                for of, name in zip(when[1:], names[1:], strict=True)
            ]
            parts.append(f"  </WAUT>\n  <wautJunction wautID={waut} junctionID={quoteattr(tls_id)}/>\n")
    return "".join([*parts, "</additional>\n"])


def _program(signal: TimedSignal, name: str, offset_s: float, durations_s: Numbers) -> str:
    tls_id = quoteattr(signal.program.tls_id)
    head = f'  <tlLogic id={tls_id} type="static" programID={quoteattr(name)} offset="{offset_s:g}">\n'
    rows = "".join(
        f'    <phase duration="{duration:g}" state={quoteattr(row.state)}/>\n'
        for row, duration in zip(signal.program.rows, durations_s, strict=True)
    )
    return f"{head}{rows}  </tlLogic>\n"

"""What the choice of plans came to: for machines, and as tables for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from demand.calibration.counted import clock
from demand.counts.timeline import Numbers
from demand.plans.choice import Plan
from demand.plans.days import Window
from demand.plans.lanes import TimedSignal

FORMAT = "intergreen plans 1"
FIXED = "fixed"


def result_of(
    told: Mapping[str, Any],
    signals: Sequence[TimedSignal],
    plans: tuple[Plan, Sequence[Plan]],
    days: Sequence[str],
    window: Window,
    flows: Mapping[str, Numbers],
    costs: Mapping[str, Numbers],
    chosen: Mapping[str, Numbers],
    fixed_costs: Numbers,
) -> dict[str, Any]:
    """What plans.json holds.

    Args:
        plans: the one for all flows, and those to choose from.
        flows: by way of choosing, (days, periods, lanes) what is expected [veh/h]; the last way's is what came.
        costs: the same, (days, periods, plans) computed delay of what is expected [veh·s/h].
        chosen: the same, (days, periods) numbers of plans.
        fixed_costs: (days, periods) computed delay of what came, under the one plan for all.
    """
    fixed, several = plans
    truth = list(flows)[-1]
    vehicles = flows[truth].sum(axis=2)
    schedules = {}
    for way, numbers in chosen.items():
        expected = flows[way].sum(axis=2)
        each = costs[way] / expected.clip(1e-9)[..., None]
        schedules[way] = {
            day: [
                {"from": clock(begin), "plan": several[int(number)].name, "expected_vph": round(float(vph), 1),
                 "computed_delay_s": {p.name: round(float(s), 2) for p, s in zip(several, seconds, strict=True)}}
                for begin, number, vph, seconds in zip(window.begins_s, row, expected[n], each[n], strict=True)
            ]
            for n, (day, row) in enumerate(zip(days, numbers, strict=True))
        }  # fmt: skip
    judged: dict[str, dict[str, float | None]] = {
        FIXED: {"delay_s": _mean(fixed_costs, vehicles), "as_in_hindsight": None}
    }
    for way, numbers in chosen.items():
        under = (costs[truth] * (numbers[..., None] == range(len(several)))).sum(axis=2)
        alike = round(float((numbers == chosen[truth]).mean()), 3)
        judged[way] = {"delay_s": _mean(under, vehicles), "as_in_hindsight": alike}
    return {
        "format": FORMAT,
        **told,
        "period_s": window.period_s,
        "rule": "of the plans, that with the least computed delay (HCM 2010) for the flows expected in the period",
        "signals": {s.program.tls_id: [s.program.rows[n].state for n in s.greens] for s in signals},
        "plans": [
            {
                "name": plan.name, "made_for_intervals": plan.intervals, "mean_vph": round(plan.flow_vph, 1),
                "cycle_s": {
                    s.program.tls_id: float(s.durations_s(plan.greens_s[s.program.tls_id]).sum()) for s in signals
                },
                "greens_s": {tls_id: list(greens) for tls_id, greens in plan.greens_s.items()},
            }
            for plan in (Plan(FIXED, fixed.greens_s, fixed.intervals, fixed.flow_vph), *several)
        ],
        "computed": judged,
        "days": schedules,
    }  # fmt: skip


def _mean(costs: Numbers, vehicles: Numbers) -> float:
    """[s] of each vehicle, of delays and vehicles in an hour."""
    return round(float(costs.sum() / vehicles.sum().clip(1e-9)), 2)


def as_text(result: Mapping[str, Any]) -> str:
    """The tables for a terminal."""
    heads = ["plan", "made for", "veh/h", "cycle s", "greens s, in the order of the program"]
    rows = [heads]
    for plan in result["plans"]:
        cycles = " ".join(f"{tls_id}: {of:g}" for tls_id, of in plan["cycle_s"].items())
        greens = "; ".join(" ".join(f"{s:g}" for s in of) for of in plan["greens_s"].values())
        rows.append([plan["name"], f"{plan['made_for_intervals']}", f"{plan['mean_vph']:.0f}", cycles, greens])
    lines = ["", *_table(rows), ""]
    ways = list(result["days"])
    first = result["days"][ways[0]]
    rows = [["day", "from", *ways]]
    for day, periods in first.items():
        before: list[str] | None = None
        for n, period in enumerate(periods):
            plans = [result["days"][way][day][n]["plan"] for way in ways]
            if plans != before:
                rows.append([day if before is None else "", period["from"], *plans])
            before = plans
    lines += [*_table(rows), "", "Computed for the flows that came, not simulated:", ""]
    rows = [["choice", "delay s/veh", "as in hindsight"]]
    for way, of in result["computed"].items():
        alike = "" if of["as_in_hindsight"] is None else f"{of['as_in_hindsight']:.0%}"
        rows.append([way, f"{of['delay_s']:.1f}", alike])
    return "\n".join([*lines, *_table(rows), ""])


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]

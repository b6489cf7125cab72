"""What `python -m scenarios describe` shows first: a table of phases per signal, and which signals are left alone."""

from __future__ import annotations

from signals.intersection import Intersection, compile_signals
from signals.network import RoadNetwork
from signals.timing import Timing


def overview(network: RoadNetwork, timing: Timing) -> list[str]:
    """The lines: `signals.intersection.explain` has every change interval and note as well."""
    plan = compile_signals(network, timing)
    lines = [line for item in plan.intersections for line in _signal(item)]
    if plan.intersections:
        lines += ["", "--changes shows the intervals of each change, too, and all notes"]
    if plan.refusals:
        lines += ["", "left to their own programs:", *(f"  {r.tls_id}: {r.reason}" for r in plan.refusals)]
    return lines


def _signal(item: Intersection) -> list[str]:
    crossings = sum(link.pedestrian for link in item.table.links)
    links = sum(link.used and not link.pedestrian for link in item.table.links)
    seen_m = min(zone.length_m for zone in item.zones)
    took = [item.intergreen_s(old, new) for old, new in item.changes]
    head = (
        f"{item.tls_id}: {len(item.lanes)} lanes, {links} links, {crossings} crossings; changes take "
        f"{_span(min(took), max(took))} s; seen from {seen_m:.0f} m"
    )
    rows = [("phase", "green s", "state", "serves")]
    rows += [(str(p.index), _span(p.min_green_s, p.max_green_s), p.state, p.name) for p in item.phases]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    more = f" (and {len(item.notes) - 1} more)" if len(item.notes) > 1 else ""
    return [head, *(f"  {line}" for line in lines), *(f"  note: {note}{more}" for note in item.notes[:1])]


def _span(least: float, most: float) -> str:
    return f"{least:g}" if least == most else f"{least:g} to {most:g}"

"""Draws a network as an SVG: roads, pavements, crossings, and a numbered dot where a signal stands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.sax.saxutils import escape

from plumbing.whole import write_whole
from scenarios.marks import Mark, around, marked
from scenarios.streets import Street, numbered, where
from signals.network import RoadNetwork

_WIDTH_PX = 1000.0
_MANY_SIGNALS, _WIDE_PX = 30, 1800.0  # a town's numbers would lie on each other
_MARGIN = 0.04
_COLOURS = {"normal": "#4a5568", "internal": "#718096", "crossing": "#d9b44a", "walkingarea": "none"}
_TRACK, _CYCLE = "#8b5cf6", "#38a169"


def draw(network: RoadNetwork, out: Path, streets: Mapping[str, Street] | None = None) -> None:
    """Writes the SVG file. Raises InputError when it can't be written."""
    content = svg(network, streets)
    write_whole(out, lambda partial: partial.write_text(content, encoding="utf-8"))


def legend(network: RoadNetwork, streets: Mapping[str, Street]) -> list[tuple[int, str, str]]:
    """What the numbers of the picture mean: number, id of the signal, the streets that meet there."""
    controlled = network.controlled
    return [
        (number, tls_id, where(controlled[tls_id], streets)) for tls_id, (number, *_) in numbered(network).items()
    ]


def svg(network: RoadNetwork, streets: Mapping[str, Street] | None = None, *, marks: Sequence[Mark] = ()) -> str:
    """The picture: tracks in violet, lanes and ways for bicycles in green, pavements in light grey.

    Args:
        streets: the streets by edge, whose names show where the pointer rests on a signal.
        marks: names on lanes; with some, only what lies around them is drawn.
    """
    points = around(network, marks) or [point for lane in network.lanes.values() for point in lane.shape]
    left, right = min(x for x, _ in points), max(x for x, _ in points)
    bottom, top = min(y for _, y in points), max(y for _, y in points)
    size_m = max(right - left, top - bottom, 1.0)
    across_px = _WIDE_PX if len(network.controlled) > _MANY_SIGNALS else _WIDTH_PX
    scale = across_px * (1 - 2 * _MARGIN) / size_m
    pad = across_px * _MARGIN

    def place(x: float, y: float) -> str:
        return f"{pad + (x - left) * scale:.1f},{pad + (top - y) * scale:.1f}"

    parts: list[str] = []
    for lane in network.lanes.values():
        colour = _COLOURS.get(network.edges[lane.edge_id].function, "#4a5568")
        if colour == "none" or len(lane.shape) < 2:
            continue
        if not lane.vehicles and colour != _COLOURS["crossing"]:
            colour = "#cbd5e0"
        elif lane.rail:
            colour = _TRACK
        elif lane.vehicles and lane.classes <= {"bicycle", "scooter"}:
            colour = _CYCLE
        line = " ".join(place(x, y) for x, y in lane.shape)
        width_px = max(0.6, lane.width_m * scale * (0.3 if colour == _TRACK else 0.9))
        parts.append(f'<polyline points="{line}" stroke="{colour}" stroke-width="{width_px:.2f}"/>')
    radius = max(4.0, 4.0 * scale)
    for tls_id, (number, x, y) in numbered(network).items():
        cx, cy = (float(part) for part in place(x, y).split(","))
        names = where(network.controlled[tls_id], streets or {})
        title = escape(f"{number}: {tls_id}" + (f", {names}" if names else ""))
        parts.append(
            f'<circle cx="{cx:.1f}" cy="{cy:.1f}" r="{radius:.1f}" fill="#e53e3e" stroke="white">'
            f"<title>{title}</title></circle>\n"
            f'<text x="{cx + radius + 2:.1f}" y="{cy - radius:.1f}" font-family="sans-serif" font-size="18" '
            'font-weight="bold" fill="#9b2c2c" stroke="white" stroke-width="4" paint-order="stroke">'
            f"{number}</text>"
        )
    parts += [marked(network, mark, place, scale) for mark in marks]
    width, height = (right - left) * scale + 2 * pad, (top - bottom) * scale + 2 * pad
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" fill="none" '
        f'stroke-linecap="round">\n<rect width="100%" height="100%" fill="white"/>\n{body}\n</svg>\n'
    )

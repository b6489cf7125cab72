"""Draws a network as an SVG: roads, pavements, crossings, and a dot where a signal stands."""

from __future__ import annotations

from pathlib import Path
from xml.sax.saxutils import escape

from plumbing.errors import InputError
from signals.network import RoadNetwork

_WIDTH_PX = 1000.0
_MARGIN = 0.04
_COLOURS = {"normal": "#4a5568", "internal": "#718096", "crossing": "#d9b44a", "walkingarea": "none"}


def draw(network: RoadNetwork, out: Path) -> None:
    """Writes the SVG file. Raises InputError when it can't be written."""
    try:
        out.write_text(svg(network), encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot write {out}: {error.strerror}; choose another --out") from error


def svg(network: RoadNetwork) -> str:
    points = [point for lane in network.lanes.values() for point in lane.shape]
    left, right = min(x for x, _ in points), max(x for x, _ in points)
    bottom, top = min(y for _, y in points), max(y for _, y in points)
    size_m = max(right - left, top - bottom, 1.0)
    scale = _WIDTH_PX * (1 - 2 * _MARGIN) / size_m
    pad = _WIDTH_PX * _MARGIN

    def place(x: float, y: float) -> str:
        return f"{pad + (x - left) * scale:.1f},{pad + (top - y) * scale:.1f}"

    parts: list[str] = []
    for lane in network.lanes.values():
        colour = _COLOURS.get(network.edges[lane.edge_id].function, "#4a5568")
        if colour == "none" or len(lane.shape) < 2:
            continue
        if not lane.vehicles and colour != _COLOURS["crossing"]:
            colour = "#cbd5e0"
        line = " ".join(place(x, y) for x, y in lane.shape)
        parts.append(
            f'<polyline points="{line}" stroke="{colour}" stroke-width="{max(0.6, lane.width_m * scale * 0.9):.2f}"/>'
        )
    radius = max(4.0, 4.0 * scale)
    for tls_id, connections in network.controlled.items():
        ends = [network.lanes[c.from_lane].shape[-1] for c in connections if network.lanes[c.from_lane].shape]
        if ends:
            x, y = sum(p[0] for p in ends) / len(ends), sum(p[1] for p in ends) / len(ends)
            cx, cy = place(x, y).split(",")
            parts.append(
                f'<circle cx="{cx}" cy="{cy}" r="{radius:.1f}" fill="#e53e3e" stroke="white">'
                f"<title>{escape(tls_id)}</title></circle>"
            )
    width, height = (right - left) * scale + 2 * pad, (top - bottom) * scale + 2 * pad
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" fill="none" '
        f'stroke-linecap="round">\n<rect width="100%" height="100%" fill="white"/>\n{body}\n</svg>\n'
    )

"""Names on lanes in the picture of a network, such as those of detectors."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from signals.network import Lane, Point, RoadNetwork

_AROUND_M = 40.0
_FONT_PX = 12.0


@dataclass(frozen=True)
class Mark:
    """A name on a lane."""

    text: str
    lane_id: str
    back_m: float
    """Distance to the lane's end."""
    doubtful: bool = False


def around(network: RoadNetwork, marks: Sequence[Mark]) -> list[Point]:
    """Points that span what lies around the marks; none without marks."""
    spots = [_spot(network.lanes[mark.lane_id], mark.back_m)[0] for mark in marks]
    return [(x + d, y + d) for x, y in spots for d in (-_AROUND_M, _AROUND_M)]


def _spot(lane: Lane, back_m: float) -> tuple[Point, float]:
    """The point of a lane at a distance from its end, and the direction of travel there [degrees, mathematical]."""
    rest = back_m
    for (x0, y0), (x1, y1) in zip(lane.shape[-2::-1], lane.shape[:0:-1], strict=True):
        length = math.hypot(x1 - x0, y1 - y0)
        if length and (rest <= length or (x0, y0) == lane.shape[0]):
            share = min(rest / length, 1.0)
            return (x1 - share * (x1 - x0), y1 - share * (y1 - y0)), math.degrees(math.atan2(y1 - y0, x1 - x0))
        rest -= length
    return lane.shape[0], 0.0


def marked(network: RoadNetwork, mark: Mark, place: Callable[[float, float], str], scale: float) -> str:
    """A dot where the mark is, and its name along the lane, behind the dot as one drives: SVG elements.

    Args:
        place: from metres to the picture's "x,y".
        scale: pixels per metre.
    """
    lane = network.lanes[mark.lane_id]
    (x, y), heading = _spot(lane, mark.back_m)
    cx, cy = place(x, y).split(",")
    turned = -heading  # an SVG's angles go clockwise
    forward = abs((heading + 180.0) % 360.0 - 180.0) <= 90.0
    turned, anchor, shift = (turned, "end", -1) if forward else (turned + 180.0, "start", 1)
    size = min(_FONT_PX, max(4.0, lane.width_m * scale * 0.8))
    colour = "#f6ad55" if mark.doubtful else "#63b3ed"
    return (
        f'<circle cx="{cx}" cy="{cy}" r="{size * 0.35:.1f}" fill="{colour}"/>'
        f'<text transform="translate({cx} {cy}) rotate({turned:.1f})" x="{shift * size * 0.7:.1f}" '
        f'y="{size * 0.35:.1f}" font-family="Arial, Helvetica, sans-serif" font-size="{size:.1f}" '
        f'text-anchor="{anchor}" fill="white" stroke="none">{escape(mark.text)}{"?" if mark.doubtful else ""}</text>'
    )

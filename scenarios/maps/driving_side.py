"""On which side of the road a map's traffic drives, and how that is known. It is never decided silently."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import pairwise

from scenarios.maps.extract import Extract

# fmt: off
LEFT_COUNTRIES = frozenset({
    "AG", "AI", "AU", "BB", "BD", "BM", "BN", "BS", "BT", "BW", "CC", "CK", "CX", "CY", "DM", "FJ", "FK", "GB",
    "GD", "GG", "GY", "HK", "ID", "IE", "IM", "IN", "JE", "JM", "JP", "KE", "KI", "KN", "KY", "LC", "LK", "LS",
    "MO", "MS", "MT", "MU", "MV", "MW", "MY", "MZ", "NA", "NF", "NP", "NR", "NU", "NZ", "PG", "PK", "PN", "SB",
    "SC", "SG", "SH", "SR", "SZ", "TC", "TH", "TK", "TL", "TO", "TT", "TV", "TZ", "UG", "VC", "VG", "VI", "WS",
    "ZA", "ZM", "ZW",
})
"""ISO 3166-1 codes of the countries and territories that drive on the left."""
_LEFT_BOXES = (  # south, west, north, east [degrees]; none of them holds a place where traffic drives on the right
    ("the British Isles", 51.0, -10.8, 61.0, 1.75), ("the south coast of England", 50.0, -6.5, 51.0, 1.0),
    ("Japan", 30.0, 129.6, 38.0, 142.0), ("the north of Japan", 38.0, 139.3, 45.6, 146.0),
    ("Australia", -44.0, 112.5, -10.5, 154.0), ("New Zealand", -48.0, 166.0, -34.0, 179.0),
    ("India", 8.0, 68.5, 27.5, 88.5), ("the north of India", 27.5, 72.0, 31.0, 78.5),
    ("Sri Lanka", 5.8, 79.4, 10.0, 82.0),
    ("southern Africa", -35.0, 12.0, -18.0, 32.0), ("Kenya and Tanzania", -11.0, 34.0, 3.4, 41.0),
    ("Thailand", 7.0, 99.7, 17.0, 102.0), ("Indonesia, Malaysia and Singapore", -11.0, 95.5, 4.4, 141.0),
    ("Hong Kong", 22.15, 113.83, 22.48, 114.4),
    ("Jamaica", 17.6, -78.5, 18.6, -76.1), ("Malta", 35.7, 14.1, 36.2, 14.7),
)
# fmt: on


@dataclass(frozen=True)
class DrivingSide:
    left: bool
    why: str
    sure: bool
    """Whether somebody has said so: the user, or the map's own tags."""


def driving_side(extract: Extract, asked: str = "auto") -> DrivingSide:
    """The side, by the first of these that says something: the user, `driving_side` tags, the direction of
    roundabouts, the country that addresses name, the place on earth; else the right.

    Args:
        asked: "left", "right" or "auto".
    """
    if asked != "auto":
        return DrivingSide(asked == "left", "as --traffic says", True)
    tagged = Counter(way.tags["driving_side"] for way in extract.ways if "driving_side" in way.tags)
    if tagged["left"] != tagged["right"]:
        side = "left" if tagged["left"] > tagged["right"] else "right"
        return DrivingSide(side == "left", f"{tagged[side]} ways are tagged driving_side={side}", True)
    clockwise, others = _roundabouts(extract)
    if clockwise != others:
        turn = "clockwise" if clockwise > others else "counter-clockwise"
        agree = f"{max(clockwise, others)} of {clockwise + others} roundabouts"
        return DrivingSide(clockwise > others, f"{agree} run {turn}", True)
    if extract.countries:
        code = next(iter(extract.countries))
        return DrivingSide(code in LEFT_COUNTRIES, f"most addresses name the country {code}", True)
    lat, lon = extract.centre
    for place, south, west, north, east in _LEFT_BOXES:
        if south <= lat <= north and west <= lon <= east:
            return DrivingSide(True, f"it lies at {lat:.2f}, {lon:.2f}: {place}", False)
    return DrivingSide(
        False, f"nothing in the map tells, and {lat:.2f}, {lon:.2f} is no place known for the left", False
    )


def _roundabouts(extract: Extract) -> tuple[int, int]:
    """How many closed roundabouts run clockwise, and how many do not."""
    clockwise = others = 0
    for way in extract.ways:
        if way.tags.get("junction") != "roundabout" or way.nodes[0] != way.nodes[-1]:
            continue
        points = [(extract.nodes[n].lon, extract.nodes[n].lat) for n in way.nodes]
        area = sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in pairwise(points))
        backwards = way.tags.get("oneway") == "-1"
        if (area < 0) != backwards:
            clockwise += 1
        else:
            others += 1
    return clockwise, others

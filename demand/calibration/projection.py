"""Longitude and latitude as metres of a network: what netconvert does when it imports a map.

SUMO's networks name their projection; that of imported maps is UTM. The formulas are Krüger's series to the third
order, exact to a centimetre within a zone (Karney 2011, Transverse Mercator with an accuracy of a few nanometers,
Journal of Geodesy 85).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path

from plumbing.errors import InputError
from scenarios.xmlfile import finite, top_level
from signals.network import Point

_A_M, _F, _SCALE = 6_378_137.0, 1 / 298.257223563, 0.9996  # WGS 84 and UTM
_N = _F / (2 - _F)
_RADIUS_M = _A_M / (1 + _N) * (1 + _N**2 / 4 + _N**4 / 64)
_ALPHA = (
    _N / 2 - 2 * _N**2 / 3 + 5 * _N**3 / 16,
    13 * _N**2 / 48 - 3 * _N**3 / 5,
    61 * _N**3 / 240,
)


def to_metres(net_file: Path) -> Callable[[float, float], Point]:
    """How a network's file turns longitude and latitude into its metres.

    A network without a projection has no place on the globe: there, x and y are its metres already.

    Raises:
        InputError: a projection other than UTM.
    """
    location = next((e for e in top_level(net_file, "network") if e.tag == "location"), None)
    words = "!" if location is None else location.get("projParameter", "!")
    if location is None or words in ("!", "-"):
        return lambda x, y: (x, y)
    found = re.search(r"\+proj=utm\b.*\+zone=(\d+)", words)
    if not found:
        raise InputError(
            f"network {net_file} has the projection {words!r}, and only UTM is known here; "
            "state the detectors' places by hand (--places)"
        )
    zone = int(found[1])
    south = "+south" in words
    east, north = (finite(part) for part in location.get("netOffset", "0,0").split(","))

    def place(longitude: float, latitude: float) -> Point:
        x, y = utm(longitude, latitude, zone)
        return x + east, y + (1e7 if south else 0.0) + north

    return place


def utm(longitude: float, latitude: float, zone: int) -> Point:
    """Easting and northing in a UTM zone [m]; south of the equator the northing is negative."""
    phi, lam = math.radians(latitude), math.radians(longitude - (zone * 6 - 183))
    e = 2 * math.sqrt(_N) / (1 + _N)
    t = math.sinh(math.atanh(math.sin(phi)) - e * math.atanh(e * math.sin(phi)))
    xi, eta = math.atan2(t, math.cos(lam)), math.asinh(math.sin(lam) / math.hypot(t, math.cos(lam)))
    x, y = eta, xi
    for order, alpha in enumerate(_ALPHA, 1):
        x += alpha * math.cos(2 * order * xi) * math.sinh(2 * order * eta)
        y += alpha * math.sin(2 * order * xi) * math.cosh(2 * order * eta)
    return 500_000.0 + _SCALE * _RADIUS_M * x, _SCALE * _RADIUS_M * y

"""Maps that were written by hand for the tests, and what netconvert makes of one."""

from __future__ import annotations

from pathlib import Path

from plumbing.held import scratch
from scenarios.maps.convert import convert
from scenarios.maps.extract import Extract, read_extract
from scenarios.netfile import read_network
from signals.network import RoadNetwork

MAPS = Path(__file__).parent / "data" / "osm"
TWO, TRAM, LEFT = (MAPS / f"{name}.osm" for name in ("two-signals", "tram-crossroads", "five-arms-left"))


def converted(file: Path, folder: Path, *, lefthand: bool = False) -> tuple[Extract, RoadNetwork, Path]:
    extract, net = read_extract(file), folder / "map.net.xml"
    with scratch("test") as place:
        convert(extract, net, place, lefthand=lefthand)
    return extract, read_network(net), net

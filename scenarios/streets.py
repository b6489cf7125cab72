"""What the edges of a network file are called, and of what kind of road they are: beside the geometry, for people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from scenarios.xmlfile import top_level
from signals.network import Connection, RoadNetwork

_MOST_NAMES = 4


@dataclass(frozen=True)
class Street:
    """What a network file says of an edge beside its lanes."""

    name: str
    """As on the street's sign; "" where the file has none."""
    kind: str
    """The type that netconvert took, such as `highway.secondary`; "" where the file has none."""
    origins: tuple[str, ...]
    """Ids of the ways that it came from, where netconvert has kept them."""


def read_streets(net_file: Path) -> dict[str, Street]:
    """The streets of a network by edge, internal edges left out.

    Raises:
        InputError: the file cannot be read.
    """
    found: dict[str, Street] = {}
    for element in top_level(net_file, "network"):
        if element.tag == "edge" and element.get("function", "normal") == "normal":
            params = [p for p in element.iter("param") if p.get("key") == "origId"]
            origins = dict.fromkeys(word for p in params for word in p.get("value", "").split())
            name, kind = element.get("name", ""), element.get("type", "")
            found[element.get("id", "")] = Street(name, kind, tuple(origins))
    return found


def where(connections: tuple[Connection, ...], streets: Mapping[str, Street]) -> str:
    """The streets that meet at a signal, such as `High Street / Mill Lane`; "" where none has a name."""
    edges = [edge for c in connections for edge in (c.from_edge, c.to_edge)]
    names = list(dict.fromkeys(streets[edge].name for edge in edges if edge in streets and streets[edge].name))
    more = " / …" if len(names) > _MOST_NAMES else ""
    return " / ".join(names[:_MOST_NAMES]) + more


def numbered(network: RoadNetwork) -> dict[str, tuple[int, float, float]]:
    """Number and place (x, y) [m] of each signal, as a reader goes through a map: by rows from the north, in each
    from the west. The same network has the same numbers."""
    places: dict[str, tuple[float, float]] = {}
    for tls_id, connections in network.controlled.items():
        if tls_id not in network.programs:  # such as a railway's
            continue
        ends = [network.lanes[c.from_lane].shape[-1] for c in connections if network.lanes[c.from_lane].shape]
        if ends:
            places[tls_id] = sum(x for x, _ in ends) / len(ends), sum(y for _, y in ends) / len(ends)
    if not places:
        return {}
    top, bottom = max(y for _, y in places.values()), min(y for _, y in places.values())
    row_m = max((top - bottom) / max(1.0, len(places) ** 0.5), 1.0)
    order = sorted(places, key=lambda tls_id: (int((top - places[tls_id][1]) / row_m), places[tls_id], tls_id))
    return {tls_id: (number, *places[tls_id]) for number, tls_id in enumerate(order, 1)}

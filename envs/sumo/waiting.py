"""Who waits for which link of a signal, as an episode ends."""

from __future__ import annotations

from collections import Counter
from typing import Any

WAITED_S = 120.0
"""Who has stood for so long is counted [s]: longer than a cycle's reds are."""


def vehicles_waiting(sumo: Any) -> dict[tuple[str, int], int]:
    """Vehicles that have stood for at least `WAITED_S`, by (signal, index of the link) of their next stop line.

    Args:
        sumo: libsumo, or what stands in for it.
    """
    ahead = (
        sumo.vehicle.getNextTLS(vehicle)[:1]
        for vehicle in sumo.vehicle.getIDList()
        if sumo.vehicle.getWaitingTime(vehicle) >= WAITED_S
    )
    return dict(Counter((tls_id, index) for signals in ahead for tls_id, index, *_ in signals))


def walkers_waiting(sumo: Any) -> dict[str, int]:
    """Persons who have stood for at least `WAITED_S` before a crossing, by the crossing's edge."""
    waiting = (p for p in sumo.person.getIDList() if sumo.person.getWaitingTime(p) >= WAITED_S)
    return dict(Counter(edge for edge in map(sumo.person.getNextEdge, waiting) if edge.startswith(":")))

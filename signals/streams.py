"""Streams: the vehicles of one lane whose links are green together in every phase.

A lane that leads straight on and to the left may have one link green and the other red. Whoever waits for the red
link is not served then. Most lanes are one stream.
"""

from __future__ import annotations

from dataclasses import dataclass

from signals.intersection import Intersection
from signals.phases import is_green


@dataclass(frozen=True, slots=True)
class Stream:
    """Part of a controlled lane's vehicles."""

    lane_id: str
    links: tuple[int, ...]
    """The links that they head for, in order."""
    served: tuple[bool, ...]
    """Per phase, whether these are green."""


def streams(item: Intersection) -> tuple[Stream, ...]:
    """One signal's streams, lane by lane in the order of its controlled lanes.

    A link that no phase serves belongs to the lane's first stream: nothing can be done for it.
    """
    return tuple(stream for lane in item.lanes for stream in _of_lane(item, lane))


def _of_lane(item: Intersection, lane: str) -> list[Stream]:
    by_served: dict[tuple[bool, ...], list[int]] = {}
    unserved: list[int] = []
    for link in item.table.links:
        if link.pedestrian or all(connection.from_lane != lane for connection in link.connections):
            continue
        served = tuple(is_green(phase.state[link.index]) for phase in item.phases)
        (by_served.setdefault(served, []) if any(served) else unserved).append(link.index)
    if not by_served:
        return [Stream(lane, tuple(unserved), (False,) * len(item.phases))]
    first = next(iter(by_served))
    by_served[first] = sorted([*by_served[first], *unserved])
    return [Stream(lane, tuple(links), served) for served, links in by_served.items()]

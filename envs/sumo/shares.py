"""How the vehicles of a shared lane divide among its streams: by the link that each is about to pass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from signals.layout import Layout

NO_LINK = -1
MOST_LINKS = 1 << 20


@dataclass(slots=True)
class _SharedLane:
    tls_id: str
    first: int
    """Added to a link's index, so that no other signal has the same number."""
    lane: str
    upstream: tuple[str, ...]
    """The lanes from which vehicles come."""
    streams: slice
    """Where its streams are."""
    usual: list[float]
    """Their shares where nobody is seen."""
    of_link: dict[int, int]
    """Per link's number, which of them it is."""
    busy: bool = False


class ShareReader:
    """Reads the streams' shares of the lanes that have several.

    Vehicles count for the link that their route leads over. A vehicle is asked for its link when it comes and when it
    is the first on the lane, so that a change of its route in between is seen late.
    """

    def __init__(self, layout: Layout) -> None:
        self._links: dict[str, int] = {}
        self._shared: list[_SharedLane] = []
        for c, lane in enumerate(layout.controlled):
            streams = np.flatnonzero(layout.stream_lane == c).tolist()
            if len(streams) < 2:
                continue
            signal = int(layout.controlled_signal[c])
            seen = layout.zone.index[c][layout.zone.weight[c] > 0].tolist()
            upstream = tuple(dict.fromkeys(layout.lanes[n] for n in seen if layout.lanes[n] != lane))
            first = signal * MOST_LINKS
            of_link = {first + link: n for n, b in enumerate(streams) for link in layout.streams[b].links}
            of = slice(streams[0], streams[-1] + 1)
            usual = layout.stream_share[of].tolist()
            self._shared.append(_SharedLane(layout.tls_ids[signal], first, lane, upstream, of, usual, of_link))

    def reset(self) -> None:
        """Another episode begins."""
        self._links = {}
        for shared in self._shared:
            shared.busy = False

    def read(self, low: Any, share: npt.NDArray[np.float64]) -> None:
        """Write the shares of all streams of shared lanes.

        Args:
            low: libsumo's lowest layer, or what answers the same calls.
            share: [B] where to write.
        """
        known, seen = self._links, {}
        ids_of = low.lane_getLastStepVehicleIDs
        for shared in self._shared:
            vehicles = ids_of(shared.lane)
            first = vehicles[-1:]  # SUMO lists a lane's vehicles from its beginning on
            for lane in shared.upstream:
                vehicles += ids_of(lane)
            if not vehicles:
                if shared.busy:
                    shared.busy = False
                    share[shared.streams] = shared.usual
                continue
            shared.busy = True
            of_link, tls_id, counts = shared.of_link, shared.tls_id, [0] * len(shared.usual)
            for vehicle in vehicles:
                link = known.get(vehicle, NO_LINK)
                if link not in of_link or vehicle in first:  # new, or from a lane beside
                    link = _link(low, vehicle, tls_id, shared.first)
                seen[vehicle] = link
                if link in of_link:
                    counts[of_link[link]] += 1
            total = sum(counts)
            share[shared.streams] = [count / total for count in counts] if total else shared.usual
        self._links = seen


def _link(low: Any, vehicle: str, tls_id: str, first: int) -> int:
    """The number of the link of this signal that a vehicle passes next, or `NO_LINK`."""
    signals = low.vehicle_getNextTLS(vehicle)
    return first + signals[0][1] if signals and signals[0][0] == tls_id else NO_LINK

"""How the vehicles of a shared lane divide among its streams: by the link that each is about to pass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from signals.layout import Layout

STANDING_MPS = 0.1


@dataclass(frozen=True, slots=True)
class _SharedLane:
    tls_id: str
    signal: int
    lanes: tuple[str, ...]
    """The controlled lane, then those upstream of it from which vehicles come."""
    streams: range
    of_link: dict[int, int]
    """Per link, its stream."""


class ShareReader:
    """Reads the streams' shares of the lanes that have several.

    Vehicles count for the link that their route leads over. Who stands on the lane behind a vehicle that waits at red
    counts for that vehicle's link: none of them gets away before it does.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._shared: list[_SharedLane] = []
        for c, lane in enumerate(layout.controlled):
            streams = np.flatnonzero(layout.stream_lane == c).tolist()
            if len(streams) < 2:
                continue
            signal = int(layout.controlled_signal[c])
            seen = layout.zone.index[c][layout.zone.weight[c] > 0].tolist()
            lanes = dict.fromkeys((lane, *(layout.lanes[n] for n in seen)))
            of_link = {link: b for b in streams for link in layout.streams[b].links}
            self._shared.append(
                _SharedLane(layout.tls_ids[signal], signal, tuple(lanes), range(streams[0], streams[-1] + 1), of_link)
            )

    def read(self, low: Any, phase: npt.NDArray[np.int64], share: npt.NDArray[np.float64]) -> None:
        """Write the shares of all streams of shared lanes.

        Args:
            low: libsumo's lowest layer, or what answers the same calls.
            phase: [S] the phase that is green or comes next.
            share: [B] where to write.
        """
        for shared in self._shared:
            counts = dict.fromkeys(shared.streams, 0)
            head: tuple[float, str, int] | None = None
            on_lane = 0
            for n, lane in enumerate(shared.lanes):
                vehicles = low.lane_getLastStepVehicleIDs(lane)
                on_lane = on_lane if n else len(vehicles)
                for vehicle in vehicles:
                    signals = low.vehicle_getNextTLS(vehicle)
                    if not signals or signals[0][0] != shared.tls_id or signals[0][1] not in shared.of_link:
                        continue
                    stream, distance_m = shared.of_link[signals[0][1]], signals[0][2]
                    counts[stream] += 1
                    if n == 0 and (head is None or distance_m < head[0]):
                        head = distance_m, vehicle, stream
            red = head is not None and not self._layout.stream_served[head[2], phase[shared.signal]]
            if head is not None and red and low.vehicle_getSpeed(head[1]) < STANDING_MPS:
                counts[head[2]] += on_lane
            total = sum(counts.values())
            for stream, count in counts.items():
                share[stream] = count / total if total else self._layout.stream_share[stream]

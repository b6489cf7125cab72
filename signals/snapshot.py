"""The traffic that a decision sees, as arrays in place. `signals.layout` says which element is what."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from signals.layout import Layout

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
HALTING_MPS = 0.1
"""[m/s] below it a vehicle stands: SUMO's own limit of waiting."""
ARRIVAL_BIN_S = 2.5
ARRIVAL_BINS = 24
"""Arrivals are told up to a minute ahead."""


@dataclass
class Snapshot:
    """The traffic that a decision sees. Plain arrays, written in place by the simulation at each decision.

    The lanes' arrays hold true values (sensing `full`). The controlled lanes' arrays are what detectors tell
    (sensing `detectors`); where there are none they stay 0.
    """

    time_s: FloatArray
    """[1] simulation time."""
    lanes: FloatArray
    """[4, L] vehicles, halting, waiting_s and loss_veh of each lane, in one piece."""
    occupied: FloatArray
    """[C] 1 where the stop-bar detector is occupied."""
    occupancy: FloatArray
    """[C] share of the last decision interval during which it was."""
    gap_s: FloatArray
    """[C] time since the stop-bar detector was last left, 0 while occupied; at most 60."""
    share: FloatArray
    """[B] the share of its lane's vehicles that each stream has: by their routes (sensing `full`), or as counts
    have shown it (sensing `detectors`)."""
    arriving: FloatArray
    """[B, ARRIVAL_BINS] vehicles that move towards the stop line, by the time that they take to it: the first
    `ARRIVAL_BIN_S`, the next, and so on; the last holds the later ones, too. With sensing `full` it is NaN where
    nobody has asked for it: an observation does by `ahead`, an environment by its option `arrivals`. With sensing
    `detectors` it is who is expected, as `signals.queues` has it."""
    lead: FloatArray
    """[B] the share of a stream's vehicles on its lane that have no vehicle of another stream ahead of them; 1 where
    the lane is empty (sensing `full`; else 1)."""
    arrivals_veh: FloatArray
    """[B] a stream's share of its advance detector's count since its green ended or, during green, since it began."""
    flow_veh: FloatArray
    """[C] advance detector's count in the last decision interval."""
    backed_up: FloatArray
    """[C] share of the last decision interval during which the advance detector was occupied, as by a queue."""
    healthy: FloatArray
    """[C] 1 while both detectors of a lane are plausible."""
    queue_veh: FloatArray
    """[B] vehicles that wait at the stop line, as `signals.queues` takes it from the detectors."""
    expected_vph: FloatArray
    """[2, C] the flow that a forecast expects [veh/h]: in the next interval that it tells, and in the last; NaN where
    it tells nothing of a lane, and everywhere where there is none (`scenarios.foresight`)."""
    pedestrians: FloatArray
    """[S, K] pedestrians waiting at a crossing."""
    phase: IntArray
    """[S] the phase that is green or, during a change, the one that comes next."""
    changing: BoolArray
    """[S] whether a change interval is on."""
    green_in_s: FloatArray
    """[S] how long until it is green, 0 while it is."""
    green_age_s: FloatArray
    """[S] how long the current green has lasted."""
    since_served_s: FloatArray
    """[S, P] how long ago each phase was last green."""
    mask: BoolArray
    """[S, P] the phases that may be chosen now."""
    calls: BoolArray
    """[S, P] whether a vehicle or pedestrian waits that a phase serves and the current one does not."""

    @property
    def vehicles(self) -> FloatArray:
        """[L] vehicles on each lane."""
        row: FloatArray = self.lanes[0]
        return row

    @property
    def halting(self) -> FloatArray:
        """[L] of these, slower than `HALTING_MPS`."""
        row: FloatArray = self.lanes[1]
        return row

    @property
    def waiting_s(self) -> FloatArray:
        """[L] sum of their current stops' waiting times."""
        row: FloatArray = self.lanes[2]
        return row

    @property
    def loss_veh(self) -> FloatArray:
        """[L] vehicles x (1 - mean speed / limit): the rate at which time is lost [s/s]."""
        row: FloatArray = self.lanes[3]
        return row

    @staticmethod
    def shapes(layout: Layout) -> dict[str, tuple[tuple[int, ...], type]]:
        """Shape and type of each array."""
        s, p, k = layout.shape
        lanes, controlled = (len(layout.lanes),), (len(layout.controlled),)
        result: dict[str, tuple[tuple[int, ...], type]] = {"time_s": ((1,), np.float64)}
        result["lanes"] = ((4, *lanes), np.float64)
        result |= dict.fromkeys(("occupied", "occupancy", "gap_s"), (controlled, np.float64))
        result |= dict.fromkeys(("share", "lead", "arrivals_veh", "queue_veh"), ((len(layout.streams),), np.float64))
        result["arriving"] = ((len(layout.streams), ARRIVAL_BINS), np.float64)
        result |= dict.fromkeys(("flow_veh", "backed_up", "healthy"), (controlled, np.float64))
        result |= {
            "expected_vph": ((2, *controlled), np.float64),
            "pedestrians": ((s, k), np.float64),
            "phase": ((s,), np.int64),
            "changing": ((s,), np.bool_),
        }
        result |= dict.fromkeys(("green_in_s", "green_age_s"), ((s,), np.float64))
        result |= {"since_served_s": ((s, p), np.float64)}
        return result | {"mask": ((s, p), np.bool_), "calls": ((s, p), np.bool_)}

    @staticmethod
    def empty(layout: Layout) -> Snapshot:
        """A snapshot of zeros; `share`, `lead` and `expected_vph` are what they are as long as nothing is known."""
        empty = Snapshot(**{n: np.zeros(shape, kind) for n, (shape, kind) in Snapshot.shapes(layout).items()})
        empty.share[:], empty.lead[:], empty.expected_vph[:] = layout.stream_share, 1.0, np.nan
        return empty

    def copy(self) -> Snapshot:
        """An independent copy, to compare a later moment with."""
        return Snapshot(**{f.name: getattr(self, f.name).copy() for f in fields(self)})

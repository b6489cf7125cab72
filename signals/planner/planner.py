"""From what a decision sees to the cost of each signal's best plans."""

from __future__ import annotations

import math

import numpy as np

from signals.layout import Layout
from signals.planner.arrivals import arrivals
from signals.planner.compiled import first_costs
from signals.planner.search import ROUND_UP, BoolArray, FloatArray, Problem
from signals.planner.tables import stream_first, stream_rates, stream_service
from signals.snapshot import Snapshot

HORIZON_S = 60.0
SATURATION_FLOW_VPH = 1900.0  # per lane: the base value of the Highway Capacity Manual 2010
LEAST_STEP_S = 2.5  # [s] a plan's step is one decision or, where these are closer together, several


class Planner:
    """Costs each first phase of each signal by the best plan that begins with it.

    Source: Sen and Head 1997, Controlled optimization of phases at an intersection: a plan is a sequence of phases in
    the order of the program, any of which may be skipped; `signals.planner.search` has the recursion.

    Assumed: standing vehicles are in a queue at the stop line; each moving one arrives there after its own time at
    the speed limit (`Snapshot.arriving`); no vehicle comes from beyond the detection zones. A queue leaves at
    saturation flow, at half of it while yielding. The vehicles of a lane that streams share go one after another
    (`signals.planner.tables.stream_rates`). Queues have no length, signals plan without each other, pedestrians do
    not count (the machine serves them at max green). Minimum and maximum greens and change intervals are each
    signal's own.

    With sensing `detectors` queues are those of `Snapshot.queue_veh`, and who is not seen yet comes at the mean flow,
    of which `expected` takes a share.

    Args:
        layout: the signals.
        horizon_s: how far plans reach [s].
        saturation_flow_vph: vehicles per hour that leave a queue on one lane's green.
        sensing: of the snapshots, `full` or `detectors`.
        expected: share of `Snapshot.arriving` that plans reckon with.
    """

    def __init__(
        self,
        layout: Layout,
        horizon_s: float = HORIZON_S,
        saturation_flow_vph: float = SATURATION_FLOW_VPH,
        sensing: str = "full",
        expected: float = 1.0,
    ) -> None:
        self.layout, self.sensing, self._expected = layout, sensing, expected
        interval_s = layout.decision_interval_s
        self._step_s = interval_s * math.ceil(LEAST_STEP_S / interval_s - ROUND_UP)
        self._steps = max(2, round(horizon_s / self._step_s))
        self._count = layout.phase_exists.sum(axis=1)
        self._stream_first = stream_first(layout)
        self._service, self._flow_vps = stream_service(layout), saturation_flow_vph / 3600.0

    def costs(self, snapshot: Snapshot, only: BoolArray | None = None) -> FloatArray:
        """[S, P] the delay until the horizon of the best plan that asks for each phase now [veh s].

        Args:
            snapshot: of this planner's sensing.
            only: [S] the signals to plan for; all where left out.

        Returns:
            Infinite where a phase may not be asked for, where none of its plans reaches the horizon, and at signals
            that are not planned for. Where one phase alone may be asked for nothing is to be decided, and it costs 0.

        Raises:
            ValueError: vehicles on their way have not been read.
        """
        if np.isnan(snapshot.arriving.ravel()[:1]).any():
            raise ValueError("this snapshot tells of no arrivals; make the environment with arrivals=True")
        wanted = np.ones(len(snapshot.phase), bool) if only is None else only
        choices = snapshot.mask.sum(axis=1)
        result = first_costs(self.problem(snapshot, wanted & (choices > 1)))
        result[snapshot.mask & (wanted & (choices == 1))[:, None]] = 0.0
        return result

    def problem(self, snapshot: Snapshot, wanted: BoolArray) -> Problem:
        """What is to be planned now for the signals that are wanted [S]."""
        layout, phase = self.layout, snapshot.phase
        signals, begin_s = np.arange(len(phase)), snapshot.green_in_s - snapshot.green_age_s
        rates = self._service
        if layout.shared:
            rates = stream_rates(layout, rates, snapshot.share, snapshot.lead)
        return Problem(
            step_s=self._step_s,
            stream_first=self._stream_first,
            queue_veh=self._queue_veh(snapshot),
            arrivals_veh=arrivals(snapshot.arriving, self._step_s, self._steps) * self._expected,
            rates_vps=rates * self._flow_vps,
            change_s=layout.change_s,
            least_green_s=layout.min_green_s,
            greatest_green_s=layout.max_green_s,
            phase_count=self._count,
            current=phase,
            green_in_s=snapshot.green_in_s,
            held_s=begin_s + layout.min_green_s[signals, phase],
            left_s=begin_s + layout.max_green_s[signals, phase],
            mask=snapshot.mask & wanted[:, None],
        )

    def _queue_veh(self, snapshot: Snapshot) -> FloatArray:
        """[B] vehicles that stand at the stop line."""
        if self.sensing == "detectors":
            return snapshot.queue_veh
        return self.layout.zone.sum(snapshot.halting)[self.layout.stream_lane] * snapshot.share

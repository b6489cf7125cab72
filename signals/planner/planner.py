"""A planner per run: from what a decision sees to the cost of each signal's best plans."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from signals.intersection import Intersection
from signals.layout import Layout
from signals.planner.arrivals import arrivals
from signals.planner.compiled import first_costs
from signals.planner.search import BoolArray, FloatArray, Problem
from signals.planner.tables import green_bounds_s, lane_room, stream_first, stream_service
from signals.snapshot import Snapshot
from signals.timing import Timing

HORIZON_S = 60.0
SATURATION_FLOW_VPH = 1900.0  # per lane: the base value of the Highway Capacity Manual 2010
LEAST_STEP_S = 2.5  # [s] a plan's step is one decision or, where these are closer together, several
ROUND_UP = 1e-6


class Planner:
    """Costs each first phase of each signal by the best plan that begins with it.

    Source: Sen and Head 1997, Controlled optimization of phases at an intersection: a plan is a sequence of phases in
    the order of the program, any of which may be skipped; `signals.planner.search` has the recursion.

    Assumed: standing vehicles are in a queue at the stop line; each moving one arrives there after its own time at
    the speed limit (`Snapshot.arriving`); no vehicle comes from beyond the detection zones. A queue leaves at
    saturation flow, at half of it while yielding, in proportion where a lane serves several movements or streams.
    Queues have no length, signals plan without each other, pedestrians do not count (the machine serves them at max
    green). Minimum and maximum greens and change intervals are each signal's own.

    Args:
        horizon_s: how far plans reach [s].
        saturation_flow_vph: vehicles per hour that leave a queue on one lane's green.
    """

    def __init__(self, horizon_s: float = HORIZON_S, saturation_flow_vph: float = SATURATION_FLOW_VPH) -> None:
        self.horizon_s = horizon_s
        self.saturation_flow_vph = saturation_flow_vph

    def reset(self, intersections: Sequence[Intersection], layout: Layout) -> None:
        """A new episode begins with these signals."""
        self.layout = layout
        self._count = np.array([len(item.phases) for item in intersections], np.int64)
        self._least_green_s, self._greatest_green_s = green_bounds_s(intersections, layout)
        self._stream_first = stream_first(layout)
        self._service_vps = stream_service(layout) * self.saturation_flow_vph / 3600.0  # [B, P]
        self._time_s: float | None = None
        self._green_since_s = np.zeros(len(self._count))
        self._phase = np.zeros(len(self._count), np.int64)
        self._prepare(Timing().decision_interval_s)

    def costs(self, snapshot: Snapshot, only: BoolArray | None = None) -> FloatArray:
        """[S, P] the delay until the horizon of the best plan that asks for each phase now [veh s].

        To be called at every decision of an episode, in order: between these it notes when greens begin.

        Args:
            snapshot: sensing `full`.
            only: [S] the signals to plan for; all where left out.

        Returns:
            Infinite where a phase may not be asked for, where none of its plans reaches the horizon, and at signals
            that are not planned for. Where one phase alone may be asked for nothing is to be decided, and it costs 0.
        """
        wanted = np.ones(len(snapshot.phase), bool) if only is None else only
        choices = snapshot.mask.sum(axis=1)
        result = first_costs(self._problem(snapshot, wanted & (choices > 1)))
        result[snapshot.mask & (wanted & (choices == 1))[:, None]] = 0.0
        return result

    def _problem(self, snapshot: Snapshot, wanted: BoolArray) -> Problem:
        self._follow(snapshot)
        layout, now_s, phase = self.layout, float(snapshot.time_s[0]), snapshot.phase
        signals = np.arange(len(phase))
        since_s = np.where(snapshot.changing, self._green_since_s, now_s - snapshot.green_age_s)
        rates = self._service_vps * lane_room(layout, snapshot.share) if layout.shared else self._service_vps
        return Problem(
            step_s=self._step_s,
            stream_first=self._stream_first,
            queue_veh=layout.zone.sum(snapshot.halting)[layout.stream_lane] * snapshot.share,
            arrivals_veh=arrivals(snapshot.arriving, self._step_s, self._steps),
            rates_vps=rates,
            change_s=layout.change_s,
            least_green_s=self._least_green_s,
            greatest_green_s=self._greatest_green_s,
            phase_count=self._count,
            current=phase,
            green_in_s=np.maximum(since_s - now_s, 0.0),
            held_s=since_s + self._least_green_s[signals, phase] - now_s,
            left_s=since_s + self._greatest_green_s[signals, phase] - now_s,
            mask=snapshot.mask & wanted[:, None],
        )

    def _prepare(self, interval_s: float) -> None:
        """What depends on the time between decisions, which the first two decisions show."""
        self._interval_s = interval_s
        self._step_s = interval_s * math.ceil(LEAST_STEP_S / interval_s - ROUND_UP)
        self._steps = max(2, round(self.horizon_s / self._step_s))

    def _follow(self, snapshot: Snapshot) -> None:
        """Note when greens begin: during a change the snapshot does not tell."""
        now_s, phase = float(snapshot.time_s[0]), snapshot.phase
        if self._time_s is None:
            self._green_since_s[:] = now_s
        else:
            if now_s > self._time_s and abs(now_s - self._time_s - self._interval_s) > ROUND_UP:
                self._prepare(now_s - self._time_s)
            changed = np.flatnonzero(phase != self._phase)
            old, new = self._phase[changed], phase[changed]
            self._green_since_s[changed] = self._time_s + self.layout.change_s[changed, old, new]
        self._time_s, self._phase = now_s, phase.copy()

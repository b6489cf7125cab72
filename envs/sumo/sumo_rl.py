"""sumo-rl's observation and rewards under their names, for users who move over.

The quantities are those of sumo-rl 1.4 (Alegre 2019, https://github.com/LucasAlegre/sumo-rl): per signal the
phase one-hot, whether min green is over, density and queue of each controlled lane. They are read vehicle by
vehicle, which costs more than our own features. Min green counts from the begin of green, whatever the change
interval before it was; sumo-rl counts min green and its one yellow from the request, which is the same.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from signals.intersection import SignalPlan
from signals.layout import Layout
from signals.observations import Observation
from signals.snapshot import Snapshot

MIN_GAP_M = 2.5  # SUMO's default minGap, as sumo-rl assumes for every vehicle
MEMORY = ("--waiting-time-memory", "1000")  # [s] for which a waiting time is remembered; SUMO's default is 100


def lanes_of(simulation: Any) -> list[list[str]]:
    """The controlled lanes of each signal, in the order of SUMO's link indices.

    A crossing's links come from a walking area, where no vehicle is.
    """
    of_tls = simulation.sumo.trafficlight
    return [list(dict.fromkeys(of_tls.getControlledLanes(tls_id))) for tls_id in simulation.layout.tls_ids]


def exits_of(simulation: Any) -> list[list[str]]:
    """The lanes that each signal leads to."""
    of_tls = simulation.sumo.trafficlight
    return [
        list(dict.fromkeys(links[0][1] for links in of_tls.getControlledLinks(tls_id) if links))
        for tls_id in simulation.layout.tls_ids
    ]


class SumoRlObservation(Observation):
    """[phase one-hot, min green over, density per lane, queue per lane] of each signal, padded with 0.

    | elements | meaning | range |
    |---|---|---|
    | P | the phase is green, or comes next during a change | 0/1 |
    | 1 | its min green is over | 0/1 |
    | lanes | vehicles, as a share of those that the lane has room for | 0 to 1 |
    | lanes | the same of halting vehicles | 0 to 1 |
    """

    high = 1.0
    sumo_options = MEMORY

    @classmethod
    def sizes(cls, layout: Layout, plan: SignalPlan) -> list[int]:
        """[S] length of each signal's own observation."""
        lanes = [{c.from_lane for link in i.table.links for c in link.connections} for i in plan.intersections]
        return [len(i.phases) + 1 + 2 * len(own) for i, own in zip(plan.intersections, lanes, strict=True)]

    def begin(self, simulation: Any) -> None:
        """Remember the lanes."""
        self._low, self._machine = simulation._low, simulation.machine
        self._lanes = lanes_of(simulation)
        self._length = {lane: self._low.lane_getLength(lane) for lanes in self._lanes for lane in lanes}

    def write(self, snapshot: Snapshot) -> None:
        """Bring the rows up to this moment."""
        low, machine = self._low, self._machine
        for s, lanes in enumerate(self._lanes):
            phases = int(machine.phase_count[s])
            one_hot = [1.0 if machine.phase[s] == p else 0.0 for p in range(phases)]
            intersection = machine.intersections[s]
            over = machine.green_age_s[s] >= intersection.phases[machine.phase[s]].min_green_s
            density, queue = [], []
            for lane in lanes:
                capacity = self._length[lane] / (MIN_GAP_M + low.lane_getLastStepLength(lane))
                density.append(min(1.0, low.lane_getLastStepVehicleNumber(lane) / capacity))
                queue.append(min(1.0, low.lane_getLastStepHaltingNumber(lane) / capacity))
            row = [*one_hot, float(over), *density, *queue]
            self.rows[s, : len(row)] = row


class _Reward(ABC):
    """One of sumo-rl's rewards: it asks SUMO, not the snapshots."""

    sumo_options: ClassVar[tuple[str, ...]] = MEMORY

    def begin(self, simulation: Any) -> None:
        """Remember the lanes."""
        self._low, self._lanes, self._exits = simulation._low, lanes_of(simulation), exits_of(simulation)

    def __call__(self, layout: Layout, before: Snapshot, after: Snapshot) -> npt.NDArray[np.float64]:
        """[S]"""
        return np.array([self._of(s) for s in range(len(self._lanes))])

    @abstractmethod
    def _of(self, s: int) -> float:
        """Of one signal."""


class DiffWaitingTime(_Reward):
    """By how much the accumulated waiting time on the lanes has become less [s / 100]."""

    def begin(self, simulation: Any) -> None:
        """Remember what has been waited: during a warm-up it is not lost by the first decision."""
        super().begin(simulation)
        self._seen: dict[str, dict[str, float]] = {}
        self._last_wait = [0.0] * len(self._lanes)
        for s in range(len(self._lanes)):
            self._of(s)

    def _of(self, s: int) -> float:
        low, total = self._low, []
        for lane in self._lanes[s]:
            waited = 0.0
            for vehicle in low.lane_getLastStepVehicleIDs(lane):
                on = low.vehicle_getLaneID(vehicle)
                accumulated = low.vehicle_getAccumulatedWaitingTime(vehicle)
                known = self._seen.setdefault(vehicle, {})
                if known:
                    accumulated -= sum(value for other, value in known.items() if other != on)
                known[on] = accumulated
                waited += accumulated
            total.append(waited)
        now = sum(total) / 100.0
        saved, self._last_wait[s] = self._last_wait[s] - now, now
        return saved


class AverageSpeed(_Reward):
    """Mean speed as a share of the allowed speed; 1 without vehicles."""

    def _of(self, s: int) -> float:
        low = self._low
        vehicles = [v for lane in self._lanes[s] for v in low.lane_getLastStepVehicleIDs(lane)]
        if not vehicles:
            return 1.0
        return float(sum(low.vehicle_getSpeed(v) / low.vehicle_getAllowedSpeed(v) for v in vehicles) / len(vehicles))


class Queue(_Reward):
    """Minus the halting vehicles on the lanes [veh]."""

    def _of(self, s: int) -> float:
        return -float(sum(self._low.lane_getLastStepHaltingNumber(lane) for lane in self._lanes[s]))


class Pressure(_Reward):
    """Leaving less approaching vehicles [veh]."""

    def _of(self, s: int) -> float:
        number = self._low.lane_getLastStepVehicleNumber
        return float(sum(number(lane) for lane in self._exits[s]) - sum(number(lane) for lane in self._lanes[s]))

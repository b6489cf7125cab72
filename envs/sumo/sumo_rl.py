"""sumo-rl's observation and rewards under their names, for users who move over.

The quantities are those of sumo-rl 1.4 (Alegre 2019, https://github.com/LucasAlegre/sumo-rl): per signal the
phase one-hot, whether min green is over, density and queue of each controlled lane. They are read vehicle by
vehicle, which costs more than our own features. Min green counts from the begin of green, whatever the change
interval before it was; sumo-rl counts min green and its one yellow from the request, which is the same.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from plumbing.errors import InputError, did_you_mean
from signals.intersection import SignalPlan
from signals.layout import Layout

MIN_GAP_M = 2.5  # SUMO's default minGap, as sumo-rl assumes for every vehicle
WAITING_MEMORY_S = 1000.0  # [s] for which a waiting time is remembered; SUMO's default is 100
REWARDS = ("diff-waiting-time", "average-speed", "queue", "pressure")


class Reference:
    """Reads sumo-rl's quantities from a running simulation."""

    def __init__(self, simulation: Any, layout: Layout, reward_name: str) -> None:
        self._low = simulation._low
        self._machine = simulation.machine
        self.layout = layout
        self.reward_name = check_reward(reward_name) if reward_name else ""
        of_tls = simulation._sumo.trafficlight
        # in the order of SUMO's link indices; a crossing's links come from a walking area, where no vehicle is
        self._lanes = [list(dict.fromkeys(of_tls.getControlledLanes(tls_id))) for tls_id in layout.tls_ids]
        self._exits = [
            list(dict.fromkeys(links[0][1] for links in of_tls.getControlledLinks(tls_id) if links))
            for tls_id in layout.tls_ids
        ]
        self._length = {lane: self._low.lane_getLength(lane) for lanes in self._lanes for lane in lanes}
        self._seen: dict[str, dict[str, float]] = {}
        self._last_wait = [0.0] * len(layout.tls_ids)
        if self.reward_name:
            self.reward()  # what was waited during a warm-up is not lost by the first decision

    @staticmethod
    def width(plan: SignalPlan) -> int:
        """Length of the longest signal's observation."""
        return max(Reference.sizes(plan))

    @staticmethod
    def sizes(plan: SignalPlan) -> list[int]:
        """Length of each signal's own observation."""
        lanes = [{c.from_lane for link in i.table.links for c in link.connections} for i in plan.intersections]
        return [len(i.phases) + 1 + 2 * len(own) for i, own in zip(plan.intersections, lanes, strict=True)]

    def observe(self, rows: npt.NDArray[np.float32]) -> None:
        """Write [phase one-hot, min green over, densities, queues] per signal, padded with 0."""
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
            rows[s, : len(row)] = row

    def reward(self) -> npt.NDArray[np.float64]:
        """[S] the named reward."""
        compute = {
            "diff-waiting-time": self._diff_waiting_time,
            "average-speed": self._average_speed,
            "queue": self._queue,
            "pressure": self._pressure,
        }[self.reward_name]
        return np.array([compute(s) for s in range(len(self._lanes))])

    def _diff_waiting_time(self, s: int) -> float:
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

    def _average_speed(self, s: int) -> float:
        low = self._low
        vehicles = [v for lane in self._lanes[s] for v in low.lane_getLastStepVehicleIDs(lane)]
        if not vehicles:
            return 1.0
        return float(sum(low.vehicle_getSpeed(v) / low.vehicle_getAllowedSpeed(v) for v in vehicles) / len(vehicles))

    def _queue(self, s: int) -> float:
        return -float(sum(self._low.lane_getLastStepHaltingNumber(lane) for lane in self._lanes[s]))

    def _pressure(self, s: int) -> float:
        number = self._low.lane_getLastStepVehicleNumber
        return float(sum(number(lane) for lane in self._exits[s]) - sum(number(lane) for lane in self._lanes[s]))


def check_reward(name: str) -> str:
    """The name, if it is one of sumo-rl's rewards.

    Raises:
        InputError: it is not.
    """
    if name not in REWARDS:
        raise InputError(
            f"unknown sumo-rl reward {name!r}; choose one of {', '.join(REWARDS)}.{did_you_mean(name, REWARDS)}"
        )
    return name

"""COP: each signal plans its phases ahead by dynamic programming over the vehicles that it sees coming."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from controllers.base import Phases, choose
from signals.intersection import Intersection
from signals.layout import Layout
from signals.snapshot import Snapshot
from signals.timing import Timing

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
SATURATION_FLOW_VPH = 1900.0  # per lane: the base value of the Highway Capacity Manual 2010
LEAST_STEP_S = 2.5  # [s] a plan's step is one decision or, where these are closer together, several
ROUND_UP = 1e-6


class Cop:
    """Controlled optimisation of phases, replanned at each decision.

    Source: Sen and Head 1997, Controlled optimization of phases at an intersection. A stage is a phase, in the order
    of the program and beginning with the current one; the choice is its number of steps, change interval included,
    0 to skip it. The state after a stage is the number of steps used up. Each state keeps the least total delay with
    its queues (so the result is the best of these paths, not of all: as in the paper). Planning ends once a round of
    phases improves nothing. The first phase of the best plan is requested.

    Assumed: standing vehicles are in a queue at the stop line; moving ones are spread evenly over their lane and
    arrive at its speed limit; no vehicle comes from beyond the detection zones. A queue leaves at saturation flow, at
    half of it while yielding, in proportion where a lane serves several movements or streams. Queues have no length,
    signals plan without each other, pedestrians do not count (the machine serves them at max green). Minimum and
    maximum greens and change intervals are each signal's own.
    """

    sensing = "full"

    def __init__(self, horizon_s: float = 60.0, saturation_flow_vph: float = SATURATION_FLOW_VPH) -> None:
        self.horizon_s = horizon_s
        self.saturation_flow_vph = saturation_flow_vph

    def reset(self, intersections: Sequence[Intersection], layout: Layout, seed: int) -> None:
        """Gather each signal's times and each lane's way to its stop line."""
        del seed
        self.layout = layout
        size, width, _ = layout.shape
        self._count = np.array([len(i.phases) for i in intersections], np.int64)
        self._change_s = np.zeros((size, width, width))
        self._green_s = np.zeros((2, size, width))  # least, greatest
        for s, item in enumerate(intersections):
            for phase in item.phases:
                self._green_s[:, s, phase.index] = phase.min_green_s, phase.max_green_s
            for old, new in item.changes:
                self._change_s[s, old, new] = item.intergreen_s(old, new)
        self._streams, self._has_stream = _by_signal(layout)
        self._service_vps = _stream_service(layout) * self.saturation_flow_vph / 3600.0  # [B, P] [veh/s]
        self._way_s = _way_s(intersections, layout)
        self._time_s: float | None = None
        self._interval_s = Timing().decision_interval_s
        self._green_since_s = np.zeros(size)
        self._phase = np.zeros(size, np.int64)
        self._prepare()

    def _prepare(self) -> None:
        """Tables that depend on the time between decisions, which the first two decisions show."""
        self._step_s = self._interval_s * math.ceil(LEAST_STEP_S / self._interval_s - ROUND_UP)
        steps = max(2, round(self.horizon_s / self._step_s))
        nearest, farthest = self._way_s  # [C, n] [s]
        ends = np.arange(steps + 1) * self._step_s
        reached = (ends - nearest[..., None]) / np.maximum(farthest - nearest, ROUND_UP)[..., None]
        self._share = np.diff(np.clip(reached, 0.0, 1.0), axis=-1)  # [C, n, N]
        # for a lane that begins at the stop line itself
        self._share[..., 0] += np.clip(-nearest / np.maximum(farthest - nearest, ROUND_UP), 0.0, 1.0)

    def decide(self, snapshot: Snapshot) -> Phases:
        """[S] the first phase of each signal's best plan."""
        self._follow(snapshot)
        layout, now_s, signals = self.layout, float(snapshot.time_s[0]), np.arange(len(snapshot.phase))
        index, weight = layout.zone.index, layout.zone.weight
        lane, share = layout.stream_lane, snapshot.share
        queue = (snapshot.halting[index] * weight).sum(axis=-1)[lane] * share  # [B]
        moving = (snapshot.vehicles - snapshot.halting)[index] * weight  # [C, n]
        arriving = (moving[..., None] * self._share).sum(axis=1)[lane] * share[:, None]  # [B, N]
        rates = self._service_vps * _lane_room(layout, share) if layout.shared else self._service_vps
        phase = snapshot.phase
        since_s = np.where(snapshot.changing, self._green_since_s, now_s - snapshot.green_age_s)
        found = plan(
            Problem(
                step_s=self._step_s,
                queue=np.where(self._has_stream, queue[self._streams], 0.0),
                arrivals=np.where(self._has_stream[..., None], arriving[self._streams], 0.0).transpose(0, 2, 1),
                rates=np.where(self._has_stream[:, None, :], rates[self._streams].transpose(0, 2, 1), 0.0),
                change_s=self._change_s,
                least_green_s=self._green_s[0],
                greatest_green_s=self._green_s[1],
                phase_count=self._count,
                current=phase,
                green_in_s=np.maximum(since_s - now_s, 0.0),
                held_s=since_s + self._green_s[0, signals, phase] - now_s,
                left_s=since_s + self._green_s[1, signals, phase] - now_s,
                mask=snapshot.mask,
            )
        )
        scores = np.zeros(snapshot.mask.shape)
        scores[signals, np.where(found.first >= 0, found.first, phase)] = 1.0
        return choose(scores, snapshot)

    def _follow(self, snapshot: Snapshot) -> None:
        """Note when greens begin: during a change the snapshot does not tell."""
        now_s, phase = float(snapshot.time_s[0]), snapshot.phase
        if self._time_s is None:
            self._green_since_s[:] = now_s
        else:
            if now_s > self._time_s and abs(now_s - self._time_s - self._interval_s) > ROUND_UP:
                self._interval_s = now_s - self._time_s
                self._prepare()
            changed = np.flatnonzero(phase != self._phase)
            old, new = self._phase[changed], phase[changed]
            self._green_since_s[changed] = self._time_s + self._change_s[changed, old, new]
        self._time_s, self._phase = now_s, phase.copy()


@dataclass(frozen=True)
class Problem:
    """The planning problem: [S] signals, [P] phases, [C] streams of a signal, [N] steps."""

    step_s: float
    queue: FloatArray
    """[S, C] vehicles that stand at the stop line now."""
    arrivals: FloatArray
    """[S, N, C] vehicles that arrive in each step."""
    rates: FloatArray
    """[S, P, C] vehicles per second that leave a queue on green."""
    change_s: FloatArray
    """[S, P, P] from the end of one phase's green to the begin of another's."""
    least_green_s: FloatArray
    """[S, P]"""
    greatest_green_s: FloatArray
    """[S, P] while other phases have vehicles to serve."""
    phase_count: IntArray
    """[S]"""
    current: IntArray
    """[S] the phase that is green, or comes next."""
    green_in_s: FloatArray
    """[S] until it is green."""
    held_s: FloatArray
    """[S] until it may end."""
    left_s: FloatArray
    """[S] until it has to."""
    mask: BoolArray
    """[S, P] which phases may be asked for now."""


@dataclass
class Plan:
    """The best found."""

    first: IntArray
    """[S] the phase to ask for now; -1 where there is none."""
    delay_veh_s: FloatArray
    """[S] the sum of waiting until the horizon."""


@dataclass
class _State:
    """For each number of steps used up [S, N + 1]: the least delay so far, and what led to it."""

    delay: FloatArray
    queue: FloatArray
    last: IntArray
    first: IntArray

    def copy(self) -> _State:
        return _State(self.delay.copy(), self.queue.copy(), self.last.copy(), self.first.copy())


def plan(of: Problem) -> Plan:
    """The recursion over stages, for all signals at once."""
    size, steps, lanes = of.arrivals.shape
    signals = np.arange(size)
    state = _State(
        np.full((size, steps + 1), np.inf),
        np.zeros((size, steps + 1, lanes)),
        np.repeat(of.current[:, None], steps + 1, axis=1),
        np.full((size, steps + 1), -1, np.int64),
    )
    state.delay[:, 0], state.queue[:, 0] = 0.0, of.queue
    reach = np.minimum(np.arange(steps + 1)[:, None] + np.arange(steps), steps - 1)
    coming = of.arrivals[:, reach]  # [S, N + 1, N, C] in each step of a stage, by the steps used up before it
    there = of.queue + of.arrivals.sum(axis=1)  # [S, C]
    rounds, unimproved = int(of.phase_count.max(initial=1)), 0
    for stage in range(4 * rounds):
        phase = (of.current + stage) % of.phase_count
        rate = of.rates[signals, phase]
        alone = ~((there > 0) & (rate == 0)).any(axis=1)  # no other phase has vehicles: no max green
        if stage == 0:
            lead_s = np.repeat(of.green_in_s[:, None], steps + 1, axis=1)
            least = np.repeat(_steps_up(of.held_s, of.step_s)[:, None], steps + 1, axis=1)
            most = np.repeat(_steps_down(of.left_s, of.step_s)[:, None], steps + 1, axis=1)
            allowed = np.zeros((size, steps + 1), bool)
        else:
            lead_s = of.change_s[signals[:, None], state.last, phase[:, None]]
            least = _steps_up(lead_s + of.least_green_s[signals, phase][:, None], of.step_s)
            most = _steps_down(lead_s + of.greatest_green_s[signals, phase][:, None], of.step_s)
            allowed = np.isfinite(state.delay) & (state.last != phase[:, None])
        allowed[:, 0] = of.mask[signals, phase] & (allowed[:, 0] | (stage == 0))
        most = np.maximum(np.where(alone[:, None], steps, most), least)
        before = state.delay[:, steps].copy()
        state = _stage(of, coming, state, phase, rate, lead_s, least, most, allowed)
        improved = bool((state.delay[:, steps] < before - 1e-9).any())
        unimproved = 0 if improved else unimproved + 1
        if unimproved >= rounds:  # the paper's rounds less one would never find the way back of two phases
            break
    return Plan(state.first[:, steps], state.delay[:, steps])


def _stage(
    of: Problem,
    coming: FloatArray,
    state: _State,
    phase: IntArray,
    rate: FloatArray,
    lead_s: FloatArray,
    least: IntArray,
    most: IntArray,
    allowed: BoolArray,
) -> _State:
    """One phase more, from each state for each number of steps, where that is better."""
    steps = of.arrivals.shape[1]
    used, n = np.arange(steps + 1), np.arange(1, steps + 1)  # [N + 1], [N]
    ends = used[:, None] + n
    green_s = np.clip(n * of.step_s - lead_s[..., None], 0.0, of.step_s)  # [S, N + 1, N]
    # a queue never falls below nothing: what it would be, less the least that it would have been so far (Lindley)
    left = state.queue[:, :, None] + np.cumsum(coming - green_s[..., None] * rate[:, None, None], axis=2)
    left -= np.minimum(np.minimum.accumulate(left, axis=2), 0.0)  # [S, N + 1, N, C]
    waiting = np.concatenate([state.queue.sum(axis=-1)[..., None], left.sum(axis=-1)], axis=2)
    delay = state.delay[..., None] + np.cumsum(0.5 * of.step_s * (waiting[..., :-1] + waiting[..., 1:]), axis=2)
    enough = (n >= least[..., None]) | (ends == steps)  # the horizon cuts a green short
    fits = allowed[..., None] & enough & (n <= most[..., None])
    delay = np.where(fits, delay, np.inf)
    # at each number of steps used up: the best of all stages that end there
    begins = n[:, None] - n  # [N, N]
    ending = np.where(begins >= 0, delay[:, begins, n - 1], np.inf)  # [S, N, N]
    longest = ending.argmin(axis=2)
    signals = np.arange(len(delay))[:, None]
    least_delay = ending[signals, n - 1, longest]
    better = least_delay < state.delay[:, 1:] - 1e-9
    if not better.any():
        return state
    new = state.copy()
    start = begins[n - 1, longest]
    begun = np.where(state.first >= 0, state.first, phase[:, None])
    new.delay[:, 1:][better] = least_delay[better]
    new.queue[:, 1:][better] = left[signals, start, longest][better]
    new.last[:, 1:][better] = np.broadcast_to(phase[:, None], better.shape)[better]
    new.first[:, 1:][better] = begun[signals, start][better]
    return new


def _steps_up(seconds: FloatArray, step_s: float) -> IntArray:
    result: IntArray = np.maximum(np.ceil(seconds / step_s - ROUND_UP), 1).astype(np.int64)
    return result


def _steps_down(seconds: FloatArray, step_s: float) -> IntArray:
    result: IntArray = np.maximum(np.floor(np.minimum(seconds, 1e6) / step_s + ROUND_UP), 1).astype(np.int64)
    return result


def _by_signal(layout: Layout) -> tuple[IntArray, BoolArray]:
    """[S, B'] each signal's streams, and which of these slots it has."""
    own = [np.flatnonzero(layout.stream_signal == s) for s in range(layout.shape[0])]
    width = max((len(found) for found in own), default=1) or 1
    index = np.zeros((len(own), width), np.int64)
    exists = np.zeros((len(own), width), bool)
    for s, found in enumerate(own):
        index[s, : len(found)], exists[s, : len(found)] = found, True
    return index, exists


def _stream_service(layout: Layout) -> FloatArray:
    """[B, P] the share of its saturation flow that a stream has in a phase: the mean over its movements."""
    total, count = np.zeros(layout.stream_served.shape), np.zeros(len(layout.streams))
    for s, k in np.ndindex(layout.movement_exists.shape):
        found = layout.movement_streams.index[s, k][layout.movement_streams.weight[s, k] > 0]
        total[found] += layout.service[s, :, k]
        count[found] += 1
    return np.where(layout.stream_served, np.maximum(total / np.maximum(count, 1)[:, None], 0.1), 0.0)


def _lane_room(layout: Layout, share: FloatArray) -> FloatArray:
    """[B, P] the share of its lane's saturation flow that a stream has: all where the lane's others are red."""
    green = layout.stream_served * np.maximum(share, ROUND_UP)[:, None]
    together = np.zeros((len(layout.controlled), green.shape[1]))
    np.add.at(together, layout.stream_lane, green)
    room: FloatArray = green / np.maximum(together, ROUND_UP)[layout.stream_lane]
    return room


def _way_s(intersections: Sequence[Intersection], layout: Layout) -> tuple[FloatArray, FloatArray]:
    """[C, n] the time from each lane's downstream and upstream end to the stop line [s]."""
    index = layout.zone.index
    metres = np.zeros(index.shape)
    zones = [zone for item in intersections for zone in item.zones]
    for c, zone in enumerate(zones):
        distance = dict(zone.upstream)
        for n, lane in enumerate(index[c]):
            metres[c, n] = distance.get(layout.lanes[lane], 0.0)
    speed, length = layout.lane_speed_mps[index], layout.lane_length_m[index]
    return metres / speed, (metres + length) / speed

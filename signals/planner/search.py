"""The search for the best plans, in numpy. `native/plan.cpp` does the same, to the bit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
ROUND_UP = 1e-6
"""[steps] by which a time may exceed a whole number of steps and still count as that."""
TOLERANCE = 1e-9
"""[veh s] a plan is better than another by more than that, so that rounding decides nothing."""
FOREVER_S = 1e6


@dataclass(frozen=True)
class Problem:
    """What is to be planned: [S] signals, [P] phases, [B] streams of all signals, [N] steps ahead."""

    step_s: float
    stream_first: IntArray
    """[S + 1] where each signal's streams begin; they lie signal by signal."""
    queue_veh: FloatArray
    """[B] vehicles that stand at the stop line now."""
    arrivals_veh: FloatArray
    """[B, N] vehicles that arrive in each step."""
    rates_vps: FloatArray
    """[B, P] vehicles per second that leave a queue on green; 0 on red."""
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
    """[S, P] the first phases whose cost is wanted: no others than may be asked for."""


@dataclass
class _State:
    """For each row and each number of steps used up [R, N + 1]: the least delay so far, and what led to it."""

    delay: FloatArray
    last: IntArray
    queue: FloatArray
    """[C, R, N + 1]"""


@dataclass(frozen=True)
class _Stage:
    """One phase more, from each state [R, N + 1]."""

    phase: IntArray
    """[R]"""
    rate: FloatArray
    """[C, R]"""
    lead_s: FloatArray
    """Until it is green."""
    least: IntArray
    """Steps that it has to take, those of the change included."""
    most: IntArray
    allowed: BoolArray


def first_costs(of: Problem) -> FloatArray:
    """[S, P] the least delay until the horizon, over all streams of a signal, of a plan that asks for a phase first.

    A row is one signal with one first phase. A stage is a phase, in the order of the program and beginning with the
    current one; the choice is its number of steps, change interval included, 0 to skip it. Each number of steps used
    up keeps the least delay with its queues, so the result is the best of these paths, not of all. Stages go on until
    a whole round of phases improves none of these: then none ever would.

    Returns:
        [veh s]; infinite where `mask` is false, or where no plan reaches the horizon.
    """
    signal, first = np.nonzero(of.mask)
    result = np.full(of.mask.shape, np.inf)
    if len(signal):
        result[signal, first] = _least_delays(of, signal, first)
    return result


def _least_delays(of: Problem, signal: IntArray, first: IntArray) -> FloatArray:
    """[R] the least delay of each row's plans."""
    queue, arrivals, rates = _by_row(of, signal)
    steps, rows, current = arrivals.shape[2], np.arange(len(signal)), of.current[signal]
    there = queue + arrivals.sum(axis=2)
    alone = ~((there[..., None] > 0) & (rates == 0)).any(axis=0)  # [R, P] no other has vehicles: no max green
    state = _State(
        np.full((len(signal), steps + 1), np.inf),
        np.repeat(current[:, None], steps + 1, axis=1),
        np.zeros((*queue.shape, steps + 1)),
    )
    state.delay[:, 0], state.queue[:, :, 0] = 0.0, queue
    rounds, stage, quiet = int(of.phase_count[signal].max()), 0, 0
    while quiet < rounds:
        phase = (current + stage) % of.phase_count[signal]
        if stage == 0:
            lead_s, held_s, left_s = (np.repeat(of_signal[signal, None], steps + 1, axis=1)
                                      for of_signal in (of.green_in_s, of.held_s, of.left_s))  # fmt: skip
            allowed = np.zeros(state.delay.shape, bool)
            allowed[:, 0] = first == phase
        else:
            lead_s = of.change_s[signal[:, None], state.last, phase[:, None]]
            held_s = lead_s + of.least_green_s[signal, phase][:, None]
            left_s = lead_s + of.greatest_green_s[signal, phase][:, None]
            allowed = np.isfinite(state.delay) & (state.last != phase[:, None])
            allowed[:, 0] &= first == phase
        least, most = _steps_up(held_s, of.step_s), _steps_down(left_s, of.step_s)
        most = np.maximum(np.where(alone[rows, phase][:, None], steps, most), least)
        improved = _go_on(
            of.step_s, arrivals, state, _Stage(phase, rates[:, rows, phase], lead_s, least, most, allowed)
        )
        stage, quiet = stage + 1, 0 if improved else quiet + 1
    return state.delay[:, steps]


def _go_on(step_s: float, arrivals: FloatArray, state: _State, of: _Stage) -> bool:
    """Bring the states up to one stage more, from each of them for each number of steps: whether any is better."""
    steps = arrivals.shape[2]
    left, delay = state.queue.copy(), state.delay.copy()
    bound, waiting = state.delay - TOLERANCE, left.sum(axis=0)
    improved = False
    for n in range(1, steps + 1):
        begins = slice(steps + 1 - n)  # where a stage of n steps may begin; it ends n steps later
        green_s = np.clip(n * step_s - of.lead_s[:, begins], 0.0, step_s)
        left = np.maximum(left[..., begins] + arrivals[..., n - 1 :] - green_s * of.rate[..., None], 0.0)
        # over the first axis numpy adds up one by one, as compiled code does; over the last one it would not
        now = left.sum(axis=0)
        delay = delay[:, begins] + 0.5 * step_s * (waiting[:, begins] + now)
        waiting = now
        enough = n >= of.least[:, begins]
        enough[:, -1] = True  # the horizon cuts a green short
        better = of.allowed[:, begins] & enough & (n <= of.most[:, begins]) & (delay < bound[:, n:])
        if better.any():
            improved = True
            np.copyto(bound[:, n:], delay, where=better)
            np.copyto(state.delay[:, n:], delay, where=better)
            np.copyto(state.last[:, n:], of.phase[:, None], where=better)
            np.copyto(state.queue[..., n:], left, where=better)
    return improved


def _by_row(of: Problem, signal: IntArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Queues [C, R], arrivals [C, R, N] and rates [C, R, P]: those of each row's streams, then zeros."""
    begin, end = of.stream_first[signal], of.stream_first[signal + 1]
    stream = begin + np.arange(max(int((end - begin).max()), 1))[:, None]  # [C, R]
    exists = stream < end
    if not exists.any():
        stream, exists = stream[:0], exists[:0]
    stream = np.where(exists, stream, 0)
    return (
        np.where(exists, of.queue_veh[stream], 0.0),
        np.where(exists[..., None], of.arrivals_veh[stream], 0.0),
        np.where(exists[..., None], of.rates_vps[stream], 0.0),
    )


def _steps_up(seconds: FloatArray, step_s: float) -> IntArray:
    result: IntArray = np.maximum(np.ceil(seconds / step_s - ROUND_UP), 1).astype(np.int64)
    return result


def _steps_down(seconds: FloatArray, step_s: float) -> IntArray:
    result: IntArray = np.maximum(np.floor(np.minimum(seconds, FOREVER_S) / step_s + ROUND_UP), 1).astype(np.int64)
    return result

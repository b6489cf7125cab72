"""The search for the best plans, compiled where the library was built: one call for all signals."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from native.library import library
from signals.planner import search
from signals.planner.search import FloatArray, Problem

ARRAYS: dict[str, type[Any]] = {
    "stream_first": np.int64,
    **dict.fromkeys(("queue_veh", "arrivals_veh", "rates_vps"), np.float64),
    **dict.fromkeys(("change_s", "least_green_s", "greatest_green_s"), np.float64),
    **dict.fromkeys(("phase_count", "current"), np.int64),
    **dict.fromkeys(("green_in_s", "held_s", "left_s"), np.float64),
    "mask": np.bool_,
}


class _Problem(ctypes.Structure):
    """The struct `Problem` of plan.h."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in ("signals", "phases", "steps")),
        ("step_s", ctypes.c_double),
        *((name, ctypes.c_void_p) for name in (*ARRAYS, "costs")),
    ]


def first_costs(of: Problem) -> FloatArray:
    """See `signals.planner.search.first_costs`: the same to the bit, by compiled code where there is any.

    Raises:
        MemoryError: there is none left.
    """
    compiled = library()
    if compiled is None:
        return search.first_costs(of)
    costs = np.empty(of.mask.shape)
    arrays = [np.ascontiguousarray(getattr(of, name), kind) for name, kind in ARRAYS.items()]
    _check(of, costs.shape)
    pointers = (array.ctypes.data for array in (*arrays, costs))
    struct = _Problem(*of.mask.shape, of.arrivals_veh.shape[1], of.step_s, *pointers)
    if compiled.first_costs(ctypes.byref(struct)):
        raise MemoryError("no memory for the planner's states")
    return costs


def _check(of: Problem, shape: tuple[int, ...]) -> None:
    """Whether all arrays have the sizes that compiled code takes for granted."""
    signals, phases = shape
    streams = len(of.queue_veh)
    assert of.stream_first.shape == (signals + 1,)
    assert of.stream_first[0] >= 0
    assert of.stream_first[-1] <= streams
    assert of.arrivals_veh.shape[0] == streams
    assert of.rates_vps.shape == (streams, phases)
    assert of.change_s.shape == (signals, phases, phases)
    assert of.least_green_s.shape == of.greatest_green_s.shape == shape
    assert all(len(a) == signals for a in (of.phase_count, of.current, of.green_in_s, of.held_s, of.left_s))

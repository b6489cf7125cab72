"""The compiled state machine and the plain one, step by step: the same arrays and the same answers, to the bit."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest

from scenarios.loading import load
from signals.intersection import compile_signals
from signals.layout import build_layout
from signals.machine import BoolArray, SignalMachine
from signals.snapshot import Snapshot
from signals.timing import Timing
from tests.compiled import CompiledMachine, needs_library

STATE = ("phase", "green_since_s", "settled_at_s", "served_until_s", "green_until_s", "_held_until_s", "_max_until_s")


@needs_library
@pytest.mark.parametrize("name", ["single", "cologne8", "ingolstadt7"])
@pytest.mark.parametrize(("decision_s", "max_green_s"), [(5.0, 60.0), (1.0, 12.0), (0.7, math.inf)])
def test_both_machines_go_the_same_way(name: str, decision_s: float, max_green_s: float) -> None:
    network = load(name).network
    timing = Timing(decision_interval_s=decision_s, max_green_s=max_green_s, sim_step_s=0.1)
    items = compile_signals(network, timing).intersections
    layout = build_layout(items, network)
    compiled = CompiledMachine(items, timing, network)
    machines = [SignalMachine(items, timing, layout.shape[1]), compiled]
    seen = [Snapshot.empty(layout), compiled.seen]
    draw, shape, changes, forced, guarded = random.Random(name), layout.shape[:2], 0, 0, 0
    generator, now_s = np.random.default_rng(7), 25200.0
    for machine in machines:
        machine.reset(now_s)
    for step in range(1500):
        calls = generator.random(shape) < draw.choice((0.0, 0.1, 0.9))
        wanted = generator.integers(0, shape[1], shape[0])
        if step // 100 % 2:  # until max green forces it
            wanted[:] = machines[0].phase
        if step % 9 == 0:
            wanted[:] = draw.choice((-1, 2**62, -(2**62), shape[1]))
        if step % 50 == 49:  # the field's way: somebody else shows a phase
            signal = draw.randrange(shape[0])
            phase, since_s = draw.randrange(len(items[signal].phases)), now_s + draw.choice((-1.0, 0.0, 3.0))
            for machine in machines:
                machine.follow(signal, phase, since_s)
        if step % 7 == 0:  # the spillback guard
            useless = generator.random(shape) < draw.choice((0.0, 0.0, 0.5, 1.0))
            for machine in machines:
                machine.block(useless & machine.exists)
            guarded += int((machines[0].mask(calls) != unguarded(machines[0], calls)).sum())
        masks = [machine.mask(calls) for machine in machines]
        assert masks[0].tobytes() == masks[1].tobytes()
        forced += int((~masks[0][np.arange(shape[0]), machines[0].phase]).sum())
        rows = [machine.request(wanted, calls) for machine in machines]
        assert rows[0] == rows[1]
        changes += len(rows[0])
        now_s = round(now_s + draw.choice((decision_s, 0.1)), 3)
        for machine, snapshot in zip(machines, seen, strict=True):
            machine.advance(now_s)
            machine.show(snapshot)
            snapshot.calls[:] = calls
            machine.show_mask(snapshot)
        for field in ("phase", "changing", "green_in_s", "green_age_s", "since_served_s", "mask"):
            assert getattr(seen[0], field).tobytes() == getattr(seen[1], field).tobytes(), field
        for field in STATE:
            assert getattr(machines[0], field).tobytes() == getattr(machines[1], field).tobytes(), field
    assert changes > 15
    assert guarded > 15
    assert forced > 10 or math.isinf(max_green_s)


def unguarded(machine: SignalMachine, calls: BoolArray) -> BoolArray:
    """The mask as it would be without the spillback guard."""
    useless = machine.blocked.copy()
    machine.block(np.zeros_like(useless))
    found = machine.mask(calls)
    machine.block(useless)
    return found


@needs_library
def test_odd_arrays_are_taken_or_refused_but_never_read_beyond() -> None:
    network = load("cologne3").network
    items = compile_signals(network).intersections
    decision = CompiledMachine(items, Timing(), network).decision
    before = decision.wanted.copy()
    for wrong in (np.zeros(len(items) - 1, np.int64), np.zeros((2, len(items)), np.int64)):
        with pytest.raises(ValueError, match="broadcast"):
            decision.step(0.0, wrong)
        assert (decision.wanted == before).all()
    asked = np.arange(2 * len(items), dtype=np.int32)[::2]  # strided, and of another type
    with pytest.raises(RuntimeError):  # no SUMO runs here
        decision.step(0.0, asked)
    assert decision.wanted.tolist() == asked.tolist()
    rows = np.zeros((len(items), 2 * decision.row_size), np.float32)
    for odd in (rows[:, ::2], rows, rows[:, : decision.row_size].astype(np.float64)):
        with pytest.raises(AssertionError):
            decision.observe(odd)

"""COP: plans counted by hand, bounds by trying everything, and the arrivals that it predicts."""

from __future__ import annotations

import itertools
import time
from dataclasses import replace

import numpy as np
import pytest

from controllers.cop import Cop, Problem, plan
from scenarios.scenario import load
from signals.intersection import compile_signals
from signals.layout import build_layout
from signals.snapshot import Snapshot


def problem(queue: list[float], arrivals: list[list[float]] | None = None, steps: int = 6) -> Problem:
    """One signal, a lane per phase, steps of 5 s; half a vehicle per second leaves on green, a change takes 5 s."""
    size = len(queue)
    return Problem(
        step_s=5.0,
        queue=np.array([queue]),
        arrivals=np.zeros((1, steps, size)) if arrivals is None else np.array([arrivals]),
        rates=0.5 * np.eye(size)[None],
        change_s=5.0 * (1 - np.eye(size))[None],
        least_green_s=np.full((1, size), 5.0),
        greatest_green_s=np.full((1, size), 60.0),
        phase_count=np.array([size]),
        current=np.array([0]),
        green_in_s=np.zeros(1),
        held_s=np.zeros(1),
        left_s=np.full(1, 60.0),
        mask=np.ones((1, size), bool),
    )


def test_it_changes_at_once_where_all_wait_elsewhere() -> None:
    found = plan(problem([0.0, 10.0]))
    assert found.first[0] == 1
    # 10 for 5 s of change; then 10 to 7.5, 7.5 to 5, 5 to 2.5 and 2.5 to 0 in 5 s each
    assert found.delay_veh_s[0] == pytest.approx(50 + 43.75 + 31.25 + 18.75 + 6.25)


def test_it_serves_its_own_queue_first_where_the_other_is_short() -> None:
    found = plan(problem([5.0, 1.0], steps=8))
    assert found.first[0] == 0
    # 5 to 2.5 to 0 in 10 s; the other one waits for these, 5 s of change, and goes within a step
    assert found.delay_veh_s[0] == pytest.approx(18.75 + 6.25 + 10 + 5 + 2.5)


def test_it_stays_for_a_platoon_that_it_sees_coming_and_goes_before_it_where_there_is_time() -> None:
    soon, late = np.zeros((12, 2)), np.zeros((12, 2))
    soon[1, 0] = late[8, 0] = 6.0
    assert plan(problem([0.0, 1.0], soon.tolist(), 12)).first[0] == 0
    assert plan(problem([0.0, 1.0], late.tolist(), 12)).first[0] == 1


def test_a_phase_is_skipped_where_nobody_wants_it() -> None:
    assert plan(problem([0.0, 0.0, 4.0])).first[0] == 2
    assert plan(problem([0.0, 0.0, 0.0])).first[0] == 0, "nobody there: no change"


def test_bounds_and_mask_are_kept() -> None:
    waiting = problem([0.0, 10.0])
    held = replace(waiting, held_s=np.array([12.0]), mask=np.array([[True, False]]))
    # three steps more of what is green, then as above until the horizon
    assert plan(held).first[0] == 0
    assert plan(held).delay_veh_s[0] == pytest.approx(3 * 50 + 50 + 43.75 + 31.25)
    at_maximum = replace(problem([50.0, 1.0, 2.0]), left_s=np.zeros(1), mask=np.array([[False, True, True]]))
    assert plan(at_maximum).first[0] in (1, 2)
    short = replace(problem([50.0, 1.0], steps=8), greatest_green_s=np.full((1, 2), 10.0), left_s=np.array([10.0]))
    free = problem([50.0, 1.0], steps=8)
    assert plan(short).delay_veh_s[0] > plan(free).delay_veh_s[0], "at the maximum it has to serve the other"


def cost(of: Problem, shown: tuple[int, ...]) -> float:
    """The delay of asking for these phases, one per step; infinite where a green is shorter than allowed."""
    queue, total, last, lead, lasted = of.queue[0].copy(), 0.0, int(of.current[0]), 0.0, 99
    for n, phase in enumerate(shown):
        if phase != last:
            if lasted * of.step_s < 10.0:  # change and least green
                return np.inf
            last, lead, lasted = phase, 5.0, 0
        lasted += 1
        green = np.clip(lasted * of.step_s - lead, 0.0, of.step_s)
        after = np.maximum(queue + of.arrivals[0, n] - green * of.rates[0, phase], 0.0)
        total += 0.5 * of.step_s * float((queue + after).sum())
        queue = after
    return total


@pytest.mark.parametrize("seed", range(12))
def test_no_plan_is_better_than_the_best_of_all_and_hardly_any_much_worse(seed: int) -> None:
    random = np.random.default_rng(seed)
    arrivals = random.integers(0, 3, (8, 2)).astype(float)
    of = problem(random.integers(0, 8, 2).astype(float).tolist(), arrivals.tolist(), 8)
    found = plan(of)
    every = {shown: cost(of, shown) for shown in itertools.product((0, 1), repeat=8)}
    best = min(every.values())
    with_first = min(value for shown, value in every.items() if shown[0] == found.first[0])
    assert best - 1e-6 <= found.delay_veh_s[0] <= 1.1 * best
    assert with_first <= found.delay_veh_s[0] + 1e-6, "what it claims can be had"


def test_signals_do_not_influence_each_other() -> None:
    one, two = problem([0.0, 10.0]), problem([9.0, 1.0])
    fields = {name: getattr(one, name) for name in vars(one) if name != "step_s"}
    both = Problem(
        step_s=5.0, **{name: np.concatenate([value, getattr(two, name)]) for name, value in fields.items()}
    )
    assert plan(both).first.tolist() == [plan(one).first[0], plan(two).first[0]]
    assert plan(both).delay_veh_s == pytest.approx([plan(one).delay_veh_s[0], plan(two).delay_veh_s[0]])


def test_moving_vehicles_are_expected_after_their_way_and_standing_ones_now() -> None:
    network = load("cologne1").network
    intersections = compile_signals(network).intersections
    layout = build_layout(intersections, network)
    controller, snapshot = Cop(), Snapshot.empty(layout)
    controller.reset(intersections, layout, 0)
    snapshot.mask[:] = layout.phase_exists
    only = layout.stream_lane[layout.stream_served[:, 2] & (layout.stream_served.sum(axis=1) == 1)][0]
    lane = layout.controlled_lane[only]
    way_s = layout.lane_length_m[lane] / layout.lane_speed_mps[lane]
    place = np.flatnonzero(layout.zone.index[only] == lane)[0]
    share = controller._share[only, place]
    assert share.sum() == pytest.approx(1.0)
    assert share[int(way_s // 5) + 1 :].sum() == 0, "nobody is longer on the way"
    assert share[0] == pytest.approx(min(1.0, 5 / way_s))
    assert controller.decide(snapshot)[0] == 0
    snapshot.vehicles[lane] = snapshot.halting[lane] = 6
    snapshot.time_s[0] = 5.0
    assert controller.decide(snapshot)[0] == 2


def test_a_decision_takes_a_moment() -> None:
    network = load("cologne3").network
    intersections = compile_signals(network).intersections
    layout = build_layout(intersections, network)
    controller, snapshot = Cop(), Snapshot.empty(layout)
    controller.reset(intersections, layout, 0)
    random, spent = np.random.default_rng(0), []
    for moment in range(20):
        snapshot.time_s[0] = 5.0 * moment
        snapshot.lanes[0] = random.integers(0, 9, len(layout.lanes))
        snapshot.lanes[1] = random.integers(0, 5, len(layout.lanes)).clip(max=snapshot.lanes[0])
        snapshot.mask[:] = layout.phase_exists
        began = time.thread_time()
        controller.decide(snapshot)
        spent.append(time.thread_time() - began)
    assert sorted(spent)[10] < 0.010 * len(intersections), "10 ms per signal"

"""The planner on real signals: what it makes of a snapshot, and what the phases cost then."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from functools import cache

import numpy as np
import pytest

from scenarios.loading import load
from signals.intersection import Intersection, compile_signals
from signals.layout import Layout, build_layout
from signals.planner.arrivals import arrivals
from signals.planner.planner import Planner
from signals.planner.tables import stream_first, stream_rates, stream_service
from signals.snapshot import ARRIVAL_BIN_S, ARRIVAL_BINS, Snapshot


@cache
def compiled(name: str) -> tuple[tuple[Intersection, ...], Layout]:
    network = load(name).network
    intersections = tuple(compile_signals(network).intersections)
    return intersections, build_layout(intersections, network)


def ready(name: str = "cologne1") -> tuple[Planner, Snapshot, Layout]:
    """A planner, and an empty network where everything may be asked for: each first phase has been green for 30 s."""
    _, layout = compiled(name)
    planner, snapshot = Planner(layout), Snapshot.empty(layout)
    snapshot.mask[:] = layout.phase_exists
    snapshot.green_age_s[:] = 30.0
    return planner, snapshot, layout


def only_in(layout: Layout, phase: int) -> int:
    """A stream that only this phase of the first signal serves: there are such of phases 0 and 2."""
    found = layout.stream_served[:, phase] & (layout.stream_served.sum(axis=1) == 1) & (layout.stream_signal == 0)
    return int(np.flatnonzero(found)[0])


def stand(layout: Layout, snapshot: Snapshot, stream: int, vehicles: float) -> None:
    lane = layout.controlled_lane[layout.stream_lane[stream]]
    snapshot.vehicles[lane] = snapshot.halting[lane] = vehicles


# --- costs


def test_an_empty_network_costs_nothing() -> None:
    planner, snapshot, layout = ready("cologne3")
    assert np.array_equal(planner.costs(snapshot), np.where(layout.phase_exists, 0.0, np.inf))


@pytest.mark.parametrize(("green", "red"), [(0, 2), (2, 0), (3, 0), (1, 2)])
def test_a_queue_on_red_makes_its_phase_the_cheapest(green: int, red: int) -> None:
    planner, snapshot, layout = ready()
    snapshot.phase[0] = green
    stand(layout, snapshot, only_in(layout, red), 6)
    costs = planner.costs(snapshot)[0]
    assert costs.argmin() == red
    assert (np.delete(costs, red) > costs[red] + 6.0).all(), "a second more for each who waits"


def test_who_comes_to_a_red_light_costs_more_the_sooner_they_come() -> None:
    planner, snapshot, layout = ready()
    stream, least = only_in(layout, 2), []
    for n in (0, 8, 16, 23):
        snapshot.arriving[:] = 0.0
        snapshot.arriving[stream, n] = 5.0
        costs = planner.costs(snapshot)[0]
        least.append(costs[1])  # the detour
    assert least == sorted(least, reverse=True)
    assert least[0] > least[-1]


def test_a_vehicle_that_waits_for_the_whole_horizon_costs_its_length() -> None:
    _, layout = compiled("cologne1")
    stream = only_in(layout, 2)
    for horizon_s in (30.0, 60.0):
        planner, (_, snapshot, _) = Planner(layout, horizon_s, saturation_flow_vph=0.0), ready()
        stand(layout, snapshot, stream, 1)
        assert planner.costs(snapshot)[0].tolist() == pytest.approx([horizon_s] * 4)


def test_where_there_is_no_choice_nothing_is_planned() -> None:
    planner, snapshot, layout = ready("cologne3")
    stand(layout, snapshot, only_in(layout, 2), 6)
    all_costs = planner.costs(snapshot)
    assert all_costs[0, 0] > 0
    some = planner.costs(snapshot, np.array([False, True, True]))
    assert np.isinf(some[0]).all()
    assert np.array_equal(some[1:], all_costs[1:])
    snapshot.mask[0] = False
    snapshot.mask[0, 0] = True
    held = planner.costs(snapshot)
    assert held[0, 0] == 0.0
    assert np.isinf(held[0, 1:]).all()
    assert np.array_equal(held[1:], all_costs[1:])
    assert np.isinf(planner.costs(snapshot, np.array([False, True, True]))[0]).all(), "not even asked for"


def test_a_green_that_has_not_begun_is_held_for_longer() -> None:
    planner, snapshot, _ = ready()
    snapshot.phase[0], snapshot.changing[0], snapshot.green_age_s[0], snapshot.green_in_s[0] = 2, True, 0.0, 3.0
    problem = planner.problem(snapshot, np.ones(1, bool))
    assert problem.green_in_s[0] == 3.0
    assert problem.held_s[0] == 3.0 + compiled("cologne1")[0][0].phases[2].min_green_s
    assert problem.left_s[0] == 3.0 + compiled("cologne1")[0][0].phases[2].max_green_s


def test_a_step_is_one_decision_or_several_that_are_closer_together() -> None:
    for interval_s, step_s in ((5.0, 5.0), (1.0, 3.0), (2.0, 4.0), (10.0, 10.0)):
        _, snapshot, layout = ready()
        planner = Planner(dataclasses.replace(layout, decision_interval_s=interval_s))
        problem = planner.problem(snapshot, np.ones(1, bool))
        assert problem.step_s == step_s
        assert problem.arrivals_veh.shape[1] == round(60.0 / step_s)


def test_a_planner_can_be_copied_and_sent_away() -> None:
    """As a search over forks does with the policy that it follows."""
    planner, snapshot, layout = ready()
    stand(layout, snapshot, only_in(layout, 2), 4)
    before = planner.costs(snapshot)
    for other in (copy.deepcopy(planner), pickle.loads(pickle.dumps(planner))):
        assert np.array_equal(other.costs(snapshot), before)


# --- arrivals and tables


def test_bins_are_shared_out_by_the_steps_that_they_lie_in() -> None:
    binned = np.zeros((2, ARRIVAL_BINS))
    binned[0, :4] = 1.0, 2.0, 0.0, 4.0
    binned[1, -1] = 3.0
    assert arrivals(binned, 5.0, 12)[0, :3].tolist() == [3.0, 4.0, 0.0]
    assert arrivals(binned, 5.0, 12)[1].tolist() == [0.0] * 11 + [3.0]
    # steps of 4 s: all of the first bin and 1.5 s of the second; 1 s of that, and 0.5 s of the fourth
    assert arrivals(binned, 4.0, 15)[0, :3] == pytest.approx([1.0 + 2.0 * 0.6, 2.0 * 0.4 + 4.0 * 0.2, 4.0 * 0.8])
    assert arrivals(binned, ARRIVAL_BIN_S, ARRIVAL_BINS).tolist() == binned.tolist()
    assert arrivals(binned, 5.0, 20)[:, 12:].sum() == 0.0, "nobody is told of beyond the last bin"


@pytest.mark.parametrize("seed", range(5))
def test_no_vehicle_is_lost_and_none_comes_of_nothing(seed: int) -> None:
    random = np.random.default_rng(seed)
    binned = random.random((20, ARRIVAL_BINS)) * (random.random((20, ARRIVAL_BINS)) < 0.2)
    step_s = float(random.uniform(2.5, 8.0))
    found = arrivals(binned, step_s, int(np.ceil(60.0 / step_s)))
    assert found.sum(axis=1) == pytest.approx(binned.sum(axis=1))
    assert (found >= 0.0).all()
    for b, row in enumerate(binned):
        bins = np.flatnonzero(row)
        steps = {n for k in bins for n in range(found.shape[1])
                 if n * step_s < (k + 1) * ARRIVAL_BIN_S and k * ARRIVAL_BIN_S < (n + 1) * step_s}  # fmt: skip
        assert set(np.flatnonzero(found[b])) <= steps


def test_streams_lie_signal_by_signal() -> None:
    _, layout = compiled("cologne3")
    first = stream_first(layout)
    assert first[0] == 0
    assert first[-1] == len(layout.streams)
    for s in range(layout.shape[0]):
        assert (layout.stream_signal[first[s] : first[s + 1]] == s).all()


def test_a_stream_is_served_where_it_is_green_and_streams_of_a_lane_share_it() -> None:
    _, layout = compiled("cologne3")
    service = stream_service(layout)
    assert np.array_equal(service > 0, layout.stream_served)
    assert service.max() == 1.0
    rates = stream_rates(layout, service, layout.stream_share, np.ones(len(layout.streams)))
    assert np.array_equal(rates > 0, layout.stream_served)
    alone = np.bincount(layout.stream_lane)[layout.stream_lane] == 1
    assert np.array_equal(rates[alone], service[alone])
    lanes = np.zeros((len(layout.controlled), rates.shape[1]))
    np.add.at(lanes, layout.stream_lane, rates)
    assert lanes.max() == pytest.approx(1.0)


def test_who_yields_holds_up_the_lane_and_red_lets_go_who_is_before_it() -> None:
    """A lane that leads straight on, and to the left, which yields in phase 0 and is alone green in phase 1."""
    _, layout = compiled("cologne8")
    lane = next(
        c for c in range(len(layout.controlled))
        if (found := layout.stream_served[layout.stream_lane == c]).shape[0] == 2 and (found.sum(axis=0) == 1).any()
    )  # fmt: skip
    one, other = np.flatnonzero(layout.stream_lane == lane)
    both = int(np.flatnonzero(layout.stream_served[[one, other]].all(axis=0))[0])
    partly = int(np.flatnonzero(layout.stream_served[[one, other]].sum(axis=0) == 1)[0])
    green, red = (one, other) if layout.stream_served[one, partly] else (other, one)
    service, share, lead = (
        np.ones(layout.stream_served.shape),
        np.ones(len(layout.streams)),
        np.ones(len(layout.streams)),
    )
    service[green, both], share[green], share[red], lead[green] = 0.5, 0.25, 0.75, 0.2
    rates = stream_rates(layout, service, share, lead)
    # four vehicles take 3 + 1 / 0.5 times as long as one
    assert rates[[green, red], both] == pytest.approx([1 / 5, 3 / 5])
    assert rates[[green, red], partly] == pytest.approx([0.2, 0.0])

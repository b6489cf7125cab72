"""Gathering lanes into movements and phases: nothing is lost, nothing counted twice, and no order matters."""

from __future__ import annotations

import dataclasses
import functools
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plumbing.errors import InputError
from scenarios.loading import load
from signals.approaches import DETECTION_M
from signals.intersection import Intersection, SignalPlan, compile_signals
from signals.layout import Gather, Layout, build_layout
from signals.measures import ApproachMeasures
from signals.network import RoadNetwork
from signals.observations import LIMIT, OBSERVATIONS, observation_for
from signals.reward_sum import terms_of
from signals.rewards import COMPARING, REWARDS, Reward
from signals.snapshot import Snapshot

NAMES = ("single", "arterial", "cologne1", "cologne3", "ingolstadt7")
PURE = sorted(name for name, reward in REWARDS.items() if not isinstance(reward, str))
"""The rewards that need no running simulation."""


def reward_for(name: str) -> Reward:
    (term,) = terms_of(name)
    reward: Reward = term.reward
    return reward


@functools.cache
def network(name: str) -> RoadNetwork:
    return load(name).network


@functools.cache
def plan(name: str) -> SignalPlan:
    return compile_signals(network(name))


@functools.cache
def layout(name: str) -> Layout:
    return build_layout(plan(name).intersections, network(name))


def traffic(of: Layout, seed: int) -> Snapshot:
    """Random traffic; each lane's depends on its name alone, so that order does not matter."""
    snapshot = Snapshot.empty(of)
    for n, lane in enumerate(of.lanes):
        draw = random.Random(f"{lane} {seed}")
        snapshot.vehicles[n] = draw.randint(0, 9)
        snapshot.halting[n] = draw.randint(0, int(snapshot.vehicles[n]))
        snapshot.waiting_s[n] = draw.uniform(0, 60) * snapshot.halting[n]
        snapshot.loss_veh[n] = draw.uniform(0, 1) * snapshot.vehicles[n]
    snapshot.mask[:] = of.phase_exists
    return snapshot


def test_a_gather_is_a_weighted_sum() -> None:
    gather = Gather.build([[(0, 1.0), (2, 0.5)], [], [(1, 2.0)], [(2, 1.0)]], (2, 2))
    assert gather.sum(np.array([1.0, 10.0, 100.0])).tolist() == [[51.0, 0.0], [20.0, 100.0]]
    assert gather.sum(np.array([[1.0, 10.0, 100.0], [0.0, 1.0, 0.0]])).shape == (2, 2, 2)


@pytest.mark.parametrize("name", NAMES)
@given(seed=st.integers(0, 10**6))
@settings(max_examples=10, deadline=None)
def test_every_vehicle_that_a_signal_sees_counts_once(name: str, seed: int) -> None:
    """Over its stop lines as over its movements, however many of these its lane leads to."""
    of, items = layout(name), plan(name).intersections
    snapshot = traffic(of, seed)
    seen = ApproachMeasures(of, snapshot).vehicles
    place = {lane: n for n, lane in enumerate(of.lanes)}
    for s, item in enumerate(items):
        watched = {lane for zone in item.zones for lane, _ in zone.upstream}
        truth = sum(snapshot.vehicles[place[lane]] for lane in watched)
        assert seen[of.stream_signal == s].sum() == pytest.approx(truth)
        assert of.movement_streams.sum(seen)[s].sum() == pytest.approx(truth)


@pytest.mark.parametrize("name", NAMES)
def test_a_phase_counts_each_lane_that_it_serves_once(name: str) -> None:
    of = layout(name)
    ones = np.ones(len(of.streams))
    for s, item in enumerate(plan(name).intersections):
        for phase in item.phases:
            served = {
                c.from_lane
                for link in item.table.links
                if phase.state[link.index] in "Gg" and not link.pedestrian
                for c in link.connections
            }
            assert of.phase_size[s, phase.index] == len(served)
    padding = ~of.phase_exists
    assert (of.phase_streams.sum(ones)[padding] == 0).all()
    assert (of.service.max(axis=2) > 0)[of.phase_exists].all()


@pytest.mark.parametrize("name", NAMES)
def test_a_policy_is_told_what_a_change_costs_and_how_many_lanes_a_phase_has(name: str) -> None:
    of, items = layout(name), plan(name).intersections
    snapshot = Snapshot.empty(of)
    snapshot.phase[:] = [len(item.phases) - 1 for item in items]
    for sensing in OBSERVATIONS:
        observe = observation_for(sensing, of)
        block = observe.raw(snapshot)[:, : observe.shape.phases * observe.shape.phase_features]
        phases = block.reshape(*of.shape[:2], -1)
        change, lanes = (phases[..., observe.PHASE_FEATURES.index(feature)] for feature in ("change", "lanes"))
        for s, item in enumerate(items):
            now = len(item.phases) - 1
            for phase in item.phases:
                shown = sum(interval.duration_s for interval in item.changes.get((now, phase.index), ()))
                assert change[s, phase.index] == shown
                served = of.stream_served[:, phase.index] & (of.stream_signal == s)
                assert lanes[s, phase.index] == len({*of.stream_lane[served]})


@pytest.mark.parametrize("name", ["single", "cologne3", "ingolstadt7"])
def test_the_order_of_connections_does_not_matter(name: str) -> None:
    shuffled = list(network(name).connections)
    random.Random(5).shuffle(shuffled)
    other_network = dataclasses.replace(network(name), connections=tuple(shuffled))
    other_plan = compile_signals(other_network)
    other = build_layout(other_plan.intersections, other_network)
    of = layout(name)
    assert [described(i) for i in other_plan.intersections] == [described(i) for i in plan(name).intersections]
    assert sorted(other.lanes) == sorted(of.lanes)
    one, two = traffic(of, 3), traffic(other, 3)
    for kind in (lambda x: x.movement_streams, lambda x: x.phase_streams):
        sums = kind(of).sum(ApproachMeasures(of, one).halting)
        others = kind(other).sum(ApproachMeasures(other, two).halting)
        assert np.sort(sums, axis=1) == pytest.approx(np.sort(others, axis=1))
    for reward in map(reward_for, PURE):
        assert reward(of, one, one) == pytest.approx(reward(other, two, two))


def described(item: Intersection) -> tuple[object, ...]:
    """What is safe to show, which must not depend on any order."""
    return item.tls_id, [phase.state for phase in item.phases], item.changes, item.settling_s


# --- detection


@pytest.mark.parametrize("name", NAMES)
def test_detection_reaches_as_far_as_the_road(name: str) -> None:
    """At least 150 m, unless another signal or the network's edge is nearer."""
    net = network(name)
    for item in plan(name).intersections:
        for zone in item.zones:
            if zone.length_m >= DETECTION_M:
                continue
            watched = {lane for lane, _ in zone.upstream}
            farther = [
                c.from_lane
                for lane in watched
                for c in net.incoming.get(lane, ())
                if c.tls_id is None
                and net.edges[c.from_edge].function == "normal"
                and net.lanes[c.from_lane].vehicles
                and c.from_lane not in watched
            ]
            assert farther == [], f"{item.tls_id}: {zone.lane_id} is seen for {zone.length_m:.0f} m only"


def test_detection_passes_the_short_lanes_of_ingolstadt7() -> None:
    """The trap: approaches that end in a lane of a metre, where looking at controlled lanes sees nothing."""
    net = network("ingolstadt7")
    zones = [zone for item in plan("ingolstadt7").intersections for zone in item.zones]
    short = [zone for zone in zones if net.lanes[zone.lane_id].length_m < 1.0]
    assert len(short) == 6
    assert min(zone.length_m for zone in short) > 45.0  # to the next signal upstream
    assert sum(zone.length_m >= DETECTION_M for zone in zones) > len(zones) / 2
    for zone in zones:
        assert zone.upstream[0] == (zone.lane_id, 0.0)
        assert all(distance < DETECTION_M for _, distance in zone.upstream)


# --- rewards


def test_golden_rewards_on_single() -> None:
    """Three vehicles on one approach of a lane that two movements share, one on the exit that it leads to."""
    of = layout("single")
    before, after = Snapshot.empty(of), Snapshot.empty(of)
    movement = int(np.flatnonzero(~of.crossing[0] & of.movement_exists[0])[0])
    item = plan("single").intersections[0].movements[movement]
    lane, exit_lane = of.lanes.index(item.lanes[0]), of.lanes.index(item.exit_lanes[0])
    after.vehicles[lane], after.halting[lane] = 3.0, 2.0
    after.loss_veh[lane], after.waiting_s[lane] = 2.5, 40.0
    before.waiting_s[lane] = 55.0
    assert reward_for("time_loss")(of, before, after).tolist() == [-2.5]
    assert reward_for("queue_veh")(of, before, after).tolist() == [-2.0]
    assert reward_for("waiting_time_saved")(of, before, after).tolist() == [15.0]
    assert reward_for("pressure_veh")(of, before, after).tolist() == [-3.0]
    after.vehicles[exit_lane] = 1.0
    upstream = ApproachMeasures(of, after).movements[0, 0]
    downstream = of.movement_exits.sum(after.vehicles)[0]
    assert upstream.sum() == pytest.approx(3.0)
    expected = -np.abs(upstream - downstream)[~of.crossing[0]].sum()
    assert reward_for("pressure_veh")(of, before, after)[0] == pytest.approx(expected)
    assert expected != -3.0


def test_an_unknown_reward_is_refused_with_a_hint() -> None:
    with pytest.raises(InputError, match="Did you mean 'queue_veh'"):
        terms_of("queue_vehs")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("sensing", ["full", "detectors"])
def test_observations_stay_within_their_bounds(name: str, sensing: str) -> None:
    of = layout(name)
    observe, snapshot = observation_for(sensing, of), traffic(of, 1)
    snapshot.lanes[0] *= 1000
    snapshot.since_served_s[:] = 1e9
    rows = observe(snapshot)
    assert rows.shape == (len(of.tls_ids), observe.shape.size)
    assert rows.min() >= 0.0
    assert rows.max() == LIMIT
    assert not np.shares_memory(rows, observe(snapshot))


@pytest.mark.parametrize("name", PURE)
def test_the_rewards_that_look_at_the_earlier_moment_are_listed(name: str) -> None:
    """The worker keeps a copy of it for these alone."""
    of = layout("cologne3")
    before, after, reward = traffic(of, 1), traffic(of, 2), reward_for(name)
    same = np.array_equal(reward(of, before, after), reward(of, after, after))
    assert same == (name not in COMPARING)

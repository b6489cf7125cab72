"""Queues and arrivals as loops tell them: nothing lost, anchored where a loop knows, whatever is broken."""

from __future__ import annotations

import numpy as np
import pytest

from controllers.cop import CopOnDetectors
from deployment.field.estimator import Estimator
from envs.sumo.setup import SimulationOptions, make_setup
from envs.sumo.simulation import Simulation
from scenarios.loading import load
from signals.intersection import compile_signals
from signals.layout import build_layout
from signals.loops import DetectorFaults, LoopReader, plan_loops
from signals.queues import JAM_SPACING_M, PRIOR_VPS, LoopNews, QueueEstimate
from signals.snapshot import ARRIVAL_BIN_S, ARRIVAL_BINS, Snapshot
from tests.field import Feed, make_site, values
from tests.windows import window

INTERVAL_S = 5.0
ROOM_VEH = (40.0 - 3.0) / JAM_SPACING_M


class Lane:
    """The estimate of the first lane of `single`, whose loops are told what to say; nobody comes on the others."""

    def __init__(self) -> None:
        network = load("single").network
        self.layout = build_layout(compile_signals(network).intersections, network)
        size = len(self.layout.controlled)
        self.estimate = QueueEstimate(self.layout, np.full(size, 40.0), np.full(size, 3.0))
        self.estimate.reset()
        self.snapshot = Snapshot.empty(self.layout)
        self.alone_veh = np.zeros((2, size))

    def tell(
        self, *, green: bool = False, came: float = 0.0, left: float = 0.0, occupancy: float = 0.0,
        gap_s: float = 60.0, advance_gap_s: float = 60.0, backed_up: float = 0.0, trusted: bool = True,
    ) -> float:  # fmt: skip
        """One interval; returns the queue. The stop bar is occupied now where no `gap_s` is told with it."""
        size = len(self.layout.controlled)

        def first(value: float, others: float) -> np.ndarray:
            return np.array([value, *[others] * (size - 1)])

        for n, (own, other) in enumerate(((left, came), (came, left))):
            self.alone_veh[n, 0] = 0.0 if other > 0 else self.alone_veh[n, 0] + own
        news = LoopNews(
            first(came, 0.0), first(left, 0.0), first(gap_s, 60.0) <= 0, first(occupancy, 0.0), first(gap_s, 60.0),
            first(advance_gap_s, 60.0), first(backed_up, 0.0), np.full((2, size), trusted), self.alone_veh,
        )  # fmt: skip
        self.estimate.update(self.snapshot, np.full(len(self.layout.streams), green), news, INTERVAL_S)
        return float(self.snapshot.queue_veh[0])

    def stand(self, vehicles: int, **more: float) -> float:
        """On red so many come, one an interval; the first stops on the stop bar. Returns the queue."""
        queue = 0.0
        for n in range(vehicles):
            queue = self.tell(came=1, left=float(n == 0), occupancy=1, gap_s=0, advance_gap_s=2, **more)
        return queue

    @property
    def expected_veh(self) -> float:
        """Who is expected within a minute."""
        return float(self.snapshot.arriving[0].sum())


def test_who_came_and_did_not_leave_waits() -> None:
    lane = Lane()
    assert lane.stand(4) == pytest.approx(4)
    assert lane.tell(green=True, left=2, occupancy=0.6, gap_s=0) == pytest.approx(2)


def test_an_empty_stop_bar_ends_the_queue_whatever_the_counts_say() -> None:
    lane = Lane()
    lane.stand(4)
    assert lane.tell(green=True, left=1, occupancy=0.2, gap_s=4) == 0.0
    assert lane.tell(came=1, gap_s=9) == 1.0, "who has just come is on the way"


def test_a_queue_over_the_advance_loop_reaches_it_and_grows_by_the_flow_seen_before() -> None:
    lane = Lane()
    lane.stand(1)
    queues = [lane.tell(occupancy=1, gap_s=0, advance_gap_s=0, backed_up=1) for _ in range(4)]
    assert queues[0] >= ROOM_VEH + 1
    growth = np.diff(queues)
    assert (growth > 0).all()
    assert growth == pytest.approx(PRIOR_VPS * INTERVAL_S, rel=0.3)


def test_a_queue_is_never_longer_than_its_lane() -> None:
    lane = Lane()
    lane.stand(1)
    for _ in range(500):
        queue = lane.tell(occupancy=1, gap_s=0, advance_gap_s=0, backed_up=1)
        assert queue <= lane.layout.lane_length_m[lane.layout.controlled_lane[0]] / JAM_SPACING_M + 1


def test_the_expected_flow_becomes_the_one_that_is_seen_and_comes_after_the_drive() -> None:
    lane = Lane()
    for _ in range(240):
        lane.tell(green=True, came=1, left=1, occupancy=0.1, gap_s=4, advance_gap_s=4)
    assert lane.expected_veh == pytest.approx((ARRIVAL_BINS * ARRIVAL_BIN_S - 40 / 13.89) / INTERVAL_S, rel=0.05)
    assert lane.snapshot.arriving[0, 0] == 0.0, "nobody whom no loop has seen is nearer than the advance loop"


def test_a_stuck_stop_bar_is_no_queue_for_long() -> None:
    lane = Lane()
    lane.stand(2)
    found = [lane.tell(green=True, occupancy=1, gap_s=0) for _ in range(4)]
    assert found[1] >= 2
    assert found[-1] == 0.0, "in so much green they have left"


def test_a_dead_stop_bar_hides_no_queue_that_reaches_the_advance_loop() -> None:
    lane = Lane()
    for _ in range(3):
        queue = lane.tell(came=1, advance_gap_s=2, backed_up=0.3)
    assert queue <= 1.0
    queue = lane.tell(advance_gap_s=0, backed_up=1)
    assert queue >= ROOM_VEH
    for _ in range(4):
        queue = lane.tell(green=True, came=1, advance_gap_s=2)
    assert queue < 2.0, "a green serves those who cannot be counted"
    assert lane.tell(came=1) >= 1.0


def test_a_stuck_advance_loop_is_no_queue_once_the_stop_bar_is_free() -> None:
    lane = Lane()
    lane.stand(2)
    assert lane.tell(occupancy=1, gap_s=0, advance_gap_s=0, backed_up=1) > ROOM_VEH
    lane.tell(green=True, left=2, occupancy=0.3, gap_s=4, advance_gap_s=0, backed_up=1)
    assert lane.tell(gap_s=9, advance_gap_s=0, backed_up=1) < 2.0
    assert lane.tell(left=1, occupancy=1, gap_s=0, advance_gap_s=0, backed_up=1) < 3.0


def test_where_no_loop_is_believed_somebody_waits_on_red_and_the_usual_flow_comes() -> None:
    lane = Lane()
    before = [lane.tell(green=True, came=1, left=1, occupancy=0.1, gap_s=4) for _ in range(60)]
    assert max(before) <= 1.0
    usual = lane.expected_veh
    assert lane.tell(trusted=False) >= 1.0
    for _ in range(20):
        lane.tell(green=True, trusted=False)
    assert lane.expected_veh == pytest.approx(usual, rel=0.01)


def test_shares_of_a_lane_add_up_to_its_queue() -> None:
    setup = make_setup(window("cologne1", 300.0), SimulationOptions(sensing="detectors"))
    simulation, layout = Simulation(setup), setup.layout
    assert layout.shared
    decider = CopOnDetectors()
    decider.reset(setup.plan.intersections, layout, 0)
    simulation.begin(1)
    estimated, true = [], []
    while not simulation.done:
        assert simulation._loops is not None
        seen, lanes = simulation.snapshot, len(layout.controlled)
        by_lane = np.bincount(layout.stream_lane, seen.queue_veh, lanes)
        assert np.isfinite(seen.arriving).all()
        assert (seen.queue_veh >= 0).all()
        estimated.append(by_lane)
        true.append(layout.zone.sum(seen.halting))
        simulation.decide(decider.decide(seen))
    simulation.end()
    found, real = np.array(estimated), np.array(true)
    assert real.max() > 5
    assert np.corrcoef(found.ravel(), real.ravel())[0, 1] > 0.7
    assert abs(found.mean() - real.mean()) < 0.75


def test_the_field_estimates_what_the_simulation_does_of_the_same_readings() -> None:
    """Polled bits against a reader that is told the same counts, seconds and gaps."""
    site = make_site()
    estimator = Estimator(site)
    feed = Feed(estimator)
    reader = LoopReader(site.loops, site.layout, DetectorFaults())
    snapshot, most = Snapshot.empty(site.layout), 0.0
    for second in range(100):
        # on the first lane, which is red, a queue grows and stands on its stop bar; on the second one they drive
        passing, standing = second % 7 < 1, second > 9
        feed.hold(values(detectors__1=standing | passing << 1, detectors__2=passing << 2), 1.0)
        if second == 0:
            reader.reset(0.2, 1.2, 0)
        if (second + 1) % 5:
            continue
        seen = estimator.observe(feed.now_s, 0)
        told, green = estimator.detectors, np.ones(len(site.layout.streams), bool)
        green[:] = site.layout.stream_served[:, int(seen.phase[0])]
        snapshot.changing[:] = seen.changing
        reader.read(snapshot, green, feed.now_s, told.counts, told.busy_s, told.gaps_s(feed.now_s), told.blind)
        assert np.array_equal(snapshot.queue_veh, seen.queue_veh)
        assert np.array_equal(snapshot.arriving, seen.arriving)
        most = max(most, float(seen.queue_veh.max()))
    assert most > 4.0


def test_a_loop_that_the_controller_calls_broken_is_not_believed() -> None:
    site = make_site()
    estimator = Estimator(site)
    feed = Feed(estimator)
    feed.hold(values(), 5.0)
    estimator.observe(feed.now_s, 0)
    feed.hold(values(alarms__1=1), 5.0)
    seen = estimator.observe(feed.now_s, 0)
    loops = plan_loops(site.machine.intersections, load("single").network).stop_bar
    lane = loops.index(estimator.detectors.ids[0])
    red = ~site.layout.stream_served[:, int(seen.phase[0])] & (site.layout.stream_lane == lane)
    assert estimator.detectors.faults[0] == "alarm"
    assert (seen.queue_veh[red] >= 0).all()
    assert not estimator.readers[0].queues._doubted.any(), "it is not doubted for what it said"

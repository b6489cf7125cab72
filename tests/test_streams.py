"""A lane whose links are not green together: who waits for which, who is served, and what detectors tell of it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from controllers.registry import make
from envs.sumo.approaches import ApproachReader
from envs.sumo.setup import SimulationOptions, make_setup
from envs.sumo.simulation import Simulation
from scenarios.loading import load
from signals.intersection import Intersection, compile_signals
from signals.layout import Gather, Layout, build_layout
from signals.loops import DetectorFaults, LoopReader, plan_loops
from signals.measures import ApproachMeasures, detector_calls
from signals.snapshot import Snapshot
from signals.streams import Stream, streams
from signals.timing import Timing

CASE = Path(__file__).parent / "data" / "cases" / "shared_lane" / "c.sumocfg"
"""Lane NC_0 goes straight on (link 0); WC_0 leads to the right (link 1) and straight on (link 2). Phase 0 is GGr,
phase 1 rGG."""


@pytest.fixture(scope="module")
def item() -> Intersection:
    (found,) = compile_signals(load(str(CASE)).network).intersections
    return found


@pytest.fixture
def layout(item: Intersection) -> Layout:
    return build_layout((item,), load(str(CASE)).network)


def test_a_lane_is_parted_by_what_its_links_are_green_with(item: Intersection, layout: Layout) -> None:
    assert [(s.lane_id, s.links, s.served) for s in streams(item)] == [
        ("NC_0", (0,), (True, False)),
        ("WC_0", (1,), (True, True)),
        ("WC_0", (2,), (False, True)),
    ]
    assert layout.controlled == ("NC_0", "WC_0")
    assert layout.stream_lane.tolist() == [0, 1, 1]
    assert layout.stream_share.tolist() == [1.0, 0.5, 0.5]
    assert layout.phase_size.tolist() == [[2.0, 1.0]]
    assert layout.movement_size[0].tolist() == [1.0, 0.5, 0.5]


def test_vehicles_count_for_the_phase_that_lets_them_go(layout: Layout) -> None:
    snapshot = Snapshot.empty(layout)
    snapshot.vehicles[layout.lanes.index("WC_0")] = 8.0
    snapshot.share[1:] = 0.25, 0.75
    seen = ApproachMeasures(layout, snapshot)
    assert seen.phases[0].tolist() == [[2.0, 8.0]]
    assert seen.phases[-1].tolist() == [[0.0, 6.0]], "those whom phase 0 leaves out"
    assert seen.movements[0].tolist() == [[0.0, 2.0, 6.0]]


# --- by routes


def simulated(phase: int, until_s: float) -> tuple[Layout, Snapshot]:
    """The case under one phase for good, which the bound on reds would else end."""
    setup = make_setup(load(str(CASE)), SimulationOptions(timing=Timing(max_green_s=1e4, max_red_s=1e4)))
    simulation = Simulation(setup)
    simulation.begin(seed=1)
    try:
        while simulation.now_s < until_s:
            calls = simulation.snapshot.calls
            calls[:] = False  # nobody asks for another phase
            simulation.decide(np.array([phase]))
        return setup.layout, simulation.snapshot.copy()
    finally:
        simulation.end()


def test_whoever_waits_for_the_red_link_calls_although_the_lane_has_green() -> None:
    layout, snapshot = simulated(0, 200.0)
    assert snapshot.halting[layout.lanes.index("WC_0")] > 3
    assert 0.2 < snapshot.share[2] < 1.0, "those behind the first turn right, or would"
    assert snapshot.share[1:].sum() == pytest.approx(1.0)
    assert snapshot.calls.tolist() == [[False, True]]
    assert snapshot.lead[:2].tolist() == [1.0, 0.0], "who would turn right stands behind"
    assert 0.0 < snapshot.lead[2] <= 1.0


@pytest.mark.parametrize("controller", ["greedy", "max_pressure", "sotl", "cop", "random"])
def test_who_waits_for_the_red_link_of_a_lane_is_served(controller: str) -> None:
    """Within max green and a change of the first that waits. Greedy left them at red for ever."""
    setup = make_setup(load(str(CASE)))
    simulation, decider = Simulation(setup), make(controller)
    decider.reset(setup.plan.intersections, setup.layout, 1)
    simulation.begin(seed=1)
    low, waits_since, longest_s, served = simulation.sumo, None, 0.0, 0
    while not simulation.done:
        simulation.decide(decider.decide(simulation.snapshot))
        heads = [v for v in low.lane.getLastStepVehicleIDs("WC_0") if low.vehicle.getNextTLS(v)[0][1] == 2]
        waiting = [v for v in heads if low.vehicle.getSpeed(v) < 0.1]
        if low.trafficlight.getRedYellowGreenState("C")[2] == "G":
            served += waits_since is not None
            waits_since = None
        elif waiting:
            waits_since = simulation.now_s if waits_since is None else waits_since
            longest_s = max(longest_s, simulation.now_s - waits_since)
    simulation.end()
    assert served > 5
    phase = setup.plan.intersections[0].phases[0]
    assert longest_s <= phase.max_green_s + 6.0 + setup.timing.decision_interval_s


def test_a_link_of_the_signal_before_is_none_of_this_one() -> None:
    """Both have a link 1; a vehicle has just passed the one and comes to the other."""
    layout = make_setup(load(str(CASE))).layout
    two = dataclasses.replace(
        layout,
        tls_ids=("A", "C"),
        controlled=("A_0", *layout.controlled),
        controlled_signal=np.array([0, 1, 1]),
        lanes=("A_0", "NC_0", "WC_0"),
        controlled_lane=np.arange(3),
        zone=Gather.build([[(0, 1.0)], [(1, 1.0)], [(2, 1.0)]], (3,)),
        zone_m=np.zeros((3, 1)),
        streams=(Stream("A_0", (1,), (True, False)), Stream("A_0", (2,), (False, True)), *layout.streams),
        stream_lane=np.array([0, 0, 1, 2, 2]),
        stream_share=np.array([0.5, 0.5, 1.0, 0.5, 0.5]),
        stream_served=np.concatenate([[[True, False], [False, True]], layout.stream_served]),
    )
    reader, snapshot = ApproachReader(two), Snapshot.empty(two)
    snapshot.vehicles[:] = 1.0

    class Low:
        """A lane of each signal with one vehicle, or none."""

        def __init__(self, vehicles: dict[str, str], link: tuple[str, int]) -> None:
            self.vehicles, self.link = vehicles, link

        def lane_getLastStepVehicleIDs(self, lane: str) -> tuple[str, ...]:
            return (self.vehicles[lane],) if lane in self.vehicles else ()

        def vehicle_getNextTLS(self, vehicle: str) -> tuple[tuple[str, int, float, str], ...]:
            return ((*self.link, 5.0, "r"),)

        def vehicle_getSpeed(self, vehicle: str) -> float:
            return 10.0

        def vehicle_getLanePosition(self, vehicle: str) -> float:
            return 0.0

    reader.read(Low({"A_0": "v"}, ("A", 1)), snapshot)
    assert snapshot.share[:2].tolist() == [1.0, 0.0]
    ahead = Low({"WC_0": "v"}, ("C", 2))
    ahead.lane_getLastStepVehicleIDs = lambda lane: ("v", "w") if lane == "WC_0" else ()  # type: ignore[method-assign]
    reader.read(ahead, snapshot)
    assert snapshot.share[3:].tolist() == [0.0, 1.0]
    assert snapshot.arriving.sum(axis=1).tolist() == [0.0, 0.0, 0.0, 0.0, 2.0]
    assert snapshot.lead.tolist() == [1.0, 1.0, 1.0, 0.0, 1.0]
    links = {"u": 1, "v": 2, "w": 2, "x": 1, "y": 2, "z": 2}  # from the beginning of the lane to the stop line
    queue = Low({}, ("C", 2))
    queue.lane_getLastStepVehicleIDs = lambda lane: tuple(links) if lane == "WC_0" else ()  # type: ignore[method-assign]
    queue.vehicle_getNextTLS = lambda vehicle: (("C", links[vehicle], 5.0, "r"),)  # type: ignore[method-assign]
    reader.reset()
    reader.read(queue, snapshot)
    assert snapshot.lead[3:].tolist() == [0.0, 0.5], "two of the four go before anybody turns"


# --- by detectors


class Loops:
    """The case's loops, read as one says."""

    def __init__(self, item: Intersection, layout: Layout) -> None:
        plan = plan_loops((item,), load(str(CASE)).network)
        self.layout, self.snapshot = layout, Snapshot.empty(layout)
        self.reader = LoopReader(plan, layout, DetectorFaults())
        self.reader.reset(0.0, 1e5, seed=0)
        self.stop, self.advance = (self.reader.ids.index(name) for name in (plan.stop_bar[1], plan.advance[1][0][0]))
        self.counts, self.busy_s, self.now_s = np.zeros(len(self.reader.ids)), np.zeros(len(self.reader.ids)), 0.0

    def read(self, phase: int, *, passed: int = 0, arrived: int = 0, stands: bool = False) -> npt.NDArray[np.bool_]:
        """Five seconds under a phase; the calls after them."""
        self.now_s += 5.0
        self.counts[self.stop] += passed
        self.counts[self.advance] += arrived
        self.busy_s[self.stop] += 5.0 if stands else 0.4 * passed
        gaps = np.full(len(self.counts), 2.0)
        gaps[self.stop] = 0.0 if stands else 2.0
        self.snapshot.phase[:] = phase
        green = self.layout.stream_served[:, phase]
        self.reader.read(self.snapshot, green, self.now_s, self.counts, self.busy_s, gaps)
        return detector_calls(self.layout, self.snapshot)[0]


def test_shares_are_learned_from_who_passes_on_which_green(item: Intersection, layout: Layout) -> None:
    """Nine of ten turn right: on GGr nine pass, then one stands. On rGG everybody passes, which tells nothing."""
    loops = Loops(item, layout)
    for _ in range(30):
        loops.read(0)
        loops.read(0, passed=9)
        for _ in range(4):
            loops.read(0, stands=True)
        loops.read(1, passed=1)
        loops.read(1, passed=12)
    right, through = loops.snapshot.share[1:]
    assert right + through == pytest.approx(1.0)
    assert right == pytest.approx(0.9, abs=0.02)
    for n in range(500):  # now nine of ten go straight on
        loops.read(0)
        loops.read(0, passed=n % 10 == 0)
        loops.read(0, stands=True)
        loops.read(1)
        loops.read(1, passed=9)
    assert loops.snapshot.share[2] == pytest.approx(0.9, abs=0.05)
    assert loops.snapshot.share[0] == 1.0, "a lane of one stream has all of its vehicles"


def test_a_vehicle_that_stands_while_its_neighbours_go_calls(item: Intersection, layout: Layout) -> None:
    loops = Loops(item, layout)
    loops.read(0)
    assert not loops.read(0, passed=1).any(), "one that passes on the right turn's green says nothing"
    assert loops.read(0, stands=True).tolist() == [False, True]
    loops.read(1)
    assert not loops.read(1).any()
    loops.read(0)
    calls = [bool(loops.read(0, arrived=1)[1]) for _ in range(4)]
    assert calls[0] is False
    assert calls[-1] is True, "of several that have come one is likely to go straight on"

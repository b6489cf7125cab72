"""The spillback guard: a green whose exits are all full is not begun, and ends early for one that can flow."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from controllers.heuristics import Greedy
from envs.sumo.setup import SimulationOptions, SimulationSetup, make_setup
from envs.workers.client import RemoteSimulation
from envs.workers.handover import COUNTERS
from envs.workers.server import WorkerSetup
from evaluation.monitor.check import check
from native import library
from plumbing.errors import InputError
from scenarios.loading import load
from scenarios.scenario import Scenario
from signals.intersection import compile_signals
from signals.layout import Layout, build_layout
from signals.machine import SignalMachine
from signals.max_red import max_red
from signals.measures import ApproachMeasures
from signals.snapshot import Snapshot
from signals.spillback import blocked, capacity_veh
from signals.timing import Timing, timing_of
from tests.blocked_exit import BROKEN_S, blocked_exit
from tests.compiled import needs_library
from tests.safety_runs import record

GUARDED = Timing(spillback_guard=True)


@pytest.fixture(scope="module")
def scenario(tmp_path_factory: pytest.TempPathFactory) -> Scenario:
    return blocked_exit(tmp_path_factory.mktemp("blocked"))


@pytest.fixture(scope="module")
def layout(scenario: Scenario) -> Layout:
    return build_layout(compile_signals(scenario.network).intersections, scenario.network)


def seen(layout: Layout, vehicles: dict[str, float], halting: dict[str, float]) -> ApproachMeasures:
    """What is seen of these lanes; the others are empty."""
    snapshot = Snapshot.empty(layout)
    for row, numbers in enumerate((vehicles, halting)):
        for lane, number in numbers.items():
            snapshot.lanes[row, layout.lanes.index(lane)] = number
    return ApproachMeasures(layout, snapshot)


def of(layout: Layout, lane: str) -> int:
    """The one phase that serves a lane."""
    stream = [layout.controlled[c] for c in layout.stream_lane].index(lane)
    (phase,) = np.flatnonzero(layout.stream_served[stream])
    return int(phase)


def test_a_phase_is_blocked_while_those_whom_it_serves_have_nowhere_to_go(layout: Layout) -> None:
    full = float(capacity_veh(layout)[layout.lanes.index("CE_0")])
    assert 4 < full < 8, "60 m less half the junction, at 7.5 m each"
    we, ns = of(layout, "WC_0"), of(layout, "NC_0")
    expected = np.zeros(layout.shape[:2], bool)
    assert (blocked(seen(layout, {"CE_0": 9}, {"CE_0": full})) == expected).all(), "nobody comes"
    assert (blocked(seen(layout, {"WC_0": 1, "NC_0": 1}, {"CE_0": full - 1})) == expected).all(), "one still fits"
    assert (blocked(seen(layout, {"WC_0": 1, "CE_0": 9}, {})) == expected).all(), "the exit's queue moves"
    expected[0, we] = True
    assert (blocked(seen(layout, {"WC_0": 1, "NC_0": 1}, {"CE_0": full})) == expected).all()
    expected[0, ns] = True
    assert (blocked(seen(layout, {"WC_0": 1, "NC_0": 1}, {"CE_0": full, "CS_0": 99})) == expected).all()


def test_one_exit_with_room_or_a_pedestrian_is_enough() -> None:
    """single: straight on and to the right from one lane, and crossings."""
    network = load("single").network
    (item,) = compile_signals(network).intersections
    layout = build_layout([item], network)
    lanes = {layout.controlled[c] for c in layout.stream_lane}
    exits = {layout.lanes[n] for n in layout.stream_exits.index[layout.stream_exits.weight > 0]}
    assert not lanes & exits
    for phase in item.phases:
        own = [s for s, served in zip(layout.streams, layout.stream_served, strict=True) if served[phase.index]]
        coming = {stream.lane_id: 1.0 for stream in own}
        measures = seen(layout, coming, dict.fromkeys(exits, 999.0))
        assert blocked(measures)[0, phase.index] == bool(own)
        left = {c.to_lane for i in own[0].links for c in item.table.links[i].connections}
        one = dict.fromkeys(exits - {min(left)}, 999.0)
        assert not blocked(seen(layout, coming, one))[0, phase.index]
        walked = layout.crossing[0] & (layout.service[0, phase.index] > 0)
        measures.snapshot.pedestrians[0, walked] = 1.0
        assert blocked(measures)[0, phase.index] == (bool(own) and not walked.any())
    assert layout.crossing.any()


def test_a_lane_that_every_phase_serves_does_not_count() -> None:
    network = load("cologne8").network
    items = compile_signals(network).intersections
    layout = build_layout(items, network)
    always = ~layout.stream_chosen
    assert always.any()
    assert not always.all()
    for b in np.flatnonzero(always):
        phases = layout.phase_exists[layout.stream_signal[b]]
        assert layout.stream_served[b, phases].all() or not layout.stream_served[b].any()


def machine_of(scenario: Scenario, timing: Timing = GUARDED) -> tuple[SignalMachine, npt.NDArray[np.bool_]]:
    """A machine of two phases in the first, which has min green behind it, and a call for the second."""
    machine = SignalMachine(compile_signals(scenario.network, timing).intersections, timing)
    machine.reset(0.0)
    machine.advance(10.0)
    return machine, np.array([[False, True]])


@pytest.mark.parametrize(
    ("age_s", "first", "second", "allowed"),
    [
        (10.0, False, False, [True, True]),
        (10.0, False, True, [True, False]),  # not begun
        (10.0, True, False, [False, True]),  # ended early
        (10.0, True, True, [True, False]),  # nothing is better
        (4.0, True, False, [True, False]),  # min green is kept
        (60.0, False, False, [False, True]),  # max green
        (60.0, False, True, [True, False]),  # which gives way to a green that is of use
        (60.0, True, True, [False, True]),  # and not to one that is not
        (180.0, False, True, [False, True]),  # max red wins
    ],
)
def test_what_may_be_chosen(scenario: Scenario, age_s: float, first: bool, second: bool, allowed: list[bool]) -> None:
    machine, calls = machine_of(scenario)
    machine.reset(0.0)
    machine.advance(age_s)
    machine.block(np.array([[first, second]]))
    assert machine.mask(calls).tolist() == [allowed]


def test_a_useless_green_stays_where_nobody_else_calls(scenario: Scenario) -> None:
    machine, _ = machine_of(scenario)
    machine.block(np.array([[True, False]]))
    assert machine.mask(np.array([[False, False]])).tolist() == [[True, True]]


def test_who_insists_is_overruled_for_whom_the_exit_is_free(scenario: Scenario) -> None:
    machine, calls = machine_of(scenario)
    machine.block(np.array([[True, False]]))
    ((signal, _),) = machine.request(np.array([0]), calls)
    assert (signal, machine.phase.tolist()) == (0, [1])
    machine.reset(20.0)
    assert not machine.blocked.any(), "what was full is not so in the next run"


class Shown:
    """Greedy control of the blocked exit, in a simulation of its own process: what was shown and how it ended."""

    def __init__(self, scenario: Scenario, *, guard: bool) -> None:
        setup = make_setup(scenario, SimulationOptions(timing=Timing(spillback_guard=guard)))
        with RemoteSimulation(WorkerSetup(setup, reward="", observation="")) as simulation:
            simulation.begin(3)
            controller, lanes = Greedy(), setup.layout.lanes
            controller.reset(setup.plan.intersections, setup.layout, 3)
            self.we = of(setup.layout, "WC_0")
            self.red_s, self.green_s, self.waited, red = 0.0, 0.0, 0.0, 0.0
            while not simulation.done:
                simulation.decide(controller.decide(simulation.snapshot))
                snapshot = simulation.snapshot
                assert snapshot.mask.any(axis=1).all()
                green = bool(snapshot.phase[0] == self.we and not snapshot.changing[0])
                red = 0.0 if green else red + 5.0
                self.red_s = max(self.red_s, red)
                if snapshot.time_s[0] < BROKEN_S:
                    self.green_s += 5.0 * green
                    self.waited += 5.0 * float(snapshot.halting[lanes.index("NC_0")])
            simulation.end()
        self.bound_s = max_red(setup.plan.intersections[0], setup.timing).bound_s


def test_the_free_street_is_served_while_the_other_one_cannot_flow(scenario: Scenario) -> None:
    plain, guarded = (Shown(scenario, guard=guard) for guard in (False, True))
    assert guarded.green_s < plain.green_s / 4, (guarded.green_s, plain.green_s)
    assert guarded.waited < plain.waited / 2, (guarded.waited, plain.waited)
    assert plain.red_s < 120.0 < guarded.red_s <= guarded.bound_s, "max red wins over the guard"


@pytest.mark.parametrize("policy", ["restless", "garbage", "stubborn", "random"])
def test_the_monitor_finds_nothing_whatever_is_asked_for(scenario: Scenario, policy: str, tmp_path: Path) -> None:
    states, plan, changes = record(scenario, policy, tmp_path, timing=GUARDED)
    assert check(scenario.net_file, states, tls_ids=plan.tls_ids) == []
    assert changes > 3


@needs_library
def test_compiled_code_guards_the_same(scenario: Scenario, monkeypatch: pytest.MonkeyPatch) -> None:
    setup = make_setup(scenario, SimulationOptions(timing=GUARDED))
    assert episode(setup, "0", monkeypatch) == episode(setup, "1", monkeypatch)


def episode(setup: SimulationSetup, way: str, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, bytes]]:
    """All shared arrays after each decision of an episode in which any phase is asked for."""
    monkeypatch.setenv(library.SWITCH, way)
    rows, random = [], np.random.default_rng(5)
    with RemoteSimulation(WorkerSetup(setup, reward="", observation="")) as worker:
        worker.begin(5)
        while not worker.done:
            worker.decide(random.integers(0, 2, len(worker.snapshot.phase)))
            rows.append({key: array.tobytes() for key, array in worker.shared.arrays.items() if key not in COUNTERS})
        worker.end()
    return rows


def test_detectors_do_not_see_the_exits() -> None:
    with pytest.raises(InputError, match="spillback_guard"):
        SimulationOptions(timing=GUARDED, sensing="detectors")


def test_the_setting_is_read_back_and_checked() -> None:
    assert timing_of(dataclasses.asdict(GUARDED)) == GUARDED
    assert not timing_of({}).spillback_guard
    with pytest.raises(InputError, match="spillback_guard"):
        timing_of({"spillback_guard": 1})

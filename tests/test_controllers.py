"""The controllers without learning: what each prefers, on situations small enough to count by hand."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from controllers.base import choose
from controllers.heuristics import Greedy, MaxPressure, RandomChoice, SelfOrganizing, lost_to_change
from controllers.programs import Actuated, DelayBased, ProgramControl, extendable_rows
from controllers.registry import CONTROLLERS, make
from plumbing.errors import InputError
from scenarios.loading import load
from signals.intersection import SignalPlan, compile_signals
from signals.layout import Layout, build_layout
from signals.measures import ApproachMeasures
from signals.planner.planner import SATURATION_FLOW_VPH
from signals.snapshot import Snapshot


@cache
def compiled(name: str) -> tuple[SignalPlan, Layout]:
    network = load(name).network
    plan = compile_signals(network)
    return plan, build_layout(plan.intersections, network)


def situation(name: str = "cologne1") -> tuple[SignalPlan, Layout, Snapshot]:
    plan, layout = compiled(name)
    snapshot = Snapshot.empty(layout)
    snapshot.mask[:] = layout.phase_exists
    return plan, layout, snapshot


def put(layout: Layout, snapshot: Snapshot, phase: int, vehicles: float) -> None:
    """Vehicles on the first controlled lane that only this phase and its like serve, counted from the front."""
    lane = layout.controlled_lane[layout.stream_lane[np.flatnonzero(layout.stream_served[:, phase])[0]]]
    snapshot.vehicles[lane] += vehicles
    snapshot.halting[lane] += vehicles


@pytest.mark.parametrize("controller", [Greedy(), MaxPressure()])
def test_the_fuller_approach_is_served(controller: Greedy | MaxPressure) -> None:
    plan, layout, snapshot = situation()
    controller.reset(plan.intersections, layout, 0)
    put(layout, snapshot, 2, 6)
    assert controller.decide(snapshot)[0] == 2
    put(layout, snapshot, 0, 9)
    assert controller.decide(snapshot)[0] == 0
    snapshot.mask[0, 0] = False
    assert controller.decide(snapshot)[0] != 0, "a phase that may not be chosen is not asked for"


def exits(plan: SignalPlan, layout: Layout, snapshot: Snapshot, phase: int) -> set[str]:
    """The lanes to which those want to go whom a phase serves."""
    upstream = layout.movement_streams.sum(ApproachMeasures(layout, snapshot).vehicles)[0]
    movements = enumerate(plan.intersections[0].movements)
    served = [m for k, m in movements if layout.service[0, phase, k] > 0 and upstream[k] > 0]
    return {lane for m in served for lane in m.exit_lanes}


def test_max_pressure_does_not_send_vehicles_into_a_full_exit() -> None:
    plan, layout, snapshot = situation()
    greedy, pressure = Greedy(), MaxPressure()
    for controller in (greedy, pressure):
        controller.reset(plan.intersections, layout, 0)
    put(layout, snapshot, 0, 20)
    put(layout, snapshot, 2, 19)
    assert greedy.decide(snapshot)[0] == pressure.decide(snapshot)[0] == 0
    full = exits(plan, layout, snapshot, 0) - exits(plan, layout, snapshot, 2)
    assert full
    for lane in full:
        snapshot.vehicles[layout.lanes.index(lane)] += 40
    assert pressure.decide(snapshot)[0] == 2, "some of those whom phase 0 serves cannot go on"


def test_a_movement_without_vehicles_before_a_busy_exit_holds_up_no_other() -> None:
    plan, layout, snapshot = situation()
    pressure = MaxPressure()
    pressure.reset(plan.intersections, layout, 0)
    put(layout, snapshot, 2, 6)
    assert pressure.decide(snapshot)[0] == 2
    alone = pressure.last_scores[0, 2]
    movements = enumerate(plan.intersections[0].movements)
    led_to = {lane for k, m in movements if layout.service[0, 2, k] > 0 for lane in m.exit_lanes}
    others = led_to - exits(plan, layout, snapshot, 2)
    assert others, "phase 2 serves more than those who wait"
    for lane in others:
        snapshot.vehicles[layout.lanes.index(lane)] += 30
    assert pressure.decide(snapshot)[0] == 2
    assert pressure.last_scores[0, 2] == alone


def test_hysteresis_keeps_the_current_phase() -> None:
    plan, layout, snapshot = situation()
    put(layout, snapshot, 2, 2)
    eager, calm = Greedy(), Greedy(hysteresis_veh=3.0)
    for controller in (eager, calm):
        controller.reset(plan.intersections, layout, 0)
    assert eager.decide(snapshot)[0] == 2
    assert calm.decide(snapshot)[0] == 0


def test_a_change_costs_the_vehicles_that_the_current_green_would_have_let_go() -> None:
    plan, layout, snapshot = situation()
    put(layout, snapshot, 0, 2)
    vehicles = ApproachMeasures(layout, snapshot).vehicles
    few = lost_to_change(layout, vehicles, snapshot)
    assert few[0, 0] == 0, "who stays loses nothing"
    assert few[0, 2] == pytest.approx(2), "no more is lost than is there"
    put(layout, snapshot, 0, 20)
    vehicles = ApproachMeasures(layout, snapshot).vehicles
    flow_vps = SATURATION_FLOW_VPH / 3600.0
    assert lost_to_change(layout, vehicles, snapshot)[0, 2] == pytest.approx(flow_vps * layout.change_s[0, 0, 2])
    put(layout, snapshot, 2, 22 + 1)
    published, ours = Greedy(change_cost=0.0), Greedy()
    for controller in (published, ours):
        controller.reset(plan.intersections, layout, 0)
    assert published.decide(snapshot)[0] == 2
    assert ours.decide(snapshot)[0] == 0, "one vehicle more is not worth the change"
    snapshot.phase[0] = 2
    assert (lost_to_change(layout, np.zeros(len(vehicles)), snapshot) == 0).all()


def test_the_current_phase_wins_ties() -> None:
    _, layout, snapshot = situation()
    snapshot.phase[0] = 3
    assert choose(np.zeros(layout.phase_exists.shape), snapshot)[0] == 3


def test_sotl_changes_once_enough_vehicle_seconds_have_gathered() -> None:
    plan, layout, snapshot = situation()
    controller = SelfOrganizing(threshold_veh_s=100.0)
    controller.reset(plan.intersections, layout, 0)
    put(layout, snapshot, 2, 4)
    chosen = []
    for moment in range(0, 40, 5):
        snapshot.time_s[0] = moment
        chosen.append(int(controller.decide(snapshot)[0]))
    # 4 vehicles gather 20 veh s in 5 s: 100 are there after 25 s
    assert chosen == [0, 0, 0, 0, 0, 2, 2, 2]


def test_random_is_masked_and_repeatable() -> None:
    plan, layout, snapshot = situation()
    snapshot.mask[0, 1] = False
    runs = []
    for _ in range(2):
        controller = RandomChoice()
        controller.reset(plan.intersections, layout, 5)
        runs.append([int(controller.decide(snapshot)[0]) for _ in range(50)])
    assert runs[0] == runs[1]
    assert set(runs[0]) == {0, 2, 3}


def test_actuated_extends_greens_but_neither_intervals_nor_walk_clearance() -> None:
    scenario = load("single")
    assert ProgramControl().additional_xml(scenario) == ""
    (logic,) = ElementTree.fromstring(Actuated().additional_xml(scenario))
    own = scenario.network.programs["C"][-1]
    phases = {phase.state: phase for phase in compiled("single")[0].intersections[0].phases}
    assert [row.get("state") for row in logic.iter("phase")] == [row.state for row in own.rows], (
        "the states are untouched"
    )
    for row in logic.iter("phase"):
        extended = row.get("maxDur") is not None
        assert extended == (row.get("state") in phases)
        if extended:
            assert float(str(row.get("minDur"))) >= (7 if phases[str(row.get("state"))].walk else 5)


@pytest.mark.parametrize(
    ("controller", "expected"),
    [
        (Actuated(max_gap_s=2.0), {"max-gap": "2", "detector-gap": "2"}),
        (DelayBased(min_time_loss_s=4.0), {"detectorRange": "100", "minTimeLoss": "4"}),
    ],
)
def test_sensing_programs_pass_their_settings_on(controller: Actuated | DelayBased, expected: dict[str, str]) -> None:
    (logic,) = ElementTree.fromstring(controller.additional_xml(load("single")))
    assert logic.get("type") == controller.sumo_type
    assert {param.get("key"): param.get("value") for param in logic.iter("param")} == expected


def test_bounds_that_are_asked_for_are_used_but_nobody_is_cut_off_while_walking() -> None:
    scenario = load("single")
    program = scenario.network.programs["C"][-1]
    walks = extendable_rows(scenario.network, program)
    (logic,) = ElementTree.fromstring(Actuated(min_green_s=3.0, max_green_s=20.0).additional_xml(scenario))
    assert set(walks.values()) == {True, False}, "single has rows with a walk and rows without"
    bounds = [(row.get("minDur"), row.get("maxDur")) for row in logic.iter("phase")]
    assert bounds == [("7" if walks[n] else "3", "20") if n in walks else (None, None) for n in range(len(bounds))]


def test_names() -> None:
    assert set(CONTROLLERS) >= {"fixed_time", "actuated", "max_pressure", "greedy", "sotl", "random"}
    page = (Path(__file__).parents[1] / "docs" / "evaluation.md").read_text()
    assert all(f"| `{name}` |" in page for name in CONTROLLERS)
    with pytest.raises(InputError, match="Did you mean 'max_pressure'"):
        make("maxpressure")
    with pytest.raises(InputError, match="'greedy' cannot be made with"):
        make("greedy", hysteresis=3.0)

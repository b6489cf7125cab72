"""What a controller believes of its loops: which are stuck, dead or chattering, from readings alone."""

from __future__ import annotations

import numpy as np

from scenarios.loading import load
from signals.intersection import compile_signals
from signals.layout import Layout, build_layout
from signals.loops import SILENT_AFTER_S, STUCK_AFTER_S, DetectorFaults, LoopReader, plan_loops
from signals.snapshot import Snapshot


class Street:
    """One intersection whose loops are told what to read."""

    def __init__(self) -> None:
        scenario = load("single")
        intersections = compile_signals(scenario.network).intersections
        self.layout: Layout = build_layout(intersections, scenario.network)
        plan = plan_loops(intersections, scenario.network)
        self.reader = LoopReader(plan, self.layout, DetectorFaults())
        self.reader.reset(0.0, 7200.0, seed=0)
        self.place = {name: n for n, name in enumerate(self.reader.ids)}
        self.stop, self.advance = self.place[plan.stop_bar[0]], self.place[plan.advance[0][0][0]]
        self.counts = np.zeros(len(self.reader.ids))
        self.busy_s = np.zeros(len(self.reader.ids))
        self.now_s = 0.0
        self.snapshot = Snapshot.empty(self.layout)

    def pass_time(self, *, every_s: float = 20.0, seconds: float, stop: bool = True, advance: bool = True) -> bool:
        """A vehicle on every lane now and then, on the first as its loops tell; whether these are believed."""
        green = np.ones(len(self.layout.controlled), bool)
        until = self.now_s + seconds
        while self.now_s < until:
            self.now_s += every_s
            counted = np.ones(len(self.counts))
            counted[self.stop], counted[self.advance] = stop, advance
            self.counts += counted
            self.busy_s += 0.4 * counted
            gaps = np.where(counted > 0, 1.0, 60.0)
            self.reader.read(self.snapshot, green, self.now_s, self.counts, self.busy_s, gaps)
        assert self.snapshot.healthy[1:].all(), "the other lanes' loops work"
        return bool(self.snapshot.healthy[0])


def test_loops_that_agree_are_believed() -> None:
    assert Street().pass_time(seconds=3600)


def test_a_dead_loop_is_found_out_by_the_other_one_of_its_lane() -> None:
    for working in ("stop", "advance"):
        street = Street()
        states = {"stop": working == "stop", "advance": working == "advance"}
        assert street.pass_time(seconds=300, **states), "a few vehicles may have changed lanes"
        assert not street.pass_time(seconds=300, **states)
        assert street.pass_time(seconds=20), "it counts again"


def test_a_lane_that_nobody_comes_by_calls_after_a_while() -> None:
    street = Street()
    assert street.pass_time(seconds=SILENT_AFTER_S - 40, stop=False, advance=False)
    assert not street.pass_time(seconds=60, stop=False, advance=False)


def test_a_stop_bar_that_stays_occupied_is_stuck() -> None:
    street = Street()
    street.pass_time(seconds=60)
    green = np.ones(len(street.layout.controlled), bool)
    for _ in range(int(STUCK_AFTER_S / 10) + 1):
        street.now_s += 10
        street.counts += 1.0
        street.counts[street.stop] -= 1.0
        gaps = np.full(len(street.counts), 1.0)
        gaps[street.stop] = 0.0
        street.reader.read(street.snapshot, green, street.now_s, street.counts, street.busy_s, gaps)
    assert not street.snapshot.healthy[0]
    assert street.snapshot.healthy[1:].all()


def test_a_loop_that_chatters_is_not_believed_for_a_minute() -> None:
    street = Street()
    street.pass_time(seconds=60)
    street.counts[street.stop] += 200
    assert not street.pass_time(seconds=20)
    assert not street.pass_time(seconds=40)
    assert street.pass_time(seconds=40)

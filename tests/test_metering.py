"""Signals whose links meet nobody: green against red for all, where the program itself shows both."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from signals.intersection import compile_signals
from signals.machine import SignalMachine
from signals.network import ProgramRow, RoadNetwork
from signals.timing import Timing
from tests.cases import case_network, case_signal, shown
from tests.test_signals import network

METER = ("ramp_meter/my.net.xml", "tll.add.xml")
ALONE = {"foes": ("0000",) * 4, "response": ("0000",) * 4}


def under(*rows: ProgramRow) -> RoadNetwork:
    """The ramp under another program."""
    ramp = case_network(*METER)
    return ramp.with_programs((dataclasses.replace(ramp.programs["J"][-1], rows=rows),))


def test_a_ramp_meter_chooses_between_green_and_red() -> None:
    item = case_signal(*METER)
    assert [(p.state, p.name) for p in item.phases] == [("G", "r1 straight"), ("r", "all red")]
    assert [p.duration_s for p in item.phases] == [4.0, 4.0]
    assert [(p.min_green_s, p.max_green_s) for p in item.phases] == [(5.0, 60.0), (5.0, 60.0)]
    assert shown(item, 0, 1) == [(4.0, "y")]
    assert shown(item, 1, 0) == []


def test_who_waits_at_a_red_meter_is_let_go_at_its_greatest_red() -> None:
    machine = SignalMachine([case_signal(*METER)], Timing())
    machine.reset(0.0)
    waiting = np.array([[True, False]])
    machine.advance(5.0)
    assert machine.request(np.array([1]), waiting) == [(0, 2)], "the yellow's row, which leads to red"
    machine.advance(9.0 + 50.0)
    assert machine.mask(waiting).tolist() == [[True, True]]
    machine.advance(9.0 + 60.0)
    assert machine.mask(waiting).tolist() == [[True, False]]
    assert machine.request(np.array([1]), waiting) == [(0, 0)]


def test_the_bounds_of_red_are_the_programs_own() -> None:
    rows = (ProgramRow(20, "G"), ProgramRow(2, "y"), ProgramRow(3, "r"), ProgramRow(9, "r", 6.0, 12.0))
    (item,) = compile_signals(under(*rows)).intersections
    assert (item.phases[1].min_green_s, item.phases[1].max_green_s) == (6.0, 12.0)
    assert item.phases[1].duration_s == 9.0


@pytest.mark.parametrize("rows", [("G", "y"), ("G", "s")])
def test_a_program_that_is_never_red_leaves_nothing_to_decide(rows: tuple[str, ...]) -> None:
    (refusal,) = compile_signals(under(*(ProgramRow(9, state) for state in rows))).refusals
    assert refusal.reason.startswith("none of its links conflict and its program never shows them all red")


def test_a_program_that_is_never_green_has_no_phase_to_serve() -> None:
    (refusal,) = compile_signals(under(ProgramRow(9, "r"), ProgramRow(2, "y"))).refusals
    assert "no green phase" in refusal.reason


def test_two_lanes_that_take_turns_have_a_phase_each() -> None:
    (item,) = compile_signals(network("Grrr", "yrrr", "rrGr", "rryr", **ALONE)).intersections  # type: ignore[arg-type]
    assert [p.state for p in item.phases] == ["Grrr", "rrGr"]
    (item,) = compile_signals(network("Grrr", "rrGr", "rrrr", **ALONE)).intersections  # type: ignore[arg-type]
    assert [p.state for p in item.phases] == ["Grrr", "rrGr", "rrrr"]


def test_red_for_all_is_no_phase_where_links_conflict() -> None:
    (item,) = compile_signals(network("Grrr", "rrrr", "rGrr", "rrrr")).intersections
    assert [p.state for p in item.phases] == ["Grrr", "rGrr"]

"""The yellow and clearance of a network's own program: what counts as such, and that it is kept."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scenarios.loading import load
from signals.links import link_table
from signals.network import Program, ProgramRow
from signals.own_times import own_clearances_s, own_yellow_s
from signals.timing import Timing
from tests.cases import case_signal, shown
from tests.test_signals import network

# Of its four ways 0, 1 and 2 meet each other, and walkers (3) meet 1 and 2.
TABLE = link_table(network("Grrr", "rGrr"), "T", 4)
TIMING = Timing()


def program(*rows: tuple[float, str] | tuple[float, str, tuple[int, ...]]) -> Program:
    return Program("T", "own", "static", 0.0, tuple(ProgramRow(r[0], r[1], next=r[2] if r[2:] else ()) for r in rows))


def own(ending: int, starting: int, *rows: tuple[float, str] | tuple[float, str, tuple[int, ...]]) -> float:
    return float(own_clearances_s(program(*rows), TABLE, TIMING)[ending, starting])


@pytest.mark.parametrize("additional", ["p.add.xml", "p2.add.xml"])
def test_an_always_green_link_does_not_hide_the_clearance_of_the_others(additional: str) -> None:
    """The program keeps 3 s of yellow and 9 s of red; at 50 km/h the yellow becomes 4 s."""
    item = case_signal("own_clearance/n.net.xml", additional)
    for old, new, ending in ((0, 1, 0), (1, 0, 2)):
        (yellow_s, yellow), (red_s, red) = shown(item, old, new)
        assert (yellow_s, red_s) == (4.0, 9.0)
        assert (yellow[ending], red[ending]) == ("y", "r")
    assert own_yellow_s(item.program, 0) == 3.0


def test_the_time_is_that_of_the_pair() -> None:
    rows = ((20, "Grrr"), (3, "yrrr"), (2, "rrrr"), (20, "rGrr"), (3, "ryrr"), (7, "rrrr"))
    assert own(0, 1, *rows) == 2.0
    assert own(1, 0, *rows) == 7.0


def test_the_longest_counts_where_the_program_shows_a_pair_more_than_once() -> None:
    rows = ((20, "Grrr"), (3, "yrrr"), (2, "rrrr"), (20, "rGrr"), (3, "ryrr"))
    assert own(0, 1, *rows, *rows[:2], (6, "rrrr"), *rows[3:]) == 6.0


def test_a_pair_that_is_never_shown_has_the_longest_of_its_first_link() -> None:
    rows = ((20, "Grrr"), (3, "yrrr"), (4, "rrrr"), (20, "rGrr"), (3, "ryrr"), (20, "rrGr"), (3, "rryr"))
    assert TABLE.conflicts[0, 2]
    assert own(0, 2, *rows) == own(0, 1, *rows) == 4.0


def test_a_whole_phase_in_between_is_no_clearance() -> None:
    """Walkers (3) meet 1 and 2 alone: their 20 s do not clear 0 for 1."""
    assert not TABLE.conflicts[0, 3]
    rows = ((20, "Grrr"), (3, "yrrr"), (2, "rrrr"), (20, "rrrG"), (9, "rrrr"), (20, "rGrr"), (3, "ryrr"))
    assert own(0, 1, *rows) == 2.0, "what the program keeps until anything begins"
    shorter = ((20, "Grrr"), (3, "yrrr"), (2, "rrrr"), (4, "rrrG"), (9, "rrrr"), (20, "rGrr"), (3, "ryrr"))
    assert own(0, 1, *shorter) == 2.0, "it has ended before, however short"


def test_greens_that_begin_one_after_the_other_belong_to_one_change() -> None:
    rows = ((20, "rGrr"), (3, "ryrr"), (2, "rrrr"), (3, "Grrr"), (20, "GrrG"), (3, "yrrr"))
    assert own(1, 0, *rows) == 2.0
    assert own(1, 3, *rows) == 5.0, "walkers begin 3 s after the vehicles beside them"
    longer = ((20, "rGrr"), (3, "ryrr"), (2, "rrrr"), (6, "Grrr"), (20, "GrrG"), (3, "yrrr"))
    assert own(1, 3, *longer) == 2.0, "6 s are a phase; the pair has the longest of 1"


def test_greens_that_go_on_for_a_least_green_are_a_phase() -> None:
    """0 and 3 are green together, and 3 goes on: 1, which meets both, waits for 3 and not for 0."""
    rows = ((20, "GrrG"), (3, "yrrG"), (30, "rrrG"), (6, "rrrr"), (20, "rGrr"), (3, "ryrr"))
    assert own(3, 1, *rows) == 6.0
    assert own(0, 1, *rows) == 0.0
    brief = ((20, "GrrG"), (3, "yrrG"), (4, "rrrG"), (6, "rrrr"), (20, "rGrr"), (3, "ryrr"))
    assert own(0, 1, *brief) == 10.0


def test_a_crossing_is_cleared_while_the_vehicles_beside_it_go_on() -> None:
    """From the end of its walk, 16 m long; vehicles that go on for 33 s more have a phase of their own."""
    rows = ((20, "GrrG"), (12, "Grrr"), (3, "yrrr"), (5, "rrrr"), (20, "rGrr"), (3, "ryrr"))
    assert own(3, 1, *rows) == 20.0
    cut = ((7, "GrrG"), (33, "Grrr"), (3, "yrrr"), (5, "rrrr"), (20, "rGrr"), (3, "ryrr"))
    assert own(3, 1, *cut) == 0.0


def test_a_link_that_gains_priority_begins() -> None:
    rows = ((20, "Grgr"), (3, "yrgr"), (1, "rrgr"), (8, "rrGr"), (3, "rryr"), (9, "rrrr"), (20, "rGrr"), (3, "ryrr"))
    assert own(0, 2, *rows) == 1.0
    assert own(0, 1, *rows) == 1.0, "the 12 s until then hold the left turn's own phase"


def test_a_green_without_yellow_is_cleared_from_its_end() -> None:
    assert own(0, 1, (20, "Grrr"), (4, "rrrr"), (20, "rGrr"), (3, "ryrr")) == 4.0


def test_rows_come_in_the_order_that_next_tells() -> None:
    rows = ((20, "Grrr", (2,)), (9, "rrrr", (3,)), (3, "yrrr", (1,)), (20, "rGrr", (4,)), (3, "ryrr", (0,)))
    assert own(0, 1, *rows) == 9.0
    assert own_yellow_s(program((20, "Grrr", (2,)), (4, "yrrr", (3,)), (3, "yrrr", (1,)), (9, "rGrr")), 0) == 7.0
    beyond = ((20, "Grrr"), (3, "yrrr"), (5, "rrrr", (7, -1)), (20, "rGrr"), (3, "ryrr"))
    assert own(0, 1, *beyond) == 5.0


def test_nothing_is_told_of_links_that_do_not_meet() -> None:
    rows = ((20, "Grrr"), (3, "yrrr"), (8, "rrrr"), (20, "rGrr"), (3, "ryrr"))
    times = own_clearances_s(program(*rows), TABLE, TIMING)
    assert (times[~TABLE.conflicts] == 0.0).all()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.floats(0, 40),
            st.text("rygGsuoO", min_size=4, max_size=4),
            st.lists(st.integers(-1, 9), max_size=2).map(tuple),
        ),
        min_size=1,
        max_size=9,
    )
)
def test_any_program_has_finite_times(rows: list[tuple[float, str, tuple[int, ...]]]) -> None:
    times = own_clearances_s(program(*rows), TABLE, TIMING)
    assert (times >= 0).all()
    assert (times <= sum(r[0] for r in rows)).all()
    for link in range(4):
        assert 0 <= own_yellow_s(program(*rows), link) <= sum(r[0] for r in rows)


def test_a_fixed_interval_leaves_the_programs_own_clearance_of_vehicles_out() -> None:
    item = case_signal("own_clearance/n.net.xml", "p2.add.xml", dataclasses.replace(TIMING, change_interval="fixed"))
    assert shown(item, 0, 1) == [(3.0, "yrr")]


def test_a_walks_yellow_is_part_of_its_clearance() -> None:
    """A crossing ends without yellow here: what the program shows as one has to be kept, too."""
    crossroads = load("single").network
    table = link_table(crossroads, "C", len(crossroads.programs["C"][-1].rows[0].state))
    walk = next(link.index for link in table.links if link.pedestrian)
    foe = next(j for j in range(len(table.links)) if table.conflicts[walk, j] and not table.links[j].pedestrian)

    def row(seconds: float, **shown: str) -> tuple[float, str]:
        of = {walk: shown.get("walk", "r"), foe: shown.get("foe", "r")}
        return seconds, "".join(of.get(i, "r") for i in range(len(table.links)))

    own = program(row(20, walk="G"), row(4, walk="y"), row(9), row(20, foe="G"), row(3, foe="y"))
    assert own_clearances_s(own, table, TIMING)[walk, foe] == 13.0

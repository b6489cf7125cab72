"""Programs of SUMO's type "NEMA": what they mean as rows, held against what SUMO shows, and their export."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from deployment.nema.fallback import fallback_plan
from deployment.nema.safety import findings
from signals.intersection import compile_signals
from signals.nema import nema_plan
from signals.nema_program import ordinary_program
from signals.network import Program, ProgramRow
from signals.phases import is_green
from tests.cases import CASES, case_network, case_signal, shown, with_program
from tests.scenario_files import sumo

NET = "nema_program/my.net.xml"
LINKS = {2: (0, 1, 2), 5: (3,), 4: (4, 5, 6), 7: (7,), 6: (8, 9, 10), 1: (11,), 8: (12, 13, 14), 3: (15,)}
"""Of the classic eight phases at that intersection."""


def row(
    number: int, yellow_s: float, red_s: float, least_s: float | None = 5.0, most_s: float | None = 30.0
) -> ProgramRow:
    state = "".join("G" if i in LINKS[number] else "r" for i in range(16))
    return ProgramRow(99.0, state, least_s, most_s, name=str(number), yellow_s=yellow_s, red_s=red_s)


def program(*rows: ProgramRow, ring1: str = "1,2,3,4", ring2: str = "5,6,7,8") -> Program:
    return Program("C", "nema", "NEMA", 0.0, rows, (("ring1", ring1), ("ring2", ring2)))


EIGHT = program(*(row(n, 3.0 + n / 2, n % 3) for n in LINKS))


def test_the_rings_of_a_network_file_run_side_by_side_with_their_own_yellow_and_red() -> None:
    item = case_signal(NET)
    assert [(p.name, p.state, p.min_green_s, p.max_green_s, p.duration_s) for p in item.phases] == [
        ("2+6", "GGGgrrrrGGGgrrrr", 5.0, 50.0, 50.0),
        ("4+8", "rrrrGGGgrrrrGGGg", 5.0, 50.0, 50.0),
    ]
    assert shown(item, 0, 1) == [(6.0, "yyyyrrrryyyyrrrr"), (5.0, "r" * 16)]
    assert shown(item, 1, 0) == [(6.0, "rrrryyyyrrrryyyy"), (5.0, "r" * 16)]
    assert item.program.type == "actuated"


def test_sumo_shows_these_rows(tmp_path: Path) -> None:
    """What its own NEMA controller shows in 200 s, interval by interval."""
    folder = CASES / "nema_program"
    out = tmp_path / "states.xml"
    extra = tmp_path / "out.add.xml"
    extra.write_text(f'<additional><timedEvent type="SaveTLSStates" source="C" dest="{out}"/></additional>')
    words = ["-n", folder / "my.net.xml", "-r", folder / "my.rou.xml", "-a", extra, "-e", "200"]
    assert sumo([*map(str, words)], tmp_path).returncode == 0
    states = [element.attrib["state"] for element in ElementTree.parse(out).getroot()]
    intervals: list[list[object]] = []
    for state in states:
        if not intervals or intervals[-1][0] != state:
            intervals.append([state, 0])
        intervals[-1][1] += 1  # type: ignore[operator]
    rows = ordinary_program(case_network(NET).programs["C"][-1]).rows
    changes = {(r.state, r.duration_s) for r in rows if not is_green(r.state[0]) and not is_green(r.state[4])}
    greens = {r.state for r in rows if is_green(r.state[0]) or is_green(r.state[4])}
    assert {state for state, _ in intervals} == {r.state for r in rows}
    assert {(s, float(n)) for s, n in intervals[1:-1] if s not in greens} == changes  # type: ignore[arg-type]


def test_phases_combine_within_their_barriers_only() -> None:
    rows = ordinary_program(EIGHT).rows
    names = [r.name for r in rows if r.name]
    assert names == ["1+5", "1+6", "2+5", "2+6", "3+7", "3+8", "4+7", "4+8"]
    for r in rows:
        if r.name:
            green = {i for n in r.name.split("+") for i in LINKS[int(n)]}
            assert {i for i, c in enumerate(r.state) if is_green(c)} == green


def test_every_phase_keeps_its_own_yellow_and_red() -> None:
    item = with_program(case_network(NET), EIGHT)
    phases = {p.name: p.index for p in item.phases}
    for old, new, ended in (
        ("1+5", "1+6", 5),
        ("1+5", "2+5", 1),
        ("2+6", "1+6", 2),
        ("3+7", "4+7", 3),
        ("4+8", "4+7", 8),
    ):
        link = LINKS[ended][0]
        states = [(s, c[link]) for s, c in shown(item, phases[old], phases[new])]
        yellow_s, red_s = (sum(s for s, c in states if c == kind) for kind in "yr")
        assert yellow_s >= 3.0 + ended / 2, ended
        assert red_s >= ended % 3, ended
        staying = next(int(n) for n in old.split("+") if n in new.split("+"))
        assert all(c[LINKS[staying][0]] == "G" for _, c in shown(item, phases[old], phases[new]))


def test_the_tightest_bounds_of_a_pair_hold() -> None:
    rows = (row(2, 4, 1, 8.0, 40.0), row(6, 4, 1, 5.0, 30.0), row(4, 4, 1, None, None), row(8, 4, 1, None, 6.0))
    first, *_, second, _, _ = ordinary_program(program(*rows, ring1="0,2,0,4", ring2="0,6,0,8")).rows
    assert (first.name, first.min_duration_s, first.max_duration_s, first.duration_s) == ("2+6", 8.0, 30.0, 30.0)
    assert (second.name, second.min_duration_s, second.max_duration_s, second.duration_s) == ("4+8", None, 6.0, 6.0)


def test_a_phase_that_both_rings_name_is_green_alone() -> None:
    """The ramp of SUMO's documentation: one phase on the far side of the barrier."""
    rows = ordinary_program(program(*(row(n, 4, 1) for n in (1, 2, 4, 6)), ring1="1,2,0,4", ring2="0,6,0,4")).rows
    assert [r.name for r in rows if r.name] == ["1+6", "2+6", "4"]
    greens = [r for r in rows if r.name]
    assert [r.duration_s for r in greens] == [30.0, 30.0, 30.0]


def test_phases_of_unlike_changes_begin_their_next_greens_together() -> None:
    """2 needs 3 + 1 s, 6 needs 5 + 2 s: 2 ends later, but not after the yellow of 6."""
    rows = (row(2, 3, 1), row(6, 5, 2), row(4, 4, 1), row(8, 4, 1))
    changes = ordinary_program(program(*rows, ring1="0,2,0,4", ring2="0,6,0,8")).rows[1:5]
    told = [(r.duration_s, r.state[0], r.state[8]) for r in changes]
    assert told == [(3.0, "G", "y"), (2.0, "y", "y"), (1.0, "y", "r"), (1.0, "r", "r")]


def test_a_left_turn_that_loses_its_own_phase_shows_yellow_and_red_before_it_gives_way() -> None:
    yielding = ProgramRow(99.0, "GGGgrrrrrrrrrrrr", 5.0, 30.0, name="2", yellow_s=4.0, red_s=1.0)
    rows = (yielding, row(5, 3, 2), row(6, 4, 1), row(4, 4, 1), row(8, 4, 1))
    found = ordinary_program(program(*rows, ring1="0,2,0,4", ring2="5,6,0,8")).rows
    assert [(r.duration_s, r.state[:4]) for r in found[:4]] == [
        (30.0, "GGGG"),
        (3.0, "GGGy"),
        (2.0, "GGGr"),
        (30.0, "GGGg"),
    ]


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (program(row(2, 3, 1), ring1="0,0"), "its NEMA program 'nema' has no ring1"),
        (program(row(2, 3, 1), ring1="2", ring2="6"), "ring2 of its NEMA program 'nema' has phase 6"),
        (program(ProgramRow(9.0, "G" * 16), ring1="2", ring2="2"), "has phase 2, which no row is named after"),
        (program(row(2, 3, 1), ring1="2", ring2="2"), "only one green phase"),
    ],
)
def test_what_sumo_could_not_run_is_refused(broken: Program, reason: str) -> None:
    (refusal,) = compile_signals(case_network(NET).with_programs((broken,))).refusals
    assert reason in refusal.reason


def test_what_is_read_can_be_exported() -> None:
    for item in (case_signal(NET), with_program(case_network(NET), EIGHT)):
        plan = nema_plan(item)
        assert len(plan.rings) == 2
        assert findings(item, plan, fallback_plan(item, plan)) == []


def test_eight_phases_come_back_as_the_eight_phases_that_they_were() -> None:
    item = with_program(case_network(NET), EIGHT)
    plan = nema_plan(item)
    assert plan.rings == ((1, 2, 3, 4), (5, 6, 7, 8))
    assert len(plan.actions) == 8
    assert {frozenset(p.links) for p in plan.phases} == {frozenset(links) for links in LINKS.values()}
    two = plan.phase(2)
    assert two.concurrent == (5, 6)

"""The phases of a program: every link that it serves is served, safely, for as long as it has it green."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import sumo
import sumo_rl
from hypothesis import given, settings
from hypothesis import strategies as st

import evaluate
from controllers.registry import make
from deployment.nema.fallback import fallback_plan
from deployment.plans.initial import own_greens
from evaluation.report.verdict import cautions
from evaluation.runs import Contestant, Evaluation, run_all
from scenarios.loading import load, names
from scenarios.netfile import read_network
from signals.green_phases import green_phases
from signals.intersection import compile_signals, explain
from signals.links import Link, LinkTable, link_table
from signals.nema import nema_plan
from signals.network import Connection, Program, ProgramRow, RoadNetwork
from signals.phases import Phase, PhaseSet
from signals.timing import Timing
from tests.test_report import content_of, results_of

CASES = Path(__file__).parent / "data" / "cases"
RANK = {"r": 0, "y": 0, "u": 0, "s": 1, "g": 2, "o": 2, "G": 3, "O": 3}
WHEELS = [
    path
    for root in (Path(sumo.SUMO_HOME) / "tools", Path(sumo_rl.__file__).parent / "nets")
    for path in sorted(root.rglob("*.net.xml*"))
    if "RESCO" not in path.parts
]


def case(name: str, config: str = "c") -> RoadNetwork:
    return load(CASES / name / f"{config}.sumocfg").network


def phases_of(network: RoadNetwork) -> tuple[Phase, ...]:
    (item,) = compile_signals(network).intersections
    return item.phases


Row = ProgramRow | str | tuple[str, *tuple[float, ...]]
"""A row, its state, or its state, duration and bounds [s]."""


def rows(*given: Row) -> Program:
    """A program of these rows, which last 20 s where they do not say."""
    made = []
    for row in given:
        if isinstance(row, ProgramRow):
            made.append(row)
        else:
            state, duration_s, *bounds = (row, 20.0) if isinstance(row, str) else row
            least, most = (*bounds, None, None)[:2]
            made.append(ProgramRow(duration_s, state, least, most))
    return Program("T", "0", "static", 0.0, tuple(made))


def table(
    size: int,
    conflicts: list[tuple[int, int]],
    yields: Sequence[tuple[int, int]] = (),
    through: Sequence[tuple[int, int]] = (),
    unused: tuple[int, ...] = (),
) -> LinkTable:
    """Links with these relations and nothing else to them."""
    matrices = [np.zeros((size, size), bool) for _ in range(3)]
    for matrix, pairs in zip(matrices, (conflicts + [(j, i) for i, j in conflicts], yields, through), strict=True):
        for pair in pairs:
            matrix[pair] = True
    links = []
    for i in range(size):
        way = Connection(f"{i}a_0", f"{i}b_0", f"{i}a", f"{i}b", None, "s", "T", i)
        links.append(Link(i, () if i in unused else (way,), False, 10.0, 10.0, (), 3.2, 10.0, 0.0, (True,)))
    return LinkTable(tuple(links), *matrices)


def found(program: Program, of: LinkTable, timing: Timing | None = None) -> PhaseSet:
    return green_phases(program, of, timing or Timing())


def states(program: Program, of: LinkTable) -> list[str]:
    return [phase.state for phase in found(program, of).phases]


# --- every link that is served


def test_a_link_of_an_unsafe_row_alone_gets_a_phase() -> None:
    item = compile_signals(case("never_green")).intersections[0]
    assert [p.state for p in item.phases] == ["Grr", "rGr", "rrg"]
    assert (
        "row 6 Grg is taken apart into Grr and rrg: links 0 and 2 are two through movements that conflict"
        in item.notes
    )
    assert not any("in no phase" in note for note in item.notes)


CROSS = [(0, 2), (0, 3), (1, 2), (1, 3)]
"""Two streets, 0 and 1 against 2 and 3."""


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["GGGG"], ["GGrr", "rrGG"]),  # two streets
        (["GGrr", "GrGG"], ["GGrr", "rrGG"]),  # what is served elsewhere is taken out
        (["GGrr", "rrGr", "GrrG"], ["GGrr", "rrGr", "rrrG"]),
        (["GGrr", "yyGr", "rrrG"], ["GGrr", "rrGr", "rrrG"]),  # green only while others end
        (["GGrr", "uurG", "rruG", "rrGr"], ["GGrr", "rrrG", "rrGr"]),
        (["GGrr", "yyGr", "rrGr"], ["GGrr", "rrGr"]),
        (["GGrr", "rrsr", "rrrG"], ["GGrr", "rrgr", "rrrG"]),  # a turn on red that stands alone
        (["Ggrr", "Grsr", "rrrG"], ["Ggrr", "rrgr", "rrrG"]),  # or has no room
        (["Ggrr", "rrsG"], ["Ggrr", "rrsG"]),
    ],
)  # fmt: skip
def test_every_link_is_served(given: list[str], expected: list[str]) -> None:
    assert states(rows(*given), table(4, CROSS)) == expected


def test_of_a_row_that_is_taken_apart_who_goes_straight_on_with_priority_comes_first() -> None:
    of = table(5, [(0, 3), (1, 3), (2, 4)])
    assert states(rows("rrrGG", "GGGGr"), of)[1:] == ["GGGrr"]
    assert states(rows("GGGGr", "rrrrG"), of) == ["GGGrr", "rrGGr", "rrrrG"]


def test_parts_share_what_conflicts_with_none_and_keep_the_bounds_of_their_row() -> None:
    program = rows(("GGGG", 40.0, 20.0, 50.0), "rrrr")
    phases = found(program, table(4, [(0, 1)])).phases
    assert [p.state for p in phases] == ["GrGG", "rGGG"]
    assert {(p.min_green_s, p.max_green_s, p.duration_s) for p in phases} == {(20.0, 50.0, 40.0)}


def test_a_link_whose_own_connections_conflict_is_the_reason_of_a_refusal() -> None:
    network = case("never_green")
    shared = tuple(dataclasses.replace(c, link_index=0) if c.link_index == 2 else c for c in network.connections)
    plan = compile_signals(dataclasses.replace(network, connections=shared))
    assert plan.tls_ids == ()
    assert plan.refusals[0].reason.startswith(
        "no phase can serve link 0: connections that share its index conflict and neither gives way"
    )


def test_a_row_that_was_taken_apart_keeps_its_time_in_the_fixed_plans() -> None:
    (item,) = compile_signals(case("never_green")).intersections
    fixed = fallback_plan(item, nema_plan(item))
    assert fixed.cycle_s == 81.0  # three times 20 s of green and 7 s of change
    assert [split.split_s for split in fixed.splits] == [27.0, 27.0, 27.0]
    assert own_greens(item) == [20.0, 20.0, 20.0]


# --- greens as long as the program has them


def test_one_green_in_several_rows_is_one_phase() -> None:
    assert phases_of(case("repeated_rows")) == phases_of(case("repeated_rows", "c1"))
    assert [(p.min_green_s, p.max_green_s) for p in phases_of(case("repeated_rows"))] == [(40.0, 40.0), (20.0, 20.0)]


@pytest.mark.parametrize(
    ("given", "bounds"),
    [
        # the end of the cycle and its begin are one green
        ([("GGrrr", 5.0, 5.0, 9.0), ("rrGGr", 20.0), ("GGrrr", 8.0, 6.0, 10.0)], (11.0, 19.0, 13.0)),
        # a row without bounds lasts its duration at most, as SUMO has it; one with a least green alone has no end
        ([("GGrrr", 5.0, 6.0, 9.0), ("GGrrr", 8.0), ("rrGGr", 20.0)], (6.0, 17.0, 13.0)),
        ([("GGrrr", 5.0, 6.0, 9.0), ("GGrrr", 8.0, 6.0), ("rrGGr", 20.0)], (12.0, 60.0, 13.0)),
        ([("GGrrr", 30.0), ("GGrrr", 40.0), ("rrGGr", 20.0)], (5.0, 60.0, 70.0)),
        # other lamps, the same greens: of a link that is not there, dark ones
        ([("GGrrG", 5.0, 5.0, 5.0), ("GGrrr", 5.0, 5.0, 5.0), ("rrGGr", 20.0)], (10.0, 10.0, 10.0)),
        ([("GGrrr", 5.0, 5.0, 5.0), ("OOrrr", 5.0, 5.0, 5.0), ("rrGGr", 20.0)], (10.0, 10.0, 10.0)),
        # twice in a cycle: as short as the shorter, as long as the longer, with the green of both
        ([("GGrrr", 9.0, 7.0, 9.0), ("rrGGr", 20.0), ("GGrrr", 12.0, 10.0, 30.0), ("rrrGr", 9.0)], (7.0, 30.0, 21.0)),
    ],
)  # fmt: skip
def test_the_bounds_of_a_green_in_several_rows(given: list[Row], bounds: tuple[float, ...]) -> None:
    first = found(rows(*given), table(5, CROSS, unused=(4,))).phases[0]
    assert (first.min_green_s, first.max_green_s, first.duration_s) == bounds


def test_rows_that_are_alternatives_are_not_added_up() -> None:
    """Both lead to the third; neither follows the other."""
    first = ProgramRow(30, "Grrr", 30.0, 40.0, next=(2,))
    given = rows(first, first, "yrrr", ProgramRow(20, "rGrr", 5.0, 20.0, next=(0, 1)))
    phases = found(given, table(4, CROSS)).phases
    assert [(p.state, p.min_green_s, p.max_green_s) for p in phases] == [("Grrr", 30.0, 40.0), ("rGrr", 5.0, 20.0)]


def test_all_rows_the_same_are_one_green() -> None:
    assert [p.duration_s for p in found(rows("GGrr", "GGrr", "GGrr"), table(4, CROSS)).phases] == [60.0]


# --- through movements


def test_a_through_movement_on_its_own_green_waits_for_no_turn() -> None:
    assert [p.state for p in phases_of(case("through_yields"))] == ["Grr", "rGG"]


@pytest.mark.parametrize(
    ("given", "yields", "expected"),
    [
        (["GGr", "rGG"], [(0, 1)], ["Grr", "rGG"]),  # the turn loses its green
        (["Ggr", "rGG"], [(0, 1)], ["Grr", "rGG"]),  # SUMO knows no turn that yields against the table
        (["GGr", "rrG"], [(0, 1)], ["Grr", "rGr", "rrG"]),  # nothing else serves it
        (["GGr", "rrG"], [(0, 1), (1, 0)], ["Ggr", "rrG"]),  # the turn can yield
        (["gGr", "rrG"], [(0, 1)], ["gGr", "rrG"]),  # the network's own program has the through movement yield
        (["Gsr", "rrG", "rGr"], [(0, 1)], ["Grr", "rrG", "rGr"]),  # a turn on red is no turn with priority
    ],
)  # fmt: skip
def test_the_turn_yields_or_loses_its_green(
    given: list[str], yields: list[tuple[int, int]], expected: list[str]
) -> None:
    assert states(rows(*given), table(3, [(0, 1), (0, 2)], yields, [(0, 1)])) == expected


# --- what holds of any program


def served(program: Program, phases: list[str], of: LinkTable) -> None:
    """Assert that the phases are safe, and serve what the program serves."""
    greens = [row.state for row in program.rows]
    lit = [s for s in greens if not all(s[link.index] in "oO" for link in of.links if link.used)]
    for link in of.links:
        i = link.index
        wanted = min(max((RANK[s[i]] for s in lit), default=0), 2)
        if link.used:
            assert max((RANK[p[i]] for p in phases), default=0) >= wanted, f"link {i} of {greens} in {phases}"
    for state in phases:
        on = [i for i, c in enumerate(state) if RANK[c]]
        for i in on:
            for j in on:
                if not of.conflicts[i, j]:
                    continue
                yielding = (RANK[state[i]] < 3 and of.yields[i, j]) or (RANK[state[j]] < 3 and of.yields[j, i])
                assert yielding, f"links {i} and {j} of {state}"
        assert any(all(RANK[s[i]] for i in on) for s in greens), f"{state} is no part of any row of {greens}"


@st.composite
def programs(draw: st.DrawFn) -> tuple[Program, LinkTable]:
    size = draw(st.integers(1, 7))
    pairs = [(i, j) for i in range(size) for j in range(i)]
    conflicts = draw(st.lists(st.sampled_from(pairs), unique=True)) if pairs else []
    both = [*conflicts, *((j, i) for i, j in conflicts)]
    yields = draw(st.lists(st.sampled_from(both), unique=True)) if both else []
    through = draw(st.lists(st.sampled_from(yields), unique=True)) if yields else []
    unused = draw(st.sets(st.integers(0, size - 1), max_size=1)) if size > 1 else set()
    state = st.text(st.sampled_from("rrrGGGgsyuoO"), min_size=size, max_size=size)
    bounds = (st.none() | st.just(7.0), st.none() | st.just(9.0))
    row = st.builds(ProgramRow, st.integers(0, 40).map(float), state, *bounds)
    of = table(size, conflicts, yields, through, tuple(unused))
    for i in unused:
        for matrix in (of.conflicts, of.yields, of.through_yields):
            matrix[i] = matrix[:, i] = False
    return rows(*draw(st.lists(row, min_size=1, max_size=8))), of


@pytest.mark.wide
@settings(max_examples=100, deadline=None)
@given(programs())
def test_whatever_the_program_and_the_conflicts(given: tuple[Program, LinkTable]) -> None:
    program, of = given
    result = found(program, of)
    shown = [phase.state for phase in result.phases]
    assert result.lost == ()
    served(program, shown, of)
    assert len(set(shown)) == len(shown)
    own = ["".join(column) for column in zip(*(row.state for row in program.rows), strict=True)]
    for state in shown:
        for i, j in zip(*np.nonzero(of.through_yields), strict=True):
            if RANK[state[i]] and RANK[state[j]] and not of.yields[j, i]:
                assert set(own[i]) & set("gos"), "a through movement yields to a turn, and never does in the program"
    assert all(p.min_green_s <= p.max_green_s for p in result.phases)
    assert found(program, of) == result


@pytest.mark.parametrize("name", names())
def test_every_scenario_serves_what_its_programs_serve(name: str) -> None:
    network = load(name).network
    for tls_id, (*_, program) in network.programs.items():
        of = link_table(network, tls_id, len(program.rows[0].state))
        result = found(program, of)
        assert result.lost == ()
        served(program, [phase.state for phase in result.phases], of)


def test_the_real_networks_that_sumo_comes_with_are_served() -> None:
    """By at least two phases; or the signal is left to its program, with a reason."""
    controlled = 0
    for path in WHEELS:
        network = read_network(path)
        plan = compile_signals(network)
        for item in plan.intersections:
            assert len(item.phases) >= 2
            served(item.program, [phase.state for phase in item.phases], item.table)
        assert {*plan.tls_ids, *(r.tls_id for r in plan.refusals)} == set(network.programs)
        assert all(r.reason for r in plan.refusals)
        controlled += len(plan.intersections)
    assert len(WHEELS) > 30
    assert controlled > 100


# --- in SUMO


@pytest.mark.parametrize(
    ("name", "controller", "at_most_s"),
    [
        ("never_green", "greedy", 27.0),  # as fixed time
        ("repeated_rows", "max_pressure", 19.0),
        ("through_yields", "cop", 38.0),
        ("through_yields", "max_pressure", 38.0),
        ("through_yields", "greedy", 38.0),
    ],
)
def test_no_case_is_worse_than_its_program(name: str, controller: str, at_most_s: float) -> None:
    scenario = load(CASES / name / "c.sumocfg")
    (run,) = run_all(Evaluation(scenario, [Contestant(controller, lambda: make(controller))], [5]))
    assert run.metrics.gridlocked == 0
    assert run.metrics.delay_s < at_most_s


def test_an_evaluation_says_which_signals_are_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    night = tmp_path / "night.add.xml"
    night.write_text(
        f'<additional><tlLogic id="360082" type="static" programID="night"><phase duration="9" state="{11 * "o"}"/>'
        "</tlLogic></additional>"
    )
    words = ["--scenario", "cologne3", "--additional", str(night), "--begin", "25200", "--end", "25260"]
    assert evaluate.main([*words, "--controllers", "greedy", "--seeds", "1", "--workers", "1", "--json"]) == 0
    printed = capsys.readouterr()
    reason = "its program is dark or blinking in every row"
    assert f"tls 360082 keeps its own program: {reason}\n" in printed.err
    assert json.loads(printed.out)["left_alone"] == [{"tls_id": "360082", "reason": reason}]


def test_the_report_says_which_signals_are_left_alone() -> None:
    plain = content_of(results_of("mine", [30.0]) + results_of("fixed_time", [31.0]), ["mine"])
    refusals = [{"tls_id": tls_id, "reason": reason} for tls_id, reason in (("A", "it is dark"), ("B", "it is dark"))]
    told = dataclasses.replace(plain, settings={**plain.settings, "left_alone": refusals})
    expected = "2 signals left to the network's own program by every controller (A, B): it is dark."
    assert expected in cautions(told)
    assert expected not in cautions(plain)


def test_the_explanation_names_what_is_taken_apart() -> None:
    text = "\n".join(explain(case("through_yields")))
    assert "link 0 goes straight on and would have to give way to link 1, which turns" in text

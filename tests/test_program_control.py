"""SUMO's own control: whatever program replaces a signal's own runs from begin to end and shows all of its rows."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from controllers.programs import Actuated, DelayBased, GivenPrograms, ProgramControl
from controllers.sequence import in_one_cycle
from controllers.webster import Webster
from scenarios.loading import load
from scenarios.scenario import Scenario
from signals.network import Program, ProgramRow
from tests.scenario_files import sumo

CASES = Path(__file__).parent / "data" / "cases"
PLAN = (CASES / "waut_baseline" / "plan.add.xml").read_text()


def shown(scenario: Scenario, programs: str, folder: Path) -> list[tuple[str, str]]:
    """(program, state) of each step of a run with these programs."""
    record = folder / "record.add.xml"
    record.write_text(f'<additional><timedEvent type="SaveTLSStates" dest="{folder}/states.xml"/></additional>')
    result = sumo([*scenario.sumo_args([record], programs=programs), "--tripinfo-output", "trips.xml"], folder)
    assert result.returncode == 0, result.stderr
    rows = ElementTree.parse(folder / "states.xml").getroot()
    return [(row.get("programID", ""), row.get("state", "")) for row in rows]


@pytest.mark.parametrize(
    ("controller", "expected"),
    [
        (ProgramControl(), ["p2", "p3", "off"]),
        (Actuated(), ["intergreen-actuated"]),
        (DelayBased(), ["intergreen-delay-based"]),
        (GivenPrograms(PLAN), ["mine"]),
    ],
    ids=["fixed_time", "actuated", "delay_based", "given"],
)
def test_a_time_of_day_switch_lets_go_of_a_signal_whose_program_is_replaced(
    controller: ProgramControl, expected: list[str], tmp_path: Path
) -> None:
    scenario = load(CASES / "waut_baseline" / "my.sumocfg")
    seen = shown(scenario, controller.additional_xml(scenario), tmp_path)
    assert list(dict.fromkeys(program for program, _ in seen)) == expected


def test_programs_that_come_with_their_own_switch_keep_it(tmp_path: Path) -> None:
    switch = (
        '<WAUT refTime="0" id="own" startProg="mine"><wautSwitch time="60" to="0"/></WAUT>'
        '<wautJunction wautID="own" junctionID="C"/></additional>'
    )
    scenario = load(CASES / "waut_baseline" / "my.sumocfg")
    seen = shown(scenario, PLAN.replace("</additional>", switch), tmp_path)
    assert list(dict.fromkeys(program for program, _ in seen)) == ["mine", "0"]


def test_webster_shows_each_row_of_a_program_that_chooses_its_next_row(tmp_path: Path) -> None:
    case = CASES / "webster_next"
    scenario = load(case / "my.net.xml", routes=[case / "my.rou.xml"], end_s=600)
    rows = scenario.network.programs["X"][-1].rows
    assert rows[0].next == (0, 1), "the first row may follow itself"
    for controller in (DelayBased(), Webster()):
        seen = shown(scenario, controller.additional_xml(scenario), tmp_path)
        assert {state for _, state in seen} == {row.state for row in rows}
    persons = ElementTree.parse(tmp_path / "trips.xml").getroot().findall("personinfo")
    assert len(persons) == 20
    assert max(float(p.get("waitingTime", "")) for p in persons) < 60


def program(*followers: str, kind: str = "actuated") -> Program:
    """Rows by state and next: "GGr 0 1"."""
    rows = [
        ProgramRow(float(n), of.split()[0], next=tuple(map(int, of.split()[1:]))) for n, of in enumerate(followers)
    ]
    return Program("C", "0", kind, 0.0, tuple(rows))


@pytest.mark.parametrize(
    ("given", "order"),
    [
        (program("Gr", "yr", "rG", "ry"), [0, 1, 2, 3]),
        (program("Gr 0 1", "yr", "rG", "ry"), [0, 1, 2, 3]),
        (program("Gr 2", "yr", "rG", "ry"), [0, 2, 3]),  # SUMO never comes to row 1
        (program("Gr 2", "yr", "rG", "ry", kind="delay_based"), [0, 1, 2, 3]),  # which does not look at it
        (program("Gr 5", "Gr", "yr", "rG", "ry 1", "yr 2"), [1, 2, 3, 4]),  # rows 0 and 5 only lead in
        (program("Grr 1 3", "yrr", "rGr 5", "yrr", "rrG 5", "rry 0"), [0, 1, 2, 5, 0, 3, 4, 5]),  # one or the other
        (program("Grr 1 3", "yrr", "rGr 5 6", "yrr", "rrG 7", "ryr 0", "ryr 4", "rry 0"), [0, 1, 2, 6, 4, 7]),
        (program("Gr 0", "yr", "rG", "ry"), [0]),
        (program("Gr -1 9", "rG"), [0, 1]),  # no such rows
    ],
)
def test_one_cycle_has_every_green_and_follows_the_program(given: Program, order: list[int]) -> None:
    found = in_one_cycle(given)
    assert [int(row.duration_s) for row in found.rows] == order
    assert not any(row.next for row in found.rows)


def test_actuated_still_chooses_by_its_detectors() -> None:
    case = CASES / "webster_next"
    scenario = load(case / "my.net.xml", routes=[case / "my.rou.xml"], end_s=600)
    (logic,) = ElementTree.fromstring(Actuated().additional_xml(scenario))
    assert [row.get("next") for row in logic.iter("phase")] == ["0 1", None, None, None]

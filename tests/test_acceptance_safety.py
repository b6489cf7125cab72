"""Acceptance 4 and 5: conflicting greens and intervals that are too short are never exported."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from deployment.bundle.contents import Subject
from deployment.nema.safety import findings, needed_red_s, needed_yellow_s, pair_findings, timing_findings
from scenarios.loading import load
from signals.intersection import compile_signals
from signals.links import Link
from signals.nema import NemaPlan, nema_plan
from signals.timing import Timing
from tests.policy_runs import status_of, write_run

MPH = 0.44704  # [m/s]


FOOT = 0.3048  # [m]


def subject_of(name: str) -> Subject:
    network = load(name).network
    (item,) = compile_signals(network).intersections
    return Subject.alone(item, network, "detectors")


def findings_of(subject: Subject) -> list[str]:
    return findings(subject.intersection, subject.plan, subject.fallback)


# 4. A conflicting program or an illegal pair is refused at export.


def test_acceptance_04_a_network_whose_program_lets_foes_go_together_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The published ingolstadt7 has such a row at gneJ210."""
    run = write_run(tmp_path / "run", "ingolstadt7", window=None)
    status, said = status_of(capsys, monkeypatch, "bundle", run, "--tls", "gneJ210", "--out", tmp_path / "out")
    assert status == 2
    assert said.count("\n") == 1
    assert said.startswith("error: tls 'gneJ210' is not exported: row 4 (rrrrGGGGGGGGrr)")
    assert "unsafe green: links 6 and 8 conflict and neither gives way" in said
    assert not (tmp_path / "out").exists()


def test_acceptance_04_a_program_without_yellow_is_refused() -> None:
    subject = subject_of("single")
    item = subject.intersection
    rows = tuple(r for r in item.program.rows if "y" not in r.state)
    bare = dataclasses.replace(item, program=dataclasses.replace(item.program, rows=rows))
    assert findings_of(subject) == []
    assert "without yellow" in findings_of(dataclasses.replace(subject, intersection=bare))[0]


def test_acceptance_04_conflicting_greens_in_an_action_and_illegal_pairs_are_refused() -> None:
    subject = subject_of("single")
    table, plan = subject.intersection.table, subject.plan
    assert pair_findings(table, plan) == []
    crossing = dataclasses.replace(plan, actions=((4, 6), *plan.actions[1:]))
    found = pair_findings(table, crossing)
    assert any(line.startswith("action 0 is unsafe: link ") and "would have to give way" in line for line in found)
    assert "action 0 is an illegal pair: NEMA phases 4 and 6 may not be green together" in found
    widened = _changed(plan, 2, concurrent=(6, 8))
    assert any(line.startswith("NEMA phases 2 and 8 are an illegal pair") for line in pair_findings(table, widened))
    one_ring = _changed(plan, 6, ring=1)
    assert any("illegal pair: NEMA phases 2 and 6" in line for line in pair_findings(table, one_ring))


def test_acceptance_04_every_other_published_network_passes() -> None:
    refused = {}
    for name in ("single", "tee", "grid", "cologne1", "cologne3", "ingolstadt7"):
        network = load(name).network
        for item in compile_signals(network).intersections:
            if lines := findings_of(Subject.alone(item, network, "full")):
                refused[name, item.tls_id] = lines
    assert list(refused) == [("ingolstadt7", "gneJ210")]


# 5. Yellow, red, walk, don't-walk below the calculated values are refused; the 45 mph example is exact.


def _changed(plan: NemaPlan, number: int, **changes: Any) -> NemaPlan:
    phases = tuple(dataclasses.replace(p, **changes) if p.number == number else p for p in plan.phases)
    return dataclasses.replace(plan, phases=phases)


@pytest.mark.parametrize(
    ("field", "less", "said"),
    [
        ("yellow_change_s", 1.0, "yellow 3 s is below the calculated 3."),
        ("red_clearance_s", 1.0, "red clearance 1 s is below the calculated"),
        ("walk_s", 0.5, "walk 6.5 s is below 7 s"),
        ("pedestrian_clearance_s", 1.5, "below the calculated"),
        ("min_green_s", 1.0, "is shorter than its walk"),
    ],
)
def test_acceptance_05_an_interval_below_the_calculated_value_is_refused(field: str, less: float, said: str) -> None:
    subject = subject_of("single")
    item, plan = subject.intersection, subject.plan
    for phase in plan.phases:
        assert timing_findings(item, plan, phase) == []
    phase = plan.phase(2)
    shorter = _changed(plan, 2, **{field: getattr(phase, field) - less})
    found = timing_findings(item, shorter, shorter.phase(2))
    assert any(said in line for line in found), found
    assert any("NEMA phase 2" in line for line in findings_of(dataclasses.replace(subject, plan=shorter)))


def test_acceptance_05_fixed_change_intervals_are_refused_by_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = write_run(tmp_path / "run", change_interval="fixed")
    status, said = status_of(capsys, monkeypatch, "bundle", run, "--out", tmp_path / "out")
    assert status == 2
    assert said.count("\n") == 1
    assert "below the calculated" in said
    assert "calculated change intervals" in said
    assert not (tmp_path / "out").exists()


def test_acceptance_05_pedestrian_clearance_is_not_calculated_with_the_trainings_speed() -> None:
    network = load("single").network
    (program,) = network.programs["C"]
    bare = [row for number, row in enumerate(program.rows) if number not in (1, 8)]  # walks are cleared in these
    network = network.with_programs((dataclasses.replace(program, rows=tuple(bare)),))
    (item,) = compile_signals(network, Timing(walking_speed_mps=3.0, walk_s=4.0)).intersections
    subject = Subject.alone(item, network, "detectors")
    found = "\n".join(findings_of(subject))
    assert "walk 4 s is below 7 s" in found
    assert "pedestrian clearance" in found


def street(length_m: float, *, east: bool) -> Link:
    """A lane over a junction, at 45 mph: eastwards from 0 on, or northwards at 23 m."""
    path = ((0.0, 0.0), (length_m, 0.0)) if east else ((23.0, -20.0), (23.0, 20.0))
    return Link(0, (), False, 45 * MPH, 45 * MPH, (path,), 3.2, length_m, 0.0)


def test_acceptance_05_the_example_of_45_mph_is_exact() -> None:
    ending, starting = street(80 * FOOT, east=True), street(40.0, east=False)
    assert needed_yellow_s(ending) == 4.3
    assert needed_red_s(ending, starting) == 1.5


def test_acceptance_05_at_45_mph_a_tenth_less_is_refused() -> None:
    subject = subject_of("single")
    item = subject.intersection
    links = tuple(
        link if link.pedestrian else dataclasses.replace(link, speed_mps=45 * MPH, yellow_speed_mps=45 * MPH)
        for link in item.table.links
    )
    fast = dataclasses.replace(item, table=dataclasses.replace(item.table, links=links))
    plan = nema_plan(item)
    given = _changed(plan, 2, yellow_change_s=4.3)
    assert not [line for line in timing_findings(fast, given, given.phase(2)) if "yellow 4" in line]
    short = _changed(plan, 2, yellow_change_s=4.2)
    assert "yellow 4.2 s is below the calculated 4.3 s" in timing_findings(fast, short, short.phase(2))[0]

"""What a plan shows: each green as long as its split says, and safe changes from one pattern to the next."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import pytest

from controllers.programs import GivenPrograms
from deployment.nema.pattern import (
    Event,
    PlanSet,
    SignalPlans,
    cycle_begin_s,
    timeline,
)
from deployment.plans.display import cycle
from deployment.plans.program import day_programs, plans_xml, shared, shortest_cycle_s, transition
from evaluation.monitor.check import check, read_states
from evaluation.runs import Contestant, Evaluation, run_all
from plumbing.errors import InputError
from scenarios.loading import load
from scenarios.scenario import Scenario
from tests.plans import NETWORKS, own_pattern, plan_set, signals


@pytest.mark.parametrize("name", NETWORKS)
def test_a_cycle_shows_every_phase_as_long_as_its_split_says(name: str) -> None:
    for item, nema in signals(name):
        pattern = own_pattern(item, nema)
        shown = cycle(pattern, nema)
        assert sum(row.duration_s for row in shown) == pytest.approx(pattern.cycle_s)
        for phase in nema.phases:
            split = pattern.split(phase.number)
            green_s = split.split_s - phase.yellow_change_s - phase.red_clearance_s
            for link in phase.links:
                seen = {c: sum(r.duration_s for r in shown if r.state[link] == c) for c in "gGyr"}
                assert seen[nema.green[link]] == pytest.approx(green_s)
                assert seen["y"] == pytest.approx(phase.yellow_change_s)


def test_an_overlap_stays_green_from_one_of_its_phases_to_the_next() -> None:
    (item, nema) = next((i, n) for i, n in signals("cologne3") if n.overlaps)
    overlap, pattern = nema.overlaps[0], own_pattern(item, nema)
    on = [of for of in timeline(pattern, nema) if of.phase in overlap.phases]
    assert len(on) == 2
    assert on[0].end_s == on[1].start_s
    states = [row.state[overlap.links[0]] for row in cycle(pattern, nema) for _ in range(round(row.duration_s))]
    assert "".join(states[: round(on[1].green_end_s)]) == nema.green[overlap.links[0]] * round(on[1].green_end_s)
    assert states.count("y") == round(nema.phase(on[1].phase).yellow_change_s)


def test_a_transition_ends_in_step_and_never_cuts_a_green_short() -> None:
    ((item, nema),) = signals("single")
    pattern = own_pattern(item, nema)
    for late_s in range(pattern.cycle_s):
        lengths = transition(pattern, nema, late_s)
        assert (sum(lengths) - late_s) % pattern.cycle_s == 0
        assert all(length >= shortest_cycle_s(pattern, nema) for length in lengths)
    assert transition(pattern, nema, 0.0) == []
    assert transition(pattern, nema, 10.0) == [pattern.cycle_s + 10]


@pytest.mark.parametrize("name", ["single", "tee", "cologne3", "ingolstadt7"])
def test_no_green_ends_without_yellow_whatever_pattern_follows(name: str) -> None:
    begin_s = load(name).begin_s
    plans = plan_set(name, (5, 10, 14), begin_s)
    for (item, _), signal in zip(signals(name), plans.signals, strict=True):
        programs = day_programs(signal, plans, begin_s, begin_s + 1500)
        assert len(programs) > 3
        states: list[str] = []
        for program, following in itertools.pairwise(programs):
            once = [row.state for row in program.rows for _ in range(round(row.duration_s))]
            rounds = max(1, round((following.from_s - max(program.from_s, begin_s)) / program.length_s))
            states += once * min(rounds, 2)
        for link in (link.index for link in item.table.links if link.used and not link.pedestrian):
            shown = "".join(state[link] for state in states).replace("g", "G")
            runs = [(c, len(list(group))) for c, group in itertools.groupby(shown)]
            for (before, _), (c, length), (after, _) in zip(runs, runs[1:], runs[2:], strict=False):
                assert (before, c) != ("G", "r"), (item.tls_id, link)
                assert c != "y" or (before == "G" and after == "r" and length >= 3), (item.tls_id, link)


def test_seconds_are_shared_without_a_rest() -> None:
    for total, weights in itertools.product(range(30, 60), ([1, 1, 1], [0, 0, 0], [5, 2, 1])):
        parts = shared(total, [10, 10, 10], weights)
        assert sum(parts) == total
        assert min(parts) >= 10


def run(scenario: Scenario, xml: str, keep: Path) -> Path:
    """SUMO's recording of a run with these programs."""
    run_all(Evaluation(scenario, [Contestant("plan", lambda: GivenPrograms(xml))], [10_001], keep=keep))
    return keep / "plan" / "seed-10001" / "tls_states.xml"


def safely(name: str, length_s: float, keep: Path) -> None:
    scenario = load(name)
    scenario = dataclasses.replace(scenario, end_s=scenario.begin_s + length_s)
    plans = plan_set(name, (5, 10, 14), scenario.begin_s)
    items = {item.tls_id: item for item, _ in signals(name)}
    xml = plans_xml(plans, items, scenario.begin_s, scenario.end_s)
    states = run(scenario, xml, keep)
    assert not check(scenario.net_file, states, tls_ids=list(items))
    recorded = read_states(states).intervals
    for signal in plans.signals:
        pattern, tls_id = signal.pattern(1), signal.nema.tls_id
        begin_s, at_s = cycle_begin_s(pattern, signal.nema), 0.0
        expected = {}
        for row in cycle(pattern, signal.nema):
            for second in range(round(row.duration_s)):
                expected[round(at_s + second)] = row.state
            at_s += row.duration_s
        for second in range(int(scenario.begin_s), int(scenario.begin_s) + 290):  # until the first change
            shown = next(i.state for i in recorded[tls_id] if i.start_ms <= second * 1000 < i.end_ms)
            assert shown == expected[round(second - begin_s) % pattern.cycle_s], (tls_id, second)


@pytest.mark.wide
def test_sumo_shows_the_plans_and_changes_between_them_safely(tmp_path: Path) -> None:
    safely("single", 1000.0, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tee", "arterial", "cologne3", "ingolstadt7", "grid4x4"])
def test_sumo_shows_the_plans_of_whole_networks_safely(name: str, tmp_path: Path) -> None:
    safely(name, 1500.0, tmp_path)


def test_a_plan_that_would_show_conflicting_greens_is_not_written() -> None:
    ((item, nema),) = signals("single")
    reckless = dataclasses.replace(nema, green=nema.green.replace("g", "G"))
    phases = [dataclasses.replace(p, links=(*p.links, 9)) if p.number == 2 else p for p in reckless.phases]
    reckless = dataclasses.replace(reckless, phases=tuple(phases))
    plans = PlanSet((SignalPlans(reckless, (own_pattern(item, nema),)),), (Event(0, 1),))
    with pytest.raises(InputError, match="conflict and neither gives way"):
        plans_xml(plans, {item.tls_id: item}, 0.0, 600.0)

"""Time-of-day plans: their rules, what they show, and the forms in which they are handed over."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from controllers.programs import GivenPrograms
from deployment.nema.objects import objects_from_json, objects_json, plan_objects, read_objects, select_pattern
from deployment.nema.oids import OBJECTS, parse
from deployment.nema.pattern import (
    Event,
    Pattern,
    PlanSet,
    SignalPlans,
    check_pattern,
    check_plans,
    cycle_begin_s,
    least_split_s,
    plan_set_from_json,
    plan_set_json,
    timeline,
)
from deployment.plans.display import check_display, cycle
from deployment.plans.initial import own_cycle_s, own_greens, pattern_from_greens, sequences
from deployment.plans.moves import change
from deployment.plans.program import day_programs, plans_xml, shared, shortest_cycle_s, transition
from deployment.plans.report import sheet
from deployment.plans.utdf import read_tables, read_utdf, utdf_text, write_tables
from evaluation.monitor.check import check, read_states
from evaluation.runs import Contestant, Evaluation, run_all
from plumbing.errors import InputError
from scenarios.scenario import Scenario, load
from signals.intersection import Intersection, compile_signals
from signals.nema import NemaPlan, nema_plan

NETWORKS = ("single", "tee", "cologne3", *(pytest.param(n, marks=pytest.mark.slow) for n in ("arterial", "grid4x4")))


@functools.cache
def signals(name: str) -> tuple[tuple[Intersection, NemaPlan], ...]:
    return tuple((item, nema_plan(item)) for item in compile_signals(load(name).network).intersections)


def eight_phases() -> tuple[Intersection, NemaPlan]:
    """The classic controller: two barriers, and between them two phases in each ring."""
    ((item, nema),) = signals("single")
    across = {1: (5, 6), 2: (5, 6), 3: (7, 8), 4: (7, 8), 5: (1, 2), 6: (1, 2), 7: (3, 4), 8: (3, 4)}
    phases = tuple(dataclasses.replace(p, concurrent=across[p.number]) for p in nema.phases)
    return item, dataclasses.replace(nema, phases=phases)


def own_pattern(item: Intersection, nema: NemaPlan, cycle_s: int = 0, number: int = 1, offset_s: int = 0) -> Pattern:
    length_s = cycle_s or round(own_cycle_s(item))
    return pattern_from_greens(item, nema, own_greens(item), length_s, number=number, offset_s=offset_s)


def plan_set(name: str, switches: tuple[int, ...] = (5, 10), begin_s: float = 0.0) -> PlanSet:
    """Two patterns that differ in cycle, splits, offset and sequence, and change several times."""
    made = []
    for n, (item, nema) in enumerate(signals(name)):
        first = own_pattern(item, nema, offset_s=7 * n)
        second = own_pattern(item, nema, first.cycle_s + 17, number=2, offset_s=11 * n + 3)
        others = sequences(nema, second)
        made.append(SignalPlans(nema, (first, dataclasses.replace(second, sequence=(*others, second.sequence)[0]))))
    start = int(begin_s // 60)
    events = [Event(start + minute, 2 - n % 2) for n, minute in enumerate(switches)]
    return PlanSet(tuple(made), (Event(0, 1), *events))


def changed(pattern: Pattern, phase: int, **fields: Any) -> Pattern:
    splits = tuple(dataclasses.replace(s, **fields) if s.phase == phase else s for s in pattern.splits)
    return dataclasses.replace(pattern, splits=splits)


def paired(pattern: Pattern, more: dict[int, int]) -> Pattern:
    for phase, seconds in more.items():
        pattern = changed(pattern, phase, split_s=pattern.split(phase).split_s + seconds)
    return pattern


Broken = Callable[[Pattern], Pattern]
BROKEN: dict[str, tuple[Broken, str]] = {
    "number": (lambda p: dataclasses.replace(p, number=254), "number is 1 to 253"),
    "no cycle": (lambda p: dataclasses.replace(p, cycle_s=0), "holds 1 to 255 s"),
    "long cycle": (lambda p: dataclasses.replace(p, cycle_s=256), "holds 1 to 255 s"),
    "offset": (lambda p: dataclasses.replace(p, offset_s=p.cycle_s), "less than the cycle"),
    "split over an octet": (lambda p: changed(p, 4, split_s=256), "0 to 255 s"),
    "negative split": (lambda p: changed(p, 4, split_s=-1), "0 to 255 s"),
    "short of min green": (
        lambda p: changed(p, 1, split_s=11),
        r"phase 1 is 11 s, it needs 12 s \(green, min green 5",
    ),
    "short of the walk": (lambda p: changed(p, 4, split_s=21), r"phase 4 is 21 s, it needs 22 s \(walk 7 \+ clear"),
    "rings differ": (lambda p: paired(p, {4: 1}), "phases 4 8: the rings' splits sum to .* make them equal"),
    "sum is not the cycle": (lambda p: paired(p, {4: 1, 8: 1}), "sum to 105 s, the cycle is 104 s"),
    "a missing split": (lambda p: dataclasses.replace(p, splits=p.splits[1:]), "splits are given for 2 3"),
    "unknown mode": (lambda p: changed(p, 1, mode="sometimes"), "mode 'sometimes'"),
    "omitted with a split": (lambda p: changed(p, 1, mode="omitted"), "phase 1 is omitted; give it no split"),
    "nothing coordinated": (lambda p: changed(changed(p, 2, coordinated=False), 6, coordinated=False), "no phase is"),
    "two streets coordinated": (lambda p: changed(p, 4, coordinated=True), "different groups"),
    "a phase twice": (lambda p: dataclasses.replace(p, sequence=((4, 4, 2, 3), p.sequence[1])), "ring's phases once"),
    "orders differ": (lambda p: dataclasses.replace(p, sequence=(p.sequence[0], (8, 6, 5, 7))), "different orders"),
}


@pytest.mark.parametrize("rule", BROKEN)
def test_a_pattern_that_a_controller_cannot_run_is_refused(rule: str) -> None:
    ((item, nema),) = signals("single")
    good = own_pattern(item, nema)
    check_pattern(good, nema)
    breaks, message = BROKEN[rule]
    with pytest.raises(InputError, match=message):
        check_pattern(breaks(good), nema)


@pytest.mark.parametrize(
    ("day", "message"),
    [
        ((), "begin at midnight"),
        ((Event(60, 1),), "begin at midnight"),
        ((Event(0, 1), Event(60, 2), Event(60, 1)), "not in order"),
        ((Event(0, 1), Event(1440, 2)), "not in order"),
        ((Event(0, 1), Event(60, 3)), "pattern 3, which is not there"),
    ],
)
def test_a_day_plan_has_a_pattern_for_every_minute(day: tuple[Event, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_plans(dataclasses.replace(plan_set("single"), day=day))


def test_the_walk_has_to_fit_only_where_pedestrians_are_recalled() -> None:
    ((_, nema),) = signals("single")
    assert least_split_s(nema.phase(4), "max_ped_recall") == 22  # 7 walk + 8 clearance + 4 yellow + 3 red
    assert least_split_s(nema.phase(4), "max_recall") == 14  # 7 min green
    assert least_split_s(nema.phase(4), "omitted") == 0
    tenths = dataclasses.replace(nema.phase(4), min_green_s=4.2, yellow_change_s=4.4, red_clearance_s=1.4)
    assert least_split_s(tenths, "max_recall") == 10  # in floating point they come to a little more


def test_the_offset_refers_to_the_first_coordinated_green() -> None:
    item, nema = eight_phases()
    pattern = own_pattern(item, nema, 120, offset_s=30)
    on = {of.phase: of for of in timeline(pattern, nema)}
    assert pattern.sequence == ((1, 2, 3, 4), (5, 6, 7, 8))
    assert on[1].start_s == on[5].start_s == 0.0
    assert on[2].start_s == pattern.split(1).split_s
    assert (cycle_begin_s(pattern, nema) + on[2].start_s) % 120 == 30  # 2 and 6 are coordinated
    lagging = dataclasses.replace(pattern, sequence=((2, 1, 3, 4), (5, 6, 7, 8)))  # 1 lags, 5 leads
    check_pattern(lagging, nema)
    assert cycle_begin_s(lagging, nema) == 30


def test_phases_that_must_not_meet_do_not() -> None:
    item, nema = eight_phases()
    across = {1: (5,), 2: (5, 6), 5: (1, 2), 6: (2,)}
    phases = [dataclasses.replace(p, concurrent=across.get(p.number, p.concurrent)) for p in nema.phases]
    nema = dataclasses.replace(nema, phases=tuple(phases))
    pattern = own_pattern(item, nema, 120)
    check_pattern(paired(pattern, {5: 4, 6: -4}), nema)  # 6 begins after 1 has ended
    with pytest.raises(InputError, match="phases 1 and 6 would be on together"):
        check_pattern(paired(pattern, {5: -2, 6: 2, 1: 2, 2: -2}), nema)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_search_only_ever_proposes_what_can_be_run(name: str) -> None:
    draw, nema = random.Random(1), {item.tls_id: plan for item, plan in signals(name)}
    plan = {item.tls_id: own_pattern(item, of, 150) for item, of in signals(name)}
    assert len({pattern.cycle_s for pattern in plan.values()}) == 1
    kinds = set()
    for _ in range(60):
        said, plan = change(plan, nema, draw, 1.0, 200)
        kinds.add(said.split(": ")[-1].split()[0])
        for item, of in signals(name):
            check_pattern(plan[item.tls_id], of)
            check_display(cycle(plan[item.tls_id], of), item)
    assert len({pattern.cycle_s for pattern in plan.values()}) == 1
    assert {"cycle", "sequence"} <= kinds


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


def test_acceptance_18_a_half_bad_plan_changes_nothing() -> None:
    plans = plan_set("single")
    (signal,) = plans.signals
    good, bad = signal.patterns[0], changed(signal.patterns[1], 2, split_s=5)
    with pytest.raises(InputError, match="pattern 2: the split of phase 2 is 5 s"):
        plan_objects(dataclasses.replace(signal, patterns=(good, bad)), plans.day)
    with pytest.raises(InputError, match="pattern 9, which is not there"):
        plan_objects(signal, (*plans.day, Event(1439, 9)))


@pytest.mark.parametrize("name", NETWORKS)
def test_acceptance_18_what_is_read_back_equals_the_timing_sheet(name: str) -> None:
    plans = plan_set(name)
    for signal in plans.signals:
        objects = plan_objects(signal, plans.day)
        assert len({(n, index) for n, index, _ in objects}) == len(objects)
        for object_name, index, value in objects:
            of = OBJECTS[object_name]
            assert of.area == "plan"
            of.at(*index)
            assert not isinstance(value, int) or of.low <= value <= of.high
        stored = json.loads(json.dumps(objects_json(objects)))
        read, day = read_objects(objects_from_json(stored), signal.nema)
        assert (read, day) == (signal, plans.day)
        assert sheet(read, day) == sheet(signal, plans.day)


def test_objects_have_the_numbers_that_the_standard_gives_them() -> None:
    plans = plan_set("single")
    by_oid = {entry["oid"]: entry["value"] for entry in objects_json(plan_objects(plans.signals[0], plans.day))}
    asc, common = "1.3.6.1.4.1.1206.4.2.1", "1.3.6.1.4.1.1206.4.2.6"
    assert by_oid[f"{asc}.4.7.1.2.1"] == 104  # cycle of pattern 1
    assert by_oid[f"{asc}.4.9.1.3.1.2"] == 39  # split 1, phase 2
    assert by_oid[f"{asc}.4.9.1.4.1.2"] == 6  # with a crossing: max and pedestrian recall
    assert by_oid[f"{asc}.4.9.1.4.1.1"] == 4  # max recall
    assert by_oid[f"{asc}.7.3.1.3.1.2"] == [6, 7, 8, 5]  # sequence 1, ring 2
    assert by_oid[f"{common}.3.3.5.1.4.1.2"] == 5  # minute of the second event
    assert by_oid[f"{common}.3.3.5.1.5.1.2"] == f"{asc}.5.3.1.1.2"
    assert select_pattern(2) == ("systemPatternControl", (), 2)
    with pytest.raises(InputError, match="1 to 253"):
        select_pattern(255)


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("splitTime", (1, 2)), 5, "phase 2 is 5 s"),
        (("splitMode", (1, 2)), 9, "splitMode.1.2 is 9"),
        (("sequenceData", (1, 1)), None, "sequenceData.1.1 is missing"),
        (("patternOffsetTime", (1,)), None, "patternOffsetTime.1 is None"),
        (("dayPlanActionNumberOID", (1, 2)), parse("1.3.6.1"), "names no action"),
    ],
)
def test_a_controller_that_reads_back_something_else_is_noticed(place: Any, value: Any, message: str) -> None:
    plans = plan_set("single")
    objects = {(n, i): v for n, i, v in plan_objects(plans.signals[0], plans.day)}
    objects[place] = value
    with pytest.raises(InputError, match=message):
        read_objects([(n, i, v) for (n, i), v in objects.items() if v is not None], plans.signals[0].nema)


@pytest.mark.parametrize("name", NETWORKS)
def test_acceptance_18_utdf_round_trips(name: str) -> None:
    items, nema = {i.tls_id: i for i, _ in signals(name)}, [n for _, n in signals(name)]
    plans, network = plan_set(name), load(name).network
    for number in (1, 2):
        text = utdf_text(plans, number, items, network)
        expected = {signal.nema.tls_id: signal.pattern(number) for signal in plans.signals}
        assert read_utdf(text, nema, number) == expected
        assert write_tables(read_tables(text)) == text
        again = [SignalPlans(s.nema, (read_utdf(text, nema, number)[s.nema.tls_id],)) for s in plans.signals]
        assert utdf_text(PlanSet(tuple(again), plans.day), number, items, network) == text


def test_utdf_keeps_every_mode() -> None:
    ((item, nema),) = signals("single")
    pattern = own_pattern(item, nema)
    for phase, mode in ((2, "ped_recall"), (6, "none"), (3, "min_recall"), (8, "max_recall")):
        pattern = changed(pattern, phase, mode=mode)
    lost = pattern.split(1).split_s
    for phase in (1, 5):
        pattern = changed(pattern, phase, mode="omitted", split_s=0)
    pattern = dataclasses.replace(pattern, cycle_s=pattern.cycle_s - lost)
    plans = PlanSet((SignalPlans(nema, (pattern,)),), (Event(0, 1),))
    text = utdf_text(plans, 1, {item.tls_id: item}, load("single").network)
    assert read_utdf(text, [nema], 1) == {item.tls_id: pattern}
    with pytest.raises(InputError, match="no node for tls 'J'"):
        read_utdf(text, [dataclasses.replace(nema, tls_id="J")], 1)
    with pytest.raises(InputError, match=r"no section \[Lanes\]"):
        read_utdf(text.split("[Lanes]")[0] + text[text.index("[Timeplans]") :], [nema], 1)
    with pytest.raises(InputError, match="node 1 is not whole"):
        read_utdf(text.replace("Cycle Length,1,", "Cycle Length,1,1e999,"), [nema], 1)
    with pytest.raises(InputError, match=r"section \[Nodes\] is empty"):
        read_utdf(text[: text.index("INTID,TYPE")] + text[text.index("[Links]") :], [nema], 1)
    with pytest.raises(InputError, match="node 1 is not whole"):
        read_utdf(text.replace("Cycle Length,1,", "Cycle,1,"), [nema], 1)


@pytest.mark.parametrize("name", ["single", "cologne3"])
def test_acceptance_18_another_package_reads_the_utdf(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("utdf2gmns", reason="utdf2gmns is not installed: pip install 'intergreen[oracles]'")
    from utdf2gmns.func_lib.sumo.signal_intersections import parse_signal_control
    from utdf2gmns.func_lib.utdf.read_utdf import read_UTDF

    items, plans, file = {i.tls_id: i for i, _ in signals(name)}, plan_set(name), tmp_path / "plan.csv"
    file.write_text(utdf_text(plans, 1, items, load(name).network))
    tables = read_UTDF(str(file))
    cycles = tables["Timeplans"].query("RECORDNAME == 'Cycle Length'")["DATA"].tolist()
    assert [int(c) for c in cycles] == [signal.pattern(1).cycle_s for signal in plans.signals]
    for node, signal in enumerate(plans.signals, start=1):
        control = parse_signal_control(tables["Phases"], tables["Lanes"], node)
        for phase in signal.nema.phases:
            read = control[f"D{phase.number}"]
            total = sum(float(read[column]) for column in ("MaxGreen", "Yellow", "AllRed"))
            assert total == signal.pattern(1).split(phase.number).split_s
            assert read.get("protected") or read.get("permitted")
    if name == "single":
        control = parse_signal_control(tables["Phases"], tables["Lanes"], 1)
        assert control["D2"]["protected"] == ["SBT"]
        assert control["D5"]["protected"] == ["SBL"]
        assert control["D4"]["permitted"] == ["WBR"]
    assert "Error" not in capsys.readouterr().out


def test_plans_are_the_same_after_json() -> None:
    plans = plan_set("cologne3")
    stored = json.loads(json.dumps(plan_set_json(plans)))
    assert plan_set_from_json(stored) == plans
    stored["signals"][0]["patterns"][0]["splits"][0]["split_s"] = 1
    with pytest.raises(InputError, match="lengthen it"):
        plan_set_from_json(stored)
    for wrong in ({}, [], {"format": 99}, {"format": 1, "signals": 3, "day": []}):
        with pytest.raises(InputError, match="these are no plans"):
            plan_set_from_json(wrong)


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

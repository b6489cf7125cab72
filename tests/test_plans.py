"""Time-of-day plans: their rules, and the objects that a controller holds of them."""

from __future__ import annotations

import dataclasses
import json
import random
from collections.abc import Callable
from typing import Any

import pytest

from deployment.nema.objects import objects_from_json, objects_json, plan_objects, read_objects, select_pattern
from deployment.nema.oids import OBJECTS, parse
from deployment.nema.pattern import (
    Event,
    Pattern,
    check_pattern,
    check_plans,
    cycle_begin_s,
    least_split_s,
    timeline,
)
from deployment.plans.display import check_display, cycle
from deployment.plans.moves import change
from deployment.plans.report import sheet
from plumbing.errors import InputError
from tests.plans import NETWORKS, changed, eight_phases, own_pattern, plan_set, signals


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

"""Derived plans in the emulated controller: it shows, lamp by lamp, what they say and what SUMO shows of them."""

from __future__ import annotations

import pytest

from deployment.nema.objects import PlanObject, plan_objects, read_objects
from deployment.nema.oids import OBJECTS, VERIFY_ERROR, VERIFY_NO_ERROR
from deployment.nema.pattern import Event, SignalPlans, cycle_begin_s
from deployment.plans.display import cycle
from deployment.plans.initial import own_cycle_s, own_greens, pattern_from_greens, sequences
from signals.nema import nema_plan
from tests.emulated import Recorder, cabinet, intersections


def plans_for(scenario: str, tls_id: str, offset_s: int) -> SignalPlans:
    item, _ = intersections(scenario)[tls_id]
    nema = nema_plan(item)
    first = pattern_from_greens(item, nema, own_greens(item), round(own_cycle_s(item)), offset_s=offset_s)
    other = pattern_from_greens(item, nema, own_greens(item), first.cycle_s + 17, number=2, offset_s=3)
    turned = sequences(nema, other)
    second = type(other)(2, other.cycle_s, 3, (turned or [other.sequence])[-1], other.splits)
    return SignalPlans(nema, (first, second))


def download(recorder: Recorder, objects: list[PlanObject]) -> None:
    made = recorder.cabinet
    made.begin_transaction()
    assert made.draft is not None
    made.draft |= {OBJECTS[name].at(*index): value for name, index, value in objects}
    made.verify()
    made.end_transaction()


@pytest.mark.wide
@pytest.mark.parametrize(("scenario", "tls_id"), [("single", "C"), ("arterial", "J2"), ("cologne3", "360082")])
def test_the_emulated_controller_shows_what_the_plan_says(scenario: str, tls_id: str) -> None:
    recorder = Recorder(cabinet(scenario, tls_id, 0), scenario)
    plans = plans_for(scenario, tls_id, 37)
    crossings = {link for phase in plans.nema.phases for link in phase.crossings}
    download(recorder, plan_objects(plans, (Event(0, 1),)))
    assert recorder.cabinet.verify_status == VERIFY_NO_ERROR, recorder.cabinet.verify_error
    for pattern in plans.patterns:
        recorder.cabinet.controller.pattern = pattern.number
        recorder.run(4 * pattern.cycle_s)
        assert recorder.cabinet.controller.running_pattern == pattern.number
        begin = recorder.cabinet.now
        recorder.run(2 * pattern.cycle_s)
        expected, at_s = [], cycle_begin_s(pattern, plans.nema)
        for row in cycle(pattern, plans.nema):
            expected += [row.state] * round(10 * row.duration_s)
        walked: dict[int, int] = {}
        for tick in range(begin + 1, recorder.cabinet.now):
            shown = next(i.state for i in recorder.shown if i.start_ms <= tick * 100 < i.end_ms)
            wanted = expected[(tick - round(10 * at_s)) % len(expected)]
            for link, (seen, planned) in enumerate(zip(shown, wanted, strict=True)):
                if link not in crossings:
                    assert seen.lower() == planned.lower(), (pattern.number, tick / 10, shown, wanted)
                elif seen == "G":  # a controller rests in walk with the coordinated phase alone
                    assert planned == "G", (pattern.number, tick / 10, shown, wanted)
                    walked[link] = walked.get(link, 0) + 1
        assert all(walked[link] >= 2 * 70 - 1 for link in crossings)  # two cycles, 7 s in each
    assert recorder.findings() == []


def test_acceptance_18_a_half_bad_plan_leaves_the_controller_as_it_was() -> None:
    recorder = Recorder(cabinet("single", "C", 0), "single")
    plans = plans_for("single", "C", 0)
    objects = plan_objects(plans, (Event(0, 1),))
    download(recorder, objects)
    held = dict(recorder.cabinet.values)
    bad = [(n, i, 5 if (n, i) == ("splitTime", (2, 2)) else v) for n, i, v in objects]
    bad = [(n, i, 99 if (n, i) == ("patternCycleTime", (1,)) else v) for n, i, v in bad]
    download(recorder, bad)
    assert recorder.cabinet.verify_status == VERIFY_ERROR
    assert dict(recorder.cabinet.values) == held
    read = [(n, i, held[OBJECTS[n].at(*i)]) for n, i, _ in objects]
    assert read_objects(read, plans.nema) == (plans, (Event(0, 1),))

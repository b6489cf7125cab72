"""What a policy sees in the field, and what a command is made of: readings, detectors, the signal, the masks."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from deployment.field.detectors import ALARM, CHATTERING, MISSING
from deployment.field.estimator import Estimator
from deployment.field.masks import Command, command_for
from deployment.field.reading import Reading, View, bits_of, join, numbers_of, split
from tests.field import GREENS, Feed, make_site, shows, values


def bits(*numbers: int) -> int:
    return bits_of(numbers)


# --- readings


def test_octets_of_groups_become_bits_and_back() -> None:
    assert join([0b1, 0b10]) == bits(1, 10)
    assert split("hold", bits(2, 6, 9), 2) == {"hold.1": 0b100010, "hold.2": 1}
    assert numbers_of(bits(2, 6, 9)) == (2, 6, 9)


def test_a_doubled_or_late_answer_changes_nothing() -> None:
    view = View(1, 1)
    assert view.update(Reading(1.0, {"greens.1": 3}))
    assert not view.update(Reading(1.0, {"greens.1": 4}))
    assert not view.update(Reading(0.8, {"greens.1": 5}))
    assert view.get("greens.1") == 3


def test_each_value_has_its_own_age() -> None:
    view = View(1, 1)
    view.update(Reading(1.0, {"greens.1": 3, "nexts.1": 0}))
    view.update(Reading(2.0, {"greens.1": 3}))
    assert view.age_s("greens.1", 2.5) == 0.5
    assert view.age_s("nexts.1", 2.5) == 1.5
    assert view.age_s("yellows.1", 2.5) == math.inf


# --- detectors


def test_polled_bits_become_counts_seconds_and_gaps() -> None:
    estimator = Estimator(make_site())
    feed = Feed(estimator)
    feed.hold(values(), 1.0)
    feed.hold(values(detectors__1=1), 0.6)
    feed.hold(values(), 1.0)
    feed.hold(values(detectors__1=1), 0.4)
    found = estimator.detectors
    assert found.counts[0] == 2
    assert found.busy_s[0] == pytest.approx(0.6 + 0.4 - 0.1, abs=0.11)
    assert found.gaps_s(feed.now_s)[0] == 0
    feed.hold(values(), 2.0)
    assert found.gaps_s(feed.now_s)[0] == pytest.approx(1.9, abs=0.11)
    assert found.gaps_s(feed.now_s)[1] == -1  # nobody came yet


def test_lost_polls_lose_no_vehicle_that_still_stands_there() -> None:
    estimator = Estimator(make_site())
    feed = Feed(estimator)
    feed.hold(values(), 1.0)
    feed.now_s += 0.6  # three polls without an answer
    feed.hold(values(detectors__1=1), 0.4)
    assert estimator.detectors.counts[0] == 1


@pytest.mark.parametrize(
    ("fault", "what"), [({"alarms__1": 1}, ALARM), ({"missing": 1}, MISSING), ({"flicker": 1}, CHATTERING)]
)
def test_a_loop_that_is_not_to_be_trusted_calls_for_its_phases(fault: dict[str, int], what: str) -> None:
    site = make_site()
    estimator = Estimator(site)
    feed = Feed(estimator)
    feed.hold(values(), 1.0)
    for n in range(60):
        answer = values(**{k: v for k, v in fault.items() if "__" in k})
        if "missing" in fault:
            del answer["detectors.1"]
        if "flicker" in fault:
            answer["detectors.1"] = n % 2
        feed.poll(answer)
    snapshot = estimator.observe(feed.now_s, 0)
    assert estimator.detectors.faults[0] == what
    lane = next(c for c, loops in enumerate(estimator.detectors.lanes) if 0 in loops)
    assert snapshot.healthy[lane] == 0
    served = np.flatnonzero(site.layout.stream_served[site.layout.stream_lane == lane].any(axis=0))
    assert snapshot.calls[0, served[served != int(snapshot.phase[0])]].all()
    assert np.isfinite(snapshot.gap_s).all()


# --- the signal, as observed


def test_phase_change_and_ages_follow_what_is_shown() -> None:
    estimator = Estimator(make_site())
    feed = Feed(estimator)
    feed.hold(shows(green=GREENS), 10.0)
    seen = estimator.observe(feed.now_s, 0)
    assert (int(seen.phase[0]), bool(seen.changing[0])) == (0, False)
    assert seen.green_age_s[0] == pytest.approx(10.0, abs=0.3)
    nexts = bits(4, 8)
    feed.hold(shows(yellow=GREENS, nexts=nexts), 4.0)
    seen = estimator.observe(feed.now_s, 1)
    assert (int(seen.phase[0]), bool(seen.changing[0])) == (2, True)
    assert seen.green_age_s[0] == 0
    assert seen.since_served_s[0, 0] == pytest.approx(4.0, abs=0.3)
    assert seen.mask[0].tolist() == [False, False, True, False]
    feed.hold(shows(nexts=nexts, on=GREENS), 2.0)
    feed.hold(shows(green=nexts), 3.0)
    seen = estimator.observe(feed.now_s, 2)
    assert (int(seen.phase[0]), bool(seen.changing[0])) == (2, False)
    assert seen.green_age_s[0] == pytest.approx(3.0, abs=0.3)
    assert seen.mask[0].tolist() == [False, False, True, False]  # min green
    feed.hold(shows(green=nexts), 5.0)
    assert estimator.observe(feed.now_s, 3).mask[0].all()


def test_pedestrian_clearance_before_yellow_is_part_of_the_change_once_another_phase_is_asked_for() -> None:
    estimator = Estimator(make_site())
    feed = Feed(estimator)
    feed.hold(shows(green=GREENS), 10.0)
    feed.hold(shows(green=GREENS, ped_clear=GREENS), 2.0)
    assert not estimator.observe(feed.now_s, 0).changing[0]  # the controller's own affair: the green goes on
    estimator.commanded = 1
    feed.hold(shows(green=GREENS, ped_clear=GREENS), 0.4)
    seen = estimator.observe(feed.now_s, 1)
    assert (int(seen.phase[0]), bool(seen.changing[0])) == (1, True)


def test_buttons_are_the_pedestrian_calls_of_the_phases_whose_walk_serves_the_crossing() -> None:
    site = make_site()
    estimator = Estimator(site)
    feed = Feed(estimator)
    feed.hold(values(ped_calls__1=bits(4)), 1.0)
    seen = estimator.observe(feed.now_s, 0)
    movements = site.machine.intersections[0].movements
    pressed = [movements[k] for k in np.flatnonzero(seen.pedestrians[0])]
    assert [m.links for m in pressed] == [site.plan.phase(4).crossings]
    assert seen.calls[0, 2]


# --- commands


def test_a_command_states_every_group_for_the_phase_that_is_wanted() -> None:
    site = make_site()
    view = View(1, 3)
    view.update(Reading(0.0, shows(green=GREENS)))
    command = command_for(site.plan, 2, view)
    assert command == Command(
        omit=bits(1, 3, 5, 7), hold=bits(4, 8), force_off=GREENS, vehicle_call=bits(4, 8), ped_call=bits(4, 8)
    )
    assert Command.of(command.octets(1), 1) == command
    view.update(Reading(1.0, shows(green=bits(4, 8))))
    staying = command_for(site.plan, 2, view)
    assert staying.force_off == 0
    assert staying.ped_call == 0
    assert staying.omit == bits(1, 2, 3, 5, 6, 7)


def test_a_force_off_that_was_cleared_is_no_second_writer_and_any_other_bit_is() -> None:
    sent = Command(hold=bits(4, 8), force_off=GREENS, omit=bits(1, 5))
    assert not sent.differs(sent)
    assert not sent.differs(dataclasses.replace(sent, force_off=0))
    assert "hold" in sent.differs(dataclasses.replace(sent, hold=bits(4)))
    assert "force_off" in sent.differs(dataclasses.replace(sent, force_off=GREENS | 1))
    assert "omit" in sent.differs(dataclasses.replace(sent, omit=0))

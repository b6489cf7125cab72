"""The guard: what never reaches a controller."""

from __future__ import annotations

import math

import numpy as np
import pytest

from deployment.field.estimator import Estimator
from deployment.field.guard import Facts, Guard, Limits, Mode, implausible, judge_decision, judge_state
from deployment.field.masks import command_for
from deployment.field.pilot import Answer
from deployment.field.reading import bits_of
from deployment.nema import oids
from signals.snapshot import Snapshot
from tests.field import GREENS, Feed, beat, make_pilot, make_site, values


def bits(*numbers: int) -> int:
    return bits_of(numbers)


# --- the guard's judgement of the controller


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"flash_status__0": 6}, "flashes"),
        ({"preempt__2": 5}, "preempt 2"),
        ({"control_status__0": 5}, "by hand"),
        ({"control_status__0": 4}, "not under system control"),
        ({"control_status__0": 9}, "not under system control"),
        ({"pattern__0": 3}, "pattern 3"),
        ({"pattern__0": 255}, "flash"),
        ({"greens__1": GREENS | 1, "reds__1": 0xFF & ~GREENS & ~1}, "lit together"),
        ({"yellows__1": GREENS}, "no single one"),
        ({"reds__1": 0}, "no single one"),
    ],
)
def test_a_controller_in_another_state_is_not_commanded(change: dict[str, int], words: str) -> None:
    estimator = Estimator(make_site())
    feed = Feed(estimator)
    feed.hold(values(), 1.0)
    estimator.observe(feed.now_s, 0)
    assert not judge_state(estimator, Facts(), feed.now_s, Limits(), in_control=True)
    feed.poll(values(**change))
    assert words in judge_state(estimator, Facts(), feed.now_s, Limits(), in_control=True)


def test_every_value_that_a_decision_rests_on_has_to_be_fresh() -> None:
    for name in ("greens.1", "ped_calls.1", "control_status.0", "up_time.0"):
        estimator = Estimator(make_site())
        feed = Feed(estimator)
        feed.hold(values(), 1.0)
        answer = values()
        del answer[name]
        feed.hold(answer, 2.4)
        assert name in judge_state(estimator, Facts(), feed.now_s, Limits(), in_control=True)
        estimator = Estimator(make_site())
        Feed(estimator).hold(answer, 1.0)
        assert "never came" in judge_state(estimator, Facts(), 1.0, Limits(), in_control=True)


@pytest.mark.parametrize(
    ("facts", "words"),
    [(Facts(rebooted=True), "restarted"), (Facts(foreign_write="hold"), "somebody else"), (Facts(trouble="x"), "x")],
)
def test_what_the_runtime_notices_ends_control(facts: Facts, words: str) -> None:
    estimator = Estimator(make_site())
    Feed(estimator).hold(values(), 1.0)
    assert words in judge_state(estimator, facts, 1.0, Limits(), in_control=True)


def test_control_ends_when_most_lanes_have_no_detectors_left() -> None:
    estimator = Estimator(make_site())
    feed = Feed(estimator)
    feed.hold(values(alarms__1=0xFF, alarms__2=0, alarms__3=0), 1.0)
    estimator.observe(feed.now_s, 0)
    assert "lanes have detectors" in judge_state(estimator, Facts(), feed.now_s, Limits(), in_control=True)
    assert not implausible(estimator)


# --- the guard's judgement of the policy


def snapshot_of(mask: list[int], phase: int = 0) -> Snapshot:
    snapshot = Snapshot.empty(make_site().layout)
    snapshot.mask[0], snapshot.phase[0] = np.array(mask, bool), phase
    return snapshot


def test_only_finite_answers_in_time_that_may_follow_pass() -> None:
    inputs, scores, limits = np.ones(5, np.float32), np.zeros(4, np.float32), Limits()
    seen = snapshot_of([1, 1, 0, 0])

    def judged(phase: int, elapsed_s: float = 0.001, before: int | None = 0) -> str:
        return judge_decision(seen, inputs, scores, phase, elapsed_s, limits, before)

    assert judged(1) == ""
    assert "must not follow" in judged(2)
    assert "there are 4" in judged(4)
    assert "there are 4" in judged(-1)
    assert "deadline" in judged(1, elapsed_s=0.3)
    for value in (math.nan, math.inf, -math.inf, -1.0):
        inputs[3] = value
        assert "input 3" in judged(1)
    inputs[3] = 1.0
    for value in (math.nan, math.inf, -math.inf):
        scores[1] = value
        assert "scores" in judged(1)


def test_a_lane_without_calls_is_served_within_max_red() -> None:
    """Its loops may be dead without anybody knowing."""
    pilot = make_pilot(Limits(max_red_s=100.0))
    feed = Feed(pilot)
    red = pilot.site.machine.max_red[0]
    assert red.bound_s == max(100.0, red.least_s)
    masks: list[str] = []
    while not masks or masks[-1].count("1") > 1 or masks[-1] == "1000":  # before min green the phase has to stay
        feed.hold(values(), 1.0)
        masks.append(beat(pilot, feed).record["mask"])
        assert len(masks) < red.bound_s
    assert masks[-1] == "0010"
    groups = len(red.serves)
    assert red.bound_s - red.change_s - groups * red.round_s < len(masks) <= red.bound_s - red.change_s - red.round_s
    assert not pilot.estimator.snapshot.calls.any()


# --- modes


def test_the_way_into_control_and_out_of_it() -> None:
    guard = Guard(Limits(hold_off_s=10, released_s=60, entries_per_hour=2))
    assert guard.step(0.0, "") is Mode.SHADOW
    guard.begin(0.0)
    assert guard.step(5.0, "") is Mode.VERIFYING
    assert guard.step(9.0, "flash") is Mode.VERIFYING  # the hold-off begins anew
    assert guard.step(12.0, "") is Mode.VERIFYING
    assert guard.step(19.0, "") is Mode.CONTROLLING
    assert guard.step(30.0, "preempt 1 is on") is Mode.RELEASED
    assert guard.reason == "preempt 1 is on"
    assert guard.step(200.0, "") is Mode.RELEASED  # nothing has been verified again
    assert guard.wants_verification
    guard.verified()
    assert guard.step(201.0, "") is Mode.VERIFYING
    assert guard.step(212.0, "") is Mode.CONTROLLING
    guard.step(213.0, "again")
    guard.verified()
    assert guard.step(300.0, "") is Mode.RELEASED  # a third time within the hour needs a person
    assert guard.step(3700.0, "") is Mode.VERIFYING


def test_shadow_mode_is_for_good() -> None:
    guard = Guard()
    for n in range(100):
        assert guard.step(float(n), "") is Mode.SHADOW
    guard.release(100.0, "x")
    guard.verified()
    assert guard.step(1000.0, "") is Mode.SHADOW


def test_a_restart_while_verifying_means_to_begin_again() -> None:
    guard = Guard()
    guard.begin(0.0)
    guard.distrust(1.0, "the controller has restarted")
    assert guard.mode is Mode.RELEASED
    assert guard.wants_verification


# --- all together


def test_in_control_a_new_phase_is_asked_for_at_decisions_only() -> None:
    pilot = make_pilot()
    feed = Feed(pilot)
    feed.hold(values(), 10.0)
    wants = Answer(0.0001, np.zeros(4, np.float32), 2)
    targets = []
    for _ in range(7):
        feed.hold(values(), 1.0)
        targets.append(beat(pilot, feed, wants).record["target"])
    assert targets == [2, 2, 2, 2, 2, 2, 2]
    pilot = make_pilot()
    feed = Feed(pilot)
    feed.hold(values(), 10.0)
    stays = Answer(0.0001, np.zeros(4, np.float32), 0)
    decisions = []
    for n in range(7):
        feed.hold(values(), 1.0)
        decisions.append(beat(pilot, feed, stays if n == 0 else wants))
    assert [d.record["target"] for d in decisions] == [0, 0, 0, 0, 0, 2, 2]
    assert all(d.command is not None for d in decisions)
    assert decisions[5].command == command_for(pilot.site.plan, 2, pilot.estimator.view)


def test_without_control_nothing_is_commanded() -> None:
    for mode in (Mode.SHADOW, Mode.VERIFYING, Mode.RELEASED):
        pilot = make_pilot(mode=mode)
        feed = Feed(pilot)
        pilot.guard.since_s = 0.0
        for _ in range(8):
            feed.hold(values(), 1.0)
            assert beat(pilot, feed).command is None


def test_a_phase_with_a_call_is_served_within_max_red_whatever_the_policy_wants() -> None:
    limits = Limits(max_red_s=300.0)
    pilot = make_pilot(limits)
    feed = Feed(pilot)
    layout = pilot.site.layout
    lane = int(layout.stream_lane[layout.stream_served[:, 3]][0])
    loop = pilot.estimator.detectors.lanes[lane][0]
    called = values(**{f"detectors__{loop // 8 + 1}": 1 << loop % 8})
    forced_at = None
    for n in range(320):
        feed.hold(called, 1.0)
        pilot.guard.since_s = feed.now_s
        # keep the policy's own phase: 0, whenever it may
        decision = beat(pilot, feed, Answer(0.0001, np.zeros(4, np.float32), 0))
        if pilot.estimator.snapshot.mask[0].tolist() == [False, False, False, True]:
            forced_at = n
            break
        assert decision.record["mode"] == "controlling", decision.record
    assert forced_at is not None
    assert forced_at < 300
    # a policy that does not take the only phase that may come has failed
    assert beat(pilot, feed, Answer(0.0001, np.zeros(4, np.float32), 1)).record["mode"] == "released"


def test_the_reasons_are_those_of_ntcip() -> None:
    assert (oids.MANUAL_CONTROL, oids.BACKUP_MODE, oids.SYSTEM_CONTROL) == (5, 4, 2)

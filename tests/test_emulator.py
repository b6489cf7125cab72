"""The emulated controller's rings: intervals as the tables say, and commands that cannot shorten them."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest

from deployment.emulator import events
from deployment.emulator.mib import Mib
from deployment.emulator.settings import mask
from deployment.nema import oids
from signals.machine import SignalMachine
from signals.timing import Timing
from tests.emulated import EVERY_STOP_BAR, Recorder, cabinet, calling, command, intersections, new


def test_bits_are_numbered_from_the_groups_first() -> None:
    assert [oids.pack({n}) for n in range(1, 9)] == [1, 2, 4, 8, 16, 32, 64, 128]
    assert oids.pack({9, 16}, group=2) == 0b10000001
    assert oids.pack({1, 9}) == 1
    assert oids.unpack(0b10000001, group=2) == {9, 16}
    assert [*oids.groups(8)] == [1]
    assert [*oids.groups(9)] == [1, 2]


def test_it_starts_in_red_and_serves_every_phase_once() -> None:
    recorder = new()
    recorder.run(5.9)
    assert set(recorder.cabinet.state) == {"r"}
    recorder.run(100)
    assert {n for _, code, n in recorder.cabinet.log.rows if code == events.GREEN_BEGIN} == set(range(1, 9))
    assert recorder.findings() == []


def test_each_interval_lasts_as_the_tables_say() -> None:
    recorder = new()
    recorder.run(400, EVERY_STOP_BAR, 0xFF)
    for n, times in recorder.cabinet.settings.phases.items():
        yellows = [b - a for a, b in recorder.spans(events.YELLOW_BEGIN, events.YELLOW_END, n)]
        reds = [b - a for a, b in recorder.spans(events.RED_CLEAR_BEGIN, events.RED_CLEAR_END, n)]
        greens = [b - a for a, b in recorder.spans(events.GREEN_BEGIN, events.GREEN_END, n)]
        assert yellows == pytest.approx([times.yellow / 10] * len(yellows))
        assert reds == pytest.approx([times.red_clear / 10] * len(reds))
        assert len(greens) >= 1
        # every detector is occupied: each green goes to its maximum
        assert greens[1:] == pytest.approx([times.maximum / 10] * len(greens[1:]))
        if times.walk:
            walks = [b - a for a, b in recorder.spans(events.WALK_BEGIN, events.PED_CLEAR_BEGIN, n)]
            clears = [b - a for a, b in recorder.spans(events.PED_CLEAR_BEGIN, events.DONT_WALK_BEGIN, n)]
            assert walks
            assert walks == pytest.approx([times.walk / 10] * len(walks))
            assert clears == pytest.approx([times.pedestrian_clear / 10] * len(clears))
    assert recorder.findings() == []
    assert recorder.cabinet.faults == []


def test_a_green_ends_when_its_traffic_does() -> None:
    recorder = new()
    recorder.until(lambda: recorder.greens() == {4, 8})
    recorder.run(30, calling(recorder, 4, 2))
    assert recorder.greens() == {4, 8}  # vehicles keep extending it
    recorder.run(2.9, calling(recorder, 2))
    assert recorder.greens() == {4, 8}
    recorder.run(0.2, calling(recorder, 2))
    assert recorder.greens() == set()
    reasons = [code for _, code, n in recorder.cabinet.log.rows if n == 4 and code in (4, 5, 6)]
    assert reasons[-1] == events.GAP_OUT


def test_it_rests_in_green_and_in_walk_while_nobody_else_waits() -> None:
    recorder = new()
    recorder.until(lambda: recorder.greens() == {4, 8}, buttons=mask([4, 8]))
    recorder.run(200)
    assert recorder.greens() == {4, 8}
    assert recorder.cabinet.controller.rings.walking() == mask([4, 8])
    recorder.run(8.1, calling(recorder, 2))
    assert recorder.cabinet.controller.rings.walking() == 0
    assert recorder.greens() == set()  # 8 s of clearance are over


@pytest.mark.parametrize("phase", range(1, 9))
def test_acceptance_01_the_order_of_bits_of_each_phase(phase: int) -> None:
    """A call on one phase alone, by its bit, turns the lamps of its own links green, and its bit of the status."""
    recorder = new()
    mib = Mib(recorder.cabinet)
    plan = recorder.cabinet.installation.plan
    recorder.until(lambda: recorder.greens() == {4, 8})
    others = 0xFF & ~(1 << phase - 1)
    mib.write([
        (oids.CONTROL_VEH_CALL.at(1), 1 << phase - 1),
        (oids.CONTROL_PHASE_OMIT.at(1), others),
        (oids.CONTROL_FORCE_OFF.at(1), others),
    ])  # fmt: skip
    recorder.until(lambda: recorder.greens() == {phase} and recorder.cabinet.controller.rings.on() == 1 << phase - 1)
    assert mib.read(oids.STATUS_GREENS.at(1)) == 1 << phase - 1
    assert mib.read(oids.STATUS_PHASE_ONS.at(1)) == 1 << phase - 1
    assert mib.read(oids.STATUS_REDS.at(1)) == 0xFF & ~(1 << phase - 1)
    green = {i for i, shown in enumerate(recorder.cabinet.state) if shown in "Gg"}
    assert green == set(plan.phase(phase).links)


@pytest.mark.parametrize("number", range(1, 21))
def test_acceptance_01_the_order_of_bits_of_each_detector(number: int) -> None:
    recorder = new()
    mib = Mib(recorder.cabinet)
    recorder.tick(1 << number - 1)
    octets = [mib.read(oids.DETECTOR_ACTIVE.at(group)) for group in oids.groups(20)]
    expected = [1 << (number - 1) % 8 if group == (number - 1) // 8 else 0 for group in range(3)]
    assert octets == expected


def test_acceptance_15_a_pedestrian_gets_walk_and_clearance_in_full_whatever_is_forced_off() -> None:
    recorder = new(backup_s=0)
    rings = recorder.cabinet.controller.rings
    recorder.run(10)
    for tick in range(30_000):  # fifty minutes of spam
        spam = 0xFF if tick % 3 else mask([2, 4])
        command(recorder, force_off=spam, call=0xFF, ped_omit=0xFF if tick % 2 else 0, omit=tick // 700 % 256)
        recorder.tick(buttons=0xFF if tick % 500 == 0 else 0)
    for n, times in recorder.cabinet.settings.phases.items():
        if times.walk:
            walks = [b - a for a, b in recorder.spans(events.WALK_BEGIN, events.PED_CLEAR_BEGIN, n)]
            clears = [b - a for a, b in recorder.spans(events.PED_CLEAR_BEGIN, events.DONT_WALK_BEGIN, n)]
            assert len(walks) > 10
            assert min(walks) >= times.walk / 10 - 1e-9
            assert min(clears) >= times.pedestrian_clear / 10 - 1e-9
            told = (events.WALK_BEGIN, events.PED_CLEAR_BEGIN, events.DONT_WALK_BEGIN, events.YELLOW_BEGIN)
            order = [code for _, code, k in recorder.cabinet.log.rows if k == n and code in told]
            before_yellow = {a for a, b in itertools.pairwise(order) if b == events.YELLOW_BEGIN}
            assert before_yellow <= {events.DONT_WALK_BEGIN, events.YELLOW_BEGIN}  # nobody is left on the road
            assert {b for a, b in itertools.pairwise(order) if a == events.WALK_BEGIN} == {events.PED_CLEAR_BEGIN}
    assert rings is recorder.cabinet.controller.rings
    assert recorder.findings() == []
    assert recorder.cabinet.faults == []


def test_hold_keeps_a_green_and_omit_keeps_one_away() -> None:
    recorder = new(backup_s=0)
    recorder.until(lambda: recorder.greens() == {4, 8})
    command(recorder, hold=mask([4, 8]))
    recorder.run(300, EVERY_STOP_BAR, 0xFF)
    assert recorder.greens() == {4, 8}
    command(recorder, omit=mask([1, 5]))
    seen = set()
    for _ in range(6000):
        recorder.tick(EVERY_STOP_BAR, 0xFF)
        seen |= recorder.greens()
    assert seen == {2, 3, 4, 6, 7, 8}
    assert recorder.findings() == []


def test_force_off_waits_for_minimum_green_and_is_cleared_when_the_green_ends() -> None:
    recorder = new(backup_s=0)
    recorder.until(lambda: recorder.greens() == {2, 6})
    command(recorder, force_off=mask([2, 6]), call=mask([3, 7]))
    recorder.run(6.9)
    assert recorder.greens() == {2, 6}
    recorder.run(0.2)
    assert recorder.greens() == set()
    assert recorder.cabinet.controller.commands.force_off == 0


def test_the_action_of_a_policy_is_reached_as_fast_as_the_change_allows() -> None:
    """The one atomic SET: omit the others, hold and call the action, force the rest off."""
    recorder = new(backup_s=0)
    recorder.until(lambda: recorder.greens() == {4, 8})
    command(recorder, hold=mask([4, 8]))
    recorder.run(20)
    wanted = mask([1, 5])
    command(recorder, omit=0xFF & ~wanted, hold=wanted, force_off=mask([4, 8]), call=wanted)
    begun = recorder.cabinet.now
    recorder.until(lambda: recorder.greens() == {1, 5}, within_s=30)
    assert recorder.cabinet.now - begun == 40 + 30 + 1  # yellow, red clearance, and the tick that takes the command


def test_a_command_takes_effect_at_once_where_time_stands_still() -> None:
    recorder = new(backup_s=0)
    recorder.until(lambda: recorder.greens() == {2, 6})
    command(recorder, hold=mask([2, 6]))
    recorder.run(20)
    command(recorder, omit=mask([2, 6]), force_off=mask([2, 6]), call=mask([3, 7]))
    recorder.cabinet.settle()
    assert recorder.greens() == set()
    before = len(recorder.cabinet.log.rows)
    recorder.cabinet.settle()
    assert len(recorder.cabinet.log.rows) == before  # once more changes nothing


def test_a_ring_whose_time_is_stopped_stays_as_it_is() -> None:
    recorder = new(backup_s=0)
    recorder.until(lambda: "y" in recorder.cabinet.state)
    shown = recorder.cabinet.state
    recorder.cabinet.controller.commands.stop_time = 0b11
    recorder.run(60, EVERY_STOP_BAR)
    assert recorder.cabinet.state == shown
    recorder.cabinet.controller.commands.stop_time = 0
    recorder.run(60, EVERY_STOP_BAR)
    assert recorder.findings() == []
    assert min(b - a for a, b in recorder.spans(events.YELLOW_BEGIN, events.YELLOW_END, 1)) == 64.0


@pytest.mark.parametrize("scenario", ["single", "tee"])
def test_the_same_choices_light_the_same_lamps_as_in_training(scenario: str) -> None:
    """Second by second: the state machine below the agent, and the controller that is told by omit, hold, force-off
    and calls. Only the start differs: the controller begins in red. `tee` has an overlap from one ring's phase to the
    other's."""
    ((item, installation),) = intersections(scenario).values()
    machine, recorder = SignalMachine((item,), Timing()), Recorder(cabinet(scenario, backup_s=0), scenario)
    mib, draw = Mib(recorder.cabinet), random.Random(5)
    actions = [mask(action) for action in installation.plan.actions]
    crossings = mask(p.number for p in installation.plan.phases if p.crossings)
    always = installation.plan.green

    def lit(state: str) -> str:
        """A link that ever has to give way shows g throughout."""
        return "".join(green if shown in "Gg" else shown for green, shown in zip(always, state, strict=True))

    row, row_until, wanted = 0, float("inf"), 0
    nobody = np.zeros_like(machine.exists)
    trained, shown = [], []
    for second in range(900):
        machine.advance(float(second))
        if second == 0:
            machine.reset(0.0)
        if second % 5 == 0:
            wanted = draw.randrange(len(actions)) if draw.random() < 0.3 else wanted
            for _, entry in machine.request(np.array([wanted]), nobody):
                row, row_until = entry, second + machine.rows[0][entry].duration_s
            on, action = mib.read(oids.STATUS_PHASE_ONS.at(1)), actions[int(machine.phase[0])]
            assert isinstance(on, int)
            mib.write([
                (oids.CONTROL_PHASE_OMIT.at(1), 0xFF & ~action & ~on),
                (oids.CONTROL_HOLD.at(1), action),
                (oids.CONTROL_FORCE_OFF.at(1), on & ~action),
                (oids.CONTROL_VEH_CALL.at(1), action),
                (oids.CONTROL_PED_CALL.at(1), action & crossings),
            ])  # fmt: skip
            recorder.cabinet.settle()
        while second >= row_until:
            row = machine.rows[0][row].next
            length = machine.rows[0][row].duration_s
            row_until = row_until + length if machine.rows[0][row].next != row else float("inf")
        trained.append(lit(machine.rows[0][row].state))
        shown.append(recorder.cabinet.state)
        recorder.run(1)
    assert trained[10:] == shown[10:]
    assert len({state for state in shown if "y" not in state}) > len(actions)


def test_an_overlap_ends_as_the_phase_that_it_ends_with() -> None:
    """At this signal the two phases of an overlap have red clearances of 3 and of 4 s."""
    recorder = Recorder(cabinet("cologne3", "360086"), "cologne3")
    recorder.run(600, (1 << 40) - 1, 0xFF)
    phases, checked = recorder.cabinet.settings.phases, set()
    rows = list(recorder.cabinet.log.rows)
    for begun, code, number in rows:
        if code == events.OVERLAP_YELLOW:
            (phase,) = {n for tick, other, n in rows if (tick, other) == (begun, events.YELLOW_BEGIN)}
            red = next(t for t, other, n in rows if t > begun and (other, n) == (events.OVERLAP_RED_CLEAR, number))
            off = next((t for t, other, n in rows if t > begun and (other, n) == (events.OVERLAP_OFF, number)), None)
            if off is not None:
                assert (red - begun, off - red) == (phases[phase].yellow, phases[phase].red_clear)
                checked.add(phases[phase].red_clear)
    assert len(checked) > 1
    assert recorder.findings() == []

"""The emulated controller in coordination: cycle, splits, offset, sequence, and what chooses the pattern."""

from __future__ import annotations

import pytest

from deployment.emulator import events
from deployment.emulator.mib import Mib
from deployment.nema import oids
from tests.emulated import EVERY_STOP_BAR, Recorder, calling, new

PATTERN = {2: 35, 6: 35, 1: 15, 5: 15, 3: 15, 7: 15, 4: 25, 8: 25}


def plan(recorder: Recorder, offset_s: int = 0) -> None:
    """Pattern 1: a cycle of 90 s, phases 2 and 6 coordinated."""
    made = recorder.cabinet
    made.begin_transaction()
    assert made.draft is not None
    made.draft |= {
        oids.PATTERN_CYCLE_TIME.at(1): 90,
        oids.PATTERN_OFFSET_TIME.at(1): offset_s,
        **{oids.SPLIT_TIME.at(1, n): seconds for n, seconds in PATTERN.items()},
        **{oids.SPLIT_COORD_PHASE.at(1, n): int(n in (2, 6)) for n in PATTERN},
    }
    made.verify()
    made.end_transaction()
    assert made.verify_status == oids.VERIFY_NO_ERROR, made.verify_error


@pytest.mark.wide
@pytest.mark.parametrize("offset_s", [0, 37])
def test_coordination_keeps_cycle_splits_and_offset(offset_s: int) -> None:
    recorder = new(backup_s=0)
    plan(recorder, offset_s)
    controller = recorder.cabinet.controller
    controller.pattern = 1
    recorder.run(900, EVERY_STOP_BAR)
    assert controller.running_pattern == 1
    begins = [a for a, _ in recorder.spans(events.GREEN_BEGIN, events.GREEN_END, 2)][3:]
    assert len(begins) >= 5
    assert [(begin - offset_s) % 90 for begin in begins] == pytest.approx([0.0] * len(begins))
    for n, seconds in PATTERN.items():
        times = recorder.cabinet.settings.phases[n]
        greens = [b - a for a, b in recorder.spans(events.GREEN_BEGIN, events.GREEN_END, n)][3:]
        assert greens
        wanted = seconds - times.yellow / 10 - times.red_clear / 10
        assert greens == pytest.approx([wanted] * len(greens)), n
    assert recorder.findings() == []


def test_what_nobody_asks_for_is_skipped_and_the_coordinated_phase_has_the_rest() -> None:
    recorder = new(backup_s=0)
    plan(recorder)
    recorder.cabinet.controller.pattern = 1
    recorder.run(900, calling(recorder, 2, 6, 4, 8))
    late = [n for tick, code, n in recorder.cabinet.log.rows if code == events.GREEN_BEGIN and tick > 2000]
    assert set(late) == {2, 4, 6, 8}
    ends = [b % 90 for _, b in recorder.spans(events.GREEN_BEGIN, events.GREEN_END, 2)][3:]
    assert ends == pytest.approx([29.0] * len(ends))  # the yield point: 35 s less yellow and red
    begins = [a % 90 for a, _ in recorder.spans(events.GREEN_BEGIN, events.GREEN_END, 2)][3:]
    assert begins == pytest.approx([75.0] * len(begins))  # early: its own split begins at 0


@pytest.mark.wide
def test_a_pattern_keeps_its_sequence_over_flash_and_gives_it_back_with_its_tables() -> None:
    recorder = new(backup_s=0)
    made, lagging = recorder.cabinet, ((2, 1, 3, 4), (6, 5, 7, 8))
    plan(recorder)
    made.begin_transaction()
    assert made.draft is not None
    made.draft |= {oids.SEQUENCE_DATA.at(2, ring): bytes(order) for ring, order in enumerate(lagging, start=1)}
    made.draft[oids.PATTERN_SEQUENCE_NUMBER.at(1)] = 2
    made.verify()
    made.end_transaction()
    assert made.verify_error == ""
    made.controller.pattern = 1
    recorder.run(300, EVERY_STOP_BAR)
    made.controller.inputs.flash = True
    recorder.until(lambda: made.controller.flashing == oids.MANUAL_FLASH, within_s=60, detectors=EVERY_STOP_BAR)
    made.controller.inputs.flash = False
    recorder.run(900, EVERY_STOP_BAR)
    begins = [n for _, code, n in made.log.rows if code == events.GREEN_BEGIN and n < 5][-9:]
    assert begins[begins.index(2) :][:5] == [2, 1, 3, 4, 2]
    assert recorder.findings() == []
    made.begin_transaction()
    made.draft[oids.PATTERN_CYCLE_TIME.at(1)] = 0  # the pattern is taken away
    made.verify()
    made.end_transaction()
    assert tuple(ring.order for ring in made.controller.rings.rings) == ((1, 2, 3, 4), (5, 6, 7, 8))


def test_new_tables_do_not_leave_a_pattern_for_a_moment() -> None:
    recorder = new(backup_s=0)
    plan(recorder)
    recorder.cabinet.controller.pattern = 1
    recorder.run(300.3, EVERY_STOP_BAR)
    plan(recorder)
    assert recorder.cabinet.controller.running_pattern == 1


def test_a_day_plan_chooses_the_pattern() -> None:
    recorder = new(backup_s=0)
    plan(recorder)
    made = recorder.cabinet
    made.begin_transaction()
    assert made.draft is not None
    made.draft |= {
        oids.TIMEBASE_PATTERN.at(7): 1,
        oids.DAY_PLAN_MINUTE.at(1, 1): 5,
        oids.DAY_PLAN_ACTION.at(1, 1): (*oids.TIMEBASE_ACTION_ROW, 7),
        oids.SCHEDULE_MONTH.at(1): 0x1FFE,
        oids.SCHEDULE_DAY.at(1): 0xFE,
        oids.SCHEDULE_DATE.at(1): 0xFFFFFFFE,
        oids.SCHEDULE_DAY_PLAN.at(1): 1,
    }
    made.verify()
    made.end_transaction()
    assert made.verify_error == ""
    recorder.run(299)
    assert made.controller.running_pattern == oids.FREE
    recorder.run(2)
    assert made.controller.running_pattern == 1
    assert made.controller.control_status == oids.TIMEBASE_CONTROL
    made.controller.pattern = oids.FREE  # the system comes before the clock
    made.controller.written()
    recorder.run(1)
    assert made.controller.running_pattern == oids.FREE


def test_a_pattern_that_does_not_exist_runs_free_and_says_so() -> None:
    recorder = new(backup_s=0)
    recorder.cabinet.controller.pattern = 9
    recorder.run(100, EVERY_STOP_BAR)
    mib = Mib(recorder.cabinet)
    assert mib.read(oids.COORD_PATTERN_STATUS.at()) == oids.FREE
    assert mib.read(oids.LOCAL_FREE_STATUS.at()) == 7

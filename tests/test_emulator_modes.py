"""The emulated controller outside normal operation: backup, preemption, flash, manual control, faults, reboot."""

from __future__ import annotations

import pytest

from deployment.emulator import events
from deployment.emulator.mib import Mib
from deployment.emulator.settings import mask
from deployment.nema import oids
from tests.emulated import EVERY_STOP_BAR, command, new


def test_backup_zeroes_every_mask_and_runs_free() -> None:
    recorder = new(backup_s=10)
    recorder.until(lambda: recorder.greens() == {4, 8})
    command(recorder, hold=mask([4, 8]), omit=mask([1, 2]))
    controller = recorder.cabinet.controller
    controller.pattern = 254
    recorder.run(9.9, EVERY_STOP_BAR)
    assert controller.control_status == oids.SYSTEM_CONTROL
    assert controller.commands.any()
    recorder.run(0.2, EVERY_STOP_BAR)
    assert controller.control_status == oids.BACKUP_MODE
    assert not controller.commands.any()
    assert controller.pattern == oids.STANDBY
    recorder.run(300, EVERY_STOP_BAR)
    assert controller.control_status == oids.BACKUP_MODE
    served = {n for tick, code, n in recorder.cabinet.log.rows if code == events.GREEN_BEGIN and tick > 1000}
    assert served == set(range(1, 9))
    command(recorder, hold=mask([4, 8]))
    recorder.run(0.1)
    assert controller.control_status == oids.SYSTEM_CONTROL
    command(recorder)
    recorder.run(0.1)
    assert controller.control_status == oids.SYSTEM_STANDBY


@pytest.mark.parametrize(
    "oid",
    [
        oids.PREEMPT_CONTROL_STATE.at(1),
        oids.VEHICLE_DETECTOR_ACTUATION.at(1),
        oids.PEDESTRIAN_DETECTOR_ACTUATION.at(1),
    ],
)
def test_backup_takes_back_preempts_and_actuations_of_a_system_that_is_gone(oid: oids.Oid) -> None:
    recorder = new(backup_s=10)
    mib, controller = Mib(recorder.cabinet), recorder.cabinet.controller
    recorder.run(20)
    mib.write([(oid, 1)])
    recorder.run(9.9)
    assert mib.read(oid) == 1
    mib.write([(oid, 1)])  # whoever writes is still there
    recorder.run(9.9)
    assert mib.read(oid) == 1
    recorder.run(0.2)
    assert mib.read(oid) == 0
    assert controller.control_status == oids.BACKUP_MODE
    begun = recorder.cabinet.now
    recorder.run(400, EVERY_STOP_BAR, 0xFF)
    served = {n for tick, code, n in recorder.cabinet.log.rows if code == events.GREEN_BEGIN and tick > begun}
    assert served == set(range(1, 9))


def test_without_backup_a_stuck_omit_starves_a_phase_for_good() -> None:
    recorder = new(backup_s=0)
    command(recorder, omit=mask([2]))
    recorder.run(1800, EVERY_STOP_BAR)
    assert list(recorder.spans(events.GREEN_BEGIN, events.GREEN_END, 2)) == []
    assert recorder.cabinet.controller.control_status == oids.SYSTEM_CONTROL


def test_preemption_goes_to_its_phases_safely_and_comes_back() -> None:
    recorder = new(backup_s=0)
    controller = recorder.cabinet.controller
    recorder.until(lambda: recorder.greens() == {2, 6}, buttons=0xFF)
    command(recorder, hold=mask([2, 6]))
    recorder.tick()
    controller.inputs.preempt = 0b10  # the second: phases 1 and 5
    recorder.tick()
    assert controller.preempt_states[1] == oids.PREEMPT_ENTRY
    recorder.until(lambda: recorder.greens() == {1, 5}, within_s=40)
    recorder.run(30, EVERY_STOP_BAR, 0xFF)
    assert recorder.greens() == {1, 5}
    assert controller.preempt_states[1] == oids.PREEMPT_DWELL
    controller.inputs.preempt = 0
    recorder.until(lambda: recorder.greens() == {2, 6}, detectors=EVERY_STOP_BAR)
    assert controller.preempt_states[1] == oids.PREEMPT_NOT_ACTIVE
    assert recorder.findings() == []


def test_flash_comes_after_red_and_goes_through_red() -> None:
    recorder = new(backup_s=0)
    controller = recorder.cabinet.controller
    recorder.until(lambda: recorder.greens() == {2, 6})
    controller.pattern = oids.FLASH
    controller.written()
    recorder.until(lambda: controller.flashing == oids.AUTOMATIC_FLASH, within_s=60)
    assert set(recorder.cabinet.state) == {"o"}
    controller.pattern = oids.FREE
    recorder.until(lambda: bool(recorder.greens()), within_s=30)
    controller.inputs.flash = True
    recorder.until(lambda: controller.flashing == oids.MANUAL_FLASH, within_s=60)
    controller.inputs.flash = False
    recorder.run(60, EVERY_STOP_BAR, 0xFF)
    assert recorder.findings() == []


def test_manual_control_goes_on_at_the_push_of_a_button() -> None:
    recorder = new(backup_s=0)
    controller = recorder.cabinet.controller
    recorder.until(lambda: recorder.greens() == {1, 5})
    controller.inputs.manual = True
    recorder.run(120, EVERY_STOP_BAR, 0xFF)
    assert recorder.greens() == {1, 5}
    assert controller.control_status == oids.MANUAL_CONTROL
    controller.inputs.advance = True
    recorder.run(10, EVERY_STOP_BAR)
    assert recorder.greens() == {2, 6}
    recorder.run(120, EVERY_STOP_BAR)
    assert recorder.greens() == {2, 6}


def test_a_broken_detector_reads_as_it_fails_and_is_reported_when_stuck() -> None:
    recorder = new()
    made, mib = recorder.cabinet, Mib(recorder.cabinet)
    seen = []
    for failure in ("on", "off", "chatter"):
        made.broken = {3: failure}
        read = []
        for _ in range(6):
            recorder.tick(detectors=0b100 if failure == "off" else 0)
            read.append(made.controller.detectors)
        seen.append(read)
    assert seen[0] == [4] * 6
    assert seen[1] == [0] * 6
    assert sorted(seen[2]) == [0, 0, 0, 4, 4, 4]
    made.broken = {3: "on"}
    recorder.run(599)
    assert mib.read(oids.DETECTOR_ALARMS.at(1)) == 0
    recorder.run(2)
    assert mib.read(oids.DETECTOR_ALARMS.at(1)) == 0b100
    made.broken = {}
    recorder.run(1)
    assert mib.read(oids.DETECTOR_ALARMS.at(1)) == 0


def test_a_reboot_forgets_commands_and_starts_in_flash() -> None:
    recorder = new(backup_s=0)
    recorder.until(lambda: recorder.greens() == {2, 6})
    command(recorder, hold=mask([2, 6]))
    recorder.tick()
    assert Mib(recorder.cabinet).read(oids.SYS_UP_TIME.at()) == recorder.cabinet.now * 10
    recorder.cabinet.reboot()
    assert recorder.cabinet.controller.flashing == oids.STARTUP_FLASH
    assert Mib(recorder.cabinet).read(oids.SYS_UP_TIME.at()) == 0
    assert not recorder.cabinet.controller.commands.any()
    recorder.until(lambda: bool(recorder.greens()), within_s=30)

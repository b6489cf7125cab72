"""The controller: what it is told by SNMP, by its cabinet's inputs and by its clock, and what its rings make of it.

Nothing here knows SNMP or SUMO. `tick` goes on by a tenth of a second; between two ticks others write commands and
read the state. Flash comes before preemption, manual control, the system's commands and the pattern, in this order;
none of them can shorten what `rings` times.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable
from dataclasses import dataclass, field

from deployment.emulator import events
from deployment.emulator.commands import Commands, Effective
from deployment.emulator.coordination import Coordinator
from deployment.emulator.rings import Rings
from deployment.emulator.schedule import action_at
from deployment.emulator.selection import choose
from deployment.emulator.settings import TICKS_PER_S, Settings, mask, members
from deployment.nema import oids

RED_START = 6 * TICKS_PER_S
"""All red before the first green (NEMA TS 2 asks for red start); after flash until walkers are off the road, too."""
STARTUP_FLASH = 2 * TICKS_PER_S
"""After a reboot, before red start."""
PREEMPT_DWELL = 10 * TICKS_PER_S
DAY_TICKS = 86_400 * TICKS_PER_S
COMMAND_FREE, NOT_FREE, BAD_PLAN = 3, 2, 7
"""localFreeStatus."""


@dataclass(slots=True)
class Inputs:
    """The cabinet's switches and inputs, other than detectors."""

    preempt: int = 0
    """Mask of preempt inputs that are on."""
    manual: bool = False
    advance: bool = False
    """A press of the manual control's button: the present greens are to end."""
    flash: bool = False
    """The police panel's flash switch."""


@dataclass
class Controller:
    """One controller from power-up on."""

    settings: Settings
    log: Callable[[int, int, int], None]
    """(tick, code, parameter)"""
    begin: int = 0
    """Tick of power-up, since midnight of the first day."""
    rebooted: bool = False
    """Whether traffic was under way before: it starts with flash."""
    commands: Commands = field(default_factory=Commands)
    inputs: Inputs = field(default_factory=Inputs)
    pattern: int = oids.STANDBY
    """systemPatternControl."""
    preempt_commands: int = 0
    """preemptControlState, as a mask."""
    vehicle_actuations: dict[int, int] = field(default_factory=dict)
    """Detector groups that someone writes, by group."""
    ped_actuations: int = 0

    def __post_init__(self) -> None:
        self.now = self.begin
        self.rings = Rings(self.settings, lambda code, parameter: self.log(self.now, code, parameter))
        self.startup_calls = mask(self.settings.phases)
        self.red_until = self.begin + RED_START
        self.flashing = oids.STARTUP_FLASH if self.rebooted else oids.NOT_FLASHING
        self.coordinator: Coordinator | None = None
        self.running_pattern = oids.FREE
        self.bad_plan = False
        self.action = self.day_plan = 0
        self.control_status = oids.SYSTEM_STANDBY
        self.last_write: int | None = None
        self.in_backup = False
        self.detectors = 0
        self.vehicle_calls = 0
        self.preempted = 0
        self.preempt_since = 0
        self.preempt_states = [oids.PREEMPT_NOT_ACTIVE] * len(self.settings.preempts)
        self.shown: dict[int, int] = {}
        self.log(self.now, events.POWER_RESTORED, 0)

    @property
    def moment(self) -> datetime.datetime:
        """The clock."""
        return events.stamp(self.now)

    def take(self, settings: Settings) -> None:
        """New tables, from the next tick on."""
        self.settings = settings
        self.running_pattern, self.coordinator = oids.FREE, None
        self.rings.take(settings, self._sequence())
        self._choose_pattern()

    def written(self) -> None:
        """Someone wrote a command: the backup timer starts anew."""
        self.last_write, self.in_backup = self.now, False

    def fault(self) -> None:
        """The conflict monitor has tripped: flash at once, until `restart`."""
        self._flash(oids.MMU_FLASH)

    def restart(self) -> None:
        """Leave flash: all red, then the first phases, as after power-up."""
        self._flash(oids.NOT_FLASHING)
        self.rings = Rings(self.settings, self.rings.log)
        self.rings.take(self.settings, self._sequence())
        clearing = max(p.pedestrian_clear + p.yellow + p.red_clear for p in self.settings.phases.values())
        self.red_until, self.startup_calls = self.now + max(RED_START, clearing), mask(self.settings.phases)

    def tick(self, now: int, detectors: int = 0, buttons: int = 0) -> None:
        """Go to this tick.

        Args:
            detectors: mask of the occupied vehicle detectors, bit 0 the first.
            buttons: mask of the phases whose pedestrian button is pressed.
        """
        self.now = now
        for group, octet in self.vehicle_actuations.items():
            detectors |= octet << (group - 1) * oids.GROUP_SIZE
        self._watch_detectors(detectors)
        self._watch_backup()
        if now % TICKS_PER_S == 0 or now == self.begin:
            self._choose_pattern()
        if self.flashing == oids.MMU_FLASH or self._flash_wanted():
            return
        if now < self.red_until:
            self.rings.ped_calls |= buttons & self._walkable()
            return
        calls, extends = self._vehicle_calls(detectors)
        eff = self._effective(buttons | self.ped_actuations)
        self.vehicle_calls = calls
        waiting = self.rings.time(now, eff, calls, extends)
        if eff.all_stop:
            self.rings.stop()
        else:
            choose(self.rings, eff, waiting)
        self.rings.start(eff)
        greens = self.rings.greens()
        self.startup_calls &= ~greens
        self.commands.force_off &= greens | ~self._was_green
        self._was_green = greens
        self.inputs.advance = False

    _was_green = 0

    def _walkable(self) -> int:
        return mask(n for n, p in self.settings.phases.items() if p.walk)

    # calls

    def _vehicle_calls(self, detectors: int) -> tuple[int, int]:
        calls, extends = self.startup_calls, 0
        for detector in self.settings.detectors.values():
            if detectors >> detector.number - 1 & 1:
                calls |= detector.calls
                extends |= detector.extends
        return calls, extends

    def _watch_detectors(self, detectors: int) -> None:
        changed = detectors ^ self.detectors
        for number in members(changed):
            self.log(self.now, events.DETECTOR_ON if detectors >> number - 1 & 1 else events.DETECTOR_OFF, number)
        self.detectors = detectors

    # who commands

    def _watch_backup(self) -> None:
        backup = self.settings.backup
        told = self.commands.any() or self.pattern != oids.STANDBY
        held = told or self.preempt_commands or self.ped_actuations or any(self.vehicle_actuations.values())
        if backup and held and self.last_write is not None and self.now - self.last_write >= backup:
            self.commands, self.pattern = Commands(), oids.STANDBY
            self.preempt_commands, self.ped_actuations, self.vehicle_actuations = 0, 0, {}
            self.in_backup, told = True, False
        if self.inputs.manual:
            status = oids.MANUAL_CONTROL
        elif self.in_backup:
            status = oids.BACKUP_MODE
        elif told:
            status = oids.SYSTEM_CONTROL
        else:
            status = oids.TIMEBASE_CONTROL if self.action else oids.SYSTEM_STANDBY
        if status != self.control_status:
            self.control_status = status
            self.log(self.now, events.CONTROL_STATUS, status)

    def _effective(self, buttons: int) -> Effective:
        own = self.commands
        eff = Effective(own.omit, own.ped_omit, own.hold, own.force_off, own.call, own.ped_call | buttons)
        eff.stop_time = own.stop_time
        if self._flash_target() != oids.NOT_FLASHING:
            eff.all_stop = True
            return eff
        active = self._preempt()
        if active:
            dwell = self.settings.preempts[active - 1]
            return Effective(mask(self.settings.phases) & ~dwell, 0, dwell, ~dwell, dwell, buttons)
        if self.inputs.manual:
            greens = self.rings.greens()
            everyone = mask(self.settings.phases)
            eff = Effective(0, 0, 0 if self.inputs.advance else greens, 0, everyone, buttons)
            eff.split_end = greens if self.inputs.advance else 0
        elif self.coordinator is not None:
            self.coordinator.apply(eff, self.rings, self.now % DAY_TICKS)
        return eff

    # preemption

    def _preempt(self) -> int:
        """The preempt that runs, 0 for none; the lowest number comes first."""
        asked = self.preempt_commands | self.inputs.preempt
        wanted = next((n for n in range(1, len(self.settings.preempts) + 1) if asked >> n - 1 & 1), 0)
        if wanted and wanted != self.preempted:
            if self.preempted == 0 or wanted < self.preempted:
                self._enter_preempt(wanted)
        elif self.preempted and not asked >> self.preempted - 1 & 1:
            dwelt = self.preempt_states[self.preempted - 1] == oids.PREEMPT_DWELL
            if dwelt and self.now - self.preempt_since >= PREEMPT_DWELL:
                self._leave_preempt(wanted)
        entering = self.preempted and self.preempt_states[self.preempted - 1] == oids.PREEMPT_ENTRY
        if entering and self.rings.on() == self.rings.greens() == self.settings.preempts[self.preempted - 1]:
            self.preempt_states[self.preempted - 1] = oids.PREEMPT_DWELL
            self.preempt_since = self.now
            self.log(self.now, events.PREEMPT_DWELL, self.preempted)
        return self.preempted

    def _enter_preempt(self, number: int) -> None:
        if self.preempted:
            self.preempt_states[self.preempted - 1] = oids.PREEMPT_NOT_ACTIVE
        self.preempted = number
        self.preempt_states[number - 1] = oids.PREEMPT_ENTRY
        self.log(self.now, events.PREEMPT_INPUT_ON, number)
        self.log(self.now, events.PREEMPT_ENTRY, number)

    def _leave_preempt(self, wanted: int) -> None:
        self.preempt_states[self.preempted - 1] = oids.PREEMPT_NOT_ACTIVE
        self.log(self.now, events.PREEMPT_INPUT_OFF, self.preempted)
        self.log(self.now, events.PREEMPT_EXIT, self.preempted)
        self.preempted = 0
        self.startup_calls |= mask(self.settings.phases) & ~self.rings.greens()
        if wanted:
            self._enter_preempt(wanted)

    # flash

    def _flash_target(self) -> int:
        if self.inputs.flash:
            return oids.MANUAL_FLASH
        return oids.AUTOMATIC_FLASH if self.running_pattern == oids.FLASH else oids.NOT_FLASHING

    def _flash_wanted(self) -> bool:
        """Whether it flashes now; on the way there everything first goes to red in full."""
        target = self._flash_target()
        if self.flashing == oids.STARTUP_FLASH:
            if self.now - self.begin >= STARTUP_FLASH:
                self.restart()
        elif self.flashing == oids.NOT_FLASHING:
            if target != oids.NOT_FLASHING and self.rings.dark():
                self._flash(target)
        elif target == oids.NOT_FLASHING:
            self.restart()
        return self.flashing != oids.NOT_FLASHING

    def _flash(self, status: int) -> None:
        if status != self.flashing:
            self.flashing = status
            self.log(self.now, events.FLASH_STATUS, status)

    # pattern

    def _sequence(self) -> int:
        return self.coordinator.pattern.sequence if self.coordinator else 1

    def _choose_pattern(self) -> None:
        self.day_plan, self.action = action_at(self.settings, self.moment)
        wanted = self.pattern
        if wanted == oids.STANDBY:
            wanted = self.settings.actions.get(self.action, 0) or oids.FREE
        if wanted == self.running_pattern:
            return
        pattern = self.settings.patterns.get(wanted)
        self.bad_plan = wanted <= oids.MOST_PATTERN and (pattern is None or not pattern.cycle_s)
        if self.bad_plan:
            wanted, pattern = oids.FREE, None
        if wanted == self.running_pattern:
            return
        self.running_pattern = wanted
        self.coordinator = Coordinator(self.settings, wanted, pattern) if pattern else None
        self.rings.take(self.settings, self._sequence())
        self.log(self.now, events.PATTERN_CHANGE, wanted)
        if pattern:
            self.log(self.now, events.CYCLE_CHANGE, pattern.cycle_s)
            self.log(self.now, events.OFFSET_CHANGE, pattern.offset_s)

    @property
    def free_status(self) -> int:
        """As localFreeStatus has it."""
        if self.bad_plan:
            return BAD_PLAN
        return NOT_FREE if self.coordinator else COMMAND_FREE

"""All that stands in the cabinet: the controller with its tables and its log, the conflict monitor, the detectors.

The part between the pure ring logic and the outside world: SNMP, HTTP and SUMO all talk to this.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from deployment.emulator import events
from deployment.emulator.controller import Controller
from deployment.emulator.lamps import Lamps
from deployment.emulator.mmu import Card, Fault, Monitor
from deployment.emulator.settings import TICKS_PER_S, mask, members
from deployment.emulator.setup import Installation, Values, engine_id_for, initial_values
from deployment.emulator.verify import VerifyError, settings_of
from deployment.nema import oids

FAILURES = ("off", "on", "chatter")
MOST_PRESENCE = 600 * TICKS_PER_S
"""Occupied for longer, a detector is reported as failed; as `signals.loops` has it."""


@dataclass
class Report:
    """Volume and occupancy of the last full period, as NTCIP detectors report them."""

    detectors: int
    sequence: int = 0
    volume: list[int] = field(default_factory=list)
    occupancy: list[int] = field(default_factory=list)
    _counts: list[int] = field(default_factory=list)
    _busy: list[int] = field(default_factory=list)
    _ticks: int = 0

    def __post_init__(self) -> None:
        self.volume, self.occupancy = [0] * self.detectors, [0] * self.detectors
        self._counts, self._busy = [0] * self.detectors, [0] * self.detectors

    def add(self, before: int, now: int, period: int) -> None:
        """One tick's occupied detectors as masks, and those of the tick before."""
        for n in range(self.detectors):
            on = now >> n & 1
            self._busy[n] += on
            self._counts[n] += on & ~(before >> n) & 1
        self._ticks += 1
        if self._ticks >= period:
            self.volume = [min(count, 255) for count in self._counts]
            self.occupancy = [min(busy * 200 // self._ticks, 200) for busy in self._busy]  # in half per cent
            self.sequence = (self.sequence + 1) % 256
            self._counts, self._busy, self._ticks = [0] * self.detectors, [0] * self.detectors, 0


class Cabinet:
    """One intersection's equipment."""

    def __init__(
        self,
        installation: Installation,
        card: Card,
        begin_s: float = 0.0,
        backup_s: int | None = None,
        engine_id: bytes | None = None,
    ) -> None:
        self.installation = installation
        self.engine_id = engine_id or engine_id_for("", installation.plan.tls_id)
        """Of its SNMP agent."""
        self.values: Values = initial_values(installation, *([] if backup_s is None else [backup_s]))
        self.settings = settings_of(self.values, installation)
        self.log = events.EventLog(installation.plan.tls_id)
        self.lamps = Lamps(installation.plan)
        self.monitor = Monitor(card)
        self.report = Report(len(installation.detectors))
        self.now = round(begin_s * TICKS_PER_S)
        """The present tick."""
        self.boots = 1
        self.started = self.now
        self.controller = Controller(self.settings, self.log.add, self.now)
        self._detectors = self._buttons = 0
        self.broken: dict[int, str] = {}
        """Per detector, how its loop fails: one of `FAILURES`."""
        self._occupied_since: dict[int, int] = {}
        self.alarm_mask = 0
        """Detectors that the controller reports as failed."""
        self.state = ""
        self.settle()
        self.transaction = oids.DB_NORMAL
        self.draft: Values | None = None
        self.verify_status, self.verify_error = oids.VERIFY_NOT_DONE, ""

    def tick(self, detectors: int = 0, buttons: int = 0) -> str:
        """Go on by a tenth of a second. Returns the lamps from then on."""
        self.now += 1
        before = self.controller.detectors
        self._detectors, self._buttons = self._as_sensed(detectors), buttons
        self.settle()
        self.alarm_mask = self._alarms()
        self.report.add(before, self.controller.detectors, self.settings.report_period)
        if self.monitor.watch(self.now, self.state) is not None:
            self.controller.fault()
            self.state = self.lamps.state(self.controller)
        return self.state

    def settle(self) -> None:
        """Let what has been written since the last tick take effect at the present one: time stands still."""
        self.controller.tick(self.now, self._detectors, self._buttons)
        self.state = self.lamps.state(self.controller)

    def _as_sensed(self, detectors: int) -> int:
        """What broken loops make of it."""
        for number, failure in self.broken.items():
            bit = 1 << number - 1
            on = failure == "on" or (failure == "chatter" and self.now % 2 == 0)
            detectors = detectors | bit if on else detectors & ~bit
        return detectors

    def _alarms(self) -> int:
        """Mask of the detectors that have been occupied for too long to be true."""
        on = self.controller.detectors
        for number in members(on):
            self._occupied_since.setdefault(number, self.now)
        self._occupied_since = {n: t for n, t in self._occupied_since.items() if on >> n - 1 & 1}
        return mask(n for n, since in self._occupied_since.items() if self.now - since >= MOST_PRESENCE)

    @property
    def up_ticks(self) -> int:
        """Since the last power-up."""
        return self.now - self.started

    @property
    def faults(self) -> list[Fault]:
        """What the conflict monitor has found so far."""
        return self.monitor.found

    def reset_monitor(self) -> None:
        """Someone opens the door and presses reset: out of flash by way of all red."""
        self.monitor.reset()
        if self.controller.flashing == oids.MMU_FLASH:
            self.controller.restart()

    def reboot(self) -> None:
        """The controller loses power and comes back: commands are forgotten, tables are kept, and so is what the
        conflict monitor has latched."""
        self.boots += 1
        self.started = self.now
        self.end_transaction()
        self.controller = Controller(self.settings, self.log.add, self.now, rebooted=True)
        if self.monitor.fault is not None:
            self.controller.fault()
        self.settle()

    # the database transaction

    def begin_transaction(self) -> None:
        """Changes go to a draft from now on."""
        self.transaction, self.draft = oids.DB_TRANSACTION, dict(self.values)
        self.verify_status, self.verify_error = oids.VERIFY_NOT_DONE, ""

    def verify(self) -> None:
        """Check the draft, as a whole."""
        assert self.draft is not None
        try:
            settings_of(self.draft, self.installation)
        except VerifyError as error:
            self.verify_status, self.verify_error = oids.VERIFY_ERROR, str(error)
        else:
            self.verify_status, self.verify_error = oids.VERIFY_NO_ERROR, ""
        self.transaction = oids.DB_DONE

    def end_transaction(self) -> None:
        """Take the draft if it was verified without error; forget it otherwise."""
        if self.transaction == oids.DB_DONE and self.verify_status == oids.VERIFY_NO_ERROR and self.draft is not None:
            self.values = self.draft
            self.settings = settings_of(self.values, self.installation)
            self.controller.take(self.settings)
        self.transaction, self.draft = oids.DB_NORMAL, None

"""The field's main loop: poll, estimate, decide under a deadline, guard, write once, read back, log.

In shadow mode there is no `Commander` and nothing that could write. In control every write follows a fresh poll and
a fresh answer of the policy; nothing is ever sent again for its own sake, so that the controller's backup timer
takes over whenever this program fails.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from deployment.field.admission import Admission
from deployment.field.clock import Clock
from deployment.field.eventlog import EventLog
from deployment.field.guard import Facts, Mode, judge_state
from deployment.field.inference import Inference
from deployment.field.masks import RELEASE, Command
from deployment.field.pilot import Decision, Pilot, Policy
from deployment.field.prometheus import Metrics
from deployment.field.snmp.read import Reader, Refused, Unreachable, check_timing
from deployment.field.state import state_of
from plumbing.errors import InputError, printable

if TYPE_CHECKING:
    from deployment.field.snmp.write import Commander

POLL_S, BEAT_S = 0.2, 1.0
STILL_S = 2.0  # [wall s] a loop that stood still for so long has missed what happened
FAILED_WRITES = 3  # in a row
OWN_COMMANDS = 16  # of these one may come back late, from a datagram that took another way
VERIFY_EVERY_S = 10.0
TELL_EVERY_S = 60.0
Say = Callable[[str], None]


@dataclass
class Tally:
    """What happened in a run."""

    decisions: int = 0
    writes: int = 0
    releases: int = 0
    in_control: bool = False
    """The mode at the end, before the controller was given back."""
    stopped: str = ""
    """The signal that ended the run, if one did."""


class Runtime:
    """One run against one controller."""

    def __init__(
        self, pilot: Pilot, policy: Policy, reader: Reader, clock: Clock, log: EventLog, metrics: Metrics,
        *, admission: Admission, commander: Commander | None = None, say: Say = print,
    ) -> None:  # fmt: skip
        """See the class.

        Args:
            admission: of the bundle that the policy is from.
            commander: None is shadow mode.
        """
        self.pilot, self.reader, self.clock = pilot, reader, clock
        self.infer = Inference(policy, pilot.guard.limits.deadline_s)
        self.log, self.metrics, self.commander, self._say = log, metrics, commander, say
        self.admission, self.guard = admission, pilot.guard
        self.tally = Tally()
        self._stop = asyncio.Event()
        self._begin_s = 0.0
        self._beat = -1
        self._last: Command | None = None
        self._own: deque[Command] = deque(maxlen=OWN_COMMANDS)
        self._failed = 0
        self._trouble = self._stranger = ""
        self._owed = False
        self._fresh = False
        self._checked_s = -VERIFY_EVERY_S
        self._told_s = 0.0
        self._mode = Mode.SHADOW

    # the run

    async def run(self, duration_s: float | None = None) -> Tally:
        """Start up, and go on until the duration is over or a signal comes; then give the controller back.

        Raises:
            InputError: the controller does not answer, or is not what the bundle is for.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            with contextlib.suppress(NotImplementedError, ValueError):
                loop.add_signal_handler(number, self._stopped, number)
        try:
            await self._start_up()
            self._begin_s = self.clock()
            end_s = self._begin_s + duration_s if duration_s is not None else None
            while not self._stop.is_set() and (end_s is None or self.clock() < end_s):
                await self._cycle()
        except BaseException as error:
            self._event(f"failed: {type(error).__name__}: {error}")
            await self._give_back("this program failed")
            raise
        self.tally.in_control = self.guard.controlling
        await self._give_back(f"asked to stop by {self.tally.stopped}" if self.tally.stopped else "the time is over")
        return self.tally

    def _stopped(self, number: int) -> None:
        self.tally.stopped = signal.Signals(number).name
        self._stop.set()

    async def _start_up(self) -> None:
        """Refuse a controller that is not as the bundle has it."""
        where = self.reader.session.where
        try:
            await self._poll(slow=True, tries=3)
            told = await self._admitted()
            problems = await check_timing(self.reader, self.pilot.site.plan)
        except Unreachable as error:
            raise InputError(
                f"no controller answers at {where} ({error}); check address, link and credentials"
            ) from error
        except Refused as error:
            raise InputError(
                f"the controller at {where} refuses to be read ({error}); check the credentials"
            ) from error
        if problems:
            more = f", and {len(problems) - 1} more differences" if len(problems) > 1 else ""
            raise InputError(f"the controller at {where} is not set up as the bundle has it: {problems[0]}{more}")
        self._event("timing tables read back: as in the bundle")
        if told:
            self._event(told)
            self._say(told)
        if self.commander is None:
            return
        now_s = self.clock()
        problem = judge_state(self.pilot.estimator, Facts(), now_s, self.guard.limits, in_control=False)
        if problem:
            raise InputError(f"the controller at {where} is in no state to be commanded: {problem}")
        self.admission.remember()
        self.guard.begin(now_s)
        self.log.write({"k": "begin", "t": now_s})

    async def _admitted(self) -> str:
        """A note on this controller and this bundle, or an empty string.

        Raises:
            InputError: the bundle may not command this controller.
        """
        if self.commander is not None:
            return await self.admission.admit(self.reader)
        other = await self.admission.stranger(self.reader)
        return f"the bundle is for another controller than this one: {other}" if other else ""

    async def _cycle(self) -> None:
        """Wait for the next poll's moment, poll, and at a new beat decide."""
        due_s = self._begin_s + (int((self.clock() - self._begin_s) / POLL_S + 1e-6) + 1) * POLL_S
        await self.clock.until(due_s, self._stop)
        if self._stop.is_set():
            return
        if digest := self.log.turn(lambda: state_of(self.pilot)):
            self._say(f"{self.clock():9.1f} s  a part of the log is full; its last digest is {digest}")
        still_s = (self.clock() - due_s) / self.clock.speed
        if still_s > STILL_S:
            self._trouble = f"this program stood still for {still_s:.1f} s"
        beat = int((self.clock() - self._begin_s) / BEAT_S + 1e-6)
        await self._poll(slow=beat != self._beat)
        now_s = self.clock()
        if self._fresh and self.pilot.alarm(now_s):
            self.log.write({"k": "alarm", "t": now_s, "reason": self.guard.reason})
            self._owed = True
            await self._release()
        if beat != self._beat:
            if beat > self._beat + 1 and self._beat >= 0:
                self.metrics.late.inc(beat - self._beat - 1)
            self._beat = beat
            await self._decide(beat)

    async def _poll(self, *, slow: bool, tries: int = 1) -> None:
        asked = (*self.reader.fast, *self.reader.slow) if slow else tuple(self.reader.fast)
        try:
            reading = await self.reader.poll(self.clock, slow=slow, tries=tries)
        except (Unreachable, Refused) as error:
            if tries > 1:
                raise
            self._fresh = False
            self.metrics.lost.inc()
            self.log.write({"k": "lost", "t": self.clock(), "why": str(error)})
            return
        self._fresh = True
        self.metrics.polls.inc()
        self.log.poll(reading, asked, slow=slow)
        self.pilot.poll(reading)

    # a beat

    async def _decide(self, beat: int) -> None:
        began = time.monotonic()
        foreign = await self._foreign_write() if self.commander is not None else ""
        now_s = self.clock()
        over = self._stranger or self.admission.over()
        facts, self._trouble = Facts(over, foreign_write=foreign, trouble=self._trouble or self.log.failure), ""
        record: dict[str, Any] = {"k": "beat", "t": now_s, "n": beat}
        known = ("over", over), ("foreign", foreign), ("trouble", facts.trouble)
        record |= {name: value for name, value in known if value}
        self.log.write(record)
        inputs = self.pilot.look(now_s, beat, facts)
        answer = await self.infer(inputs)
        if answer.elapsed_s:  # else it was not asked
            self.metrics.inference.observe(answer.elapsed_s)
        self.log.write(answer.record)
        decision = self.pilot.conclude(answer)
        self.log.write(decision.record)
        self.tally.decisions += 1
        self.metrics.decisions.inc()
        self._tell(decision)
        if decision.release:
            self._owed = True
        if decision.command is not None:
            await self._write(decision.command, began)
        elif self._owed and self._fresh:
            await self._release()
        if self.guard.wants_verification:
            await self._verify()
        self.metrics.cycle.observe(time.monotonic() - began)

    async def _foreign_write(self) -> str:
        """What the control groups hold that we did not write."""
        expected = self._last if self.guard.controlling and self._last is not None else RELEASE
        if self._owed or not self._fresh:
            return ""
        try:
            found = await self._read_back()
        except (Unreachable, Refused):
            return ""  # the age of what was read tells when it gets serious
        differs = expected.differs(found)
        if differs and self.guard.controlling and any(not own.differs(found) for own in self._own):
            self._event("an earlier command of ours came late; it is written over")
            return ""
        return differs

    async def _proved(self) -> bool:
        """Whether the controller that answers has just said that it is the one that was admitted; asked right before
        every write."""
        if not self._stranger:
            try:
                other = await self.admission.stranger(self.reader)
            except (Unreachable, Refused) as error:
                self.log.write({"k": "lost", "t": self.clock(), "why": f"who it is: {error}"})
                return False
            if other:
                self._stranger = f"another controller answers: {other}"
                self._event(self._stranger)
        return not self._stranger

    async def _read_back(self) -> Command:
        return Command.of(await self.reader.read_controls(tries=2), self.reader.phase_groups)

    async def _write(self, command: Command, began: float) -> None:
        assert self.commander is not None
        if self.log.failure:  # what no log holds is not sent; the next decision ends control
            return
        if not self._fresh:
            self.log.write({"k": "refused", "t": self.clock(), "why": "this moment's poll was not answered"})
            return
        if not await self._proved():
            return
        if (late_s := time.monotonic() - began) > self.guard.limits.deadline_s + BEAT_S:
            self._trouble = f"a command was ready {late_s:.1f} s late and was not sent"
            self.log.write({"k": "refused", "t": self.clock(), "why": self._trouble})
            return
        changed = self._last is None or self._last.hold != command.hold
        try:
            await self.commander.command(command.octets(self.reader.phase_groups))
            self._last = command
            self._own.append(command)
            found = await self._read_back()
        except Unreachable as error:
            self._own.append(command)  # it may have arrived all the same
            self._failed += 1
            self.log.write({"k": "lost", "t": self.clock(), "why": f"command: {error}"})
            if self._failed >= FAILED_WRITES:
                self._trouble = f"{self._failed} commands in a row did not come through"
            return
        except Refused as error:
            self._trouble = f"the controller refuses a command: {error}"
            return
        self._failed = 0
        if differs := command.differs(found):
            self._trouble = f"read-back: {differs}"
            return
        self.tally.writes += 1
        self.metrics.writes.inc()
        self.metrics.changes.inc(changed)
        self.log.write({"k": "written", "t": self.clock(), "beat": self._beat})

    async def _release(self) -> None:
        """Zero every group; tried again at each beat until it is read back."""
        assert self.commander is not None
        if not await self._proved():
            if self._stranger:
                self._owed, self._last = False, None  # what another controller holds is not ours to clear
            return
        try:
            await self.commander.release()
            self._own.clear()
            self._last = None
            differs = RELEASE.differs(await self._read_back())
        except (Unreachable, Refused) as error:
            self.log.write({"k": "lost", "t": self.clock(), "why": f"release: {error}"})
            return
        if differs:
            self._event(f"the controller keeps something after the release: {differs}")
            return
        self._owed = False
        self.tally.releases += 1
        self.metrics.releases.inc()
        self.log.write({"k": "released", "t": self.clock()})

    async def _give_back(self, reason: str) -> None:
        """The end: release if we are in control or still owe it."""
        if self.commander is not None and (self.guard.controlling or self._owed or self._last is not None):
            self.guard.release(self.clock(), reason)
            for _ in range(3):
                try:
                    await self._release()
                except Exception as error:  # whatever it is, the controller is still ours to give back
                    self._event(f"release failed: {type(error).__name__}: {printable(error)}")
                if not self._owed and self._last is None:
                    break
        self._event(f"ended: {reason}")

    async def _verify(self) -> None:
        """Ask who it is and read the timing tables back again, before control may begin again."""
        if not self._fresh or self.clock() - self._checked_s < VERIFY_EVERY_S:
            return
        self._checked_s = self.clock()
        if not await self._proved():
            return
        try:
            problems = await check_timing(self.reader, self.pilot.site.plan)
        except (Unreachable, Refused):
            return
        if problems:
            self._event(f"not verified: {problems[0]}")
            return
        self.guard.verified()
        self.log.write({"k": "verified", "t": self.clock()})

    # telling

    def _event(self, what: str) -> None:
        self.log.write({"k": "event", "t": self.clock(), "wall": datetime.now(UTC).isoformat(), "what": what})

    def _tell(self, decision: Decision) -> None:
        guard, snapshot, now_s = self.guard, self.pilot.estimator.snapshot, self.clock()
        self.metrics.show_mode(guard.mode)
        self.metrics.phase.set(int(snapshot.phase[0]))
        self.metrics.bad_lanes.set(int((snapshot.healthy < 1).sum()))
        self.metrics.repeated.set(self.reader.session.repeated)
        self.metrics.ignored.set(self.reader.session.ignored)
        self.metrics.age.set(min(self.pilot.estimator.view.oldest_s(now_s)[0], 1e9))
        if guard.mode is not self._mode:
            self._mode = guard.mode
            why = f": {guard.reason}" if guard.reason else ""
            self._event(f"{guard.mode}{why}")
            self._say(f"{now_s:9.1f} s  {guard.mode}{why}")
        if now_s - self._told_s >= TELL_EVERY_S:
            self._told_s = now_s
            problem = decision.record.get("problem", "")
            wants = decision.record["wants"]
            self._say(
                f"{now_s:9.1f} s  {guard.mode}, phase {int(snapshot.phase[0])} shown, policy says {wants}"
                + (f" ({problem})" if problem else "")
            )

    def health(self) -> tuple[bool, Mapping[str, Any]]:
        """Whether all is in order, and the details."""
        guard, now_s = self.guard, self.clock()
        age_s = self.pilot.estimator.view.oldest_s(now_s)[0]
        well = age_s <= guard.limits.stale_s and guard.mode is not Mode.RELEASED and not self.log.failure
        return well, {
            "ok": well,
            "mode": str(guard.mode),
            "reason": guard.reason,
            "reading_age_s": round(min(age_s, 1e9), 3),
            "decisions": self.tally.decisions,
            "writes": self.tally.writes,
            "log_digest": self.log.digest,
        }

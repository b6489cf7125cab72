"""The decisions of the field without its wires: readings in, commands out, every step a function of what is logged.

The runtime feeds it from a controller; a replay feeds it from the log, and gets the same lines.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from deployment.field.estimator import Estimator, Site
from deployment.field.guard import Facts, Guard, Mode, judge_decision, judge_state
from deployment.field.masks import Command, command_for
from deployment.field.reading import Reading
from signals.inputs import InputTable
from signals.snapshot import Snapshot

Row = npt.NDArray[np.float32]
Policy = Callable[[Row], tuple[Row, int]]
"""[N] inputs to [P] scores and the phase; raises ArithmeticError where something is not finite."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The result of an inference."""

    elapsed_s: float
    """Wall time."""
    scores: Row | None = None
    phase: int = -1
    failure: str = ""
    """Why there is no answer; empty where there is one."""

    @property
    def record(self) -> dict[str, Any]:
        """Its line in the log."""
        record: dict[str, Any] = {"k": "answer", "elapsed_s": self.elapsed_s}
        return record | ({"failure": self.failure} if self.failure else {})


@dataclass(frozen=True, slots=True)
class Decision:
    """What a beat decides."""

    record: Mapping[str, Any]
    """Its line in the log."""
    command: Command | None
    """The command to write; None: write nothing."""
    release: bool
    """Control has just ended: every group has to be zeroed."""


class Pilot:
    """Estimator, policy's answers and guard, put together."""

    def __init__(self, site: Site, inputs: InputTable, highest: tuple[float, ...], guard: Guard) -> None:
        """See the class.

        Args:
            highest: [N] the greatest possible value of each input.
        """
        self.site, self.inputs, self.guard = site, inputs, guard
        self.estimator = Estimator(site)
        self._highest = np.array(highest, np.float32)
        self.target: int | None = None
        """The phase that is asked for, while in control."""
        self._target_since_s = 0.0
        self._decided = -1
        self._up_time: int | None = None
        self._rebooted = False
        self._problem = ""
        self._beat, self._now_s = 0, 0.0
        self._values: Row = np.zeros(len(inputs), np.float32)
        machine, phases = site.machine, len(site.plan.actions)
        longest = max(
            (machine.change_s(0, a, b) for a in range(phases) for b in range(phases) if a != b), default=0.0
        )
        greens = max(phase.min_green_s for phase in site.plan.phases)
        self._arrival_s = greens + longest + 2 * site.decision_interval_s
        """Within this time after it was asked for, a phase is green."""
        machine.bound_red(guard.limits.max_red_s)
        self._max_red_s = max(guard.limits.max_red_s, machine.max_red[0].least_s)

    def poll(self, reading: Reading) -> None:
        """Take an answer of the controller over."""
        up_time = reading.values.get("up_time.0")
        if up_time is not None:
            if self._up_time is not None and up_time < self._up_time:
                self._rebooted = True
            self._up_time = up_time
        self.estimator.update(reading)

    def alarm(self, now_s: float) -> bool:
        """Between two beats: whether control has just ended since the controller's state forbids it."""
        guard = self.guard
        if not guard.controlling:
            return False
        facts = Facts(rebooted=self._rebooted)
        obeyed = now_s - guard.since_s > guard.limits.obey_s
        problem = judge_state(self.estimator, facts, now_s, guard.limits, in_control=obeyed)
        if not problem:
            return False
        guard.step(now_s, problem)
        self.target = self.estimator.commanded = None
        return True

    def look(self, now_s: float, beat: int, facts: Facts) -> Row:
        """The policy's inputs at this moment."""
        estimator, guard = self.estimator, self.guard
        self._beat, self._now_s = beat, now_s
        snapshot = estimator.observe(now_s, beat)
        if facts.over:
            guard.retire(now_s, facts.over)
        if self._rebooted:
            facts = dataclasses.replace(facts, rebooted=True)
            self._rebooted = False
            guard.distrust(now_s, "the controller has restarted")
        obeyed = guard.controlling and now_s - guard.since_s > guard.limits.obey_s
        self._problem = judge_state(estimator, facts, now_s, guard.limits, in_control=obeyed)
        if not self._problem and guard.controlling:
            self._problem = self._neglect(snapshot, now_s)
        self._values = self.inputs.read(snapshot)
        return self._values

    def _neglect(self, snapshot: Snapshot, now_s: float) -> str:
        """Who has been red for too long, called or not, or that the controller does not follow."""
        # how long it was red before control began is the controller's own doing
        red_s = min(float(self.site.machine.red_s.max(initial=0.0)), now_s - self.guard.since_s)
        if red_s > self._max_red_s:
            return f"a link has been red for {red_s:.0f} s"
        arrived = int(snapshot.phase[0]) == self.target and not snapshot.changing[0]
        if self.target is not None and not arrived and now_s - self._target_since_s > self._arrival_s:
            return f"the controller does not go to phase {self.target}"
        return ""

    def conclude(self, answer: Answer) -> Decision:
        """What to do with the policy's answer to the last look."""
        guard, snapshot, now_s = self.guard, self.estimator.snapshot, self._now_s
        problem = self._problem
        if not problem:
            problem = answer.failure or self._too_high()
        if not problem:
            assert answer.scores is not None
            problem = judge_decision(
                snapshot, self._values, answer.scores, answer.phase, answer.elapsed_s, guard.limits, self.target
            )
        before = guard.mode
        mode = guard.step(now_s, problem)
        if mode is Mode.CONTROLLING and before is not Mode.CONTROLLING:
            self._aim(int(snapshot.phase[0]), now_s)
        elif mode is not Mode.CONTROLLING:
            self.target = self.estimator.commanded = None
        interval = self._beat // self.estimator.beats
        due, command = interval > self._decided, None
        if mode is Mode.CONTROLLING and not problem:
            if due and before is Mode.CONTROLLING and not snapshot.changing[0] and answer.phase != self.target:
                self._aim(answer.phase, now_s)
            assert self.target is not None
            command = command_for(self.site.plan, self.target, self.estimator.view)
        if due:
            self._decided = interval
        released = before is Mode.CONTROLLING and mode is not Mode.CONTROLLING
        return Decision(self._record(answer, problem, due, command), command, released)

    def _aim(self, phase: int, now_s: float) -> None:
        self.target = self.estimator.commanded = phase
        self._target_since_s = now_s

    def _too_high(self) -> str:
        beyond = np.flatnonzero(self._values > self._highest)
        if not beyond.size:
            return ""
        n = int(beyond[0])
        return f"input {self.inputs.inputs[n].name} is out of range: {float(self._values[n]):g}"

    def _record(self, answer: Answer, problem: str, due: bool, command: Command | None) -> dict[str, Any]:
        snapshot, guard = self.estimator.snapshot, self.guard
        record: dict[str, Any] = {
            "k": "decision",
            "t": self._now_s,
            "beat": self._beat,
            "mode": str(guard.mode),
            "phase": int(snapshot.phase[0]),
            "changing": bool(snapshot.changing[0]),
            "green_s": round(float(snapshot.green_age_s[0]), 3),
            "mask": "".join("01"[bool(m)] for m in snapshot.mask[0]),
            "calls": "".join("01"[bool(c)] for c in snapshot.calls[0]),
            "inputs": hashlib.sha256(self._values.tobytes()).hexdigest()[:16],
            "wants": answer.phase,
        }
        if answer.scores is not None:
            record["scores"] = [round(float(s), 4) if math.isfinite(s) else str(s) for s in answer.scores]
        if due:
            record["due"] = True
        if self.target is not None:
            record["target"] = self.target
        if faults := {n + 1: fault for n, fault in enumerate(self.estimator.detectors.faults) if fault}:
            record["detectors"] = {str(n): fault for n, fault in faults.items()}
        if (bad := np.flatnonzero(snapshot.healthy < 1.0)).size:
            record["bad_lanes"] = [self.site.layout.controlled[int(c)] for c in bad]
        if problem:
            record["problem"] = problem
        if guard.mode is Mode.RELEASED:
            record["reason"] = guard.reason
        if command is not None:
            record["command"] = command.octets(self.estimator.view.phase_groups)
        return record

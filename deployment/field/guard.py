"""What stands between a policy and a controller: pure functions and a small state machine, no clock, no network.

The guard knows four modes. `shadow`: never writes, for good. `verifying`: everything has to be in order without a
break for the hold-off. `controlling`: each command passes `judge`. `released`: the first thing out of order ends
control, with its reason; after a hold-off, and once the controller's timing has been read back again, it goes on to
`verifying`, but only so many times an hour. Once a bundle has expired or another controller answers, it never does.

Nothing is corrected on the way: an answer of the policy that is not allowed is a fault, and ends control.
"""

from __future__ import annotations

import enum
import math
from collections import deque
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from deployment.field.estimator import Estimator
from deployment.nema import oids
from signals.snapshot import Snapshot


class Mode(enum.StrEnum):
    """What the guard lets happen."""

    SHADOW = "shadow"
    VERIFYING = "verifying"
    CONTROLLING = "controlling"
    RELEASED = "released"


@dataclass(frozen=True, slots=True)
class Limits:
    """The guard's bounds. Seconds."""

    stale_s: float = 2.0
    """Greatest age of a value that a decision uses."""
    deadline_s: float = 0.2
    """Longest wall time from the snapshot to the policy's answer, however fast the clock runs."""
    max_red_s: float = 300.0
    """Every link is green again within this time, called or not, or within the least that its phases need."""
    obey_s: float = 2.0
    """Time within which the controller has to show that it took a command."""
    bad_lane_share: float = 0.5
    """Control ends when more than this share of the lanes has no trusted detectors."""
    hold_off_s: float = 10.0
    """How long everything has to be in order before control begins."""
    released_s: float = 60.0
    """Least time from a release to the next verification."""
    entries_per_hour: int = 4
    """Control begins at most so often within an hour."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What the runtime knows beside the values that it polled."""

    over: str = ""
    """What ends control for good: the bundle has expired, or another controller answers."""
    rebooted: bool = False
    """The controller's up time went back."""
    foreign_write: str = ""
    """A control group that holds what we did not write."""
    trouble: str = ""
    """What went wrong on this computer: a command that did not arrive, a program that stood still."""


Row = npt.NDArray[np.float32]


def judge_state(estimator: Estimator, facts: Facts, now_s: float, limits: Limits, *, in_control: bool) -> str:
    """Why the controller must not be commanded now, or an empty string."""
    view = estimator.view
    if facts.over:
        return facts.over
    if facts.rebooted:
        return "the controller has restarted"
    if facts.foreign_write:
        return f"somebody else writes: {facts.foreign_write}"
    if facts.trouble:
        return facts.trouble
    age_s, name = view.oldest_s(now_s)
    if age_s > limits.stale_s:
        return f"no fresh {name}: {age_s:.1f} s old" if math.isfinite(age_s) else f"{name} never came"
    if flash := _flash(view.get("flash_status.0")):
        return flash
    if preempts := [n for n in range(1, 256) if _preempted(view.get(f"preempt.{n}", oids.PREEMPT_NOT_ACTIVE))]:
        return f"preempt {preempts[0]} is on"
    if problem := _control_status(view.get("control_status.0"), in_control=in_control):
        return problem
    pattern = view.get("pattern.0")
    if pattern not in (oids.STANDBY, oids.FREE):
        return f"pattern {pattern} is in command" if pattern != oids.FLASH else "flash is in command"
    if problem := implausible(estimator):
        return problem
    bad = estimator.snapshot.healthy < 1.0
    if bad.sum() > limits.bad_lane_share * len(bad):
        return f"{int(bad.sum())} of {len(bad)} lanes have detectors that are not to be trusted"
    return ""


def _flash(status: int) -> str:
    return "" if status == oids.NOT_FLASHING else f"the controller flashes (unitFlashStatus {status})"


def _preempted(state: int) -> bool:
    return state not in (0, oids.PREEMPT_NOT_ACTIVE, oids.PREEMPT_NOT_ACTIVE_WITH_CALL)


def _control_status(status: int, *, in_control: bool) -> str:
    if status == oids.MANUAL_CONTROL:
        return "somebody operates the controller by hand"
    if in_control and status != oids.SYSTEM_CONTROL:
        return f"the controller is not under system control (unitControlStatus {status})"
    if status not in (oids.SYSTEM_CONTROL, oids.SYSTEM_STANDBY, oids.BACKUP_MODE, oids.TIMEBASE_CONTROL):
        return f"the controller's state is not known here (unitControlStatus {status})"
    return ""


def implausible(estimator: Estimator) -> str:
    """What is wrong with the indications taken together, or an empty string."""
    view, plan = estimator.view, estimator.site.plan
    green, yellow, red = (view.phases(name) for name in ("greens", "yellows", "reds"))
    if strange := (green | yellow) & ~estimator.known:
        return f"NEMA phase {strange.bit_length()} is lit, which the plan does not have"
    for phase in plan.phases:
        bit = 1 << phase.number - 1
        if bool(green & bit) + bool(yellow & bit) + bool(red & bit) != 1:
            return f"NEMA phase {phase.number} shows no single one of green, yellow and red"
    lit = [phase for phase in plan.phases if (green | yellow) >> phase.number - 1 & 1]
    for a in lit:
        for b in lit:
            if a is not b and b.number not in a.concurrent:
                return f"NEMA phases {a.number} and {b.number} are lit together"
    return ""


def judge_decision(
    snapshot: Snapshot, inputs: Row, scores: Row, phase: int, elapsed_s: float, limits: Limits, before: int | None
) -> str:
    """Why this answer of a policy must not be carried out, or an empty string.

    Args:
        inputs: [N] what the policy was given.
        scores: [P] what it thinks of each phase.
        elapsed_s: how long it took, by the wall's seconds.
        before: the phase that is being asked for; a new one has to be a legal successor.
    """
    if not np.isfinite(inputs).all():
        return f"input {int(np.flatnonzero(~np.isfinite(inputs))[0])} is not finite"
    if (inputs < 0).any():
        return f"input {int(np.flatnonzero(inputs < 0)[0])} is out of range: {float(inputs.min()):g}"
    if elapsed_s > limits.deadline_s:
        return f"the policy took {elapsed_s * 1000:.0f} ms, the deadline is {limits.deadline_s * 1000:.0f} ms"
    mask = snapshot.mask[0]
    if not 0 <= phase < len(mask):
        return f"the policy chose phase {phase}, there are {len(mask)}"
    if not np.isfinite(scores[mask]).all() or np.isnan(scores).any():
        return "the policy's scores are not finite"
    if phase != before and not mask[phase]:
        current = int(snapshot.phase[0])
        why = "a change is on" if snapshot.changing[0] else f"phase {current} is {snapshot.green_age_s[0]:.1f} s old"
        return f"the policy chose phase {phase}, which must not follow now: {why}"
    return ""


@dataclass
class Guard:
    """The current mode, and the rules that change it."""

    limits: Limits = field(default_factory=Limits)
    mode: Mode = Mode.SHADOW
    reason: str = ""
    """Why control was released, or why verification goes on."""
    since_s: float = -math.inf
    _entries: deque[float] = field(default_factory=deque)
    _verified: bool = False
    _retired: bool = False

    def __post_init__(self) -> None:
        self._entries = deque(maxlen=max(self.limits.entries_per_hour, 1))

    @property
    def controlling(self) -> bool:
        return self.mode is Mode.CONTROLLING

    def begin(self, now_s: float) -> None:
        """Leave shadow mode: the timing has been read back and the start-up checks have passed."""
        self.mode, self.reason, self.since_s, self._verified = Mode.VERIFYING, "", now_s, True

    def verified(self) -> None:
        """The controller's timing has been read back anew and is the bundle's."""
        self._verified = True

    def distrust(self, now_s: float, reason: str) -> None:
        """The controller may be another one now: nothing that was verified counts any more."""
        self._verified = False
        if self.mode is Mode.VERIFYING:
            self.release(now_s, reason)

    def retire(self, now_s: float, reason: str) -> None:
        """Never begin control again, for this reason. `step` ends control that is on."""
        if self._retired:
            return
        self._retired = True
        if self.mode is not Mode.CONTROLLING:
            self.release(now_s, reason)

    @property
    def wants_verification(self) -> bool:
        """Whether control could begin again if only the timing had been read back."""
        return self.mode is Mode.RELEASED and not self._verified and not self._retired

    def step(self, now_s: float, problem: str) -> Mode:
        """Take what is wrong now (empty: nothing); returns the next mode."""
        if self.mode is Mode.CONTROLLING and problem:
            self.release(now_s, problem)
        elif self.mode is Mode.VERIFYING:
            if problem:
                self.reason, self.since_s = problem, now_s
            elif now_s - self.since_s >= self.limits.hold_off_s:
                self.mode, self.reason, self.since_s = Mode.CONTROLLING, "", now_s
                self._entries.append(now_s)
        elif self.mode is Mode.RELEASED and not problem and self._verified and self._may_enter(now_s):
            self.mode, self.since_s = Mode.VERIFYING, now_s
        return self.mode

    def release(self, now_s: float, reason: str) -> None:
        """End control, or verification, for this reason."""
        if self.mode is Mode.SHADOW:
            return
        self.mode, self.reason, self.since_s, self._verified = Mode.RELEASED, reason, now_s, False

    def _may_enter(self, now_s: float) -> bool:
        if self._retired or now_s - self.since_s < self.limits.released_s:
            return False
        full = len(self._entries) == self._entries.maxlen
        return not (full and now_s - self._entries[0] < 3600.0)

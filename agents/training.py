"""The training loop around an agent: progress, learning curve, checkpoints, validation, resuming, early abort."""

from __future__ import annotations

import csv
import io
import logging
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, TextIO

import torch
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger, configure

from agents import checkpoint
from agents.judgement import Judgement
from agents.learner import Judged, Learner
from agents.run import LearnedController, keep_validated
from agents.vec_env import SignalsVecEnv
from plumbing.whole import write_whole

log = logging.getLogger("intergreen.training")
Validate = Callable[[LearnedController], Judgement]
"""Judges a policy on validation seeds."""


class Interrupted(RuntimeError):
    """Somebody pressed Ctrl-C; everything up to here is saved."""


class _ValidationLeft(Exception):
    """Somebody pressed Ctrl-C in a validation, which can be made again."""


@dataclass
class Progress:
    """What the loop itself has to remember when it resumes."""

    elapsed_s: float = 0.0
    validated: int = 0
    """Steps at the last validation."""
    episodes: list[dict[str, float]] = field(default_factory=list)
    validations: list[dict[str, float]] = field(default_factory=list)

    @property
    def last(self) -> Judgement | None:
        """What the last validation said."""
        return _judgement(self.validations[-1]) if self.validations else None


@dataclass(frozen=True)
class Schedule:
    """How long to train, and how often to look up."""

    steps: int
    """Decisions of one signal, over all signals and workers."""
    validate_every: int
    """Steps between validations; 0 for none."""
    checkpoint_every_s: float = 120.0


class _Loop(BaseCallback):
    """Called by Stable-Baselines3 before each rollout and after each step."""

    def __init__(
        self, learner: Learner, run: Path, env: SignalsVecEnv, schedule: Schedule, progress: Progress,
        validate: Validate | None, controller: Callable[[Learner], LearnedController],
        arrive: Callable[[], Path] | None, tensorboard: bool, out: TextIO,
    ) -> None:  # fmt: skip
        super().__init__()
        self.model: Any = learner  # Stable-Baselines3 sets it, too
        self.arrive, self.tensorboard = arrive, tensorboard
        self.use_logger(_logger(run, tensorboard))
        self.run, self.env, self.schedule, self.progress = run, env, schedule, progress
        self.validate, self.make_controller, self.out = validate, controller, out
        self.stop = self.validating = False
        self._began = time.monotonic() - progress.elapsed_s
        self._saved = time.monotonic()
        self._spoke = 0.0

    def use_logger(self, logger: Logger) -> None:
        """Where curves go for TensorBoard."""
        self.curves = logger
        self.model.set_logger(logger)

    def _on_rollout_start(self) -> None:
        """Between an update and the next rollout nothing is half done: the moment to save and to stop."""
        self.num_timesteps = self.model.num_timesteps
        if self.num_timesteps >= self.schedule.steps:
            return
        due = self.schedule.validate_every if not self.stop else 0  # who goes on is validated then
        if isinstance(self.model, Judged):
            if due and self.model.awaits_judgement:
                self.judge()
        elif due and self.num_timesteps - self.progress.validated >= due:
            self.run_validation()
        if self.stop or time.monotonic() - self._saved > self.schedule.checkpoint_every_s:
            self.save()
        if self.stop:
            raise Interrupted

    def _on_step(self) -> bool:
        for episode in self.env.finished:
            row = {"steps": float(self.num_timesteps), "seconds": round(self.elapsed_s, 1), **episode}
            self.progress.episodes.append(row)
            self.curves.record("rollout/return", episode["return"])
            self.curves.dump(self.num_timesteps)
        if self.env.finished:
            self.env.finished.clear()
            self.write_curves()
            self.say()
        elif isinstance(self.model, Judged):  # its episodes take minutes
            self.say(every_s=10.0)
        return True

    @property
    def elapsed_s(self) -> float:
        """Time spent on this run, earlier sessions included."""
        return time.monotonic() - self._began

    def judge(self) -> None:
        """Tell a learner that asks for it what validation says."""
        if not self.judge_as_before():
            self.run_validation()

    def judge_as_before(self) -> bool:
        """Tell a learner that asks for it what validation has said at this step, where there was one before the run
        was resumed; whether there was."""
        validated = self.progress.validated >= self.model.num_timesteps and self.progress.validations
        if not validated or not isinstance(self.model, Judged) or not self.model.awaits_judgement:
            return False
        self.model.judged(self.progress.last)
        return True

    def run_validation(self) -> None:
        """Judge the policy as it is now; the training's random states are left as they are."""
        if self.validate is None:
            return
        self.num_timesteps, took_s = self.model.num_timesteps, round(self.elapsed_s, 1)
        try:
            with torch.random.fork_rng(devices=[]):
                controller = self.make_controller(self.model)
                self.validating = True
                judgement = self.validate(controller)
        except _ValidationLeft:
            return
        finally:
            self.validating = False
        self.progress.validated = self.num_timesteps
        self.progress.validations.append({"steps": float(self.num_timesteps), **asdict(judgement), "seconds": took_s})
        keep_validated(self.run, self.num_timesteps, self.model.scorer())
        if isinstance(self.model, Judged) and self.model.awaits_judgement:
            self.model.judged(judgement)
        self.curves.record("validation/delay_s", judgement.delay_s)
        self.curves.dump(self.num_timesteps)
        self.write_curves()
        self.say(force=True)

    def save(self, state: checkpoint.State | None = None) -> None:
        """A checkpoint of everything, as it is now or was at `state`."""
        self.progress.elapsed_s = self.elapsed_s
        checkpoint.save(self.run, self.model, self.env, vars(self.progress), state)
        if self.arrive is not None:
            self.curves.close()  # it writes by path
            self.run, self.arrive = self.arrive(), None
            self.use_logger(_logger(self.run, self.tensorboard))
        self._saved = time.monotonic()

    def write_curves(self) -> None:
        """progress.csv and validation.csv."""
        curves = {"progress.csv": self.progress.episodes, "validation.csv": self.progress.validations}
        for name, rows in curves.items():
            if rows:
                write_whole(self.run / name, _csv_writer(rows))

    def say(self, force: bool = False, every_s: float = 2.0) -> None:
        """One line of progress, at most so often."""
        if not force and time.monotonic() - self._spoke < every_s:
            return
        self._spoke = time.monotonic()
        taken = min(self.num_timesteps, self.schedule.steps)  # a last rollout goes beyond the end
        done = taken / self.schedule.steps
        left = self.elapsed_s * (1 - done) / max(done, 1e-9)
        parts = [f"{taken:>8,} of {self.schedule.steps:,} steps ({done:4.0%})"]
        if isinstance(self.model, Judged):
            parts.append(self.model.status())
        if self.progress.validations:
            at = int(self.progress.validations[-1]["steps"])
            parts.append(f"{self.progress.last} (validation at {at:,})")
        if self.progress.episodes:
            last = self.progress.episodes[-1]
            parts.append(f"reward {last['return'] / max(last['decisions'], 1):.2f} a decision")
        parts.append(f"{_clock(left)} left")
        print("  ".join(parts), file=self.out, flush=True)


def train(
    learner: Learner,
    env: SignalsVecEnv,
    run: Path,
    schedule: Schedule,
    *,
    controller: Callable[[Learner], LearnedController],
    validate: Validate | None = None,
    resume: bool = False,
    tensorboard: bool = False,
    arrive: Callable[[], Path] | None = None,
    restored: Callable[[int], None] = lambda taken: None,
    out: TextIO = sys.stderr,
) -> Progress:
    """Train until the schedule's end, saving on the way and at the end.

    Args:
        restored: called where a run resumes, with the steps that it has taken, before it takes the next.
        arrive: called after the first checkpoint; where the run directory lies from then on. By default it stays.

    Raises:
        Interrupted: Ctrl-C came; the run is saved and can be resumed.
        TrainingDiverged: a number is not finite any more; the last checkpoint is from before.
        InputError: a checkpoint does not fit, or a file cannot be written.
    """
    progress = Progress()
    if resume:
        progress = Progress(**checkpoint.restore(run, learner, env))
        restored(learner.num_timesteps)
    loop = _Loop(learner, run, env, schedule, progress, validate, controller, arrive, tensorboard, out)

    def interrupt(number: int, frame: FrameType | None) -> None:
        del number, frame
        if loop.stop:
            raise KeyboardInterrupt
        loop.stop = True
        if loop.validating:
            print("stopping: leaving the validation, then saving", file=out)
            raise _ValidationLeft
        print("stopping: finishing the current update, then saving (Ctrl-C again to leave at once)", file=out)

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        remaining = schedule.steps - learner.num_timesteps
        if remaining > 0:
            learner.learn(remaining, callback=loop, log_interval=1 << 30, reset_num_timesteps=not resume)
        end = checkpoint.state_of(learner, env)  # what is left to learn at an end is not, where a run goes on
        learner.finish()
        loop.judge_as_before()
        loop.save(end)
        if validate is not None and loop.progress.validated < learner.num_timesteps:
            if not loop.stop:
                loop.run_validation()
            if loop.stop:
                raise Interrupted
            loop.save(end)
        loop.write_curves()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return progress


def _judgement(validation: Mapping[str, float]) -> Judgement:
    return Judgement(int(validation.get("gridlocked_runs", 0)), validation["delay_s"])


def _logger(run: Path, tensorboard: bool) -> Logger:
    """TensorBoard where it is installed and wanted; the CSV files are written by the loop itself."""
    if tensorboard:
        return configure(str(run / "tensorboard"), ["tensorboard"])
    return Logger(None, [])


def _csv_writer(rows: list[dict[str, float]]) -> Callable[[Path], object]:
    text = io.StringIO()
    names = dict.fromkeys(name for row in rows for name in row)  # an earlier version's rows have fewer
    writer = csv.DictWriter(text, list(names), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return lambda path: path.write_text(text.getvalue())


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"

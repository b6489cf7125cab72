"""A simulation in a process of its own, as the environments use it."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import re
import signal
import struct
import subprocess
import tempfile
import time
import weakref
from typing import Any

import numpy as np
import numpy.typing as npt

from envs.sumo.simulation import EpisodeSummary, SimulationError
from envs.workers.allocator import preloading
from envs.workers.forks import Branches, Outcome, branching_works
from envs.workers.handover import Asker, Bell, SharedArrays, Waiting, readable, thought_spin_s
from envs.workers.server import WorkerSetup, receive, send
from plumbing.errors import InputError
from plumbing.interpreter import ROOT, command, environment, last_line
from plumbing.outside import pack
from signals.snapshot import Snapshot

log = logging.getLogger("intergreen.sumo")
NOISE = re.compile(r"only loops? backs? to itself|proj_create|PROJ:|SUMO_HOME|total messages of type: Phase")
"""What SUMO and PROJ say that means nothing here: our own programs' greens lead to themselves on purpose."""
LIMIT_S = 300.0  # [s] by the wall clock, for one decision


class RemoteSimulation:
    """Begin, decide and end an episode in another process; results lie in shared arrays.

    Several of these may live in one process, which is what libsumo itself does not allow.
    """

    def __init__(self, setup: WorkerSetup) -> None:
        self.setup = setup
        self.layout = setup.simulation.layout
        self.shared = SharedArrays(setup.shapes)
        self.snapshot = Snapshot(**{name: self.shared[name] for name in Snapshot.shapes(self.layout)})
        self.shared["thought_s"][0] = thought_spin_s(1)
        self.running = False
        self.limit_s = math.inf if setup.simulation.render == "human" else LIMIT_S  # somebody may halt sumo-gui
        """How long a start or a decision may take by the wall clock."""
        self.asker: Asker | None = None
        self._seed = 0
        self._time_s, self._end_s = memoryview(self.shared["time_s"].data), setup.simulation.end_s - 1e-9
        self._process: subprocess.Popen[bytes] | None = None
        self._log_read = 0
        self._last_errors: list[str] = []
        self._notes: set[str] = set()
        self._finalizer: weakref.finalize[Any, Any] | None = None

    @property
    def done(self) -> bool:
        """Whether the horizon is reached."""
        return bool(self._time_s[0] >= self._end_s)

    @property
    def decided_s(self) -> float:
        """[s] what this episode's decisions took in the worker so far, SUMO's own steps included."""
        return float(self.shared["decided_s"][0])

    @property
    def sumo_s(self) -> float:
        """[s] what SUMO's own steps took of it."""
        return float(self.shared["sumo_s"][0])

    def __enter__(self) -> RemoteSimulation:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self) -> None:
        if self.shared.fd < 0:
            raise SimulationError("this environment is closed; make a new one")
        if self._finalizer is not None:
            self._finalizer()  # what is left of a worker that died
        commands_read, commands_write = os.pipe()
        answers_read, answers_write = os.pipe()
        bell, other = Bell(), Bell()
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  (lives as long as the worker)
        self._log_read = 0
        passed = (commands_read, answers_write, self.shared.fd, *bell.fds, *other.fds)
        settings = environment(OMP_NUM_THREADS="1")
        self._process = subprocess.Popen(
            command("envs.workers.server", *map(str, passed)),
            cwd=ROOT,
            pass_fds=passed,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            env=settings if self.setup.simulation.render else preloading(settings),
            start_new_session=True,  # Ctrl-C is for the environment's process alone
        )
        for descriptor in passed[:2]:
            os.close(descriptor)
        self._commands = os.fdopen(commands_write, "wb", buffering=0)
        self._answers = os.fdopen(answers_read, "rb")
        self.asker = Asker(self.shared, bell, other)
        self._waiting = Waiting([self.asker])
        self._finalizer = weakref.finalize(self, _stop, self._process, self._commands, self._answers, bell, other)
        send(self._commands, "setup", pack(self.setup))

    def begin(self, seed: int) -> None:
        """Start an episode; one that still runs is ended first.

        Raises:
            InputError: SUMO refused the input; the message is its own.
            SimulationError: it has been closed, or its process dies at its start.
        """
        self.ask_to_begin(seed)
        self.wait_until_begun()

    def ask_to_begin(self, seed: int) -> None:
        """Start an episode and return at once."""
        if self.running:
            with contextlib.suppress(SimulationError):  # nobody has asked how it went
                self.end()
        self._seed = seed
        if not self._send_begin():  # the template was about to end when it was asked
            self.kill()
            self._send_begin()

    def wait_until_begun(self) -> None:
        """Wait for what `ask_to_begin` asked for.

        Raises:
            InputError: SUMO refused the input; the message is its own.
            SimulationError: its process dies at its start, and the message is the last line that it said; or it does
                not start in time.
        """
        kind, content = self._started()
        if kind == "gone":
            self.kill()
            self._send_begin()
            kind, content = self._started()
        self._report()
        if kind == "begun":
            self.running = True
            for line in content:
                if line not in self._notes:
                    log.debug("worker: %s", line)
            self._notes.update(content)
            return
        if kind == "refused":
            raise InputError(content)
        said = self._errors()
        if kind == "unwilling" or said:
            raise InputError(f"SUMO does not start with this scenario: {said or content}")
        raise SimulationError(f"a simulation's process ends at its start: {content or self._end_of_process()}")

    def _started(self) -> tuple[str, Any]:
        """What came of a start."""
        within_s = min(self.limit_s, 1e6)
        if not readable([self._answers.fileno()], within_s):
            self.kill()
            raise SimulationError(f"the simulation has not started within {within_s:g} s, so its process was ended")
        return receive(self._answers)

    def _send_begin(self) -> bool:
        try:
            if self._process is None or self._process.poll() is not None:
                self._start()
            self.shared["failed"][0] = 0
            self.shared["answered"][0] = self.shared["asked"][0]  # what a dead episode was asked is not the next's
            self._commands.write(b"b" + struct.pack("<q", self._seed))
        except BrokenPipeError:
            return False
        return True

    def kill(self) -> None:
        """End the worker's processes at once; the next episode starts new ones."""
        self.running = False
        if self._process is not None:
            _kill_group(self._process)
            self._process.wait()

    def decide(self, phases: npt.NDArray[np.integer[Any]]) -> None:
        """Ask for a phase per signal and run to the next decision.

        Raises:
            SimulationError: SUMO failed or its process died.
        """
        self.ask(phases)
        self.wait()

    def ask(self, phases: npt.NDArray[np.integer[Any]]) -> None:
        """Ask for a phase per signal and return at once.

        Raises:
            SimulationError: no episode is running.
        """
        if not self.running or self.asker is None:  # no answer would come
            raise SimulationError("no episode is running; call reset() first")
        self.shared["action"][:] = phases
        self.asker.ask()

    def wait(self) -> None:
        """Wait for what `ask` asked for.

        Raises:
            SimulationError: SUMO failed, its process died or does not answer any more.
        """
        until = time.monotonic() + self.limit_s
        while not self._waiting.wait():
            if not self.alive:
                break
            if time.monotonic() > until:
                self.kill()
                raise SimulationError(
                    f"the simulation has not answered for {self.limit_s:g} s at {self.snapshot.time_s[0]:g} s, "
                    "so its process was ended"
                )
        self.check()

    def branch(self, request: Branches) -> list[Outcome]:
        """What would become of each plan from here on, tried in forks of the episode, which itself stays as it is.

        Raises:
            InputError: this system has no /proc.
            SimulationError: a branch failed, or the process died.
        """
        self.ask_to_branch(request)
        return self.branched()

    def ask_to_branch(self, request: Branches) -> None:
        """Have plans tried, and return at once; `answers_fd` is readable when all have been.

        Raises:
            InputError: this system has no /proc.
            SimulationError: no episode is running, or its process died.
        """
        if not branching_works():
            raise InputError("branches of a running simulation need Linux's /proc; leave what forks it out here")
        if not self.running:
            raise SimulationError("no episode is running; call begin() first")
        try:
            self._commands.write(b"f")
            send(self._commands, "branch", request)
        except BrokenPipeError as error:
            raise SimulationError("the simulation's process was ended") from error

    def branched(self) -> list[Outcome]:
        """Wait for what `ask_to_branch` asked for.

        Raises:
            SimulationError: a branch failed, or the process died.
        """
        kind, content = receive(self._answers)
        if kind != "branched":
            self.running = False
            # the episode says why before it marks its failure: a mark that came later would be the next episode's
            while kind == "error" and self.alive and self.asker is not None and not self.asker.failed:
                time.sleep(0.0005)
            reason = content if kind == "error" else self._errors() or "its process was ended"
            raise SimulationError(f"the simulation failed after {self.snapshot.time_s[0]:g} s: {reason}")
        outcomes: list[Outcome] = content
        return outcomes

    @property
    def alive(self) -> bool:
        """Whether the worker's process runs."""
        return self._process is not None and self._process.poll() is None

    @property
    def answers_fd(self) -> int:
        """Readable once what `ask_to_begin` or `ask_to_branch` asked for is done."""
        return self._answers.fileno()

    def check(self) -> None:
        """After an answer, or where none will come.

        Raises:
            InputError: a reward or an observation from outside fails.
            SimulationError: SUMO failed, its process died or does not answer any more.
        """
        assert self.asker is not None
        assert self._process is not None
        if self.asker.answered() and not self.asker.failed:
            return
        self.running = False
        if not self.alive:
            _kill_group(self._process)  # the episode may have outlived the template
        kind, content = receive(self._answers)
        self._report()
        if kind == "refused":
            raise InputError(content)
        said = self._errors()
        reason = f"{content}{': ' + said if said else ''}" if kind == "error" else "its process was ended"
        raise SimulationError(f"the simulation failed after {self.snapshot.time_s[0]:g} s: {reason}")

    def end(self) -> EpisodeSummary:
        """End the episode; SUMO's outputs are complete afterwards."""
        self.running = False
        try:
            self._commands.write(b"e")
        except BrokenPipeError as error:
            raise SimulationError("the simulation's process was ended") from error
        kind, content = receive(self._answers)
        self._report()
        if kind == "error":  # before it was told to end, or because of it; another answer may still follow
            self.kill()
        if kind != "ended" or content is None:
            said = self._errors() or content or "its process was ended"
            raise SimulationError(f"the simulation's process ended early: {said}")
        summary: EpisodeSummary = content
        return summary

    def frame(self) -> npt.NDArray[np.uint8]:
        """[H, W, 3] the picture of the last decision; only with render "rgb_array"."""
        return self.shared["frame"].copy()

    def close(self) -> None:
        """Stop the worker. Safe to call twice."""
        if self._finalizer is not None:
            self._finalizer()
            self._process = None
        self.shared.close()
        self.running = False

    def _report(self) -> None:
        """Pass SUMO's warnings on, but for its noise."""
        for line in self._new_lines():
            if NOISE.search(line):
                continue
            if line.startswith("Warning:"):
                log.debug("SUMO: %s", line.removeprefix("Warning:").strip())
            elif line.startswith("Error:"):
                self._last_errors.append(line.removeprefix("Error:").strip())

    def _errors(self) -> str:
        found, self._last_errors = list(dict.fromkeys(self._last_errors)), []
        return "; ".join(found[:3])

    def _end_of_process(self) -> str:
        """What the process said last, or else how it ended."""
        assert self._process is not None
        try:
            code = self._process.wait(timeout=5)  # its pipe is closed a little sooner
        except subprocess.TimeoutExpired:
            self.kill()
            return "it has closed its pipe and does not end"
        if code < 0:  # what it said before has nothing to do with it
            return f"it died of signal {-code}"
        size = os.fstat(self._log.fileno()).st_size
        said = os.pread(self._log.fileno(), 1 << 16, max(0, size - (1 << 16))).decode(errors="replace")
        return last_line(said) or f"it left with status {code}"

    def _new_lines(self) -> list[str]:
        size = os.fstat(self._log.fileno()).st_size
        text = os.pread(self._log.fileno(), min(size - self._log_read, 1 << 20), self._log_read)
        self._log_read = size
        return text.decode(errors="replace").splitlines()


def _stop(process: subprocess.Popen[bytes], *streams: Any) -> None:
    """Close the pipes and bells: the episode and its template both leave at the end of their commands."""
    for stream in streams:
        stream.close()
    try:
        process.wait(timeout=5)
    except subprocess.TimeoutExpired:
        _kill_group(process)
        process.wait()


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    """End the template, its episode and what that has started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)

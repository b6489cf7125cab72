"""The process in which SUMO runs: a template process that forks one fresh child per episode.

The template has loaded libraries and settings but never a simulation, so every episode starts from the same
memory image. That makes a reset exact: the same seed gives the same trajectories, which a reload within one
process does not (SUMO orders some things by address).
"""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import signal
import struct
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from envs.sumo.gui import FRAME_SHAPE
from envs.sumo.setup import SimulationSetup
from envs.sumo.simulation import Simulation, SimulationError
from envs.workers.forks import explore
from envs.workers.handover import Answerer, Bell, Shapes, SharedArrays
from plumbing.errors import InputError, printable
from signals.observation_names import find_observation, is_ours
from signals.observations import Observation, ObservationShape, PhaseObservation, RowShape
from signals.reward_sum import RewardSum, Terms, is_plain, terms_of
from signals.rewards import Reward
from signals.snapshot import Snapshot


@dataclass(frozen=True)
class WorkerSetup:
    """A simulation, and what is computed from it beside the snapshot."""

    simulation: SimulationSetup
    reward: str | Reward | Terms = "time_loss"
    """As `signals.reward_sum.terms_of` takes it; "" for none."""
    observation: str | type[Observation] = "phases"
    """As `signals.observation_names.find_observation` takes it; "" for none."""

    def __post_init__(self) -> None:
        # found here, not in the process that runs it: names are relative to the user's folder
        object.__setattr__(self, "reward", terms_of(self.reward))
        if self.observation:
            object.__setattr__(self, "observation", find_observation(self.observation, self.simulation.sensing))

    @property
    def terms(self) -> Terms:
        """The reward's terms."""
        assert isinstance(self.reward, tuple)
        return self.reward

    @property
    def observes(self) -> type[Observation] | None:
        """The observation's class, None where there is none."""
        return self.observation if isinstance(self.observation, type) else None

    @cached_property
    def observation_shape(self) -> ObservationShape | RowShape:
        """How a row of the observation is cut."""
        assert self.observes is not None
        return self.observes.shape_of(self.simulation.layout, self.simulation.plan)

    @property
    def shapes(self) -> Shapes:
        """What is shared with the environment."""
        layout = self.simulation.layout
        signals = layout.shape[0]
        shapes: dict[str, tuple[tuple[int, ...], type]] = dict(Snapshot.shapes(layout))
        shapes["action"] = ((signals,), np.int64)
        shapes["reward"] = ((signals,), np.float64)
        if self.terms and not is_plain(self.terms):
            shapes["reward_terms"] = ((len(self.terms), signals), np.float64)
        if self.observes is not None:
            shapes["observation"] = ((signals, self.observation_shape.size), np.float32)
        if self.simulation.render == "rgb_array":
            shapes["frame"] = (FRAME_SHAPE, np.uint8)
        return shapes


def reward_terms(setup: WorkerSetup, shared: SharedArrays) -> dict[str, npt.NDArray[np.float64]]:
    """[S] each term of the last step's reward without its weight, by what it is called; views, not copies."""
    if is_plain(setup.terms):
        return {setup.terms[0].label: shared["reward"]}
    return {term.label: shared["reward_terms"][n] for n, term in enumerate(setup.terms)}


class World:
    """A simulation with the observation and reward that are computed beside it, all in shared arrays."""

    def __init__(self, setup: WorkerSetup, shared: SharedArrays) -> None:
        self.setup, self.shared = setup, shared
        layout = setup.simulation.layout
        snapshot = Snapshot(**{name: shared[name] for name in Snapshot.shapes(layout)})
        self.simulation = Simulation(setup.simulation, snapshot, shared["sumo_s"])
        # also where compiled code writes the rows: it leaves to this what never changes in them
        self._observe: Observation | None = None
        if setup.observes is not None:
            with _naming(setup.observes):
                self._observe = setup.observes(layout, shared["observation"])
        self._reward = RewardSum(setup.terms, layout)
        self._action = shared["action"]
        self._each = shared["reward_terms"] if setup.terms and not is_plain(setup.terms) else None

    def begin(self, seed: int) -> None:
        """Start an episode."""
        self.simulation.begin(seed)
        self.shared["decided_s"][0] = self.shared["sumo_s"][0] = 0.0  # without the warm-up
        self._reward.begin(self.simulation)
        if self._observe is not None:
            with _naming(type(self._observe)):
                self._observe.begin(self.simulation)
        self.shared["reward"][:] = 0.0
        self._publish()

    def decide(self) -> None:
        """Take the shared actions, run to the next decision.

        Raises:
            InputError: a reward or an observation from outside fails.
        """
        began = time.perf_counter()
        self._decide()
        self.shared["decided_s"][0] += time.perf_counter() - began

    def _decide(self) -> None:
        before = self.simulation.snapshot.copy() if self._reward.compares else self.simulation.snapshot
        self.simulation.decide(self._action)
        self._reward.write(before, self.simulation.snapshot, self.shared["reward"], self._each)
        self._publish()

    def _publish(self) -> None:
        if self.setup.observes is PhaseObservation and self.simulation.observe_compiled is not None:
            self.simulation.observe_compiled(self.shared["observation"])
        elif self._observe is not None:
            write(self._observe, self.simulation.snapshot)
        if self.setup.simulation.render == "rgb_array":
            self.shared["frame"][:] = self.simulation.frame()


class Notes(logging.Handler):
    """Keeps what is logged in this process, whose own output nobody reads, for the environment's log."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it."""
        self.lines.append(record.getMessage())


@contextlib.contextmanager
def _naming(observes: type[Observation]) -> Iterator[None]:
    """Say which observation it is that fails, where it comes from outside."""
    try:
        yield
    except Exception as error:  # whatever it does
        if is_ours(observes):
            raise
        name = printable(observes.__name__)
        raise InputError(f"observation {name!r} fails ({type(error).__name__}: {printable(error)})") from error


def write(observe: Observation, snapshot: Snapshot) -> None:
    """Bring an observation up to a snapshot.

    Raises:
        InputError: it comes from outside, and fails or is not finite.
    """
    if is_ours(type(observe)):
        observe.write(snapshot)
        return
    name = printable(type(observe).__name__)
    with _naming(type(observe)):
        observe.write(snapshot)
    if not np.isfinite(observe.rows).all():
        raise InputError(f"observation {name!r} is not finite at {snapshot.time_s[0]:g} s; write finite values")


def send(stream: BinaryIO, kind: str, content: object = None) -> None:
    """Write one message, whole."""
    data = pickle.dumps((kind, content))
    view = memoryview(struct.pack("<I", len(data)) + data)
    while view:  # a raw pipe takes what fits
        view = view[stream.write(view) :]
    stream.flush()


def receive(stream: BinaryIO) -> tuple[str, Any]:
    """Read one message; ("gone", None) at the stream's end."""
    head = _exactly(stream, 4)
    data = _exactly(stream, struct.unpack("<I", head)[0]) if len(head) == 4 else b""
    try:
        kind, content = pickle.loads(data)
    except (EOFError, pickle.UnpicklingError):
        return "gone", None
    return kind, content


def _exactly(stream: BinaryIO, size: int) -> bytes:
    """So many bytes, or fewer at the stream's end."""
    data = b""
    while len(data) < size and (more := stream.read(size - len(data))):
        data += more
    return data


def prepared(setup: WorkerSetup, shared: SharedArrays) -> World | None:
    """A world that every episode is a copy of; None where there is none, and an episode has to say why."""
    try:
        return World(setup, shared)
    except Exception:
        return None


def episode(
    setup: WorkerSetup,
    world: World | None,
    answerer: Answerer,
    commands: int,
    answers: BinaryIO,
    seed: int,
    notes: Notes,
) -> None:
    """One episode, in a child of its own: begin, decide as often as asked, end."""
    try:
        world = world or World(setup, answerer.shared)
        world.begin(seed)
    except InputError as error:
        send(answers, "refused", str(error))
        return
    except SimulationError as error:
        send(answers, "unwilling", str(error))
        return
    except Exception as error:
        send(answers, "error", f"{type(error).__name__}: {error}")
        return
    send(answers, "begun", notes.lines)
    while True:
        try:
            byte = answerer.wait()
            if byte is None:
                world.decide()
                answerer.answer()
            elif byte == b"f":
                with os.fdopen(os.dup(commands), "rb", buffering=0) as stream:
                    _, request = receive(stream)
                send(answers, "branched", explore(world.simulation, world.shared, request))
            elif byte == b"e":
                send(answers, "ended", world.simulation.end())
                return
            else:  # the environment is gone
                world.simulation.end()
                return
        except Exception as error:
            # a user's own code is refused, not tried again in another process
            send(answers, "refused" if isinstance(error, InputError) else "error", str(error))
            answerer.answer(failed=True)
            return


def main() -> None:
    """Serve episodes until the environment closes the pipe.

    Arguments: the descriptors of commands, answers and shared memory, and those of the environment's bell and of the
    one that is rung here. The setup comes first of all.
    """
    commands_fd, answers_fd, memory_fd, *bells = (int(a) for a in sys.argv[1:8])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the environment decides what Ctrl-C means
    notes, ours = Notes(), logging.getLogger("intergreen")
    ours.addHandler(notes)
    ours.setLevel(logging.DEBUG)
    answers = os.fdopen(answers_fd, "wb")
    with os.fdopen(os.dup(commands_fd), "rb", buffering=0) as commands:
        setup = pickle.loads(receive(commands)[1])
    shared = SharedArrays(setup.shapes, memory_fd)
    world = prepared(setup, shared)  # once, and not by each child
    answerer = Answerer(shared, commands_fd, Bell((bells[2], bells[3])), Bell((bells[0], bells[1])))
    while True:
        byte = os.read(commands_fd, 1)
        if not byte or byte == b"q":
            return
        if byte == b"e":  # an episode that had already failed
            send(answers, "ended", None)
        if byte != b"b":
            continue
        seed = struct.unpack("<q", os.read(commands_fd, 8))[0]
        child = os.fork()
        if child == 0:
            status = 0
            try:
                episode(setup, world, answerer, commands_fd, answers, seed, notes)
            except BaseException:
                status = 1
            finally:
                os._exit(status)
        _, status = os.waitpid(child, 0)
        if status:  # it had no chance to say so itself
            code = os.waitstatus_to_exitcode(status)
            send(answers, "error", f"SUMO died of signal {-code}" if code < 0 else f"SUMO left with status {code}")
            answerer.answer(failed=True)


if __name__ == "__main__":
    main()

"""The process in which SUMO runs: a template process that forks one fresh child per episode.

The template has loaded libraries and settings but never a simulation, so every episode starts from the same
memory image. That makes a reset exact: the same seed gives the same trajectories, which a reload within one
process does not (SUMO orders some things by address).
"""

from __future__ import annotations

import logging
import os
import pickle
import signal
import struct
import sys
import time
from dataclasses import dataclass
from functools import cached_property
from typing import Any, BinaryIO

import numpy as np

from envs.sumo.gui import FRAME_SHAPE
from envs.sumo.setup import SimulationSetup
from envs.sumo.simulation import Simulation, SimulationError
from envs.sumo.sumo_rl import Reference
from envs.workers.forks import explore
from envs.workers.handover import Answerer, Bell, Shapes, SharedArrays
from plumbing.errors import InputError
from signals.observations import ObservationShape, observation_for
from signals.rewards import COMPARING, reward_for
from signals.snapshot import Snapshot


@dataclass(frozen=True)
class WorkerSetup:
    """A simulation, and what is computed from it beside the snapshot."""

    simulation: SimulationSetup
    reward: str = "time_loss"
    """A name of `signals.rewards`, or "" for none."""
    observe: bool = True

    @cached_property
    def observation_shape(self) -> ObservationShape:
        """How a row of the observation is cut."""
        return observation_for(self.simulation.sensing, self.simulation.layout).shape

    @property
    def shapes(self) -> Shapes:
        """What is shared with the environment."""
        layout = self.simulation.layout
        signals = layout.shape[0]
        shapes: dict[str, tuple[tuple[int, ...], type]] = dict(Snapshot.shapes(layout))
        shapes["action"] = ((signals,), np.int64)
        shapes["reward"] = ((signals,), np.float64)
        if self.observe:
            shapes["observation"] = ((signals, self.observation_shape.size), np.float32)
        if self.simulation.reference:
            shapes["reference"] = ((signals, Reference.width(self.simulation.plan)), np.float32)
        if self.simulation.render == "rgb_array":
            shapes["frame"] = (FRAME_SHAPE, np.uint8)
        return shapes


class World:
    """A simulation with the observation and reward that are computed beside it, all in shared arrays."""

    def __init__(self, setup: WorkerSetup, shared: SharedArrays) -> None:
        self.setup, self.shared = setup, shared
        layout = setup.simulation.layout
        snapshot = Snapshot(**{name: shared[name] for name in Snapshot.shapes(layout)})
        self.simulation = Simulation(setup.simulation, snapshot, shared["sumo_s"])
        # also where compiled code writes the rows: it leaves to this what never changes in them
        self._observe = (
            observation_for(setup.simulation.sensing, layout, shared["observation"]) if setup.observe else None
        )
        self._reward = reward_for(setup.reward) if setup.reward else None
        self._reference: Reference | None = None
        self._compares = setup.reward in COMPARING
        self._action = shared["action"]

    def begin(self, seed: int) -> None:
        """Start an episode."""
        self.simulation.begin(seed)
        self.shared["decided_s"][0] = self.shared["sumo_s"][0] = 0.0  # without the warm-up
        if self.setup.simulation.reference:
            reward = self.setup.simulation.reference_reward
            self._reference = Reference(self.simulation, self.setup.simulation.layout, reward)
        self.shared["reward"][:] = 0.0
        self._publish()

    def decide(self) -> None:
        """Take the shared actions, run to the next decision."""
        began = time.perf_counter()
        self._decide()
        self.shared["decided_s"][0] += time.perf_counter() - began

    def _decide(self) -> None:
        before = self.simulation.snapshot.copy() if self._compares else self.simulation.snapshot
        self.simulation.decide(self._action)
        if self._reference is not None and self._reference.reward_name:
            self.shared["reward"][:] = self._reference.reward()
        elif self._reward is not None:
            layout = self.setup.simulation.layout
            self.shared["reward"][:] = self._reward(layout, before, self.simulation.snapshot)
        self._publish()

    def _publish(self) -> None:
        if self._observe is not None:
            if self.simulation.observe_compiled is not None:
                self.simulation.observe_compiled(self.shared["observation"])
            else:
                self._observe.write(self.simulation.snapshot)
        if self._reference is not None:
            self._reference.observe(self.shared["reference"])
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
            send(answers, "error", str(error))
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
        _, setup = receive(commands)
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

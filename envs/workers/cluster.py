"""Simulations on a Ray cluster. Nothing else imports Ray but this module and `evaluation.ray_runs`.

An actor holds one simulation, wherever Ray has placed it. The episode is the unit of failure: who has lost its
actor, with whatever machine, begins the next episode in a new one, and no half episode is ever continued.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import secrets
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # nothing is reported to anybody
if "ray" not in sys.modules:  # which reads it once; a local Ray is authenticated in either case
    os.environ.setdefault("RAY_AUTH_MODE", "token")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # a warning about GPUs otherwise

import numpy as np
import numpy.typing as npt
import ray
import ray.exceptions

from envs.sumo.simulation import SimulationError
from envs.workers.address import split_address
from envs.workers.forks import Branches, Outcome
from envs.workers.handover import Answerer, Asker, Bell, SharedArrays, Waiting, readable
from envs.workers.host import Host
from envs.workers.server import WorkerSetup
from envs.workers.shipping import Parcel, files_of_setup, fingerprint
from plumbing.errors import InputError
from plumbing.interpreter import ROOT
from plumbing.outside import pack
from signals.snapshot import Snapshot

REACH_S = 5.0
"""[s] for a connection to the cluster's head."""
PLACE_S = 120.0
"""[s] until an actor has found a core and has loaded its libraries."""
MOST_STARTS = 3
"""Actors that are tried for the begin of one episode."""
OBJECTS_BYTES = 256 << 20
"""Of memory for what passes between processes, in a Ray of our own: results are small."""


class Cluster:
    """A connection to a Ray cluster; without an address, a Ray on this machine that ends with it.

    Args:
        address: HOST:PORT of the head.
        workers: simulations that are to run at a time.

    Raises:
        InputError: nobody answers there, the token is refused, or the cluster has too few cores.
    """

    def __init__(self, address: str | None, workers: int | None) -> None:
        self.address = address
        before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
        how: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}
        if address is None:
            _need_token()
            cores = max(os.cpu_count() or 1, workers or 1)
            how |= {"num_cpus": cores, "include_dashboard": False, "object_store_memory": OBJECTS_BYTES}
        else:
            _reach(address)
            how["address"] = address
        try:
            # Ray gives each of its workers this process's current folder to import from
            with _silence(), contextlib.chdir(ROOT):
                ray.init(**how)
        except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
            ray.shutdown()
            raise InputError(_why_not(address, error)) from error
        finally:  # Ray sets its own, which would leave without cleaning up
            if threading.current_thread() is threading.main_thread():
                for number, handler in before.items():
                    signal.signal(number, handler)
        self.cores = int(ray.cluster_resources().get("CPU", 0))
        """Of all its machines."""
        if self.cores < (workers or 1):
            self.close()
            raise InputError(
                f"the Ray cluster at {address} has {self.cores} cores; give --workers {max(self.cores, 1)} at most, "
                "or add machines with: ray start --address …"
            )
        self._parcels: dict[tuple[str, ...], Any] = {}

    def __enter__(self) -> Cluster:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def parcel(self, files: list[str]) -> Any:
        """A reference to these files' contents, which go to each machine once."""
        key = tuple(files)
        if key not in self._parcels:
            self._parcels[key] = ray.put(Parcel.of(files))
        return self._parcels[key]

    def worker(self, setup: WorkerSetup) -> RayWorker:
        """A simulation somewhere in the cluster, not yet started."""
        return RayWorker(setup, self.parcel(files_of_setup(setup.simulation)))

    def close(self) -> None:
        """End what runs there for us, and the Ray that we started."""
        ray.shutdown()


def _need_token() -> None:
    """A Ray of our own is open to this command alone: a token that nobody else knows, unless there is one."""
    named = os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH")
    if not named and not (Path.home() / ".ray" / "auth_token").is_file():
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Ray's libraries write each failed attempt to connect straight to the terminal; an exception says it once."""
    sys.stderr.flush()
    kept = os.dup(2)
    with open(os.devnull, "wb") as nothing:
        os.dup2(nothing.fileno(), 2)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(kept, 2)
        os.close(kept)


def _reach(address: str) -> None:
    """Raises InputError where nobody listens; Ray itself would go on trying for many minutes."""
    try:
        socket.create_connection(split_address(address), REACH_S).close()
    except OSError as error:
        raise InputError(
            f"no Ray cluster answers at {address} ({error.strerror or error}); "
            "start its head there with: ray start --head, see docs/cluster.md"
        ) from error


def _why_not(address: str | None, error: BaseException) -> str:
    """One line on why there is no connection."""
    chain: list[str] = []
    link: BaseException | None = error
    while link is not None:
        chain.append(str(link))
        link = link.__cause__ or link.__context__
    text = "\n".join(chain)
    if address is None:
        return f"Ray does not start here: {_first_line(text)}; try without --engine ray"
    if "Authentication" in text or "Unauthenticated" in text or "token" in text:
        return (
            f"the Ray cluster at {address} refuses this token; copy the head's ~/.ray/auth_token here, "
            "or set RAY_AUTH_TOKEN_PATH, see docs/cluster.md"
        )
    return (
        f"cannot join the Ray cluster at {address}: {_first_line(text)}; run this on one of its machines, "
        "with the same versions of Ray and Python, see docs/cluster.md"
    )


def _first_line(text: str) -> str:
    return next((line.strip().rstrip(".") for line in text.splitlines() if line.strip()), "no reason given")


class RayWorker:
    """A `SimulationWorker` whose simulation is an actor's. Its arrays are a copy, filled with each answer."""

    def __init__(self, setup: WorkerSetup, parcel: Any) -> None:
        self.setup, self.layout = setup, setup.simulation.layout
        self.shared = SharedArrays(setup.shapes)
        self.snapshot = Snapshot(**{name: self.shared[name] for name in Snapshot.shapes(self.layout)})
        self.running = False
        self._bell = Bell()
        self._begun_read, self._begun_write = os.pipe()
        self._descriptors = [self._begun_read, self._begun_write, *set(self._bell.fds)]
        self.asker: Asker | None = Asker(self.shared, self._bell, self._bell)
        self._answerer = Answerer(self.shared, self._begun_read, self._bell, self._bell)
        self._parcel = parcel
        self._actor: Any = None
        self._seed = 0
        self._lock = threading.Lock()
        self._turn = 0
        """Counts what was asked, so that an answer that comes too late is known as one."""
        self._answer: tuple[str, bytes | str] = ("lost", "")

    @property
    def alive(self) -> bool:
        """Whether an answer may still come: where none can, Ray answers in the actor's place."""
        return self._actor is not None

    @property
    def done(self) -> bool:
        """Whether the horizon is reached."""
        return bool(self.snapshot.time_s[0] >= self.setup.simulation.end_s - 1e-9)

    @property
    def answers_fd(self) -> int:
        """Readable once what `ask_to_begin` or `ask_to_branch` asked for is done."""
        return self._begun_read

    def ask_to_begin(self, seed: int) -> None:
        """Start an episode and return at once."""
        self.running, self._seed = False, seed
        if self._actor is None:
            self._actor = _hosted(self.setup, self._parcel)
        self._empty_begun()
        self.shared["failed"][0] = 0
        self.shared["answered"][0] = self.shared["asked"][0]
        self._watch(self._actor.begin.remote(seed), lambda: os.write(self._begun_write, b"b"))

    def wait_until_begun(self) -> None:
        """Wait for what `ask_to_begin` asked for; an actor that is lost meanwhile is replaced.

        Raises:
            InputError: SUMO refused the input, or no actor finds room or survives.
        """
        reason = ""
        for _ in range(MOST_STARTS):
            if not readable([self._begun_read], PLACE_S):
                self.kill()
                raise InputError(
                    f"no machine of the Ray cluster has started a simulation within {PLACE_S:g} s; "
                    "look at `ray status`: all cores may be taken"
                )
            self._empty_begun()
            kind, content = self._answer
            if isinstance(content, bytes):
                self.shared.fill(content)
                self.running = True
                return
            reason = content
            if kind == "refused":
                raise InputError(reason)
            self.kill()
            self.ask_to_begin(self._seed)
        raise InputError(f"no simulation could be started on the Ray cluster; the last time: {reason}")

    def ask(self, phases: npt.NDArray[np.integer[Any]]) -> None:
        """Ask for a phase per signal and return at once.

        Raises:
            SimulationError: no episode is running.
        """
        if not self.running or self.asker is None:
            raise SimulationError("no episode is running; call reset() first")
        self.shared["action"][:] = phases
        self.asker.ask()
        self._watch(self._actor.decide.remote(self.shared["action"].copy()), self._take)

    def check(self) -> None:
        """After an answer, or where none will come.

        Raises:
            InputError: a reward or an observation from outside fails.
            SimulationError: SUMO failed, or the actor or its machine is gone.
        """
        assert self.asker is not None
        if self.asker.answered() and not self.asker.failed:
            return
        self.running = False
        if self.asker.failed and self._answer[0] == "refused":
            raise InputError(str(self._answer[1]))
        reason = str(self._answer[1]) if self.asker.failed else "it was ended"
        raise SimulationError(f"on the Ray cluster, after {self.snapshot.time_s[0]:g} s of its episode: {reason}")

    def decide(self, phases: npt.NDArray[np.integer[Any]]) -> None:
        """Ask for a phase per signal and run to the next decision.

        Raises:
            SimulationError: SUMO failed, or the actor or its machine is gone.
        """
        self.ask(phases)
        assert self.asker is not None
        waiting = Waiting([self.asker])
        while not self.asker.answered():
            waiting.wait()
        self.check()

    def ask_to_branch(self, request: Branches) -> None:
        """Have plans tried on the actor's machine, and return at once.

        Raises:
            SimulationError: no episode is running.
        """
        if not self.running:
            raise SimulationError("no episode is running; call reset() first")
        self._empty_begun()
        self._watch(self._actor.branch.remote(pack(request)), lambda: os.write(self._begun_write, b"f"))

    def branched(self) -> list[Outcome]:
        """Wait for what `ask_to_branch` asked for.

        Raises:
            InputError: the actor's machine cannot fork simulations.
            SimulationError: a branch failed, or the actor or its machine is gone.
        """
        while not readable([self._begun_read], PLACE_S):
            pass  # Ray answers in the place of an actor that is lost
        self._empty_begun()
        kind, content = self._answer
        if isinstance(content, bytes):
            outcomes: list[Outcome] = pickle.loads(content)
            return outcomes
        self.running = False
        if kind == "refused":
            raise InputError(content)
        raise SimulationError(f"on the Ray cluster, after {self.snapshot.time_s[0]:g} s of its episode: {content}")

    def kill(self) -> None:
        """End the actor at once; the next episode starts a new one, maybe elsewhere."""
        self.running = False
        with self._lock:
            self._turn += 1  # an answer that is still to come is not taken
        if self._actor is not None and ray.is_initialized():
            with contextlib.suppress(ray.exceptions.RayError, ValueError):
                ray.kill(self._actor)
        self._actor = None
        self._empty_begun()

    def close(self) -> None:
        """Stop the actor. Safe to call twice."""
        self.kill()
        for descriptor in self._descriptors:
            os.close(descriptor)
        self._descriptors = []
        self.shared.close()

    def _watch(self, call: Any, then: Callable[[], object]) -> None:
        """Keep the answer once it is there, and do `then`: in a thread of Ray's."""
        with self._lock:
            self._turn += 1
            turn = self._turn

        def keep(future: Any) -> None:
            error = future.exception()
            answer = future.result() if error is None else ("lost", _lost(error))
            with self._lock:
                if turn == self._turn:
                    self._answer = answer
                    then()

        call.future().add_done_callback(keep)

    def _take(self) -> None:
        """Hand a decision's answer over."""
        _, content = self._answer
        if isinstance(content, bytes):
            self.shared.fill(content)
        self._answerer.answer(failed=not isinstance(content, bytes))

    def _empty_begun(self) -> None:
        while self._descriptors and readable([self._begun_read], 0.0):
            os.read(self._begun_read, 64)


def _hosted(setup: WorkerSetup, parcel: Any) -> Any:
    """A new actor: on a core of its own or, where a lost machine has left too few, sharing one."""
    free = ray.available_resources().get("CPU", 0.0) >= 1.0
    actor = ray.remote(num_cpus=1 if free else 0, max_restarts=0, scheduling_strategy="SPREAD")(Host)
    return actor.remote(pack(setup), parcel, fingerprint())


def _lost(error: BaseException) -> str:
    """What Ray says about a loss, in one line."""
    if isinstance(error, ray.exceptions.RayActorError):
        return "its actor or its machine is gone"
    return _first_line(str(error))

"""What runs on a machine of the Ray cluster: one simulation, for whoever asks from afar."""

from __future__ import annotations

import dataclasses
import pickle
import socket

import numpy as np
import numpy.typing as npt

from envs.sumo.simulation import SimulationError
from envs.workers.client import RemoteSimulation
from envs.workers.server import WorkerSetup
from envs.workers.shipping import Parcel, differences, setup_here
from plumbing.errors import InputError


class Host:
    """The actor: holds one simulation on its machine. Errors that are no surprise come back as answers."""

    def __init__(self, packed: bytes, parcel: Parcel, sender: dict[str, str]) -> None:
        self._refusal = refusal_of(sender)
        self._simulation: RemoteSimulation | None = None
        if not self._refusal:
            try:
                setup: WorkerSetup = pickle.loads(packed)
                here = setup_here(setup.simulation, parcel.unpack())
                self._simulation = RemoteSimulation(dataclasses.replace(setup, simulation=here))
            except InputError as error:
                self._refusal = str(error)

    def begin(self, seed: int) -> tuple[str, bytes | str]:
        """("ok", the arrays), ("refused", why) or, where another try may end better, ("failed", why)."""
        if self._simulation is None:
            return "refused", self._refusal
        try:
            self._simulation.begin(seed)
        except (InputError, SimulationError) as error:
            return "refused" if isinstance(error, InputError) else "failed", str(error)
        return "ok", self._simulation.shared.content()

    def decide(self, phases: npt.NDArray[np.int64]) -> tuple[str, bytes | str]:
        """("ok", the arrays), ("refused", why) where a user's own code fails, or ("failed", why)."""
        assert self._simulation is not None
        try:
            self._simulation.decide(phases)
        except (InputError, SimulationError) as error:
            return "refused" if isinstance(error, InputError) else "failed", str(error)
        return "ok", self._simulation.shared.content()

    def branch(self, packed: bytes) -> tuple[str, bytes | str]:
        """("ok", the outcomes of packed `Branches`, pickled), ("refused", why) or ("failed", why)."""
        assert self._simulation is not None
        try:
            outcomes = self._simulation.branch(pickle.loads(packed))
        except (InputError, SimulationError) as error:
            return "refused" if isinstance(error, InputError) else "failed", str(error)
        return "ok", pickle.dumps(outcomes)


def refusal_of(sender: dict[str, str]) -> str:
    """Why this machine cannot stand in for the one whose fingerprint that is; "" if it can."""
    found = differences(sender)
    if not found:
        return ""
    return f"machine {socket.gethostname()} of the Ray cluster: {found}; install the same there, see docs/cluster.md"

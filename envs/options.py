"""The settings that both environments share, and the worker that they lead to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from envs.sumo.gui import RENDER_MODES, render_setup
from envs.sumo.setup import make_setup
from envs.sumo.sumo_rl import REWARDS as SUMO_RL_REWARDS
from envs.sumo.sumo_rl import Reference
from envs.workers.client import RemoteSimulation
from envs.workers.server import WorkerSetup
from plumbing.errors import InputError, did_you_mean
from scenarios.scenario import Scenario, load
from signals.loops import DetectorFaults
from signals.observations import LIMIT
from signals.rewards import REWARDS
from signals.timing import Timing

OBSERVATIONS = ("phases", "sumo-rl")


@dataclass(frozen=True)
class EnvOptions:
    """How an environment is set up; see `SignalEnv` for the meaning of each."""

    scenario: str | Path | Scenario
    routes: Sequence[str | Path] = ()
    begin_s: float | None = None
    end_s: float | None = None
    demand: str = "recorded"
    timing: Timing = field(default_factory=Timing)
    sensing: str = "full"
    faults: DetectorFaults = field(default_factory=DetectorFaults)
    observation: str = "phases"
    reward: str = "time_loss"
    warm_up_s: float = 0.0
    demand_range: tuple[float, float] = (1.0, 1.0)
    render_mode: str | None = None

    def worker(self, tls_ids: Sequence[str] | None, least_slots: tuple[int, int] = (1, 1)) -> RemoteSimulation:
        """The simulation's process, not yet started.

        Args:
            least_slots: phases and movements that every signal gets slots for at least.

        Raises:
            InputError: a name or a setting is wrong.
        """
        if self.observation not in OBSERVATIONS:
            raise InputError(
                f"unknown observation {self.observation!r}; choose one of {', '.join(OBSERVATIONS)}."
                f"{did_you_mean(self.observation, OBSERVATIONS)}"
            )
        known = (*REWARDS, *SUMO_RL_REWARDS)
        if self.reward not in known:
            raise InputError(
                f"unknown reward {self.reward!r}; choose one of {', '.join(known)}.{did_you_mean(self.reward, known)}"
            )
        if self.render_mode is not None and self.render_mode not in RENDER_MODES:
            raise InputError(f"unknown render_mode {self.render_mode!r}; choose one of {', '.join(RENDER_MODES)}")
        scenario = self.scenario
        if not isinstance(scenario, Scenario):
            scenario = load(scenario, routes=self.routes, begin_s=self.begin_s, end_s=self.end_s, demand=self.demand)
        peer_reward = self.reward if self.reward in SUMO_RL_REWARDS else ""
        simulation = make_setup(
            scenario,
            self.timing,
            tls_ids=tls_ids,
            sensing=self.sensing,
            faults=self.faults,
            warm_up_s=self.warm_up_s,
            demand_range=self.demand_range,
            reference="sumo-rl" if peer_reward or self.observation == "sumo-rl" else "",
            reference_reward=peer_reward,
            render=render_setup(self.render_mode),
            least_slots=least_slots,
        )
        return RemoteSimulation(
            WorkerSetup(simulation, "" if peer_reward else self.reward, observe=self.observation == "phases")
        )

    def observation_size(self, worker: RemoteSimulation, signal: int) -> int:
        """The length of one signal's observation."""
        if self.observation == "sumo-rl":
            return Reference.sizes(worker.setup.simulation.plan)[signal]
        return worker.setup.observation_shape.size

    def observation_space(self, worker: RemoteSimulation, signal: int) -> spaces.Space[npt.NDArray[np.float32]]:
        """The observation space of one signal."""
        limit = 1.0 if self.observation == "sumo-rl" else LIMIT
        box: Any = spaces.Box(0.0, limit, (self.observation_size(worker, signal),), np.float32)
        return cast(spaces.Space[npt.NDArray[np.float32]], box)

    def rows(self, worker: RemoteSimulation) -> npt.NDArray[np.float32]:
        """[S, …] the shared array that holds the observations."""
        return worker.shared["reference" if self.observation == "sumo-rl" else "observation"]


def episode_seed(seed: int | None, random: np.random.Generator) -> int:
    """SUMO's seed for an episode: the one asked for, or the generator's next."""
    return int(random.integers(2**31 - 1)) if seed is None else int(seed) % 2**31


def split_options(**options: Any) -> EnvOptions:
    """The options from keyword arguments.

    Raises:
        InputError: a keyword that is none, with a suggestion.
    """
    known = EnvOptions.__dataclass_fields__
    for name in options:
        if name not in known:
            raise InputError(f"unknown option {name!r}; known are {', '.join(known)}.{did_you_mean(name, known)}")
    return EnvOptions(**options)

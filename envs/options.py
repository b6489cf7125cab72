"""The options that all environments share, and the worker that they lead to."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from envs.sumo.gui import RENDER_MODES, render_setup
from envs.sumo.setup import SimulationOptions, make_setup
from envs.workers.client import RemoteSimulation
from envs.workers.server import WorkerSetup
from plumbing.errors import InputError, did_you_mean
from plumbing.fielddocs import table
from plumbing.several import several
from scenarios.clock import timing_for
from scenarios.from_counts import with_forecast
from scenarios.loading import load
from scenarios.scenario import Scenario
from signals.observation_names import find_observation, foreseeing
from signals.observations import Observation
from signals.reward_sum import sumo_options, terms_of
from signals.rewards import Reward


@dataclass(frozen=True)
class EnvOptions(SimulationOptions):
    """How an environment is set up. Each option is declared here, or in `envs.sumo.setup.SimulationOptions`, and
    nowhere else."""

    scenario: str | Path | Scenario
    """a name of `scenarios.names()`, a .sumocfg or .net.xml file, or a `Scenario`."""
    routes: Sequence[str | Path] = ()
    """route files, for a scenario that has none or in place of its own."""
    additional: Sequence[str | Path] = ()
    """additional files, loaded after the scenario's own."""
    begin_s: float | None = None
    """another begin of the window than the scenario's."""
    end_s: float | None = None
    """another end."""
    demand: str = "recorded"
    """"recorded", "held-out:SEED" for a rescaled and jittered variant, "days:FOLDER" with a route file per day, or
    "generated:MODEL" for days that a model makes up (docs/demand.md)."""
    ignore_junction_blocker_s: float | None = None
    """SUMO's --ignore-junction-blocker: who has stood inside a junction for so long no longer holds up those who
    cross [s]; by default as the scenario says, else never."""
    observation: str | type[Observation] = "phases"
    """"phases" and "planned" (with what the planner expects each to cost), by the sensing; "detectors", "sumo-rl",
    `package.module:CLASS`, `path/to/file.py:CLASS`, or a class. One that looks at detectors switches them on."""
    forecast: str | Path = ""
    """a folder of `python -m demand forecast`, for a scenario of `python -m demand calibrate`: a forecast is made
    as episodes go on, and "phases", "planned" or "detectors" show it."""
    arrivals: bool = False
    """whether vehicles on their way are read one by one (`snapshot.arriving`) for a planner such as `cop`, although
    the observation does not need them."""
    reward: str | Reward = "time_loss"
    """"time_loss" [s/s], "queue_veh", "waiting_time_saved" [s], "pressure_veh", sumo-rl's "diff-waiting-time",
    "average-speed", "queue", "pressure", `package.module:NAME`, `path/to/file.py:NAME`, a weighted sum such as
    "time_loss + 0.1*pressure_veh", or a callable (layout, before, after)."""
    render_mode: str | None = None
    """"human" (sumo-gui) or "rgb_array" (sumo-gui on a virtual display)."""

    def setup(self, least_slots: tuple[int, int] = (1, 1)) -> WorkerSetup:
        """What a worker is made from.

        Args:
            least_slots: phases and movements that every signal gets slots for at least.

        Raises:
            InputError: a name or a setting is wrong.
        """
        terms = terms_of(self.reward)
        name = self.observation
        if self.forecast and isinstance(name, str):
            name = foreseeing(name, self.sensing)
        observation = find_observation(name, self.sensing)
        if self.sensing != observation.sensing == "full":
            raise InputError(
                f"observation {observation.__name__} looks at true values, not at {self.sensing}; leave sensing out, "
                "or choose another observation"
            )
        if self.render_mode is not None and self.render_mode not in RENDER_MODES:
            raise InputError(f"unknown render_mode {self.render_mode!r}; choose one of {', '.join(RENDER_MODES)}")
        scenario = self.scenario
        if isinstance(scenario, Scenario):
            plain = EnvOptions("")
            for name in ("routes", "additional", "begin_s", "end_s", "demand", "ignore_junction_blocker_s"):
                given, unsaid = getattr(self, name), getattr(plain, name)
                if isinstance(unsaid, tuple):
                    given = several(name, given, (str, Path), "files")
                if given != unsaid:
                    raise InputError(f"{name} goes with a scenario's name or file; this one is loaded already")
            if self.forecast:
                scenario = with_forecast(scenario, self.forecast)
        else:
            scenario = load(
                scenario, routes=self.routes, additional=self.additional,
                begin_s=self.begin_s, end_s=self.end_s, demand=self.demand,
                ignore_junction_blocker_s=self.ignore_junction_blocker_s, forecast=self.forecast,
            )  # fmt: skip
        if observation.foresees and scenario.foresight is None:
            raise InputError(
                f"observation {observation.__name__} shows a forecast; give its folder: --forecast MODEL_DIR "
                "(in Python: forecast=MODEL_DIR)"
            )
        simulation = make_setup(
            scenario,
            dataclasses.replace(self, sensing=observation.sensing),
            outputs=list(itertools.chain(*dict.fromkeys([observation.sumo_options, *sumo_options(terms)]))),
            render=render_setup(self.render_mode),
            least_slots=least_slots,
        )
        ahead = self.arrivals or observation.ahead
        return WorkerSetup(dataclasses.replace(simulation, ahead=ahead), terms, observation)

    def worker(self, least_slots: tuple[int, int] = (1, 1)) -> RemoteSimulation:
        """The simulation's process, not yet started; arguments as of `setup`."""
        return RemoteSimulation(self.setup(least_slots))


def observation_sizes(worker: RemoteSimulation) -> Sequence[int]:
    """[S] the length of each signal's observation."""
    observes, simulation = worker.setup.observes, worker.setup.simulation
    assert observes is not None
    return observes.sizes(simulation.layout, simulation.plan)


def observation_space(setup: WorkerSetup, size: int) -> spaces.Space[npt.NDArray[np.float32]]:
    """The space of an observation of this length."""
    assert setup.observes is not None
    box: Any = spaces.Box(setup.observes.low, setup.observes.high, (size,), np.float32)
    return cast(spaces.Space[npt.NDArray[np.float32]], box)


def episode_seed(seed: int | None, random: np.random.Generator) -> int:
    """SUMO's seed for an episode: the one asked for, or the generator's next."""
    return int(random.integers(2**31 - 1)) if seed is None else int(seed) % 2**31


def split_options(**options: Any) -> EnvOptions:
    """The options from keyword arguments.

    Raises:
        InputError: a keyword that is none, with a suggestion.
    """
    known = [field.name for field in dataclasses.fields(EnvOptions)]
    for name in options:
        if name not in known:
            raise InputError(f"unknown option {name!r}; known are {', '.join(known)}.{did_you_mean(name, known)}")
    options.setdefault("timing", timing_for(options["scenario"]))
    return EnvOptions(**options)


Class = TypeVar("Class", bound=type)


def with_options(of: Class) -> Class:
    """Put the table of options into a class's docstring, in the place of {options}."""
    if of.__doc__:
        of.__doc__ = of.__doc__.replace("        {options}", table(EnvOptions, first=("scenario",)))
    return of

"""A Gymnasium vector environment: every signal of several simulations, which run in parallel processes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium import spaces
from gymnasium.utils import EzPickle
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from envs.options import observation_space, split_options
from envs.workers.batch import SignalBatch
from envs.workers.client import RemoteSimulation
from plumbing.errors import InputError
from signals.layout import Layout
from signals.snapshot import Snapshot

Array = npt.NDArray[Any]


class SignalsVectorEnv(VectorEnv[Array, Array, Array], EzPickle):
    """One environment for each signal of each worker; worker by worker, in the order of `tls_ids`.

    Unlike networks share one batch: observations are padded to the largest (unused slots say so), and
    `info["action_mask"]` [N, P] (int8) tells which phases may be chosen. A worker's signals end together at its
    horizon, as a truncation, and are reset in the same step: `info["final_obs"]` holds the last observations. A
    worker that fails ends its episode there, too (`info["failure"]` says why), and goes on in a new process.
    `info["reward_terms"]` has [N] values of each of the reward's terms, without its weight. Copies are as of
    `SignalEnv`.

    For a loop that waits for nobody, use `batch` (`envs.workers.batch.SignalBatch`): `send` to a worker,
    `receive` whoever is ready.

    Args:
        scenarios: one or several, as `SignalEnv` takes them; workers take turns through them.
        workers: simulations at a time (default: one for each scenario).
        timeout_s: after how long without an answer a worker is replaced, on the wall clock.
        options: as of `SignalEnv`.

    Raises:
        InputError: a name, a file or a setting is wrong.
    """

    metadata = {"autoreset_mode": AutoresetMode.SAME_STEP, "render_modes": []}  # noqa: RUF012  (Gymnasium's contract)

    def __init__(
        self, scenarios: Any, workers: int | None = None, *, timeout_s: float = 300.0, **options: Any
    ) -> None:
        EzPickle.__init__(self, scenarios, workers, timeout_s=timeout_s, **options)
        given = list(scenarios) if isinstance(scenarios, (list, tuple)) else [scenarios]
        count = len(given) if workers is None else workers
        if not given or count < len(given):
            raise InputError(f"{count} workers for {len(given)} scenarios; give at least one worker for each")
        if options.get("render_mode") is not None:
            raise InputError("a vector environment has no render_mode; leave it out")
        self.batch = SignalBatch(_workers(given, count, options), self._seed_of, timeout_s)
        self.tls_ids = [tls_id for worker in self.batch.workers for tls_id in worker.layout.tls_ids]
        self.num_envs = self.batch.size
        self.single_observation_space = observation_space(self.batch.workers[0].setup, self.batch.shape.size)
        self.single_action_space = spaces.Discrete(self.batch.shape.phases)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self._labels = [term.label for term in self.batch.workers[0].setup.terms]
        self._episode_seeds: list[np.random.Generator] = []

    def __setstate__(self, state: dict[str, Any]) -> None:
        # not as EzPickle: its second object is the one that the batch would ask for seeds
        self.__init__(*state["_ezpickle_args"], **state["_ezpickle_kwargs"])  # type: ignore[misc]

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Array, dict[str, Any]]:
        """Begin an episode in every worker: the same ones for the same seed, exactly.

        Args:
            seed: one number, from which all follow.
        """
        del options
        if seed is not None and not isinstance(seed, int):
            raise InputError("give one seed; every worker's own follow from it")
        super().reset(seed=seed)
        if seed is not None or not self._episode_seeds:
            children = self.np_random.spawn(len(self.batch.workers))
            self._episode_seeds = list(children)
        self.batch.reset()
        return self.batch.observations(), self._info()

    def step(self, actions: Array) -> tuple[Array, Array, Array, Array, dict[str, Any]]:
        """Ask for a phase of every signal and run all workers to their next decision."""
        rewards, truncated = np.zeros(self.num_envs), np.zeros(self.num_envs, bool)
        terms = {name: np.zeros(self.num_envs) for name in self._labels}
        final: Array | None = None
        failures: dict[int, str] = {}
        for turn in self.batch.step(np.asarray(actions)):
            rows = self.batch.rows[turn.worker]
            rewards[rows] = turn.reward
            for name, values in turn.terms.items():
                terms[name][rows] = values
            if turn.last is not None:
                if final is None:
                    final = np.zeros((self.num_envs, self.batch.shape.size), np.float32)
                truncated[rows], final[rows] = True, turn.last
            if turn.failure:
                failures[turn.worker] = turn.failure
        info = self._info() | {"reward_terms": terms}
        if final is not None:
            info |= {"final_obs": final, "_final_obs": truncated.copy()}
        if failures:
            info["failure"] = failures
        return self.batch.observations(), rewards, np.zeros(self.num_envs, bool), truncated, info

    def action_masks(self) -> Array:
        """[N, P] bool: the phases that may be chosen now."""
        return self.batch.masks()

    @property
    def layouts(self) -> list[Layout]:
        """Of each worker: which element of its snapshot's arrays is what."""
        return [worker.layout for worker in self.batch.workers]

    @property
    def snapshots(self) -> list[Snapshot]:
        """Of each worker, true values by lane at the last decision, in the arrays that the next one overwrites:
        `copy()` keeps them. Where an episode has ended, they are of the next one's begin."""
        return [worker.snapshot for worker in self.batch.workers]

    def close_extras(self, **kwargs: Any) -> None:
        """Stop the workers."""
        del kwargs
        self.batch.close()

    def _info(self) -> dict[str, Any]:
        time_s = np.empty(self.num_envs)
        for rows, worker in zip(self.batch.rows, self.batch.workers, strict=True):
            time_s[rows] = worker.snapshot.time_s[0]
        return {"action_mask": self.batch.masks().astype(np.int8), "time_s": time_s}

    def _seed_of(self, worker: int, episode: int) -> int:
        del episode  # each worker draws from its own stream
        return int(self._episode_seeds[worker].integers(2**31 - 1))


def _workers(scenarios: list[Any], count: int, options: dict[str, Any]) -> list[RemoteSimulation]:
    """`count` simulations whose observations are cut alike."""
    each = [split_options(scenario=scenario, **options) for scenario in scenarios]
    made = [option.worker() for option in each]
    shapes = {worker.setup.observation_shape for worker in made}
    if len(shapes) > 1:
        least_slots = max(shape.phases for shape in shapes), max(shape.movements for shape in shapes)
        for worker in made:
            worker.close()
        made = [option.worker(least_slots) for option in each]
    rest = [RemoteSimulation(made[n % len(made)].setup) for n in range(len(made), count)]
    return made + rest


def vector_env(scenarios: Any, workers: int | None = None, **options: Any) -> SignalsVectorEnv:
    """The vector environment of one or several scenarios; arguments as of `SignalsVectorEnv`."""
    return SignalsVectorEnv(scenarios, workers, **options)

"""Every signal of every worker as one batch for Stable-Baselines3: parameters are shared over all of them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from gymnasium import spaces
from stable_baselines3.common.vec_env.base_vec_env import VecEnv, VecEnvObs, VecEnvStepReturn

from envs.options import observation_space
from envs.workers.batch import SignalBatch, Turn
from envs.workers.protocol import SimulationWorker
from plumbing.errors import InputError
from scenarios.seeds import training_seed
from signals.observations import ObservationShape


class SignalsVecEnv(VecEnv):
    """[workers x signals] environments of one decision each; an episode ends for all signals of a worker at once.

    Args:
        workers: simulations whose observations are cut alike.
        seed: of the whole training; each episode's own seed follows from it.
        reward_scale: what rewards are multiplied with before an agent sees them.
    """

    render_mode: str | None = None

    def __init__(self, workers: Sequence[SimulationWorker], seed: int, reward_scale: float) -> None:
        self.batch = SignalBatch(workers, lambda worker, episode: training_seed(seed, worker, episode))
        self.workers = self.batch.workers
        if not isinstance(self.batch.shape, ObservationShape):
            raise InputError(
                "the observation has no plan that the agents' networks read; give a subclass of "
                "signals.observations.PhaseObservation"
            )
        self.shape: ObservationShape = self.batch.shape
        """How a row of the observation is cut."""
        self.reward_scale = reward_scale
        super().__init__(
            self.batch.size,
            observation_space(self.workers[0].setup, self.shape.size),
            spaces.Discrete(self.shape.phases),
        )
        self._history: list[list[list[int]]] = [[] for _ in self.workers]
        self._returns = [0.0] * len(self.workers)
        self._seen = np.zeros((self.num_envs, self.shape.size), np.float32)
        self._rewards = np.zeros(self.num_envs, np.float32)
        self.finished: list[dict[str, float]] = []
        """Return and length of the episodes that ended since somebody last emptied this list."""
        self.watcher: Callable[[int, int], None] | None = None
        """Told, where an episode is repeated, which worker stands before which of its decisions."""

    def reset(self) -> VecEnvObs:
        """Begin the first episode of every worker."""
        self.batch.reset()
        self._history = [[] for _ in self.workers]
        self._returns = [0.0] * len(self.workers)
        self._seen = self.batch.observations()
        return self._seen.copy()

    def send(self, worker: int, actions: npt.NDArray[np.int64]) -> None:
        """Hand one worker the decisions of its signals."""
        self._history[worker].append(actions.tolist())
        self.batch.send(worker, actions)

    def asked(self, worker: int) -> bool:
        """Whether it has decisions that it has not answered."""
        return self.batch.asked(worker)

    def receive(
        self, least: int | None = None, among: Collection[int] | None = None
    ) -> list[tuple[Turn, dict[str, float] | None]]:
        """What came of them, by default once all workers (`among` some) that were asked have answered, else `least`.

        With each turn that ended an episode: its return and length. The worker has begun the next one.
        """
        found: list[tuple[Turn, dict[str, float] | None]] = []
        for turn in self.batch.receive(least, among):
            n, episode = turn.worker, None
            self._seen[self.batch.rows[n]] = self.workers[n].shared["observation"]
            self._returns[n] += float(turn.reward.sum())
            if turn.last is not None:
                if not turn.failure:
                    episode = {"return": self._returns[n], "decisions": len(self._history[n])}
                self._history[n], self._returns[n] = [], 0.0
            found.append((turn, episode))
        return found

    def step_async(self, actions: npt.NDArray[Any]) -> None:
        """Hand every worker its decisions."""
        actions = np.asarray(actions)
        for n, rows in enumerate(self.batch.rows):
            self.send(n, actions[rows])

    def step_wait(self) -> VecEnvStepReturn:
        """Collect what came of them; a worker at its horizon, or that failed, has begun its next episode."""
        rewards = self._rewards.copy()
        dones = np.zeros(self.num_envs, bool)
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        for turn, episode in sorted(self.receive(), key=lambda found: found[0].worker):
            rows = self.batch.rows[turn.worker]
            if not turn.failure:  # of a step that failed nobody knows the reward: the last one stands in
                rewards[rows] = turn.reward * self.reward_scale
            if episode is not None:
                self.finished.append(episode)
            if turn.last is None:
                continue
            dones[rows] = True
            for row, last in zip(range(rows.start, rows.stop), turn.last, strict=True):
                infos[row] = {"TimeLimit.truncated": True, "terminal_observation": last}
        self._rewards = rewards
        return self.batch.observations(), rewards.copy(), dones, infos

    def action_masks(self) -> npt.NDArray[np.bool_]:
        """[N, P] the phases that may be chosen."""
        return self.batch.masks()

    def close(self) -> None:
        """Stop the workers."""
        self.batch.close()

    def state(self) -> dict[str, Any]:
        """Where every worker's episode stands, in plain values: its number, the decisions so far that have been
        answered, its return, and what its signals have seen last."""
        history = [past[:-1] if self.asked(n) else past for n, past in enumerate(self._history)]
        seen = torch.from_numpy(self._seen.copy())
        return {
            "episodes": list(self.batch.episodes),
            "history": history,
            "returns": list(self._returns),
            "seen": seen,
        }

    def restore(self, state: dict[str, Any]) -> VecEnvObs:
        """Repeat the unfinished episodes up to where they stood; a reset with the same seed is exact.

        Raises:
            InputError: the run has another number of workers, or the simulation does not repeat what it did before.
        """
        if len(state["episodes"]) != len(self.workers):
            raise InputError(f"the run was trained with --workers {len(state['episodes'])}; resume it with as many")
        self.batch.episodes = [number - 1 for number in state["episodes"]]
        self.batch.reset()
        for n, (worker, history) in enumerate(zip(self.workers, state["history"], strict=True)):
            for number, actions in enumerate(history):
                if self.watcher is not None:
                    self.watcher(n, number)
                worker.decide(np.asarray(actions, np.int64))
        self._history = [[list(actions) for actions in history] for history in state["history"]]
        self._returns = list(state["returns"])
        self._seen = self.batch.observations()
        if not np.array_equal(self._seen, state["seen"].numpy()):
            raise InputError(
                "the simulation does not repeat what it did before the stop; the scenario's files or SUMO's version "
                "have changed. Train it anew"
            )
        return self._seen.copy()

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """The attribute once per environment: they are all the same."""
        return [getattr(self, attr_name)] * len(list(self._get_indices(indices)))

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Not supported: the environments of a batch are not separate objects."""
        raise NotImplementedError("the signals of a batch share one object; set it on SignalsVecEnv itself")

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
        """`action_masks`, per environment."""
        if method_name != "action_masks":
            raise NotImplementedError(f"no method {method_name!r}; there is action_masks")
        masks = self.action_masks()
        return [masks[i] for i in self._get_indices(indices)]

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        """Always false: nothing is wrapped around a signal of the batch."""
        return [False] * len(list(self._get_indices(indices)))

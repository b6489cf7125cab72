"""Every signal of every worker as one batch for Stable-Baselines3: parameters are shared over all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium import spaces
from stable_baselines3.common.vec_env.base_vec_env import VecEnv, VecEnvObs, VecEnvStepReturn

from envs.remote import RemoteSimulation
from scenarios.seeds import training_seed
from signals.errors import InputError
from signals.observations import LIMIT


class SignalsVecEnv(VecEnv):
    """[workers x signals] environments of one decision each; an episode ends for all signals of a worker at once.

    Args:
        workers: simulations of the same network.
        seed: of the whole training; each episode's own seed follows from it.
        reward_scale: what rewards are multiplied with before an agent sees them.
    """

    render_mode: str | None = None

    def __init__(self, workers: Sequence[RemoteSimulation], seed: int, reward_scale: float) -> None:
        self.workers = list(workers)
        self.seed_base = seed
        self.reward_scale = reward_scale
        signals, phases, _ = self.workers[0].layout.shape
        self.signals = signals
        size = self.workers[0].setup.observation_shape.size
        super().__init__(
            len(self.workers) * signals,
            spaces.Box(0.0, LIMIT, (size,), np.float32),
            spaces.Discrete(phases),
        )
        self.episodes = [0] * len(self.workers)
        self._history: list[list[list[int]]] = [[] for _ in self.workers]
        self._returns = [0.0] * len(self.workers)
        self.finished: list[dict[str, float]] = []
        """Return and length of the episodes that ended since somebody last emptied this list."""

    def reset(self) -> VecEnvObs:
        """Begin the first episode of every worker."""
        for n in range(len(self.workers)):
            self._begin(n)
        return self._observations()

    def _begin(self, n: int) -> None:
        self.workers[n].begin(training_seed(self.seed_base, n, self.episodes[n]))
        self.episodes[n] += 1
        self._history[n] = []
        self._returns[n] = 0.0

    def step_async(self, actions: npt.NDArray[Any]) -> None:
        """Hand every worker its decisions."""
        self._actions = np.asarray(actions).reshape(len(self.workers), self.signals)
        for worker, chosen, history in zip(self.workers, self._actions, self._history, strict=True):
            history.append([int(a) for a in chosen])
            worker.ask(chosen)

    def step_wait(self) -> VecEnvStepReturn:
        """Collect what came of them; a worker at its horizon begins its next episode."""
        rewards = np.zeros(self.num_envs, np.float32)
        dones = np.zeros(self.num_envs, bool)
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        for n, worker in enumerate(self.workers):
            worker.wait()
            rows = slice(n * self.signals, (n + 1) * self.signals)
            rewards[rows] = worker.shared["reward"] * self.reward_scale
            self._returns[n] += float(worker.shared["reward"].sum())
            if worker.done:
                last = worker.shared["observation"].copy()
                dones[rows] = True
                for s in range(self.signals):
                    infos[n * self.signals + s] = {
                        "TimeLimit.truncated": True,
                        "terminal_observation": last[s],
                    }
                self.finished.append({"return": self._returns[n], "decisions": len(self._history[n])})
                self._begin(n)
        return self._observations(), rewards, dones, infos

    def _observations(self) -> npt.NDArray[np.float32]:
        return np.concatenate([worker.shared["observation"] for worker in self.workers])

    def close(self) -> None:
        """Stop the workers."""
        for worker in self.workers:
            worker.close()

    def state(self) -> dict[str, Any]:
        """Where every worker's episode stands, in plain values: its number and the decisions so far."""
        return {"episodes": list(self.episodes), "history": self._history, "returns": list(self._returns)}

    def restore(self, state: dict[str, Any]) -> VecEnvObs:
        """Repeat the unfinished episodes up to where they stood; a reset with the same seed is exact."""
        if len(state["episodes"]) != len(self.workers):
            raise InputError(f"the run was trained with --workers {len(state['episodes'])}; resume it with as many")
        for n, worker in enumerate(self.workers):
            self.episodes[n] = state["episodes"][n] - 1
            self._begin(n)
            for actions in state["history"][n]:
                worker.decide(np.asarray(actions, np.int64))
            self._history[n] = [list(actions) for actions in state["history"][n]]
            self._returns[n] = state["returns"][n]
        return self._observations()

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
        masks = np.concatenate([worker.snapshot.mask for worker in self.workers])
        return [masks[i] for i in self._get_indices(indices)]

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        """None is."""
        return [False] * len(list(self._get_indices(indices)))

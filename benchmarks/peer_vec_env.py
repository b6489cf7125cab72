"""sumo-rl's environment for Stable-Baselines3: what its users have to write themselves to train unlike signals.

Every signal is one environment of the batch. Observations are padded with zeros to the longest, and an action beyond
a signal's own phases is taken modulo their number, so that intersections of different size share one network.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium import spaces
from stable_baselines3.common.vec_env.base_vec_env import VecEnv, VecEnvObs, VecEnvStepReturn

from benchmarks.peers import import_sumo_rl
from scenarios.loading import load


def make_sumo_rl(name: str, **options: Any) -> Any:
    """A `sumo_rl.SumoEnvironment` of that scenario's network, routes and hours, with these options of its own."""
    scenario = load(name)
    return import_sumo_rl().SumoEnvironment(
        net_file=str(scenario.net_file),
        route_file=",".join(str(path) for path in scenario.route_files),
        begin_time=round(scenario.begin_s),
        num_seconds=round(scenario.horizon_s),
        **options,
    )


def padded(rows: Mapping[str, npt.NDArray[Any]], ids: Sequence[str], width: int) -> npt.NDArray[np.float32]:
    """[N, width] the observations in the order of the ids, with zeros behind the shorter ones."""
    batch = np.zeros((len(ids), width), np.float32)
    for n, tls_id in enumerate(ids):
        batch[n, : len(rows[tls_id])] = rows[tls_id]
    return batch


def own_actions(
    actions: npt.NDArray[np.integer[Any]], ids: Sequence[str], phases: npt.NDArray[np.int64]
) -> dict[str, int]:
    """Each signal's action, brought into the range that it has."""
    return dict(zip(ids, (actions % phases).tolist(), strict=True))


class SumoRlVecEnv(VecEnv):
    """All signals of one `sumo_rl.SumoEnvironment`."""

    render_mode: str | None = None

    def __init__(self, env: Any) -> None:
        self.env = env
        self.ids: list[str] = list(env.ts_ids)
        self._phases = np.array([int(env.action_spaces(tls_id).n) for tls_id in self.ids])
        self._width = max(env.observation_spaces(tls_id).shape[0] for tls_id in self.ids)
        super().__init__(
            len(self.ids),
            spaces.Box(0.0, 1.0, (self._width,), np.float32),
            spaces.Discrete(int(self._phases.max())),
        )
        self._asked: dict[str, int] = {}

    def reset(self) -> VecEnvObs:
        """Begin an episode."""
        return padded(self.env.reset(), self.ids, self._width)

    def step_async(self, actions: npt.NDArray[Any]) -> None:
        """Remember what is to be done."""
        self._asked = own_actions(np.asarray(actions), self.ids, self._phases)

    def step_wait(self) -> VecEnvStepReturn:
        """Run to the next decision; at the end begin the next episode."""
        observations, rewards, done, _ = self.env.step(self._asked)
        batch = padded(observations, self.ids, self._width)
        infos: list[dict[str, Any]] = [{} for _ in self.ids]
        over = bool(done["__all__"])
        if over:
            infos = [{"TimeLimit.truncated": True, "terminal_observation": row} for row in batch]
            batch = padded(self.env.reset(), self.ids, self._width)
        ordered = np.array([rewards[tls_id] for tls_id in self.ids], np.float32)
        return batch, ordered, np.full(len(self.ids), over), infos

    def close(self) -> None:
        """Stop SUMO."""
        self.env.close()

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """The attribute once per signal."""
        return [getattr(self, attr_name)] * len(list(self._get_indices(indices)))

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Not needed."""
        raise NotImplementedError

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
        """Not needed."""
        raise NotImplementedError

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        """Always false: the batch is not wrapped."""
        return [False] * len(list(self._get_indices(indices)))

"""A PettingZoo parallel environment for all signals of a network."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt
from gymnasium import spaces
from gymnasium.utils import EzPickle, seeding
from pettingzoo import ParallelEnv

from envs.episodes import EpisodeMemory
from envs.options import episode_seed, observation_sizes, observation_space, split_options
from envs.workers.server import reward_terms
from signals.layout import Layout
from signals.snapshot import Snapshot

if TYPE_CHECKING:
    import polars as pl

Observation = npt.NDArray[np.float32]


class NetworkEnv(ParallelEnv[str, Observation, int], EzPickle):
    """Control every signal of a network that can be controlled; agents are named by their tls id.

    Takes the arguments of `SignalEnv`, but for `tls_id`: `tls_ids` chooses some of the signals.
    Copies are as of `SignalEnv`. Actions, observations, rewards with their terms, and masks are those of `SignalEnv`,
    per signal; `snapshot` and `layout` are of all signals.
    """

    metadata = {"render_modes": ["human", "rgb_array"], "name": "intergreen_network_v0", "is_parallelizable": True}  # noqa: RUF012

    def __init__(self, scenario: Any, tls_ids: list[str] | None = None, **options: Any) -> None:
        EzPickle.__init__(self, scenario, tls_ids, **options)
        self.options = split_options(scenario=scenario, tls_ids=tls_ids, **options)
        self.render_mode = self.options.render_mode
        self._worker = self.options.worker()
        self.possible_agents = list(self._worker.layout.tls_ids)
        self.agents: list[str] = []
        self._index = {agent: n for n, agent in enumerate(self.possible_agents)}
        self._rows, self._widths = self._worker.shared["observation"], observation_sizes(self._worker)
        self._terms = reward_terms(self._worker.setup, self._worker.shared)
        self.observation_spaces = {
            a: observation_space(self._worker.setup, self._widths[n]) for a, n in self._index.items()
        }
        phases = self._worker.layout.phase_exists.sum(axis=1).tolist()
        self.action_spaces = {a: cast(Any, spaces.Discrete(phases[n])) for a, n in self._index.items()}
        self._phase_counts: list[int] = phases
        self._random, _ = seeding.np_random()
        self._memory = EpisodeMemory(self._worker)

    def observation_space(self, agent: str) -> spaces.Space[Observation]:
        """See `signals.observations`; the same object every time."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> spaces.Space[Any]:
        """A phase of the signal; the same object every time."""
        return self.action_spaces[agent]

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Observation], dict[str, dict[str, Any]]]:
        """Begin an episode: the same one for the same seed, exactly."""
        del options
        if seed is not None:
            self._random, _ = seeding.np_random(seed)
        episode = episode_seed(seed, self._random)
        self._worker.begin(episode)
        self._memory.begin(episode)
        self.agents = list(self.possible_agents)
        return self._answer(rewarded=False).filled(self._rows, self._worker.snapshot)

    def step(
        self, actions: dict[str, int]
    ) -> tuple[
        dict[str, Observation],
        dict[str, float],
        dict[str, bool],
        dict[str, bool],
        dict[str, dict[str, Any]],
    ]:
        """Ask for a phase per signal and run to the next decision."""
        if not self.agents:
            return {}, {}, {}, {}, {}
        # a signal that nobody decides for keeps its phase
        wanted = self._worker.snapshot.phase.copy()
        for agent, action in actions.items():
            wanted[self._index[agent]] = action
        self._worker.ask(wanted)
        answer, agents = self._answer(rewarded=True), self.agents  # made while SUMO steps
        ended = dict.fromkeys(agents, False)
        self._worker.wait()
        self._memory.decided(wanted)
        observations, infos = answer.filled(self._rows, self._worker.snapshot)
        for name, values in self._terms.items():
            for info, value in zip(infos.values(), values.tolist(), strict=True):
                info["reward_terms"][name] = value
        over = self._worker.done
        rewards = dict(zip(agents, self._worker.shared["reward"].tolist(), strict=True))
        if over:
            self.agents = []
        return observations, rewards, ended, dict.fromkeys(agents, over), infos

    def trips(self, of: str = "vehicles") -> pl.DataFrame:
        """The trips of the last episode that ended: the table that evaluate.py writes as vehicles.parquet.

        SUMO runs the episode once more for it, with the same seed and decisions, exactly; a second call does not.

        Args:
            of: "vehicles", one row for each that was to depart in the window, arrived or not; or "persons", one for
                each that set out. `envs.sumo.outputs` lists the columns, with units.

        Raises:
            InputError: no such table, or no episode has ended.
            SimulationError: the episode does not repeat.
        """
        return self._memory.trips(of)

    def render(self) -> Any:
        """The picture of the last decision ("rgb_array"); sumo-gui shows itself ("human")."""
        return self._worker.frame() if self.render_mode == "rgb_array" else None

    def close(self) -> None:
        """Stop the simulation's process."""
        self._worker.close()

    @property
    def layout(self) -> Layout:
        """Which element of the snapshot's arrays is what."""
        return self._worker.layout

    @property
    def snapshot(self) -> Snapshot:
        """True values by lane at the last decision, in arrays that the next one overwrites: `copy()` keeps them."""
        return self._worker.snapshot

    def _answer(self, rewarded: bool) -> _Answer:
        shape = self._worker.snapshot.mask.shape
        return _Answer(self.possible_agents, self._rows, self._widths, shape, self._phase_counts, rewarded)


class _Answer:
    """What a decision will be answered with: the caller's from then on, but for its numbers made beforehand."""

    def __init__(
        self,
        agents: Sequence[str],
        rows: npt.NDArray[np.float32],
        widths: Sequence[int],
        mask_shape: tuple[int, ...],
        phase_counts: Sequence[int],
        rewarded: bool,
    ) -> None:
        # one block each, and views of it
        self._rows, self._mask = np.empty_like(rows), np.empty(mask_shape, np.int8)
        self._observations = dict(zip(agents, _views(self._rows, widths), strict=True))
        masks = _views(self._mask, phase_counts)
        self._infos: dict[str, dict[str, Any]] = {
            a: {"action_mask": m, "time_s": 0.0} | ({"reward_terms": {}} if rewarded else {})
            for a, m in zip(agents, masks, strict=True)
        }

    def filled(
        self, rows: npt.NDArray[np.float32], snapshot: Snapshot
    ) -> tuple[dict[str, Observation], dict[str, dict[str, Any]]]:
        """The observations and infos, with what the arrays show now."""
        self._rows[...], self._mask[...] = rows, snapshot.mask
        time_s = float(snapshot.time_s[0])
        for info in self._infos.values():
            info["time_s"] = time_s
        return self._observations, self._infos


def _views(block: npt.NDArray[Any], widths: Sequence[int]) -> Iterable[npt.NDArray[Any]]:
    """Each row of a block, without its padding."""
    if min(widths) == block.shape[1]:
        return block
    return [block[n, :width] for n, width in enumerate(widths)]


def parallel_env(scenario: Any, **options: Any) -> NetworkEnv:
    """The PettingZoo environment of a scenario; arguments as of `NetworkEnv`."""
    return NetworkEnv(scenario, **options)

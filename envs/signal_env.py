"""A Gymnasium environment for one signal of a network; the others keep their own program."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
import numpy.typing as npt
from gymnasium import spaces
from gymnasium.utils import EzPickle

from envs.episodes import EpisodeMemory
from envs.options import episode_seed, observation_sizes, observation_space, split_options, with_options
from envs.workers.server import reward_terms
from plumbing.errors import InputError, printable
from signals.layout import Layout
from signals.snapshot import Snapshot

if TYPE_CHECKING:
    import polars as pl

Observation = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]


@with_options
class SignalEnv(gymnasium.Env[Observation, np.int64], EzPickle):
    """Control one signal.

    An action is a phase, chosen every `timing.decision_interval_s`. Min green, change intervals and max green
    are kept by the state machine below, whatever is chosen: `info["action_mask"]` (also `action_masks()`) says
    which phases may be chosen now. An episode is the scenario's window; its end is a truncation, never a
    termination. The mask is int8, as `action_space.sample(mask)` takes it.

    Observation: the tables of `signals.observations.PhaseObservation` (sensing `full`) and `DetectorObservation`
    (sensing `detectors`), or of the class that is given. `info["reward_terms"]` has the reward's terms by name,
    without their weights. `snapshot` and `layout` show what observations and rewards are computed from, also to a
    wrapper, as `env.unwrapped.snapshot`.

    A copy, by `copy.deepcopy` or `pickle`, is a new environment with the same arguments: it has to be reset, and
    shares nothing with the episode that runs.

    Args:
        tls_id: the signal; may be left out where the network has just one that can be controlled.
        {options}

    Raises:
        InputError: a name, a file or a setting is wrong.
    """

    metadata = {"render_modes": ["human", "rgb_array"], "render_fps": 10}  # noqa: RUF012  (Gymnasium's contract)

    def __init__(self, scenario: Any, tls_id: str | None = None, **options: Any) -> None:
        EzPickle.__init__(self, scenario, tls_id, **options)
        if tls_id is not None:
            if options.get("tls_ids") is not None:
                raise InputError("tls_id and tls_ids both choose the signal; give one of them")
            if not isinstance(tls_id, str):
                raise InputError(f"tls_id is {printable(repr(tls_id))}; give the id of one signal as text")
            options["tls_ids"] = [tls_id]
        self.options = split_options(scenario=scenario, **options)
        self.render_mode = self.options.render_mode
        self._worker = self.options.worker()
        ids = self._worker.layout.tls_ids
        if len(ids) > 1:
            self._worker.close()
            raise InputError(
                f"the scenario has {len(ids)} signals; name one with tls_id (the first are {', '.join(ids[:4])}), "
                f"or use envs.parallel_env for all"
            )
        self.tls_id = ids[0]
        self._width = observation_sizes(self._worker)[0]
        self.observation_space = observation_space(self._worker.setup, self._width)
        self.action_space = spaces.Discrete(int(self._worker.layout.phase_exists[0].sum()))
        self._rows = self._worker.shared["observation"]
        self._memory = EpisodeMemory(self._worker)
        self._terms = reward_terms(self._worker.setup, self._worker.shared)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin an episode: the same one for the same seed, exactly."""
        super().reset(seed=seed)
        del options
        episode = episode_seed(seed, self.np_random)
        self._worker.begin(episode)
        self._memory.begin(episode)
        return self._observation(), self._info()

    def step(self, action: np.int64 | int) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Ask for a phase and run to the next decision."""
        phases = np.array([action])
        self._worker.decide(phases)
        self._memory.decided(phases)
        reward = float(self._worker.shared["reward"][0])
        info = self._info()
        info["reward_terms"] = {name: float(values[0]) for name, values in self._terms.items()}
        return self._observation(), reward, False, self._worker.done, info

    @property
    def layout(self) -> Layout:
        """Which element of the snapshot's arrays is what."""
        return self._worker.layout

    @property
    def snapshot(self) -> Snapshot:
        """True values by lane at the last decision, in arrays that the next one overwrites: `copy()` keeps them."""
        return self._worker.snapshot

    def action_masks(self) -> BoolArray:
        """[P] bool: the phases that may be chosen now; the name and the type that sb3-contrib looks for."""
        mask: BoolArray = self._worker.snapshot.mask[0].copy()
        return mask

    def trips(self, of: str = "vehicles") -> pl.DataFrame:
        """The trips of the last episode that ended; see `NetworkEnv.trips`."""
        return self._memory.trips(of)

    def render(self) -> Any:
        """The picture of the last decision ("rgb_array"); sumo-gui shows itself ("human")."""
        return self._worker.frame() if self.render_mode == "rgb_array" else None

    def close(self) -> None:
        """Stop the simulation's process."""
        self._worker.close()

    def _observation(self) -> Observation:
        return self._rows[0, : self._width].copy()

    def _info(self) -> dict[str, Any]:
        return {"action_mask": self.action_masks().astype(np.int8), "time_s": float(self._worker.snapshot.time_s[0])}

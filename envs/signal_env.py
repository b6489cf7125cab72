"""A Gymnasium environment for one signal of a network; the others keep their own program."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from envs.options import episode_seed, split_options

Observation = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]


class SignalEnv(gymnasium.Env[Observation, np.int64]):
    """Control one signal.

    An action is a phase, chosen every `timing.decision_interval_s`. Min green, change intervals and max green
    are kept by the state machine below, whatever is chosen: `info["action_mask"]` (also `action_masks()`) says
    which phases may be chosen now. An episode is the scenario's window; its end is a truncation, never a
    termination.

    Observation: see `signals.observations.PhaseObservation` (sensing `full`) and `DetectorObservation` (sensing
    `detectors`); with `observation="sumo-rl"` that package's vector.

    Args:
        scenario: a name of `scenarios.names()`, a .sumocfg or .net.xml file, or a `Scenario`.
        tls_id: the signal; may be left out where the network has just one that can be controlled.
        routes: route files, for a scenario that has none or in place of its own.
        begin_s, end_s: another window than the scenario's.
        demand: "recorded", or "held-out:SEED" for a rescaled and jittered variant.
        timing: clocks and bounds, see `signals.timing.Timing`.
        sensing: "full" or "detectors".
        faults: how detectors fail, see `signals.loops.DetectorFaults`.
        observation: "phases" or "sumo-rl".
        reward: "time_loss" [s/s], "queue_veh", "waiting_time_saved" [s], "pressure_veh", or sumo-rl's
            "diff-waiting-time", "average-speed", "queue", "pressure".
        warm_up_s: simulated time before the first decision.
        demand_range: each episode's traffic is the scenario's times a factor between these, drawn from its seed.
        render_mode: "human" (sumo-gui) or "rgb_array" (sumo-gui on a virtual display).

    Raises:
        InputError: a name, a file or a setting is wrong.
    """

    metadata = {"render_modes": ["human", "rgb_array"], "render_fps": 10}  # noqa: RUF012  (Gymnasium's contract)

    def __init__(self, scenario: Any, tls_id: str | None = None, **options: Any) -> None:
        self.options = split_options(scenario=scenario, **options)
        self.render_mode = self.options.render_mode
        self._worker = self.options.worker(None if tls_id is None else [tls_id])
        ids = self._worker.layout.tls_ids
        if len(ids) > 1:
            from plumbing.errors import InputError

            self._worker.close()
            raise InputError(
                f"the scenario has {len(ids)} signals; name one with tls_id (the first are {', '.join(ids[:4])}), "
                f"or use envs.parallel_env for all"
            )
        self.tls_id = ids[0]
        self.observation_space = self.options.observation_space(self._worker, 0)
        self.action_space = spaces.Discrete(int(self._worker.layout.phase_exists[0].sum()))
        self._rows = self.options.rows(self._worker)
        self._width = self.options.observation_size(self._worker, 0)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin an episode: the same one for the same seed, exactly."""
        super().reset(seed=seed)
        del options
        self._worker.begin(episode_seed(seed, self.np_random))
        return self._observation(), self._info()

    def step(self, action: np.int64 | int) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Ask for a phase and run to the next decision."""
        self._worker.decide(np.array([action]))
        reward = float(self._worker.shared["reward"][0])
        return self._observation(), reward, False, self._worker.done, self._info()

    def action_masks(self) -> BoolArray:
        """[P] the phases that may be chosen now; the name that sb3-contrib looks for."""
        mask: BoolArray = self._worker.snapshot.mask[0].copy()
        return mask

    def render(self) -> Any:
        """The picture of the last decision ("rgb_array"); sumo-gui shows itself ("human")."""
        return self._worker.frame() if self.render_mode == "rgb_array" else None

    def close(self) -> None:
        """Stop the simulation's process."""
        self._worker.close()

    def _observation(self) -> Observation:
        return self._rows[0, : self._width].copy()

    def _info(self) -> dict[str, Any]:
        return {"action_mask": self.action_masks(), "time_s": float(self._worker.snapshot.time_s[0])}

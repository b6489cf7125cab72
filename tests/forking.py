"""What tests of learning from forks share: small settings, simulations and learners."""

from __future__ import annotations

from typing import Any

from agents.forks.learner import RolloutLearner
from agents.registry import agent_settings, make_learner
from agents.vec_env import SignalsVecEnv
from envs.options import EnvOptions

SMALL: dict[str, Any] = {
    "base": "greedy",
    "round": 20,
    "samples": 6,
    "samples_per_signal": 0,
    "horizon_s": 15,
    "gradient_steps": 10,
    "units": 8,
    "batch_size": 4,
}
BEGIN_S, LASTS_S = 25_200.0, 100.0  # 20 decisions


_MADE: dict[tuple[str, int, str], SignalsVecEnv] = {}


def vec_env(workers: int = 1, scenario: str = "cologne1", observation: str = "phases") -> SignalsVecEnv:
    """One that is shared by the tests, as it is before its first episode."""
    if (scenario, workers, observation) not in _MADE:
        options = EnvOptions(scenario, begin_s=BEGIN_S, end_s=BEGIN_S + LASTS_S, observation=observation)
        _MADE[scenario, workers, observation] = SignalsVecEnv([options.worker() for _ in range(workers)], 0, 1.0)
    env = _MADE[scenario, workers, observation]
    env.batch.episodes, env.batch.failures, env.finished = [0] * workers, 0, []
    return env


def close_all() -> None:
    """End the shared ones: once a module's tests are through."""
    while _MADE:
        _MADE.popitem()[1].close()


def learner_for(env: SignalsVecEnv, **changes: Any) -> RolloutLearner:
    made = make_learner("rollout", agent_settings("rollout", {**SMALL, **changes}), env, 0)
    assert isinstance(made, RolloutLearner)
    return made

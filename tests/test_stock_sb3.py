"""Stable-Baselines3 as it comes learns on SignalEnv, with the wrappers that its users put around environments."""

from __future__ import annotations

import multiprocessing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sb3_contrib import MaskablePPO
from stable_baselines3 import A2C, DQN, PPO
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecNormalize

from envs import SignalEnv

ROLLOUT = {"n_steps": 16}
ALGORITHMS: dict[Any, dict[str, Any]] = {
    DQN: {"learning_starts": 8, "train_freq": 4, "batch_size": 8, "buffer_size": 100},
    PPO: {**ROLLOUT, "batch_size": 16, "n_epochs": 2},
    A2C: ROLLOUT,
    MaskablePPO: {**ROLLOUT, "batch_size": 16, "n_epochs": 2},
}


def make() -> SignalEnv:
    return SignalEnv("cologne1", end_s=25200 + 60)


@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=lambda algorithm: algorithm.__name__)
def test_it_learns(algorithm: Any, tmp_path: Path) -> None:
    env = VecNormalize(DummyVecEnv([lambda: Monitor(make(), str(tmp_path / "m"))]))
    model = algorithm("MlpPolicy", env, seed=0, **ALGORITHMS[algorithm])
    before = {name: weight.clone() for name, weight in model.policy.state_dict().items()}
    model.learn(48)
    assert any((weight != before[name]).any() for name, weight in model.policy.state_dict().items())
    assert [episode["l"] for episode in model.ep_info_buffer] == [12] * 4, "a minute is 12 decisions"
    assert env.obs_rms.mean.any()
    env.close()


@pytest.mark.wide
def test_each_environment_may_have_a_process_of_its_own() -> None:
    multiprocessing.set_forkserver_preload(["stable_baselines3", __name__])  # once for both
    env = SubprocVecEnv([make, make])
    model = MaskablePPO("MlpPolicy", env, seed=0, n_steps=16, batch_size=16, n_epochs=1)
    model.learn(32)
    env.seed(3)
    env.reset()
    masks = np.stack(env.env_method("action_masks"))
    assert masks.shape == (2, env.action_space.n)  # type: ignore[attr-defined]
    assert masks.any(axis=1).all()
    _, rewards, _, infos = env.step(masks.argmax(axis=1))
    assert [info["reward_terms"]["time_loss"] for info in infos] == pytest.approx(rewards.tolist())
    env.close()


@pytest.mark.wide
def test_a_masked_policy_asks_for_nothing_that_is_masked() -> None:
    env = make()
    model = MaskablePPO("MlpPolicy", env, seed=0, n_steps=16, batch_size=16, n_epochs=1)
    model.learn(16)
    observation, info = env.reset(seed=1)
    done = False
    while not done:
        mask = info["action_mask"]
        action, _ = model.predict(observation, action_masks=mask)
        assert mask[int(action)]
        observation, _, _, done, info = env.step(int(action))
    env.close()

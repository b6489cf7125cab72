"""One training, timed in a process of its own: ours, or Stable-Baselines3's own agent on sumo-rl.

Reads one JSON line (see `benchmarks.training`) and answers with the steps taken, the updates of the network, the
seconds of `learn`, and where they went: `gradient` is the agent's `train`, `environment` all calls of the
environment, of which sumo-rl's share within SUMO is timed too. What is left is the rollout: choosing actions,
storing what came. Our DQN takes its gradient steps while the simulations run: its `environment` is what it still
waits for them afterwards.
"""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import replace
from typing import Any

import torch
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.vec_env.base_vec_env import VecEnv

from agents.dqn import MaskedDoubleDQN
from agents.learner import linear, off_policy_arguments
from agents.registry import agent_settings, make_learner
from agents.settings import PPOSettings, Settings
from agents.vec_env import SignalsVecEnv
from benchmarks.clock import Clock, quiet
from benchmarks.peer_vec_env import SumoRlVecEnv, make_sumo_rl
from envs.sumo.setup import SimulationOptions, make_setup
from envs.workers.client import RemoteSimulation
from envs.workers.server import WorkerSetup
from scenarios.loading import load
from signals.timing import Timing


def main() -> None:
    """Train once."""
    request = json.loads(sys.stdin.readline())
    answers = quiet()
    torch.set_num_threads(1)
    settings = agent_settings(request["agent"])
    if isinstance(settings, PPOSettings) and request["steps"] < settings.rollout:
        settings = replace(settings, rollout=request["steps"])
    clock = Clock()
    env = peer_env(request, clock) if request["peer"] else our_env(request, settings)
    env.reset()  # starts the workers
    clock.seconds = dict.fromkeys(clock.seconds, 0.0)
    calls = ("reset", "step_async", "step_wait") if request["peer"] else ("reset", "send", "receive")
    for name in calls:
        setattr(env, name, clock.timed(name, getattr(env, name)))
    learner: Any
    if isinstance(env, SignalsVecEnv):
        learner = make_learner(request["agent"], settings, env, request["seed"])
    else:
        make = sb3_learner if request["settings"] == "sb3" else peer_learner
        learner = make(settings, env, request["seed"])
    learner.set_logger(Logger(None, []))
    train = "train_due" if isinstance(learner, MaskedDoubleDQN) else "train"
    setattr(learner, train, clock.timed("gradient", getattr(learner, train)))
    began = time.perf_counter()
    learner.learn(request["steps"], log_interval=1 << 30)
    seconds = time.perf_counter() - began
    env.close()
    spent = {"environment": sum(clock.seconds.pop(name) for name in calls)}
    answer = {"steps": learner.num_timesteps, "seconds": seconds, "spent": {**spent, **clock.seconds}}
    answer["updates"] = learner._n_updates  # DQN: gradient steps; PPO: epochs
    os.write(answers, json.dumps(answer).encode() + b"\n")


def our_env(request: dict[str, Any], settings: Settings) -> SignalsVecEnv:
    """As train.py makes it."""
    timing = Timing(change_interval="fixed" if request["fixed"] else "calculated")
    setup = WorkerSetup(make_setup(load(request["scenario"]), SimulationOptions(timing=timing)))
    workers = [RemoteSimulation(setup) for _ in range(request["workers"])]
    return SignalsVecEnv(workers, request["seed"], settings.reward_scale)


def peer_env(request: dict[str, Any], clock: Clock) -> VecEnv:
    """sumo-rl with its defaults; the time within SUMO's steps goes to the clock."""
    env = make_sumo_rl(
        request["scenario"],
        yellow_time=3 if request["fixed"] else 2,  # 2 is its default
        sumo_seed=request["seed"],
        add_system_info=request["info"],
        add_per_agent_info=request["info"],
    )
    env._sumo_step = clock.timed("sumo", env._sumo_step)
    return SumoRlVecEnv(env)


def sb3_learner(settings: Settings, env: VecEnv, seed: int) -> DQN | PPO:
    """Stable-Baselines3's own agent with its own defaults, but for the layers.

    A rollout of PPO is its 2048 steps over all signals together, as a training would else be one rollout long; DQN
    remembers as much as ours, as a million observations do not fit everywhere.
    """
    common: dict[str, Any] = {"seed": seed, "device": "cpu"}
    common["policy_kwargs"] = {"net_arch": [settings.units, settings.units]}
    if isinstance(settings, PPOSettings):
        return PPO("MlpPolicy", env, **common, n_steps=max(2, 2048 // env.num_envs))
    return DQN("MlpPolicy", env, **common, buffer_size=settings.buffer_size)


def peer_learner(settings: Settings, env: VecEnv, seed: int) -> DQN | PPO:
    """Stable-Baselines3's own agent: MlpPolicy, layers and settings as ours have them."""
    common: dict[str, Any] = {
        "seed": seed,
        "device": "cpu",
        "learning_rate": linear(settings.learning_rate, settings.learning_rate_end),
        "gamma": settings.gamma,
        "max_grad_norm": settings.max_grad_norm,
        "policy_kwargs": {"net_arch": [settings.units, settings.units]},
    }
    if isinstance(settings, PPOSettings):
        steps = max(1, round(settings.rollout / env.num_envs))
        return PPO(
            "MlpPolicy",
            env,
            **common,
            n_steps=steps,
            batch_size=min(settings.batch_size, steps * env.num_envs),
            n_epochs=settings.n_epochs,
            gae_lambda=settings.gae_lambda,
            clip_range=settings.clip_range,
            ent_coef=settings.ent_coef,
            vf_coef=settings.vf_coef,
        )
    return DQN("MlpPolicy", env, **{**common, **off_policy_arguments(settings, env)})


if __name__ == "__main__":
    main()

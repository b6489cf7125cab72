"""Stable-Baselines3's own agent on sumo-rl, trained for so many seconds, or judged: a process of its own.

Reads one JSON line (see `benchmarks.time_to_quality`) and answers with one. A training keeps the agent as it is at
each mark of the wall clock and at its end; to save it takes no part of that time. Its episodes have SUMO's random
seeds, as a user of sumo-rl has them who says nothing. A judgement writes the trips of each episode; others read them.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.callbacks import BaseCallback

from agents.registry import agent_settings
from benchmarks.clock import quiet
from benchmarks.learning import sb3_learner
from benchmarks.peer_vec_env import SumoRlVecEnv, make_sumo_rl, own_actions, padded

MAKES: dict[str, type[DQN | PPO]] = {"dqn": DQN, "ppo": PPO}


def main() -> None:
    """Train once, or judge one agent."""
    request = json.loads(sys.stdin.readline())
    answers = quiet()
    torch.set_num_threads(1)
    answer = judge(request) if "model" in request else train(request)
    os.write(answers, json.dumps(answer).encode() + b"\n")


def train(request: dict[str, Any]) -> dict[str, Any]:
    """Files, seconds and steps of the agent at each mark."""
    env = SumoRlVecEnv(make_sumo_rl(request["scenario"], yellow_time=request["yellow_s"], sumo_seed="random"))
    learner = sb3_learner(agent_settings(request["agent"]), env, request["seed"])
    marks = _Marks(request["marks_s"], Path(request["folder"]))
    learner.learn(request["steps"], callback=marks, log_interval=1 << 30)
    env.close()
    return {"kept": marks.kept}


class _Marks(BaseCallback):
    """Keeps the agent when so many seconds have passed, and as it ends; the last of the marks ends it."""

    def __init__(self, marks_s: list[float], folder: Path) -> None:
        super().__init__()
        self.left, self.folder = list(marks_s), folder
        self.kept: list[dict[str, Any]] = []
        self._began = 0.0

    def _on_training_start(self) -> None:
        self._began = time.monotonic()

    def _on_step(self) -> bool:
        seconds = time.monotonic() - self._began
        if seconds >= self.left[0]:
            self.left = [mark for mark in self.left if mark > seconds]
            self._keep(seconds)
        return bool(self.left)

    def _on_training_end(self) -> None:
        if self.left:  # all steps are taken
            self._keep(time.monotonic() - self._began)

    def _keep(self, seconds: float) -> None:
        now = time.monotonic()
        path = self.folder / f"{self.num_timesteps}.zip"
        self.model.save(path)
        self.kept.append({"file": str(path), "seconds": seconds, "steps": self.num_timesteps})
        self._began += time.monotonic() - now


def judge(request: dict[str, Any]) -> dict[str, Any]:
    """An episode with each seed, the agent's best phase at every decision."""
    model = MAKES[request["agent"]].load(request["model"], device="cpu")
    assert model.observation_space.shape is not None
    width = model.observation_space.shape[0]
    for seed, extra in request["episodes"]:
        env = make_sumo_rl(
            request["scenario"], yellow_time=request["yellow_s"], sumo_seed=seed, additional_sumo_cmd=extra,
        )  # fmt: skip
        phases = np.array([int(env.action_spaces(tls_id).n) for tls_id in env.ts_ids])
        rows, over = env.reset(), False
        while not over:
            actions, _ = model.predict(padded(rows, env.ts_ids, width), deterministic=True)
            rows, _, done, _ = env.step(own_actions(actions, env.ts_ids, phases))
            over = bool(done["__all__"])
        env.close()
    return {"judged": len(request["episodes"])}


if __name__ == "__main__":
    main()

"""The state of a training in plain values and tensors, so that it continues exactly where it stopped."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import torch

from agents.dqn import MaskedDoubleDQN
from agents.learners import Learner
from agents.replay import DecisionBuffer
from agents.run import CHECKPOINT, POLICY, load_tensors, save_tensors
from agents.vec_env import SignalsVecEnv
from plumbing.errors import InputError

COUNTERS = ("num_timesteps", "_episode_num", "_n_updates", "_current_progress_remaining")
REPLAY = ("observations", "next_observations", "actions", "rewards", "discounts")


def save(run: Path, learner: Learner, env: SignalsVecEnv, progress: dict[str, Any]) -> None:
    """Write policy.pt and checkpoint.pt, each whole or not at all.

    Args:
        progress: what the training loop itself wants to remember, in plain values.
    """
    scorer = scorer_of(learner).state_dict()
    save_tensors(run / POLICY, {"scorer": scorer})
    state: dict[str, Any] = {
        "policy": learner.policy.state_dict(),
        "optimizer": learner.policy.optimizer.state_dict(),
        "counters": {name: getattr(learner, name) for name in COUNTERS},
        "last_obs": torch.from_numpy(np.array(learner._last_obs)),
        "last_episode_starts": torch.from_numpy(np.array(learner._last_episode_starts)),
        "env": env.state(),
        "progress": progress,
        "random": _random_states(),
        "average": learner.average.state_dict(),
    }
    if isinstance(learner, MaskedDoubleDQN):
        learner.store()
        assert isinstance(learner.replay_buffer, DecisionBuffer)
        state["dqn"] = {
            "n_calls": learner._n_calls,
            "learned_from": learner._learned_from,
            "due_steps": learner.due_steps,
            "exploration_rate": learner.exploration_rate,
            "explorer": learner.explorer_state,
            "replay": _replay_state(learner.replay_buffer),
        }
    save_tensors(run / CHECKPOINT, state)


def restore(run: Path, learner: Learner, env: SignalsVecEnv) -> dict[str, Any]:
    """Put a learner and its environment back to where the run stopped; returns the loop's own memory.

    Raises:
        InputError: the checkpoint is missing, damaged, or belongs to other settings; or the simulation does not
            repeat what it did before.
    """
    state = load_tensors(run / CHECKPOINT)
    try:
        learner.policy.load_state_dict(state["policy"])
        learner.policy.optimizer.load_state_dict(state["optimizer"])
        for name in COUNTERS:
            setattr(learner, name, state["counters"][name])
        learner.average.load_state_dict(state["average"])
        learner._last_obs = state["last_obs"].numpy()
        learner._last_episode_starts = state["last_episode_starts"].numpy()
        if isinstance(learner, MaskedDoubleDQN):
            dqn = state["dqn"]
            learner._n_calls = dqn["n_calls"]
            learner._learned_from = dqn["learned_from"]
            learner.due_steps = dqn["due_steps"]
            learner.exploration_rate = dqn["exploration_rate"]
            learner.explorer_state = dqn["explorer"]
            assert isinstance(learner.replay_buffer, DecisionBuffer)
            _restore_replay(learner.replay_buffer, dqn["replay"])
        seen = env.restore(state["env"])
        _restore_random_states(state["random"])
        progress: dict[str, Any] = dict(state["progress"])
    except (KeyError, IndexError, RuntimeError, ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{run / CHECKPOINT} does not fit this run's settings ({error}); train it anew") from error
    if not np.array_equal(np.asarray(seen), np.asarray(learner._last_obs)):
        raise InputError(
            f"run {run}: the simulation does not repeat what it did before the stop; the scenario's files or "
            f"SUMO's version have changed. Train it anew"
        )
    return progress


def scorer_of(learner: Learner) -> torch.nn.Module:
    """The network that scores phases: all that a controller needs."""
    return learner.average


def scorers_of(learner: Learner) -> list[torch.nn.Module]:
    """Every network that scores phases: that one, and those that it is learned with."""
    if isinstance(learner, MaskedDoubleDQN):
        return [learner.average, learner.q_net.q_net, learner.q_net_target.q_net]
    return [learner.average, learner.actor]


def _replay_state(buffer: DecisionBuffer) -> dict[str, Any]:
    filled = buffer.buffer_size if buffer.full else buffer.pos
    arrays = {name: torch.from_numpy(getattr(buffer, name)[:filled].copy()) for name in REPLAY}
    pending = {name: torch.from_numpy(getattr(buffer, name).copy()) for name in buffer.PENDING}
    return {"pos": buffer.pos, "full": buffer.full, "added": buffer.added, "arrays": arrays, "pending": pending}


def _restore_replay(buffer: DecisionBuffer, state: dict[str, Any]) -> None:
    for name in REPLAY:
        saved = state["arrays"][name].numpy()
        getattr(buffer, name)[: len(saved)] = saved
    for name in buffer.PENDING:
        getattr(buffer, name)[:] = state["pending"][name].numpy()
    buffer.target_version[:] = 0
    buffer.pos, buffer.full, buffer.added = state["pos"], state["full"], state["added"]


def _random_states() -> dict[str, Any]:
    kind, keys, pos, has_gauss, cached = np.random.get_state(legacy=True)
    version, internal, gauss = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "numpy": [kind, torch.from_numpy(np.asarray(keys, np.int64)), pos, has_gauss, cached],
        "python": [version, list(internal), gauss],
    }


def _restore_random_states(state: dict[str, Any]) -> None:
    torch.set_rng_state(state["torch"])
    kind, keys, pos, has_gauss, cached = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), pos, has_gauss, cached))
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))

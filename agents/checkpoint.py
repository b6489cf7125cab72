"""The state of a training in plain values and tensors, so that it continues exactly where it stopped."""

from __future__ import annotations

import copy
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch

from agents.learner import Learner
from agents.run import CHECKPOINT, POLICY, load_tensors, save_tensors
from agents.updates import require_finite
from agents.vec_env import SignalsVecEnv
from plumbing.errors import InputError

State = dict[str, Any]
"""All that a training goes on from, in plain values and tensors."""


def state_of(learner: Learner, env: SignalsVecEnv) -> State:
    """A copy of where a training stands."""
    return copy.deepcopy(_state(learner, env))


def _state(learner: Learner, env: SignalsVecEnv) -> State:
    return {"learner": learner.state(), "env": env.state(), "random": _random_states()}


def save(
    run: Path, learner: Learner, env: SignalsVecEnv, progress: dict[str, Any], state: State | None = None
) -> None:
    """Write policy.pt and checkpoint.pt, each whole or not at all.

    Args:
        progress: what the training loop itself wants to remember, in plain values.
        state: where to go on from, by default from here.

    Raises:
        TrainingDiverged: a weight is not finite; the files stay as they are.
    """
    content = {**(_state(learner, env) if state is None else state), "progress": progress}
    scorer = learner.scorer()
    require_finite(scorer, learner.num_timesteps)
    save_tensors(run / POLICY, {"scorer": scorer.state_dict()})
    save_tensors(run / CHECKPOINT, content)


def restore(run: Path, learner: Learner, env: SignalsVecEnv) -> dict[str, Any]:
    """Put a learner and its environment back to where the run stopped; returns the loop's own memory.

    Raises:
        InputError: the checkpoint is missing, damaged, or belongs to other settings; or the simulation does not
            repeat what it did before.
    """
    state = load_tensors(run / CHECKPOINT)
    try:
        learner.load_state(state["learner"])
        env.restore(state["env"])
        _restore_random_states(state["random"])
        progress: dict[str, Any] = dict(state["progress"])
    except (KeyError, IndexError, RuntimeError, ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{run / CHECKPOINT} does not fit this run's settings ({error}); train it anew") from error
    return progress


def _random_states() -> dict[str, Any]:
    kind, keys, pos, has_gauss, cached = np.random.get_state(legacy=True)
    version, internal, gauss = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": [kind, torch.from_numpy(np.asarray(keys, np.int64)), pos, has_gauss, cached],
        "python": [version, list(internal), gauss],
    }


def _restore_random_states(state: dict[str, Any]) -> None:
    torch.set_rng_state(state["torch"])
    if len(state["cuda"]) == (torch.cuda.device_count() if torch.cuda.is_available() else 0):
        torch.cuda.set_rng_state_all(state["cuda"])
    kind, keys, pos, has_gauss, cached = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), pos, has_gauss, cached))
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))

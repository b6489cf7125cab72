"""The environment of all signals: which of them it controls, what it takes and what it leaves to its user."""

from __future__ import annotations

import numpy as np
import pytest

from envs import NetworkEnv
from plumbing.errors import InputError
from tests.windows import phase_of, window


def test_a_network_env_can_control_some_signals_and_leave_undecided_ones_green() -> None:
    every = NetworkEnv(window("cologne3", 60)).possible_agents
    env = NetworkEnv(window("cologne3", 60), tls_ids=every[1:])
    assert env.possible_agents == every[1:]
    env.reset(seed=0)
    for _ in range(4):
        env.step({every[1]: 0})
    assert phase_of(env, 1) == 0
    env.close()


def test_what_a_network_env_gave_stays_as_it_was() -> None:
    """A replay buffer keeps it while the episode goes on."""
    env = NetworkEnv(window("cologne3", 120))
    try:
        observations, infos = env.reset(seed=1)
        kept = [(a, observations[a], infos[a]["action_mask"]) for a in env.agents]
        as_it_was = [(a, seen.copy(), mask.copy()) for a, seen, mask in kept]
        for _ in range(12):
            observations, _, _, _, infos = env.step({a: int(infos[a]["action_mask"].argmax()) for a in env.agents})
        for (a, seen, mask), (_, seen_then, mask_then) in zip(kept, as_it_was, strict=True):
            assert np.array_equal(seen, seen_then)
            assert np.array_equal(mask, mask_then)
            assert not np.array_equal(seen, observations[a])
    finally:
        env.close()


def test_a_network_env_takes_actions_in_any_order_and_as_any_number() -> None:
    ways = (
        lambda actions: actions,
        lambda actions: dict(reversed(actions.items())),
        lambda actions: {a: np.int64(action) for a, action in actions.items()},
        lambda actions: {a: np.array(action) for a, action in actions.items()},
    )
    seen = []
    env = NetworkEnv(window("cologne3", 120))
    try:
        for way in ways:
            env.reset(seed=1)
            asked = {a: n % 2 for n, a in enumerate(env.agents)}
            for _ in range(3):
                observations, rewards, *_ = env.step(way(asked))
            seen.append((np.concatenate([*observations.values()]).tobytes(), rewards))
        with pytest.raises(KeyError):
            env.step({**dict.fromkeys(env.agents[1:], 0), "nobody": 0})
    finally:
        env.close()
    assert all(each == seen[0] for each in seen)


def test_an_unknown_signal_of_a_network_is_refused() -> None:
    with pytest.raises(InputError, match="not in the network"):
        NetworkEnv("cologne3", tls_ids=["360083"])

"""The vector environment: a batch is its single environments side by side, and survives the loss of any of them."""

from __future__ import annotations

import gc
import os
import signal
import time
from collections.abc import Iterator
from contextlib import closing

import gymnasium
import numpy as np
import psutil
import pytest

import envs
from envs.options import EnvOptions
from envs.sumo.simulation import SimulationError
from envs.vectorised import SignalsVectorEnv
from envs.workers.batch import SignalBatch
from plumbing.errors import InputError

WINDOW = {"begin_s": 25200.0, "end_s": 25500.0}
SHORT = {"begin_s": 0.0, "end_s": 200.0}


@pytest.fixture(scope="module")
def pair() -> Iterator[SignalsVectorEnv]:
    """Two workers on `single`."""
    with closing(envs.vector_env("single", 2, **SHORT)) as env:
        yield env


def first_allowed(mask: np.ndarray, turn: int) -> np.ndarray:
    """[N] of the phases that may be chosen, another one each turn."""
    ranks = np.where(mask, (np.arange(mask.shape[1]) + turn) % mask.shape[1], -1)
    return ranks.argmax(axis=1)


def play(env: SignalsVectorEnv, steps: int, seed: int = 5) -> list[dict[str, np.ndarray]]:
    """What is seen in so many steps."""
    observation, info = env.reset(seed=seed)
    seen = []
    for turn in range(steps):
        observation, reward, _, truncated, info = env.step(first_allowed(info["action_mask"], turn))
        seen.append(
            {"observation": observation, "reward": reward, "truncated": truncated, "mask": info["action_mask"]}
        )
    return seen


@pytest.mark.wide
def test_it_is_a_gymnasium_vector_environment() -> None:
    with closing(envs.vector_env("cologne3", 2, **WINDOW)) as env:
        assert isinstance(env, gymnasium.vector.VectorEnv)
        observation, info = env.reset(seed=1)
        assert env.num_envs == 6
        assert env.observation_space.contains(observation)
        assert info["action_mask"].shape == (6, env.single_action_space.n)
        observation, reward, ended, truncated, _ = env.step(first_allowed(info["action_mask"], 0))
        assert env.observation_space.contains(observation)
        assert reward.shape == ended.shape == truncated.shape == (6,)
        assert not ended.any()


@pytest.mark.wide
def test_each_worker_is_what_a_single_environment_with_its_seed_would_be(
    pair: SignalsVectorEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Observations, rewards and masks of both workers, to the bit, over the end of an episode."""
    seeds: list[list[int]] = [[], []]

    def seed_of(worker: int, episode: int) -> int:
        seeds[worker].append(pair._seed_of(worker, episode))
        return seeds[worker][-1]

    monkeypatch.setattr(pair.batch, "_seed", seed_of)
    seen = play(pair, 50)
    assert len(seeds[0]) == len(seeds[1]) == 2
    assert seeds[0] != seeds[1]
    alone = envs.SignalEnv("single", **SHORT)
    for n in (0, 1):
        turn = 0
        for seed in seeds[n]:
            observation, info = alone.reset(seed=seed)
            over = False
            while not over and turn < 50:
                action = first_allowed(info["action_mask"][None], turn)[0]
                observation, reward, _, over, info = alone.step(action)
                assert seen[turn]["reward"][n] == reward
                assert seen[turn]["truncated"][n] == over
                if not over:  # then the batch shows the next episode's first
                    assert np.array_equal(seen[turn]["observation"][n], observation)
                    assert np.array_equal(seen[turn]["mask"][n], info["action_mask"])
                turn += 1
    alone.close()


def test_the_last_observation_of_an_episode_is_in_the_info(pair: SignalsVectorEnv) -> None:
    _, info = pair.reset(seed=1)
    for turn in range(40):
        observation, _, _, truncated, info = pair.step(first_allowed(info["action_mask"], turn))
    assert truncated.all()
    assert info["_final_obs"].all()
    assert info["time_s"][0] == 0.0, "the next episode has begun"
    assert all(last.any() for last in info["final_obs"])
    assert not np.array_equal(np.stack(info["final_obs"]), observation)


def test_the_same_seed_gives_the_same_episodes_and_another_one_others(pair: SignalsVectorEnv) -> None:
    first, again, other = play(pair, 30), play(pair, 30), play(pair, 30, seed=6)
    same = [all(np.array_equal(a[key], b[key]) for key in a) for a, b in zip(first, again, strict=True)]
    assert all(same)
    assert any(not np.array_equal(a["reward"], b["reward"]) for a, b in zip(first, other, strict=True))


@pytest.mark.wide
def test_unlike_networks_share_a_batch_and_see_what_they_see_alone() -> None:
    options = {"end_s": 25400.0}
    with (
        closing(envs.vector_env(["cologne1", "cologne3"], **options)) as mixed,
        closing(envs.vector_env("cologne3", **options)) as alone,
    ):
        assert mixed.num_envs == 1 + 3
        assert mixed.single_action_space.n >= alone.single_action_space.n
        _, info = mixed.reset(seed=1)
        narrow, wide = alone.batch.shape, mixed.batch.shape
        seed = 77
        alone.batch._seed = mixed.batch._seed = lambda worker, episode: seed
        mixed.batch.reset()
        alone.batch.reset()
        for turn in range(30):
            mask, padded = alone.batch.masks(), mixed.batch.masks()
            assert np.array_equal(padded[1:, : narrow.phases], mask)
            assert not padded[1:, narrow.phases :].any()
            phases = first_allowed(mask, turn)
            alone.batch.step(phases)
            mixed.batch.step(np.concatenate((first_allowed(padded[:1], turn), phases)))
        small, large = alone.batch.observations(), mixed.batch.observations()[1:]
        cut = large[:, : wide.phases * wide.phase_features].reshape(3, wide.phases, -1)
        seen = small[:, : narrow.phases * narrow.phase_features].reshape(3, narrow.phases, -1)
        assert seen.any()
        assert np.array_equal(cut[:, : narrow.phases], seen)
        assert not cut[:, narrow.phases :].any()
        assert info["action_mask"].any(axis=1).all()


def processes_of(env: SignalsVectorEnv, worker: int) -> list[psutil.Process]:
    """The template and its episode."""
    process = env.batch.workers[worker]._process
    assert process is not None
    parent = psutil.Process(process.pid)
    return [parent, *parent.children()]


@pytest.mark.wide
@pytest.mark.parametrize("whom", ["both", "episode"])
def test_a_killed_worker_is_replaced_and_the_others_do_not_notice(whom: str, pair: SignalsVectorEnv) -> None:
    """The template process and its episode, or the episode alone."""
    undisturbed, before = play(pair, 30), pair.batch.failures
    _, info = pair.reset(seed=5)
    for turn in range(30):
        if turn == 10:
            for process in processes_of(pair, 1)[0 if whom == "both" else 1 :]:
                process.kill()
        _, reward, _, truncated, info = pair.step(first_allowed(info["action_mask"], turn))
        assert reward[0] == undisturbed[turn]["reward"][0]
        assert truncated[1] == (turn == 10)
        assert ("failure" in info) == (turn == 10)
    assert pair.batch.failures == before + 1
    assert info["time_s"][1] == 100.0 - 5.0, "its next episode has come as far as the rest of the steps"


@pytest.mark.wide
def test_a_worker_that_hangs_is_replaced() -> None:
    with closing(envs.vector_env("single", 2, timeout_s=4.0, **SHORT)) as env:
        _, info = env.reset(seed=5)
        env.step(first_allowed(info["action_mask"], 0))
        stopped = processes_of(env, 0)
        for process in stopped:
            process.send_signal(signal.SIGSTOP)
        _, _, _, truncated, info = env.step(first_allowed(info["action_mask"], 0))
        assert truncated.tolist() == [True, False]
        assert "did not answer" in info["failure"][0]
        assert not any(process.is_running() and process.status() != "zombie" for process in stopped)
        for turn in range(5):
            _, _, _, truncated, info = env.step(first_allowed(info["action_mask"], turn))
        assert not truncated.any()


@pytest.mark.wide
def test_a_worker_that_always_fails_is_an_error_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("envs.workers.batch.MOST_FAILURES", 3)
    with closing(envs.vector_env("single", 1, **SHORT)) as env:
        _, info = env.reset(seed=5)
        for _ in range(2):
            processes_of(env, 0)[1].kill()
            _, _, _, _, info = env.step(first_allowed(info["action_mask"], 0))
        processes_of(env, 0)[1].kill()
        with pytest.raises(SimulationError, match="failed 3 times in a row"):
            env.step(first_allowed(info["action_mask"], 0))


@pytest.mark.wide
def test_whoever_is_ready_can_go_on_without_the_others() -> None:
    """`send` and `receive`: a stopped worker holds nobody up."""
    workers = [EnvOptions("single", **SHORT).worker() for _ in range(2)]
    batch = SignalBatch(workers, lambda worker, episode: 1 + worker)
    try:
        batch.reset()
        assert workers[1]._process is not None
        os.killpg(workers[1]._process.pid, signal.SIGSTOP)
        batch.send(1, np.zeros(1, np.int64))
        for _ in range(5):
            batch.send(0, np.zeros(1, np.int64))
            turns = batch.receive(1)
            assert [turn.worker for turn in turns] == [0]
        os.killpg(workers[1]._process.pid, signal.SIGCONT)
        assert [turn.worker for turn in batch.receive()] == [1]
        assert workers[0].snapshot.time_s[0] == 25.0
        assert workers[1].snapshot.time_s[0] == 5.0
    finally:
        batch.close()


@pytest.mark.wide
def test_nothing_is_left_when_it_is_closed() -> None:
    before = set(psutil.Process().children(recursive=True))
    files = psutil.Process().num_fds()
    env = envs.vector_env("single", 2, **SHORT)
    play(env, 3)
    assert len(set(psutil.Process().children(recursive=True)) - before) >= 2
    env.close()
    until = time.monotonic() + 5
    while set(psutil.Process().children(recursive=True)) - before and time.monotonic() < until:
        time.sleep(0.05)
    assert not set(psutil.Process().children(recursive=True)) - before
    del env
    gc.collect()
    assert psutil.Process().num_fds() <= files


def test_bad_input_is_refused() -> None:
    with pytest.raises(InputError, match="at least one worker for each"):
        envs.vector_env(["single", "tee"], 1)
    with pytest.raises(InputError, match="render_mode"):
        envs.vector_env("single", 1, render_mode="human")
    with pytest.raises(InputError, match="Did you mean"):
        envs.vector_env("single", 1, sensng="full")

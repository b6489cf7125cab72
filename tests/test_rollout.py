"""Rollouts: semi-Markov advantages, draws from the softmax, and that nothing depends on who answers first."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3.common.logger import Logger

from agents.dqn import MaskedDoubleDQN
from agents.network import MASKED, SELECTABLE
from agents.ppo import LEAST_MOMENTS, MaskedPPO
from agents.registry import agent_settings, make_learner
from agents.rollout import Moments, Rollout, advantages, gumbel
from agents.updates import free
from agents.vec_env import SignalsVecEnv
from envs.sumo.setup import make_setup
from envs.workers.batch import Turn
from envs.workers.client import RemoteSimulation
from envs.workers.server import WorkerSetup
from scenarios.loading import load

GAMMA, LAMBDA = 0.9, 0.8


def column(*values: float) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.array(values, np.float32)[:, None]


def test_advantages_are_the_known_ones_where_every_moment_is_a_choice() -> None:
    """Schulman et al. 2016, (16): a sum of discounted differences, here over what is left of the rollout."""
    draw = np.random.default_rng(0)
    values, rewards = draw.normal(size=(2, 6, 3)).astype(np.float32)
    never = np.zeros((6, 3), bool)
    found, known = advantages(values, ~never, rewards, never, GAMMA, LAMBDA)
    assert known[:-1].all()
    assert not known[-1].any(), "what follows the last one is not known"
    delta = rewards[:-1] + GAMMA * values[1:] - values[:-1]
    for t in range(5):
        expected = sum((GAMMA * LAMBDA) ** (k - t) * delta[k] for k in range(t, 5))
        np.testing.assert_allclose(found[t], expected, rtol=1e-5)


def test_a_decision_lasts_until_the_next_free_choice() -> None:
    values = column(2.0, 99.0, 99.0, 3.0, 5.0)
    chosen = np.array([[True], [False], [False], [True], [True]])
    rewards = column(1.0, 10.0, 100.0, 1000.0, 7.0)
    found, known = advantages(values, chosen, rewards, np.zeros((5, 1), bool), GAMMA, LAMBDA)
    assert known[:, 0].tolist() == [True, False, False, True, False]
    last = 1000.0 + GAMMA * 5.0 - 3.0
    first = 1.0 + GAMMA * 10.0 + GAMMA**2 * 100.0 + GAMMA**3 * 3.0 - 2.0
    np.testing.assert_allclose(found[3, 0], last, rtol=1e-6)
    np.testing.assert_allclose(found[0, 0], first + LAMBDA * GAMMA**3 * last, rtol=1e-6)


def test_nothing_is_learned_across_the_end_of_an_episode() -> None:
    values, rewards = column(1.0, 1.0, 1.0, 1.0), column(1.0, 1.0, 1.0, 1.0)
    ends = np.array([[False], [True], [False], [False]])
    found, known = advantages(values, np.ones((4, 1), bool), rewards, ends, GAMMA, LAMBDA)
    assert known[:, 0].tolist() == [True, False, True, False]
    np.testing.assert_allclose(found[[0, 2], 0], GAMMA, rtol=1e-6)


def vec_env(workers: int, end_s: float = 25320.0) -> SignalsVecEnv:
    setup = WorkerSetup(make_setup(load("cologne3", begin_s=25200.0, end_s=end_s)))
    return SignalsVecEnv([RemoteSimulation(setup) for _ in range(workers)], 0, 0.02)


def learner_for(agent: str, env: SignalsVecEnv, changes: dict[str, float] | None = None) -> Any:
    return make_learner(agent, agent_settings(agent, changes), env, 0)


def test_what_a_rollout_leaves_open_is_learned_in_the_next() -> None:
    """Cut at any moment, the two parts know the decisions of the whole, and of each the same reward; its follow-up's
    value stands in where the cut hides the rest."""
    draw = np.random.default_rng(1)
    rewards = draw.normal(size=(12, 2)).astype(np.float32)
    chosen = draw.random((12, 2)) < 0.5
    ends = np.zeros((12, 2), bool)
    ends[4, 0] = True
    values = np.where(chosen, draw.normal(size=(12, 2)), 0.0).astype(np.float32)

    def moments(part: slice) -> Moments:
        size = part.stop - part.start
        observations = np.arange(part.start, part.stop, dtype=np.float32)[:, None, None].repeat(2, axis=1)
        zeros = np.zeros((size, 2))
        return Moments(
            observations, zeros.astype(np.int64), rewards[part], ends[part], chosen[part], zeros.astype(np.float32)
        )

    _, whole = advantages(values, chosen, rewards, ends, GAMMA, LAMBDA)
    times = np.arange(12)[:, None].repeat(2, axis=1)
    for cut in range(1, 12):
        first = moments(slice(0, cut))
        _, known = advantages(values[:cut], first.chosen, first.rewards, first.ends, GAMMA, LAMBDA)
        carried = first.still_open(known, most=12)
        assert carried.chosen.sum(axis=0).max(initial=0) <= 1, "more than its last choice of a signal"
        second = moments(slice(cut, 12)).after(carried)
        at = second.observations[:, 0, 0].astype(int)
        found, later = advantages(values[at], second.chosen, second.rewards, second.ends, GAMMA, 0.0)
        learned = sorted([*times[:cut][known], *times[at][later]])
        assert learned == sorted(times[whole]), "each decision is learned from once"
        alone, _ = advantages(values, chosen, rewards, ends, GAMMA, 0.0)
        np.testing.assert_allclose(found[later], alone[at][later], rtol=1e-5)


def test_of_a_signal_that_has_no_choice_for_a_whole_rollout_the_last_one_is_given_up() -> None:
    chosen = np.array([[True], [False], [False], [False]])
    nothing = np.zeros((4, 1), np.float32)
    waiting = Moments(nothing[..., None], nothing.astype(int), nothing, chosen & False, chosen, nothing)
    assert waiting.still_open(chosen & False, most=4).chosen[:, 0].tolist() == [True, False, False, False]
    assert not waiting.still_open(chosen & False, most=3).chosen.any()


def test_every_signal_has_some_decisions_in_a_rollout() -> None:
    """However many signals share it."""
    env = vec_env(1)
    learner = learner_for("ppo", env, {"rollout": 6, "batch_size": 2})
    assert learner.n_steps == LEAST_MOMENTS
    env.close()


def test_the_largest_of_scores_with_noise_is_a_draw_from_their_softmax() -> None:
    torch.manual_seed(0)
    scores = np.array([0.3, MASKED, -1.0, 1.2], np.float32)
    drawn = np.bincount((scores + gumbel(40_000, 4)).argmax(axis=1), minlength=4) / 40_000
    assert drawn[1] == 0
    np.testing.assert_allclose(drawn, torch.from_numpy(scores).softmax(dim=0).numpy(), atol=0.01)


@pytest.mark.wide
def test_every_drawn_phase_may_be_chosen_and_episodes_end_at_the_horizon() -> None:
    env = vec_env(2)
    learner = learner_for("ppo", env)
    assert isinstance(learner, MaskedPPO)
    shape = learner.actor.shape
    rollout = Rollout(env, learner.actor, 60, np.array(env.reset()))
    assert list(rollout) == list(range(60))
    block = rollout.observations[..., : shape.phases * shape.phase_features]
    selectable = block.reshape(60, env.num_envs, shape.phases, -1)[..., SELECTABLE] > 0.5
    assert np.take_along_axis(selectable, rollout.actions[..., None], axis=-1).all()
    assert rollout.ends.all(axis=1).nonzero()[0].tolist() == [23, 47]  # 120 s, a decision every 5 s
    assert not rollout.ends[[0, 22, 24, 59]].any()
    assert [len(ended) for ended in rollout.ended if ended] == [2, 2]
    assert free(rollout.observations, shape).mean() < 0.9, "no moment without a choice: this proves little"
    assert (rollout.rewards <= 0).all()
    assert rollout.rewards.any()
    env.close()


@pytest.mark.wide
@pytest.mark.parametrize(
    ("agent", "changes"),
    [("ppo", {"rollout": 90, "batch_size": 30}), ("dqn", {"learning_starts": 30, "exploration_fraction": 0.8})],
)
def test_who_answers_first_makes_no_difference(
    agent: str, changes: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    def trained(turned: bool) -> tuple[dict[str, torch.Tensor], list[dict[str, float]]]:
        env = vec_env(2)
        if turned:  # the workers' turns come together and in the other order
            receive = env.batch.receive

            def last_first(least: int | None = None, among: Collection[int] | None = None) -> list[Turn]:
                del least
                return sorted(receive(among=among), key=lambda turn: -turn.worker)

            monkeypatch.setattr(env.batch, "receive", last_first)
        learner = learner_for(agent, env, changes)
        learner.set_logger(Logger(None, []))
        learner.learn(180, log_interval=1 << 30)
        env.close()
        return {name: weight.clone() for name, weight in learner.policy.state_dict().items()}, env.finished

    (one, finished), (other, others) = trained(False), trained(True)
    assert finished == others
    assert finished
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.wide
def test_dqn_stores_what_was_decided_and_what_came_of_it() -> None:
    env = vec_env(2)
    learner = learner_for("dqn", env, {"learning_starts": 30, "batch_size": 16})
    learner.set_logger(Logger(None, []))
    assert isinstance(learner, MaskedDoubleDQN)
    assert learner.replay_buffer is not None
    stored: list[tuple[Any, ...]] = []
    sent: list[list[Any]] = [[], []]
    lasts: list[list[Any]] = [[], []]
    ahead = []
    add, send, receive = learner.replay_buffer.add, env.send, env.receive

    def noted_send(n: int, actions: Any) -> None:
        sent[n].append(np.array(actions))
        ahead.append(len(sent[n]) - len(lasts[1 - n]) > 1)  # the other one still computes the decision before
        send(n, actions)

    def noted_receive(least: int | None = None, among: Collection[int] | None = None) -> list[Any]:
        found = receive(least, among)
        for turn, _ in found:
            lasts[turn.worker].append(None if turn.last is None else np.array(turn.last))
        return found

    def noted_add(*transition: Any) -> None:
        stored.append(tuple(np.array(part) for part in transition[:5]))
        add(*transition)

    learner.replay_buffer.add, env.send, env.receive = noted_add, noted_send, noted_receive  # type: ignore[method-assign]
    learner.learn(180, log_interval=1 << 30)
    learner.store()
    assert len(stored) == 180 // env.num_envs
    assert any(ahead), "no worker was asked before the other had answered"
    assert not any(env.asked(n) for n in range(2)), "somebody works on after the training"
    for t, (_, following, chosen, rewards, dones) in enumerate(stored):
        assert chosen.tolist() == np.concatenate([sent[0][t], sent[1][t]]).tolist()
        assert rewards.any()
        for n, part in enumerate(env.batch.rows):
            last = lasts[n][t]
            assert (dones[part] == (last is not None)).all()
            if last is not None:
                np.testing.assert_array_equal(following[part], last)
            elif t + 1 < len(stored):
                np.testing.assert_array_equal(following[part], stored[t + 1][0][part])
    assert [t for t, (*_, dones) in enumerate(stored) if dones.any()] == [23]  # 120 s, a decision every 5 s
    env.close()

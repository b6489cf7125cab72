"""The replay buffer: what is stored leads from one free choice of a signal to its next and sums what lies between."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gymnasium import spaces

from agents.network import SELECTABLE
from agents.replay_buffer import DecisionBuffer
from signals.observations import ObservationShape

SHAPE = ObservationShape(phases=2, movements=1, phase_features=3, movement_features=1)
GAMMA = 0.5


def buffer(signals: int, size: int = 100) -> DecisionBuffer:
    box = spaces.Box(0.0, 10.0, (SHAPE.size,), np.float32)
    return DecisionBuffer(size, box, spaces.Discrete(2), "cpu", signals, shape=SHAPE, gamma=GAMMA)


def rows(free: list[bool], mark: float) -> np.ndarray:
    """[N, size] observations with one or two phases to choose from, and a number to know them by."""
    result = np.zeros((len(free), SHAPE.size), np.float32)
    for n, several in enumerate(free):
        result[n, SELECTABLE] = 1.0
        result[n, SHAPE.phase_features + SELECTABLE] = float(several)
        result[n, -1] = mark + 100 * n
    return result


def feed(into: DecisionBuffer, freedom: list[list[bool]], rewards: list[list[float]], done_at: int = -1) -> None:
    """One step after the other; `freedom` has one row more than there are steps."""
    for t, reward in enumerate(rewards):
        done = np.full(len(reward), t == done_at)
        action = np.full((len(reward), 1), t % 2)
        into.add(rows(freedom[t], t), rows(freedom[t + 1], t + 1), action, np.array(reward), done, [{}] * len(reward))


def test_forced_moments_are_passed_over_and_their_rewards_are_summed() -> None:
    into = buffer(1)
    feed(into, [[True], [False], [False], [True], [True]], [[1.0], [2.0], [4.0], [8.0]])
    assert into.pos == 2
    assert into.observations[:2, 0, -1].tolist() == [0.0, 3.0]
    assert into.next_observations[:2, 0, -1].tolist() == [3.0, 4.0]
    assert into.rewards[:2, 0].tolist() == [1.0 + 0.5 * 2.0 + 0.25 * 4.0, 8.0]
    assert into.discounts[:2, 0].tolist() == [GAMMA**3, GAMMA]
    assert into.actions[:2, 0, 0].tolist() == [0, 1]


def test_each_signal_has_its_own_moments() -> None:
    into = buffer(2)
    feed(into, [[True, False], [False, True], [True, True]], [[1.0, 10.0], [2.0, 20.0]])
    stored = {(into.observations[n, 0, -1], into.rewards[n, 0]) for n in range(into.pos)}
    assert stored == {(0.0, 1.0 + 0.5 * 2.0), (101.0, 20.0)}


def test_nothing_leads_over_the_end_of_an_episode() -> None:
    """A last observation without a choice has no value that was ever learned: what led there is let go."""
    into = buffer(1)
    feed(into, [[True], [False], [False], [True], [True]], [[1.0], [2.0], [4.0], [8.0]], done_at=1)
    assert into.pos == 1
    assert into.observations[0, 0, -1] == 3.0
    into = buffer(1)
    feed(into, [[True], [True], [True]], [[1.0], [2.0]], done_at=0)
    assert into.rewards[:2, 0].tolist() == [1.0, 2.0], "a last observation with a choice counts"


def test_what_a_failure_cut_off_is_let_go() -> None:
    """Its reward is not known, and the last observation is the one before: it would lead from a state to itself."""
    into = buffer(2)
    action, reward = np.zeros((2, 1)), np.array([1.0, 1.0])
    into.add(rows([True, True], 0), rows([False, False], 1), action, reward, np.zeros(2, bool), [])
    fails = [{"failed": True}, {}]
    into.add(rows([False, True], 1), rows([True, True], 1), action, reward, np.array([True, False]), fails)
    into.add(rows([True, True], 5), rows([True, True], 6), action, reward, np.zeros(2, bool), [{}, {}])
    stored = {(into.observations[n, 0, -1], into.next_observations[n, 0, -1]) for n in range(into.pos)}
    assert stored == {(100.0, 101.0), (5.0, 6.0), (105.0, 106.0)}


@pytest.mark.parametrize("signals", [1, 3])
def test_the_ring_goes_round(signals: int) -> None:
    into = buffer(signals, size=7)
    feed(into, [[True] * signals] * 11, [[float(t)] * signals for t in range(10)])
    assert into.full
    assert into.pos == 10 * signals % 7
    newest = sorted(into.rewards[:, 0].tolist())
    assert newest == sorted(float(t) for t in range(10) for _ in range(signals))[-7:]
    assert into.transitions(into.draw(5)).discounts.tolist() == [[GAMMA]] * 5


def test_what_the_target_network_said_is_known_until_it_changes_or_the_transition_does() -> None:
    into = buffer(1, size=4)
    feed(into, [[True]] * 5, [[1.0]] * 4)
    drawn = np.array([2, 0, 2])
    assert into.without_target_scores(drawn).tolist() == [0, 1, 2]
    said = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    into.remember_target_scores(np.array([2, 0]), said)
    assert into.without_target_scores(np.array([0, 1, 2])).tolist() == [1]
    assert into.target_scores_of(drawn).tolist() == [[1.0, 2.0], [3.0, 4.0], [1.0, 2.0]]
    feed(into, [[True]] * 2, [[9.0]])  # the ring's next place is 0
    assert into.without_target_scores(np.array([0, 2])).tolist() == [0]
    into.forget_target_scores()
    assert into.without_target_scores(drawn).tolist() == [0, 1, 2]

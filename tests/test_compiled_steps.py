"""Gradient steps in one compiled call and in torch's operations: the same but for rounding."""

from __future__ import annotations

import copy
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.vec_env.base_vec_env import VecEnv

from agents.dqn import MaskedDoubleDQN
from agents.learners import Learner, make_learner
from agents.network import SELECTABLE
from agents.ppo import MaskedPPO, _log_probs
from agents.replay import DecisionBuffer
from agents.rollout import Decisions
from agents.settings import agent_settings
from agents.updates import TrainingDiverged, free
from signals.observations import ObservationShape
from tests.test_compiled_network import SHAPES, situations
from tests.test_getters import needs_library

pytestmark = needs_library


class Nowhere(VecEnv):
    """Says what observations and actions look like, and does nothing."""

    render_mode = None

    def __init__(self, shape: ObservationShape) -> None:
        self.workers = [SimpleNamespace(setup=SimpleNamespace(observation_shape=shape))]
        super().__init__(2, spaces.Box(0.0, 10.0, (shape.size,), np.float32), spaces.Discrete(shape.phases))

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        return [None] * self.num_envs

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        return [False] * self.num_envs

    def nothing(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError

    set_attr = env_method = reset = step_async = step_wait = close = nothing


def learners(agent: str, shape: ObservationShape, **changes: Any) -> list[Any]:
    """Two alike; the second one with compiled steps."""
    made: list[Learner] = []
    for quick in (False, True):
        learner = make_learner(agent_settings(agent, changes), Nowhere(shape), 0, None)  # type: ignore[arg-type]
        learner.set_logger(Logger(None, []))
        for network in learner.policy.modules():
            if hasattr(network, "quick"):
                assert network.quick, "the library was not built"
                network.quick = quick
        made.append(learner)
    return made


def choices(shape: ObservationShape, count: int, seed: int) -> torch.Tensor:
    """Random situations in which the first phase and another one may be chosen."""
    rows = situations(shape, count + seed)[:count]
    phases = rows[:, : shape.phases * shape.phase_features].view(count, shape.phases, shape.phase_features)
    phases[:, :2, : SELECTABLE + 1] = 1.0
    return rows


def fill(buffer: DecisionBuffer, steps: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    signals = len(buffer.open)
    for step in range(steps):
        before, after = (choices(buffer.shape, signals, seed + 2 * step + n).numpy() for n in range(2))
        assert free(before, buffer.shape).all()
        drawn = random.integers(0, 2, signals)
        buffer.add(before, after, drawn, random.normal(0.0, 2.0, signals), np.zeros(signals, bool), [])


def assert_alike(plain: Learner, quick: Learner) -> None:
    pairs = zip(plain.policy.parameters(), quick.policy.parameters(), strict=True)
    states = zip(plain.policy.optimizer.state.values(), quick.policy.optimizer.state.values(), strict=True)
    averages = zip(plain.average.parameters(), quick.average.parameters(), strict=True)
    tensors = [*pairs, *averages, *((one[key], other[key]) for one, other in states for key in one)]
    for expected, found in tensors:
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=2e-5)


@pytest.mark.parametrize(
    ("shape", "units", "most_norm"), [(SHAPES[0], 64, 10.0), (SHAPES[2], 24, 0.05), (SHAPES[2], 64, 0.05)]
)
def test_dqn_learns_the_same(shape: ObservationShape, units: int, most_norm: float) -> None:
    both: list[MaskedDoubleDQN] = learners(
        "dqn", shape, units=units, batch_size=35, buffer_size=90, max_grad_norm=most_norm, averaging_steps=10
    )
    losses: list[list[float]] = []
    for learner in both:
        np.random.seed(3)
        assert isinstance(learner.replay_buffer, DecisionBuffer)
        fill(learner.replay_buffer, 40, seed=7)
        found = []
        for part in range(4):  # with new transitions in place of old ones, and another target network, in between
            for _ in range(3):
                found.append(learner.gradient_step())
                learner._n_updates += 1
            fill(learner.replay_buffer, 15, seed=90 + part)
            if part % 2:
                learner.q_net_target.load_state_dict(learner.q_net.state_dict())
        losses.append(found)
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-4)
    assert_alike(*both)


@pytest.mark.parametrize(
    ("shape", "units", "most_norm"), [(SHAPES[0], 64, 0.5), (SHAPES[2], 24, 50.0), (SHAPES[2], 64, 50.0)]
)
def test_ppo_learns_the_same(shape: ObservationShape, units: int, most_norm: float) -> None:
    both: list[MaskedPPO] = learners("ppo", shape, units=units, batch_size=40, n_epochs=2, max_grad_norm=most_norm)
    for learner in both:
        torch.manual_seed(5)
        for rollout in range(3):
            rows = choices(shape, 71, seed=rollout)
            actions = torch.randint(0, 2, (71,))
            with torch.no_grad():
                log_probs, _ = _log_probs(learner.actor(rows), actions)
            log_probs += 0.3 * torch.randn(71)  # so that some ratios are clipped, above and below
            learner.decisions = Decisions(rows, actions, log_probs, torch.randn(71), torch.randn(71))
            learner.train()
    assert_alike(*both)
    losses = [learner.logger.name_to_value["train/loss"] for learner in both]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)


def test_a_single_decision_is_learned_from_alike() -> None:
    """It has no deviation, so that its advantage is taken as it is."""
    both: list[MaskedPPO] = learners("ppo", SHAPES[0], n_epochs=2)
    for learner in both:
        rows = choices(SHAPES[0], 1, seed=1)
        learner.decisions = Decisions(rows, torch.tensor([1]), torch.tensor([-0.7]), torch.ones(1), torch.ones(1))
        learner.train()
    assert_alike(*both)


def test_what_is_known_of_the_target_is_what_it_would_say_anew() -> None:
    """To the bit, whatever else is drawn with it: a resumed training knows nothing at first, and goes on the same."""
    _, learner = learners("dqn", SHAPES[0], batch_size=40, buffer_size=200)
    buffer = learner.replay_buffer
    fill(buffer, 100, seed=2)
    other = copy.deepcopy(learner.policy.state_dict())
    moments = copy.deepcopy(learner.policy.optimizer.state_dict())
    results = []
    for forgetful in (False, True):
        learner.policy.load_state_dict(other)
        learner.policy.optimizer.load_state_dict(moments)
        np.random.seed(1)
        for _ in range(12):
            if forgetful:
                buffer.target_version[:] = 0
            learner.gradient_step()
        results.append([weight.clone() for weight in learner.policy.parameters()])
    assert (buffer.target_version > 0).any()
    assert all(torch.equal(one, two) for one, two in zip(*results, strict=True))
    learner.q_net_target.load_state_dict(learner.q_net.state_dict())
    version = buffer.target_version.max()
    learner.gradient_step()
    assert buffer.target_version.max() == version + 1


def test_the_optimiser_goes_on_where_the_other_way_left_it() -> None:
    plain, quick = learners("dqn", SHAPES[0], batch_size=40, buffer_size=200)
    for learner in (plain, quick):
        np.random.seed(1)
        fill(learner.replay_buffer, 100, seed=2)
    plain.gradient_step()
    quick.policy.load_state_dict(plain.policy.state_dict())
    quick.policy.optimizer.load_state_dict(copy.deepcopy(plain.policy.optimizer.state_dict()))
    quick.average.load_state_dict(plain.average.state_dict())
    for learner in (plain, quick):
        np.random.seed(2)
        learner._n_updates = 1
        for _ in range(3):
            learner.gradient_step()
            learner._n_updates += 1
    assert_alike(plain, quick)


@pytest.mark.parametrize("way", [0, 1])
def test_a_loss_that_is_no_number_ends_the_training_and_changes_nothing(way: int) -> None:
    learner = learners("dqn", SHAPES[0], batch_size=40, buffer_size=200)[way]
    fill(learner.replay_buffer, 100, seed=2)
    learner.gradient_step()
    learner.replay_buffer.rewards[:] = np.nan
    before = [weight.clone() for weight in (*learner.policy.parameters(), *learner.average.parameters())]
    learner.due_steps = 1
    with pytest.raises(TrainingDiverged, match="loss is nan"):
        learner.train_due()
    after = (*learner.policy.parameters(), *learner.average.parameters())
    assert all(torch.equal(one, two) for one, two in zip(before, after, strict=True))


@pytest.mark.parametrize("way", [0, 1])
def test_ppo_notices_what_is_no_number(way: int) -> None:
    learner = learners("ppo", SHAPES[0])[way]
    rows = choices(SHAPES[0], 20, seed=1)
    actions, ones = torch.ones(20, dtype=torch.long), torch.ones(20)
    learner.decisions = Decisions(rows, actions, -ones, ones, ones * torch.nan)
    with pytest.raises(TrainingDiverged, match="not finite"):
        learner.train()

"""Double DQN with masks, which learns from free choices, while the simulations run."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import torch
from stable_baselines3 import DQN
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.type_aliases import RolloutReturn, TrainFreq
from stable_baselines3.common.vec_env import VecEnv
from torch import nn
from torch.nn import functional

from agents.exploration import Draws, Explorer
from agents.learner import SB3Learner, State, off_policy_arguments, shared_arguments
from agents.network import Encoder, PhaseScorer, Scores
from agents.policies import PhaseDQNPolicy
from agents.replay_buffer import DecisionBuffer
from agents.settings import DQNSettings
from agents.updates import TrainingDiverged, average_in
from agents.vec_env import SignalsVecEnv
from signals.observations import ObservationShape


@dataclass(frozen=True)
class _Turn:
    """One decision of every signal."""

    before: dict[str, Any]
    """The explorer's state before the draws."""
    draws: Draws
    chosen: npt.NDArray[np.int64]
    """[N] phases, of those workers that have been asked."""


class MaskedDoubleDQN(SB3Learner, DQN):
    """DQN with van Hasselt's double target, masked exploration, and a part of it greedy."""

    Settings = DQNSettings
    probabilities = False
    COUNTERS: ClassVar[tuple[str, ...]] = (
        *SB3Learner.COUNTERS,
        "_n_calls",
        "_learned_from",
        "due_steps",
        "exploration_rate",
    )
    explorer: Explorer
    average: PhaseScorer
    """The network with the mean of its late weights: what a controller gets."""
    averaging: float = 0.001
    due_steps: int = 0
    """Gradient steps that wait for the next decision: they are taken while the simulations run."""
    _to_store: tuple[Any, ...] | None = None
    _turn: _Turn | None = None
    """The next decision, of which those workers have been asked that have answered the last one."""
    _learned_from: int = 0
    """Transitions that the buffer had been given at the last training."""
    _scores: Scores | None = None

    @classmethod
    def network(cls, settings: DQNSettings, shape: ObservationShape, encoder: type[Encoder]) -> PhaseScorer:
        """The phase scorer, whose scores are values."""
        return PhaseScorer(shape, settings.units, encoder)

    @classmethod
    def make(
        cls, settings: DQNSettings, env: SignalsVecEnv, *, seed: int, device: str, encoder: type[Encoder]
    ) -> Self:  # fmt: skip
        """See `Learner.make`."""
        learner = cls(
            PhaseDQNPolicy,
            **shared_arguments(settings, env, seed, device, encoder, optimizer_kwargs={"fused": True}),
            **off_policy_arguments(settings, env),
            replay_buffer_class=DecisionBuffer,
            replay_buffer_kwargs={"shape": env.shape, "gamma": settings.gamma},
        )
        if env.shape.regret is not None and settings.plan_start:
            learner.online.begin_as_rule(settings.plan_start)
            learner.target.load_state_dict(learner.online.state_dict())
        learner.average = copy.deepcopy(learner.online)
        learner.averaging = 1.0 / settings.averaging_steps
        learner.explorer = Explorer(env.shape, settings.greedy_exploration, [seed, 0xE])
        return learner

    @property
    def online(self) -> PhaseScorer:
        """The network as it is learned."""
        network = self.q_net.q_net
        assert isinstance(network, PhaseScorer)
        return network

    @property
    def target(self) -> PhaseScorer:
        """The network that the targets' values come from."""
        network = self.q_net_target.q_net
        assert isinstance(network, PhaseScorer)
        return network

    @property
    def buffer(self) -> DecisionBuffer:
        """The replay buffer."""
        assert isinstance(self.replay_buffer, DecisionBuffer)
        return self.replay_buffer

    def networks(self) -> list[nn.Module]:
        """The averaged one, the online one and the target."""
        return [self.average, self.online, self.target]

    def state(self) -> State:
        """As of every learner, with the explorer and the replay buffer."""
        self.store()
        further = {
            "average": self.average.state_dict(),
            "explorer": self.explorer_state,
            "replay": self.buffer.state(),
        }
        return {**super().state(), **further}

    def load_state(self, state: State) -> None:
        """The same back."""
        super().load_state(state)
        self.average.load_state_dict(state["average"])
        self.explorer_state = state["explorer"]
        self.buffer.load_state(state["replay"])

    def finish(self) -> None:
        """Take the gradient steps that are due."""
        self.train_due()

    def _setup_learn(
        self, total_timesteps: int, callback: Any = None, reset_num_timesteps: bool = True, *further: Any
    ) -> tuple[int, BaseCallback]:
        """What was drawn for an environment that begins anew now was drawn for another moment."""
        if reset_num_timesteps:
            self._turn = None
        return super()._setup_learn(total_timesteps, callback, reset_num_timesteps, *further)

    def collect_rollouts(
        self, env: VecEnv, callback: BaseCallback, train_freq: TrainFreq, replay_buffer: ReplayBuffer,
        action_noise: Any = None, learning_starts: int = 0, log_interval: int | None = None,
    ) -> RolloutReturn:  # fmt: skip
        """So many decisions of every signal, stored.

        A worker that has answered is asked again at once, while others still compute; but for the last decision of a
        training. What is decided does not depend on who answers first.
        """
        del action_noise, log_interval, replay_buffer  # which is this agent's own
        assert isinstance(env, SignalsVecEnv)
        callback.on_rollout_start()
        for _ in range(train_freq.frequency):
            rows = np.asarray(self._last_obs)
            if self._turn is None:
                self._turn = self._draw(env.num_envs, learning_starts)
            turn, self._turn = self._turn, None
            for n, part in enumerate(env.batch.rows):
                if not env.asked(n):
                    self._decide(env, n, rows[part], turn)
            self.train_due()  # while the simulations run
            self.num_timesteps += env.num_envs
            self._update_current_progress_remaining(self.num_timesteps, self._total_timesteps)
            self._on_step()
            if self.num_timesteps < self._total_timesteps:
                self._turn = self._draw(env.num_envs, learning_starts)
            self._to_store = self._receive(env, rows, turn.chosen)
            if not callback.on_step():
                return RolloutReturn(env.num_envs, 0, continue_training=False)
        callback.on_rollout_end()
        return RolloutReturn(train_freq.frequency * env.num_envs, 0, continue_training=True)

    def _draw(self, signals: int, learning_starts: int) -> _Turn:
        rate = 1.0 if self.num_timesteps < learning_starts else self.exploration_rate
        before = self.explorer.state
        return _Turn(before, self.explorer.draw(signals, rate), np.zeros(signals, np.int64))

    def _decide(self, env: SignalsVecEnv, n: int, rows: npt.NDArray[np.float32], turn: _Turn) -> None:
        """Hand a worker the phases of its signals."""
        if self._scores is None:
            self._scores = self.online.scoring()
        best: npt.NDArray[np.int64] = self._scores(rows).argmax(axis=1)
        part = env.batch.rows[n]
        turn.chosen[part] = self.explorer.choose(rows, best, turn.draws, part)
        env.send(n, turn.chosen[part])

    def _receive(self, env: SignalsVecEnv, rows: Any, chosen: npt.NDArray[np.int64]) -> tuple[Any, ...]:
        """What came of a decision of every signal; who has answered goes on with the next one."""
        new_rows, following = np.empty_like(rows), np.empty_like(rows)
        rewards, dones = np.zeros(env.num_envs, np.float32), np.zeros(env.num_envs, bool)
        infos: list[dict[str, Any]] = [{} for _ in range(env.num_envs)]
        ended: dict[int, dict[str, float]] = {}
        waiting = set(range(len(env.workers)))
        assert all(map(env.asked, waiting)), "a worker that was not asked would be waited for without end"
        while waiting:
            for turn, episode in env.receive(least=1, among=waiting):
                n = turn.worker
                waiting.remove(n)
                part = env.batch.rows[n]
                new_rows[part] = env.workers[n].shared["observation"]
                following[part] = new_rows[part] if turn.last is None else turn.last
                rewards[part], dones[part] = turn.reward * env.reward_scale, turn.last is not None
                if turn.failure:
                    infos[part] = [{"failed": True}] * (part.stop - part.start)
                if episode is not None:
                    ended[n] = episode
                if self._turn is not None:
                    self._decide(env, n, new_rows[part], self._turn)
        env.finished += [episode for _, episode in sorted(ended.items())]
        self._last_obs = new_rows
        return rows, following, chosen, rewards, dones, infos

    @property
    def explorer_state(self) -> dict[str, Any]:
        """The explorer's state before whatever it has drawn for a decision that nobody has answered."""
        return self.explorer.state if self._turn is None else self._turn.before

    @explorer_state.setter
    def explorer_state(self, state: dict[str, Any]) -> None:
        self.explorer.state, self._turn = state, None

    def train(self, gradient_steps: int, batch_size: int = 100) -> None:
        """Note that gradient steps are due. The next decision is made without them, so that they and the
        simulations, which wait for nobody then, take their time together and not one after the other."""
        del batch_size
        self.due_steps = gradient_steps

    def store(self) -> None:
        """Put the last decisions into the replay buffer: nobody needs them before the next gradient step, so that the
        next decisions come first."""
        if self._to_store is not None:
            self.buffer.add(*self._to_store)
            self._to_store = None

    def _on_step(self) -> None:
        """As of SB3; what the target network has said is forgotten when it changes."""
        super()._on_step()
        if self._n_calls % max(self.target_update_interval // self.n_envs, 1) == 0:
            self.buffer.forget_target_scores()

    def train_due(self) -> None:
        """The gradient steps that are due, on the double-DQN target, after what was left to store.

        Raises:
            TrainingDiverged: the loss is no finite number.
        """
        self.store()
        gradient_steps, self.due_steps = self.due_steps, 0
        if not gradient_steps:
            return
        self._update_learning_rate(self.policy.optimizer)
        if self.buffer.added == self._learned_from:  # nobody has had a choice since: there is nothing new
            return
        self._learned_from = self.buffer.added
        losses = []
        for _ in range(gradient_steps):
            losses.append(self.gradient_step())
            if not math.isfinite(losses[-1]):
                raise TrainingDiverged(
                    f"the loss is {losses[-1]} after {self.num_timesteps} steps; lower learning_rate or reward_scale"
                )
            self._n_updates += 1
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")
        self.logger.record("train/loss", sum(losses) / len(losses))

    def gradient_step(self) -> float:
        """One step on transitions drawn anew, into the moving average, too; its loss. Where that is not finite
        nothing is changed."""
        drawn = self.buffer.draw(self.batch_size)
        batch = self.buffer.transitions(drawn)
        with torch.no_grad():
            best = self.online(batch.next_observations).argmax(dim=1, keepdim=True)
            value = self._target_scores(drawn, batch.next_observations).gather(1, best)
            target = batch.rewards + batch.discounts * value
        estimate = self.online(batch.observations).gather(1, batch.actions)
        loss = functional.smooth_l1_loss(estimate, target)
        if torch.isfinite(loss):
            weights = list(self.online.parameters())
            self.policy.optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(weights, self.max_grad_norm)
            self.policy.optimizer.step()
            average_in(self.average.parameters(), weights, self.averaging, self._n_updates + 1)
        return loss.item()

    def _target_scores(self, drawn: npt.NDArray[np.int64], rows: torch.Tensor) -> torch.Tensor:
        """[B, P] of the target network, which is asked only for transitions that it has not been asked for."""
        unknown = self.buffer.without_target_scores(drawn)
        if unknown.size:
            self.buffer.remember_target_scores(drawn[unknown], self.target(rows[torch.from_numpy(unknown)]))
        return self.buffer.target_scores_of(drawn)

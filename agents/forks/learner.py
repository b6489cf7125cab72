"""Multiagent rollout: policy iteration on what forks of the running simulation show (Bertsekas 2021, Multiagent
reinforcement learning: rollout and policy iteration).

In a round the simulations follow a base policy. At some of the free choices of a signal the simulation is forked,
once for each phase that this signal may take: it alone deviates, all others, and itself afterwards, follow the base.
What all vehicles lose within a horizon is the cost of the phase. A network learns these costs from what the signal is
shown at the moment; the forks know the future, it does not. It is the next round's base. Validation ends the rounds:
when a network is no better than the best one before, that one is kept. A network that begins as the planner is judged
before the first round, so that what is kept is no worse than the planner, either; where a round's fit is, the rule
stays the base of the next one.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Self

import numpy as np
import torch
from stable_baselines3.common.logger import Logger
from torch import Tensor, nn

from agents.forks.base import NetworkBase, named_base
from agents.forks.collect import Counts, Quota, Samples, Walk
from agents.forks.fit import fitted_to, misfit, targets_of
from agents.judgement import Judgement
from agents.learner import State
from agents.network import Encoder, PhaseScorer
from agents.settings import RolloutSettings
from agents.updates import require_finite
from agents.vec_env import SignalsVecEnv
from controllers.base import Controller
from envs.sumo.simulation import SimulationError
from envs.workers.client import RemoteSimulation
from envs.workers.handover import CORES, readable
from plumbing.errors import InputError
from signals.observations import ObservationShape, PhaseObservation

log = logging.getLogger("intergreen.training")
SILENT_S = 900.0
"""[s] on the wall clock without an answer of any fork: then something is wrong for good."""


class RolloutLearner:
    """See the module. Rewards are not learned from: a loss is the time that vehicles lose, waiting to enter included.

    Its draws and fits follow from the seed and from counters alone, so that a run that was stopped goes on exactly.
    """

    Settings = RolloutSettings
    probabilities = False
    arrivals = True
    """The bases plan; see `agents.registry.needs_arrivals`."""

    def __init__(
        self, settings: RolloutSettings, env: SignalsVecEnv, seed: int, device: str, encoder: type[Encoder]
    ) -> None:
        self.settings, self.env, self.seed, self.device, self.encoder = settings, env, seed, device, encoder
        setup = env.workers[0].setup
        simulated = setup.simulation
        interval_s = simulated.timing.decision_interval_s
        lasts_s = simulated.end_s - simulated.begin_s - simulated.warm_up_s
        steps = max(1, round(settings.horizon_s / interval_s))
        if steps * interval_s >= lasts_s:
            raise InputError(
                f"horizon_s is {settings.horizon_s:g}, and an episode lasts {lasts_s:g} s: no fork would come to its "
                "end; lower it by --config, or train on longer episodes"
            )
        assert setup.observes is not None
        assert issubclass(setup.observes, PhaseObservation), "SignalsVecEnv has looked"
        self.observation = setup.observes
        self.moments = math.ceil(settings.round / env.num_envs)
        """Of each signal, in a round; no fewer, so that a last few steps are no round of their own."""
        workers = len(env.workers)
        self.samples = max(settings.samples, settings.samples_per_signal * (env.num_envs // workers))
        """Choices that are tried in a round."""
        local = all(isinstance(worker, RemoteSimulation) for worker in env.workers)
        self.walks = [
            Walk(
                worker, seed, n,
                Quota(
                    moments=self.moments,
                    samples=self.samples // workers + (n < self.samples % workers),
                    steps=steps,
                    horizon_s=steps * interval_s,
                    exploration=settings.exploration,
                    loss_scale=settings.loss_scale,
                    at_a_time=max(1, CORES // workers) if local else 1,
                ),
            )
            for n, worker in enumerate(env.workers)
        ]  # fmt: skip
        env.watcher = lambda worker, number: self.walks[worker].watch(number)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            untrained = PhaseScorer(env.shape, settings.units, encoder)
        self.untrained = env.shape.regret is not None and settings.plan_start > 0
        """Whether the candidate is the planner, of which nothing has been learned yet."""
        if self.untrained:
            untrained.begin_as_rule(settings.plan_start)
        self.initial = untrained.state_dict()
        """What fits begin with."""
        self.candidate = dict(self.initial)
        """The network of the last fit; before any, what was started from."""
        self.best: dict[str, Tensor] | None = None
        """The best network by validation, without any the last one; None before there is one."""
        self.best_judgement: Judgement | None = None
        self.num_timesteps = self.round = 0
        self._began = 0
        """Steps before this round."""
        self.awaits_judgement, self.settled = self.untrained, False
        """Whether the candidate is still to be validated; whether rounds bring nothing any more."""
        self._unfitted = 0
        """Samples since the last fit."""
        self._logger = Logger(None, [])

    @classmethod
    def network(cls, settings: RolloutSettings, shape: ObservationShape, encoder: type[Encoder]) -> PhaseScorer:
        """The phase scorer, whose scores are savings: `loss_scale` veh s each, against the mean of the phases."""
        return PhaseScorer(shape, settings.units, encoder)

    @classmethod
    def make(
        cls, settings: RolloutSettings, env: SignalsVecEnv, *, seed: int, device: str, encoder: type[Encoder]
    ) -> Self:  # fmt: skip
        """See `Learner.make`."""
        return cls(settings, env, seed, device, encoder)

    def learn(
        self, total_timesteps: int, callback: Any = None, log_interval: int = 1, *, reset_num_timesteps: bool = True
    ) -> Self:
        """Rounds, until so many steps more are taken or a round brings nothing; see `Learner.learn`.

        Raises:
            InputError: the base needs another sensing.
            SimulationError: a worker fails again and again, or its forks do not answer.
        """
        del log_interval
        callback = callback or _Nobody()
        end = self.num_timesteps + total_timesteps
        if reset_num_timesteps:
            self._begin_round()
            self.env.reset()
        while self.num_timesteps < end:
            callback.on_rollout_start()  # which validates what awaits it
            if self.awaits_judgement:
                self.judged(None)  # nobody does
            if self.settled:
                break
            if self._round_is_over():
                self._begin_round()
            self._collect(callback, end)
            if self._round_is_over():
                if not any(walk.counts.sampled for walk in self.walks):
                    log.warning(
                        "round %d: no choice was tried; no signal had one that was free, a horizon_s before its "
                        "episode's end", self.round,
                    )  # fmt: skip
                self._fit()
        return self

    def finish(self) -> None:
        """See `Learner.finish`: fit what a round that was cut short has brought."""
        self._fit()

    def scorer(self) -> nn.Module:
        """The network that awaits its judgement, else the best one, which is the untrained one at first."""
        weights = self.candidate if self.awaits_judgement else self.best or self.initial
        found = self.network(self.settings, self.env.shape, self.encoder)
        found.load_state_dict(weights)
        return found

    def begin_with(self, weights: Mapping[str, Tensor]) -> None:
        """That network is the first base, and what fits begin with."""
        self.network(self.settings, self.env.shape, self.encoder).load_state_dict(dict(weights))
        self.initial = self.candidate = self.best = dict(weights)
        self.awaits_judgement, self.untrained = True, False  # a round has to be better than what was there

    def judged(self, judgement: Judgement | None) -> None:
        """See `Judged.judged`."""
        untrained, self.untrained, self.awaits_judgement = self.untrained, False, False
        if judgement is not None and self.best_judgement is not None and judgement >= self.best_judgement:
            self.settled = self.best is not None  # else the next round knows more of the rule's choices
            return
        self.best = None if untrained else dict(self.candidate)
        self.best_judgement = judgement or self.best_judgement

    def status(self) -> str:
        """Where it is, in a few words."""
        samples = sum(walk.counts.sampled for walk in self.walks)
        done = f"round {self.round}, {samples:,} of {self.samples:,} choices tried"
        if self.settled:
            return f"round {self.round} was no better than the best before it, whose network is kept"
        return done if self.best is not None or self.round < 2 else f"{done}; no fit was better than the planner yet"

    def state(self) -> State:
        """See `Learner.state`."""
        return {
            "initial": self.initial, "candidate": self.candidate, "best": self.best,
            "counters": {name: getattr(self, name) for name in self._COUNTERS},
            "judgement": None if self.best_judgement is None else asdict(self.best_judgement),
            "walks": [{"counts": asdict(walk.counts), "samples": walk.samples.state()} for walk in self.walks],
        }  # fmt: skip

    _COUNTERS = (
        "num_timesteps", "round", "_began", "_unfitted", "awaits_judgement", "settled", "untrained",
    )  # fmt: skip

    def load_state(self, state: State) -> None:
        """See `Learner.load_state`."""
        self.initial, self.candidate, self.best = state["initial"], state["candidate"], state["best"]
        for name in self._COUNTERS:
            setattr(self, name, state["counters"][name])
        told = state["judgement"]
        self.best_judgement = None if told is None else Judgement(**told)
        for walk, saved in zip(self.walks, state["walks"], strict=True):
            walk.counts, walk.samples = Counts(**saved["counts"]), Samples.of_state(saved["samples"])
            walk.follow(self._base())

    def set_logger(self, logger: Logger) -> None:
        """See `Learner.set_logger`."""
        self._logger = logger

    def _round_is_over(self) -> bool:
        return all(walk.counts.in_round >= self.moments for walk in self.walks)

    def _begin_round(self) -> None:
        self.round, self._began = self.round + 1, self.num_timesteps
        for walk in self.walks:
            walk.begin_round(self._base())

    def _base(self) -> Controller:
        """A new one of what this round follows.

        Raises:
            InputError: the simulations do not tell it what it needs.
        """
        if self.best is None:
            found = named_base(self.settings.base, self.observation.sensing)
            if found.sensing != self.observation.sensing:
                raise InputError(
                    f"base {self.settings.base!r} needs --sensing {found.sensing}, and this is a training with "
                    f"{self.observation.sensing}; begin with a network that reads these: --from RUN_DIR"
                )
            return found
        return NetworkBase(self.best, self.settings.units, self.encoder, self.observation)

    def _collect(self, callback: Any, end: int) -> None:
        """Some moments of each worker, as far as the round or the training goes; who waits for forks keeps nobody
        else from going on. What is decided does not depend on who answers first."""
        left = math.ceil((end - self._began) / self.env.num_envs)  # of the round, where the training ends within it
        until = min(self.moments, left)
        waiting: set[int] = set()
        for n, walk in enumerate(self.walks):
            if walk.asked or (walk.counts.in_round < until and self._step(n, callback)):
                waiting.add(n)
        if not waiting:
            return
        answers = {self.env.workers[n].answers_fd: n for n in waiting}
        found = readable(answers, SILENT_S)
        if not found:
            raise SimulationError(f"no fork has answered for {SILENT_S:g} s; lower horizon_s, or look for gridlock")
        for descriptor in found:
            self._take(answers[descriptor], callback)

    def _step(self, n: int, callback: Any) -> bool:
        """A moment of a worker; whether forks are tried first."""
        try:
            phases = self.walks[n].ask()
            if phases is None:
                return True
            self.env.send(n, phases)
        except SimulationError as error:
            self.env.batch.give_up(n, str(error))
        self._receive(n, callback)
        return False

    def _take(self, n: int, callback: Any) -> None:
        """The moment of a worker whose forks have been tried."""
        walk, before = self.walks[n], self.walks[n].counts.sampled
        try:
            self.env.send(n, walk.answered())
        except SimulationError as error:
            self.env.batch.give_up(n, str(error))
        self._unfitted += walk.counts.sampled - before
        self._receive(n, callback)

    def _receive(self, n: int, callback: Any) -> None:
        ((turn, episode),) = self.env.receive(among={n})
        self.walks[n].took(ended=turn.last is not None)
        self.num_timesteps += self.env.batch.rows[n].stop - self.env.batch.rows[n].start
        self.env.finished += [] if episode is None else [episode]
        callback.on_step()

    def _fit(self) -> None:
        """A network from all choices that were tried, of earlier rounds, too; nothing without new ones."""
        if not self._unfitted:
            return
        tried = [walk.samples for walk in self.walks]
        rows = torch.from_numpy(np.array([row for of in tried for row in of.rows]))
        targets = targets_of(np.array([each for of in tried for each in of.losses]), self.settings.loss_scale)
        network = fitted_to(
            rows, targets, self.settings, self.env.shape, self.encoder, self.initial, self.seed + self.round,
            self.device,
        )  # fmt: skip
        require_finite(network, self.num_timesteps)
        with torch.no_grad():
            self._logger.record("train/misfit", float(misfit(network, rows, targets)))
        self.candidate, self.awaits_judgement, self._unfitted = dict(network.state_dict()), True, 0


class _Nobody:
    """A callback to whom nothing matters."""

    def on_rollout_start(self) -> None:
        """Nothing is half done."""

    def on_step(self) -> None:
        """A worker has decided."""

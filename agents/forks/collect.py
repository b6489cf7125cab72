"""A worker's way through a round: what the base decides and, at some of the free choices, what each phase would have
cost, tried in forks."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch

from controllers.base import Controller, Phases
from envs.workers.forks import Branches, Outcome
from envs.workers.protocol import SimulationWorker

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Quota:
    """What a worker does in a round."""

    moments: int
    """Decisions of each of its signals."""
    samples: int
    """Choices that it tries in forks, at most."""
    steps: int
    """Decisions that a fork lasts."""
    horizon_s: float
    """The same in seconds: a choice so late that its fork would be cut short is not tried."""
    exploration: float
    loss_scale: float
    at_a_time: int
    """Forks at the same time."""


@dataclass
class _Asked:
    """A moment whose forks are being tried."""

    phases: Phases
    """[S] what the base decided."""
    tried: list[tuple[int, int, int]]
    """Signal, phase and the number of the fork."""
    rows: npt.NDArray[np.float32]


@dataclass
class Counts:
    """Where a worker is, in plain values."""

    moment: int = 0
    """Decisions of each signal in all rounds: what is drawn follows from it."""
    in_round: int = 0
    in_episode: int = 0
    since: int = 0
    """The decision of this episode at which the present base took over."""
    free: int = 0
    """Free choices in this round, but for those too late in an episode."""
    sampled: int = 0
    """Of these, tried in forks."""
    begun: int = 0
    """Times that a base has taken over, or has begun an episode: its seed."""


@dataclass
class Samples:
    """Choices and the losses of each of their phases; the same choice in both lists."""

    rows: list[npt.NDArray[np.float32]] = field(default_factory=list)
    """[size] what the signal was shown."""
    losses: list[FloatArray] = field(default_factory=list)
    """[P] what all vehicles lost in the fork [veh s]; NaN of phases that might not be chosen."""

    def state(self) -> dict[str, torch.Tensor]:
        """For a checkpoint."""
        return {
            "rows": torch.from_numpy(np.array(self.rows, np.float32)),
            "losses": torch.from_numpy(np.array(self.losses)),
        }

    @classmethod
    def of_state(cls, state: dict[str, torch.Tensor]) -> Samples:
        """The same back."""
        return cls(list(state["rows"].numpy()), list(state["losses"].numpy()))


class Walk:
    """One worker, which follows the base but where it explores.

    Everything that is drawn follows from the seed, the worker's number and the moment's, so that it does not depend
    on who answers first, nor on where a training was stopped.
    """

    def __init__(self, worker: SimulationWorker, seed: int, number: int, quota: Quota) -> None:
        self.worker, self.quota = worker, quota
        self.counts, self.samples = Counts(), Samples()
        self._seed = seed, number
        self._base: Controller | None = None
        self._fresh = True
        self._asked: _Asked | None = None
        self._free = 0  # choices at this moment

    def begin_round(self, base: Controller) -> None:
        """Follow this one from here on."""
        self.follow(base)
        self.counts.since, self.counts.in_round = self.counts.in_episode, 0
        self.counts.free = self.counts.sampled = 0
        self.counts.begun += 1

    def follow(self, base: Controller) -> None:
        """Go on, within a round, with this one, which knows nothing of the episode yet."""
        self._base, self._fresh, self._asked = base, True, None

    def watch(self, number: int) -> None:
        """The episode is repeated and stands before its decision of this number: the base has to see it."""
        if number >= self.counts.since:
            self._decide()

    def ask(self) -> Phases | None:
        """[S] the phases of this moment, or None where `answered` gives them: forks have been asked for first.

        Raises:
            SimulationError: the worker has failed.
        """
        phases, snapshot = self._decide(), self.worker.snapshot
        draw, counts = self._draw(), self.counts
        free = np.flatnonzero(snapshot.mask.sum(axis=1) > 1)
        if self.worker.setup.simulation.end_s - float(snapshot.time_s[0]) < self.quota.horizon_s:
            free = free[:0]
        self._free = len(free)
        chosen = free[draw.random(len(free)) < self._share()][: self.quota.samples - counts.sampled]
        if not len(chosen):
            return phases
        plans, tried = [[phases]], []
        for signal in chosen:
            for phase in np.flatnonzero(snapshot.mask[signal]):
                fork = 0  # the base's own choices are the same fork for all signals
                if phase != phases[signal]:
                    other = phases.copy()
                    other[signal] = phase
                    fork = len(plans)
                    plans.append([other])
                tried.append((int(signal), int(phase), fork))
        assert self._base is not None
        self.worker.ask_to_branch(Branches(plans, self.quota.steps, self._base, self.quota.at_a_time))
        self._asked = _Asked(phases, tried, self.worker.shared["observation"].copy())
        return None

    @property
    def asked(self) -> bool:
        """Whether forks are being tried."""
        return self._asked is not None

    def answered(self) -> Phases:
        """[S] the phases of this moment, once the forks have shown what each would cost.

        Raises:
            SimulationError: a fork failed.
        """
        assert self._asked is not None
        asked, self._asked = self._asked, None
        outcomes = self.worker.branched()
        draw = self._draw(1)
        phases, losses = asked.phases.copy(), _by_signal(asked.tried, outcomes, self.worker.snapshot.mask.shape[1])
        for signal, each in losses.items():
            self.samples.rows.append(asked.rows[signal])
            self.samples.losses.append(each)
            self.counts.sampled += 1
            noise = draw.gumbel(size=len(each))
            if draw.random() < self.quota.exploration:
                phases[signal] = np.nanargmax(noise - each / self.quota.loss_scale)
        return phases

    def took(self, *, ended: bool) -> None:
        """The moment's phases have been handed over and answered; `ended`: with them the episode."""
        counts = self.counts
        counts.moment += 1
        counts.in_round += 1
        counts.in_episode += 1
        counts.free += self._free
        if ended:
            counts.in_episode = counts.since = 0
            counts.begun += 1
            self._fresh = True

    def _decide(self) -> Phases:
        assert self._base is not None
        if self._fresh:
            plan = self.worker.setup.simulation.plan
            self._base.reset(plan.intersections, self.worker.layout, self.counts.begun)
            self._fresh = False
        return self._base.decide(self.worker.snapshot)

    def _draw(self, part: int = 0) -> np.random.Generator:
        return np.random.default_rng([*self._seed, self.counts.moment, part])

    def _share(self) -> float:
        """Of the free choices that are tried, so that the samples are spread over the round."""
        counts = self.counts
        moments = self.quota.moments - counts.in_round
        expected = (counts.free + self._free) / (counts.in_round + 1) * moments
        return (self.quota.samples - counts.sampled) / max(expected, 1e-9)


def _by_signal(tried: list[tuple[int, int, int]], outcomes: list[Outcome], width: int) -> dict[int, FloatArray]:
    """[P] losses of each signal whose choice was tried."""
    found: dict[int, FloatArray] = {}
    for signal, phase, fork in tried:
        found.setdefault(signal, np.full(width, np.nan))[phase] = outcomes[fork].loss_s
    return found

"""A tree search over forks of the running simulation: what could be reached if the future were known."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from controllers.base import Controller, Phases
from controllers.cop import Cop
from plumbing.errors import InputError
from signals.intersection import Intersection
from signals.layout import Layout
from signals.snapshot import Snapshot
from signals.timing import Timing

MOST_SIGNALS = 3
EXPLORATION = math.sqrt(2)  # for values from 0 to 1: Kocsis and Szepesvari 2006
TOGETHER = 4
"""Leaves that are chosen before any of them is simulated. Fixed, so that the number of cores changes nothing."""


class Outcome(Protocol):
    """The outcome of a tried plan."""

    @property
    def loss_s(self) -> float:
        """Time lost by all vehicles."""

    @property
    def phases(self) -> npt.NDArray[np.int64]:
        """[steps, S] what was shown after each decision."""


Try = Callable[[Sequence[Sequence[Phases]], int, Controller], Sequence[Outcome]]
"""Tries plans from the present moment on, for so many decisions; where one is over, the controller decides."""


@dataclass
class _Node:
    """A choice of phases for the first decisions, and the best that is known to follow from it."""

    plan: list[Phases]
    loss_s: float
    phases: npt.NDArray[np.int64]
    """The phases shown in the branch with this loss."""
    visits: int = 1
    children: list[_Node] = field(default_factory=list)
    untried: list[Phases] | None = None


class TreeSearch:
    """MCTS with a rolling horizon, for up to three signals: an upper reference, not a fair competitor.

    At each decision the simulation is forked for each plan that is tried: its first decisions are the plan's, the
    rest up to the horizon is COP's. A fork shares SUMO's random state, so the search knows which vehicles come and
    how they will drive. No controller in the field can.

    The tree's levels are decisions. A node's children are what its best branch did next, and that with one signal
    changed. Which leaf to try next follows UCT (Kocsis and Szepesvari 2006), with the best loss known below a node
    in place of the mean, since branches are exact. The first decision of the best plan is taken. Nothing is drawn
    at random: the same seed gives the same run.
    """

    sensing = "full"

    def __init__(self, branches: int = 20, horizon_s: float = 45.0, depth: int = 4) -> None:
        self.branches, self.horizon_s, self.depth = branches, horizon_s, depth
        self.policy = Cop()
        self.try_plans: Try | None = None
        """Set by the runner of the episode."""

    @staticmethod
    def check(signals: int) -> None:
        """Raises InputError where there are too many."""
        if signals > MOST_SIGNALS:
            raise InputError(
                f"mcts: {signals} signals to control; the search takes up to {MOST_SIGNALS}, since its branches grow "
                "with them; leave mcts out"
            )

    def reset(self, intersections: Sequence[Intersection], layout: Layout, seed: int) -> None:
        """A new episode."""
        self.check(len(intersections))
        self.layout = layout
        self.policy.reset(intersections, layout, seed)
        self._time_s: float | None = None
        self._interval_s = Timing().decision_interval_s

    def decide(self, snapshot: Snapshot) -> Phases:
        """[S] the first decision of the best plan found."""
        now_s = float(snapshot.time_s[0])
        if self._time_s is not None and now_s > self._time_s:
            self._interval_s = now_s - self._time_s
        self._time_s = now_s
        default = self.policy.decide(snapshot)
        actions = [default, *self._others(default, snapshot.mask)]
        if len(actions) == 1:
            return default
        roots = self._tried([[action] for action in actions])
        left = self.branches - len(roots)
        while left > 0 and (chosen := self._select(roots, min(left, TOGETHER))):
            for path, node in zip(chosen, self._tried([plan for _, plan in chosen]), strict=True):
                nodes = path[0]
                nodes[-1].children.append(node)
                for above in nodes:
                    above.loss_s = min(above.loss_s, node.loss_s)
            left -= len(chosen)
        best = min(range(len(roots)), key=lambda n: (roots[n].loss_s, n))  # the policy's own choice wins ties
        return actions[best]

    def _tried(self, plans: Sequence[list[Phases]]) -> list[_Node]:
        assert self.try_plans is not None, "mcts runs where a simulation can be forked: python evaluate.py"
        steps = max(self.depth + 1, round(self.horizon_s / self._interval_s))
        outcomes = self.try_plans(plans, steps, self.policy)
        return [_Node(plan, of.loss_s, of.phases) for plan, of in zip(plans, outcomes, strict=True)]

    def _others(self, action: Phases, allowed: npt.NDArray[np.bool_]) -> list[Phases]:
        """The same with one signal changed, each way that is allowed."""
        found = []
        for signal, phase in zip(*np.nonzero(allowed), strict=True):
            if phase != action[signal]:
                found.append(action.copy())
                found[-1][signal] = phase
        return found

    def _select(self, roots: list[_Node], count: int) -> list[tuple[list[_Node], list[Phases]]]:
        """The next leaves to try: the nodes above each, and its plan; none where all has been tried."""
        chosen: list[tuple[list[_Node], list[Phases]]] = []
        while len(chosen) < count:
            path: list[_Node] = []
            level = [node for node in roots if self._open(node)]
            if not level:
                break
            while level:
                path.append(_most_promising(level, roots))
                if self._untried(path[-1]):
                    break
                level = [node for node in path[-1].children if self._open(node)]
            for node in path:
                node.visits += 1
            chosen.append((path, [*path[-1].plan, self._untried(path[-1]).pop(0)]))
        return chosen

    def _untried(self, node: _Node) -> list[Phases]:
        """The next decisions of a node that its own branch did not take."""
        if node.untried is None:
            depth = len(node.plan)
            node.untried = []
            if depth < min(self.depth, len(node.phases)):
                follows = node.phases[depth]
                node.untried = self._others(follows, self.layout.phase_exists)
                # its own branch, one decision longer: nothing to simulate
                node.children.append(_Node([*node.plan, follows], node.loss_s, node.phases))
        return node.untried

    def _open(self, node: _Node) -> bool:
        """Whether there is something left to try at or below it."""
        return bool(self._untried(node)) or any(map(self._open, node.children))


def _most_promising(level: list[_Node], roots: list[_Node]) -> _Node:
    best, worst = min(node.loss_s for node in roots), max(node.loss_s for node in roots)
    total = sum(node.visits for node in level)

    def score(node: _Node) -> float:
        value = (worst - node.loss_s) / max(worst - best, 1e-9)
        return value + EXPLORATION * math.sqrt(math.log(total + 1) / node.visits)

    return max(level, key=score)

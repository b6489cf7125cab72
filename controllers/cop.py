"""COP: each signal plans its phases ahead by dynamic programming over the vehicles that it sees coming."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from controllers.base import Phases, choose
from signals.intersection import Intersection
from signals.layout import Layout
from signals.planner.planner import HORIZON_S, SATURATION_FLOW_VPH, Planner
from signals.snapshot import Snapshot


class Cop:
    """Controlled optimisation of phases, replanned at each decision.

    Source: Sen and Head 1997, Controlled optimization of phases at an intersection. The phase whose best plan costs
    the least delay is asked for; the present one at a tie, or where there is no plan. What a plan is and what is
    assumed stands in `signals.planner.planner.Planner`.

    Args:
        horizon_s: how far plans reach [s].
        saturation_flow_vph: vehicles per hour that leave a queue on one lane's green.
    """

    sensing = "full"

    def __init__(self, horizon_s: float = HORIZON_S, saturation_flow_vph: float = SATURATION_FLOW_VPH) -> None:
        self.horizon_s, self.saturation_flow_vph = horizon_s, saturation_flow_vph

    def reset(self, intersections: Sequence[Intersection], layout: Layout, seed: int) -> None:
        """A new episode."""
        del intersections, seed
        self._planner = self.planner(layout)

    def planner(self, layout: Layout) -> Planner:
        """What costs the phases of these signals."""
        return Planner(layout, self.horizon_s, self.saturation_flow_vph)

    def decide(self, snapshot: Snapshot) -> Phases:
        """[S] the first phase of each signal's best plan."""
        costs = self._planner.costs(snapshot)
        least = costs.min(axis=1, keepdims=True)
        planned = np.isfinite(least)
        # costs beyond the least, so that the bonus of the present phase is not lost in rounding
        self.last_scores = np.where(planned, np.where(planned, least, 0.0) - costs, 0.0)
        return choose(self.last_scores, snapshot)


class CopOnDetectors(Cop):
    """The same planner on what detectors tell: see `signals.queues`.

    Args:
        horizon_s, saturation_flow_vph: as of `Cop`.
        expected: share of the mean flow that is reckoned with where nobody is seen; 0: nobody comes.
    """

    sensing = "detectors"

    def __init__(
        self,
        horizon_s: float = HORIZON_S,
        saturation_flow_vph: float = SATURATION_FLOW_VPH,
        expected: float = 1.0,
    ) -> None:
        super().__init__(horizon_s, saturation_flow_vph)
        self.expected = expected

    def planner(self, layout: Layout) -> Planner:
        """What costs the phases of these signals."""
        return Planner(layout, self.horizon_s, self.saturation_flow_vph, self.sensing, self.expected)

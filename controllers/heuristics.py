"""The classics of adaptive control that need no model: greedy, max-pressure, SOTL; and a random one as the floor."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from controllers.base import Phases, choose
from signals.intersection import Intersection
from signals.layout import Layout
from signals.measures import ApproachMeasures, streams_green
from signals.planner.planner import SATURATION_FLOW_VPH
from signals.snapshot import Snapshot


class _Heuristic:
    """Shared by the heuristics: they see everything and keep the layout."""

    sensing = "full"
    last_scores: npt.NDArray[np.float64]
    """[S, P] what the last decision was made from."""

    def reset(self, intersections: Sequence[Intersection], layout: Layout, seed: int) -> None:
        """Remember where what is."""
        del intersections, seed
        self.layout = layout


class _Calm(_Heuristic):
    """Shared by the heuristics that compare phases by vehicles: what a change costs counts against it."""

    def __init__(self, change_cost: float = 1.0, hysteresis_veh: float = 0.0) -> None:
        """See the class.

        Args:
            change_cost: how many times the vehicles count that the current phase would have discharged during the
                change to another; 0 for the rule as it was published, which knows no lost time.
            hysteresis_veh: by how many vehicles more another phase must be better than the current one.
        """
        self.change_cost = change_cost
        self.hysteresis_veh = hysteresis_veh

    def best(self, scores: npt.NDArray[np.float64], vehicles: npt.NDArray[np.float64], snapshot: Snapshot) -> Phases:
        """[S] the phase of the best score [S, P] after the cost of the change to it, with vehicles [B] by stream."""
        self.last_scores = scores - self.change_cost * lost_to_change(self.layout, vehicles, snapshot)
        return choose(self.last_scores, snapshot, self.hysteresis_veh)


def lost_to_change(layout: Layout, vehicles: npt.NDArray[np.float64], snapshot: Snapshot) -> npt.NDArray[np.float64]:
    """[S, P] the vehicles that would leave on the current phase's green while the change to each phase lasts [veh]:
    of each stream no more than are there; 0 for the current phase."""
    signals = np.arange(len(snapshot.phase))
    change_s = layout.change_s[signals, snapshot.phase]
    green = streams_green(layout, snapshot)
    signal = layout.stream_signal[green]
    leaving = np.minimum(vehicles[green, None], SATURATION_FLOW_VPH / 3600.0 * change_s[signal])
    lost = np.zeros_like(change_s)
    np.add.at(lost, signal, leaving)
    return lost


class Greedy(_Calm):
    """The phase whose approaches hold the most vehicles (longest queue first), over the detection zones."""

    def decide(self, snapshot: Snapshot) -> Phases:
        """[S] the phase with the most vehicles, less what the change to it costs."""
        vehicles = ApproachMeasures(self.layout, snapshot).vehicles
        return self.best(self.layout.phase_streams.sum(vehicles), vehicles, snapshot)


class MaxPressure(_Calm):
    """The phase with the greatest pressure: upstream less downstream vehicles over the movements it serves.

    Source: Varaiya 2013, Max pressure control of a network of signalized intersections. Every exit counts with
    the mean over its lanes, and saturation flows are taken as equal. A movement with more vehicles on its exit than
    before it counts nothing (Tassiulas and Ephremides 1992): it is no reason against those that are green with it.
    The paper has no lost time; here what a change costs counts against it.
    """

    def decide(self, snapshot: Snapshot) -> Phases:
        """[S] the phase with the greatest pressure, less what the change to it costs."""
        layout = self.layout
        vehicles = ApproachMeasures(layout, snapshot).vehicles
        upstream = layout.movement_streams.sum(vehicles)
        pressure = np.maximum(upstream - layout.movement_exits.sum(snapshot.vehicles), 0.0)  # [S, K] [veh]
        served = np.where(layout.crossing, 0.0, pressure)
        into = layout.movement_streams
        goes = np.zeros(len(vehicles), bool)  # who stands before a full exit loses nothing by a change
        goes[into.index[(into.weight > 0) & (served > 0)[..., None]]] = True
        scores = np.einsum("spk,sk->sp", layout.service > 0, served)
        return self.best(scores, np.where(goes, vehicles, 0.0), snapshot)


class SelfOrganizing(_Heuristic):
    """SOTL: each stream at red collects vehicle-seconds; the phase that would serve most is shown once they suffice.

    A short platoon that is just passing is not cut: while some vehicles, but few, move towards the stop line on
    green, the phase stays. Source: Gershenson 2005, Self-organizing traffic lights; Cools et al. 2013. The default
    threshold did best of 45, 150 and 400 on training seeds of cologne1 and cologne3.
    """

    def __init__(self, threshold_veh_s: float = 400.0, platoon_veh: int = 2) -> None:
        self.threshold_veh_s = threshold_veh_s
        self.platoon_veh = platoon_veh

    def reset(self, intersections: Sequence[Intersection], layout: Layout, seed: int) -> None:
        """Empty counters."""
        super().reset(intersections, layout, seed)
        self._collected = np.zeros(len(layout.streams))
        self._time_s: float | None = None

    def decide(self, snapshot: Snapshot) -> Phases:
        """[S] the phase whose lanes have collected most, once that passes the threshold."""
        layout, signals, now_s = self.layout, np.arange(len(snapshot.phase)), float(snapshot.time_s[0])
        elapsed_s = 0.0 if self._time_s is None else now_s - self._time_s
        self._time_s = now_s
        green = streams_green(layout, snapshot)
        waiting = ApproachMeasures(layout, snapshot).vehicles
        self._collected = np.where(green, 0.0, self._collected + waiting * elapsed_s)
        scores = layout.phase_streams.sum(self._collected)
        self.last_scores = scores.copy()
        moving = (snapshot.vehicles - snapshot.halting)[layout.controlled_lane][layout.stream_lane] * snapshot.share
        passing = np.bincount(layout.stream_signal, np.where(green, moving, 0.0), len(signals))
        stay = (passing > 0) & (passing <= self.platoon_veh) | (scores.max(axis=1) < self.threshold_veh_s)
        scores[signals, snapshot.phase] = np.where(stay, np.inf, scores[signals, snapshot.phase])
        return choose(scores, snapshot)


class RandomChoice:
    """Any phase that may be chosen, with equal chances."""

    sensing = "full"

    def reset(self, intersections: Sequence[Intersection], layout: Layout, seed: int) -> None:
        """Begin the same sequence for the same seed."""
        del intersections, layout
        self._random = np.random.default_rng(seed)

    def decide(self, snapshot: Snapshot) -> Phases:
        """[S] a random phase."""
        return choose(self._random.random(snapshot.mask.shape), snapshot)

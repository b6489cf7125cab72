"""From counts to the flows of lanes at a signal, and which rows of its program serve them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from controllers.programs import extendable_rows, stated_least_s
from controllers.sequence import in_one_cycle
from demand.calibration.places import Place, Roads
from demand.counts.timeline import Numbers
from plumbing.errors import InputError
from signals.network import Program, RoadNetwork
from signals.phases import is_green
from signals.timing import Timing


@dataclass(frozen=True)
class LaneFlows:
    """How counts of detectors become counts of lanes: a detector over several lanes counts each alike, and a lane
    with several detectors has their mean."""

    detectors: tuple[str, ...]
    lanes: tuple[str, ...]
    shares: Numbers
    """(lanes, detectors) of what a detector counts, how much is the lane's; 0 where it does not count it."""

    def of(self, counts: Numbers) -> Numbers:
        """(..., lanes) of (..., detectors); NaN where nothing is known."""
        known = ~np.isnan(counts)
        total = np.where(known, counts, 0.0) @ self.shares.T
        number = known.astype(float) @ (self.shares > 0).astype(float).T
        return np.asarray(np.where(number > 0, total / np.maximum(number, 1.0), np.nan))


def lane_flows(roads: Roads, places: Sequence[Place], detectors: Sequence[str]) -> LaneFlows:
    """For detectors with places; those without count nothing here."""
    of: dict[str, dict[str, float]] = {}
    for place in places:
        turns = roads.turns.get(place.edge, {})
        lanes = place.lanes or tuple(dict.fromkeys(lane for to in place.to_edges for lane in turns.get(to, ())))
        for lane in lanes if place.detector in detectors else ():
            of.setdefault(lane, {})[place.detector] = 1.0 / len(lanes)
    shares = np.array([[row.get(name, 0.0) for name in detectors] for row in of.values()])
    return LaneFlows(tuple(detectors), tuple(of), shares.reshape(len(of), len(detectors)))


@dataclass(frozen=True)
class TimedSignal:
    """A signal whose greens are to be set."""

    program: Program
    """Its own, in one cycle."""
    greens: tuple[int, ...]
    """The rows whose length may change; all others, the intervals among them, keep theirs."""
    least_s: tuple[float, ...]
    """The least length of each of `greens`."""
    lanes: tuple[int, ...]
    """Numbers of the counted lanes that it serves."""
    served: Numbers
    """(lanes, rows) true where a row shows a lane a green."""

    @property
    def kept_s(self) -> float:
        """The length of the rows that keep theirs."""
        return sum(row.duration_s for n, row in enumerate(self.program.rows) if n not in self.greens)

    @property
    def cycle_s(self) -> float:
        """The own program's."""
        return sum(row.duration_s for row in self.program.rows)

    def durations_s(self, greens_s: Sequence[float]) -> Numbers:
        """(rows,) with `greens` so long."""
        found = np.array([row.duration_s for row in self.program.rows])
        found[list(self.greens)] = greens_s
        return found

    def served_s(self, greens_s: Sequence[float]) -> Numbers:
        """(lanes,) how long each has green."""
        return np.asarray(self.served @ self.durations_s(greens_s))


def timed_signals(network: RoadNetwork, lanes: Sequence[str]) -> list[TimedSignal]:
    """The signals that serve counted lanes by two or more greens.

    Raises:
        InputError: there is none.
    """
    number = {lane: n for n, lane in enumerate(lanes)}
    found = []
    for tls_id, connections in sorted(network.controlled.items()):
        if not network.programs.get(tls_id):
            continue
        program = in_one_cycle(network.programs[tls_id][-1])
        greens = extendable_rows(network, program)
        rows = np.zeros((len(lanes), len(program.rows)), bool)
        for connection in connections:
            link = connection.link_index
            if connection.from_lane in number and link is not None:
                rows[number[connection.from_lane]] |= [
                    link < len(row.state) and is_green(row.state[link]) for row in program.rows
                ]
        there = np.flatnonzero(rows[:, list(greens)].any(axis=1)) if greens else np.array([], int)
        if len(greens) > 1 and len(there):
            least = tuple(
                max(stated_least_s(program.rows[n]), Timing().walk_s if walk else 0.0) for n, walk in greens.items()
            )
            found.append(TimedSignal(program, tuple(greens), least, tuple(map(int, there)), rows[there]))
    if not found:
        raise InputError(
            f"no signal of {network.source} has two greens to divide between counted lanes; "
            "check places.csv, and the programs with python -m scenarios describe"
        )
    return found

"""From what a controller answers to what a policy sees: the same snapshot, by the same code, as in training.

Detector bits become counts, occupied seconds and gaps, which `signals.loops.LoopReader` reads as it reads SUMO's;
indications become phase, change and ages in a `SignalMachine` that follows what is observed, not what was asked for.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from deployment.field.detectors import Detectors
from deployment.field.reading import Reading, View, bits_of
from deployment.nema.oids import groups
from signals.layout import Layout
from signals.loops import DetectorFaults, LoopPlan, LoopReader
from signals.machine import SignalMachine
from signals.measures import detector_calls, streams_green
from signals.nema import NemaPlan
from signals.snapshot import Snapshot


@dataclass(frozen=True)
class Site:
    """One intersection, as the estimator and the guard need it."""

    plan: NemaPlan
    layout: Layout
    loops: LoopPlan
    machine: SignalMachine
    """Of this one signal; the estimator makes it follow the controller."""

    @property
    def decision_interval_s(self) -> float:
        return self.machine.timing.decision_interval_s


class Estimator:
    """Turns a controller's readings into the snapshots that a policy sees."""

    def __init__(self, site: Site, infer_every_s: float = 1.0) -> None:
        """See the class.

        Args:
            infer_every_s: time between two snapshots; each sees the decision interval before it, as in training.
        """
        self.site = site
        plan = site.plan
        most = max(phase.number for phase in plan.phases)
        self.machine = site.machine
        self.snapshot = Snapshot.empty(site.layout)
        self.snapshot.healthy[:] = 1.0
        beats = max(round(site.decision_interval_s / infer_every_s), 1)
        # a reader's window reaches back to its last reading: one reader for each beat of the interval
        self.readers = tuple(LoopReader(site.loops, site.layout, DetectorFaults()) for _ in range(beats))
        self.beats = beats
        self.detectors = Detectors(site.loops, self.readers[0])
        self.view = View(len(groups(most)), len(groups(len(self.detectors.ids))))
        self.actions = tuple(bits_of(action) for action in plan.actions)
        self.known = bits_of(phase.number for phase in plan.phases)
        self.commanded: int | None = None
        """The action that was last asked for, or None; only a hint while the controller names no next phase."""
        self._hosts = self._crossing_hosts()
        self._begun = False
        self._old = 0
        self._change_began_s = math.inf
        self.changes = 0
        """Greens that have been seen to begin."""

    def _crossing_hosts(self) -> dict[int, int]:
        """Per pedestrian movement, the bits of the NEMA phases whose walk serves it."""
        hosts: dict[int, int] = {}
        for k, movement in enumerate(self.machine.intersections[0].movements):
            if movement.pedestrian:
                links = set(movement.links)
                hosts[k] = bits_of(p.number for p in self.site.plan.phases if links & set(p.crossings))
        return hosts

    def begin(self, at_s: float) -> None:
        """Begin to observe at this moment."""
        self._begun = True
        self.machine.reset(at_s)
        for reader in self.readers:
            reader.reset(at_s, at_s + 1.0, 0)  # faults are real here, none is drawn

    def update(self, reading: Reading) -> None:
        """Take an answer over; a doubled or late one changes nothing."""
        before_s = self.view.last_s
        if not self.view.update(reading):
            return
        at_s = reading.at_s
        if not self._begun:
            self.begin(at_s)
        active, alarms = _octets("detectors", reading), _octets("alarms", reading)
        self.detectors.update(at_s, active, alarms)
        if "greens.1" in reading.values:
            self._follow(at_s, before_s)

    def _follow(self, at_s: float, before_s: float) -> None:
        """Let the machine follow the indications."""
        machine, view = self.machine, self.view
        machine.advance(max(at_s, machine.now_s))
        lit, yellow = view.phases("greens") & self.known, view.phases("yellows") & self.known
        heading = self._heading()
        shown = next((p for p, bits in enumerate(self.actions) if bits == lit), None)
        clearing = shown is not None and heading is not None and heading != shown and view.phases("ped_clears") & lit
        current, changing = int(machine.phase[0]), bool(machine.changing[0])
        if shown is not None and not yellow and not clearing:
            if shown != current or changing:
                # its green began somewhere between the last two polls
                began_s = (at_s + before_s) / 2 if at_s - before_s <= 1.0 else at_s
                machine.follow(0, shown, began_s)
                self.changes += 1
            self._old, self._change_began_s = shown, math.inf
            return
        if math.isinf(self._change_began_s):
            self._change_began_s, self._old = at_s, current
        new = heading if heading is not None else current
        expected_s = self._change_began_s + machine.change_s(0, self._old, new)
        machine.follow(0, new, max(expected_s, at_s + 0.1))

    def _heading(self) -> int | None:
        """The action that the controller says comes next, else the one that was asked for."""
        nexts = self.view.phases("nexts") & self.known
        if nexts:
            for p, bits in enumerate(self.actions):
                if bits == nexts:
                    return p
            staying = nexts | self.view.phases("greens") & self.known
            for p, bits in enumerate(self.actions):
                if bits == staying or (nexts & bits == nexts and p == self.commanded):
                    return p
            return next((p for p, bits in enumerate(self.actions) if nexts & bits == nexts), self.commanded)
        return self.commanded

    def observe(self, now_s: float, beat: int) -> Snapshot:
        """The snapshot of this moment; always the same object.

        Args:
            beat: counts the snapshots; those with `beat % beats == 0` are the ones at which a phase is chosen.
        """
        snapshot, machine, layout = self.snapshot, self.machine, self.site.layout
        machine.advance(max(now_s, machine.now_s))
        snapshot.time_s[0] = now_s
        machine.show(snapshot)
        snapshot.pedestrians[:] = 0.0
        waiting = self.view.phases("ped_calls")
        for k, hosts in self._hosts.items():
            snapshot.pedestrians[0, k] = float(bool(waiting & hosts))
        detectors = self.detectors
        detectors.judge(now_s)
        blind = detectors.blind
        counts, busy, gaps = detectors.counts, detectors.busy_s, detectors.gaps_s(now_s)
        if blind.any():
            gaps = np.where(blind, -1.0, gaps)
        reader = self.readers[beat % self.beats]
        reader.read(snapshot, streams_green(layout, snapshot), now_s, counts, busy, gaps, blind)
        snapshot.healthy[detectors.bad_lanes] = 0.0
        snapshot.calls[:] = detector_calls(layout, snapshot)
        machine.show_mask(snapshot)
        return snapshot


def _octets(name: str, reading: Reading) -> dict[int, int]:
    """The octets of a polled name, by group number."""
    start = f"{name}."
    return {int(key[len(start) :]): value for key, value in reading.values.items() if key.startswith(start)}

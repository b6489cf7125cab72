"""Cabinets without SUMO for the emulator's tests: what is lit from tick to tick, and who judges it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator

from deployment.emulator.cabinet import Cabinet
from deployment.emulator.mmu import Card
from deployment.emulator.settings import mask
from deployment.emulator.setup import Installation
from evaluation.monitor.links import SignalLinks
from evaluation.monitor.net import read_signals
from evaluation.monitor.rules import Finding, Interval, Judge, Rules
from scenarios.loading import load
from signals.intersection import Intersection, compile_signals
from signals.loops import plan_loops
from signals.nema import nema_plan

EVERY_STOP_BAR = (1 << 10) - 1
"""`single` has ten lanes; detectors 1 to 10 are at their stop lines."""


@functools.cache
def intersections(scenario: str) -> dict[str, tuple[Intersection, Installation]]:
    """Every signal of a scenario, ready to install."""
    network = load(scenario).network
    found = {}
    for item in compile_signals(network).intersections:
        found[item.tls_id] = item, Installation.of(nema_plan(item), item, plan_loops((item,), network))
    return found


@functools.cache
def links(scenario: str) -> dict[str, SignalLinks]:
    """What the independent monitor reads from the network."""
    return read_signals(load(scenario).net_file)


def cabinet(scenario: str = "single", tls_id: str | None = None, backup_s: int | None = None) -> Cabinet:
    """A new one, just powered up."""
    known = intersections(scenario)
    item, installation = known[tls_id or next(iter(known))]
    return Cabinet(installation, Card.of(item), 0.0, backup_s)


class Recorder:
    """Runs a cabinet and keeps what it showed."""

    def __init__(self, made: Cabinet, scenario: str = "single") -> None:
        self.cabinet, self.scenario = made, scenario
        self.shown: list[Interval] = []

    def run(self, seconds: float, detectors: int = 0, buttons: int = 0) -> None:
        """Go on with these detectors and buttons."""
        for _ in range(round(seconds * 10)):
            self.tick(detectors, buttons)

    def until(
        self, happens: Callable[[], bool], within_s: float = 300.0, detectors: int = 0, buttons: int = 0
    ) -> None:
        """Go on until something happens, which it must."""
        for _ in range(round(within_s * 10)):
            if happens():
                return
            self.tick(detectors, buttons)
        raise AssertionError(f"it did not happen within {within_s:g} s; lamps {self.cabinet.state}")

    def tick(self, detectors: int = 0, buttons: int = 0) -> None:
        state = self.cabinet.tick(detectors, buttons)
        begin = self.cabinet.now * 100
        if self.shown and self.shown[-1].state == state:
            self.shown[-1] = Interval(self.shown[-1].start_ms, begin + 100, state)
        else:
            self.shown.append(Interval(begin, begin + 100, state))

    def findings(self) -> list[Finding]:
        """The independent monitor's."""
        tls_id = self.cabinet.installation.plan.tls_id
        return list(Judge(links(self.scenario)[tls_id], self.shown, Rules()).findings())

    def greens(self) -> set[int]:
        """Phases that are green now."""
        shown = self.cabinet.controller.rings.greens()
        return {n for n in range(1, 9) if shown >> n - 1 & 1}

    def spans(self, code_on: int, code_off: int, phase: int) -> Iterator[tuple[float, float]]:
        """From one event of a phase to the next other one [s]."""
        begun: int | None = None
        for tick, code, parameter in self.cabinet.log.rows:
            if parameter == phase and code == code_on:
                begun = tick
            elif parameter == phase and code == code_off and begun is not None:
                yield begun / 10, tick / 10
                begun = None


def new(backup_s: int | None = None) -> Recorder:
    """`single`, just powered up."""
    return Recorder(cabinet(backup_s=backup_s))


def calling(recorder: Recorder, *phases: int) -> int:
    """The detectors that call these phases."""
    return mask(d.number for d in recorder.cabinet.settings.detectors.values() if d.calls & mask(phases))


def command(recorder: Recorder, **masks: int) -> None:
    """As an SNMP client writes the control groups, all of them."""
    for name in ("omit", "ped_omit", "hold", "force_off", "call", "ped_call"):
        setattr(recorder.cabinet.controller.commands, name, masks.get(name, 0))
    recorder.cabinet.controller.written()

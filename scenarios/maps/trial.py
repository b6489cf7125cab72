"""Whether fixed time carries a demand: SUMO runs the network's own programs once, before anyone trains on it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from plumbing.errors import InputError, printable
from scenarios.maps.made_up import DEMAND_S, Departure, thinned, write_routes
from scenarios.sumo_tools import follow_binary
from scenarios.xmlfile import finite

MOST_OUTSIDE = 0.05
"""Largest share of the vehicles that may wait to be let in when the last one departs: more is a queue that grows."""
LEAST_ARRIVED = 0.99
"""Share of the vehicles that have arrived half an hour after the last departure, unless they are stuck."""
AFTER_S = 1800.0
STEP, LARGE_STEP = 0.8, 0.6
LEAST = 0.1
"""Each try takes 0.8 times the demand of the one before, and 0.6 times where that broke down within the first half;
down to a tenth."""


MOST_OUTSIDE_SOON = 0.15
"""With so many outside at any time, a run is not seen to its end."""
STUCK_S = 900.0
"""Nor where nobody arrives for so long though vehicles are there."""
_PERIOD_S = 60
_ATTRIBUTE = re.compile(r'(\w+)="([^"]*)"')
OPTIONS = (("pedestrian.striping.jamtime", "20"),)
"""SUMO's options of the scenario. By SUMO's default, two groups of walkers that meet on a narrow island stand in
each other's way for five minutes, on the crossing, and the traffic with them; so they squeeze past after twenty
seconds."""


@dataclass(frozen=True)
class Trial:
    """One run of fixed time."""

    share: float
    """Of the demand that was asked for."""
    vehicles: int
    outside: int
    """Vehicles that waited to be let in at the last departure, or when the run was ended early."""
    arrived: int
    """Vehicles that had arrived `AFTER_S` after the last departure, or when the run was ended early."""
    until_s: float
    """When it was over."""
    early: bool
    """Whether it was ended early, as there was no more doubt."""

    @property
    def carried(self) -> bool:
        fits = self.outside <= MOST_OUTSIDE * self.vehicles and self.arrived >= LEAST_ARRIVED * self.vehicles
        return fits and not self.early

    def __str__(self) -> str:
        """In a few words."""
        word = "carries" if self.carried else "does not carry"
        return (
            f"fixed time {word} {self.share:.0%} of it: of {self.vehicles:,} vehicles {self.arrived:,} have arrived "
            f"after {self.until_s / 60:.0f} minutes, and {self.outside:,} waited outside at the last departure"
        )


def run_fixed_time(net: Path, routes: Path, share: float, vehicles: int, scratch: Path) -> Trial:
    """Simulate the demand with the network's own programs.

    Args:
        vehicles: how many the routes hold.

    Raises:
        InputError: SUMO refuses the network or the routes.
    """
    words = [
        "-n", str(net), "-r", str(routes), "-b", "0", "-e", f"{DEMAND_S + AFTER_S:g}",
        "--time-to-teleport", "-1", "--max-depart-delay", "-1", "--seed", "1",
        "--summary-output", "stdout", "--summary-output.period", str(_PERIOD_S),
        "--no-step-log", "--duration-log.disable", "--no-warnings",
    ]  # fmt: skip
    for name, value in OPTIONS:
        words += [f"--{name}", value]
    seen = _Seen(vehicles)
    said = follow_binary("sumo", words, scratch, seen.line)
    if said.status != 0 and not seen.early:
        raise InputError(f"SUMO cannot run {net.name} with its demand: {printable(said.reason)}; give --routes")
    return Trial(share, vehicles, seen.outside, seen.arrived, seen.time_s, seen.early)


class _Seen:
    """What SUMO's summary has told so far."""

    def __init__(self, vehicles: int) -> None:
        self.vehicles, self.outside, self.arrived = vehicles, 0, 0
        self.time_s = self._last_arrival_s = 0.0
        self.early = False

    def line(self, line: str) -> bool:
        """Whether to go on after this line."""
        if not line.lstrip().startswith("<step "):
            return True
        of = dict(_ATTRIBUTE.findall(line))
        self.time_s = finite(of["time"])
        waiting, running, arrived = int(of["waiting"]), int(of["running"]), int(of["arrived"])
        if self.time_s <= DEMAND_S:
            self.outside = waiting
        if arrived > self.arrived or not running:
            self._last_arrival_s = self.time_s
        self.arrived = arrived
        stuck = running > 0 and self.time_s - self._last_arrival_s >= STUCK_S
        self.early = stuck or waiting > max(10, MOST_OUTSIDE_SOON * self.vehicles)
        return not self.early


def level_that_is_carried(
    net: Path, departures: list[Departure], seed: int, scratch: Path, on_trial: Callable[[Trial], object]
) -> tuple[list[Departure], list[Trial]]:
    """The departures, thinned until fixed time carries them, and the trials on the way.

    The last trial is the one of what is returned; where even a tenth is not carried, it says so.

    Args:
        on_trial: called after each.
    """
    trials: list[Trial] = []
    share = 1.0
    routes = scratch / "trial.rou.xml"
    while True:
        kept = departures if share == 1.0 else thinned(departures, share, seed)
        write_routes(kept, routes, "a trial")
        vehicles = sum(departure.kind != "person" for departure in kept)
        trials.append(run_fixed_time(net, routes, share, vehicles, scratch))
        on_trial(trials[-1])
        step = LARGE_STEP if trials[-1].early and trials[-1].until_s < DEMAND_S / 2 else STEP
        if trials[-1].carried or share * step < LEAST:
            return kept, trials
        share = round(share * step, 3)

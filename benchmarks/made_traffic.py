"""Traffic for a network that comes without: SUMO's randomTrips.py, at the level that fixed time just carries.

Vehicles and, where there are crossings, walkers go between edges drawn at random, vehicles mostly from and to the
network's fringe. Departures fill the first three quarters of the run. Levels are rungs of a ladder; a vehicle that
departs at one departs at every higher one, too. Fixed time carries a level when, with each of the search's seeds,
there is no gridlock, the mean delay is at most twice that on the lowest rung, and the share of the vehicles that have
not arrived at the end is at most 5 % above that on the lowest rung, where some have a long way. The level is the
highest such rung, found by bisection. These runs are of SUMO and the network's own programs alone, so neither our
signals nor our controllers have a part in the choice.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.network_list import Network, files_of, run_tool, sumo_version, without_comments
from controllers.registry import make
from evaluation.contest import Contestant, Evaluation, RunResult
from evaluation.metrics import RunMetrics
from evaluation.runs import run_all
from plumbing.cache import cached_file, cached_folder
from plumbing.digest import file_sha256
from scenarios.loading import load
from scenarios.scenario import Scenario
from scenarios.seeds import VALIDATION_SEEDS

TOP_VPH = 7200.0
WALKERS_PH = 600.0
DEPARTING = 0.75
"""Share of the run in which vehicles depart."""
FRINGE_FACTOR = "10"
SEED = "42"
STEP = 1.15
LADDER = [STEP**power for power in range(-24, 5)]
"""Shares of `TOP_VPH`: 251 to 12,593 veh/h, less the trips for which there is no way."""
SEARCH_SEEDS = VALIDATION_SEEDS[:2]
MOST_UNFINISHED = 0.05
MOST_TIMES_LIGHT = 2.0
_RECIPE = "3"  # raise it when the same input should give other traffic than before


@dataclass(frozen=True)
class Made:
    """A network with its traffic."""

    scenario: Scenario
    level_vph: float
    """Departures per hour."""
    mark: str = ""
    """ "+" where fixed time carries even the highest rung, "−" where it does not even carry the lowest."""


@dataclass(frozen=True)
class Light:
    """What fixed time came to in light traffic, in the worse of the search's runs."""

    delay_s: float
    unfinished_share: float


def made_scenario(network: Network, horizon_s: float) -> Scenario:
    """The network with its traffic, at `TOP_VPH`; from the cache if it was made before.

    Raises:
        InputError: a tool fails, or the network cannot be read.
    """
    net, additional = files_of(network)
    walkers = any(edge.function == "crossing" for edge in load(net, additional=additional).network.edges.values())
    content = [_RECIPE, sumo_version(), file_sha256(net), horizon_s, DEPARTING, FRINGE_FACTOR, SEED, TOP_VPH]
    key = _digest([*content, WALKERS_PH if walkers else 0.0])

    def fill(folder: Path) -> None:
        until = ["-n", str(net), "-b", "0", "-e", f"{DEPARTING * horizon_s:g}", "--seed", SEED]
        words = ["--fringe-factor", FRINGE_FACTOR, "--vehicle-class", "passenger", "--prefix", "v", "--validate"]
        _trips([*until, *words, "-p", f"{3600 / TOP_VPH:g}"], folder, "vehicles.rou.xml")
        if walkers:
            words = ["--pedestrians", "--max-distance", "800", "--prefix", "p"]
            _trips([*until, *words, "-p", f"{3600 / WALKERS_PH:g}"], folder, "walkers.rou.xml")

    routes = sorted(cached_folder(f"networks/{network.name}-traffic-{key}", fill).glob("*.rou.xml"))
    made = load(net, routes=routes, additional=additional, begin_s=0.0, end_s=horizon_s)
    return replace(made, name=network.name)


def at_level(network: Network, horizon_s: float, tell: Callable[[str], None] = lambda line: None) -> Made:
    """The network with the traffic that fixed time just carries; the search's result is kept in the cache.

    Raises:
        InputError: as `made_scenario`.
        RunFailed: a run broke off.
    """
    scenario = made_scenario(network, horizon_s)
    criterion = [LADDER, list(SEARCH_SEEDS), MOST_UNFINISHED, MOST_TIMES_LIGHT]
    key = _digest([_RECIPE, sumo_version(), sorted(scenario.hashes().items()), horizon_s, criterion])

    def search() -> bytes:
        runs = _fixed_time(scenario, LADDER[0])
        fine = not any(run.metrics.gridlocked for run in runs)
        light = Light(max(run.metrics.delay_s for run in runs), max(unfinished_share(run.metrics) for run in runs))
        tell(f"{network.name}: fixed time has {light.delay_s:.1f} s of delay in light traffic")

        def carries(rung: int) -> bool:
            runs = _fixed_time(scenario, LADDER[rung])
            fine = all(carried(run.metrics, light) for run in runs)
            delays = ", ".join(f"{run.metrics.delay_s:.1f} s" for run in runs)
            rate_vph = per_hour(runs[0].metrics.vehicles, scenario)
            tell(f"{network.name}: {rate_vph:,.0f} veh/h: {delays}{'' if fine else ', too much'}")
            return fine

        rung = highest(carries, len(LADDER)) if fine else 0
        mark = "+" if rung == len(LADDER) - 1 else "" if fine else "−"
        return json.dumps({"rung": rung, "mark": mark}).encode()

    found = json.loads(cached_file(f"networks/{network.name}-level-{key}.json", search).read_bytes())
    level = scenario.scaled(LADDER[found["rung"]])
    return Made(level, per_hour(level.demand_counts()[0], level), found["mark"])


def per_hour(departures: int, scenario: Scenario) -> float:
    """The rate of so many departures in the part of the run that has some."""
    return 3600.0 * departures / (DEPARTING * scenario.horizon_s)


def highest(carries: Callable[[int], bool], rungs: int) -> int:
    """The highest rung that is carried, by bisection; the lowest is taken to be."""
    low, high = 0, rungs
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if carries(middle) else (low, middle)
    return low


def carried(run: RunMetrics, light: Light) -> bool:
    """Whether fixed time carried the level in this run."""
    if run.gridlocked or unfinished_share(run) > light.unfinished_share + MOST_UNFINISHED:
        return False
    return run.delay_s <= MOST_TIMES_LIGHT * light.delay_s


def unfinished_share(run: RunMetrics) -> float:
    """Share of the vehicles that had not arrived at the end."""
    return (run.running_veh + run.uninserted_veh) / max(1, run.vehicles)


def _fixed_time(scenario: Scenario, factor: float) -> list[RunResult]:
    contestant = Contestant("fixed_time", lambda: make("fixed_time"))
    return run_all(Evaluation(scenario.scaled(factor), [contestant], SEARCH_SEEDS))


def _trips(words: Sequence[str], folder: Path, routes: str) -> None:
    run_tool(["randomTrips.py", *words, "-o", "trips.xml", "-r", routes], folder)
    for path in folder.iterdir():
        if not path.name.endswith(".rou.xml"):
            path.unlink()  # trips, alternatives
    without_comments(folder / routes)


def _digest(content: Any) -> str:
    return hashlib.sha256(repr(content).encode()).hexdigest()[:16]

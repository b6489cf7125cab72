"""Several days of traffic for one network: a folder with a route file each, of which every run has one.

Such folders come from `python -m demand calibrate`. Which day a run has follows from its seed alone: consecutive
seeds, as evaluations have them, go through the days in order; a training's seeds are random, and so are its days.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from plumbing.errors import InputError
from scenarios.demand import read_demand
from signals.network import RoadNetwork

PATTERN = "day-*.rou.xml"


def day_of(days: Sequence[str], seed: int) -> str:
    """The day that a run with this seed has."""
    return days[seed % len(days)]


def with_day(args: Sequence[str], days: Sequence[str], seed: int) -> list[str]:
    """SUMO's options with the seed's day in the place of their route file."""
    words = list(args)
    words[words.index("-r") + 1] = day_of(days, seed)
    return words


def day_files(folder: Path, name: str) -> tuple[Path, ...]:
    """The days of a folder, in order.

    Args:
        name: the scenario's, for messages.

    Raises:
        InputError: there are none.
    """
    found = tuple(sorted(folder.glob(PATTERN)))
    if not found:
        raise InputError(
            f"scenario {name!r}, days: {folder} holds no {PATTERN}; give a folder of python -m demand calibrate"
        )
    return found


def check_days(days: Sequence[Path], network: RoadNetwork, begin_s: float, end_s: float) -> None:
    """Raises InputError for a day that does not fit the network, or has nothing in the window."""
    for path in days:
        demand = read_demand((path,), (), network.edges.keys(), f"network {network.source}")
        if demand.counts(begin_s, end_s) == (0, 0):
            raise InputError(
                f"{path}: nothing departs between {begin_s:g} and {end_s:g} s; give --begin and --end, or other days"
            )

"""Several days of traffic for one network: a folder with a route file each, of which every run has one.

Such folders come from `python -m demand calibrate`. Which day a run has follows from its seed alone: consecutive
seeds, as evaluations have them, go through the days in order; a training's seeds are random, and so are its days.

Where days are made up (`--demand generated:MODEL`), the last ones are kept apart: some for the seeds of validation
(`scenarios.seeds`), some for those of evaluation. All other seeds have the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from plumbing.errors import InputError
from scenarios.demand import read_demand
from scenarios.seeds import EVALUATION_SEEDS, VALIDATION_SEEDS
from signals.network import RoadNetwork

PATTERN = "day-*.rou.xml"


NONE_APART = (0, 0)


def day_number(days: int, seed: int, apart: tuple[int, int] = NONE_APART) -> int:
    """Which of so many days a run with this seed has.

    Args:
        apart: how many of the last days are for validation, and how many after these for evaluation.
    """
    validation, evaluation = apart
    others = days - validation - evaluation
    if validation and seed in VALIDATION_SEEDS:
        return others + (seed - VALIDATION_SEEDS.start) % validation
    if evaluation and seed in EVALUATION_SEEDS:
        return others + validation + (seed - EVALUATION_SEEDS.start) % evaluation
    return seed % others


def day_of(days: Sequence[str], seed: int, apart: tuple[int, int] = NONE_APART) -> str:
    """The day that a run with this seed has; arguments as of `day_number`."""
    return days[day_number(len(days), seed, apart)]


def with_day(args: Sequence[str], days: Sequence[str], seed: int, apart: tuple[int, int] = NONE_APART) -> list[str]:
    """SUMO's options with the seed's day in the place of their route file; arguments as of `day_number`."""
    words = list(args)
    words[words.index("-r") + 1] = day_of(days, seed, apart)
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

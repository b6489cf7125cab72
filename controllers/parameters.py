"""The tunable parameters of each controller, and the file of tuned values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from plumbing.errors import InputError, printable
from plumbing.plain import parse
from scenarios.xmlfile import require_file

FORMAT = 1
FILE = "tuned.json"
Parameters = dict[str, float]


@dataclass(frozen=True)
class Range:
    """Values from `low` to `high`."""

    low: float
    high: float
    whole: bool = False
    logarithmic: bool = False
    """Whether twice as much is as far from once as once is from half."""

    def at(self, share: float) -> float:
        """The value at so much of the way, 0 to 1; to three digits, so that it reads well."""
        if self.logarithmic:
            value = self.low * (self.high / self.low) ** share
        else:
            value = self.low + (self.high - self.low) * share
        return round(value) if self.whole else float(f"{value:.3g}")


SPACES: Mapping[str, Mapping[str, Range]] = {
    "webster": {
        "saturation_headway_s": Range(1.5, 3.5),
        "lost_time_s": Range(2, 10, whole=True),
        "min_cycle_s": Range(20, 90, whole=True),
        "max_cycle_s": Range(90, 180, whole=True),
        "coordinated": Range(0, 1, whole=True),
    },
    "actuated": {
        "min_green_s": Range(5, 15, whole=True),
        "max_green_s": Range(15, 90, whole=True),
        "max_gap_s": Range(1, 5),
        "detector_gap_s": Range(1, 4),
    },
    "delay_based": {
        "min_green_s": Range(5, 15, whole=True),
        "max_green_s": Range(15, 90, whole=True),
        "detector_range_m": Range(25, 200),
        "min_time_loss_s": Range(0.5, 20, logarithmic=True),
    },
    "max_pressure": {"change_cost": Range(0, 4), "hysteresis_veh": Range(0, 20)},
    "greedy": {"change_cost": Range(0, 4), "hysteresis_veh": Range(0, 20)},
    "sotl": {
        "threshold_veh_s": Range(25, 1600, logarithmic=True),
        "platoon_veh": Range(0, 5, whole=True),
    },
    "cop": {
        "horizon_s": Range(30, 90, whole=True),
        "saturation_flow_vph": Range(1000, 2400, whole=True),
    },
    "cop_detectors": {
        "horizon_s": Range(30, 90, whole=True),
        "saturation_flow_vph": Range(1000, 2400, whole=True),
        "expected": Range(0, 1),
    },
}


def candidates(name: str, count: int, seed: int) -> list[Parameters]:
    """`count` settings of a controller: first its defaults (nothing set), then a stratified random draw, in which
    each parameter takes a value from each of as many equal parts of its range as there are settings."""
    space = SPACES[name]
    random = np.random.default_rng([seed, *name.encode()])
    shares = [(random.permutation(count - 1) + random.random(count - 1)) / (count - 1) for _ in space]
    drawn = [{key: of.at(float(share[n])) for (key, of), share in zip(space.items(), shares, strict=True)}
             for n in range(count - 1)]  # fmt: skip
    return [{}, *drawn]


@dataclass(frozen=True)
class Tuned:
    """A controller's tuned values, and where they come from."""

    parameters: Parameters
    label: str
    """A short name of the file, for tables."""
    origin: str
    """The values and how they were found, in a line."""


def read_tuned(path: Path, name: str) -> Tuned:
    """The values that `python -m evaluation.tune` found for this controller; `path` is its file or folder.

    Raises:
        InputError: there is no such file, or nothing for this controller in it.
    """
    file = require_file(path / FILE if path.is_dir() else path, "tuned parameters")
    again = "write it with python -m evaluation.tune"
    try:
        content = parse(file.read_bytes())
        if content["format"] != FORMAT:
            raise InputError(f"{file} is of format {content['format']}, this program reads {FORMAT}; {again}")
        known = dict(content["controllers"])
        if name not in known:
            raise InputError(f"{file} has nothing for {name!r}, only for {', '.join(known)}; tune it as well")
        found = {str(key): value for key, value in known[name]["parameters"].items()}
        wrong = [k for k, v in found.items() if not isinstance(v, int | float) or not math.isfinite(v)]
        wrong += [key for key in found if key not in SPACES.get(name, {})]
        if wrong:
            raise InputError(f"{file}: {name}'s {wrong[0]!r} is unknown or no number; {again}")
        runs, scenario = int(content["rule"]["runs"]), printable(content["scenario"], 60)
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror}; {again}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{file} holds no tuned parameters ({error}); {again}") from error
    values = ", ".join(f"{key} {value:g}" for key, value in found.items()) or "its defaults, which did best"
    label = file.resolve().parent.name if file.name == FILE else file.stem
    return Tuned(found, label, f"{values}; best of {runs} runs on training seeds of {scenario}")

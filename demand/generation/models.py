"""Models of days, all of one shape: rates by day type, drawn as whole vehicles.

Each works on `sqrt(count + 3/8)`, divided into the smooth course of a day and what is left of each interval. A day is
drawn as a course, with what intervals vary by beyond a Poisson draw; then vehicles are drawn by Poisson's law.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from demand.counts.scale import POISSON_SPREAD, restored, stabilised
from demand.counts.timeline import Numbers
from demand.generation.days import TYPES, Days

RESAMPLED, PCA, VAE = "resampled", "pca", "vae"
MODELS = (RESAMPLED, PCA, VAE)
KNOTS_S = 3600  # [s] the course of a day has a value each hour


class DayModel(Protocol):
    """What makes courses of days."""

    def courses(self, types: Numbers, rng: np.random.Generator) -> Numbers:
        """(days, knots, D) stabilised courses for days of these types."""

    def arrays(self) -> dict[str, Numbers]:
        """What it consists of."""


@dataclass(frozen=True)
class Course:
    """Between counts and courses."""

    slots: int
    mean: Numbers
    """(types, slots, D) mean of each day type, stabilised, smoothed over an hour."""
    spread: Numbers
    """(D,) standard deviation of intervals beyond their course and Poisson's law."""

    @property
    def knots(self) -> int:
        """Values of a course."""
        return min(24, self.slots)

    def of(self, days: Days) -> Numbers:
        """(days, knots, D) how the hours of days lie beside the mean of their type."""
        left = stabilised(days.counts) - self.mean[days.type]
        return np.asarray(left.reshape(len(left), self.knots, -1, left.shape[-1]).mean(axis=2))

    def drawn(self, courses: Numbers, types: Numbers, rng: np.random.Generator) -> Numbers:
        """(days, slots, D) whole vehicles."""
        stable = self.mean[types] + self.between(courses)
        stable = stable + self.spread * rng.standard_normal(stable.shape)
        found: Numbers = rng.poisson(restored(stable)).astype(float)
        return found

    def between(self, courses: Numbers) -> Numbers:
        """(days, slots, D) courses by interval, straight lines from the middle of an hour to the next."""
        at = (np.arange(self.slots) + 0.5) * self.knots / self.slots - 0.5
        before = np.clip(np.floor(at).astype(int), 0, self.knots - 1)
        after = np.minimum(before + 1, self.knots - 1)
        share = np.clip(at - before, 0.0, 1.0)[:, None]
        return np.asarray(courses[:, before] * (1 - share) + courses[:, after] * share)


def course_of(days: Days) -> Course:
    """The means and the spread of days. A type that is not there has the mean of all."""
    stable = stabilised(days.counts)
    slots = stable.shape[1]
    width = max(1, slots // 24)
    mean = np.stack(
        [_smooth(stable[days.type == kind].mean(axis=0) if (days.type == kind).any() else stable.mean(axis=0), width)
         for kind in range(len(TYPES))]
    )  # fmt: skip
    rough = Course(slots, mean, np.zeros(stable.shape[2]))
    left = stable - mean[days.type] - rough.between(rough.of(days))
    freedom = len(left) / max(len(left) - 1, 1) * width / max(width - 1, 1)  # the course itself has followed them
    busy = restored(mean[days.type]) >= 5.0  # below, Poisson's law spreads less than a quarter
    variance = np.where(busy, left**2, 0.0).sum(axis=(0, 1)) / np.maximum(busy.sum(axis=(0, 1)), 1) * freedom
    spread = np.sqrt(np.clip(variance - POISSON_SPREAD, 0.0, 1.0))
    return Course(slots, mean, np.where(busy.any(axis=(0, 1)), spread, 0.0))


def _smooth(course: Numbers, width: int) -> Numbers:
    """Means over about an hour."""
    padded = np.pad(course, ((width // 2, (width - 1) // 2), (0, 0)), mode="edge")
    return np.asarray(np.mean([padded[by : by + len(course)] for by in range(width)], axis=0))


class Resampled:
    """The baseline: a real day's course with some noise."""

    NOISE = 0.1

    def __init__(self, courses: Numbers, types: Numbers) -> None:
        self._courses, self._types = courses, types

    def courses(self, types: Numbers, rng: np.random.Generator) -> Numbers:
        """See `DayModel`."""
        chosen = [rng.choice(_like(self._types, kind)) for kind in types]
        picked = self._courses[chosen]
        return np.asarray(picked + self.NOISE * rng.standard_normal(picked.shape))

    def arrays(self) -> dict[str, Numbers]:
        """See `DayModel`."""
        return {"courses": self._courses, "types": self._types}


class Pca:
    """Gaussian along the first principal components, which all day types share, and independent beside them."""

    SHARE = 0.9

    def __init__(self, mean: Numbers, axes: Numbers, rest: Numbers) -> None:
        self._mean, self._axes, self._rest = mean, axes, rest

    @classmethod
    def fitted(cls, courses: Numbers) -> Pca:
        """Of (days, knots, D) courses."""
        flat = courses.reshape(len(courses), -1)
        mean = flat.mean(axis=0)
        _, sizes, axes = np.linalg.svd(flat - mean, full_matrices=False)
        spread = sizes / np.sqrt(max(len(flat) - 1, 1))
        explained = np.cumsum(spread**2) / max(float((spread**2).sum()), 1e-12)
        kept = int(np.searchsorted(explained, cls.SHARE)) + 1
        rest = np.sqrt(((spread[kept:, None] * axes[kept:]) ** 2).sum(axis=0))
        along = (spread[:kept, None] * axes[:kept]).reshape(-1, *courses.shape[1:])
        return cls(mean.reshape(courses.shape[1:]), along, rest.reshape(courses.shape[1:]))

    def courses(self, types: Numbers, rng: np.random.Generator) -> Numbers:
        """See `DayModel`."""
        along = np.tensordot(rng.standard_normal((len(types), len(self._axes))), self._axes, 1)
        beside = self._rest * rng.standard_normal((len(types), *self._mean.shape))
        return np.asarray(self._mean + along + beside)

    def arrays(self) -> dict[str, Numbers]:
        """See `DayModel`."""
        return {"mean": self._mean, "axes": self._axes, "rest": self._rest}


def _like(types: Numbers, kind: Any) -> Numbers:
    same = np.flatnonzero(types == kind)
    return same if len(same) else np.arange(len(types))


def model_of(name: str, arrays: dict[str, Numbers]) -> DayModel:
    """A model that was saved, but for the networks."""
    return (
        Resampled(arrays["courses"], arrays["types"])
        if name == RESAMPLED
        else Pca(arrays["mean"], arrays["axes"], arrays["rest"])
    )

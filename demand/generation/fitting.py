"""Fitting a model of days, and drawing from it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from demand.counts.timeline import Numbers
from demand.generation.days import Days
from demand.generation.models import PCA, RESAMPLED, Course, DayModel, Pca, Resampled, course_of


@dataclass(frozen=True)
class Generator:
    """A model and how its courses become vehicles."""

    name: str
    course: Course
    model: DayModel

    def counts(self, types: Numbers, rng: np.random.Generator) -> Numbers:
        """(days, slots, D) whole vehicles on days of these types."""
        return self.course.drawn(self.model.courses(types, rng), types, rng)


def fit(name: str, days: Days, seed: int) -> Generator:
    """Fit the model of this name (`models.MODELS`)."""
    course = course_of(days)
    courses = course.of(days)
    if name == RESAMPLED:
        model: DayModel = Resampled(courses, days.type)
    elif name == PCA:
        model = Pca.fitted(courses)
    else:
        from demand.generation.vae import fit_vae  # torch, which the others and a saved model do without

        model = fit_vae(courses, days.type, seed)
    return Generator(name, course, model)

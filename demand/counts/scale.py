"""The scale on which the spread of counts hardly depends on their size: `sqrt(count + 3/8)` (Anscombe 1948)."""

from __future__ import annotations

import numpy as np

from demand.counts.timeline import Numbers

POISSON_SPREAD = 0.25
"""Variance that Poisson's law makes on this scale, from a few vehicles on."""


def stabilised(values: Numbers) -> Numbers:
    """Counts on the scale that forecasts are made on."""
    found: Numbers = np.sqrt(np.maximum(values, 0.0) + 0.375)
    return found


def restored(stable: Numbers) -> Numbers:
    """The reverse, never below 0."""
    found: Numbers = np.maximum(np.maximum(stable, 0.0) ** 2 - 0.375, 0.0)
    return found

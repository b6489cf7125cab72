"""What a scenario's run may know of coming traffic: the protocol of a forecast.

A forecast is made in the simulation, of what loops have counted there so far, and of counts from before its begin.
`scenarios.from_counts` says where it comes from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Remembered:
    """The forecast that a policy was trained with, and that it wants wherever it is used."""

    folder: str
    model: str
    identity: str
    """Both as of `Foresight`; where the policy is used, the counts from before may be others."""


class Foresight(Protocol):
    """A forecast for one scenario, which a simulation's process is sent."""

    model: str
    """SHA-256 of the model."""
    identity: str
    """SHA-256 of all that it is made of: the model, and the counts from before the runs."""
    interval_s: int
    """Between two of its answers."""
    counters: Sequence[tuple[str, float]]
    """Where loops have to count for it: lane, and distance to its end [m]."""
    lanes: Sequence[str]
    """What it tells something of."""

    def begin(self, seed: int) -> Teller:
        """An episode begins, whose day follows from its seed."""


class Teller(Protocol):
    """A forecast in one episode."""

    def told(self, counts: Array | None) -> Array:
        """[2, lanes] the flow expected in the next interval and in the last that the forecast tells [veh/h].

        Args:
            counts: [counters] vehicles of the interval that has just ended; NaN where nobody counted all of it. None
                at the begin.
        """

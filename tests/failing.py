"""Rewards and observations from outside that fail at their beginnings; apart from tests, which a simulation's process
would import with them."""

from __future__ import annotations

from typing import Any

import numpy as np

from signals.observations import PhaseObservation


class LateReward:
    """Fails when an episode begins."""

    def begin(self, simulation: Any) -> None:
        raise KeyError("no such loop")

    def __call__(self, layout: Any, before: Any, after: Any) -> Any:
        return np.zeros(len(layout.tls_ids))


class DearReward(LateReward):
    """Fails when it is made."""

    def __init__(self) -> None:
        raise KeyError("no such file")


class LateObservation(PhaseObservation):
    """Fails when an episode begins."""

    def begin(self, simulation: Any) -> None:
        raise KeyError("no such loop")


class DearObservation(PhaseObservation):
    """Fails when it is made."""

    def __init__(self, *args: Any) -> None:
        raise KeyError("no such file")

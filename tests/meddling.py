"""A reward that no environment can repeat; apart from tests, so that a simulation's process imports little for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from signals.layout import Layout
from signals.snapshot import Snapshot


class Meddling:
    """A reward that changes what it judges, and not twice in the same way."""

    sumo_options = ()

    def __init__(self, count: Path) -> None:
        self.count = count

    def begin(self, simulation: Any) -> None:
        self.sumo = simulation.sumo
        self.count.write_text(self.count.read_text() + "x")

    def __call__(self, layout: Layout, before: Snapshot, after: Snapshot) -> Any:
        del before
        if len(self.count.read_text()) == 1:
            for vehicle in self.sumo.vehicle.getIDList():
                self.sumo.vehicle.setSpeed(vehicle, 0.5)
        return np.zeros(len(layout.tls_ids))

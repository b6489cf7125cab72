"""The inputs of an exported policy: the elements of a signal's row that change, in physical units.

Constants (which slots exist, which phase serves what) stay with the policy. The same table serves the graph that is
exported, the list of inputs that an engineer reads, and the runtime that fills them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from plumbing.errors import InputError
from signals.layout import Layout
from signals.observations import CONSTANT, LIMIT, OBSERVATIONS, ObservationShape, PhaseObservation
from signals.planner.observation import PlannedDetectorObservation
from signals.snapshot import Snapshot

Row = npt.NDArray[np.float32]
DETECTORS = "detectors"
PHASES = "phases"
EXPORTED: dict[tuple[str, str], type[PhaseObservation]] = {
    **{(sensing, PHASES): kind for sensing, kind in OBSERVATIONS.items()},
    (DETECTORS, "planned"): PlannedDetectorObservation,
}
"""By sensing and name, the observations whose policies can be exported."""
OF_WALKERS = ("call", "pedestrians")
"""The features of a crossing; all other features of a movement are of vehicles."""


@dataclass(frozen=True, slots=True)
class Input:
    """One number that a policy is given."""

    name: str
    """Such as `phase2.green_age`."""
    block: str
    """"phase" or "movement"."""
    slot: int
    """Which phase or movement."""
    feature: str
    place: int
    """The feature's place in its block."""
    scale: float
    """Divisor of the value; the quotient is then clipped to 0 and `signals.observations.LIMIT`."""


class InputTable:
    """The inputs of one signal's policy, and how they become its network's row."""

    def __init__(self, layout: Layout, sensing: str, observation: str = PHASES) -> None:
        """See the class.

        Args:
            layout: of this one signal, without slots that it does not use.
            observation: its name, in `EXPORTED`.

        Raises:
            InputError: the layout is of several signals.
            KeyError: there is no such observation for this sensing.
        """
        if len(layout.tls_ids) != 1:
            raise InputError(f"a policy's inputs are of one signal, not of {len(layout.tls_ids)}; choose one")
        self.layout, self.sensing, self.observation = layout, sensing, observation
        self.kind = EXPORTED[sensing, observation]
        self._observe = self.kind(layout)
        shape = self.shape = self._observe.shape
        inputs: list[Input] = []
        for p in range(shape.phases):
            for f, feature in enumerate(self._observe.PHASE_FEATURES):
                if feature not in CONSTANT:
                    scale = float(self._observe.PHASE_SCALE[f])
                    inputs.append(Input(f"phase{p}.{feature}", "phase", p, feature, f, scale))
        for k in range(shape.movements):
            crossing = bool(layout.crossing[0, k])
            for f, feature in enumerate(self._observe.MOVEMENT_FEATURES):
                if feature in CONSTANT or (feature in OF_WALKERS) != crossing:
                    continue
                scale = float(self._observe.MOVEMENT_SCALE[f])
                inputs.append(Input(f"movement{k}.{feature}", "movement", k, feature, f, scale))
        self.inputs = tuple(inputs)
        self.elements = self.elements_in(shape)
        """[N] each input's place in this signal's row."""
        self.factors: Row = (1.0 / np.array([i.scale for i in inputs])).astype(np.float32)
        rows = self._observe(Snapshot.empty(layout))[0]
        rows[self.elements] = 0.0
        self.constant: Row = rows
        """[size] the row where no input stands; 0 where one does."""
        self.selectable = self._places("phase", "selectable")
        """[P] places among the inputs of each phase's `selectable`."""
        self.current = self._places("phase", "current")
        """[P] the same of `current`."""

    def elements_in(self, shape: ObservationShape) -> npt.NDArray[np.int64]:
        """[N] the inputs' places in a row of this shape, which may have further slots."""
        first = shape.phases * (shape.phase_features + shape.movements)
        places = [
            i.slot * shape.phase_features + i.place
            if i.block == "phase"
            else first + i.slot * shape.movement_features + i.place
            for i in self.inputs
        ]
        return np.array(places, np.int64)

    def _places(self, block: str, feature: str) -> npt.NDArray[np.int64]:
        found = [n for n, i in enumerate(self.inputs) if i.block == block and i.feature == feature]
        return np.array(found, np.int64)

    def __len__(self) -> int:
        return len(self.inputs)

    def read(self, snapshot: Snapshot) -> Row:
        """[N] the inputs, of a snapshot of this one signal."""
        values: Row = self._observe.raw(snapshot)[0, self.elements]
        return values

    def row(self, values: Row) -> Row:
        """[..., size] what the network is given for these inputs [..., N]."""
        rows = np.broadcast_to(self.constant, (*values.shape[:-1], len(self.constant))).copy()
        rows[..., self.elements] = np.clip(values * self.factors, 0.0, LIMIT)
        return rows

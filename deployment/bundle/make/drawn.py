"""Random situations, on which every form of a policy is held against the trained one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from deployment.bundle.golden import Rows
from signals.inputs import InputTable
from signals.observations import LIMIT


def draw_inputs(table: InputTable, highs: Sequence[float], count: int, seed: int) -> Rows:
    """Situations at random, over the whole range of every input and somewhat beyond its limit; one phase is current,
    at least one may be chosen."""
    random = np.random.default_rng(seed)
    phases = table.shape.phases
    limits = np.array([min(high, 1.2 * LIMIT * i.scale) for high, i in zip(highs, table.inputs, strict=True)])
    drawn = random.random((count, len(table))) ** 3 * limits  # mostly small, as in traffic
    flags = np.array([i.feature in ("selectable", "changing", "call") for i in table.inputs])
    drawn[:, flags] = np.round(random.random((count, int(flags.sum()))))
    current = random.integers(phases, size=count)
    drawn[:, table.current] = np.eye(phases)[current]
    drawn[np.arange(count), table.selectable[random.integers(phases, size=count)]] = 1.0
    result: Rows = drawn.astype(np.float32)
    return result

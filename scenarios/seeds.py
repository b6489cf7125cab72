"""Which seeds belong to what: evaluation never sees an episode that was trained on, nor the other way round."""

from __future__ import annotations

import numpy as np

EVALUATION_SEEDS = range(10_001, 20_001)
VALIDATION_SEEDS = range(20_001, 30_001)
"""For looking at a policy while it trains."""
TRAINING_SEEDS = range(1_000_000, 2**31 - 1)


def training_seed(seed: int, worker: int, episode: int) -> int:
    """The seed of a training episode, drawn from `TRAINING_SEEDS`: always the same for these numbers."""
    random = np.random.default_rng([seed, worker, episode])
    return int(random.integers(TRAINING_SEEDS.start, TRAINING_SEEDS.stop))

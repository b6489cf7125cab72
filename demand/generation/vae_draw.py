"""Drawing courses of days from a trained autoencoder: numpy alone."""

from __future__ import annotations

import numpy as np

from demand.counts.timeline import Numbers
from demand.generation.days import TYPES

LATENT = 8


class Vae:
    """A trained decoder."""

    NAMES = ("latent_hidden", "hidden_bias", "hidden_out", "latent_out", "out_bias", "log_variance", "shape")

    def __init__(self, arrays: dict[str, Numbers]) -> None:
        """Of the arrays of `NAMES`."""
        self._arrays = arrays
        self._shape = tuple(int(n) for n in arrays["shape"])

    def courses(self, types: Numbers, rng: np.random.Generator) -> Numbers:
        """(days, knots, D) stabilised courses for days of these types."""
        of = self._arrays
        latent = np.concatenate([rng.standard_normal((len(types), LATENT)), np.eye(len(TYPES))[types]], axis=1)
        hidden = np.tanh(latent @ of["latent_hidden"] + of["hidden_bias"])
        mean = hidden @ of["hidden_out"] + latent @ of["latent_out"] + of["out_bias"]
        noise = np.exp(of["log_variance"] / 2) * rng.standard_normal(mean.shape)
        return np.asarray((mean + noise).reshape(-1, *self._shape))

    def arrays(self) -> dict[str, Numbers]:
        """What it consists of."""
        return self._arrays

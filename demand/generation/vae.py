"""A conditional variational autoencoder of the courses of days (Kingma and Welling 2014; Sohn, Lee and Yan 2015).

It is trained with torch and drawn from with numpy, so that a saved one needs nothing that learns.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from demand.counts.timeline import Numbers
from demand.generation.days import TYPES
from demand.generation.vae_draw import LATENT, Vae

HIDDEN = 64
STEPS, BATCH, RATE, DECAY = 1500, 32, 2e-3, 1e-3
ROUGH = 0.1  # [stabilised] noise on what the encoder sees: a few weeks are soon known by heart
LEAST = -6.0  # of the logarithm of the variance beside the decoder's mean


class _Network(nn.Module):
    def __init__(self, size: int) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(size + len(TYPES), HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, 2 * LATENT))
        self.enter = nn.Linear(LATENT + len(TYPES), HIDDEN)
        self.leave = nn.Linear(HIDDEN, size)
        self.straight = nn.Linear(LATENT + len(TYPES), size, bias=False)
        self.log_variance = nn.Parameter(torch.full((size,), -2.0))

    def forward(self, courses: Tensor, seen: Tensor, kinds: Tensor) -> Tensor:
        """The negative evidence lower bound of each course [nats]."""
        middle, wide = self.encoder(torch.cat([seen, kinds], dim=-1)).chunk(2, dim=-1)
        latent = middle + torch.randn_like(middle) * torch.exp(wide / 2)
        given = torch.cat([latent, kinds], dim=-1)
        mean = self.leave(torch.tanh(self.enter(given))) + self.straight(given)
        variance = self.log_variance.clamp(min=LEAST)
        missed: Tensor = ((courses - mean) ** 2 / variance.exp() + variance).sum(dim=-1) / 2
        bound: Tensor = missed + (middle**2 + wide.exp() - 1 - wide).sum(dim=-1) / 2
        return bound


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Matrices of this size lose more by being shared between threads than they gain."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def fit_vae(courses: Numbers, types: Numbers, seed: int) -> Vae:
    """Train one on (days, knots, D) courses. The same seed gives the same weights on the same machine."""
    with torch.random.fork_rng(devices=[]), _one_thread():
        torch.manual_seed(seed)
        flat = torch.as_tensor(courses.reshape(len(courses), -1), dtype=torch.float32)
        kinds = torch.eye(len(TYPES))[torch.as_tensor(types)]
        network = _Network(flat.shape[1])
        # fused: else half of the time goes into the steps of the optimiser, for a network as small as this
        optimiser = torch.optim.AdamW(network.parameters(), RATE, weight_decay=DECAY, fused=True)
        for _ in range(STEPS):
            rows = torch.randint(len(flat), (min(BATCH, len(flat)),))
            seen = flat[rows] + ROUGH * torch.randn_like(flat[rows])
            loss = network(flat[rows], seen, kinds[rows]).mean()
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            optimiser.step()

    def plain(of: Tensor) -> Numbers:
        return np.asarray(of.detach().numpy(), np.float64)

    return Vae(
        {
            "latent_hidden": plain(network.enter.weight).T,
            "hidden_bias": plain(network.enter.bias),
            "hidden_out": plain(network.leave.weight).T,
            "latent_out": plain(network.straight.weight).T,
            "out_bias": plain(network.leave.bias),
            "log_variance": np.maximum(plain(network.log_variance), LEAST),
            "shape": np.asarray(courses.shape[1:]),
        }
    )

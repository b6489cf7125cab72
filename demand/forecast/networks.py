"""Two networks over detectors, trained on the pinball loss: a recurrent one that reads each detector's last
intervals, and one in which the detectors of a site attend to each other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from demand.forecast.examples import Examples
from demand.forecast.features import AHEAD, OWN, WHEN
from demand.forecast.kinds import NETWORK_INPUTS, QUANTILES

WIDTH, EMBEDDING, HEADS = 32, 8, 4
EPOCHS, BATCH, RATE, DECAY = 6, 64, 4e-3, 1e-3
_ROUGH = 1e-2  # spread below which a feature is constant


class Prepared(nn.Module):
    """Features scaled to unit spread, each detector's with those of all moments that are forecast, and who it is."""

    def __init__(self, examples: Examples) -> None:
        super().__init__()
        given = examples.given
        detectors, steps = given.base.shape[1:]
        for name in NETWORK_INPUTS:
            values = getattr(given, name)
            values = values.reshape(-1, values.shape[-1])
            self.register_buffer(f"{name}_middle", torch.as_tensor(values.mean(axis=0)))
            self.register_buffer(f"{name}_spread", torch.as_tensor(np.maximum(values.std(axis=0), _ROUGH)))
        self.who = nn.Parameter(torch.zeros(detectors, EMBEDDING))
        self.size = len(OWN) + steps * (len(AHEAD) + len(WHEN)) + EMBEDDING

    def scaled(self, name: str, values: Tensor) -> Tensor:
        """One of the inputs, scaled."""
        middle, spread = self.get_buffer(f"{name}_middle"), self.get_buffer(f"{name}_spread")
        return (values - middle) / spread

    def forward(self, own: Tensor, ahead: Tensor, when: Tensor) -> Tensor:
        """(N, D, size)."""
        moments, detectors = own.shape[0], own.shape[1]
        times = self.scaled("when", when).reshape(moments, 1, -1).expand(-1, detectors, -1)
        who = self.who.unsqueeze(0).expand(moments, -1, -1)
        parts = [self.scaled("own", own), self.scaled("ahead", ahead).reshape(moments, detectors, -1), times, who]
        return torch.cat(parts, dim=-1)


class RecurrentNetwork(nn.Module):
    """A gated recurrent unit (Cho et al. 2014) over the last intervals, and a layer over what else is known."""

    def __init__(self, examples: Examples, sites: Sequence[int]) -> None:
        super().__init__()
        del sites
        self.prepared = Prepared(examples)
        self.reads = nn.GRU(2, WIDTH, batch_first=True)
        self.head = _head(self.prepared.size + WIDTH, examples.target.shape[-1])

    def forward(self, own: Tensor, ahead: Tensor, when: Tensor, sequence: Tensor) -> Tensor:
        """(N, D, H, 3) residuals."""
        moments, detectors, length = sequence.shape[0], sequence.shape[1], sequence.shape[2]
        rows = self.prepared.scaled("sequence", sequence).reshape(moments * detectors, length, 2)
        _, state = self.reads(rows)
        state = state[0].reshape(moments, detectors, WIDTH)
        found: Tensor = self.head(torch.cat([self.prepared(own, ahead, when), state], dim=-1))
        return found.reshape(moments, detectors, -1, len(QUANTILES))


class GraphNetwork(nn.Module):
    """Graph attention (Veličković et al. 2018), two layers of some heads, over the detectors of each site."""

    apart: Tensor

    def __init__(self, examples: Examples, sites: Sequence[int]) -> None:
        super().__init__()
        self.prepared = Prepared(examples)
        self.enter = nn.Linear(self.prepared.size, WIDTH)
        self.layers = nn.ModuleList([Attention() for _ in range(2)])
        self.head = _head(self.prepared.size + WIDTH, examples.target.shape[-1])
        number = torch.as_tensor(np.asarray(sites))
        self.register_buffer("apart", torch.where(number[:, None] == number, 0.0, -1e9))

    def forward(self, own: Tensor, ahead: Tensor, when: Tensor, sequence: Tensor) -> Tensor:
        """(N, D, H, 3) residuals; `sequence` is not used."""
        del sequence
        rows = self.prepared(own, ahead, when)
        state = torch.relu(self.enter(rows))
        for layer in self.layers:
            state = state + layer(state, self.apart)
        found: Tensor = self.head(torch.cat([rows, state], dim=-1))
        return found.reshape(own.shape[0], own.shape[1], -1, len(QUANTILES))


class Attention(nn.Module):
    """One layer of graph attention: who is heard depends on both ends of an edge."""

    def __init__(self) -> None:
        super().__init__()
        self.value = nn.Linear(WIDTH, WIDTH)
        self.toward = nn.Linear(WIDTH, HEADS)
        self.away = nn.Linear(WIDTH, HEADS)

    def forward(self, state: Tensor, apart: Tensor) -> Tensor:
        """(N, D, WIDTH) of the same; `apart` is (D, D), 0 for neighbours and far below 0 for others."""
        moments, detectors = state.shape[0], state.shape[1]
        value = self.value(state).reshape(moments, detectors, HEADS, WIDTH // HEADS).transpose(1, 2)
        toward = self.toward(state).transpose(1, 2).unsqueeze(-1)
        away = self.away(state).transpose(1, 2).unsqueeze(-2)
        share = torch.softmax(nn.functional.leaky_relu(toward + away, 0.2) + apart, dim=-1)
        return torch.relu(torch.matmul(share, value).transpose(1, 2).reshape(moments, detectors, WIDTH))


def _head(inputs: int, steps: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, 2 * WIDTH), nn.ReLU(), nn.Linear(2 * WIDTH, steps * len(QUANTILES)))


def fit_network(
    network: type[RecurrentNetwork | GraphNetwork], examples: Examples, sites: Sequence[int], seed: int
) -> nn.Module:
    """A trained network. The same seed gives the same weights on the same machine."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = network(examples, sites)
        given = [torch.as_tensor(getattr(examples.given, name)) for name in NETWORK_INPUTS]
        target = torch.as_tensor(examples.target).unsqueeze(-1)
        known = ~torch.isnan(target)
        weight = torch.as_tensor(examples.weight).unsqueeze(-1) * known
        target = torch.nan_to_num(target)
        levels = torch.tensor(QUANTILES)
        batches = -(-len(target) // BATCH)
        optimiser = torch.optim.AdamW(model.parameters(), RATE, weight_decay=DECAY)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=EPOCHS * batches)
        for _ in range(EPOCHS):
            for rows in torch.split(torch.randperm(len(target)), BATCH):
                left = target[rows] - model(*(values[rows] for values in given))
                loss = (torch.maximum(levels * left, (levels - 1) * left) * weight[rows]).sum() / weight[rows].sum()
                optimiser.zero_grad()
                torch.autograd.backward(loss)
                optimiser.step()
                schedule.step()
    return model.eval()

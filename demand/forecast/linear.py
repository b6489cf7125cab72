"""Ridge regression: one for each detector and horizon (Hoerl and Kennard 1970)."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.linear_model import Ridge
from torch import Tensor, nn

from demand.counts.timeline import Numbers
from demand.forecast.examples import Examples
from demand.forecast.kinds import QUANTILES

PENALTY = 100.0  # on features of unit spread


class LinearNetwork(nn.Module):
    """Weights in the form that is exported with the networks."""

    weight: Tensor
    bias: Tensor

    def __init__(self, weight: Numbers, bias: Numbers) -> None:
        """Of (H, D, F) weights and (D, H, 3) biases."""
        super().__init__()
        self.register_buffer("weight", torch.as_tensor(weight, dtype=torch.float32))
        self.register_buffer("bias", torch.as_tensor(bias, dtype=torch.float32))

    def forward(self, own: Tensor, ahead: Tensor, when: Tensor, sequence: Tensor) -> Tensor:
        """(N, D, H, 3) residuals; the last two inputs are not used."""
        del when, sequence
        steps = [
            (torch.cat([own, ahead[:, :, step]], dim=-1) * self.weight[step]).sum(dim=-1)
            for step in range(self.weight.shape[0])
        ]
        return torch.stack(steps, dim=-1).unsqueeze(-1) + self.bias


def fit_linear(examples: Examples) -> LinearNetwork:
    """The regressions; their quantiles lie by those of what they left over in the recorded examples."""
    given, target = examples.given, examples.target
    detectors, steps = target.shape[1:]
    features = given.own.shape[-1] + given.ahead.shape[-1]
    weight, bias = np.zeros((steps, detectors, features)), np.zeros((detectors, steps, len(QUANTILES)))
    for step in range(steps):
        for detector in range(detectors):
            wanted = target[:, detector, step]
            known = ~np.isnan(wanted)
            if known.sum() < 2 * features:
                continue  # hardly ever seen: its profile is the forecast
            rows = np.concatenate([given.own[:, detector], given.ahead[:, detector, step]], axis=-1)[known]
            middle, spread = rows.mean(axis=0), np.maximum(rows.std(axis=0), 1e-3)
            ridge = Ridge(PENALTY).fit((rows - middle) / spread, wanted[known])
            weight[step, detector] = ridge.coef_ / spread
            start = float(ridge.intercept_) - float(weight[step, detector] @ middle)
            recorded = examples.recorded[known]
            left = (wanted[known] - rows @ weight[step, detector] - start)[recorded]
            bias[detector, step] = start + np.quantile(left, QUANTILES)
    return LinearNetwork(weight, bias)

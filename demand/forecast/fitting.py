"""One way to fit each method, and to write it as ONNX."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import nn

from demand.counts.timeline import Numbers
from demand.forecast.boosting import Boosting, fit_boosting, tree_graph
from demand.forecast.examples import Examples
from demand.forecast.features import AHEAD, OWN, SEQUENCE, WHEN, Features
from demand.forecast.kinds import (
    BOOSTING,
    LAST_VALUE,
    LAST_WEEK,
    LINEAR,
    NETWORK_INPUTS,
    RECURRENT,
    Model,
    Naive,
    in_blocks,
    tree_rows,
)  # fmt: skip
from demand.forecast.linear import fit_linear
from demand.forecast.networks import GraphNetwork, RecurrentNetwork, fit_network

SEEDLESS = (LAST_VALUE, LAST_WEEK)
"""Methods that a seed changes nothing of; the others draw at least the disturbed examples by it."""
OPSET = 18


class Fitted(Protocol):
    """A model that can be written."""

    def residuals(self, given: Features) -> Numbers:
        """See `kinds.Model`."""

    def files(self) -> dict[str, bytes]:
        """ONNX files by name."""


def fit(method: str, examples: Examples, sites: Sequence[int], seed: int) -> Fitted:
    """Train a method."""
    if method in SEEDLESS:
        return _Unlearned(Naive(method))
    if method == BOOSTING:
        return _Trees(fit_boosting(examples, seed), examples.given)
    if method == LINEAR:
        network: nn.Module = fit_linear(examples)
    else:
        kind = RecurrentNetwork if method == RECURRENT else GraphNetwork
        network = fit_network(kind, examples, sites, seed)
    return _Network(method, network, examples.given.base.shape[1], examples.given.base.shape[2])


class _Unlearned:
    def __init__(self, model: Model) -> None:
        self.residuals = model.residuals

    def files(self) -> dict[str, bytes]:
        return {}


class _Trees:
    def __init__(self, model: Boosting, given: Features) -> None:
        self.residuals = model.residuals
        self._model, self._width = model, tree_rows(given.of(slice(0, 1)), 0).shape[1]

    def files(self) -> dict[str, bytes]:
        return {
            f"{BOOSTING}-step-{step}.onnx": tree_graph(models, self._width)
            for step, models in enumerate(self._model.trees)
        }


class _Network:
    def __init__(self, method: str, network: nn.Module, detectors: int, steps: int) -> None:
        self._method, self._network, self._detectors, self._steps = method, network, detectors, steps

    def residuals(self, given: Features) -> Numbers:
        return in_blocks(given, self._answer)

    def _answer(self, given: Features) -> Numbers:
        with torch.inference_mode():
            found: Numbers = self._network(*(torch.as_tensor(getattr(given, n)) for n in NETWORK_INPUTS)).numpy()
        return found

    def files(self) -> dict[str, bytes]:
        shapes = {
            "own": (2, self._detectors, len(OWN)),
            "ahead": (2, self._detectors, self._steps, len(AHEAD)),
            "when": (2, self._steps, len(WHEN)),
            "sequence": (2, self._detectors, SEQUENCE, 2),
        }
        stream: Any = io.BytesIO()  # a path is what its types say; a stream has always done
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it announces its successor, which unrolls a recurrent unit (minutes)
            torch.onnx.export(
                self._network, tuple(torch.zeros(shapes[name]) for name in NETWORK_INPUTS), stream, dynamo=False,
                opset_version=OPSET, input_names=list(NETWORK_INPUTS), output_names=["residuals"],
                dynamic_axes={name: {0: "n"} for name in NETWORK_INPUTS},
            )  # fmt: skip
        return {f"{self._method}.onnx": stream.getvalue()}

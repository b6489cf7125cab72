"""A trained policy for one signal as an ONNX graph: physical units in, scores and the phase out.

Scaling, limits, the tables that do not change and the mask are inside, so that whoever runs it needs nothing else.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx.compose
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from agents.network import MASKED, SELECTABLE, PhaseEncoder, PhaseScorer
from agents.run import LearnedController, fitted
from controllers.base import TIE
from envs.sumo.setup import SimulationSetup
from envs.workers.client import RemoteSimulation
from envs.workers.server import WorkerSetup
from plumbing.errors import InputError, printable
from signals.inputs import InputTable
from signals.observations import LIMIT, ObservationShape

OPSET = 17
"""Of the graph; old enough for every runtime of the last years."""
TORCH_OPSET = 18
"""Of the graph where PyTorch's exporter has written the network: it writes no older one."""
IR_VERSION = 8
Weights = dict[str, npt.NDArray[np.float32]]
Node = tuple[str, list[str], str, dict[str, Any]]
"""Kind, inputs, output and attributes."""


@dataclass(frozen=True)
class _Part:
    """The middle of a graph: from the row of the observation to `unmasked`, the scores."""

    nodes: list[onnx.NodeProto]
    constants: list[TensorProto]
    opset: int


def scorer_weights(controller: LearnedController) -> Weights:
    """The layers of the built-in network as plain arrays, [out, in] each, with names that say what they do.

    Raises:
        InputError: it is another network.
    """
    scorer = _scorer(controller, controller.shape_for(1, 1))
    if not _built_in(scorer):
        raise InputError(f"a policy of {_named(controller)} has no C form; leave out `--with c`")
    plain = {name: tensor.detach().numpy().astype(np.float32) for name, tensor in scorer.state_dict().items()}
    units = plain["head.0.weight"].shape[0]
    return {
        "movement_weight": plain["encoder.movement.0.weight"],
        "movement_bias": plain["encoder.movement.0.bias"],
        "phase_weight": plain["encoder.phase.0.weight"],
        "phase_bias": plain["encoder.phase.0.bias"],
        "own_weight": np.ascontiguousarray(plain["head.0.weight"][:, :units]),
        "mean_weight": np.ascontiguousarray(plain["head.0.weight"][:, units:]),
        "hidden_bias": plain["head.0.bias"],
        "score_weight": plain["head.2.weight"],
        "score_bias": plain["head.2.bias"],
    }


def reference_scores(controller: LearnedController, table: InputTable, values: Any) -> npt.NDArray[np.float32]:
    """[B, P] what the trained network itself says to inputs [B, N]."""
    scorer = _scorer(controller, table.shape)
    with torch.inference_mode():
        scores: npt.NDArray[np.float32] = scorer(torch.from_numpy(table.row(values))).numpy()
    return scores


def _scorer(controller: LearnedController, shape: ObservationShape) -> nn.Module:
    """The policy's network, for rows that are cut so.

    Raises:
        InputError: it remembers, so that its scores do not follow from what it sees.
    """
    scorer = fitted(controller.network, shape, controller.weights)
    if hasattr(scorer, "begin"):
        raise InputError(
            f"a policy of {_named(controller)} remembers earlier decisions, and no exported form does; export one of "
            "another agent, such as ppo"
        )
    return scorer


def _named(controller: LearnedController) -> str:
    network = controller.network
    return f"{network.agent} with the network {network.encoder}" if network.encoder else network.agent


def _built_in(scorer: nn.Module) -> bool:
    return isinstance(scorer, PhaseScorer) and type(scorer.encoder) is PhaseEncoder


def policy_graph(controller: LearnedController, table: InputTable) -> bytes:
    """The ONNX file: `observation` [N] float32 to `scores` [P] float32 and `phase`, int64.

    `phase` is -1 where an input or a score is not finite, or no phase may be chosen.

    Raises:
        InputError: the policy's network has no such form.
    """
    shape, size = table.shape, len(table)
    place = np.arange(shape.size) + size  # a row is gathered from the inputs, followed by the constants
    place[table.elements] = np.arange(size)
    first = shape.phases * shape.phase_features
    scorer = _scorer(controller, shape)
    if _built_in(scorer):
        middle = _own_layers(scorer_weights(controller), table, place)
    else:
        middle = _traced(scorer, shape, place)
    constants: dict[str, npt.NDArray[Any]] = {
        "factors": table.factors,
        "lowest": np.array(0.0, np.float32),
        "limit": np.array(LIMIT, np.float32),
        "constants": table.constant,
        "phase_places": place[:first].reshape(shape.phases, shape.phase_features),
        "selectable_at": np.array([SELECTABLE]),
        "current_at": table.current,
        "half": np.array(0.5, np.float32),
        "masked": np.array(MASKED, np.float32),
        "tie": np.array(TIE, np.float64),
        "greatest": np.array(np.finfo(np.float32).max, np.float32),
        "none": np.array(-1, np.int64),
        "flat": np.array([shape.phases]),
    }
    before: list[Node] = [
        ("Mul", ["observation", "factors"], "scaled", {}),
        ("Clip", ["scaled", "lowest", "limit"], "limited", {}),
        ("Concat", ["limited", "constants"], "all", {"axis": 0}),
        ("Gather", ["all", "phase_places"], "phases", {}),
    ]
    after: list[Node] = [
        ("Gather", ["phases", "selectable_at"], "selectable_column", {"axis": 1}),
        ("Reshape", ["selectable_column", "flat"], "selectable_value", {}),
        ("Greater", ["selectable_value", "half"], "selectable", {}),
        ("Where", ["selectable", "unmasked", "masked"], "scores", {}),
        # the current phase wins ties: in double precision, where so little counts
        ("Cast", ["scores"], "exact", {"to": TensorProto.DOUBLE}),
        ("Gather", ["observation", "current_at"], "current", {}),
        ("Cast", ["current"], "current_exact", {"to": TensorProto.DOUBLE}),
        ("Mul", ["current_exact", "tie"], "favour", {}),
        ("Add", ["exact", "favour"], "favoured", {}),
        ("ArgMax", ["favoured"], "best", {"axis": 0, "keepdims": 0}),
        *_all_finite("observation"),
        *_all_finite("unmasked"),
        ("Cast", ["selectable"], "selectable_number", {"to": TensorProto.FLOAT}),
        ("ReduceMax", ["selectable_number"], "any_number", {"keepdims": 0}),
        ("Greater", ["any_number", "half"], "any", {}),
        ("And", ["observation_finite", "unmasked_finite"], "finite", {}),
        ("And", ["finite", "any"], "valid", {}),
        ("Where", ["valid", "best", "none"], "phase", {}),
    ]
    graph = helper.make_graph(
        [*_nodes(before), *middle.nodes, *_nodes(after)],
        "policy",
        [helper.make_tensor_value_info("observation", TensorProto.FLOAT, [size])],
        [
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, [shape.phases]),
            helper.make_tensor_value_info("phase", TensorProto.INT64, []),
        ],
        [*_tensors(constants), *middle.constants],
    )
    opsets = [helper.make_opsetid("", middle.opset)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="intergreen")
    onnx.checker.check_model(model, full_check=True)
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def _own_layers(weights: Weights, table: InputTable, place: npt.NDArray[np.int64]) -> _Part:
    """The built-in network."""
    shape = table.shape
    first = shape.phases * shape.phase_features
    second = first + shape.phases * shape.movements
    constants: dict[str, npt.NDArray[Any]] = {
        "service": table.constant[first:second].reshape(shape.phases, shape.movements),
        "movement_places": place[second:].reshape(shape.movements, shape.movement_features),
        "phase_share": np.full((1, shape.phases), 1.0 / shape.phases, np.float32),
        **{name: w.T.copy() if w.ndim == 2 else w for name, w in weights.items()},
    }
    nodes: list[Node] = [
        ("Gather", ["all", "movement_places"], "movements", {}),
        *_layer("movements", "movement", "movement_encoded"),
        ("MatMul", ["service", "movement_encoded"], "served", {}),
        ("Concat", ["phases", "served"], "phase_input", {"axis": 1}),
        *_layer("phase_input", "phase", "encoded"),
        ("MatMul", ["phase_share", "encoded"], "mean", {}),
        ("MatMul", ["encoded", "own_weight"], "own", {}),
        ("MatMul", ["mean", "mean_weight"], "shared", {}),
        ("Add", ["shared", "hidden_bias"], "shared_biased", {}),
        ("Add", ["own", "shared_biased"], "hidden_sum", {}),
        ("Relu", ["hidden_sum"], "hidden", {}),
        ("MatMul", ["hidden", "score_weight"], "score_sum", {}),
        ("Add", ["score_sum", "score_bias"], "score_column", {}),
        ("Reshape", ["score_column", "flat"], "unmasked", {}),
    ]
    return _Part(_nodes(nodes), _tensors(constants), OPSET)


def _traced(scorer: nn.Module, shape: ObservationShape, place: npt.NDArray[np.int64]) -> _Part:
    """A network from outside, as PyTorch's exporter writes it. Its scores are masked already.

    Raises:
        InputError: PyTorch cannot export it.
    """
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")  # of what PyTorch's exporter uses itself
            program = torch.onnx.export(
                scorer, (torch.zeros(1, shape.size),), dynamo=True, opset_version=TORCH_OPSET,
                input_names=["row"], output_names=["masked_scores"], verbose=False,
            )  # fmt: skip
    except ImportError as error:
        raise InputError(f"to export this network {error.name} is needed: pip install -e '.[export]'") from error
    except Exception as error:  # whatever the network does that ONNX cannot
        raise InputError(
            f"PyTorch cannot write the network {type(scorer).__name__} as ONNX ({type(error).__name__}: "
            f"{printable(error)}); use operations that torch.onnx.export takes"
        ) from error
    assert program is not None
    inner = onnx.compose.add_prefix(program.model_proto, "network/").graph
    constants = {"row_places": place, "one_row": np.array([1, shape.size])}
    into: list[Node] = [
        ("Gather", ["all", "row_places"], "row", {}),
        ("Reshape", ["row", "one_row"], "network/row", {}),
    ]
    out: list[Node] = [("Reshape", ["network/masked_scores", "flat"], "unmasked", {})]
    nodes = [*_nodes(into), *inner.node, *_nodes(out)]
    return _Part(nodes, [*_tensors(constants), *inner.initializer], TORCH_OPSET)


def _nodes(nodes: Sequence[Node]) -> list[onnx.NodeProto]:
    return [helper.make_node(kind, given, [made], name=made, **options) for kind, given, made, options in nodes]


def _tensors(constants: Mapping[str, npt.NDArray[Any]]) -> list[TensorProto]:
    return [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]


def _layer(given: str, name: str, made: str) -> list[Node]:
    """A linear layer with its rectifier."""
    return [
        ("MatMul", [given, f"{name}_weight"], f"{made}_product", {}),
        ("Add", [f"{made}_product", f"{name}_bias"], f"{made}_sum", {}),
        ("Relu", [f"{made}_sum"], made, {}),
    ]


def _all_finite(given: str) -> list[Node]:
    """`given`_finite: a comparison with what is not a number is false, and so is one with what is infinite."""
    return [
        ("Abs", [given], f"{given}_size", {}),
        ("LessOrEqual", [f"{given}_size", "greatest"], f"{given}_each", {}),
        ("Cast", [f"{given}_each"], f"{given}_number", {"to": TensorProto.FLOAT}),
        ("ReduceMin", [f"{given}_number"], f"{given}_least", {"keepdims": 0}),
        ("Greater", [f"{given}_least", "half"], f"{given}_finite", {}),
    ]


@dataclass(frozen=True)
class Recording:
    """What a policy saw in the situations that it led to, in physical units."""

    rows: npt.NDArray[np.float32]
    """[T, S, size]"""
    shape: ObservationShape
    seeds: tuple[int, ...]

    def inputs(self, signal: int, table: InputTable) -> npt.NDArray[np.float32]:
        """[T, N] the inputs of one of the signals."""
        found: npt.NDArray[np.float32] = self.rows[:, signal, table.elements_in(self.shape)]
        return found


def record(controller: LearnedController, setup: SimulationSetup, seeds: Sequence[int], least: int) -> Recording:
    """Let the policy run whole episodes until there are enough situations.

    Raises:
        InputError: the seeds do not suffice, because the episodes are so short.
    """
    observe = controller.observation(setup.layout)
    rows: list[npt.NDArray[np.float32]] = []
    with RemoteSimulation(WorkerSetup(setup, reward="", observation="")) as simulation:
        for position, seed in enumerate(seeds, start=1):
            simulation.begin(seed)
            controller.reset(setup.plan.intersections, setup.layout, seed)
            while not simulation.done:
                rows.append(observe.raw(simulation.snapshot))
                simulation.decide(controller.decide(simulation.snapshot))
            simulation.end()
            if len(rows) >= least:
                return Recording(np.array(rows), observe.shape, tuple(seeds[:position]))
    raise InputError(
        f"{len(seeds)} episodes have {len(rows)} decisions together, {least} are needed for golden inputs; "
        "train on a longer window"
    )

"""Gradient boosting of trees (Friedman 2001; scikit-learn's histogram trees): one model for each horizon and
quantile, over all detectors. It is written as ONNX tree ensembles, one file for each horizon."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper
from sklearn.ensemble import HistGradientBoostingRegressor

from demand.counts.timeline import Numbers
from demand.forecast.examples import Examples
from demand.forecast.features import Features
from demand.forecast.kinds import QUANTILES, tree_rows

TREES, LEAVES, SMALLEST_LEAF, RATE, SHARE = 100, 15, 60, 0.1, 0.5


class Boosting:
    """Trained models: `trees[step][quantile]`."""

    def __init__(self, trees: list[list[Any]]) -> None:
        self.trees = trees

    def residuals(self, given: Features) -> Numbers:
        """(N, D, H, 3)."""
        shape = given.own.shape[:2]
        found = []
        for step, models in enumerate(self.trees):
            rows = tree_rows(given, step)
            found.append(np.stack([model.predict(rows).reshape(shape) for model in models], axis=-1))
        return np.stack(found, axis=2)


def fit_boosting(examples: Examples, seed: int) -> Boosting:
    """The models of all horizons. Examples count alike: weights make scikit-learn's quantile loss eight times
    as slow and change hardly anything."""
    trees = []
    for step in range(examples.target.shape[-1]):
        wanted = examples.target[..., step].ravel()
        known = ~np.isnan(wanted)
        rows, wanted = tree_rows(examples.given, step)[known], wanted[known]
        trees.append([_model(level, seed).fit(rows, wanted) for level in QUANTILES])
    return Boosting(trees)


def _model(level: float, seed: int) -> Any:
    return HistGradientBoostingRegressor(
        loss="quantile", quantile=level, learning_rate=RATE, max_iter=TREES, max_leaf_nodes=LEAVES,
        min_samples_leaf=SMALLEST_LEAF, max_features=SHARE, early_stopping=False, random_state=seed,
    )  # fmt: skip


def tree_graph(models: list[Any], features: int) -> bytes:
    """An ONNX model: rows (n, features) of float32 to (n, len(models)).

    Thresholds are rounded down to float32, so that every float32 goes the way that scikit-learn sends it.
    """
    columns: dict[str, list[Any]] = {name: [] for name in _COLUMNS}
    trees = ((target, tree) for target, model in enumerate(models) for (tree,) in model._predictors)
    for number, (target, tree) in enumerate(trees):
        _add_tree(columns, tree.nodes, number, target)
    given: dict[str, Any] = dict(columns)
    node = helper.make_node(
        "TreeEnsembleRegressor", ["rows"], ["residuals"], domain="ai.onnx.ml", n_targets=len(models),
        base_values=[float(model._baseline_prediction.ravel()[0]) for model in models],
        post_transform="NONE", aggregate_function="SUM", **given,
    )  # fmt: skip
    graph = helper.make_graph(
        [node], "boosting",
        [helper.make_tensor_value_info("rows", TensorProto.FLOAT, ["n", features])],
        [helper.make_tensor_value_info("residuals", TensorProto.FLOAT, ["n", len(models)])],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 3)]
    model_proto = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    onnx.checker.check_model(model_proto)
    return bytes(model_proto.SerializeToString())


_COLUMNS = (
    "nodes_treeids", "nodes_nodeids", "nodes_featureids", "nodes_values", "nodes_modes", "nodes_truenodeids",
    "nodes_falsenodeids", "target_treeids", "target_nodeids", "target_ids", "target_weights",
)  # fmt: skip


def _add_tree(columns: dict[str, list[Any]], nodes: Any, tree: int, target: int) -> None:
    for number, node in enumerate(nodes):
        leaf = bool(node["is_leaf"])
        columns["nodes_treeids"].append(tree)
        columns["nodes_nodeids"].append(number)
        columns["nodes_featureids"].append(0 if leaf else int(node["feature_idx"]))
        columns["nodes_values"].append(0.0 if leaf else _down(float(node["num_threshold"])))
        columns["nodes_modes"].append("LEAF" if leaf else "BRANCH_LEQ")
        columns["nodes_truenodeids"].append(0 if leaf else int(node["left"]))
        columns["nodes_falsenodeids"].append(0 if leaf else int(node["right"]))
        if leaf:
            columns["target_treeids"].append(tree)
            columns["target_nodeids"].append(number)
            columns["target_ids"].append(target)
            columns["target_weights"].append(float(node["value"]))


def _down(threshold: float) -> float:
    near = np.float32(threshold)
    return float(near if float(near) <= threshold else np.nextafter(near, np.float32(-np.inf)))

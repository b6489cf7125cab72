"""Makes one signal's bundle from a trained policy: its forms, held against what was trained, and every file."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from deployment.bundle.contents import Subject, input_highs
from deployment.bundle.golden import Golden, Rows
from deployment.bundle.make.assembly import bundle_files, check_forms
from deployment.bundle.make.c_source import policy_source
from deployment.bundle.make.card import Checks, provenance
from deployment.bundle.make.drawn import draw_inputs
from deployment.bundle.manifest import PolicyNeeds
from deployment.bundle.policy import OPSET
from signals.inputs import InputTable

DRAWN = 2_000
"""Random situations that every form is checked on, beside the recorded ones."""
PACKAGES = ("intergreen", "onnx", "onnxruntime", "torch", "numpy", "cryptography")
"""Whose versions a bundle states."""


@dataclass(frozen=True)
class Trained:
    """What a bundle takes of a trained policy. It is handed in: nothing in deployment learns."""

    settings: Mapping[str, Any]
    """Of its run."""
    run_sha256: str
    weights: Mapping[str, npt.NDArray[np.float32]]
    """The layers of its network, by the names that policy.c gives them."""
    graph: Callable[[InputTable], bytes]
    """The policy as ONNX, for these inputs."""
    answer: Callable[[InputTable, Rows], Golden]
    """What it says to inputs [G, N]."""
    golden_seeds: tuple[int, ...]
    """Of the traffic that the recorded situations come from."""


@dataclass(frozen=True)
class Made:
    """A bundle that is ready to be sealed."""

    subject: Subject
    needs: PolicyNeeds
    files: Mapping[str, bytes]
    checks: Checks


def make_bundle(
    trained: Trained, subject: Subject, recorded: Rows,
    *, c: bool, evaluation: Mapping[str, Any] | None, scenario: str, validity: str, simulation_only: bool,
) -> Made:  # fmt: skip
    """Make every file of a signal's bundle but the seal.

    Args:
        recorded: [G, N] the inputs of recorded situations.
        c: whether it holds policy.c, too.
        evaluation: what evaluate.py found out about the policy.
        scenario: the network, for people.
        validity: from when to when, for people.

    Raises:
        NotThePolicy: a form does not do what the trained policy does.
    """
    table = subject.inputs
    known = trained.answer(table, recorded)
    drawn = trained.answer(table, draw_inputs(table, input_highs(subject), DRAWN, seed=0))
    golden, graph = known.thinned(), trained.graph(table)
    source = policy_source(trained.weights, table, golden) if c else None
    checks = check_forms(graph, source, known, drawn, len(subject.intersection.phases))
    about = provenance(trained.settings, trained.run_sha256, trained.golden_seeds, checks, _versions(), evaluation)
    files = bundle_files(
        subject, graph, source, golden, about,
        scenario=scenario, validity=validity, simulation_only=simulation_only,
    )  # fmt: skip
    return Made(subject, PolicyNeeds(table.sensing, simulation_only, OPSET), files, checks)


def _versions() -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in PACKAGES} | {"python": platform.python_version()}

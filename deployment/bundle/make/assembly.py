"""Puts a bundle together: every form of the policy, held against the trained one, and the papers that go with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from deployment.bundle.contents import Subject, documents
from deployment.bundle.golden import Agreement, Golden, compare
from deployment.bundle.make.c_check import CompileError, compiled, compiler, measure
from deployment.bundle.make.card import Checks, model_card
from deployment.bundle.make.sheet import timing_sheet
from deployment.bundle.make.sheet_page import page
from deployment.bundle.policy import OnnxPolicy
from plumbing.plain import json_bytes


class NotThePolicy(RuntimeError):
    """An exported form does not do what the trained policy does; the message says which and how."""


def check_forms(graph: bytes, c: Mapping[str, bytes] | None, recorded: Golden, drawn: Golden, phases: int) -> Checks:
    """Hold ONNX and C against what the trained policy said in recorded and in drawn situations.

    Raises:
        NotThePolicy: one of them differs.
    """
    both = Golden(*(np.concatenate(pair) for pair in zip(_arrays(recorded), _arrays(drawn), strict=True)))
    counts = len(recorded.phases), len(drawn.phases)
    onnx = _holding("ONNX", compare(OnnxPolicy(graph).raw, both))
    if c is None:
        return Checks(*counts, onnx, None, None, "not asked for; export with --with c")
    cc = compiler()
    if cc is None:
        return Checks(*counts, onnx, None, None, "written, but not checked: the exporting machine has no C compiler")
    try:
        with compiled(c, phases, cc) as policy:
            agreement = _holding("C", compare(policy, both))
        return Checks(*counts, onnx, agreement, measure(c, cc), "")
    except CompileError as error:
        raise NotThePolicy(f"policy.c does not pass on this machine ({error})") from error


def _arrays(golden: Golden) -> tuple[Any, Any, Any]:
    return golden.inputs, golden.scores, golden.phases


def _holding(form: str, found: Agreement) -> Agreement:
    if not found.holds:
        raise NotThePolicy(
            f"{form} chooses the trained policy's phase in {found.same_phase} of {found.count} situations, "
            f"scores differ by {found.worst_difference:.1e} of the greatest"
        )
    return found


def bundle_files(
    subject: Subject, graph: bytes, c: Mapping[str, bytes] | None, golden: Golden, about: Mapping[str, Any],
    *, scenario: str, validity: str, simulation_only: bool,
) -> dict[str, bytes]:  # fmt: skip
    """Every file of a bundle but manifest and signature.

    Args:
        golden: of the recording, as many as the bundle is to keep.
        about: its provenance.
    """
    from deployment.bundle.make.sheet_pdf import pdf  # loads Matplotlib

    sheet = timing_sheet(subject, scenario, validity)
    return {
        "policy.onnx": graph,
        **(c or {}),
        **{name: json_bytes(content) for name, content in documents(subject).items()},
        "golden.json": json_bytes(golden.document()),
        "provenance.json": json_bytes(about),
        "model_card.md": model_card(subject, about, simulation_only, validity).encode(),
        "timing_sheet.html": page(sheet),
        "timing_sheet.pdf": pdf(sheet),
    }

"""A bundle: one signal's policy as a directory that a controller's computer can check and run without this project's
learning side.

| file | content |
|---|---|
| policy.onnx, policy.c, policy.h | the policy; the last two only where they were asked for |
| observation.json | every input with meaning, unit, range, detectors and NEMA phases; layout and loops |
| actions.json | what each phase that it chooses shows; the whole intersection |
| timing.json, conflicts.json | what the controller's tables hold; who may never be green with whom |
| fallback_plan.json | the network's own program as a pattern |
| golden.json | recorded situations and what the trained policy said |
| provenance.json, model_card.md | where it comes from, what it is good for |
| timing_sheet.html, timing_sheet.pdf | as engineers hand over |
| manifest.json, manifest.sig | digests, validity; Ed25519 signature |
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from deployment.bundle.contents import Subject, documents
from deployment.bundle.golden import Golden, compare
from deployment.bundle.manifest import Form, Manifest, PolicyNeeds
from deployment.bundle.policy import OPSET, OnnxPolicy
from deployment.bundle.sealed import read_files, read_manifest
from deployment.nema.codec import decode
from deployment.nema.fallback import FixedTimePlan
from deployment.nema.safety import findings
from plumbing.errors import InputError
from plumbing.plain import parse
from signals.inputs import DETECTORS, PHASES, InputTable
from signals.intersection import Intersection
from signals.layout import Layout
from signals.loops import LoopPlan
from signals.machine import SignalMachine
from signals.nema import NemaPlan
from signals.timing import Timing

BUNDLE = Form(
    "intergreen policy bundle",
    "bundle",
    required=(
        "policy.onnx", "observation.json", "actions.json", "timing.json", "conflicts.json", "fallback_plan.json",
        "golden.json", "provenance.json", "model_card.md", "timing_sheet.html", "timing_sheet.pdf",
    ),
    optional=("policy.c", "policy.h"),
)  # fmt: skip


@dataclass(frozen=True)
class Bundle:
    """A bundle that was read and checked."""

    path: Path
    manifest: Manifest
    needs: PolicyNeeds
    """From the manifest."""
    signed: bool
    """Whether its signature was checked."""
    intersection: Intersection
    layout: Layout
    """The layout of this one signal."""
    loops: LoopPlan | None
    """None only where `needs.simulation_only`."""
    plan: NemaPlan
    timing: Timing
    inputs: InputTable
    """`inputs.read(snapshot)` gives the policy's inputs."""
    input_high: tuple[float, ...]
    """[N] the greatest value of each input that is physically possible; the least is 0."""
    policy: OnnxPolicy
    fallback: FixedTimePlan
    backup_time_s: float
    golden: Golden
    provenance: dict[str, Any]

    def machine(self) -> SignalMachine:
        """A new state machine for this signal, as in training."""
        return SignalMachine((self.intersection,), self.timing)


def read_bundle(path: Path, *, public_key: Path, now: datetime | None = None, simulation: bool = False) -> Bundle:
    """Read a bundle and check all of it: signature, dates, digests, format, opset, tables, golden outputs.

    Args:
        public_key: of whoever may sign.
        now: the time that its validity is held against; by default this machine's clock.
        simulation: whether a bundle that is marked for simulation only will do.

    Raises:
        InputError: anything at all is wrong with it.
    """
    return _read(path, public_key, now or datetime.now(UTC), simulation)


def read_unsigned_bundle(path: Path) -> Bundle:
    """As `read_bundle`, but signature and dates are not checked. For simulations; never for a controller."""
    return _read(path, None, None, True)


def _read(path: Path, key: Path | None, now: datetime | None, simulation: bool) -> Bundle:
    found = read_manifest(path, BUNDLE, key, now)
    needs = found.policy
    if needs is None:
        raise InputError(f"bundle {path} says nothing of its policy; export it again")
    if needs.simulation_only and not simulation:
        raise InputError(
            f"bundle {path} is for simulation only (its policy's sensing: {needs.sensing}); train with --sensing "
            f"detectors and export without --simulation-only"
        )
    files = read_files(path, BUNDLE, found)
    try:
        return _bundle(path, found, needs, key is not None, files)
    except InputError:
        raise
    except Exception as error:  # whatever a file makes of the code that reads it: the bundle is not used
        raise InputError(f"bundle {path} is inconsistent ({_brief(error)}); export the policy again") from error


def _bundle(path: Path, found: Manifest, needs: PolicyNeeds, signed: bool, files: Mapping[str, bytes]) -> Bundle:
    if needs.opset != OPSET:
        raise InputError(f"bundle {path} asks for opset {needs.opset}, this version runs {OPSET}; export it again")
    read = {name: parse(content) for name, content in files.items() if name.endswith(".json")}
    observation = read["observation.json"]
    intersection = decode(Intersection, read["actions.json"]["intersection"])
    layout = decode(Layout, observation["layout"])
    loops = None if observation["loops"] is None else decode(LoopPlan, observation["loops"])
    if intersection.tls_id != found.tls_id or layout.tls_ids != (found.tls_id,):
        raise ValueError("its files are of different signals")
    if (loops is None) != (needs.sensing != DETECTORS) or (loops is None and not needs.simulation_only):
        raise ValueError("sensing and loops do not go together")
    subject = Subject.of(intersection, layout, loops, needs.sensing, observation.get("observation", PHASES))
    for name, content in documents(subject).items():
        if json.loads(json.dumps(content)) != read[name]:
            raise ValueError(f"{name} is not what follows from the intersection")
    # whoever signed it: by this version's rules, and for this intersection
    if unsafe := findings(intersection, subject.plan, subject.fallback):
        raise InputError(f"bundle {path} is unsafe: {unsafe[0]}")
    policy = OnnxPolicy(files["policy.onnx"], str(path / "policy.onnx"))
    golden = Golden.read(read["golden.json"])
    if policy.inputs != len(subject.inputs) or policy.phases != len(intersection.phases):
        raise ValueError("policy.onnx has another number of inputs or phases than observation.json")
    if golden.inputs.shape[1] != policy.inputs or golden.scores.shape[1] != policy.phases:
        raise ValueError("golden.json has another number of inputs or phases than policy.onnx")
    agreement = compare(policy.raw, golden)
    if not agreement.holds:
        raise InputError(
            f"bundle {path}: policy.onnx does not answer its golden inputs as the trained policy did "
            f"({agreement.same_phase} of {agreement.count} the same); do not use it"
        )
    return Bundle(
        path=path,
        manifest=found,
        needs=needs,
        signed=signed,
        intersection=intersection,
        layout=layout,
        loops=loops,
        plan=subject.plan,
        timing=subject.timing,
        inputs=subject.inputs,
        input_high=tuple(row["high"] for row in observation["inputs"]),
        policy=policy,
        fallback=subject.fallback,
        backup_time_s=read["timing.json"]["backup_time_s"],
        golden=golden,
        provenance=read["provenance.json"],
    )


def _brief(error: Exception) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__

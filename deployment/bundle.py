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
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from deployment import manifest as manifests
from deployment.codec import decode
from deployment.contents import Subject, documents
from deployment.fallback import FixedTimePlan
from deployment.golden import Golden, compare
from deployment.manifest import MANIFEST, SIGNATURE, Manifest
from deployment.nema import NemaPlan
from deployment.policy import OPSET, OnnxPolicy
from deployment.safety import findings
from scenarios.held import bring_back
from scenarios.whole import Draft, check_movable
from signals.errors import InputError
from signals.inputs import DETECTORS, InputTable
from signals.intersection import Intersection
from signals.layout import Layout
from signals.loops import LoopPlan
from signals.machine import SignalMachine
from signals.plain import parse
from signals.timing import Timing

REQUIRED = (
    "policy.onnx", "observation.json", "actions.json", "timing.json", "conflicts.json", "fallback_plan.json",
    "golden.json", "provenance.json", "model_card.md", "timing_sheet.html", "timing_sheet.pdf",
)  # fmt: skip
OPTIONAL = ("policy.c", "policy.h")
MOST_BYTES = 64 * 2**20
"""A file that is larger is no part of a bundle."""


@dataclass(frozen=True)
class Bundle:
    """A bundle that was read and checked."""

    path: Path
    manifest: Manifest
    signed: bool
    """Whether its signature was checked."""
    intersection: Intersection
    layout: Layout
    """Of this one signal."""
    loops: LoopPlan | None
    """None only where `manifest.simulation_only`."""
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
    """The same without signature and dates, for a simulation: never for a controller."""
    return _read(path, None, None, True)


def _read(path: Path, key: Path | None, now: datetime | None, simulation: bool) -> Bundle:
    bring_back(path)
    if not path.is_dir():
        raise InputError(f"bundle {path} is no directory; write one with export.py RUN --out {path}")
    sealed = _file(path, MANIFEST)
    if key is not None:
        if not (path / SIGNATURE).is_file():
            raise InputError(f"bundle {path} is not signed; export it with --key FILE")
        manifests.verify(sealed, _file(path, SIGNATURE), key, path)
    found = manifests.read_manifest(sealed, path / MANIFEST)
    if now is not None:
        manifests.check_dates(found, now, path)
    if found.simulation_only and not simulation:
        raise InputError(
            f"bundle {path} is for simulation only (its policy's sensing: {found.sensing}); train with --sensing "
            f"detectors and export without --simulation-only"
        )
    files = _files(path, found)
    try:
        return _bundle(path, found, key is not None, files)
    except InputError:
        raise
    except Exception as error:  # whatever a file makes of the code that reads it: the bundle is not used
        raise InputError(f"bundle {path} is inconsistent ({_brief(error)}); export the policy again") from error


def _files(path: Path, found: Manifest) -> dict[str, bytes]:
    """Every file that the manifest lists, digests checked; nothing else may lie beside them."""
    missing = [name for name in REQUIRED if name not in found.files]
    strange = [name for name in found.files if name not in (*REQUIRED, *OPTIONAL)]
    if missing or strange:
        what = f"lacks {missing[0]}" if missing else f"holds {strange[0]!r}, which is no part of one"
        raise InputError(f"bundle {path} {what}; export the policy again")
    beside = {entry.name for entry in path.iterdir()} - set(found.files) - {MANIFEST, SIGNATURE}
    if beside:
        raise InputError(f"bundle {path} holds {sorted(beside)[0]!r}, which its manifest does not list; remove it")
    contents = {}
    for name, entry in found.files.items():
        content = _file(path, name)
        if len(content) != entry.bytes:
            raise InputError(f"{path / name} has {len(content)} bytes, not {entry.bytes}: cut off or changed")
        if manifests.entries({name: content})[name] != entry:
            raise InputError(f"{path / name} was changed: its SHA-256 is not the manifest's; do not use the bundle")
        contents[name] = content
    return contents


def _bundle(path: Path, found: Manifest, signed: bool, files: Mapping[str, bytes]) -> Bundle:
    if found.opset != OPSET:
        raise InputError(f"bundle {path} asks for opset {found.opset}, this version runs {OPSET}; export it again")
    read = {name: parse(content) for name, content in files.items() if name.endswith(".json")}
    observation = read["observation.json"]
    intersection = decode(Intersection, read["actions.json"]["intersection"])
    layout = decode(Layout, observation["layout"])
    loops = None if observation["loops"] is None else decode(LoopPlan, observation["loops"])
    if intersection.tls_id != found.tls_id or layout.tls_ids != (found.tls_id,):
        raise ValueError("its files are of different signals")
    if (loops is None) != (found.sensing != DETECTORS) or (loops is None and not found.simulation_only):
        raise ValueError("sensing and loops do not go together")
    subject = Subject.of(intersection, layout, loops, found.sensing)
    for name, content in documents(subject).items():
        if json.loads(json.dumps(content)) != read[name]:
            raise ValueError(f"{name} is not what follows from the intersection")
    if unsafe := findings(subject):  # whoever signed it: by this version's rules, and for this intersection
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


def write_bundle(
    out: Path,
    files: Mapping[str, bytes],
    manifest: bytes,
    signature: bytes | None,
    *,
    overwrite: bool = False,
    check: Callable[[Path], object] | None = None,
) -> None:
    """Write a bundle, whole or not at all.

    Args:
        files: name to content, without manifest and signature.
        signature: of the manifest's bytes; None leaves the bundle unsigned.
        overwrite: whether a bundle that is there is replaced.
        check: called with the written directory before it takes its place; what it raises, prevents that.

    Raises:
        InputError: there is something already, or it cannot be written.
    """
    check_room(out, overwrite)
    with Draft(out) as draft:
        draft.path.mkdir()
        sealed = {**files, MANIFEST: manifest} | ({SIGNATURE: signature} if signature is not None else {})
        for name, content in sealed.items():
            (draft.path / name).write_bytes(content)
        if check is not None:
            check(draft.path)
        draft.take_place()


def check_room(out: Path, overwrite: bool) -> None:
    """Raises InputError where a bundle may not be written."""
    if not out.exists():
        return
    if not out.is_dir():
        raise InputError(f"--out {out} is a file; give a directory")
    check_movable(out)
    if not any(out.iterdir()):
        return
    if not (out / MANIFEST).is_file():
        raise InputError(f"--out {out} is not empty and no bundle; give another directory")
    if not overwrite:
        raise InputError(f"{out} holds a bundle already; replace it with --overwrite or give another --out")


def _file(path: Path, name: str) -> bytes:
    file = path / name
    try:
        if file.is_symlink() or not file.is_file():
            raise InputError(f"bundle {path} has no {name}; export the policy again")
        if file.stat().st_size > MOST_BYTES:
            raise InputError(f"{file} is larger than {MOST_BYTES >> 20} MiB: no part of a bundle")
        return file.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {file}: {error.strerror}") from error


def _brief(error: Exception) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__

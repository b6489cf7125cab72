"""Bundles as a controller in the simulation: what goes out is judged in the same loop as what was trained."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from deployment.bundle.manifest import MANIFEST
from deployment.bundle.read import Bundle, read_unsigned_bundle
from deployment.nema.codec import encode
from plumbing.errors import InputError
from plumbing.identity import code_sha256
from plumbing.onnx import onnxruntime
from signals.intersection import Intersection
from signals.layout import Layout
from signals.observations import PhaseObservation
from signals.snapshot import Snapshot


def bundle_folders(path: Path) -> list[Path]:
    """The bundle that this directory is, or the bundles in it; empty where there is none."""
    if (path / MANIFEST).is_file():
        return [path]
    if not path.is_dir():
        return []
    return sorted(folder for folder in path.iterdir() if (folder / MANIFEST).is_file())


def identity_of(folders: Sequence[Path]) -> str:
    """What decides how these bundles choose: the digest of what they hold, by their manifests, and of the code that
    runs them, and the version of what computes them."""
    held = hashlib.sha256(b"".join((folder / MANIFEST).read_bytes() for folder in folders)).hexdigest()
    return f"{held} code {code_sha256('deployment')} onnxruntime {onnxruntime.__version__}"


class BundleController:
    """The policies of bundles, one per signal, fed from a snapshot of all signals."""

    def __init__(self, folders: Sequence[Path]) -> None:
        """See the class. Signatures and dates count for a controller, not here.

        Raises:
            InputError: one of the bundles is damaged, or they differ in sensing.
        """
        self._bundles: dict[str, Bundle] = {}
        for folder in folders:
            bundle = read_unsigned_bundle(folder)
            self._bundles[bundle.manifest.tls_id] = bundle
        kinds = {bundle.inputs.kind for bundle in self._bundles.values()}
        if len(kinds) != 1:
            raise InputError(
                f"bundles {', '.join(map(str, folders))} differ in sensing or observation; give those of one run"
            )
        self._kind = kinds.pop()
        self.sensing = self._kind.sensing
        self.last_scores: npt.NDArray[np.float64] | None = None
        self._observe: PhaseObservation | None = None

    def reset(self, intersections: Sequence[Intersection], layout: Layout, seed: int) -> None:
        """Hold the bundles against these intersections.

        Raises:
            InputError: a signal has no bundle, or is another one than its bundle's.
        """
        del seed
        self._observe = self._kind(layout)
        self._order = []
        for item in intersections:
            bundle = self._bundles.get(item.tls_id)
            if bundle is None:
                raise InputError(
                    f"there is no bundle for signal {item.tls_id!r}, but for {', '.join(sorted(self._bundles))}; "
                    f"export the whole run, and give the folder of its bundles"
                )
            if encode(item) != encode(bundle.intersection):
                raise InputError(
                    f"bundle {bundle.path} is for another signal {item.tls_id!r}: network or timing differ; "
                    f"evaluate it on the network and with the timing that it was trained with"
                )
            self._order.append((bundle, bundle.inputs.elements_in(self._observe.shape)))

    def decide(self, snapshot: Snapshot) -> npt.NDArray[np.int64]:
        """[S] the phase that each bundle's policy chooses.

        Raises:
            ArithmeticError: an input or a score is not finite.
        """
        assert self._observe is not None, "call reset first"
        rows = self._observe.raw(snapshot)
        chosen = np.zeros(len(rows), np.int64)
        self.last_scores = np.full((len(rows), self._observe.shape.phases), -np.inf)
        for s, (bundle, elements) in enumerate(self._order):
            scores, chosen[s] = bundle.policy(rows[s, elements])
            self.last_scores[s, : len(scores)] = scores
        return chosen

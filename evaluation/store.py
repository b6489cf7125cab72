"""Finished runs on disk, so that a sweep that was killed goes on where it stopped.

Each run is a folder OUT/runs/CONTROLLER/seed-N that appears whole or not at all: `run.json` (its metrics, the
digest of all that determines it, and the other files' hashes) and tables as Parquet. A run counts as finished
where that digest is the one asked for and every file has its hash; any other leftover is run anew, never mixed in.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from evaluation.metrics import RunMetrics
from scenarios.held import sweep
from scenarios.whole import Draft
from signals.plain import parse

FORMAT = 1
RUN_FILE = "run.json"


def digest_of(content: Mapping[str, Any]) -> str:
    """One digest of plain values; the order of keys does not matter."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


@dataclasses.dataclass(frozen=True)
class StoredRun:
    """A finished run as it lies on disk."""

    folder: Path
    metrics: RunMetrics

    def table(self, name: str) -> pl.DataFrame:
        """One of its tables."""
        return pl.read_parquet(self.folder / f"{name}.parquet", glob=False)

    def has(self, name: str) -> bool:
        """Whether it has that table: what is dear to compute exists for one seed only."""
        return (self.folder / f"{name}.parquet").is_file()


def load_run(folder: Path, digest: str) -> StoredRun | None:
    """The run in that folder if it is whole and the one asked for, else None."""
    try:
        content = parse((folder / RUN_FILE).read_bytes())
        if content["format"] != FORMAT or content["digest"] != digest:
            return None
        for name, expected in content["files"].items():
            if _sha256(folder / name) != expected:
                return None
        values: dict[str, Any] = content["metrics"]
        values = {name: math.nan if value is None else value for name, value in values.items()}
        return StoredRun(folder, RunMetrics(**values))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def save_run(
    folder: Path, digest: str, controller: str, seed: int, metrics: RunMetrics, tables: Mapping[str, pl.DataFrame]
) -> StoredRun:
    """Write a run's folder, whole or not at all; an older one of that name makes room.

    Raises:
        InputError: it cannot be written, such as on a full disk.
    """
    with Draft(folder) as draft:
        draft.path.mkdir()
        files: dict[str, str] = {}
        for name, frame in sorted(tables.items()):
            path = draft.path / f"{name}.parquet"
            frame.write_parquet(path)
            files[path.name] = _sha256(path)
        content = {
            "format": FORMAT,
            "digest": digest,
            "controller": controller,
            "seed": seed,
            "metrics": {
                name: None if isinstance(value, float) and not math.isfinite(value) else value
                for name, value in dataclasses.asdict(metrics).items()
            },
            "files": files,
        }
        (draft.path / RUN_FILE).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        draft.take_place()
    return StoredRun(folder, metrics)


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def clear_partial(folder: Path) -> None:
    """Remove what a kill in the middle of a write has left, and put back what it had moved aside."""
    for controller in folder.glob("*/"):
        sweep(controller)

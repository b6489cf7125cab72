"""Finished runs on disk, so that a sweep that was killed goes on where it stopped.

Each run is a folder OUT/runs/CONTROLLER/seed-N that appears whole or not at all: `run.json` (its metrics, the
digest of all that determines it, and the other files' hashes) and tables as Parquet. A run counts as finished
where that digest is the one asked for and every file has its hash; any other leftover is run anew, never mixed in.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import math
import os
import shutil
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl

from evaluation.metrics import RunMetrics
from signals.errors import InputError
from signals.plain import parse

FORMAT = 1
RUN_FILE = "run.json"
ROOT = Path(__file__).resolve().parents[1]
DETERMINING = ("signals", "scenarios", "envs", "controllers", "agents", "evaluation")
"""The packages whose code a run's outcome depends on."""
SHOWING = ("report", "tables.py", "statistics.py", "progress.py", "stress.py", "tune.py")
"""What in evaluation/ only shows what runs came to."""


@cache
def code_sha256() -> str:
    """The digest of the project's own code that a run depends on."""
    digest = hashlib.sha256()
    for package in DETERMINING:
        for path in sorted((ROOT / package).rglob("*")):
            inside = path.relative_to(ROOT)
            shows = package == "evaluation" and inside.parts[1] in SHOWING
            if path.suffix in (".py", ".cpp", ".xml", ".yaml") and not shows:
                digest.update(f"{inside.as_posix()}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()


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
        return pl.read_parquet(self.folder / f"{name}.parquet")

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
            with (folder / name).open("rb") as stream:
                if hashlib.file_digest(stream, "sha256").hexdigest() != expected:
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
    partial: Path | None = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
        files: dict[str, str] = {}
        for name, frame in sorted(tables.items()):
            path = partial / f"{name}.parquet"
            frame.write_parquet(path)
            files[path.name] = _settle(path)
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
        (partial / RUN_FILE).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        _settle(partial / RUN_FILE)
        partial.chmod(0o755)
        if folder.exists():
            shutil.rmtree(folder)
        partial.replace(folder)
        partial = None
    except OSError as error:
        reason = error.strerror or str(error).splitlines()[0]
        raise InputError(f"cannot write {folder}: {reason}; make room or choose another --out") from error
    finally:
        if partial is not None:
            with contextlib.suppress(OSError):
                shutil.rmtree(partial)
    return StoredRun(folder, metrics)


def _settle(path: Path) -> str:
    """The file's digest, once it is on the disk."""
    with path.open("rb") as stream:
        os.fsync(stream.fileno())
        return hashlib.file_digest(stream, "sha256").hexdigest()


def clear_partial(folder: Path) -> None:
    """Remove what a kill in the middle of a write has left."""
    for path in folder.glob("*/.seed-*"):
        shutil.rmtree(path, ignore_errors=True)

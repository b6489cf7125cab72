"""Finished runs on disk, so that a sweep that was killed goes on where it stopped.

Each run is a folder OUT/runs/CONTROLLER/seed-N that appears whole or not at all: `run.json` (its metrics, the
digest of all that determines it, and the other files' hashes) and tables as Parquet. A run counts as finished
if that digest is the expected one and every file has its hash. Anything else is run again, never mixed in.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from envs.sumo.outputs import VEHICLE_COLUMNS
from evaluation import findings
from evaluation.details import events, passages, trajectories
from evaluation.details.tables import QUEUES, SERIES, STATES
from evaluation.findings import Findings
from evaluation.metrics import TYPES, RunMetrics
from plumbing.digest import file_sha256
from plumbing.held import sweep
from plumbing.plain import finite_or_none, misfit, named, number, one_of, optional, parse, record, text, whole
from plumbing.whole import Draft

FORMAT = 2
RUN_FILE = "run.json"
VEHICLES = "vehicles.parquet"
TABLES: Mapping[str, Mapping[str, Any]] = {
    VEHICLES: VEHICLE_COLUMNS,
    "passages.parquet": passages.COLUMNS,
    "series.parquet": SERIES,
    "queues.parquet": QUEUES,
    "states.parquet": STATES,
    "trajectories.parquet": trajectories.SCHEMA,
    "events.parquet": events.SCHEMA,
}
"""The columns of each table that a run may have."""
_MAY_BE_NULL = frozenset({"depart_s", "arrival_s", "travel_time_s", "co2_g", "fuel_g", "passed_s"})
_KINDS = {int: whole(0, 10**12), float: optional(number()), bool: one_of(True, False), str: text()}
_SHAPE = record(
    {
        "format": one_of(FORMAT),
        "digest": text(64),
        "files": named(text(64), len(TABLES), one_of(*TABLES)),
        "metrics": record({name: _KINDS[kind] for name, kind in TYPES.items()}),
        "findings": findings.SHAPE,
    }
)


def digest_of(content: Mapping[str, Any]) -> str:
    """One digest of plain values; the order of keys does not matter."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


@dataclasses.dataclass(frozen=True)
class StoredRun:
    """A finished run as it lies on disk."""

    folder: Path
    metrics: RunMetrics
    findings: Findings = dataclasses.field(default_factory=Findings)

    def table(self, name: str) -> pl.DataFrame:
        """One of its tables."""
        return pl.read_parquet(self.folder / f"{name}.parquet", glob=False)

    def has(self, name: str) -> bool:
        """Whether it has that table; trajectories exist for one seed only."""
        return (self.folder / f"{name}.parquet").is_file()


def load_run(folder: Path, digest: str) -> StoredRun | None:
    """The run in that folder if it is whole and has this digest, else None."""
    try:
        content = parse(_regular(folder / RUN_FILE).read_bytes())
        misfit(_SHAPE, content)
        files: dict[str, str] = content["files"]
        if content["digest"] != digest or VEHICLES not in files:
            return None
        if any(
            file_sha256(_regular(folder / name)) != expected or not _is_ours(folder / name)
            for name, expected in files.items()
        ):
            return None
        values = {name: content["metrics"][name] for name in TYPES}
        values = {name: math.nan if value is None else value for name, value in values.items()}
        return StoredRun(folder, RunMetrics(**values), Findings.of(content["findings"]))
    except (OSError, ValueError, pl.exceptions.PolarsError, pl.exceptions.PanicException):
        return None


def _regular(path: Path) -> Path:
    """The path. Raises ValueError where it is no plain file, such as a pipe, which could be waited for in vain."""
    if not stat.S_ISREG(path.lstat().st_mode):
        raise ValueError(f"{path} is no plain file")
    return path


def _is_ours(path: Path) -> bool:
    """Whether a table can be read and has our columns."""
    frame = pl.read_parquet(path, glob=False)
    filled = all(frame[name].null_count() == 0 for name in frame.columns if name not in _MAY_BE_NULL)
    return dict(frame.schema) == dict(TABLES[path.name]) and filled


def save_run(
    folder: Path,
    digest: str,
    controller: str,
    seed: int,
    metrics: RunMetrics,
    tables: Mapping[str, pl.DataFrame],
    found: Findings | None = None,
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
            files[path.name] = file_sha256(path)
        content = {
            "format": FORMAT,
            "digest": digest,
            "controller": controller,
            "seed": seed,
            "metrics": {
                name: finite_or_none(value) if isinstance(value, float) else value
                for name, value in dataclasses.asdict(metrics).items()
            },
            "findings": (found or Findings()).as_json(),
            "files": files,
        }
        (draft.path / RUN_FILE).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        draft.take_place()
    return StoredRun(folder, metrics, found or Findings())


def clear_partial(folder: Path) -> None:
    """Clean up after a kill in the middle of a write: remove partial folders, put back a moved one."""
    for controller in folder.glob("*/"):
        sweep(controller)

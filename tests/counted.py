"""Folders of counts for tests: what the detectors of a simulation saw, or numbers as they are given."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl

from demand.calibration.measuring import simulated_counts
from demand.calibration.places import Place, Roads
from demand.counts.schema import About
from demand.counts.store import write_counts
from scenarios.scenario import Scenario

ZONE = "Europe/Berlin"
INTERVAL_S = 900
DAY = datetime.date(2024, 5, 6)  # a Monday
BEGIN_S = 7 * 3600


def counts_folder(
    path: Path,
    rows: Mapping[str, Sequence[float | None]],
    detectors: Sequence[Mapping[str, Any]] = (),
    days: Sequence[datetime.date] = (DAY,),
    begin_s: int = BEGIN_S,
) -> Path:
    """A folder that holds the same rows of intervals on each of some days, from `begin_s` after midnight on."""
    parts: list[dict[str, Any]] = []
    for day in days:
        midnight = datetime.datetime.combine(day, datetime.time(), ZoneInfo(ZONE))
        for detector, counts in rows.items():
            for n, count in enumerate(counts):
                time = midnight + datetime.timedelta(seconds=begin_s + n * INTERVAL_S)
                parts.append({"detector": detector, "time": time.astimezone(datetime.UTC), "count": count})
    table = pl.DataFrame(
        parts,
        schema={"detector": pl.String, "time": pl.Datetime("us", "UTC"), "count": pl.Float64},
    ).with_columns(occupancy=pl.lit(None, pl.Float64), speed_mps=pl.lit(None, pl.Float64))
    told = pl.DataFrame(
        [{"detector": name} for name in rows] if not detectors else list(detectors), infer_schema_length=None
    )
    source = {"name": "test.csv", "format": "test", "sha256": "0" * 64, "rows": table.height}
    write_counts(path, About(INTERVAL_S, ZONE, (source,)), told, [table])
    return path


def counts_of(scenario: Scenario, places: Sequence[Place], folder: Path) -> dict[str, list[float]]:
    """What detectors count in a simulation of a scenario's own demand."""
    folder.mkdir()
    rows, _ = simulated_counts(scenario, Roads(scenario.network), places, INTERVAL_S, folder, seed=1)
    return {detector: row.tolist() for detector, row in rows.items()}

"""The counts that ship in the package traffic_anomaly: one intersection in Oregon, 22 detectors, 26 days of 2024,
by 15 minutes (MIT licence, https://github.com/ShawnStrasser/traffic-anomaly)."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import polars as pl

from demand.counts.schema import COUNTS, About
from plumbing.digest import file_sha256
from plumbing.errors import InputError

INTERVAL_S = 900
ZONE = "America/Los_Angeles"  # the package comes from Oregon's department of transportation; the file names no zone


def sample_file() -> Path:
    """Where the installed package keeps the counts; it is found, not imported.

    Raises:
        InputError: the package is not installed.
    """
    spec = importlib.util.find_spec("traffic_anomaly")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder) / "data" / "sample_counts.parquet"
        if path.is_file():
            return path
    raise InputError("the package traffic_anomaly is not installed; install the extra: pip install -e '.[demand]'")


def read() -> tuple[About, pl.DataFrame, pl.DataFrame]:
    """What holds for the counts, their detectors, and their table with the columns of `COUNTS`."""
    path = sample_file()
    found = pl.read_parquet(path)
    names = pl.col("detector").cast(pl.String).str.zfill(2)
    table = found.select(
        detector=names,
        time=pl.col("timestamp").dt.replace_time_zone(ZONE).dt.convert_time_zone("UTC"),
        count=pl.col("total").cast(pl.Float64),
        occupancy=pl.lit(None, pl.Float64),
        speed_mps=pl.lit(None, pl.Float64),
    ).sort("detector", "time")
    detectors = found.select(
        detector=names, kind=pl.lit("detector"), site=pl.col("intersection").cast(pl.String)
    ).unique()
    source = {
        "name": path.name, "format": "traffic_anomaly", "sha256": file_sha256(path), "rows": table.height,
    }  # fmt: skip
    return About(INTERVAL_S, ZONE, (source,)), detectors.sort("detector"), table.select(list(COUNTS))

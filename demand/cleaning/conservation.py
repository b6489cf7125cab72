"""Vehicles that pass one place pass the next: counts of two places compared day by day."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from demand.cleaning.settings import CleaningSettings
from demand.counts.meter import Meter
from demand.counts.reading import csv_blocks, layout_of
from plumbing.errors import InputError, did_you_mean, printable

KNOWN_SHARE = 0.95
"""Share of a day's counts that must be known at both places."""
LEAST_VEH = 200.0
"""Vehicles a day at a place below which a share says nothing."""


@dataclass(frozen=True)
class Pair:
    """Detectors that together count all vehicles of one place, and those that count them again further on."""

    upstream: tuple[str, ...]
    downstream: tuple[str, ...]

    @property
    def name(self) -> str:
        """Such as `A + B → C`."""
        return f"{' + '.join(self.upstream)} → {' + '.join(self.downstream)}"


def read_pairs(path: Path, known: list[str]) -> list[Pair]:
    """The pairs of a CSV file with the columns upstream and downstream; several detectors are joined with a plus.

    Raises:
        InputError: a column is missing, or a detector is not there.
    """
    layout = layout_of(path)
    for name in ("upstream", "downstream"):
        if name not in layout.names:
            raise InputError(f"{path} has no column {name!r}; it has {printable(', '.join(layout.names))}")
    found = []
    for line, block in csv_blocks(path, layout, Meter()):
        for n, row in enumerate(block.select("upstream", "downstream").iter_rows()):
            sides = [_side(path, line + n, text, known) for text in row]
            found.append(Pair(sides[0], sides[1]))
    return found


def _side(path: Path, line: int, text: str | None, known: list[str]) -> tuple[str, ...]:
    whole = (text or "").strip()
    names = (whole,) if whole in known else tuple(part.strip() for part in whole.split("+"))
    for name in names:
        if name not in known:
            shown = printable(name, 60)
            raise InputError(f"{path}, line {line}: no detector {shown!r} was counted.{did_you_mean(name, known)}")
    return names


def pairs_of(detectors: pl.DataFrame) -> list[Pair]:
    """The places of one approach that lie behind each other: all lanes at one distance from the stop line."""
    placed = detectors.drop_nulls(["site", "approach", "position_m"]).filter(pl.col("kind") == "detector")
    found = []
    for _, approach in placed.group_by("site", "approach", maintain_order=True):
        places = approach.group_by("position_m").agg(pl.col("detector").sort(), lanes=pl.col("lane").n_unique())
        places = places.sort("position_m", descending=True)
        for far, near in zip(places.iter_rows(named=True), places.slice(1).iter_rows(named=True), strict=False):
            if far["lanes"] == near["lanes"]:  # else one of them does not see all lanes
                found.append(Pair(tuple(far["detector"]), tuple(near["detector"])))
    return found


def compared(pairs: list[Pair], days: pl.DataFrame, of: CleaningSettings) -> list[dict[str, Any]]:
    """How the counts of each pair agree: the usual ratio, and the days on which it is another.

    Args:
        days: `detector`, `day`, `vehicles`, and `known`, the share of its counts that are known.
    """
    found = []
    for pair in pairs:
        sides = [_daily(days, names) for names in (pair.upstream, pair.downstream)]
        both = sides[0].join(sides[1], on="day", suffix="_down").sort("day")
        both = both.filter((pl.col("vehicles") >= LEAST_VEH) | (pl.col("vehicles_down") >= LEAST_VEH))
        if both.is_empty():
            found.append({"pair": pair.name, "days": 0, "ratio": None, "agree": None, "days_off": []})
            continue
        ratios = both.with_columns(ratio=pl.col("vehicles_down") / pl.col("vehicles").clip(lower_bound=1.0))
        usual = float(ratios.select(pl.col("ratio").median()).item())
        off = ratios.filter((pl.col("ratio") / max(usual, 1e-9) - 1).abs() > of.conservation)
        found.append(
            {
                "pair": pair.name,
                "days": both.height,
                "ratio": usual,
                "agree": abs(usual - 1) <= of.conservation,
                "days_off": [
                    {"day": str(day), "ratio": ratio} for day, ratio in off.select("day", "ratio").iter_rows()
                ],
            }
        )
    return found


def _daily(days: pl.DataFrame, names: tuple[str, ...]) -> pl.DataFrame:
    """Vehicles of a place on the days on which enough of all its counts are known."""
    return (
        days.filter(pl.col("detector").is_in(list(names)))
        .group_by("day")
        .agg(pl.col("vehicles").sum(), known=pl.col("known").min(), detectors=pl.len())
        .filter((pl.col("known") >= KNOWN_SHARE) & (pl.col("detectors") == len(names)))
        .select("day", "vehicles")
    )

"""What cleaning came to, as plain values: totals, each reason, each detector, clocks, and pairs of places."""

from __future__ import annotations

import dataclasses
from typing import Any

import polars as pl

from demand.cleaning.clean import STATES, Outcome
from demand.cleaning.settings import WHYS, CleaningSettings
from demand.counts.schema import About

LONGEST = 3
"""Stretches of each reason and detector that are named; all of them stand in findings.csv."""


def spells_of(outcome: Outcome, about: About) -> pl.DataFrame:
    """All stretches, longest first in each detector: `detector`, `why`, `first`, `end` (local), `rows`, `imputed`."""
    step = pl.duration(seconds=about.interval_s)
    return (
        pl.concat(outcome.spells)
        .select(
            "detector",
            "why",
            first=pl.col("first").dt.convert_time_zone(about.zone),
            end=(pl.col("last") + step).dt.convert_time_zone(about.zone),
            rows="rows",
            imputed="imputed",
        )
        .sort("detector", "rows", "first", descending=[False, True, False])
    )


def summary(
    outcome: Outcome,
    about: About,
    spells: pl.DataFrame,
    conservation: list[dict[str, Any]],
    settings: CleaningSettings,
) -> dict[str, Any]:
    """The content of cleaning.json."""
    days = pl.concat(outcome.days)
    sums = days.select(pl.col("rows", "added", *STATES).sum()).row(0, named=True)
    by_why = spells.group_by("why").agg(
        pl.col("rows").sum(), spells=pl.len(), detectors=pl.col("detector").n_unique()
    )
    return {
        "format": "intergreen cleaning 1",
        "zone": about.zone,
        "interval_s": about.interval_s,
        "totals": {
            "rows_in": outcome.rows_in,
            "rows_out": sums["rows"],
            "gaps_added": sums["added"],
            **{state: sums[state] for state in STATES},
            "rows_aside": sum(outcome.aside.values()),
        },
        "aside": dict(sorted(outcome.aside.items())),
        "findings": {
            why: {"meaning": WHYS[why], "rows": rows, "spells": times, "detectors": detectors}
            for why, rows, times, detectors in by_why.sort("rows", "why", descending=[True, False]).iter_rows()
        },
        "clocks": outcome.shifts,
        "clocks_doubtful": outcome.clocks_doubtful,
        "changes_ignored": {str(day): detectors for day, detectors in sorted(outcome.changes.items())},
        "conservation": conservation,
        "detectors": _detectors(days, spells),
        "settings": dataclasses.asdict(settings),
    }


def _detectors(days: pl.DataFrame, spells: pl.DataFrame) -> list[dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    totals = days.group_by("detector").agg(pl.col("rows", *STATES).sum()).sort("detector")
    for row in totals.iter_rows(named=True):
        shares = {state: row[state] / row["rows"] for state in STATES}
        found[row["detector"]] = {"detector": row["detector"], "rows": row["rows"], **shares, "findings": []}
    for (detector, why), rows in spells.group_by("detector", "why", maintain_order=True):
        longest = [
            {"from": first.isoformat(), "to": end.isoformat(), "rows": n}
            for first, end, n in rows.head(LONGEST).select("first", "end", "rows").iter_rows()
        ]
        found[str(detector)]["findings"].append(
            {"why": why, "rows": int(rows["rows"].sum()), "spells": rows.height, "longest": longest}
        )
    return list(found.values())

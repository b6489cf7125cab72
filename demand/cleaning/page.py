"""The report of cleaning: one page that needs nothing else."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl

from demand.cleaning.figures import days_of, example, known_map
from demand.cleaning.settings import CLOCK, GAP
from plumbing.pages import render

MOST_ROWS = 200
"""Detectors in the table: those of which least was measured."""
EXAMPLES = 4
AROUND = timedelta(days=1)
LONGEST_EXAMPLE = timedelta(days=4)


def verdict_of(content: dict[str, Any]) -> str:
    """The one sentence that matters."""
    totals = content["totals"]
    measured, imputed, missing = (
        100 * totals[state] / max(totals["rows_out"], 1) for state in ("measured", "imputed", "missing")
    )
    return (
        f"{measured:.1f} % of all counts were measured and are sound, {imputed:.1f} % are imputed, "
        f"{missing:.1f} % are missing."
    )


def cautions_of(content: dict[str, Any]) -> list[str]:
    """What a reader has to know before using the counts."""
    found = []
    for day, detectors in content["changes_ignored"].items():
        found.append(
            f"On {day} the clocks changed in {content['zone']}, and the pattern of {detectors} detectors moved with "
            "it: their own clock seems to have stayed. Import the files again with --clock and its fixed offset."
        )
    for why, of in content["findings"].items():
        if why == CLOCK:
            found.append(
                f"The clocks of {of['detectors']} detectors were off on some days; their counts were put where they "
                "belong and are marked as imputed."
            )
    if content["clocks_doubtful"]:
        found.append(
            f"The daily pattern of {content['clocks_doubtful']} detectors lies earlier or later on so many days that "
            "it is unknown which are right; nothing was put back. Check --zone and --clock of the import."
        )
    bad = [pair["pair"] for pair in content["conservation"] if pair["agree"] is False]
    if bad:
        found.append(f"Places that should agree do not: {', '.join(bad[:5])}.")
    dead = [row["detector"] for row in content["detectors"] if row["measured"] == 0]
    if dead:
        found.append(f"Nothing of these detectors is sound: {', '.join(dead[:10])}{' …' if len(dead) > 10 else ''}.")
    return found


def examples_of(content: dict[str, Any]) -> list[dict[str, Any]]:
    """The stretches to draw: the longest of each reason, most rows first; gaps draw nothing."""
    longest: dict[str, dict[str, Any]] = {}
    for row in content["detectors"]:
        for of in row["findings"]:
            spell = of["longest"][0]
            if of["why"] != GAP and spell["rows"] > longest.get(of["why"], {"rows": 0})["rows"]:
                longest[of["why"]] = {**spell, "why": of["why"], "detector": row["detector"]}
    return sorted(longest.values(), key=lambda spell: -spell["rows"])[:EXAMPLES]


def write_report(path: Path, content: dict[str, Any], days: pl.DataFrame, parts: list[Path], source: str) -> None:
    """Write the page.

    Args:
        content: of cleaning.json.
        days: as `Outcome.days`.
        parts: the files of the cleaned table.
        source: the folder that was cleaned.
    """
    figures = []
    for number, spell in enumerate(examples_of(content)):
        rows = _around(parts, spell)
        if not rows.is_empty():
            text = f"{spell['detector']}: {spell['why']}, from {_shown(spell['from'])} to {_shown(spell['to'])}"
            figures.append({"text": text, "svg": example(rows, content["zone"], f"example{number}")})
    shown = sorted(content["detectors"], key=lambda row: (row["measured"], row["detector"]))
    first, last = days_of(days)
    page = render(
        Path(__file__).with_name("report.html"),
        title=f"Cleaning of {source}",
        verdict=verdict_of(content),
        facts=f"{len(shown)} detectors, {first} to {last}, every {content['interval_s']} s, {content['zone']}; "
        f"{content['totals']['rows_in']} rows in, {content['totals']['rows_out']} out, of which "
        f"{content['totals']['gaps_added']} stand for gaps; {content['totals']['rows_aside']} rows set aside.",
        cautions=cautions_of(content),
        known=known_map(days),
        content=content,
        examples=figures,
        shown=shown[:MOST_ROWS],
        hidden=max(0, len(shown) - MOST_ROWS),
    )
    path.write_text(page, encoding="utf-8")


def _around(parts: list[Path], spell: dict[str, Any]) -> pl.DataFrame:
    begin = pl.Series([spell["from"]]).str.to_datetime(time_zone="UTC")[0]
    end = pl.Series([spell["to"]]).str.to_datetime(time_zone="UTC")[0]
    until = min(end, begin + LONGEST_EXAMPLE) + AROUND
    return (
        pl.scan_parquet(parts)
        .filter((pl.col("detector") == spell["detector"]) & pl.col("time").is_between(begin - AROUND, until))
        .sort("time")
        .collect()
    )


def _shown(time: str) -> str:
    return time[:16].replace("T", " ")

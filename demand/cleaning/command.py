"""`python -m demand clean`: a folder of counts, what was wrong in it marked, short gaps filled, and the report."""

from __future__ import annotations

import argparse
import dataclasses
import math
import shlex
import textwrap
from pathlib import Path
from typing import Any

import polars as pl
from rich.console import Console
from rich.table import Table

from demand.cleaning.clean import Cleaning
from demand.cleaning.conservation import compared, pairs_of, read_pairs
from demand.cleaning.page import cautions_of, verdict_of, write_report
from demand.cleaning.settings import WHYS, CleaningSettings
from demand.cleaning.summary import spells_of, summary
from demand.counts.meter import Meter
from demand.counts.store import CountsFolder, check_apart, check_place, write_counts
from plumbing.command import say, say_json
from plumbing.errors import InputError, printable
from plumbing.occupied import occupied
from plumbing.plain import json_bytes

MOST_SHOWN = 30
"""Detectors in the table on the terminal: those of which least was measured."""
MOST_NAMED = 2
"""Kinds of findings of a detector in that table."""

LONGEST_FILL_H = 24 * 366
"""Longest stretch that may be asked for [h]."""

_EPILOG = f"""what is looked for:
{chr(10).join(f"  {why:32}  {text}" for why, text in WHYS.items())}

examples:
  python -m demand clean counts/oregon --out counts/clean
  python -m demand clean counts/mine --fill-up-to 4 --pairs pairs.csv --out counts/clean

OUT holds the cleaned counts with their columns state, why and raw; report.html; cleaning.json; findings.csv."""


def main(arguments: list[str] | None = None) -> int:
    """The command. Returns its exit status."""
    options = _parser().parse_args(arguments)
    if not (0 <= options.fill_up_to <= LONGEST_FILL_H and 0 < options.lane_capacity < math.inf):
        raise InputError(
            f"give --fill-up-to as hours from 0 to {LONGEST_FILL_H} and --lane-capacity as vehicles per hour, above 0"
        )
    settings = CleaningSettings(
        longest_fill_s=round(options.fill_up_to * 3600), lane_capacity_vph=options.lane_capacity
    )
    folder = CountsFolder(options.folder)
    check_apart(options.out, folder.path, options.pairs)
    detectors = folder.detectors()
    pairs = read_pairs(options.pairs, detectors["detector"].to_list()) if options.pairs else pairs_of(detectors)
    with occupied(options.out), Meter() as meter:
        check_place(options.out)
        cleaning = Cleaning(folder, settings, meter)
        content: dict[str, Any] = {}

        def beside(path: Path) -> None:
            days = pl.concat(cleaning.outcome.days)
            spells = spells_of(cleaning.outcome, folder.about)
            content.update(summary(cleaning.outcome, folder.about, spells, compared(pairs, days, settings), settings))
            (path / "cleaning.json").write_bytes(json_bytes(content))
            spells.with_columns(pl.col("first", "end").dt.strftime("%Y-%m-%dT%H:%M:%S%:z")).write_csv(
                path / "findings.csv"
            )
            write_report(path / "report.html", content, days, sorted(path.glob("part-*.parquet")), folder.path.name)

        about = dataclasses.replace(folder.about, cleaned=True)
        write_counts(options.out, about, detectors, cleaning.parts(), folder.aside(), beside)
    if options.json:
        say_json(content)
    else:
        _tell(content, options.out)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m demand clean",
        description=textwrap.fill(
            "Judges every count of a folder that `demand import` made, and writes them anew: sound ones as "
            "they are, short stretches of others imputed and marked so, long ones marked as missing. Nothing is "
            "dropped: what came in stands beside what stands in for it, with the reason.",
            width=100,
        ),
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    defaults = CleaningSettings()
    parser.add_argument("folder", type=Path, help="a folder of counts, as `python -m demand import` writes it")
    parser.add_argument("--out", type=Path, required=True, help="the folder to write")
    parser.add_argument(
        "--fill-up-to", type=float, default=defaults.longest_fill_s / 3600, metavar="HOURS",
        help="longest stretch that is imputed; what is longer stays missing (default: %(default)g)",
    )  # fmt: skip
    parser.add_argument(
        "--lane-capacity", type=float, default=defaults.lane_capacity_vph, metavar="VPH",
        help="vehicles per hour that no lane carries (default: %(default)g)",
    )  # fmt: skip
    parser.add_argument(
        "--pairs", type=Path, metavar="CSV",
        help="places that the same vehicles pass, with columns upstream and downstream, each a detector or several "
        "joined with a plus; by default the places of one approach in detectors.csv",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print cleaning.json instead of a table")
    return parser


def _tell(content: dict[str, Any], out: Path) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for title in ("detector", "measured", "imputed", "missing"):
        table.add_column(title, justify="left" if title == "detector" else "right", no_wrap=True)
    table.add_column("findings: rows, and when the longest stretch began")
    rows = sorted(content["detectors"], key=lambda row: (row["measured"], row["detector"]))
    for row in rows[:MOST_SHOWN]:
        named = sorted(row["findings"], key=lambda of: -of["rows"])[:MOST_NAMED]
        told = "; ".join(f"{of['why']} ×{of['rows']} ({_shown(of['longest'][0]['from'])})" for of in named)
        if len(row["findings"]) > len(named):
            told += f"; {len(row['findings']) - len(named)} kinds more"
        shares = (f"{100 * row[state]:.1f} %" for state in ("measured", "imputed", "missing"))
        table.add_row(printable(row["detector"], 40), *shares, told)
    Console(markup=False, highlight=False).print(table)
    if len(rows) > MOST_SHOWN:
        say(f"… and {len(rows) - MOST_SHOWN} detectors with more measured; all stand in {out / 'cleaning.json'}")
    totals = content["totals"]
    say(verdict_of(content))
    say(
        f"{totals['rows_in']} rows in, {totals['rows_out']} out, of which {totals['gaps_added']} stand for gaps; "
        f"{totals['rows_aside']} rows set aside"
    )
    for caution in cautions_of(content):
        say(f"note: {caution}")
    say(f"wrote {out}; the report is {out / 'report.html'}")
    say(f"next: {shlex.join(['python', '-m', 'demand', 'forecast', str(out), '--out', f'{out}-forecast'])}")


def _shown(time: str) -> str:
    return time[:16].replace("T", " ")

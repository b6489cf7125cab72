"""Import and cleaning of long files stay within a gibibyte of memory."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.counts_year import GOAL_MIB, main


@pytest.mark.slow
def test_memory_stays_within_the_goal_and_does_not_grow_with_the_file(tmp_path: Path) -> None:
    peaks = {}
    for days in (30, 120):
        main(["--detectors", "100", "--days", str(days), "--out", str(tmp_path / f"{days}")])
        found = json.loads((tmp_path / f"{days}" / "year.json").read_bytes())
        peaks[days] = {row["step"]: row["peak_mib"] for row in found["steps"]}
        totals = found["cleaning"]
        assert totals["rows_out"] == totals["rows_in"] + totals["gaps_added"] == 100 * days * 288
    for step, peak in peaks[120].items():
        assert peak <= GOAL_MIB
        assert peak <= 2 * peaks[30][step], "four times the rows"

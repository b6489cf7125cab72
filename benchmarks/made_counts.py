"""Counts that nobody has counted: days of `arterial` in SUMO, as loops before its stop lines count them.

Each day has the scenario's demand, stretched to two hours, and varies as `demand.incidents.simulation` has it: as a
whole by 15 % to both sides, by route, and in time. The signals run their own programs. Outside of these hours nothing
drives. Days stand on the dates of working days.
"""

from __future__ import annotations

import datetime
from pathlib import Path

import polars as pl

from demand.calibration.hand import COLUMNS
from demand.counts.schema import GENERATED, About
from demand.counts.store import write_counts
from demand.incidents.places import Place
from demand.incidents.simulation import FIRST_DAY, Day, simulate
from plumbing.command import say
from scenarios.loading import load
from signals.intersection import compile_signals
from signals.timing import Timing

SCENARIO = "arterial"
INTERVAL_S = 900
HOURS = 2.0
LOOP_M = 10.0
"""[m] from the stop line."""
WEEKS = 4
_DAY_S = 86_400


def made_counts(folder: Path, places: Path, days: int) -> None:
    """Write a folder of counts of the first so many working days, and the file that says where its loops are."""
    if (folder / "about.json").is_file():
        return
    scenario = load(SCENARIO)
    lanes = [lane for item in compile_signals(scenario.network, Timing()).intersections for lane in item.lanes]
    rows = [",".join(COLUMNS), *(f"{lane},,{lane},,,{LOOP_M:g}" for lane in lanes)]
    places.write_text("\n".join(rows) + "\n", encoding="utf-8")
    numbers = [week * 7 + weekday for week in range(WEEKS) for weekday in range(5)][:days]
    loops = [Place(lane, lane, LOOP_M) for lane in lanes]
    counted, _ = simulate(
        scenario, loops, [Day(number, seed=number, stretch=HOURS) for number in numbers], workers=2,
        on_done=lambda done: say(f"{done} of {days} days simulated", error=True),
    )  # fmt: skip
    begin = pl.col("time").dt.truncate(f"{INTERVAL_S}s")
    sums = counted.group_by("detector", time=begin).agg(pl.col("count").sum())
    midnight = FIRST_DAY.replace(hour=0)
    times = [
        midnight + datetime.timedelta(days=number, seconds=second)
        for number in numbers
        for second in range(0, _DAY_S, INTERVAL_S)
    ]
    grid = pl.DataFrame({"detector": lanes}).join(
        pl.DataFrame({"time": times}, schema={"time": pl.Datetime("us", "UTC")}), how="cross"
    )
    table = grid.join(sums, on=["detector", "time"], how="left").with_columns(
        pl.col("count").fill_null(0.0),
        occupancy=pl.lit(None, pl.Float64),
        speed_mps=pl.lit(None, pl.Float64),
    )
    source = {"name": f"{days} days of {SCENARIO} in SUMO", "format": GENERATED, "sha256": "0" * 64}
    write_counts(folder, About(INTERVAL_S, "UTC", (source,)), pl.DataFrame({"detector": lanes}), [table])

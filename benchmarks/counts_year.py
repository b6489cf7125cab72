"""How much memory and time import and cleaning of counts take: a made year of 500 detectors, every 5 minutes, as CSV.

The year has a daily and a weekly profile, noise, gaps, rows that are there twice, and detectors that stick; its rows
come shuffled. Each command runs as a child; its peak resident memory is what the system says of it (VmHWM). Goal: at
most 1 GiB each. Writes its tables, Markdown and JSON, to benchmarks/counts/.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from plumbing.command import run_command, say
from plumbing.errors import InputError
from plumbing.held import scratch
from plumbing.interpreter import ROOT, environment
from plumbing.plain import json_bytes
from plumbing.whole import write_whole

SEED = 1
STEP_MIN = 5
GOAL_MIB = 1024
SHUFFLED_DAYS = 7
"""Days whose rows are mixed with one another."""
OUT = Path(__file__).parent / "counts"


def main(arguments: list[str] | None = None) -> int:
    """The command. Returns its exit status: 1 where the goal is missed."""
    of = argparse.ArgumentParser(prog="benchmarks/counts_year.py", description=__doc__)
    of.add_argument("--detectors", type=int, default=500, metavar="N", help="default: 500")
    of.add_argument("--days", type=int, default=366, metavar="N", help="default: 366, the year 2024")
    of.add_argument("--out", type=Path, default=OUT, help="folder of the tables (default: benchmarks/counts)")
    of.add_argument(
        "--work", type=Path, metavar="DIR", help="keep all steps there, and go on from those that are there"
    )
    of.add_argument("--only-generate", type=Path, metavar="CSV", help=argparse.SUPPRESS)
    options = of.parse_args(arguments)
    if options.detectors < 1 or options.days < 1:
        raise InputError("--detectors and --days must be at least 1")
    if options.only_generate is not None:
        generate(options.only_generate, options.detectors, options.days)
        return 0
    with contextlib.ExitStack() as stack:
        folder = options.work or stack.enter_context(scratch("year"))
        folder.mkdir(parents=True, exist_ok=True)
        found = run(folder, options.detectors, options.days)
    options.out.mkdir(parents=True, exist_ok=True)
    write_whole(options.out / "year.json", lambda path: path.write_bytes(json_bytes(found)))
    write_whole(options.out / "YEAR.md", lambda path: path.write_text(markdown(found)))
    say(markdown(found))
    return 0 if all(row["peak_mib"] <= GOAL_MIB for row in found["steps"]) else 1


def run(folder: Path, detectors: int, days: int) -> dict[str, Any]:
    """Generate, import and clean, as far as the folder does not hold the result of a step already; the figures."""
    file, counts, clean = folder / "year.csv", folder / "counts", folder / "clean"
    size = ["--detectors", str(detectors), "--days", str(days), "--only-generate", str(file)]
    steps = {
        "generate": ["benchmarks.counts_year", *size],
        "import": ["demand", "import", str(file), "--zone", "UTC", "--out", str(counts)],
        "clean": ["demand", "clean", str(counts), "--out", str(clean)],
    }
    rows = []
    for name, words in steps.items():
        done = folder / f"{name}.json"
        if not done.exists():
            row = measured(name, [sys.executable, "-m", *words])
            write_whole(done, lambda path, row=row: path.write_bytes(json_bytes(row)))  # type: ignore[misc]
        rows.append(json.loads(done.read_bytes()))
    return {
        "detectors": detectors, "days": days, "file_mb": file.stat().st_size / 1e6,
        "cleaning": json.loads((clean / "cleaning.json").read_bytes())["totals"],
        "goal_mib": GOAL_MIB, "steps": rows[1:],
        "versions": {"python": platform.python_version(), "polars": pl.__version__, "cores": os.cpu_count()},
    }  # fmt: skip


def generate(file: Path, detectors: int, days: int) -> None:
    """Write the year."""
    rng = np.random.default_rng(SEED)
    steps = 1440 // STEP_MIN
    size = rng.uniform(5, 60, detectors)
    hour = np.arange(steps) * STEP_MIN / 60
    shape = 0.08 + np.exp(-(((hour - 8) / 1.6) ** 2)) + 0.9 * np.exp(-(((hour - 17) / 2.2) ** 2))
    begin = datetime(2024, 1, 1, tzinfo=UTC)
    stuck = {
        int(d): int(rng.integers(0, days)) for d in rng.choice(detectors, max(1, detectors // 20), replace=False)
    }
    held: list[pl.DataFrame] = []
    with file.open("wb") as stream:
        stream.write(b"detector,time,count,occupancy,speed_mps\n")
        for day in range(days):
            week = 1.0 if (begin + timedelta(days=day)).weekday() < 5 else 0.6
            counts = rng.poisson(size[:, None] * shape[None, :] * week).astype(np.int64)
            for detector, when in stuck.items():
                if day == when:
                    counts[detector] = 9
            times = pl.datetime_range(
                begin + timedelta(days=day), begin + timedelta(days=day, minutes=1439), f"{STEP_MIN}m",
                time_zone="UTC", eager=True,
            )  # fmt: skip
            table = pl.DataFrame(
                {
                    "detector": np.repeat([f"D{n:04}" for n in range(detectors)], steps),
                    "time": pl.concat([times] * detectors).dt.strftime("%Y-%m-%dT%H:%M:%SZ"),
                    "count": counts.ravel(),
                    "occupancy": np.round(counts.ravel() / 300, 4),
                    "speed_mps": np.round(14 - counts.ravel() / 20, 2),
                }
            )
            draw = rng.random(table.height)
            held.append(pl.concat([table.filter(draw > 0.004), table.filter(draw > 0.999)]))
            if len(held) == SHUFFLED_DAYS or day == days - 1:
                mixed = pl.concat(held).sample(fraction=1.0, shuffle=True, seed=day)
                mixed.write_csv(stream, include_header=False)
                held = []


def measured(name: str, command: list[str]) -> dict[str, Any]:
    """Run a command; what it took.

    Raises:
        RuntimeError: it failed.
    """
    began = time.monotonic()
    peak_kib = 0
    with subprocess.Popen(command, cwd=ROOT, env=environment()) as child:
        while child.poll() is None:
            peak_kib = max(peak_kib, _peak_kib(child.pid))
            time.sleep(0.05)
    if child.returncode:
        raise RuntimeError(f"{name} failed with exit status {child.returncode}")
    return {"step": name, "seconds": time.monotonic() - began, "peak_mib": peak_kib / 1024}


def _peak_kib(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:  # it has just ended
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("VmHWM")), 0)


def markdown(found: dict[str, Any]) -> str:
    """The figures as a page."""
    rows = "\n".join(f"| {r['step']} | {r['peak_mib']:.0f} | {r['seconds']:.0f} |" for r in found["steps"])
    totals = found["cleaning"]
    versions = ", ".join(f"{name} {value}" for name, value in found["versions"].items())
    return (
        f"# A year of counts\n\n`python -m benchmarks.counts_year`: {found['detectors']} detectors, "
        f"{found['days']} days, every {STEP_MIN} minutes, {found['file_mb']:.0f} MB of CSV in shuffled rows; "
        f"{totals['rows_in']} rows in, {totals['rows_out']} out with {totals['gaps_added']} gaps added.\n"
        f"Goal: at most {found['goal_mib']} MiB of resident memory. ({versions})\n\n"
        f"| step | peak memory [MiB] | time [s] |\n|---|---|---|\n{rows}\n"
    )


if __name__ == "__main__":
    run_command(main)

"""From real counts to a judged policy, in one command: `python -m benchmarks.counts_scenario --out runs/counts`.

The counts are those of the package traffic_anomaly (one intersection, 22 detectors, April and May 2024); the network
is oregon85, whose layout is an assumption (scenarios/oregon85/README.md). Working days of the first weeks are for
plans and policies, those of the last week to judge them. Plans: Webster's, and the best of a search, both for the
mean day of the first weeks. Policies: trained with each episode having one of the first weeks' days. Each controller
runs every day of the last week as often, on the same seeds.

Every step keeps its result below --out, and a second call goes on with what is missing.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl

from controllers.parameters import FILE as TUNED
from controllers.registry import make
from demand.calibration.counted import local_table
from demand.counts.readers.traffic_anomaly import read
from demand.counts.store import CountsFolder, write_counts
from plumbing.command import run_command, say
from plumbing.errors import InputError
from plumbing.interpreter import ROOT, command, environment
from plumbing.plain import json_bytes
from plumbing.whole import write_whole
from scenarios.loading import load

PLACES = ROOT / "scenarios" / "oregon85" / "places.csv"
FIRST, LAST = "2024-04-18..2024-05-05", "2024-05-06..2024-05-13"
WORKING = ("mon", "tue", "wed", "thu", "fri")
AGENTS = ("ppo", "dqn")
BESIDE = ("fixed_time", "actuated", "cop")
TUNING_RUNS = 12
RESULT = ROOT / "benchmarks" / "demand" / "counts_scenario"
LAYOUT = RESULT.with_name("counts_layout.md")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(
        prog="python -m benchmarks.counts_scenario",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument(
        "--from", dest="start", default="07:00", metavar="HH:MM", help="begin of the window (default: 07:00)"
    )
    p.add_argument("--to", dest="end", default="09:00", metavar="HH:MM", help="its end (default: 09:00)")
    p.add_argument("--steps", type=int, default=20_000, help="of each training (default: 20000)")
    p.add_argument(
        "--training-seeds", type=int, nargs="+", default=[0], metavar="S", help="a policy each (default: 0)"
    )
    p.add_argument("--agents", nargs="+", default=list(AGENTS), metavar="NAME", help="default: ppo dqn")
    p.add_argument(
        "--beside", nargs="+", default=list(BESIDE), metavar="NAME", help="controllers beside the plans and policies"
    )
    p.add_argument("--rounds", type=int, default=2, metavar="N", help="how often each judged day is run (default: 2)")
    p.add_argument("--whole-days", action="store_true", help="also calibrate the last week from 0:00 to 24:00")
    p.add_argument("--layout", action="store_true", help="only print the table that the layout rests on")
    p.add_argument("--write", action="store_true", help=f"keep the tables in {RESULT.parent.relative_to(ROOT)}")
    p.add_argument("--out", type=Path, required=True, metavar="DIR", help="scenarios, runs and results")
    return p


def real_counts(folder: Path) -> Path:
    """The folder with the real counts, written where it is not there yet."""
    if not (folder / "about.json").is_file():
        about, detectors, table = read()
        write_counts(folder, about, detectors, [table])
    return folder


def main(arguments: list[str] | None = None) -> int:
    """The command. Returns its exit status."""
    options = parser().parse_args(arguments)
    out: Path = options.out.absolute()
    counts = real_counts(out / "counts")
    if options.layout:
        text = f"`{_called(arguments)}`\n\n{layout_table(CountsFolder(counts))}"
        say(text)
        if options.write:
            write_whole(LAYOUT, lambda partial: partial.write_text(text + "\n", encoding="utf-8"))
        return 0
    window = ("--from", options.start, "--to", options.end)
    fits = {
        name: _calibrated(counts, out / name, *words, *window)
        for name, words in (
            ("first", ("--days", FIRST, "--weekday", *WORKING)),
            ("mean", ("--days", FIRST, "--weekday", "mean")),
            ("last", ("--days", LAST, "--weekday", *WORKING)),
        )
    }
    if options.whole_days:
        fits["whole"] = _calibrated(counts, out / "whole", "--days", LAST)
    plans = _plans(out)
    runs = [_trained(out, agent, seed, options.steps) for seed in options.training_seeds for agent in options.agents]
    days = len(fits["last"]["days"])
    summary = _judged(out, [*options.beside, *plans, *map(str, runs)], days * options.rounds)
    result = {"window": [options.start, options.end], "steps": options.steps, "fits": _shares(fits), **summary}
    result["versions"] = {n: importlib.metadata.version(n) for n in ("intergreen", "eclipse-sumo", "torch")}
    text = _markdown(result, _called(arguments))
    say(text)
    for path in (out / "counts_scenario", *((RESULT,) if options.write else ())):
        write_whole(path.with_suffix(".json"), lambda partial: partial.write_bytes(json_bytes(result)))
        write_whole(path.with_suffix(".md"), lambda partial: partial.write_text(text + "\n", encoding="utf-8"))
    return 0


def layout_table(folder: CountsFolder) -> str:
    """Per detector what it counts on a working day and in its peaks, and with which it rises and falls, beyond what
    the time of day explains."""
    names = folder.detectors()["detector"].to_list()
    table = local_table(folder, names).filter(pl.col("date").dt.weekday() <= 5)
    hour = pl.col("second") // 3600
    days = table["date"].n_unique()
    rows = table.group_by("detector").agg(
        day=pl.col("count").sum() / days,
        morning=pl.col("count").filter(hour.is_in([7, 8])).sum() / days / 2,
        evening=pl.col("count").filter(hour.is_in([16, 17])).sum() / days / 2,
    )
    rest = table.with_columns(rest=pl.col("count") - pl.col("count").mean().over("detector", "second"))
    wide = rest.pivot(on="detector", index=["date", "second"], values="rest").drop("date", "second").fill_null(0.0)
    lines = ["| detector | veh/day | 7–9 veh/h | 16–18 veh/h | rises and falls with |", "|---|---|---|---|---|"]
    for row in rows.sort("detector").iter_rows(named=True):
        others = {
            other: wide.select(pl.corr(row["detector"], other)).item() for other in names if other != row["detector"]
        }
        near = sorted((name for name in others if others[name] >= 0.3), key=lambda name: -others[name])
        told = ", ".join(f"{name} ({others[name]:.2f})" for name in near)
        lines.append(
            f"| {row['detector']} | {row['day']:.0f} | {row['morning']:.0f} | {row['evening']:.0f} | {told} |"
        )
    return "\n".join(lines)


def _calibrated(counts: Path, out: Path, *words: str) -> dict[str, Any]:
    if not (out / "calibration.json").is_file():
        more = ("--scenario", "oregon85", "--places", str(PLACES), "--out", str(out))
        run_module("demand", "calibrate", str(counts), *more, *words)
    found: dict[str, Any] = json.loads((out / "calibration.json").read_text())
    return found


def _plans(out: Path) -> list[str]:
    """Files of plans for the mean day: Webster's with its defaults, and with the best settings of a search."""
    config = out / "mean" / "day-mean.sumocfg"
    tuned = out / "tuned"
    if not (tuned / TUNED).is_file():
        words = ("--controllers", "webster", "--runs", str(TUNING_RUNS), "--out", str(tuned))
        run_module("evaluation.tune", "--scenario", str(config), *words)
    parameters = json.loads((tuned / TUNED).read_text())["controllers"]["webster"]["parameters"]
    scenario, files = load(config), []
    for name, values in (("webster_mean_day", {}), ("tuned_mean_day", parameters)):
        path = out / f"{name}.add.xml"
        text = make("webster", **values).additional_xml(scenario)  # type: ignore[union-attr]
        path.write_text(text, encoding="utf-8")
        files.append(str(path))
    return files


def _trained(out: Path, agent: str, seed: int, steps: int) -> Path:
    run = out / f"{agent}-{seed}"
    if not (run / "finished").is_file():
        first = sorted((out / "first").glob("day-*.sumocfg"))[0]
        words: tuple[str, ...] = ("--scenario", str(first), "--demand", f"days:{out / 'first'}", "--agent", agent)
        words += ("--observation", "planned", "--steps", str(steps), "--seed", str(seed), "--workers", "2")
        words += ("--validate-every", "0")  # the last checkpoint is judged, whatever a validation says
        run_module("train", *words, "--overwrite", "--out", str(run))
        (run / "finished").touch()
    return run


def _judged(out: Path, controllers: list[str], seeds: int) -> dict[str, Any]:
    last = sorted((out / "last").glob("day-*.sumocfg"))[0]
    words = ("--scenario", str(last), "--demand", f"days:{out / 'last'}", "--seeds", str(seeds))
    said = run_module(
        "evaluate", *words, "--controllers", *controllers, "--json",
        "--out", str(out / "judged"),
    )  # fmt: skip
    found: dict[str, Any] = json.loads(_nameless(said, out))
    return found


def _nameless(text: str, out: Path) -> str:
    """Without the place of the results."""
    return text.replace(f"{out}/", "runs/counts/")


def _shares(fits: dict[str, Any]) -> dict[str, Any]:
    names = ("share_geh_below_5", "hourly_counts", "goal_met")
    return {
        name: {
            **{key: fit[key] for key in names},
            "window": fit["window"],
            "days": [day["day"] for day in fit["days"]],
        }
        for name, fit in fits.items()
    }


def _called(arguments: list[str] | None) -> str:
    """The command, without the place of its results."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    words[words.index("--out") + 1] = "runs/counts"
    return shlex.join(("python", "-m", "benchmarks.counts_scenario", *words))


def _markdown(result: dict[str, Any], called: str) -> str:
    lines = [f"`{called}`", ""]
    lines += ["| calibrated | days | window | hourly counts | GEH < 5 |", "|---|---|---|---|---|"]
    for name, fit in result["fits"].items():
        window = "–".join(fit["window"])
        lines.append(
            f"| {name} | {len(fit['days'])} | {window} | {fit['hourly_counts']:,} | {fit['share_geh_below_5']:.1%} |"
        )
    lines += ["", f"Judged on the days of `last`, {len(result['seeds'])} runs each:", ""]
    lines += ["| controller | delay [s] | 95 % interval | gridlocked |", "|---|---|---|---|"]
    for of in sorted(result["controllers"], key=lambda of: of["delay_s"]["mean"]):
        delay = of["delay_s"]
        lines.append(
            f"| {Path(of['controller']).name.removesuffix('.add.xml')} | {delay['mean']:.1f} "
            f"| {delay['low']:.1f} to {delay['high']:.1f} | {of['gridlocked_runs']} |"
        )
    return "\n".join(lines)


def run_module(module: str, *words: str) -> str:
    """Run a module of ours as a program. Returns what it prints; its progress is shown.

    Raises:
        InputError: it fails.
    """
    say(" ".join(("python -m", module, *words)), error=True)
    done = subprocess.run(
        command(module, *words), cwd=ROOT, env=environment(), stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode:
        raise InputError(f"{module} {words[0]} fails with status {done.returncode}; see above")
    return done.stdout


if __name__ == "__main__":
    run_command(main)

"""Run controllers on a scenario with the same seeds and print how they compare; `--help` says how."""

from __future__ import annotations

import argparse
import dataclasses
import importlib.metadata
import json
import os
import platform
import sys
import tempfile
from pathlib import Path
from typing import Any

from controllers.registry import CONTROLLERS, make
from evaluation.corridor import find_corridor
from evaluation.progress import RunProgress
from evaluation.runs import (
    Contestant,
    Evaluation,
    Finished,
    RunFailed,
    RunResult,
    finished_runs,
    folder_names,
    run_all,
)
from evaluation.tables import DEFINITION, Summary, as_json, as_table, summarise, write_tables
from scenarios.command import add_timing_arguments, run_command, timing_from
from scenarios.scenario import Scenario, load
from scenarios.seeds import EVALUATION_SEEDS
from signals.errors import InputError
from signals.timing import Timing

BASELINES = ("fixed_time", "actuated", "max_pressure", "greedy")
PACKAGES = ("eclipse-sumo", "libsumo", "sumo-rl", "numpy", "polars", "torch", "intergreen")
EPILOG = """examples:
  python evaluate.py --scenario cologne1 --controllers fixed_time actuated max_pressure greedy --seeds 5
  python evaluate.py --scenario cologne1 --controllers greedy runs/c1 --demand held-out --out runs/eval
  python evaluate.py --scenario my.sumocfg --controllers fixed_time runs/mine --json > mine.json

delay is time loss + departure delay, averaged over every vehicle that was to depart in the window: also
those still on their way at the end, and those that never found room to enter. A run counts as gridlocked
when at its end at least 5 vehicles and 5 % of those on their way had stood still for 300 s. All means include
all runs. evaluation/metrics.py defines every metric.

--out gets results (a row per run) and summary (a row per controller) as .csv and .parquet, vehicles.parquet
(a row per vehicle and run), summary.json (what --json prints) and settings.json. Each finished run is kept at
once below DIR/runs: after a stop or a kill, the same command goes on from there.
exit status: 0 ok, 1 a run failed, 2 bad input, 130 stopped by Ctrl-C."""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    of = argparse.ArgumentParser(
        prog="evaluate.py",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    of.add_argument("--scenario", required=True, help="a name (python -m scenarios lists them), .sumocfg or .net.xml")
    of.add_argument("--routes", nargs="+", default=[], type=Path, metavar="FILE", help="route files")
    of.add_argument("--additional", nargs="+", default=[], type=Path, metavar="FILE", help="additional files")
    of.add_argument("--begin", type=float, metavar="S", help="begin of the window [s] (default: the scenario's)")
    of.add_argument("--end", type=float, metavar="S", help="end of the window [s]")
    of.add_argument(
        "--demand", default="recorded", metavar="recorded|held-out[:SEED]",
        help="held-out: rescaled and jittered demand that no training saw (default: recorded)",
    )  # fmt: skip
    of.add_argument(
        "--controllers", nargs="+", default=list(BASELINES), metavar="NAME|RUN_DIR",
        help=f"any of {', '.join(CONTROLLERS)}; run directories of train.py (default: {' '.join(BASELINES)})",
    )  # fmt: skip
    of.add_argument(
        "--seeds", nargs="+", type=int, default=[5], metavar="N",
        help=f"one number: how many, from {EVALUATION_SEEDS.start} on; several: these seeds (default: 5)",
    )  # fmt: skip
    of.add_argument("--workers", type=int, metavar="W", help="simulations at a time (default: one per core)")
    of.add_argument("--json", action="store_true", help="print JSON on stdout, and nothing else there")
    of.add_argument("--out", type=Path, metavar="DIR", help="write the results there (default: only print)")
    of.add_argument(
        "--keep-sumo-output", action="store_true",
        help="leave DIR/sumo/CONTROLLER/seed-N/{tripinfo,statistics,tls_states}.xml",
    )  # fmt: skip
    of.add_argument("--emissions", action="store_true", help="CO2 and fuel as well (SUMO takes a third longer)")
    add_timing_arguments(of)
    return of


def main(arguments: list[str] | None = None) -> int:
    """The command. Returns its exit status."""
    options = parser().parse_args(arguments)
    timing = timing_from(options)
    seeds = _seeds(options.seeds)
    if options.keep_sumo_output and options.out is None:
        raise InputError("--keep-sumo-output needs a place: add --out DIR")
    if options.workers is not None and options.workers < 1:
        raise InputError(f"--workers is {options.workers}; give at least 1")
    if options.out is not None and options.out.exists() and not options.out.is_dir():
        raise InputError(f"--out {options.out} is a file; give a folder")
    contestants = [_contestant(name, timing) for name in options.controllers]
    demand = "held-out:1" if options.demand == "held-out" else options.demand
    scenario = load(
        options.scenario, routes=options.routes, additional=options.additional,
        begin_s=options.begin, end_s=options.end, demand=demand,
    )  # fmt: skip
    about = {"scenario": scenario.name, "demand": scenario.demand, "seeds": seeds}
    words = sys.argv[1:] if arguments is None else arguments
    settings = _settings(words, scenario, about, contestants, timing)
    if options.out is not None:
        _try_writing(options.out)
    keep = options.out / "sumo" if options.keep_sumo_output else None
    evaluation = Evaluation(
        scenario, contestants, seeds, timing, options.emissions, keep,
        store=None if options.out is None else options.out / "runs",
        details=options.out is not None,
        corridor=None if options.out is None else find_corridor(scenario),
        versions=settings["versions"],
    )  # fmt: skip
    workers = options.workers or _cores()
    finished = finished_runs(evaluation)
    _tell_of(finished, len(contestants) * len(seeds), evaluation.store)
    try:
        with RunProgress(len(contestants) * len(seeds) - len(finished.runs)) as progress:
            results = run_all(evaluation, workers, progress.advance, finished)
    except RunFailed as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        then = "no results written" if options.out is None else "the same command goes on from there"
        raise KeyboardInterrupt(f"stopped after {progress.done} of {progress.total} runs; {then}") from None
    summary = summarise(results, [c.name for c in contestants if c.baseline])
    content = as_json(summary, about)
    if options.out is not None:
        write_tables(options.out, results, summary, content, settings)
        _write_page(options.out, evaluation, results, summary, settings)
    if options.json:
        print(json.dumps(content, indent=2, ensure_ascii=False))
    else:
        _print_table(scenario, seeds, results, summary, options.out)
    return 0


def _write_page(
    out: Path, evaluation: Evaluation, results: list[RunResult], summary: Summary, settings: dict[str, Any]
) -> None:
    """The tables per signal and the report."""
    # drawing libraries take a second to load, so only where something is drawn
    from evaluation.report.content import ReportContent
    from evaluation.report.page import write_page
    from evaluation.signal_tables import movements_table, signal_table, write_signal_tables

    scenario = evaluation.scenario
    signals = signal_table(results, scenario.begin_s, scenario.end_s)
    movements = movements_table(results)
    write_signal_tables(out, signals, movements)
    agents = {c.name: Path(c.name) for c in evaluation.contestants if not c.baseline}
    content = ReportContent(
        scenario=scenario, summary=summary, results=results, settings=settings,
        labels=folder_names(evaluation.contestants), agents=agents, trained_on=settings["trained_on"],
        signals=signals, movements=movements, corridor=evaluation.corridor,
    )  # fmt: skip
    write_page(out / "report.html", content)


def _tell_of(finished: Finished, total: int, store: Path | None) -> None:
    """What an earlier start has left, in a line each on stderr."""
    if finished.runs:
        print(f"note: {len(finished.runs)} of {total} runs were finished before; taken from {store}", file=sys.stderr)
    if finished.strangers:
        print(
            f"note: {finished.strangers} runs in {store} are of other settings, input or code, or damaged; run anew",
            file=sys.stderr,
        )


def _seeds(given: list[int]) -> list[int]:
    if len(given) == 1:
        if not 1 <= given[0] <= len(EVALUATION_SEEDS):
            raise InputError(f"--seeds {given[0]}: one number says how many; give 1 to {len(EVALUATION_SEEDS)}")
        return list(EVALUATION_SEEDS[: given[0]])
    if len(set(given)) < len(given) or not all(0 <= seed < 2**31 for seed in given):
        raise InputError(f"--seeds {' '.join(map(str, given))}: give different numbers from 0 to {2**31 - 1}")
    return given


def _try_writing(folder: Path) -> None:
    """Raises InputError now where the results could not be written in the end."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
            file.write(bytes(4096))
    except OSError as error:
        raise InputError(
            f"cannot write into --out {folder}: {error.strerror}; make room or choose another"
        ) from error


def _cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _contestant(name: str, timing: Timing) -> Contestant:
    if name in CONTROLLERS:
        return Contestant(name, lambda: make(name))
    if os.sep not in name and not Path(name).exists():
        make(name)  # says which there are
    import torch  # takes seconds, so only where a policy needs it

    from agents.run import load_controller, read_settings, run_sha256

    torch.set_num_threads(1)  # the runs are what goes in parallel
    path = Path(name)
    load_controller(path)  # a wrong directory is better known now than in the first run
    trained = read_settings(path).get("job", {}).get("timing")
    if trained is not None and trained != dataclasses.asdict(timing):
        print(f"note: {name} was trained with another timing than this evaluation's", file=sys.stderr)
    trained_on = str(read_settings(path).get("scenario", {}).get("name", ""))
    return Contestant(
        name, lambda: load_controller(path), baseline=False, identity=run_sha256(path), trained_on=trained_on
    )


def _settings(
    words: list[str], scenario: Scenario, about: dict[str, Any], contestants: list[Contestant], timing: Timing
) -> dict[str, Any]:
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "command": ["python", "evaluate.py", *words],
        **about,
        "controllers": [c.name for c in contestants],
        "begin_s": scenario.begin_s,
        "end_s": scenario.end_s,
        "files_sha256": scenario.hashes(),
        "timing": dataclasses.asdict(timing),
        "trained_on": {c.name: c.trained_on for c in contestants if c.trained_on},
        "versions": versions,
    }


def _print_table(
    scenario: Scenario, seeds: list[int], results: list[RunResult], summary: Summary, out: Path | None
) -> None:
    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else 160, highlight=False)
    console.print(as_table(summary))
    counts = sorted({run.metrics.vehicles for run in results})
    vehicles = f"{counts[0]:,}" if len(counts) == 1 else f"{counts[0]:,} to {counts[-1]:,}"
    same = seeds == list(range(seeds[0], seeds[0] + len(seeds)))
    shown = f"{seeds[0]} to {seeds[-1]}" if same and len(seeds) > 1 else ", ".join(map(str, seeds))
    console.print(
        f"{scenario.name}, {scenario.demand} demand, {scenario.begin_s:g} to {scenario.end_s:g} s, "
        f"{vehicles} vehicles, seeds {shown}\n{DEFINITION}",
        soft_wrap=True,
        markup=False,
    )
    if len(summary.controllers) > 1:
        which = "best of the baselines" if summary.reference in CONTROLLERS else "first named"
        console.print(f"reference: {summary.reference}, the {which}", soft_wrap=True, markup=False)
    if any(run.metrics.gridlocked for run in results):
        console.print("red rows: runs that ended in gridlock; they are in the means", soft_wrap=True)
    if out is not None:
        console.print(f"written to {out}", soft_wrap=True, markup=False)


if __name__ == "__main__":
    run_command(main)

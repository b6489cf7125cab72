"""Run controllers on a scenario with the same seeds and print how they compare; `--help` says how."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from agents.judgement import RULE, Judgement
from agents.named import find_controller
from controllers.mcts import TreeSearch
from controllers.programs import ProgramControl
from controllers.registry import CONTROLLERS
from envs.sumo.setup import SimulationOptions, add_tls_argument
from envs.workers.engine import add_engine_arguments, check_engine, open_engine
from evaluation.details.corridor import find_corridor
from evaluation.files import settings_of, write_results
from evaluation.progress import RunProgress
from evaluation.results.findings import unserved_lines, warning_lines
from evaluation.results.summary import as_json, summarise
from evaluation.results.terminal import print_results
from evaluation.runs import (
    Contestant,
    Engine,
    Evaluation,
    Finished,
    RunFailed,
    RunResult,
    check_traffic,
    cores_here,
    finished_runs,
    run_all,
)
from evaluation.stress import (
    KINDS,
    Level,
    applicable_kinds,
    check_kinds,
    curves_of,
    plan_stress,
    run_level,
    stress_json,
)
from plumbing.command import run_command, say, say_json
from plumbing.errors import InputError
from plumbing.held import bring_back
from plumbing.occupied import occupied
from plumbing.outside import add_code_argument
from scenarios.arguments import (
    add_fault_arguments,
    add_scenario_arguments,
    add_timing_arguments,
    faults_from,
    scenario_from,
    timing_from,
)
from scenarios.from_counts import as_wanted
from scenarios.seeds import EVALUATION_SEEDS, VALIDATION_SEEDS
from signals.intersection import compile_signals
from signals.timing import Timing, timing_of

if TYPE_CHECKING:
    from envs.workers.cluster import Cluster

SPAN = f"{EVALUATION_SEEDS.start} to {VALIDATION_SEEDS.stop - 1}"
BASELINES = ("fixed_time", "actuated", "max_pressure", "greedy")
EPILOG = """examples:
  python evaluate.py --scenario cologne1 --controllers fixed_time actuated max_pressure greedy --seeds 5
  python evaluate.py --scenario cologne1 --controllers greedy runs/c1 --demand held-out --out runs/eval
  python evaluate.py --scenario cologne3 --controllers greedy runs/c3 --seeds 10 --stress all --out runs/judged
  python evaluate.py --scenario cologne1 --controllers greedy greedy@runs/tuned webster@runs/tuned --seeds 5
  python evaluate.py --scenario cologne1 --controllers runs/a runs/b runs/c --choose runs/chosen --seeds 10
  python evaluate.py --scenario my.sumocfg --controllers fixed_time runs/mine --json > mine.json

Delay is time loss + departure delay, averaged over every vehicle that was to depart in the window, also vehicles
under way at the end and vehicles that never found room to enter. A run is gridlocked if at its end at least 5
vehicles and 5 % of those under way had stood still for 300 s. Means include all runs. evaluation/metrics.py
defines every metric.

webster, actuated and delay_based are SUMO's; cop plans by dynamic programming over the vehicles that it sees coming;
mcts searches forks of the simulation and so knows the future: an upper reference, slow, for up to three signals.
docs/evaluation.md describes all, with sources.

--choose is for after training: the policies of the run directories, at each of their validations and at the end
(RUN_DIR@STEPS, RUN_DIR), are judged on validation seeds, and the one with the fewest gridlocked runs, of
these that with the least mean delay, becomes the run directory --choose. Judge it then on other seeds: the default.

--out gets report.html (open it in a browser); results (a row per run), summary (a row per controller), signals,
movements and stress as .csv and .parquet; vehicles.parquet (a row per vehicle and run); summary.json (what --json
prints) and settings.json. Each finished run is kept at once below DIR/runs: after a stop or a kill, the same
command continues from there. docs/evaluation.md explains the files.
exit status: 0 ok, 1 a run failed, 2 bad input, 130 stopped by Ctrl-C."""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    of = argparse.ArgumentParser(
        prog="evaluate.py",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_scenario_arguments(of)
    add_tls_argument(of)
    of.add_argument(
        "--controllers", nargs="+", default=list(BASELINES), metavar="NAME[@TUNED]|RUN_DIR[@STEPS]|BUNDLE",
        help=f"any of {', '.join(CONTROLLERS)}; with @ and what python -m evaluation.tune wrote, tuned; "
        "package.module:CLASS or path/to/file.py:CLASS; run directories of train.py, with @ as they were at that "
        "validation, several joined by + as an ensemble; of export.py, bundles, TREE.json and PLANS.add.xml "
        f"(default: {' '.join(BASELINES)})",
    )  # fmt: skip
    of.add_argument(
        "--seeds", nargs="+", type=int, default=[5], metavar="N",
        help=f"one number: how many, from {EVALUATION_SEEDS.start} on; several: these seeds (default: 5)",
    )  # fmt: skip
    of.add_argument(
        "--choose", type=Path, metavar="DIR",
        help="write the best policy of the run directories there, with what it was chosen from; the seeds are then "
        f"validation seeds, from {VALIDATION_SEEDS.start} on",
    )  # fmt: skip
    of.add_argument("--workers", type=int, metavar="W", help="simulations at a time (default: one per core)")
    of.add_argument("--json", action="store_true", help="print JSON on stdout, and nothing else there")
    of.add_argument("--out", type=Path, metavar="DIR", help="write the results there (default: only print)")
    of.add_argument(
        "--keep-sumo-output", action="store_true",
        help="leave DIR/sumo/CONTROLLER/seed-N/{tripinfo,statistics,tls_states}.xml",
    )  # fmt: skip
    of.add_argument(
        "--event-log", action="store_true",
        help="a controller's hi-res event log per run, as DIR/runs/CONTROLLER/seed-N/events.parquet",
    )  # fmt: skip
    of.add_argument("--emissions", action="store_true", help="CO2 and fuel as well (SUMO takes a third longer)")
    of.add_argument(
        "--stress", nargs="+", default=[], metavar="KIND",
        help=f"curves of delay as conditions get worse: {', '.join(KINDS)}, or all (that apply)",
    )  # fmt: skip
    of.add_argument(
        "--stress-seeds", type=int, default=3, metavar="N", help="how many of the seeds each level takes (default: 3)"
    )
    add_fault_arguments(of)
    add_code_argument(of)
    add_engine_arguments(of)
    add_timing_arguments(of)
    return of


def main(arguments: list[str] | None = None) -> int:
    """The command. Returns its exit status."""
    options = parser().parse_args(arguments)
    check_engine(options)
    timing = timing_from(options)
    seeds = _seeds(options.seeds, EVALUATION_SEEDS if options.choose is None else VALIDATION_SEEDS)
    if options.choose is not None:
        from agents.choice import candidates_of, check_choice  # with PyTorch, which takes seconds

        check_choice(options.choose)
        options.controllers = candidates_of(options.controllers)
    if options.keep_sumo_output and options.out is None:
        raise InputError("--keep-sumo-output needs a place: add --out DIR")
    if options.event_log and options.out is None:
        raise InputError("--event-log needs a place: add --out DIR")
    if options.workers is not None and options.workers < 1:
        raise InputError(f"--workers is {options.workers}; give at least 1")
    words = sys.argv[1:] if arguments is None else arguments
    with contextlib.ExitStack() as held:
        for folder in filter(None, (options.out, options.choose)):
            held.enter_context(occupied(folder))
        return _judge(options, seeds, timing, words)


def _judge(options: argparse.Namespace, seeds: list[int], timing: Timing, words: list[str]) -> int:
    """Make the runs and show the results. Returns the exit status."""
    contestants = [_contestant(name, timing, options.allow_code) for name in options.controllers]
    scenario, faults = scenario_from(options), faults_from(options)
    check_traffic(scenario)
    if any(scenario.days_apart) and not all(seed in EVALUATION_SEEDS or seed in VALIDATION_SEEDS for seed in seeds):
        say(f"note: {scenario.demand} gives seeds other than {SPAN} days of training", error=True)
    plan = compile_signals(scenario.network, timing).only(options.tls_ids)
    for contestant in contestants:
        if any(set(tls_ids) != set(plan.tls_ids) for tls_ids in contestant.trained_tls_ids):
            say(f"note: {contestant.name} was trained to control other signals than this evaluation's", error=True)
    controllers = [contestant.make() for contestant in contestants]  # fail before the first run
    for n, controller in enumerate(controllers):
        if (foresight := as_wanted(scenario, controller).foresight) is not None:
            identity = f"{contestants[n].identity} forecast {foresight.identity}"
            contestants[n] = dataclasses.replace(contestants[n], identity=identity)
    for controller in controllers:
        if isinstance(controller, ProgramControl):
            controller.programs_for(scenario, options.tls_ids)
            continue
        SimulationOptions(timing=timing, sensing=controller.sensing, faults=faults)  # whether they go together
        if isinstance(controller, TreeSearch):
            controller.check(len(plan.intersections))
    if not all(isinstance(controller, ProgramControl) for controller in controllers):
        for refusal in plan.refusals:
            say(str(refusal), error=True)
    if options.out is not None:
        _try_writing(options.out)
    evaluation = Evaluation(
        scenario, contestants, seeds, timing, options.emissions,
        keep=options.out / "sumo" if options.keep_sumo_output else None,
        store=None if options.out is None else options.out / "runs",
        details=options.out is not None,
        corridor=None if options.out is None else find_corridor(scenario),
        event_log=options.event_log,
        tls_ids=options.tls_ids,
        faults=faults,
    )  # fmt: skip
    levels = _stress_levels(options.stress, options.stress_seeds, evaluation)
    about = {
        "scenario": scenario.name,
        "demand": scenario.demand,
        "made_up": scenario.made_up,
        "ignore_junction_blocker_s": scenario.ignore_junction_blocker_s,
        "seeds": seeds,
        "faults": dataclasses.asdict(faults),
        "tls_ids": options.tls_ids,
        "left_alone": [dataclasses.asdict(refusal) for refusal in plan.refusals],
    }
    settings = settings_of(evaluation, words, about)
    finished = finished_runs(evaluation)
    _note_kept_runs(finished, len(contestants) * len(seeds), evaluation.store)
    progress = RunProgress(len(contestants) * len(seeds) - len(finished.runs))
    try:
        with open_engine(options, options.workers) as cluster:
            workers, engine = options.workers or (cluster.cores if cluster else cores_here()), _engine(cluster)
            with progress:
                results = run_all(evaluation, workers, progress.advance, finished, engine)
            with RunProgress(sum(level.size for level in levels)) as progress:
                stressed = [run_level(level, workers, progress.advance, engine) for level in levels]
    except RunFailed as error:
        say(f"error: {error}", error=True)
        return 1
    except KeyboardInterrupt:
        then = "no results written" if options.out is None else "the same command goes on from there"
        raise KeyboardInterrupt(f"stopped after {progress.done} of {progress.total} runs; {then}") from None
    # mcts knows the future: it is compared like all others, but is never the reference
    summary = summarise(results, [c.name for c in contestants if c.baseline and c.name != "mcts"])
    stress = curves_of(results, levels, stressed)
    notes = [*unserved_lines(results), *warning_lines(results)]
    content = as_json(summary, about) | ({"notes": notes} if notes else {})
    content |= {"stress": stress_json(stress)} if stress else {}
    if options.out is not None:
        write_results(options.out, evaluation, results, summary, stress, content, settings)
    if options.json:
        say_json(content)
    else:
        print_results(evaluation, results, summary, stress, options.out)
    if options.choose is not None:
        _write_choice(options, evaluation, results)
    return 0


def _write_choice(options: argparse.Namespace, evaluation: Evaluation, results: Sequence[RunResult]) -> None:
    """Write the policy that validation seeds choose, and say which it is."""
    from agents.choice import Candidate, is_candidate, write_choice

    candidates = [
        Candidate(
            name,
            Judgement.of(
                (run.metrics.gridlocked, run.metrics.delay_s) for run in results if run.controller == contestant.name
            ),
        )
        for name, contestant in zip(options.controllers, evaluation.contestants, strict=True)
        if is_candidate(name)
    ]
    chosen = write_choice(options.choose, candidates, evaluation.scenario.name, evaluation.seeds)
    say(
        f"chosen: {chosen.name}, {chosen.judgement} ({RULE}), of {len(candidates)} policies; in {options.choose}",
        error=options.json,
    )


def _stress_levels(kinds: list[str], seeds: int, evaluation: Evaluation) -> list[Level]:
    if kinds == ["all"]:
        kinds = applicable_kinds(evaluation)
    check_kinds(kinds, evaluation)
    if not seeds >= 1:
        raise InputError(f"--stress-seeds is {seeds}; give at least 1")
    levels = plan_stress(evaluation, list(dict.fromkeys(kinds)), seeds)
    for part in (part for level in levels for part in level.parts):  # before hours of runs, not after
        check_traffic(part.scenario)
        for controller in (contestant.make() for contestant in part.contestants if contestant.baseline):
            if isinstance(controller, ProgramControl):
                controller.programs_for(part.scenario, part.tls_ids)
    return levels


def _note_kept_runs(finished: Finished, total: int, store: Path | None) -> None:
    """Say on stderr how many runs of an earlier start are used, and how many are made again."""
    if finished.runs:
        say(f"note: {len(finished.runs)} of {total} runs were finished before; taken from {store}", error=True)
    if finished.stale:
        say(
            f"note: {finished.stale} runs in {store} are of other settings, input or code, or damaged; run anew",
            error=True,
        )


def _seeds(given: list[int], known: range) -> list[int]:
    if len(given) == 1:
        if not 1 <= given[0] <= len(known):
            raise InputError(f"--seeds {given[0]}: one number says how many; give 1 to {len(known)}")
        return list(known[: given[0]])
    if len(set(given)) < len(given) or not all(0 <= seed < 2**31 for seed in given):
        raise InputError(f"--seeds {' '.join(map(str, given))}: give different numbers from 0 to {2**31 - 1}")
    return given


def _try_writing(folder: Path) -> None:
    """Raises InputError now where the results could not be written in the end."""
    try:
        with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
            file.write(bytes(4096))
    except OSError as error:
        raise InputError(
            f"cannot write into --out {folder}: {error.strerror}; make room or choose another"
        ) from error


def _engine(cluster: Cluster | None) -> Engine | None:
    """The engine on a cluster; None for this machine."""
    if cluster is None:
        return None
    from evaluation.ray_runs import RayRuns  # only where Ray is asked for

    return RayRuns(cluster)


def _contestant(name: str, timing: Timing, allow_code: bool) -> Contestant:
    if name not in CONTROLLERS:
        bring_back(Path(name))
    if any(Path(name).glob("manifest.json")) or any(Path(name).glob("*/manifest.json")):
        return _bundles(name)
    found = find_controller(name, allow_code=allow_code)
    for what in found.changed:
        say(f"note: {name} was trained with another version of {what}", error=True)
    trained = (s.get("job", {}).get("timing") for s in found.settings)
    if any(of is not None and timing_of(of) != timing for of in trained):
        say(f"note: {name} was trained with another timing than this evaluation's", error=True)
    return Contestant(
        found.name, found.make, not found.learned, found.identity, tuned=found.tuned, trained_on=found.trained_on,
        trained_by=found.commands, trained_tls_ids=found.tls_ids,
    )  # fmt: skip


def _bundles(name: str) -> Contestant:
    """A bundle of export.py, or a folder with one per signal."""
    from deployment.bundle.simulated import BundleController, bundle_folders, identity_of  # needs the extra `export`

    folders = bundle_folders(Path(name))
    BundleController(folders)  # fail on a damaged one before the first run
    return Contestant(name, lambda: BundleController(folders), False, identity_of(folders))


if __name__ == "__main__":
    run_command(main)

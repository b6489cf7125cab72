"""Tune controllers without learning, all by the same budget, on training seeds; `--help` says how."""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from controllers.parameters import FILE, FORMAT, SPACES, Parameters, candidates
from controllers.programs import ProgramControl
from controllers.registry import make
from evaluation.progress import RunProgress
from evaluation.runs import (
    Contestant,
    Evaluation,
    RunFailed,
    RunResult,
    check_traffic,
    cores_here,
    finished_runs,
    run_all,
)
from plumbing.command import run_command, say
from plumbing.errors import InputError, did_you_mean
from plumbing.identity import code_sha256
from plumbing.occupied import occupied
from plumbing.whole import write_whole
from scenarios.arguments import (
    add_fault_arguments,
    add_scenario_arguments,
    add_timing_arguments,
    faults_from,
    scenario_from,
    timing_from,
)
from scenarios.seeds import training_seed

RUNS = 24
EPILOG = """examples:
  python -m evaluation.tune --scenario cologne1 --controllers max_pressure greedy sotl --out runs/tuned
  python evaluate.py --scenario cologne1 --controllers greedy greedy@runs/tuned --seeds 5

The rule is the same for every controller. Half of its runs try as many settings (the defaults and a stratified
random draw) on one training seed. The best third runs on two more seeds, the best half of these on another two.
The least mean delay over all five seeds wins. Evaluation and validation seeds are never used.

--out gets tuned.json, with everything needed to repeat the search. Each finished run is kept at once below
DIR/runs. After a stop or a kill, the same command continues from there.
exit status: 0 ok, 1 a run failed, 2 bad input, 130 stopped by Ctrl-C."""


@dataclasses.dataclass(frozen=True)
class Rung:
    """One round of the search."""

    settings: int
    """Number of settings tried: the best of the round before."""
    seeds: tuple[int, ...]
    """Seeds that each setting runs beside those of earlier rounds."""


@dataclasses.dataclass
class Trial:
    """One setting of one controller, and how its runs went."""

    controller: str
    number: int
    parameters: Parameters
    runs: list[RunResult] = dataclasses.field(default_factory=list)

    @property
    def delay_s(self) -> float:
        """Mean delay over the runs so far [s]."""
        return statistics.fmean(run.metrics.delay_s for run in self.runs)

    @property
    def contestant(self) -> Contestant:
        """The trial as a contestant of an evaluation."""
        return Contestant(
            f"{self.controller}-{self.number:02d}",
            lambda: make(self.controller, **self.parameters),
            identity=json.dumps(self.parameters, sort_keys=True),
        )

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "parameters": self.parameters,
            "seeds": [run.seed for run in self.runs],
            "delay_s": [run.metrics.delay_s for run in self.runs],
            "gridlocked_runs": sum(run.metrics.gridlocked for run in self.runs),
        }


def rungs(runs: int, seed: int) -> list[Rung]:
    """The rounds that together spend exactly `runs` on each controller, a multiple of 12."""
    if runs < 12 or runs % 12:
        raise InputError(f"--runs is {runs}; give a multiple of 12, such as {RUNS}")
    seeds = [training_seed(seed, 0, episode) for episode in range(5)]
    return [Rung(runs // 2, (seeds[0],)), Rung(runs // 6, tuple(seeds[1:3])), Rung(runs // 12, tuple(seeds[3:]))]


def tune(
    base: Evaluation, names: Sequence[str], rounds: Sequence[Rung], seed: int, workers: int, progress: RunProgress
) -> dict[str, list[Trial]]:
    """All trials of each controller, the winner first.

    Raises:
        RunFailed: a run broke off.
    """
    trials = {
        name: [Trial(name, n, values) for n, values in enumerate(candidates(name, rounds[0].settings, seed))]
        for name in names
    }
    for rung in rounds:
        going = [trial for name in names for trial in trials[name][: rung.settings]]
        evaluation = dataclasses.replace(base, contestants=[t.contestant for t in going], seeds=rung.seeds)
        finished = finished_runs(evaluation)
        progress.done += len(finished.runs)
        results = run_all(evaluation, workers, progress.advance, finished)
        for trial in going:
            trial.runs += [run for run in results if run.controller == trial.contestant.name]
        for name in names:
            ended = trials[name][rung.settings :]
            trials[name] = sorted(trials[name][: rung.settings], key=lambda t: (t.delay_s, t.number)) + ended
    return trials


def parser() -> argparse.ArgumentParser:
    """The command line."""
    of = argparse.ArgumentParser(
        prog="python -m evaluation.tune",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_scenario_arguments(of, demand=False)
    of.add_argument(
        "--controllers",
        nargs="+",
        default=list(SPACES),
        metavar="NAME",
        help=f"of {', '.join(SPACES)} (default: all)",
    )
    of.add_argument(
        "--runs", type=int, default=RUNS, metavar="N", help=f"simulated runs per controller (default: {RUNS})"
    )
    of.add_argument("--seed", type=int, default=0, metavar="S", help="draws the settings and the training seeds")
    of.add_argument("--workers", type=int, metavar="W", help="simulations at a time (default: one per core)")
    of.add_argument("--out", type=Path, required=True, metavar="DIR", help=f"gets {FILE}")
    add_fault_arguments(of)
    add_timing_arguments(of)
    return of


def main(arguments: list[str] | None = None) -> int:
    """The command. Returns its exit status."""
    options = parser().parse_args(arguments)
    names = list(dict.fromkeys(options.controllers))
    for name in names:
        if name not in SPACES:
            raise InputError(
                f"controller {name!r} has nothing to tune; choose of {', '.join(SPACES)}.{did_you_mean(name, SPACES)}"
            )
    if options.workers is not None and options.workers < 1:
        raise InputError(f"--workers is {options.workers}; give at least 1")
    if not 0 <= options.seed < 2**31:
        raise InputError(f"--seed is {options.seed}; give 0 to {2**31 - 1}")
    rounds = rungs(options.runs, options.seed)
    with occupied(options.out):
        return _search(options, names, rounds, sys.argv[1:] if arguments is None else arguments)


def _search(options: argparse.Namespace, names: Sequence[str], rounds: Sequence[Rung], words: Sequence[str]) -> int:
    """Find the best parameters and write them. Returns the exit status."""
    scenario = scenario_from(options)
    check_traffic(scenario)
    for name in names:
        program = make(name)
        if isinstance(program, ProgramControl):
            program.additional_xml(scenario)
    faults, runs = faults_from(options), options.out / "runs"
    base = Evaluation(scenario, [], [], timing_from(options), store=runs, faults=faults)
    workers = options.workers or cores_here()
    progress = RunProgress(options.runs * len(names))
    try:
        with progress:
            trials = tune(base, names, rounds, options.seed, workers, progress)
    except RunFailed as error:
        say(f"error: {error}", error=True)
        return 1
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"stopped after {progress.done} of {progress.total} runs; the same command goes on from there"
        ) from None
    content = _content(base, trials, rounds, options.seed, words)
    text = json.dumps(content, indent=2) + "\n"
    write_whole(options.out / FILE, lambda path: path.write_text(text, encoding="utf-8"))
    _print(trials, options.out / FILE)
    return 0


def _content(
    base: Evaluation, trials: Mapping[str, list[Trial]], rounds: Sequence[Rung], seed: int, words: Sequence[str]
) -> dict[str, Any]:
    """The content of tuned.json: everything needed to repeat the search."""
    scenario = base.scenario
    return {
        "format": FORMAT,
        "command": ["python", "-m", "evaluation.tune", *words],
        "scenario": scenario.name,
        "begin_s": scenario.begin_s,
        "end_s": scenario.end_s,
        "made_up": scenario.made_up,
        "ignore_junction_blocker_s": scenario.ignore_junction_blocker_s,
        "files_sha256": scenario.hashes(),
        "timing": dataclasses.asdict(base.timing),
        "faults": dataclasses.asdict(base.faults),
        "versions": dict(base.versions),
        "code_sha256": code_sha256(),
        "rule": {
            "what": "successive halving by mean delay over paired training seeds, the defaults among the settings",
            "runs": sum(rung.settings * len(rung.seeds) for rung in rounds),
            "rounds": [{"settings": rung.settings, "further_seeds": list(rung.seeds)} for rung in rounds],
            "seed": seed,
        },
        "controllers": {
            name: {
                "parameters": found[0].parameters,
                "delay_s": found[0].delay_s,
                "space": {key: dataclasses.asdict(of) for key, of in SPACES[name].items()},
                "trials": [trial.as_json() for trial in found],
            }
            for name, found in trials.items()
        },
    }


def _print(trials: Mapping[str, list[Trial]], file: Path) -> None:
    for name, found in trials.items():
        best = found[0]
        (default,) = (trial for trial in found if not trial.parameters)
        values = ", ".join(f"{key} {value:g}" for key, value in best.parameters.items()) or "its defaults"
        first = f"{default.runs[0].metrics.delay_s:.1f} s with its defaults on the first of them"
        say(f"{name}: {values}: {best.delay_s:.1f} s on {len(best.runs)} training seeds ({first})")
    say(f"written to {file}")


if __name__ == "__main__":
    run_command(main)

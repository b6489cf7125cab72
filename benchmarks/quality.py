"""What learned policies are worth beside every rule: `python -m benchmarks.quality cologne1`.

Each agent is trained by its recipe (agents/recipes), once for each training seed, and each policy is judged with all
rules on the same evaluation seeds, which neither a training nor a choice has seen. Nothing is chosen among trainings:
each counts, and an agent's figure is the mean over them. dqn and ppo are judged by their last weights, rollout by the
best of its rounds on validation seeds.

Trainings and finished runs lie below --work, and a second call goes on with what is missing. Every run's figures go
to benchmarks/quality/SCENARIO.parquet, where further training seeds are added to those of before; README.md there
is the page of all scenarios. --page writes it anew, and does nothing else.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from agents.named import find_controller
from agents.recipes import recipe_of
from agents.registry import AGENTS
from agents.run import read_settings
from benchmarks.counts_scenario import run_module
from benchmarks.quality_page import page
from controllers.registry import CONTROLLERS
from evaluation.contest import Contestant, Evaluation
from evaluation.files import run_table
from evaluation.progress import RunProgress
from evaluation.runs import finished_runs, run_all
from plumbing.command import run_command, say
from plumbing.errors import InputError, did_you_mean
from plumbing.identity import versions
from plumbing.interpreter import ROOT
from plumbing.whole import write_whole
from scenarios.loading import load
from scenarios.seeds import EVALUATION_SEEDS
from signals.timing import Timing

FIGURES = ROOT / "benchmarks" / "quality"
RULES = ("fixed_time", "actuated", "max_pressure", "greedy", "sotl", "cop")
TUNED = ("actuated", "max_pressure", "greedy")
KEPT = (
    "delay_s",
    "gridlocked",
    "gridlock_at",
    "waiting_time_s",
    "stops",
    "vehicles",
    "uninserted_veh",
    "resco_delay_s",
)
"""Of a run's metrics."""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    of = argparse.ArgumentParser(
        prog="python -m benchmarks.quality", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    of.add_argument("scenario", nargs="*", help="names of scenarios (python -m scenarios lists them)")
    of.add_argument("--agents", nargs="+", default=["rollout", "ppo"], metavar="NAME", help="default: rollout ppo")
    of.add_argument("--training-seeds", nargs="*", type=int, default=[0, 1, 2], metavar="S", help="default: 0 1 2")
    of.add_argument("--rules", nargs="*", default=list(RULES), metavar="NAME", help=f"default: {' '.join(RULES)}")
    of.add_argument("--tune", action="store_true", help=f"tune {', '.join(TUNED)} and judge these, too: 24 runs each")
    of.add_argument(
        "--seeds", type=int, default=20, metavar="N", help="evaluation seeds, from 10001 on (default: 20)"
    )
    of.add_argument(
        "--change-interval", default=Timing().change_interval, choices=("calculated", "fixed"),
        help="fixed: 3 s of yellow for all, for comparison with published figures (default: calculated)",
    )  # fmt: skip
    of.add_argument(
        "--demand", default="recorded", metavar="recorded|held-out|scaled:F",
        help="what is judged on; trained is on the recorded one (default: recorded)",
    )  # fmt: skip
    of.add_argument(
        "--steps", type=int, metavar="N",
        help="of each training in place of the recipe's, to try something: its figures stay below --work",
    )  # fmt: skip
    of.add_argument("--workers", type=int, default=2, metavar="W", help="simulations at a time (default: 2)")
    of.add_argument(
        "--work", type=Path, default=ROOT / "runs" / "quality", metavar="DIR", help="default: runs/quality"
    )
    of.add_argument("--page", action="store_true", help="only write the page of all figures that are there")
    return of


def main(arguments: list[str] | None = None) -> int:
    """The command. Returns its exit status."""
    options = parser().parse_args(arguments)
    _check(options)
    figures = FIGURES if options.steps is None else options.work / "figures"
    figures.mkdir(parents=True, exist_ok=True)
    for name in options.scenario if not options.page else ():
        trained = {
            f"{agent}#{seed}": trained_run(options, name, agent, seed)
            for agent in options.agents
            for seed in options.training_seeds
        }
        tuned = [f"{rule}@{_tuned(options, name)}" for rule in TUNED] if options.tune else []
        frame = _judged(options, name, [*options.rules, *tuned], trained)
        place = figures / f"{name}{_kind(options)}.parquet"
        older = [pl.read_parquet(place)] if place.is_file() else []
        keys = ["controller", "seed"]
        whole = pl.concat([*older, frame], how="diagonal").unique(keys, keep="last", maintain_order=True).sort(keys)
        write_whole(place, whole.write_parquet)
    text = page(figures)
    write_whole(figures / "README.md", lambda partial: partial.write_text(text, encoding="utf-8"))
    say(text)
    return 0


def _check(options: argparse.Namespace) -> None:
    """Raises InputError for what cannot be done."""
    if not options.scenario and not options.page:
        raise InputError("name a scenario, such as cologne1; python -m scenarios lists them")
    for words, known, what in ((options.agents, AGENTS, "--agents"), (options.rules, CONTROLLERS, "--rules")):
        for word in words:
            if word not in known:
                raise InputError(
                    f"{what}: {word!r} is unknown; known are {', '.join(known)}.{did_you_mean(word, known)}"
                )
    if not 1 <= options.seeds <= 100:
        raise InputError(f"--seeds is {options.seeds}; give 1 to 100")


def _kind(options: argparse.Namespace) -> str:
    """What marks a file of figures that are not of the plain kind."""
    fixed = "" if options.change_interval == "calculated" else "-fixed"
    return fixed + ("" if options.demand == "recorded" else f"-{options.demand.replace(':', '-')}")


def trained_run(options: argparse.Namespace, scenario: str, agent: str, seed: int) -> Path:
    """The run directory of a training, which is begun, or gone on with, where it has not been finished or has taken
    fewer steps than the recipe has by now."""
    fixed = "" if options.change_interval == "calculated" else "-fixed"
    run: Path = options.work / f"{scenario}{fixed}" / f"{agent}-{seed}"
    done, steps = run / "trained.parquet", options.steps or recipe_of(agent).steps
    if not done.is_file() or steps_of(run) < steps:
        words: tuple[str, ...] = ("--out", str(run), "--resume", "--steps", str(steps))
        if not (run / "checkpoint.pt").is_file():
            words = (
                "--scenario", scenario, "--agent", agent, "--seed", str(seed), "--workers", str(options.workers),
                "--change-interval", options.change_interval, "--overwrite", "--out", str(run), "--steps", str(steps),
            )  # fmt: skip
        run_module("train", *words)
        write_whole(done, curve_of(run).write_parquet)
    return run


def steps_of(run: Path) -> int:
    """How many steps a training was asked for."""
    steps: int = read_settings(run)["job"]["steps"]
    return steps


def curve_of(run: Path) -> pl.DataFrame:
    """A training's validations, with the seconds of training up to each, earlier validations included."""
    path = run / "validation.csv"
    plain = {"steps": pl.Float64, "seconds": pl.Float64, "delay_s": pl.Float64}
    frame = pl.read_csv(path, schema_overrides=plain) if path.is_file() else pl.DataFrame(schema=plain)
    return frame.select(pl.col("steps").cast(pl.Int64), "seconds", pl.col("delay_s").alias("validation_delay_s"))


def _tuned(options: argparse.Namespace, scenario: str) -> Path:
    """Where the tuned parameters of a scenario's rules lie."""
    out: Path = options.work / f"{scenario}{_kind(options)}" / "tuned"
    words = ("--scenario", scenario, "--controllers", *TUNED, "--workers", str(options.workers), "--out", str(out))
    run_module("evaluation.tune", *words)
    return out


def _judged(
    options: argparse.Namespace, name: str, rules: Sequence[str], trained: dict[str, Path]
) -> pl.DataFrame:  # fmt: skip
    """A row for each controller and evaluation seed. A policy's name is AGENT#TRAINING_SEED."""
    contestants = []
    for label, source in {**{rule: rule for rule in rules}, **{k: str(run) for k, run in trained.items()}}.items():
        found = find_controller(source)
        shown = found.name if label == source else label
        contestants.append(Contestant(shown, found.make, not found.learned, found.identity))
    evaluation = Evaluation(
        load(name, demand=options.demand), contestants, EVALUATION_SEEDS[: options.seeds],
        Timing(change_interval=options.change_interval), store=options.work / f"{name}{_kind(options)}" / "judged",
    )  # fmt: skip
    table = judged(evaluation, options.workers)
    curves = {label: pl.read_parquet(run / "trained.parquet") for label, run in trained.items()}
    took = {label: float(curve["seconds"].max() or 0.0) for label, curve in curves.items()}  # type: ignore[arg-type]
    steps = {label: steps_of(run) for label, run in trained.items()}
    made = " ".join(f"{package} {version}" for package, version in versions().items())
    return table.select("controller", "seed", *KEPT).with_columns(
        pl.col("controller").replace_strict(steps, default=None, return_dtype=pl.Int64).alias("steps"),
        pl.col("controller").replace_strict(took, default=None, return_dtype=pl.Float64).alias("training_s"),
        pl.lit(made).alias("versions"),
    )


def judged(evaluation: Evaluation, workers: int) -> pl.DataFrame:
    """All runs of an evaluation, a row each, with progress; those that its store holds are not made again."""
    finished = finished_runs(evaluation)
    with RunProgress(len(evaluation.contestants) * len(evaluation.seeds) - len(finished.runs)) as progress:
        return run_table(run_all(evaluation, workers, progress.advance, finished))


if __name__ == "__main__":
    run_command(main)

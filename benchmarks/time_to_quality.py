"""How soon a training is worth having: `python -m benchmarks.time_to_quality cologne1`.

Ours are trained by their recipes; beside them, in the same run, Stable-Baselines3's DQN and PPO on sumo-rl (libsumo)
for --budget-s each. Every side trains alone on the machine. What a policy is worth is judged at each of our
validations and at ten marks of the peers' wall clock, on the same evaluation seeds, by the same delay (time loss plus
departure delay of every vehicle that was to depart) and with 3 s of yellow on both sides. The last point of ours is
the policy that the run keeps. Our seconds include our validations; to start the simulations counts on neither side.

Trainings and judgements lie below --work, and a second call goes on with what is missing. The figures go to
benchmarks/time_to_quality: SCENARIO.parquet, SCENARIO.svg and README.md, the page of all scenarios.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypedDict

import polars as pl

from agents.named import find_controller
from agents.registry import AGENTS
from agents.run import validated_steps
from benchmarks.children import run_child
from benchmarks.peers import sumo_rl_environment
from benchmarks.quality import RULES, curve_of, judged, trained_run
from benchmarks.speed import tell
from controllers.registry import CONTROLLERS
from envs.sumo.outputs import read_trips, trip_options
from evaluation.contest import Contestant, Evaluation
from plumbing.command import run_command, say
from plumbing.errors import InputError, did_you_mean
from plumbing.interpreter import ROOT
from plumbing.whole import write_whole
from scenarios.loading import load
from scenarios.seeds import EVALUATION_SEEDS
from signals.timing import Timing

FIGURES = ROOT / "benchmarks" / "time_to_quality"
PEERS = ("dqn", "ppo")
MARKS = 10
YELLOW_S = 3
"""[s] of yellow on both sides: `--change-interval fixed`."""
COLUMNS = {"side": pl.String, "training": pl.Int64, "steps": pl.Int64, "seconds": pl.Float64, "seed": pl.Int64,
           "delay_s": pl.Float64}  # fmt: skip
"""A row for each policy and evaluation seed. `side` is a rule, an agent of ours, or `sb3-AGENT`; of a rule the others
are null."""
INTRODUCTION = f"""# Time to quality

Delay is time loss plus departure delay [s], mean over every vehicle that was to depart and over evaluation seeds that
no training has seen; {YELLOW_S} s of yellow on both sides. *Below the best rule* is the training's wall clock at the
first policy that has less delay than the best rule in the same evaluation; "never" within the time given. Every
training is listed; none is left out. `sb3-` is Stable-Baselines3's own agent on sumo-rl with libsumo, with its own
settings and layers of 64.

`python -m benchmarks.time_to_quality SCENARIO` repeats a scenario.
"""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    of = argparse.ArgumentParser(
        prog="python -m benchmarks.time_to_quality", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    of.add_argument("scenario", nargs="*", help="names of scenarios (python -m scenarios lists them)")
    of.add_argument("--agents", nargs="+", default=["ppo", "rollout"], metavar="NAME", help="default: ppo rollout")
    of.add_argument("--peers", nargs="*", default=list(PEERS), metavar="NAME", help=f"default: {' '.join(PEERS)}")
    of.add_argument("--training-seeds", nargs="+", type=int, default=[0], metavar="S", help="default: 0")
    of.add_argument("--budget-s", type=float, default=600.0, metavar="S", help="of a peer's training (default: 600)")
    of.add_argument(
        "--peer-steps", type=int, default=100_000, metavar="N",
        help="over which a peer's exploration is laid out (default: 100000); it ends after them, too",
    )  # fmt: skip
    of.add_argument("--seeds", type=int, default=5, metavar="N", help="evaluation seeds, from 10001 on (default: 5)")
    of.add_argument("--rules", nargs="+", default=list(RULES), metavar="NAME", help=f"default: {' '.join(RULES)}")
    of.add_argument("--steps", type=int, metavar="N", help="of our trainings in place of the recipes'")
    of.add_argument("--workers", type=int, default=2, metavar="W", help="simulations at a time (default: 2)")
    of.add_argument(
        "--work", type=Path, default=ROOT / "runs" / "time_to_quality", metavar="DIR",
        help="default: runs/time_to_quality",
    )  # fmt: skip
    of.add_argument("--out", type=Path, default=FIGURES, metavar="DIR", help="default: benchmarks/time_to_quality")
    of.add_argument("--page", action="store_true", help="only write the page of all figures that are there")
    of.set_defaults(change_interval="fixed")
    return of


def main(arguments: list[str] | None = None) -> int:
    """The command. Returns its exit status."""
    options = parser().parse_args(arguments)
    _check(options)
    options.out.mkdir(parents=True, exist_ok=True)
    for name in options.scenario if not options.page else ():
        rows = [*_ours(options, name), *_peers(options, name)]
        frame = pl.DataFrame(rows, schema=COLUMNS, orient="row")
        write_whole(options.out / f"{name}.parquet", frame.write_parquet)
        _draw(frame, name, options.out / f"{name}.svg")
    text = page(options.out)
    write_whole(options.out / "README.md", lambda partial: partial.write_text(text, encoding="utf-8"))
    say(text)
    return 0


def _check(options: argparse.Namespace) -> None:
    """Raises InputError for what cannot be done."""
    if not options.scenario and not options.page:
        raise InputError("name a scenario, such as cologne1; python -m scenarios lists them")
    for option, known in (("agents", AGENTS), ("peers", PEERS), ("rules", CONTROLLERS)):
        for word in getattr(options, option):
            if word not in known:
                near = did_you_mean(word, known)
                raise InputError(f"--{option}: {word!r} is unknown; known are {', '.join(known)}.{near}")
    if not 1 <= options.seeds <= 100:
        raise InputError(f"--seeds is {options.seeds}; give 1 to 100")
    if not options.budget_s >= 1.0:
        raise InputError(f"--budget-s is {options.budget_s:g}; give a second or more")


class Kept(TypedDict):
    """A peer as it was at a mark."""

    file: str
    seconds: float
    steps: int


Row = tuple[str, int | None, int | None, float | None, int, float]


def _ours(options: argparse.Namespace, name: str) -> Iterator[Row]:
    """The rules, and our agents at each of their validations."""
    contestants: list[Contestant] = []
    at: dict[str, tuple[str, int | None, int | None, float | None]] = {}
    for rule in options.rules:
        found = find_controller(rule)
        contestants.append(Contestant(rule, found.make, identity=found.identity))
        at[rule] = (rule, None, None, None)
    for agent in options.agents:
        for seed in options.training_seeds:
            run = trained_run(options, name, agent, seed)
            seconds = dict(curve_of(run).select("steps", "seconds").iter_rows())
            validated = validated_steps(run)
            for steps in validated:
                label = f"{agent}#{seed}@{steps}"
                found = find_controller(str(run) if steps == validated[-1] else f"{run}@{steps}")
                contestants.append(Contestant(label, found.make, baseline=False, identity=found.identity))
                at[label] = (agent, seed, steps, seconds[steps])
    evaluation = Evaluation(
        load(name), contestants, EVALUATION_SEEDS[: options.seeds], Timing(change_interval="fixed"),
        store=options.work / name / "judged",
    )  # fmt: skip
    table = judged(evaluation, options.workers)
    for label, seed, delay_s in table.select("controller", "seed", "delay_s").iter_rows():
        yield *at[label], seed, delay_s


def _peers(options: argparse.Namespace, name: str) -> Iterator[Row]:
    """Stable-Baselines3's agents on sumo-rl at each mark."""
    for agent in options.peers:
        for seed in options.training_seeds:
            folder: Path = options.work / name / f"sb3-{agent}-{seed}"
            for kept in _peer_trained(options, name, agent, seed, folder):
                delays = _peer_judged(options, name, agent, folder, kept["file"])
                for evaluated, delay_s in zip(EVALUATION_SEEDS, delays, strict=False):
                    yield f"sb3-{agent}", seed, kept["steps"], kept["seconds"], evaluated, delay_s


def _peer_trained(
    options: argparse.Namespace, name: str, agent: str, seed: int, folder: Path
) -> list[Kept]:  # fmt: skip
    """What was kept of a training, which is made anew where it has not been finished."""
    done = folder / "kept.json"
    if not done.is_file():
        tell(f"{name}: Stable-Baselines3's {agent} on sumo-rl, training seed {seed}, {options.budget_s:g} s")
        folder.mkdir(parents=True, exist_ok=True)
        request = {
            "scenario": name, "agent": agent, "seed": seed, "steps": options.peer_steps, "yellow_s": YELLOW_S,
            "folder": str(folder), "marks_s": [options.budget_s * (n + 1) / MARKS for n in range(MARKS)],
        }  # fmt: skip
        answer = run_child("peer_agent", request, settings=sumo_rl_environment(libsumo=True))
        write_whole(done, lambda path: path.write_text(json.dumps(answer["kept"])))
    kept: list[Kept] = json.loads(done.read_text())
    return kept


def _peer_judged(options: argparse.Namespace, name: str, agent: str, folder: Path, model: str) -> list[float]:
    """The delay of one policy with each evaluation seed [s]."""
    scenario, seeds = load(name), EVALUATION_SEEDS[: options.seeds]
    done = folder / f"{Path(model).stem}-judged.json"
    delays: list[float] = json.loads(done.read_text()) if done.is_file() else []
    if len(delays) >= options.seeds:
        return delays[: options.seeds]
    tell(f"{name}: judging {model}")
    trips = [folder / f"trips-{seed}.xml" for seed in seeds]
    request = {
        "scenario": name, "agent": agent, "model": model, "yellow_s": YELLOW_S,
        "episodes": [(seed, " ".join(trip_options(path))) for seed, path in zip(seeds, trips, strict=True)],
    }  # fmt: skip
    run_child("peer_agent", request, settings=sumo_rl_environment(libsumo=True))
    delays = []
    for path in trips:
        column = read_trips(path, scenario.end_s).vehicles["delay_s"]
        delays.append(math.fsum(column) / len(column))
        path.unlink()
    write_whole(done, lambda path: path.write_text(json.dumps(delays)))
    return delays


def page(folder: Path) -> str:
    """The whole page, of a folder of Parquet files."""
    lines = [INTRODUCTION]
    for path in sorted(folder.glob("*.parquet")):
        frame = pl.read_parquet(path)
        rules, curves = by_rule(frame), by_policy(frame)
        best = rules.row(0, named=True)
        lines += [
            f"## {path.stem}\n",
            f"{frame['seed'].n_unique()} evaluation seeds; best rule: {best['side']}, {best['delay_s']:.1f} s.\n",
            f"![Delay over the training's wall clock]({path.stem}.svg)\n",
            "| | training seed | below the best rule | last policy [s] | after | steps |",
            "|---|---|---|---|---|---|",
        ]
        for (side, training), curve in curves.group_by("side", "training", maintain_order=True):
            below = curve.filter(pl.col("delay_s") < best["delay_s"])
            when = f"{below['seconds'][0]:.0f} s" if below.height else "never"
            _, _, steps, seconds, delay_s = curve.row(-1)
            lines.append(f"| {side} | {training} | {when} | {delay_s:.1f} | {seconds:.0f} s | {steps:,} |")
        lines.append("")
    return "\n".join(lines)


def by_rule(frame: pl.DataFrame) -> pl.DataFrame:
    """Each rule's mean delay, the least first."""
    return frame.filter(pl.col("training").is_null()).group_by("side").agg(pl.col("delay_s").mean()).sort("delay_s")


def by_policy(frame: pl.DataFrame) -> pl.DataFrame:
    """Each policy's mean delay, side by side and training by training, in the order of time."""
    of = frame.filter(pl.col("training").is_not_null())
    keys = ["side", "training", "steps", "seconds"]
    return of.group_by(keys).agg(pl.col("delay_s").mean()).sort("side", "training", "seconds", "steps")


def _draw(frame: pl.DataFrame, name: str, path: Path) -> None:
    """Delay over the wall clock, as SVG."""
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.ticker import StrMethodFormatter

    matplotlib.rcParams["svg.hashsalt"] = "intergreen"  # the same figures give the same file
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    best = by_rule(frame).row(0, named=True)
    axes.axhline(best["delay_s"], color="gray", linewidth=0.8, label=f"{best['side']}, the best rule")
    for (side, training), curve in by_policy(frame).group_by("side", "training", maintain_order=True):
        style = "--" if str(side).startswith("sb3-") else "-"
        seconds: Sequence[float] = curve["seconds"].clip(1.0).to_list()
        axes.plot(seconds, curve["delay_s"].to_list(), style, marker="o", markersize=3, label=f"{side} {training}")
    axes.set(xlabel="training, wall clock [s]", ylabel="delay [s]", title=name, xscale="log", yscale="log")
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.yaxis.set_minor_formatter(StrMethodFormatter("{x:g}"))
    axes.grid(alpha=0.3, which="both")
    axes.legend(fontsize=8)
    write_whole(path, lambda partial: figure.savefig(partial, format="svg", metadata={"Date": None}))


if __name__ == "__main__":
    run_command(main)

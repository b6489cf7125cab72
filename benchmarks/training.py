"""Agent steps a second of DQN and PPO training, end to end, beside Stable-Baselines3's own agents on sumo-rl.

Both sides train for the same number of agent steps (one decision of one signal) with two layers of 64 units, the same
batch sizes, settings and rollouts, on one thread for the network; sumo-rl runs on libsumo. Our DQN leaves a training
out where no signal has had a choice since the last one: `updates` shows how many each side made. Counted is `learn`,
from its reset on (after one that is not counted, as it starts the workers): simulation, observations, actions,
storing and gradients. Every training runs in a process of its own, by turns.

By default each side has its own change intervals (sumo-rl 2 s of yellow, ours calculated ones), so that SUMO has
different traffic to move. `--change-interval fixed` gives both 3 s of yellow.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.children import run_child
from benchmarks.course import run_inside
from benchmarks.speed import tell
from benchmarks.tables import Sample, against, spread
from envs.sumo.setup import SimulationOptions, make_setup
from envs.workers.server import WorkerSetup
from plumbing.command import run_command
from plumbing.errors import InputError, did_you_mean
from plumbing.whole import write_whole
from scenarios.loading import load
from scenarios.scenario import Scenario
from signals.timing import Timing

SCENARIOS = ("cologne3", "grid4x4")
AGENTS = ("dqn", "ppo")
GOALS = {"dqn": 1.2, "ppo": 3.0}
"""Times the agent steps a second of Stable-Baselines3 on sumo-rl."""
SEED = 0


@dataclass(frozen=True)
class Side:
    """One of those compared."""

    peer: bool
    workers: int = 1
    info: bool = True
    """Of sumo-rl: its two info options, which are on by default."""


SIDES = {
    "ours-1": Side(peer=False),
    "ours-2": Side(peer=False, workers=2),
    "sb3-sumo-rl": Side(peer=True),
    "sb3-sumo-rl-no-info": Side(peer=True, info=False),
}
PEER = "sb3-sumo-rl"

EXAMPLES = """examples:
  python benchmarks/training.py --quick
  python benchmarks/training.py --profile --out figures
  python benchmarks/training.py --scenarios cologne3 --agents dqn --sides ours-1 sb3-sumo-rl --repeats 5
"""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("--scenarios", nargs="+", default=list(SCENARIOS), help=f"default: {' '.join(SCENARIOS)}")
    p.add_argument("--agents", nargs="+", default=list(AGENTS), help=f"default: {' '.join(AGENTS)}")
    p.add_argument("--sides", nargs="+", default=list(SIDES), help=f"default: {' '.join(SIDES)}")
    p.add_argument("--steps", type=int, default=5760, metavar="N", help="agent steps of a training (default: 5760)")
    p.add_argument("--repeats", type=int, default=3, metavar="N", help="of each training (default: 3)")
    p.add_argument(
        "--change-interval", default="calculated", choices=("calculated", "fixed"),
        help="calculated (the default), or fixed: 3 s of yellow on both sides",
    )  # fmt: skip
    p.add_argument(
        "--peer-settings", default="same", choices=("same", "sb3"),
        help="same as ours (the default), or sb3, its own defaults: DQN then trains once in four decisions on 32 "
        "samples instead of once in three on 128, PPO makes 0.16 updates a step instead of 0.03",
    )  # fmt: skip
    p.add_argument("--profile", action="store_true", help="also print where the time went")
    p.add_argument("--quick", action="store_true", help="only cologne3, 1440 steps, once")
    p.add_argument("--json", action="store_true", help="print JSON on stdout, and nothing else there")
    p.add_argument("--out", type=Path, metavar="DIR", help="write training.md and training.json there")
    return p


def main(arguments: list[str] | None = None) -> int:
    """Measure and print; returns the exit status."""
    command = parser().parse_args(arguments)
    if command.quick:
        command.scenarios, command.steps, command.repeats = ["cologne3"], 1440, 1
    check(command)
    rows = []
    for name in command.scenarios:
        scenario = load(name)
        for agent in command.agents:
            rows += measure(scenario, agent, command)
    parts = [table(rows)] + ([profile_table(rows)] if command.profile else [])
    text = "\n\n".join(parts)
    print(json.dumps({"rows": rows}, indent=2) if command.json else text)
    if command.out is not None:
        said = "python benchmarks/training.py " + " ".join(arguments if arguments is not None else sys.argv[1:])
        write_whole(command.out / "training.md", lambda path: path.write_text(f"# Training\n\n`{said}`\n\n{text}\n"))
        content = json.dumps({"rows": rows}, indent=2)
        write_whole(command.out / "training.json", lambda path: path.write_text(content))
    return 0


def check(command: argparse.Namespace) -> None:
    """Refuse what cannot be measured.

    Raises:
        InputError: a number or a name is wrong.
    """
    for option, least in (("steps", 8), ("repeats", 1)):
        if getattr(command, option) < least:
            raise InputError(f"--{option} is {getattr(command, option)}; it must be at least {least}")
    for option, known in (("agents", AGENTS), ("sides", SIDES)):
        for name in getattr(command, option):
            if name not in known:
                raise InputError(
                    f"--{option}: unknown {name!r}; known are {', '.join(known)}.{did_you_mean(name, known)}"
                )


def measure(scenario: Scenario, agent: str, command: argparse.Namespace) -> list[dict[str, Any]]:
    """The rows of one scenario and agent."""
    setup = WorkerSetup(
        make_setup(scenario, SimulationOptions(timing=Timing(change_interval=command.change_interval)))
    )
    answers: dict[str, list[dict[str, Any]]] = {name: [] for name in command.sides}
    for turn in range(command.repeats):
        for name in command.sides if turn % 2 == 0 else command.sides[::-1]:
            tell(f"{scenario.name}, {agent}, turn {turn + 1} of {command.repeats}: {name}")
            answers[name].append(train(SIDES[name], scenario.name, agent, command))
    inside = None
    if command.profile:
        decisions = min(360, round(scenario.horizon_s / setup.simulation.timing.decision_interval_s))
        inside = run_inside(setup, decisions)
    return rows_of(scenario.name, len(setup.simulation.layout.tls_ids), agent, answers, inside)


def train(side: Side, scenario: str, agent: str, command: argparse.Namespace) -> dict[str, Any]:
    """One training in a process of its own."""
    request = {
        "peer": side.peer, "workers": side.workers, "info": side.info,
        "scenario": scenario, "agent": agent, "steps": command.steps, "seed": SEED,
        "fixed": command.change_interval == "fixed", "settings": command.peer_settings,
    }  # fmt: skip
    settings = {}
    if side.peer:
        import sumo

        settings = {"SUMO_HOME": str(sumo.SUMO_HOME), "LIBSUMO_AS_TRACI": "1"}
    return run_child("learning", request, settings=settings)


def rows_of(
    scenario: str,
    signals: int,
    agent: str,
    answers: Mapping[str, Sequence[Mapping[str, Any]]],
    inside: Mapping[str, float] | None = None,
) -> list[dict[str, Any]]:
    """A row for each side; ratios are taken turn by turn."""
    per_step = {
        name: [Sample(turn, each["seconds"] / each["steps"]) for turn, each in enumerate(runs)]
        for name, runs in answers.items()
    }
    rows = []
    for name, samples in per_step.items():
        rates = [1.0 / sample.seconds for sample in samples]
        row: dict[str, Any] = {
            "system": name,
            "scenario": scenario,
            "signals": signals,
            "agent": agent,
            "steps": answers[name][0]["steps"],
            "updates": answers[name][0]["updates"],
            "repeats": len(samples),
            **spread("steps_per_s", rates),
            **spread("ratio_to_sumo_rl", against(per_step.get(PEER, ()), samples)),
            **spread("ratio_to_sumo_rl_no_info", against(per_step.get(f"{PEER}-no-info", ()), samples)),
            "shares": (parts := shares(answers[name], None if SIDES[name].peer else inside)),
            "us_a_step": {part: round(1e6 * share / statistics.median(rates), 1) for part, share in parts.items()},
        }
        rows.append(row)
    return rows


def shares(runs: Sequence[Mapping[str, Any]], inside: Mapping[str, float] | None) -> dict[str, float]:
    """Of the time of a training. Within our environment, SUMO's part is that of a run of the worker alone.

    With two workers the environment's share is what the agent waits for them.
    """
    total = sum(run["seconds"] for run in runs)
    spent = {
        part: sum(run["spent"].get(part, 0.0) for run in runs) / total for part in ("environment", "gradient", "sumo")
    }
    sumo = spent.pop("sumo")
    if inside is not None:
        sumo = spent["environment"] * inside["sumo"] / inside["total"]
    found = {"gradient": spent["gradient"], "rollout": 1.0 - spent["environment"] - spent["gradient"]}
    found |= {"sumo": sumo, "env": spent["environment"] - sumo} if sumo else {"env and sumo": spent["environment"]}
    return {part: round(share, 3) for part, share in found.items()}


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """A Markdown table."""
    head = ("scenario", "agent", "system", "updates", "agent steps/s", "× SB3 on sumo-rl", "× the same, info off")
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for row in rows:
        cells = [
            row["scenario"],
            row["agent"],
            row["system"],
            str(row["updates"]),
            _spread(row, "steps_per_s", ",.0f"),
        ]
        cells += [_spread(row, name, ".2f") for name in ("ratio_to_sumo_rl", "ratio_to_sumo_rl_no_info")]
        lines.append(f"| {' | '.join(cells)} |")
    goals = ", ".join(f"{agent} {goal:g} ×" for agent, goal in GOALS.items())
    return "\n".join([*lines, "", f"Goals on {' and '.join(SCENARIOS)}: {goals}."])


def profile_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Where the time went: share of the whole, and µs an agent step."""
    names = list(dict.fromkeys(part for row in rows for part in row["shares"]))
    lines = [f"| scenario | agent | system | {' | '.join(names)} |", "|---" * (3 + len(names)) + "|"]
    for row in rows:
        cells = [
            f"{row['shares'][part]:.0%}, {row['us_a_step'][part]:,.0f}" if part in row["shares"] else ""
            for part in names
        ]
        lines.append(f"| {row['scenario']} | {row['agent']} | {row['system']} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _spread(row: Mapping[str, Any], name: str, form: str) -> str:
    if name not in row:
        return ""
    middle, low, high = (format(row[key], form) for key in (name, f"{name}_low", f"{name}_high"))
    return f"{middle} [{low}–{high}]"


if __name__ == "__main__":
    run_command(main)

"""The page of `benchmarks.quality`: all figures that its folder holds, a table for all scenarios and one for each."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import polars as pl

from agents.registry import AGENTS
from evaluation.statistics import Interval, holm, mean_interval, paired_test

INTRODUCTION = """# What learned policies are worth

Delay is time loss plus departure delay [s], mean over every vehicle that was to depart, gridlocked runs included; [ ]
is a 95 % bootstrap interval over evaluation seeds, which no training and no choice has seen. A policy is trained by
its recipe ([agents/recipes](../../agents/recipes)), for as many steps as its row says, once for each training seed;
an agent's figure is the mean over its trainings, none is left out. dqn and ppo are judged by their last weights,
rollout by the best of its rounds on validation seeds. The best rule is the one with the least delay in the same
evaluation.

`python -m benchmarks.quality SCENARIO` repeats a scenario's figures and adds training seeds to them.
"""
KINDS = {"": "", "-fixed": "3 s of yellow, no red clearance", "-held-out": "held-out demand"}


@dataclass(frozen=True)
class Row:
    """A rule, or all trainings of an agent."""

    name: str
    trainings: tuple[float, ...]
    """Mean delay of each training [s]; of a rule none."""
    delays_s: tuple[float, ...]
    """By evaluation seed, the mean over trainings."""
    gridlocked: int
    runs: int
    places: str
    """Where it gridlocked."""
    stops: float
    waiting_s: float
    resco_delay_s: float
    steps: tuple[int, ...]
    """That its trainings were asked for; several numbers where the recipe has changed in between."""
    took_s: float

    @property
    def learned(self) -> bool:
        """Whether it is an agent."""
        return bool(self.trainings)

    @property
    def delay(self) -> Interval:
        """Over evaluation seeds [s]."""
        return mean_interval(self.delays_s)


def page(folder: Path) -> str:
    """The whole page, of a folder of Parquet files."""
    named = {path.stem: rows_of(pl.read_parquet(path)) for path in sorted(folder.glob("*.parquet"))}
    lines = [INTRODUCTION, *_overview(named)]
    for name, rows in named.items():
        lines += ["", f"## {_title(name)}", "", *_table(rows)]
    return "\n".join(lines) + "\n"


def rows_of(frame: pl.DataFrame) -> list[Row]:
    """One row for each rule and each agent, the least delay first."""
    groups: dict[str, list[str]] = {}
    for controller in frame["controller"].unique(maintain_order=True):
        agent, _, seed = controller.partition("#")
        groups.setdefault(agent if seed and agent in AGENTS else controller, []).append(controller)
    return sorted((_row(name, frame, of) for name, of in groups.items()), key=lambda row: row.delay.mean)


def _row(name: str, frame: pl.DataFrame, controllers: Sequence[str]) -> Row:
    own = frame.filter(pl.col("controller").is_in(controllers))
    by_seed = own.group_by("seed").agg(pl.col("delay_s").mean()).sort("seed")
    stuck = own.filter("gridlocked")
    places = stuck.group_by("gridlock_at").len().sort("len", descending=True)
    learned = [_mean(own.filter(pl.col("controller") == of), "delay_s") for of in sorted(controllers) if "#" in of]
    return Row(
        name, tuple(learned), tuple(by_seed["delay_s"]), len(stuck), len(own),
        ", ".join(f"{number} at {at}" for at, number in places.iter_rows()),
        _mean(own, "stops"), _mean(own, "waiting_time_s"), _mean(own, "resco_delay_s"),
        tuple(own["steps"].drop_nulls().unique().sort()) if "steps" in own.columns else (), _mean(own, "training_s"),
    )  # fmt: skip


def _mean(frame: pl.DataFrame, column: str) -> float:
    values = frame[column].drop_nulls().to_list() if column in frame.columns else []
    return fmean(values) if values else float("nan")


def best_rule(rows: Sequence[Row]) -> Row:
    """The rule with the least delay."""
    return min((row for row in rows if not row.learned), key=lambda row: row.delay.mean)


def _overview(named: dict[str, list[Row]]) -> list[str]:
    agents = [agent for agent in AGENTS if any(row.name == agent for rows in named.values() for row in rows)]
    lines = [
        "| scenario | best rule | delay [s] |"
        + "".join(f" {agent} [s] | against it | trainings |" for agent in agents),
        "|---|---|---|" + "---|---|---|" * len(agents),
    ]
    for name, rows in named.items():
        best, by_name = best_rule(rows), {row.name: row for row in rows}
        cells = [_title(name), best.name, _shown(best)]
        for agent in agents:
            row = by_name.get(agent)
            if row is None:
                cells += ["–", "", ""]
            else:
                each = ", ".join(f"{delay:.1f}" for delay in row.trainings)
                cells += [_shown(row), _against(row, best), each]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _table(rows: Sequence[Row]) -> list[str]:
    best = best_rule(rows)
    p_values = holm([float("nan") if row is best else paired_test(row.delays_s, best.delays_s) for row in rows])
    lines = [
        f"{len(rows[0].delays_s)} evaluation seeds.", "",
        (
            "| | delay [s] | against the best rule | p (Holm) | waiting [s] | stops | RESCO's delay [s] | gridlocked "
            "| trainings: delay [s]; steps; time [s] |"
        ),
        "|---|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for row, p in zip(rows, p_values, strict=True):
        stuck = f"{row.gridlocked} of {row.runs}" + (f" ({row.places})" if row.places else "")
        parts = (
            ", ".join(f"{delay:.1f}" for delay in row.trainings), ", ".join(f"{steps:,}" for steps in row.steps),
            f"{row.took_s:.0f}" if row.took_s > 0 else "",
        )  # fmt: skip
        name = f"**{row.name}**" if row.learned else row.name
        compared = "|" if row is best else f"{_against(row, best)} | {p:.3f}"
        lines.append(
            f"| {name} | {_shown(row)} | {compared} "
            f"| {row.waiting_s:.1f} | {row.stops:.2f} | {row.resco_delay_s:.1f} | {stuck} "
            f"| {'; '.join(part for part in parts if part)} |"
        )
    return lines


def _shown(row: Row) -> str:
    of = row.delay
    stuck = f", {row.gridlocked} of {row.runs} gridlocked" if row.gridlocked else ""
    return f"{of.mean:.1f} [{of.low:.1f}, {of.high:.1f}]{stuck}"


def _against(row: Row, best: Row) -> str:
    return f"{row.delay.mean / best.delay.mean - 1:+.1%}".replace("%", " %").replace("-", "−")


def _title(name: str) -> str:
    scenario, kind = re.fullmatch(r"(.*?)((?:-fixed|-held-out|-scaled-[\d.]+)*)", name).groups()  # type: ignore[union-attr]
    kinds = [KINDS.get(part, part.strip("-")) for part in re.findall(r"-fixed|-held-out|-scaled-[\d.]+", kind)]
    return scenario + (f" ({', '.join(kinds)})" if kinds else "")

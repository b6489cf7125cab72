"""From samples to rows, Markdown, verdicts and the growth plot."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.course import Course
from benchmarks.systems import System, Window
from evaluation.statistics import relative_difference
from plumbing.whole import write_whole

GOALS = {
    **dict.fromkeys(("cologne1", "cologne8", "grid4x4", "ingolstadt21"), 1.05),
    **dict.fromkeys(("grid:10x10", "grid:20x20"), 1.10),
}
"""Of one environment with compiled code, as a multiple of bare libsumo."""
COMPILED = ("ours", "ours-gymnasium")
FLAT = 0.2
"""Share of the mean within which a cost counts as flat."""
WIDE = 10.0
"""Multiples from which on a logarithmic scale shows more."""
LEAST_SIGNALS = 25  # below, what is fixed per decision weighs most


class Sample(NamedTuple):
    """One timing."""

    turn: int
    seconds: float


def rows_of(
    course: Course,
    systems: Sequence[System],
    samples: Mapping[str, Sequence[Sample]],
    own: Sequence[Mapping[str, float]],
    windows: Mapping[str, Sequence[Window]],
) -> list[dict[str, Any]]:
    """A row for each system. Ratios are taken turn by turn, and of interleaved windows where there are some, against
    what runs the same traffic alone."""
    rows = []
    for system in systems:
        ratios = against(samples[system.name], samples[system.against])
        seconds = statistics.median(sample.seconds for sample in samples[system.name])
        row = {
            "system": system.name,
            "scenario": course.scenario.name,
            "signals": len(course.tls_ids),
            "controlled_lanes": course.controlled_lanes,
            "decisions": course.decisions,
            "ratio_to_bare": round(statistics.median(ratios), 3),
            "low": round(min(ratios), 3),
            "high": round(max(ratios), 3),
            "repeats": len(ratios),
            "seconds": round(seconds, 3),
            "agent_decisions_per_s": round(course.agent_decisions / seconds, 1),
            "same_traffic": system.same_traffic(),
        }
        if system.name.startswith("ours"):
            row |= {"workers": system.workers, **course.memory}
            if system.workers == 1:
                row |= cost(samples[system.name], samples.get("bare-prepared", ()), course.agent_decisions)
            row |= spread("ratio_to_binary", against(samples[system.name], samples.get("sumo", ())))
            row |= spread("ratio_to_binary_started", against(samples[system.name], _started(samples)))
            row |= interleaved(windows[system.name]) if windows.get(system.name) else {}
        if system.workers == 2:
            one = samples.get(system.against if system.name == "bare-2" else f"{system.name[:-1]}1", ())
            row |= spread("times_one_worker", against(one, samples[system.name]))
        rows.append(row)
    rows.append(_inside(course, own))
    return rows


def against(samples: Iterable[Sample], others: Iterable[Sample]) -> list[float]:
    """The ratios of the turns that both have."""
    other = {sample.turn: sample.seconds for sample in others}
    return [sample.seconds / other[sample.turn] for sample in samples if sample.turn in other]


def interleaved(windows: Sequence[Window]) -> dict[str, Any]:
    """The ratios of interleaved windows: of the sums over all windows, with 95 % bootstrap intervals over windows."""
    found: dict[str, Any] = {"repeats": len(windows), "interleaved": True}
    seconds = [each.seconds for each in windows]
    for name, others in (("ratio_to_bare", "bare_s"), ("ratio_to_binary", "binary_s")):
        ratio = relative_difference(seconds, [getattr(each, others) for each in windows])
        low, high = ("low", "high") if others == "bare_s" else (f"{name}_low", f"{name}_high")
        found |= {name: round(1 + ratio.mean, 3), low: round(1 + ratio.low, 3), high: round(1 + ratio.high, 3)}
    return found


def _started(samples: Mapping[str, Sequence[Sample]]) -> list[Sample]:
    """The stock binary without its start, which is not counted of an environment either."""
    start = {sample.turn: sample.seconds for sample in samples.get("sumo-start", ())}
    return [Sample(s.turn, s.seconds - start[s.turn]) for s in samples.get("sumo", ()) if s.turn in start]


def spread(name: str, ratios: Sequence[float]) -> dict[str, float]:
    """A ratio's median and its extremes; nothing where there are none."""
    if not ratios:
        return {}
    middle, low, high = statistics.median(ratios), min(ratios), max(ratios)
    return {name: round(middle, 3), f"{name}_low": round(low, 3), f"{name}_high": round(high, 3)}


def cost(samples: Iterable[Sample], bare: Iterable[Sample], agent_decisions: int) -> dict[str, float]:
    """What is left per decision and signal when bare libsumo, prepared in the same way, is subtracted [µs]."""
    other = {sample.turn: sample.seconds for sample in bare}
    left = [1e6 * (s.seconds - other[s.turn]) / agent_decisions for s in samples if s.turn in other]
    if not left:
        return {}
    return {
        "us_per_decision_and_signal": round(statistics.median(left), 2),
        "us_low": round(min(left), 2),
        "us_high": round(max(left), 2),
    }


def _inside(course: Course, own: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    """The worker's own work, timed beside SUMO's steps in the same run: no difference of two noisy numbers."""
    left = [1e6 * (run["total"] - run["sumo"]) / course.agent_decisions for run in own]
    ratios = [run["total"] / run["sumo"] for run in own]
    return {
        "system": "ours-inside",
        "scenario": course.scenario.name,
        "signals": len(course.tls_ids),
        "controlled_lanes": course.controlled_lanes,
        "decisions": course.decisions,
        "ratio_to_bare": round(statistics.median(ratios), 3),
        "low": round(min(ratios), 3),
        "high": round(max(ratios), 3),
        "repeats": len(ratios),
        "seconds": round(statistics.median(run["total"] for run in own), 3),
        "us_per_decision_and_signal": round(statistics.median(left), 2),
        "us_low": round(min(left), 2),
        "us_high": round(max(left), 2),
        "same_traffic": True,
    }


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """The table."""
    head = (
        "scenario", "signals / lanes", "system", "× bare libsumo", "spread", "goal", "seconds",
        "µs a decision and signal", "decisions/s", "MB template + episode",
    )  # fmt: skip
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for row in rows:
        note = "" if row["same_traffic"] else " (other traffic)"
        goal = f"{GOALS[row['scenario']]:.2f}" if row["system"] in COMPILED and row["scenario"] in GOALS else ""
        micro = (
            f"{row['us_per_decision_and_signal']:.1f} [{row['us_low']:.1f}–{row['us_high']:.1f}]"
            if "us_low" in row
            else ""
        )
        rate = f"{row['agent_decisions_per_s']:,.0f}" if "agent_decisions_per_s" in row else ""
        memory = f"{row['template_pss_mb']:.0f} + {row['episode_pss_mb']:.0f}" if "template_pss_mb" in row else ""
        lines.append(
            f"| {row['scenario']} | {row['signals']} / {row['controlled_lanes']} | {row['system']}{note} "
            f"| {row['ratio_to_bare']:.2f} | {spread_of(row)} | {goal} | {row['seconds']:.2f} "
            f"| {micro} | {rate} | {memory} |"
        )
    return "\n".join(lines)


def spread_of(row: Mapping[str, Any]) -> str:
    """The 95 % interval of what was interleaved; else the least and the greatest."""
    return f"{row['low']:.2f}–{row['high']:.2f}{' (95 %)' if row.get('interleaved') else ''}"


def summary(rows: Sequence[Mapping[str, Any]]) -> str:
    """Per scenario: ours against the binary and against sumo-rl, and two workers against one."""
    lines = []
    for scenario in dict.fromkeys(row["scenario"] for row in rows):
        of = {row["system"]: row for row in rows if row["scenario"] == scenario}
        ours = of.get("ours")
        said = []
        if _has(ours, "ratio_to_binary"):
            said.append(f"ours {_ratio(ours, 'ratio_to_binary')} × the stock binary")
        if _has(ours, "ratio_to_binary_started"):
            said.append(f"{_ratio(ours, 'ratio_to_binary_started')} × the binary without its start")
        for name, row in of.items():
            for own in ("ours", "ours-plain"):
                if name.startswith("sumo-rl") and own in of:
                    said.append(f"{name} {row['ratio_to_bare'] / of[own]['ratio_to_bare']:.2f} × {own}")
            if _has(row, "times_one_worker"):
                said.append(f"{name} {_ratio(row, 'times_one_worker')} × one worker")
        if said:
            lines.append(f"- {scenario}: {'; '.join(said)}.")
    return "\n".join(lines)


def _has(row: Mapping[str, Any] | None, name: str) -> bool:
    return row is not None and name in row


def _ratio(row: Mapping[str, Any] | None, name: str) -> str:
    assert row is not None
    return f"{row[name]:.2f} [{row[f'{name}_low']:.2f}–{row[f'{name}_high']:.2f}]"


def flatness(rows: Sequence[Mapping[str, Any]]) -> str:
    """Whether the worker's own cost per decision and signal stays the same as generated grids grow."""
    of = {
        row["signals"]: row["us_per_decision_and_signal"]
        for row in rows
        if row["system"] == "ours-inside" and row["scenario"].startswith("grid:") and row["signals"] >= LEAST_SIGNALS
    }
    if len(of) < 2:
        return ""
    mean = statistics.mean(of.values())
    off = max(abs(value - mean) / mean for value in of.values())
    shown = ", ".join(f"{signals}: {value:.1f}" for signals, value in sorted(of.items()))
    verdict = "flat" if off <= FLAT else "not flat"
    return (
        f"Cost per decision and signal beside SUMO's steps, by number of signals [µs]: {shown}; "
        f"within ± {off:.0%} of the mean: {verdict} (limit ± {FLAT:.0%})."
    )


def growth_plot(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Multiples of bare libsumo, and the worker's own cost per decision and signal, by number of signals; as SVG."""
    import matplotlib
    from matplotlib.figure import Figure

    grids = [row for row in rows if row["scenario"].startswith("grid:")]
    if len({row["signals"] for row in grids}) > 1:  # alike at every size; other maps would add their own differences
        rows = grids
    matplotlib.rcParams["svg.hashsalt"] = "intergreen"  # the same figures give the same file
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name in dict.fromkeys(row["system"] for row in rows):
        points = sorted(
            (row["signals"], row["ratio_to_bare"], row["low"], row["high"]) for row in rows if row["system"] == name
        )
        if name.startswith("bare") or name in ("ours-inside", "sumo-start"):
            continue
        x, y, low, high = (list(column) for column in zip(*points, strict=True))
        left.plot(x, y, marker="o", label=name)
        left.fill_between(x, low, high, alpha=0.15)
    points = sorted(
        (row["signals"], row["us_per_decision_and_signal"], row["us_low"], row["us_high"])
        for row in rows
        if row["system"] == "ours-inside"
    )
    if points:
        x, y, low, high = (list(column) for column in zip(*points, strict=True))
        right.plot(x, y, marker="o", label="the worker's own, beside SUMO's steps")
        right.fill_between(x, low, high, alpha=0.15)
    left.set(xlabel="signals", ylabel="time, × bare libsumo", xscale="log")
    left.set(**{"yscale": "log"} if left.get_ylim()[1] > WIDE else {"ylim": (0, None)})
    right.set(xlabel="signals", ylabel="µs a decision and signal", xscale="log", ylim=(0, None))
    left.axhline(1.0, color="gray", linewidth=0.8)
    sizes = sorted({row["signals"] for row in rows})
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.set_xticks(sizes, [str(size) for size in sizes])
        axes.minorticks_off()
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize=8)
    write_whole(path, lambda partial: figure.savefig(partial, format="svg", metadata={"Date": None}))

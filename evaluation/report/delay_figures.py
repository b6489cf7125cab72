"""Figures over all runs: mean delay, its distribution, learning curves, stress curves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from evaluation.contest import label_of
from evaluation.metrics import METRICS
from evaluation.report.content import ReportContent
from evaluation.report.style import BLUE, INK, colour_of, label_right, new_figure

BEYOND = 2.5
"""How many times what the two compared reach a picture shows; what is beyond is said in words."""
MOST_BYTES = 2**24
"""Largest file that is read as a learning curve."""
SHARES = (5, 25, 50, 75, 95)
DELAY_AXIS = f"{METRICS['delay_s'].title} per vehicle [{METRICS['delay_s'].unit}]"


def delay_figure(content: ReportContent) -> Figure:
    """Mean delay of each controller: its interval, and every run as a dot."""
    entries = content.ranked[::-1]
    figure, (axes,) = new_figure(0.75 + 0.36 * len(entries))
    means = [entry.metrics["delay_s"].mean for entry in entries]
    for y, entry in enumerate(entries):
        of, colour = entry.metrics["delay_s"], colour_of(content, entry.controller)
        for run in content.runs(entry.controller):
            jam = run.metrics.gridlocked
            axes.plot(
                run.metrics.delay_s, y, "x" if jam else "o", color=INK if jam else colour, alpha=1.0 if jam else 0.35,
                markersize=5, markeredgewidth=1.5 if jam else 0, zorder=5 if jam else 2,
            )  # fmt: skip
        axes.plot([of.low, of.high], [y, y], color=colour, linewidth=3)
        axes.plot(of.mean, y, "|", color=colour, markersize=13, markeredgewidth=2.5)
    _names(axes, content, [entry.controller for entry in entries])
    delays = [run.metrics.delay_s for run in content.results]
    if max(delays) > 6 * min(means):
        _logarithmic(axes, min(delays) * 0.9, max(delays) * 1.1, "x")
    else:
        axes.set_xlim(0, max(1.0, max(delays) * 1.06))
    axes.set_xlabel(DELAY_AXIS)
    return figure


def distribution_figure(content: ReportContent) -> Figure:
    """How delay spreads over vehicles: 5 to 95 %, 25 to 75 %, the median, the mean."""
    entries = content.ranked[::-1]
    figure, (axes,) = new_figure(0.95 + 0.36 * len(entries))
    spread = {}
    for entry in entries:
        delays = np.concatenate([run.vehicles["delay_s"].to_numpy() for run in content.runs(entry.controller)])
        spread[entry.controller] = (*np.percentile(delays, SHARES).tolist(), float(delays.mean()))
    limit = BEYOND * max(spread[name][4] for name in content.shown)
    for y, entry in enumerate(entries):
        low, left, middle, right, high, mean = spread[entry.controller]
        colour = colour_of(content, entry.controller)
        if high > limit:  # one bad controller must not press the others together
            axes.annotate(
                f"to {high:,.0f} s ", (limit, y + 0.16), ha="right", va="bottom", fontsize=9.5, color=colour
            )
        axes.plot([low, high], [y, y], color=colour, linewidth=1.5)
        axes.plot([left, right], [y, y], color=colour, linewidth=8, alpha=0.45, solid_capstyle="butt")
        axes.plot(middle, y, "|", color=colour, markersize=13, markeredgewidth=2.5)
        axes.plot(mean, y, "o", color="white", markeredgecolor=colour, markersize=6, markeredgewidth=1.5)
    _names(axes, content, [entry.controller for entry in entries])
    axes.set_xlim(0, max(1.0, min(limit, 1.06 * max(values[4] for values in spread.values()))))
    axes.set_xlabel(
        "delay of a vehicle [s]\nline: 5 to 95 % of vehicles   bar: 25 to 75 %   tick: median   circle: mean"
    )
    return figure


def _names(axes: Axes, content: ReportContent, names: list[str]) -> None:
    axes.set_yticks(range(len(names)), [content.labels[name] for name in names])
    for text, name in zip(axes.get_yticklabels(), names, strict=True):
        text.set_color(colour_of(content, name) if name in content.shown else INK)
        text.set_fontweight("bold" if name == content.subject else "normal")
    axes.set_ylim(-0.6, len(names) - 0.4)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)


def _logarithmic(axes: Axes, low: float, high: float, axis: str) -> None:
    """A logarithmic axis with plain numbers."""
    ticks = [m * 10.0**e for e in range(-1, 6) for m in (1, 1.5, 2, 3, 5, 7) if low <= m * 10.0**e <= high]
    set_scale, set_limits = (axes.set_xscale, axes.set_xlim) if axis == "x" else (axes.set_yscale, axes.set_ylim)
    set_scale("log")
    set_limits(low, high)
    set_ticks = axes.set_xticks if axis == "x" else axes.set_yticks
    set_ticks(ticks, [f"{tick:g}" for tick in ticks])
    set_ticks([], minor=True)


def learning_curves(content: ReportContent) -> dict[str, pl.DataFrame]:
    """Per agent that has one, the steps and validation delays of its training."""
    found = {}
    for name, path in content.agents.items():
        for part in str(path).split("+"):
            frame = _curve(Path(part) / "validation.csv")
            if frame.height:
                label = content.labels[name] if part == str(path) else label_of(Path(part).name)
                found[label] = frame
    return found


def _curve(path: Path) -> pl.DataFrame:
    """Steps and delays; none where the file is not there, or not what train.py writes."""
    kinds = {"steps": pl.Float64, "delay_s": pl.Float64}
    try:
        if not path.is_file() or path.stat().st_size > MOST_BYTES:
            return pl.DataFrame(schema=kinds)
        frame = pl.read_csv(path, columns=list(kinds), schema_overrides=kinds)
    except (OSError, ValueError, pl.exceptions.PolarsError):
        return pl.DataFrame(schema=kinds)
    whole = pl.col("steps").is_between(1, 1e12) & pl.col("delay_s").is_between(0, 1e6)
    return frame.filter(whole).sort("steps")


def learning_figure(content: ReportContent) -> Figure | None:
    """Delay on validation seeds as training went on, beside what the others come to here."""
    curves = learning_curves(content)
    if not curves:
        return None
    figure, (axes,) = new_figure(3.1)
    subject = content.labels[content.subject]
    lines: list[tuple[float, str, str, bool]] = []
    values: list[float] = []
    last = max(float(frame["steps"].max()) for frame in curves.values())  # type: ignore[arg-type]
    for entry in content.ranked:
        if entry.controller not in content.agents:
            mean = entry.metrics["delay_s"].mean
            colour = colour_of(content, entry.controller)
            axes.axhline(mean, color=colour, linewidth=1.0, linestyle=(0, (4, 3)))
            lines.append((mean, content.labels[entry.controller], colour, False))
            values.append(mean)
    for label, frame in curves.items():
        steps, delays = frame["steps"].to_numpy(), frame["delay_s"].to_numpy()
        colour = BLUE if label == subject else "#56B4E9"
        axes.plot(steps, delays, color=colour, linewidth=2, marker="o", markersize=4)
        lines.append((float(delays[-1]), label, colour, label == subject))
        values += delays.tolist()
    axes.set_xlim(0, last * 1.02)
    if max(values) > 4 * min(values) > 0:
        _logarithmic(axes, min(values) * 0.9, max(values) * 1.1, "y")
    else:
        axes.set_ylim(0, max(values) * 1.08)
    axes.set_xlabel("training steps (decisions of one signal)")
    axes.set_ylabel(DELAY_AXIS)
    label_right(axes, lines)
    return figure


def stress_figures(content: ReportContent) -> dict[str, Figure]:
    """Per kind of disturbance, delay by level and controller."""
    found = {}
    for curve in content.stress:
        figure, (axes,) = new_figure(3.2)
        lines: list[tuple[float, str, str, bool]] = []
        means = [interval.mean for values in curve.delay_s.values() for interval in values]
        order = sorted(curve.delay_s, key=lambda name: name in content.shown)
        for name in order:
            values, colour = curve.delay_s[name], colour_of(content, name)
            delays = [interval.mean for interval in values]
            shown = name in content.shown
            if shown and curve.runs > 1:
                axes.fill_between(
                    curve.levels, [i.low for i in values], [i.high for i in values], color=colour, alpha=0.15, lw=0
                )
            axes.plot(
                curve.levels,
                delays,
                color=colour,
                linewidth=2 if shown else 1.2,
                marker="o",
                markersize=4 if shown else 3,
            )
            for level, delay, jammed in zip(curve.levels, delays, curve.gridlocked_runs[name], strict=True):
                if jammed:
                    axes.plot(level, delay, "x", color=INK, markersize=8, markeredgewidth=1.5)
            lines.append((delays[-1], content.labels[name], colour, name == content.subject))
        if max(means) > 6 * min(means):
            _logarithmic(axes, min(means) * 0.85, max(means) * 1.15, "y")
        else:
            axes.set_ylim(0, max(means) * 1.08)
        axes.set_xticks(curve.levels, [f"{level:g}" for level in curve.levels])
        axes.set_xlabel(curve.unit)
        axes.set_ylabel(DELAY_AXIS)
        label_right(axes, lines)
        found[curve.kind] = figure
    return found

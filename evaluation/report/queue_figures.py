"""Figures over the time of a run: vehicles in queues, and planned departures against arrivals."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from evaluation.report.content import ReportContent
from evaluation.report.delay_figures import BEYOND
from evaluation.report.style import INK, colour_of, label_right, new_figure

FloatArray = npt.NDArray[np.float64]


def queue_figure(content: ReportContent) -> Figure:
    """Vehicles that stand, in the whole network: mean over all runs; for the two compared, the range as well."""
    figure, (axes,) = new_figure(3.1)
    lines: list[tuple[float, str, str, bool]] = []
    highest: dict[str, float] = {}
    for name in _order(content):
        time_s, values = _series(content, name, "halting_veh")
        smooth = np.array([_smoothed(row) for row in values])
        mean, colour, shown = smooth.mean(axis=0), colour_of(content, name), name in content.shown
        minutes = (time_s - content.scenario.begin_s) / 60
        if shown and len(smooth) > 1:
            axes.fill_between(minutes, smooth.min(axis=0), smooth.max(axis=0), color=colour, alpha=0.13, lw=0)
        axes.plot(minutes, mean, color=colour, linewidth=2 if shown else 1.0)
        lines.append((float(mean[-1]), content.labels[name], colour, name == content.subject))
        highest[name] = float(mean.max())
    axes.set_xlim(0, content.scenario.horizon_s / 60)
    axes.set_ylim(0, _top(content, highest))
    axes.set_xlabel("time since begin [min]")
    axes.set_ylabel("standing vehicles")
    label_right(axes, lines)
    return figure


def cumulative_figure(content: ReportContent) -> Figure:
    """Planned departures and arrivals as they add up; below, what lies between: vehicles in or before the network."""
    figure, (upper, lower) = new_figure(4.6, rows=2, sharex=True, height_ratios=[3, 2])
    begin_s = content.scenario.begin_s
    planned = np.sort(content.runs(content.subject)[0].vehicles["planned_s"].to_numpy())
    end_min = content.scenario.horizon_s / 60
    steps = np.linspace(0, end_min, 181)
    due = np.searchsorted(planned, begin_s + steps * 60, side="right").astype(float)
    upper.plot(steps, due, color=INK, linewidth=1.6, linestyle=(0, (4, 2)))
    labels: list[tuple[float, str, str, bool]] = [(float(due[-1]), "planned", INK, False)]
    between: list[tuple[float, str, str, bool]] = []
    most: dict[str, float] = {}
    for name in _order(content):
        colour, shown = colour_of(content, name), name in content.shown
        time_s, arrived = _series(content, name, "arrived_veh")
        minutes = (time_s - begin_s) / 60
        mean = np.interp(steps, minutes, arrived.mean(axis=0))
        upper.plot(steps, mean, color=colour, linewidth=1.8 if shown else 0.9)
        lower.plot(steps, due - mean, color=colour, linewidth=1.8 if shown else 0.9)
        labels.append((float(mean[-1]), content.labels[name], colour, name == content.subject))
        most[name] = float((due - mean).max())
        between.append((float((due - mean)[-1]), content.labels[name], colour, name == content.subject))
    upper.set_xlim(0, end_min)
    upper.set_ylim(bottom=0)
    lower.set_ylim(0, _top(content, most))
    upper.set_ylabel("vehicles\nsince begin")
    lower.set_ylabel("due and not\nyet arrived")
    lower.set_xlabel("time since begin [min]")
    label_right(upper, [label for label in labels if label[1] == "planned" or label[2] != labels[0][2]][:1])
    label_right(lower, between)
    return figure


def _top(content: ReportContent, highest: Mapping[str, float]) -> float:
    """The end of an axis: above all lines, unless one is far beyond the two compared."""
    return 1.15 * max(1.0, min(max(highest.values()), BEYOND * max(highest[name] for name in content.shown)))


def _order(content: ReportContent) -> list[str]:
    """The two compared last, so that they lie on top."""
    names = [entry.controller for entry in content.summary.controllers]
    return sorted(names, key=lambda name: content.shown[::-1].index(name) if name in content.shown else -1)


def _series(content: ReportContent, controller: str, column: str) -> tuple[FloatArray, FloatArray]:
    """The times [T], and that column of each run [runs, T]."""
    tables = [run.stored.table("series") for run in content.runs(controller) if run.stored is not None]
    shortest = min(table.height for table in tables)
    values = np.array([table[column].to_numpy()[:shortest] for table in tables], float)
    return tables[0]["time_s"].to_numpy()[:shortest], values


def _smoothed(values: FloatArray, samples: int = 9) -> FloatArray:
    """A moving mean over a minute and a half, about one cycle, so that single reds do not hide the course."""
    samples = min(samples, len(values))
    padded = np.pad(values, (samples // 2, samples - 1 - samples // 2), mode="edge")
    result: FloatArray = np.convolve(padded, np.ones(samples) / samples, mode="valid")
    return result

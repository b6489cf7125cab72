"""Figures of one signal or corridor in one run: time-space, phases and splits, Purdue coordination diagram."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from evaluation.channels import GREEN as GREEN_SHOWN
from evaluation.channels import Channel, by_approach, channels_of, displays
from evaluation.details.corridor import StopLine
from evaluation.details.trajectories import window_of
from evaluation.report.content import ReportContent
from evaluation.report.style import AMBER, GREEN, GREY, INK, VERMILION, colour_of, new_figure

TIME_SPACE_S = 420.0
PHASES_S = 300.0
COLOURS = {"G": GREEN, "Y": AMBER, "R": VERMILION}


def time_space_figure(content: ReportContent) -> Figure | None:
    """Every vehicle's way along the corridor, and what the signals showed to it."""
    corridor = content.corridor
    if corridor is None or not all(_has(content, name, "trajectories") for name in content.shown):
        return None
    figure, axes = new_figure(2.75 * len(content.shown), rows=len(content.shown), sharex=True)
    begin_s, end_s = window_of(content.scenario)
    zero_s, end_s = content.scenario.begin_s, min(end_s, begin_s + TIME_SPACE_S)
    for area, name in zip(axes, content.shown, strict=True):
        run = content.drawn(name)
        assert run is not None
        points = run.table("trajectories").filter(pl.col("time_s") <= end_s).sort("vehicle_id", "time_s")
        lines = []
        for part in points.partition_by("vehicle_id", maintain_order=True):
            way = part.select("time_s", "at_m").to_numpy()
            for piece in np.split(way, np.flatnonzero(np.diff(way[:, 0]) > 3) + 1):
                if len(piece) > 1:
                    piece = _thinned(piece)
                    lines.append(np.column_stack(((piece[:, 0] - zero_s) / 60, piece[:, 1])))
        area.add_collection(LineCollection(lines, colors=INK, linewidths=0.7, alpha=0.75))
        states = run.table("states")
        for stop in corridor.stops:
            for start, until, shown in displays(_stop_channel(stop), states, content.scenario.end_s):
                if until > begin_s and start < end_s:
                    span = (max(start, begin_s) - zero_s) / 60, (min(until, end_s) - zero_s) / 60
                    width = {"G": 3.0, "Y": 4.0, "R": 4.5}[shown]
                    area.plot(
                        span, (stop.at_m, stop.at_m), color=COLOURS[shown], linewidth=width, solid_capstyle="butt",
                        alpha=0.9 if shown != "G" else 0.55,
                    )  # fmt: skip
        area.set_title(content.labels[name], color=colour_of(content, name), fontweight="bold")
        area.set_ylim(0, corridor.length_m)
        area.set_xlim((begin_s - zero_s) / 60, (end_s - zero_s) / 60)
        area.set_ylabel("along the road [m]")
        area.grid(visible=False)
    axes[-1].set_xlabel("time since begin [min]")
    return figure


def _thinned(
    way: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Without the points that lie within half a metre of the line between the kept ones around them."""
    keep = [0]
    for n in range(1, len(way) - 1):
        (t0, x0), (t1, x1), (t2, x2) = way[keep[-1]], way[n], way[n + 1]
        if abs(x0 + (x2 - x0) * (t1 - t0) / (t2 - t0) - x1) > 0.5 or n - keep[-1] > 15:
            keep.append(n)
    return way[[*keep, len(way) - 1]]


def _stop_channel(stop: StopLine) -> Channel:
    return Channel(stop.tls_id, 0, "", False, stop.links)


@dataclass(frozen=True)
class Focus:
    """The signal, and the movement of it, that detailed pictures are drawn of."""

    tls_id: str
    channel: Channel


def find_focus(content: ReportContent) -> Focus | None:
    """The signal that most vehicles pass, and the approach of its channel with most of them."""
    own = content.signals.filter(controller=content.subject)
    if own.is_empty():
        return None
    tls_id = str(own.sort("vehicles", descending=True)["tls_id"][0])
    moved = content.movements.filter(controller=content.subject, tls_id=tls_id)
    best: tuple[float, Channel] | None = None
    network = content.scenario.network
    for channel in channels_of(network, tls_id):
        for part in () if channel.pedestrian else by_approach(network, channel):
            vehicles = float(moved.filter(_of(part))["vehicles"].sum())
            if best is None or vehicles > best[0]:
                best = vehicles, part
    return None if best is None else Focus(tls_id, best[1])


def _of(channel: Channel) -> pl.Expr:
    ways = [(pl.col("from_edge") == approach) & (pl.col("to_edge") == to) for approach, to in sorted(channel.ways)]
    return pl.any_horizontal(ways)


def phases_figure(content: ReportContent, focus: Focus) -> Figure | None:
    """Five minutes of each movement's display, and the lengths of its greens in the whole run."""
    if not all(_has(content, name, "states") for name in content.shown):
        return None
    channels = channels_of(content.scenario.network, focus.tls_id)[::-1]
    height = 0.75 + 0.23 * len(channels)
    figure, axes = new_figure(
        height * len(content.shown) + 0.35, rows=len(content.shown), columns=2, sharex="col", width_ratios=[3, 1.35]
    )
    begin_s = window_of(content.scenario)[0]
    end_s = min(begin_s + PHASES_S, content.scenario.end_s)
    for row, name in enumerate(content.shown):
        shown_at, splits = axes[2 * row], axes[2 * row + 1]
        run = content.drawn(name)
        assert run is not None
        states = run.table("states")
        for y, channel in enumerate(channels):
            spells = displays(channel, states, content.scenario.end_s)
            for start, until, shown in spells:
                if shown != "R" and until > begin_s and start < end_s:
                    left, right = max(start, begin_s) - begin_s, min(until, end_s) - begin_s
                    shown_at.barh(y, right - left, left=left, height=0.72, color=COLOURS[shown], linewidth=0)
            whole = [until - start for start, until, shown in spells[1:-1] if shown == GREEN_SHOWN]
            if whole:
                low, left, middle, right, high = np.percentile(whole, (5, 25, 50, 75, 95))
                splits.plot([low, high], [y, y], color=GREEN, linewidth=1.2)
                splits.plot([left, right], [y, y], color=GREEN, linewidth=6, alpha=0.45, solid_capstyle="butt")
                splits.plot(middle, y, "|", color=INK, markersize=9, markeredgewidth=1.8)
        names = [f"{c.name} {'' if c.pedestrian else c.number}".strip() for c in channels]
        shown_at.set_yticks(range(len(channels)), names, fontsize=9)
        shown_at.set_ylim(-0.6, len(channels) - 0.4)
        shown_at.set_xlim(0, end_s - begin_s)
        shown_at.set_title(content.labels[name], color=colour_of(content, name), fontweight="bold")
        shown_at.grid(visible=False, axis="y")
        shown_at.tick_params(axis="y", length=0)
        splits.set_yticks([])
        splits.set_ylim(-0.6, len(channels) - 0.4)
        splits.set_xlim(left=0)
    axes[-2].set_xlabel("time [s]")
    axes[-1].set_xlabel("length of a green [s]")
    return figure


def purdue_figure(content: ReportContent, focus: Focus) -> Figure | None:
    """When vehicles come to the stop line within the signal's cycle. A cycle runs from the end of a green to the
    next; Day et al. 2010 (Purdue coordination diagram)."""
    if not all(_has(content, name, "passages") for name in content.shown):
        return None
    figure, axes = new_figure(2.45 * len(content.shown), rows=len(content.shown), sharex=True, sharey=True)
    highest = 0.0
    for area, name in zip(axes, content.shown, strict=True):
        share, longest = _purdue(area, content, name, focus)
        highest = max(highest, longest)
        area.set_title(
            f"{content.labels[name]}: {100 * share:.0f} % arrive on green",
            color=colour_of(content, name), fontweight="bold",
        )  # fmt: skip
        area.set_ylabel("time in cycle [s]")
    axes[0].set_ylim(0, highest * 1.05)
    axes[0].set_xlim(0, content.scenario.horizon_s / 60)
    axes[-1].set_xlabel("time since begin [min]")
    axes[0].legend(
        handles=[Patch(color=GREEN, alpha=0.35, label="green"), Patch(color=INK, label="arrivals")],
        loc="upper right", ncols=2, frameon=False, fontsize=9, handlelength=1.2, borderaxespad=0.0,
    )  # fmt: skip
    return figure


def _purdue(area: Axes, content: ReportContent, name: str, focus: Focus) -> tuple[float, float]:
    """Draws one; returns the share of arrivals on green, and the longest cycle that is shown in full [s]."""
    run = content.drawn(name)
    assert run is not None
    begin_s = content.scenario.begin_s
    spells = displays(focus.channel, run.table("states"), content.scenario.end_s)
    greens = [(start, until) for start, until, shown in spells if shown == GREEN_SHOWN]
    passages = run.table("passages").filter(_of(focus.channel), tls_id=focus.tls_id)
    arrivals = np.sort(passages.filter(pl.col("expected_s") < content.scenario.end_s)["expected_s"].to_numpy())
    ends = np.array([until for _, until in greens[:-1]])
    cycles = []
    for number, (start, until) in enumerate(greens[1:]):
        zero = ends[number]
        cycles.append(until - zero)
        left, right = (zero - begin_s) / 60, (until - begin_s) / 60
        area.fill_between([left, right], start - zero, until - zero, color=GREEN, alpha=0.35, linewidth=0)
    on_green = sum(bool(any(start <= t < until for start, until in greens)) for t in arrivals)
    place = np.searchsorted(ends, arrivals, side="right") - 1
    inside = (place >= 0) & (arrivals < (greens[-1][1] if greens else 0.0))
    times = arrivals[inside] - ends[place[inside]] if ends.size else np.zeros(0)
    area.plot((arrivals[inside] - begin_s) / 60, times, ".", color=INK, markersize=3.4, markeredgewidth=0)
    area.grid(visible=False, axis="x")
    area.axhline(0, color=GREY, linewidth=0.6)
    longest = float(np.percentile(cycles, 98)) if cycles else 1.0
    return on_green / max(1, len(arrivals)), longest


def _has(content: ReportContent, controller: str, table: str) -> bool:
    run = content.drawn(controller)
    return run is not None and run.has(table)

"""The figures of the cleaning report, as SVG: what is known of each day, and what was wrong where."""

from __future__ import annotations

import io
import re
from datetime import date
from typing import Any

import matplotlib
import matplotlib.dates
import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from plumbing.errors import printable

# Okabe and Ito 2008, Color universal design
BLUE, VERMILION, INK, GREY = "#0072B2", "#D55E00", "#222222", "#8C8C8C"
SETTINGS: Any = {
    "font.family": "sans-serif", "font.sans-serif": ["DejaVu Sans"], "font.size": 11.5, "svg.fonttype": "none",
    "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": GREY, "axes.labelcolor": INK,
    "text.parse_math": False,
}  # fmt: skip
LONGEST_NAME = 30
"""Characters of a name beside the map."""
MOST_NAMED = 40
"""Detectors whose names still fit beside the map."""
WIDTH_IN = 9.0
_EPOCH = date(1970, 1, 1).toordinal()  # of matplotlib's dates


def known_map(days: pl.DataFrame) -> str:
    """Measured share of each detector and day: dark is measured, orange is not.

    Args:
        days: `detector`, `day`, `rows`, `measured`.
    """
    table = days.with_columns(share=pl.col("measured") / pl.col("rows")).sort("detector", "day")
    names = table["detector"].unique(maintain_order=True).to_list()
    first, last = days_of(table)
    image = np.full((len(names), (last - first).days + 1), np.nan)
    rows = table["detector"].rank("dense").to_numpy().astype(int) - 1
    columns = (table["day"] - first).dt.total_days().to_numpy()
    image[rows, columns] = table["share"].to_numpy()
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(WIDTH_IN, min(8.0, 1.2 + 0.22 * len(names))), layout="constrained")
        axes = figure.subplots()
        colours = LinearSegmentedColormap.from_list("known", [VERMILION, "#F3DCC8", "#CFE3F0", BLUE])
        span = [float(day.toordinal() - _EPOCH) for day in (first, last)]
        shown = axes.imshow(
            image, aspect="auto", interpolation="nearest", cmap=colours, vmin=0, vmax=1,
            extent=(span[0] - 0.5, span[1] + 0.5, len(names) - 0.5, -0.5),
        )  # fmt: skip
        _date_axis(axes)
        if len(names) <= MOST_NAMED:
            axes.set_yticks(range(len(names)), [printable(name, LONGEST_NAME) for name in names])
        else:
            axes.set_ylabel("detectors, by name")
        figure.colorbar(shown, ax=axes, label="share of the day that was measured", shrink=0.8)
        return _svg(figure, "known")


def days_of(days: pl.DataFrame) -> tuple[date, date]:
    """The first and the last of them."""
    first, last = days.select(pl.col("day").min(), last=pl.col("day").max()).row(0)
    return first, last


def _date_axis(axes: Axes) -> None:
    axes.xaxis_date()
    locator = axes.xaxis.get_major_locator()
    axes.xaxis.set_major_formatter(matplotlib.dates.ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]


def example(rows: pl.DataFrame, zone: str, name: str) -> str:
    """A stretch of one detector: what came in, what cleaning made of it.

    Args:
        rows: with the columns of `CLEANED`, of some days.
    """
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(WIDTH_IN, 2.4), layout="constrained")
        axes = figure.subplots()
        times = rows["time"].dt.convert_time_zone(zone).dt.replace_time_zone(None).to_numpy()
        axes.plot(times, rows["raw"].cast(pl.Float64).to_numpy(), color=VERMILION, lw=1.1, label="came in")
        axes.plot(times, rows["count"].cast(pl.Float64).to_numpy(), color=BLUE, lw=1.4, label="cleaned")
        _date_axis(axes)
        axes.set_ylabel("vehicles an interval")
        axes.legend(frameon=False, loc="upper right", ncols=2)
        return _svg(figure, name)


def _svg(figure: Figure, name: str) -> str:
    """The figure as an <svg> element whose ids are its own; the same figure gives the same text."""
    buffer = io.BytesIO()
    with matplotlib.rc_context({**SETTINGS, "svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue().decode("utf-8")
    text = text[text.index("<svg") :]
    text = re.sub(r"<[^>]+>", lambda tag: _own_ids(tag[0], name), text)  # not in what is written
    return re.sub(r'^<svg ([^>]*?)width="[^"]*" height="[^"]*"', r"<svg \1", text, count=1)


def _own_ids(tag: str, name: str) -> str:
    tag = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', tag)
    return re.sub(r'(xlink:href="#|url\(#)', rf"\1{name}-", tag)

"""How figures look: colours that colour-blind people can tell apart, direct labels, units on every axis."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from evaluation.report.content import ReportContent

# Okabe and Ito 2008, Color universal design
BLUE, VERMILION, GREEN, AMBER, INK, GREY, PALE = (
    "#0072B2", "#D55E00", "#009E73", "#E69F00", "#222222", "#8C8C8C", "#D9D9D9",
)  # fmt: skip
OTHERS = (GREEN, "#CC79A7", AMBER, "#56B4E9", "#7A6A53", GREY)
WIDTH_IN = 6.3
SETTINGS: Any = {
    **{name: value for name, value in matplotlib.rcParamsDefault.items() if name != "backend"},  # not the user's
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # what widths are reckoned with; the page names narrower ones
    "font.size": 11.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "axes.titlesize": 11.5,
    "axes.titlelocation": "left",
    "axes.grid": True,
    "grid.color": "#E8E8E8",
    "grid.linewidth": 0.8,
    "axes.axisbelow": True,
    "xtick.color": INK,
    "ytick.color": INK,
    "lines.solid_capstyle": "round",
    "svg.fonttype": "none",  # text stays text: small, searchable, sharp
    "path.simplify_threshold": 0.2,
    "text.parse_math": False,  # a $ in a name is a $
}


def new_figure(height_in: float, rows: int = 1, columns: int = 1, **options: Any) -> tuple[Figure, list[Axes]]:
    """An empty figure of the page's width and its axes, row by row."""
    figure = Figure(figsize=(WIDTH_IN, height_in), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, **options)
    return figure, list(axes.ravel())


def colour_of(content: ReportContent, controller: str) -> str:
    """The subject blue, its rival vermilion, the others what is left."""
    if controller == content.subject:
        return BLUE
    if controller == content.rival:
        return VERMILION
    others = [e.controller for e in content.summary.controllers if e.controller not in content.shown]
    return OTHERS[min(others.index(controller), len(OTHERS) - 1)]


def as_svg(figure: Figure, name: str) -> str:
    """The figure as an <svg> element whose ids are its own; the same figure gives the same text."""
    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": name, "svg.fonttype": "none"}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue().decode("utf-8")
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"<[^>]+>", lambda tag: _own_ids(tag[0], name), text)  # not in what is written
    text = re.sub(r'^<svg ([^>]*?)width="[^"]*" height="[^"]*"|^<svg ([^>]*?)height="[^"]*"', r"<svg \1\2", text)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = text.replace("'DejaVu Sans'", "Arial, Helvetica, 'DejaVu Sans'")
    return re.sub(r"\s*\n\s*", "\n", text).strip()


def _own_ids(tag: str, name: str) -> str:
    tag = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', tag)
    return re.sub(r'(xlink:href="#|url\(#)', rf"\1{name}-", tag)


def label_right(axes: Axes, entries: Sequence[tuple[float, str, str, bool]], gap_px: float = 14.5) -> None:
    """Names at the right end of lines, moved apart where they would meet: (y, text, colour, bold)."""
    figure = axes.figure
    figure.canvas.draw()  # the layout must be known
    if not entries:
        return
    to_display, to_data = axes.transData.transform, axes.transData.inverted().transform
    right = axes.get_xlim()[1]
    scale = figure.dpi / 72.0
    placed: list[tuple[float, tuple[float, str, str, bool]]] = []
    for entry in sorted(entries, key=lambda e: e[0]):
        y = float(to_display((right, entry[0]))[1])
        if placed:
            y = max(y, placed[-1][0] + gap_px * scale)
        placed.append((y, entry))
    top = float(to_display((right, axes.get_ylim()[1]))[1])
    over = max(0.0, placed[-1][0] - top)
    for y, (_, text, colour, bold) in placed:
        axes.annotate(
            text,
            (1.0, 0.0), xycoords=("axes fraction", "data"),
            xytext=(1.012, float(to_data((0.0, y - over))[1])), textcoords=("axes fraction", "data"),
            color=colour, va="center", fontsize=10.5, fontweight="bold" if bold else "normal", annotation_clip=False,
        )  # fmt: skip

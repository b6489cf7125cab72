"""The timing sheet as a PDF of a few pages, A4 across: tables, ring-and-barrier diagram, sketches, detectors."""

from __future__ import annotations

import io
import textwrap
from typing import Any

from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from deployment.bundle.make.sheet import COLUMNS, UNITS, Sheet

A4_ACROSS = (11.69, 8.27)
LINES: dict[str, dict[str, Any]] = {
    "rest": {"color": "#d5d5d5", "linewidth": 1.0},
    "go": {"color": "#1d7a34", "linewidth": 2.2},
    "yield": {"color": "#1d7a34", "linewidth": 1.6, "linestyle": (0, (3, 2))},
    "walk": {"color": "#1f5fbf", "linewidth": 2.6, "linestyle": (0, (1, 1))},
}
DETECTORS_A_PAGE = 34


def pdf(sheet: Sheet) -> bytes:
    """The document; the same bytes for the same sheet."""
    buffer = io.BytesIO()
    # no date of its own: the sheet says how long it is valid
    with PdfPages(buffer, metadata={"Title": sheet.title, "Creator": "intergreen", "CreationDate": None}) as document:
        document.savefig(_tables(sheet))
        document.savefig(_diagrams(sheet))
        if sheet.overlaps:
            document.savefig(_overlaps(sheet))
        for first in range(0, len(sheet.detectors), DETECTORS_A_PAGE):
            document.savefig(_detectors(sheet, first))
    return buffer.getvalue()


def _figure(title: str) -> Figure:
    figure = Figure(figsize=A4_ACROSS)
    figure.text(0.04, 0.94, _literal(title), fontsize=15, weight="bold")
    return figure


def _literal(text: str) -> str:
    """Text that matplotlib does not take for formulas."""
    return text.replace("$", r"\$")


def _wrapped(name: str) -> str:
    """A movement's name, in as many lines as a row has room for."""
    return "\n".join(textwrap.wrap(textwrap.shorten(name, 84, placeholder=" …"), 30))


def _tables(sheet: Sheet) -> Figure:
    figure = _figure(sheet.title)
    for n, (name, value) in enumerate(sheet.facts):
        figure.text(0.04, 0.895 - 0.026 * n, _literal(name), fontsize=9, weight="bold")
        figure.text(0.27, 0.895 - 0.026 * n, _literal(textwrap.shorten(value, 120)), fontsize=9)
    axes = figure.add_axes((0.04, 0.2, 0.92, 0.44))
    axes.axis("off")
    titles = ["\n".join(textwrap.wrap(title, 10)) + ("\n[s]" if key in UNITS else "") for key, title in COLUMNS]
    cells = [
        [_literal(_wrapped(row[key]) if key == "movement" else row[key]) for key, _ in COLUMNS] for row in sheet.rows
    ]
    widths = [0.2 if key == "movement" else 0.8 / (len(COLUMNS) - 1) for key, _ in COLUMNS]
    table = axes.table(cells, colLabels=titles, colWidths=widths, loc="upper center", cellLoc="center")
    table.auto_set_font_size(False)
    table.set_fontsize(8)
    for (row, column), cell in table.get_celld().items():
        cell.set_height(0.19 if row == 0 else 0.09)
        if row == 0:
            cell.set_facecolor("#eeeeee")
        elif column == 1:
            cell.set_fontsize(6.5)
    for n, note in enumerate(sheet.notes):
        figure.text(0.04, 0.17 - 0.024 * n, _literal(note), fontsize=7.5, va="top")
    return figure


def _diagrams(sheet: Sheet) -> Figure:
    figure = _figure("Ring-and-barrier diagram and what each action lets go")
    axes = figure.add_axes((0.08, 0.62, 0.88, 0.26))
    rings = sorted({block.ring for block in sheet.blocks})
    for block in sheet.blocks:
        y = len(rings) - 1 - rings.index(block.ring)
        axes.add_patch(
            Rectangle((block.begin_s, y + 0.08), block.split_s, 0.84, facecolor="#e4f0e6", edgecolor="#1d6b34")
        )
        middle = block.begin_s + block.split_s / 2
        axes.text(middle, y + 0.62, f"Φ{block.phase}", ha="center", va="center", fontsize=12, weight="bold")
        axes.text(middle, y + 0.3, f"{block.split_s:g} s", ha="center", va="center", fontsize=9)
    for edge in (0.0, *sheet.barriers_s):
        axes.axvline(edge, color="#1a1a1a", linewidth=3)
    axes.set_xlim(0, sheet.cycle_s)
    axes.set_ylim(0, len(rings))
    axes.set_xticks([0.0, *sheet.barriers_s])
    axes.set_yticks([len(rings) - 0.5 - n for n in range(len(rings))], [f"Ring {ring}" for ring in rings])
    axes.set_xlabel(f"seconds of the fixed-time plan's cycle of {sheet.cycle_s:g} s")
    for spine in axes.spines.values():
        spine.set_visible(False)
    across = max(4, -(-len(sheet.sketches) // 2))
    for n, sketch in enumerate(sheet.sketches):
        width = 0.92 / across
        place = (0.04 + (n % across) * width, 0.29 - (n // across) * 0.26, width * 0.92, 0.22)
        drawing = figure.add_axes(place)
        for path in sketch.paths:
            drawing.plot([p[0] for p in path.points], [-p[1] for p in path.points], **LINES[path.kind])
            if path.kind in ("go", "yield") and len(path.points) > 1:
                (begin_x, begin_y), (end_x, end_y) = path.points[-2:]
                arrow = {"arrowstyle": "-|>", "color": LINES["go"]["color"]}
                drawing.annotate("", (end_x, -end_y), (begin_x, -begin_y), arrowprops=arrow)
        drawing.set_aspect("equal")
        drawing.axis("off")
        drawing.set_title(_literal(sketch.title), fontsize=8)
    return figure


def _overlaps(sheet: Sheet) -> Figure:
    figure = _figure("Overlaps: green with any of their NEMA phases, and from one of these to the next")
    at = 0.88
    for letter, phases, ways in sheet.overlaps:
        lines = textwrap.wrap(f"{letter} = {phases}:  {ways}", 170)
        figure.text(0.04, at, _literal("\n".join(lines)), fontsize=8, va="top")
        at -= 0.022 * len(lines) + 0.012
    return figure


def _detectors(sheet: Sheet, first: int) -> Figure:
    figure = _figure("Detectors")
    axes = figure.add_axes((0.04, 0.04, 0.92, 0.86))
    axes.axis("off")
    titles = ["Number", "Kind", "Lane", "From the lane's beginning [m]"]
    cells = [[_literal(cell) for cell in row] for row in sheet.detectors[first : first + DETECTORS_A_PAGE]]
    table = axes.table(cells, colLabels=titles, loc="upper center", cellLoc="center")
    table.auto_set_font_size(False)
    table.set_fontsize(8)
    return figure

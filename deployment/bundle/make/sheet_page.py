"""The timing sheet as one HTML page that needs nothing else: tables, ring-and-barrier diagram, sketch per action."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment

from deployment.bundle.make.sheet import COLUMNS, UNITS, Sheet

TEMPLATE = Path(__file__).with_suffix(".html")
WIDTH, RING_HEIGHT, MARGIN = 900.0, 74.0, 46.0


def page(sheet: Sheet) -> bytes:
    """The page."""
    scale = WIDTH / sheet.cycle_s
    rings = sorted({block.ring for block in sheet.blocks})
    top = {ring: 10 + n * RING_HEIGHT for n, ring in enumerate(rings)}
    boxes = [
        {
            "block": block,
            "x": round(MARGIN + 8 + block.begin_s * scale, 1),
            "y": top[block.ring],
            "width": round(block.split_s * scale, 1),
            "split": f"{block.split_s:g}",
        }
        for block in sheet.blocks
    ]
    edges = [0.0, *sheet.barriers_s]
    html = (
        Environment(autoescape=True)
        .from_string(TEMPLATE.read_text())
        .render(
            sheet=sheet,
            columns=COLUMNS,
            units=UNITS,
            width=WIDTH,
            margin=MARGIN,
            height=10 + RING_HEIGHT * len(rings),
            ring_height=RING_HEIGHT,
            rings=[{"number": ring, "y": y} for ring, y in top.items()],
            boxes=boxes,
            barriers=[round(MARGIN + 8 + x * scale, 1) for x in edges],
            ticks=[(round(MARGIN + 8 + x * scale, 1), f"{x:g} s") for x in edges],
        )
    )
    return html.encode()

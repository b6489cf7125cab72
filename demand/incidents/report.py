"""The report of watching: `report.html`, `alarms.json`, and lines for the terminal."""

from __future__ import annotations

import dataclasses
import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from demand.incidents.model import Model, Reading, panel_days
from demand.incidents.panel import Panel
from demand.incidents.words import Told
from plumbing.pages import render
from plumbing.plain import json_bytes
from plumbing.whole import Draft

ALARMS = "alarms.json"
TEMPLATE = Path(__file__).with_name("page.html")
_WIDEST = 1500  # columns of the figure; more rows of time are drawn as the highest of several


def verdict_of(told: Sequence[Told], panel: Panel) -> str:
    """The whole in a sentence."""
    number = "no alarm" if not told else "1 alarm" if len(told) == 1 else f"{len(told)} alarms"
    hours = panel_days(panel) * 24.0
    return f"{number[0].upper()}{number[1:]} in {hours:.1f} hours of counts of {len(panel.detectors)} detectors."


def alarms_json(told: Sequence[Told], model: Model, panel: Panel) -> dict[str, Any]:
    """All alarms as plain values."""
    return {
        "hours": round(panel_days(panel) * 24.0, 3),
        "detectors": len(panel.detectors),
        "threshold": model.threshold,
        "alarms": [dataclasses.asdict(alarm) for alarm in told],
    }


def write_report(out: Path, source: str, told: Sequence[Told], model: Model, panel: Panel, reading: Reading) -> None:
    """Write the folder, whole or not at all. Raises InputError where it cannot be written."""
    page = render(
        TEMPLATE,
        title=f"Incidents in the counts of {source}",
        verdict=verdict_of(told, panel),
        facts=(
            f"The threshold is {model.threshold:.2f}; it was chosen for {model.a_day:g} false alarms in 24 hours. "
            f"Times are those of {model.zone}."
        ),
        figure=_figure(model, panel, reading),
        alarms=told,
    )
    with Draft(out) as draft:
        draft.path.mkdir()
        (draft.path / "report.html").write_text(page, encoding="utf-8")
        (draft.path / ALARMS).write_bytes(json_bytes(alarms_json(told, model, panel)))
        draft.take_place()


def _figure(model: Model, panel: Panel, reading: Reading) -> str:
    """The scores of every group over time, as SVG."""
    import matplotlib
    from matplotlib.figure import Figure

    step = -(-len(panel.times) // _WIDEST)
    scores = reading.scores[: len(panel.times) // step * step].reshape(-1, step, len(model.groups)).max(1)
    settings: Any = {"svg.fonttype": "none", "text.parse_math": False, "svg.hashsalt": "intergreen", "font.size": 9}
    with matplotlib.rc_context(settings):
        figure = Figure(figsize=(9.0, 1.2 + 0.17 * len(model.groups)), layout="constrained")
        axes = figure.subplots()
        low = min(0.0, model.threshold - 1.0)
        axes.imshow(np.clip(scores, low, model.threshold).T, aspect="auto", cmap="Greys", vmin=low,
                    vmax=model.threshold, interpolation="nearest")  # fmt: skip
        axes.set_yticks(range(len(model.groups)), [group.name for group in model.groups])
        ticks = np.unique(np.linspace(0, len(scores) - 1, min(8, len(scores))).astype(int))
        axes.set_xticks(ticks, [f"{panel.times[n * step]:%m-%d %H:%M}" for n in ticks])
        axes.set_xlabel("begin of the interval [UTC]")
        stream = io.StringIO()
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    return re.sub(r"^.*?(?=<svg)", "", stream.getvalue(), flags=re.DOTALL)

"""The report of a calibration: one HTML file with everything inside, the same for the same results."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from demand.calibration.fit import GEH_OK, DayFit, by_detector, share_ok, worst
from demand.calibration.places import Place
from plumbing.pages import render

TEMPLATE = Path(__file__).with_name("page.html")
BLUE, VERMILION, GREY = "#0072B2", "#D55E00", "#9aa0a6"  # Okabe and Ito 2008, Color universal design
_SETTINGS: dict[Any, Any] = {
    "font.size": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.fonttype": "none",
}
_PROFILES = 6
"""Detectors whose course over the day is drawn: those with most traffic."""


def page(
    facts: Mapping[str, Any],
    fits: Sequence[DayFit],
    places: Sequence[Place],
    missing: Mapping[str, str],
    network: str,
) -> str:
    """The report's HTML.

    Args:
        facts: "title", "verdict", "cautions", "facts", "notes", "command".
        network: the picture, as an SVG element.
    """
    with matplotlib.rc_context(_SETTINGS):
        figures = [
            (
                "Simulated against counted",
                "One dot per detector and hour; between the lines GEH is below 5.",
                _scatter(fits),
            ),
            ("GEH", "Of all detectors and hours; below 5 is good.", _histogram(fits)),
            ("Over the day", "The detectors with most traffic: counted (grey), simulated (blue).", _profiles(fits)),
        ]
        drawn = [
            {"title": title, "text": text, "svg": _as_svg(figure, f"figure{n}")}
            for n, (title, text, figure) in enumerate(figures)
        ]
    return render(
        TEMPLATE,
        **facts,
        figures=drawn,
        network=network[network.index("<svg") :],
        detectors=by_detector(fits),
        days=[{"day": fit.day, "share": share_ok([fit]), "hours": len(fit.hours)} for fit in fits],
        worst=worst(fits),
        places=places,
        missing=missing,
    )


def _scatter(fits: Sequence[DayFit]) -> Figure:
    figure = Figure((6.0, 5.0), layout="constrained")
    axes = figure.subplots()
    counted = np.array([hour.counted_vph for fit in fits for hour in fit.hours])
    simulated = np.array([hour.simulated_vph for fit in fits for hour in fit.hours])
    top = float(max(counted.max(initial=1.0), simulated.max(initial=1.0))) * 1.05
    line = np.linspace(0.0, top, 200)
    # GEH = 5 solved for the simulated flow m: 2 (m - c)^2 = 25 (m + c)
    root = np.sqrt(GEH_OK**2 * line + GEH_OK**4 / 16)
    for border in (line + GEH_OK**2 / 4 + root, np.maximum(line + GEH_OK**2 / 4 - root, 0.0)):
        axes.plot(line, border, color=GREY, linewidth=1)
    axes.plot(line, line, color=GREY, linewidth=1, linestyle=":")
    axes.scatter(counted, simulated, s=14, color=BLUE, alpha=0.6, linewidths=0)
    axes.set(xlabel="counted [veh/h]", ylabel="simulated [veh/h]", xlim=(0, top), ylim=(0, top))
    return figure


def _histogram(fits: Sequence[DayFit]) -> Figure:
    figure = Figure((6.0, 3.2), layout="constrained")
    axes = figure.subplots()
    values = [hour.geh for fit in fits for hour in fit.hours]
    edges = [n / 2 for n in range(int(2 * max(10.0, *values)) + 2)]
    axes.hist([v for v in values if v < GEH_OK], edges, color=BLUE)
    axes.hist([v for v in values if v >= GEH_OK], edges, color=VERMILION)
    axes.set(xlabel="GEH", ylabel="detectors and hours")
    return figure


def _profiles(fits: Sequence[DayFit]) -> Figure:
    busiest = sorted(by_detector(fits), key=lambda of: -of.counted_vph)[:_PROFILES]
    figure = Figure((9.0, 2.0 * ((len(busiest) + 1) // 2)), layout="constrained")
    for axes, of in zip(
        figure.subplots(max(1, (len(busiest) + 1) // 2), 2, squeeze=False).ravel(), busiest, strict=False
    ):
        for fit in fits:
            hours = [hour for hour in fit.hours if hour.detector == of.detector]
            at = [int(hour.begin[:2]) + int(hour.begin[3:]) / 60 + 0.5 for hour in hours]
            axes.plot(at, [hour.counted_vph for hour in hours], color=GREY, marker="o", markersize=3)
            axes.plot(at, [hour.simulated_vph for hour in hours], color=BLUE, marker="o", markersize=3, alpha=0.7)
        axes.set_title(of.detector, fontsize=11, loc="left", parse_math=False)
        begins = [int(hour.begin[:2]) for fit in fits for hour in fit.hours]
        axes.set(ylim=(0, None), xlim=(min(begins), max(begins) + 1), xlabel="hour", ylabel="veh/h")
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    return figure


def _as_svg(figure: Figure, name: str) -> str:
    """The figure as an <svg> element whose ids are its own; the same figure gives the same text."""
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r"<[^>]+>", lambda tag: re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', tag[0]), text)
    return re.sub(r'(xlink:href="#|url\(#)', rf"\1{name}-", text)

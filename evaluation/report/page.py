"""Puts the report together: one HTML file with everything inside, the same for the same results."""

from __future__ import annotations

import shlex
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from evaluation.metrics import METRICS, present
from evaluation.report.captions import CAPTIONS, glossary
from evaluation.report.content import ReportContent
from evaluation.report.delay_figures import delay_figure, distribution_figure, learning_figure, stress_figures
from evaluation.report.queue_figures import cumulative_figure, queue_figure
from evaluation.report.signal_figures import find_focus, phases_figure, purdue_figure, time_space_figure
from evaluation.report.style import SETTINGS, as_svg
from evaluation.report.tables import (
    PageTable,
    all_metrics_table,
    beyond_delay_table,
    delay_table,
    movements_table,
    short,
    signals_tables,
)
from evaluation.report.verdict import cautions, verdict
from plumbing.pages import render
from plumbing.whole import write_whole

TEMPLATE = Path(__file__).with_name("page.html")


@dataclass
class _Section:
    id: str
    title: str
    text: str = ""
    tables: list[PageTable] = field(default_factory=list)
    figures: list[dict[str, Any]] = field(default_factory=list)

    def add(self, name: str, figure: Figure | None, wide: bool = False, **words: str) -> None:
        """A figure, where there is one, with its caption."""
        if figure is not None:
            title, text = CAPTIONS[name]
            self._add(name, title, text.format(**words), figure, wide)

    def _add(self, name: str, title: str, text: str, figure: Figure, wide: bool) -> None:
        self.figures.append({"id": name, "title": title, "text": text, "svg": as_svg(figure, name), "wide": wide})


def write_page(path: Path, content: ReportContent) -> None:
    """The report as one file.

    Raises:
        InputError: it cannot be written.
    """
    text = page(content)
    write_whole(path, lambda partial: partial.write_text(text, encoding="utf-8"))


def page(content: ReportContent) -> str:
    """The report's HTML."""
    with matplotlib.rc_context(SETTINGS), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # the browser has it: text stays text
        sections = [s for s in _sections(content) if s.figures or s.tables]
    settings = content.settings
    return render(
        TEMPLATE,
        title=f"Signal control on {content.scenario.name}",
        verdict=verdict(content),
        facts=_facts(content),
        cautions=cautions(content),
        sections=sections,
        commands=[*content.trained_by, shlex.join(settings["command"])],
        settings=[
            *((name, settings[name]) for name in ("scenario", "demand", "begin_s", "end_s")),
            ("seeds", ", ".join(map(str, settings["seeds"]))),
            *settings["timing"].items(),
            *settings.get("tuned", {}).items(),
        ],
        versions=settings["versions"].items(),
        files=settings["files_sha256"].items(),
        glossary=glossary(present(METRICS, (entry.means for entry in content.ranked))),
    )


def _facts(content: ReportContent) -> str:
    scenario = content.scenario
    vehicles = sorted({run.metrics.vehicles for run in content.results})
    count = f"{vehicles[0]:,}" if len(vehicles) == 1 else f"{vehicles[0]:,} to {vehicles[-1]:,}"
    signals = len(scenario.signals)
    return (
        f"{signals} signal{'' if signals == 1 else 's'}, {count} vehicles in {_span(scenario.horizon_s)}, "
        f"{len(content.summary.controllers)} controllers × {len(content.settings['seeds'])} seeds = "
        f"{len(content.results)} simulated runs with SUMO {content.settings['versions'].get('eclipse-sumo', '')}. "
        f"Single runs are drawn with seed {content.drawn_seed}."
    )


def _span(seconds: float) -> str:
    """A time as one says it: in whole minutes, if there are ten or none are left over."""
    minutes = round(seconds / 60)
    if minutes < 10 and seconds != 60 * minutes:
        return f"{seconds:g} s"
    return f"{minutes} minute{'' if minutes == 1 else 's'}"


def _sections(content: ReportContent) -> list[_Section]:
    name = content.labels[content.subject]
    both = " and ".join(content.labels[n] for n in content.shown)
    blue = f"Blue: {name}" + (
        f"; vermilion: {content.labels[content.rival]}; thin lines: the others." if content.rival else "."
    )
    delay = _Section("delay", "Delay", tables=[delay_table(content)])
    delay.add("fig-delay", delay_figure(content))
    delay.add("fig-distribution", distribution_figure(content))
    time = _Section("time", "Over time", blue)
    time.add("fig-queue", queue_figure(content))
    time.add("fig-cumulative", cumulative_figure(content))
    street = _Section("signals", "At the signals", f"One run with seed {content.drawn_seed}: {both}.")
    street.add("fig-time-space", time_space_figure(content), wide=True)
    focus = find_focus(content)
    if focus is not None:
        place = f"{short(focus.tls_id)}, the busiest signal"
        street.add("fig-phases", phases_figure(content, focus), place=place)
        movement = f"{focus.channel.name} (phase {focus.channel.number})"
        street.add("fig-purdue", purdue_figure(content, focus), place=place, movement=movement)
    service = _Section("service", "Service and fairness", tables=[beyond_delay_table(content)])
    if content.signals.height:
        service.tables += [*signals_tables(content), movements_table(content)]
    service.tables.append(all_metrics_table(content))
    stress = _Section(
        "stress",
        "Under stress",
        f"How delay grows when conditions get worse; a cross marks a level with gridlocked runs. {blue}",
    )
    for curve, figure in zip(content.stress, stress_figures(content).values(), strict=True):
        text = f"{curve.runs} seeds per level; band: 95 % interval."
        stress._add(f"fig-stress-{curve.kind}", curve.title, text, figure, False)
    learning = _Section("learning", "Learning")
    learning.add("fig-learning", learning_figure(content))
    return [delay, time, street, service, stress, learning]

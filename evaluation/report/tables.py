"""The report's tables, by great-tables: delay with its comparison, what else counts, signals, worst movements."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import polars as pl
from great_tables import GT, html, loc, style

from evaluation.channels import heading
from evaluation.metrics import METRICS, present, shown
from evaluation.report.content import ReportContent
from evaluation.results.signals import LEVELS, level_of_service
from evaluation.results.summary import p_text, with_interval
from evaluation.statistics import Interval

WORST_MOVEMENTS = 8
LEAST_VEHICLES = 20.0


@dataclass(frozen=True)
class PageTable:
    """A table of the page."""

    html: str
    title: str = ""
    note: str = ""
    folded: str = ""
    """Label of the fold; empty: the table is not folded."""


def delay_table(content: ReportContent) -> PageTable:
    """The delay of each controller, against the best baseline, and how sure that is."""
    metrics = [key for key in _columns(content, "delay") if key != "delay_s"]
    rows = []
    for entry in content.ranked:
        versus = entry.versus
        rows.append(
            {
                "controller": content.labels[entry.controller],
                METRICS["delay_s"].heading: with_interval(entry.metrics["delay_s"], entry.runs),
                "against the reference": "reference" if versus is None else _share(versus.share, entry.runs),
                "p (Holm)": "" if versus is None else p_text(versus.p_value_holm, "< 0.001"),
                "less delay on": "" if versus is None else f"{100 * versus.improvement.mean:.0f} % of seeds",
                **{METRICS[key].heading: METRICS[key].text(entry.means[key]) for key in metrics},
                "gridlocked runs": f"{entry.gridlocked_runs} of {entry.runs}",
            }
        )
    note = (
        f"Per vehicle, over every vehicle that was to depart. [ ]: 95 % bootstrap interval over seeds. Reference: "
        f"{content.labels[content.reference]}, the {content.summary.reference_is}. p: exact paired sign-flip test, "
        "corrected after Holm for all comparisons of this table."
    )
    return PageTable(_html(content, rows, "delay"), note=note)


def beyond_delay_table(content: ReportContent) -> PageTable:
    """Queues, spillback, fairness, service, pedestrians, emissions: what exists in this evaluation."""
    rows = []
    for entry in content.ranked:
        row = {"controller": content.labels[entry.controller]}
        for key in _columns(content, "beyond"):
            row[METRICS[key].heading] = METRICS[key].text(entry.means[key])
            if key == "signal_delay_s":
                row["level of service"] = level_of_service(entry.means[key])
        rows.append(row)
    limits = ", ".join(f"{letter} ≤ {limit_s:g}" for limit_s, letter in LEVELS)
    note = (
        f"Means over runs. The level of service follows from the delay at a signal by HCM's thresholds ({limits} s)."
    )
    if not present(["co2_g"], (entry.means for entry in content.ranked)):
        note += " Emissions and fuel: run with --emissions."
    return PageTable(_html(content, rows, "beyond"), "More than delay", note)


def all_metrics_table(content: ReportContent) -> PageTable:
    """Every metric that exists in this evaluation, by the name that it has in the files."""
    rows = []
    for key in present(METRICS, (entry.means for entry in content.ranked)):
        values = {f"{content.labels[e.controller]}|mean": METRICS[key].text(e.means[key]) for e in content.ranked}
        rows.append({"metric": METRICS[key].heading, "in the files": key, **values})
    note = "Means over runs. What each of them is stands under “What the words mean”."
    return PageTable(_html(content, rows, "metrics"), note=note, folded="All metrics")


def _columns(content: ReportContent, table: str) -> list[str]:
    own = [key for key, metric in METRICS.items() if metric.table == table]
    return present(own, (entry.means for entry in content.ranked))


def signals_tables(content: ReportContent) -> list[PageTable]:
    """Signal by signal: the two compared, and all others folded away."""
    order = [entry.controller for entry in content.ranked]
    compared = _signal_rows(content, content.shown)
    tables = [
        PageTable(
            _html(content, compared, "signals", group="signal"),
            "Signal by signal",
            "LOS: level of service by HCM's thresholds. Maxima are over all runs.",
        )
    ]
    others = [name for name in order if name not in content.shown]
    if others:
        rows = _signal_rows(content, others)
        tables.append(
            PageTable(_html(content, rows, "signals-others", group="signal"), folded="The other controllers")
        )
    return tables


def _signal_rows(content: ReportContent, names: Sequence[str]) -> list[dict[str, str]]:
    rows = []
    for tls_id in content.signals["tls_id"].unique().sort():
        for name in names:
            own = content.signals.filter(controller=name, tls_id=tls_id)
            for of in own.iter_rows(named=True):
                rows.append(
                    {
                        "signal": short(str(tls_id)),
                        "controller": content.labels[name],
                        "vehicles": f"{of['vehicles']:,.0f}",
                        "delay [s]": f"{of['delay_s']:.1f}",
                        "LOS": str(of["level_of_service"]),
                        "95 % below [s]": f"{of['delay_p95_s']:.0f}",
                        "worst [s]": f"{of['delay_max_s']:.0f}",
                        "queue, mean [m]": f"{of['queue_m']:.0f}",
                        "queue, most [m]": f"{of['queue_max_m']:.0f}",
                        "spillback [% of time]": f"{100 * of['spillback_share']:.1f}",
                        "changes per hour": shown(float(of["changes_per_h"]), ".0f"),
                    }
                )
    return rows


def movements_table(content: ReportContent) -> PageTable:
    """The movements with the longest waits under the subject, and the same ones under its rival."""
    own = content.movements.filter(controller=content.subject).filter(pl.col("vehicles") >= LEAST_VEHICLES)
    rows = []
    for of in own.sort("delay_p95_s", descending=True).head(WORST_MOVEMENTS).iter_rows(named=True):
        key = {name: of[name] for name in ("tls_id", "from_edge", "to_edge")}
        row = {
            "signal": short(of["tls_id"]),
            "movement": f"{_heading(content, of)}{short(of['from_edge'])} → {short(of['to_edge'])}",
            "vehicles": f"{of['vehicles']:.0f}",
        }
        for name in content.shown:
            found = content.movements.filter(controller=name, **key)
            label = content.labels[name]
            for title, column in (("mean", "delay_s"), ("95 % below", "delay_p95_s"), ("worst", "delay_max_s")):
                row[f"{label}|{title} [s]"] = f"{found[column][0]:.0f}" if found.height else "–"
        rows.append(row)
    note = f"Time lost per vehicle at the signal; movements with at least {LEAST_VEHICLES:.0f} vehicles per run."
    title = f"Fairness: where {content.labels[content.subject]} lets people wait longest"
    return PageTable(_html(content, rows, "movements"), title, note)


def _heading(content: ReportContent, movement: Mapping[str, Any]) -> str:
    network, edge = content.scenario.network, movement["from_edge"]
    return f"{heading(network, edge)}, " if edge in network.edges else ""


def short(name: str, length: int = 26) -> str:
    """An id that a table can hold."""
    return name if len(name) <= length else f"{name[: length - 9]}…{name[-8:]}"


def _html(content: ReportContent, rows: Sequence[Mapping[str, Any]], name: str, group: str | None = None) -> str:
    frame = pl.DataFrame(rows) if rows else pl.DataFrame({"": ["no data"]})
    table = GT(frame, id=f"table-{name}", groupname_col=group)
    numbers = [c for c in frame.columns if c not in ("controller", "signal", "movement", "metric", "in the files")]
    if rows:
        table = table.cols_align("right", columns=numbers)
        if "controller" in frame.columns:
            subject = [n for n, row in enumerate(rows) if row["controller"] == content.labels[content.subject]]
            table = table.tab_style(style.text(weight="bold"), loc.body(rows=subject))
    for label in dict.fromkeys(c.rpartition("|")[0] for c in frame.columns if "|" in c):
        own = [c for c in frame.columns if c.rpartition("|")[0] == label]
        plain = escape(label).replace("{", "&#123;")  # else {{…}} would be a unit
        table = table.tab_spanner(label=html(plain), columns=own, id=label)
        table = table.cols_label(cases={c: c.rpartition("|")[2] for c in own})
    table = table.tab_options(
        table_font_size="0.88rem",
        table_background_color="transparent",
        table_border_top_style="none",
        data_row_padding="5px",
        column_labels_font_weight="600",
        row_group_font_weight="600",
        table_font_color="#1d1f21",
    )
    return str(table.as_raw_html())


def _share(of: Interval, runs: int) -> str:
    if not math.isfinite(of.mean):
        return "–"
    interval = f" [{100 * of.low:+.0f}, {100 * of.high:+.0f}]" if runs > 1 else ""
    return f"{100 * of.mean:+.0f} %{interval}".replace("-", "−")

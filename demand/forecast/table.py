"""The table of a forecast: a line for each method, its mean over seeds and each seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

Results = Mapping[str, Sequence[Mapping[str, Any]]]
"""By method, what each seed came to (`judging.judged`)."""


def rows_of(results: Results, step: int) -> list[dict[str, Any]]:
    """A row for each method, in the order of `results`; figures are means over the seeds at one horizon."""
    rows = []
    for method, seeds in results.items():
        row: dict[str, Any] = {"method": method, "seeds": [each["seed"] for each in seeds]}
        for group in ("all", "busy"):
            per_seed = [each["test"][group][step] for each in seeds]
            row[group] = {name: _mean([each[name] for each in per_seed]) for name in per_seed[0]}
            row[group]["mae_each"] = [each["mae"] for each in per_seed]
        row["validation_mae"] = _mean([each["validation"]["all"][step]["mae"] for each in seeds])
        row["fit_s"] = fmean(each["fit_s"] for each in seeds)
        rows.append(row)
    return rows


def best_method(rows: Sequence[Mapping[str, Any]]) -> str:
    """The method of the least error on the calibration days, which come before the test."""
    known = [row for row in rows if row["validation_mae"] is not None]
    return str(min(known or rows, key=lambda row: row["validation_mae"] or 0.0)["method"])


HEADS = ("method", "MAE", "each seed", "RMSE", "80 % covers", "width", "MAE", "each seed", "RMSE", "80 % covers",
         "width", "fit s")  # fmt: skip


def cells_of(row: Mapping[str, Any]) -> list[str]:
    """A row's texts, under `HEADS`: those of all detectors, then those of the busy ones."""
    told = [str(row["method"]).replace("_", " ")]
    for group in ("all", "busy"):
        scores = row[group]
        each = sorted({_shown(value, 2) for value in scores["mae_each"]})
        told += [
            _shown(scores["mae"], 2), " ".join(_shown(v, 2) for v in scores["mae_each"]) if len(each) > 1 else "–",
            _shown(scores["rmse"], 2), _percent(scores["coverage"]), _shown(scores["width"], 1),
        ]  # fmt: skip
    return [*told, f"{row['fit_s']:.0f}"]


def as_text(rows: Sequence[Mapping[str, Any]], unit: str, minutes: float, busy: str) -> str:
    """The table for a terminal."""
    body = [list(HEADS), *(cells_of(row) for row in rows)]
    widths = [max(len(line[column]) for line in body) for column in range(len(HEADS))]
    lines = [
        "  ".join(
            cell.ljust(w) if n == 0 else cell.rjust(w) for n, (cell, w) in enumerate(zip(line, widths, strict=True))
        )
        for line in body
    ]
    left = sum(widths[:1]) + 2
    middle = sum(widths[1:6]) + 2 * 5
    above = " " * left + "all detectors".ljust(middle) + busy
    return "\n".join([f"{minutes:g} minutes ahead, {unit}", above.rstrip(), *lines])


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def _shown(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f} %"

"""A picture of a forecast beside what came: the busiest detectors over the test days."""

from __future__ import annotations

import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from demand.counts.series import Series
from demand.counts.timeline import FLOW, Numbers
from plumbing.whole import write_whole

_SHOWN = 3


def draw(file: Path, series: Series, moments: Numbers, step: int, found: Numbers, came: Numbers, method: str) -> None:
    """An SVG of the three busiest detectors.

    Args:
        moments: (N,) of the forecasts.
        step: intervals ahead.
        found: (N, D, 3) quantiles.
        came: (N, D) values, NaN where not measured.
    """
    mean = np.nansum(came, axis=0)
    shown = np.argsort(-mean, kind="stable")[:_SHOWN]
    zone = ZoneInfo(series.clock.zone)
    seconds = series.clock.begin + (moments + step) * series.clock.interval_s
    times = np.array(
        [datetime.datetime.fromtimestamp(int(s), zone).replace(tzinfo=None) for s in seconds], "datetime64[s]"
    )
    with matplotlib.rc_context({"svg.hashsalt": "intergreen", "text.parse_math": False, "svg.fonttype": "none"}):
        figure = Figure(figsize=(11, 2.4 * len(shown) + 0.6), layout="constrained")
        for number, detector in enumerate(shown):
            axes = figure.add_subplot(len(shown), 1, number + 1)
            low, middle, high = found[:, detector].T
            axes.fill_between(times, low, high, color="#9ecae1", linewidth=0, label="80 % interval")
            axes.plot(times, came[:, detector], color="#444444", linewidth=0.7, label="counted")
            axes.plot(times, middle, color="#08519c", linewidth=1.0, label="forecast")
            axes.set_title(f"detector {series.detectors[detector]}", loc="left", fontsize=9)
            axes.set_ylabel("veh / interval" if series.quantity == FLOW else "occupied [%]", fontsize=8)
            axes.set_ylim(bottom=0)
            axes.margins(x=0)
            if number == 0:
                axes.legend(loc="upper right", fontsize=8, ncols=3)
        ahead = step * series.clock.interval_s / 60
        figure.suptitle(f"{series.quantity}, {ahead:g} minutes ahead, by {method.replace('_', ' ')}", fontsize=10)
        write_whole(file, lambda path: figure.savefig(path, format="svg", metadata={"Date": None}))

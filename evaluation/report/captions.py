"""The captions of the figures, and the glossary at the page's end."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from evaluation.metrics import METRICS


class Caption(NamedTuple):
    """Title and text over a figure, or a term and its meaning."""

    title: str
    text: str


CAPTIONS = {
    "fig-delay": Caption(
        "Mean delay per controller",
        "Tick and bar: mean and its 95 % interval. Dots: single runs; a cross is one that ended in gridlock.",
    ),
    "fig-distribution": Caption("Delay of single vehicles", "All vehicles of all runs."),
    "fig-queue": Caption(
        "Queues",
        "Vehicles that stand in the whole network, moving mean over 90 s; lines are means over seeds, bands the "
        "range over seeds.",
    ),
    "fig-cumulative": Caption(
        "Cumulative departures and arrivals",
        "Above: planned departures (dashed) and arrivals. Below: the difference, which is all vehicles that are "
        "due and have not arrived, under way or not yet let in.",
    ),
    "fig-time-space": Caption(
        "Time-space diagram",
        "Each thin line is a vehicle, level where it stands, on the road with most signals in line. Bars are what "
        "a signal showed to through traffic: green, amber, red. Lines that begin or end at a signal turn.",
    ),
    "fig-phases": Caption(
        "Phases and splits",
        "{place}. Left: five minutes of what each movement was shown (green, amber; red is left blank). Right: "
        "how long its greens lasted in the whole run (line 5 to 95 %, bar 25 to 75 %, tick: median). Numbers are "
        "those of NEMA phases; docs/evaluation.md says how they are given.",
    ),
    "fig-purdue": Caption(
        "Purdue coordination diagram",
        "{place}, {movement}. A dot is a vehicle, at the moment when it would reach the stop line if nothing were "
        "in its way; a cycle runs from the end of one green to the end of the next.",
    ),
    "fig-learning": Caption(
        "Learning curve",
        "Delay on validation seeds while it trained. Dashed: what the others come to in this evaluation, on "
        "other seeds.",
    ),
}

WORDS = [
    Caption(
        "gridlocked",
        "At the run's end at least 5 vehicles and 5 % of those under way had stood still for 300 s. Such runs are "
        "in every mean.",
    ),
    Caption("less delay on", "The share of seeds on which a controller has less delay than the reference."),
    Caption(
        "level of service",
        "A to F after the Highway Capacity Manual's thresholds for signalised intersections. Its control delay is "
        "that at the signal alone; ours covers the whole way from the signal before, so the letter errs on the "
        "strict side.",
    ),
]


def glossary(metrics: Iterable[str]) -> list[Caption]:
    """The glossary of the page: these metrics, and the other terms."""
    found = [Caption(METRICS[key].heading, METRICS[key].definition) for key in metrics]
    return [*found, *WORDS]

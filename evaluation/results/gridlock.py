"""Where runs gridlocked, and whether a signal is there: at the head of the queue, or in a circle of junctions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from evaluation.contest import RunResult
from plumbing.errors import printable
from signals.network import RoadNetwork


def gridlock_lines(
    results: Iterable[RunResult], network: RoadNetwork, labels: Mapping[str, str] | None = None
) -> list[str]:
    """A line for every junction at which runs gridlocked, those with most runs first.

    Args:
        labels: shorter names of the controllers.
    """
    signals = signals_at(network)
    by_place: dict[tuple[str, int], dict[str, list[str]]] = {}
    for run in results:
        metrics = run.metrics
        if metrics.gridlocked and metrics.gridlock_at:
            name = run.controller if labels is None else labels[run.controller]
            seeds = by_place.setdefault((metrics.gridlock_at, metrics.gridlock_circle), {}).setdefault(name, [])
            seeds.append(f"seed {run.seed} from {metrics.gridlock_since_s:g} s on")
    counted = sorted(by_place.items(), key=lambda item: -sum(map(len, item[1].values())))
    return [
        f"gridlock {_named(place, signals, circle)}: "
        + "; ".join(f"{name}, {', '.join(seeds)}" for name, seeds in of.items())
        for (place, circle), of in counted
    ]


def signals_at(network: RoadNetwork) -> dict[str, str]:
    """The signal of each junction that one controls."""
    signals: dict[str, str] = {}
    for connection in network.connections:
        if connection.tls_id is not None:
            signals.setdefault(network.junction_of(connection), connection.tls_id)
    return signals


def _named(junction: str, signals: Mapping[str, str], circle: int = 0) -> str:
    if junction in signals:
        place = f"signal {printable(signals[junction])}"
    else:
        place = f"junction {printable(junction)}, which no signal controls"
    return f"in a circle of {circle} junctions, among them {place}" if circle else f"at {place}"

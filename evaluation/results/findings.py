"""In words: which signals were controlled, who was never served, and what SUMO says against a program."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from evaluation.contest import RunResult
from evaluation.findings import Unserved
from plumbing.errors import printable
from scenarios.scenario import Scenario

MOST_LINKS, MOST_SIGNALS = 8, 8
"""So many are named; a number tells of the rest."""


def chosen_line(scenario: Scenario, tls_ids: Collection[str] | None) -> str:
    """That only some of a scenario's signals were controlled; "" where none was chosen, or all were.

    Args:
        tls_ids: the chosen ones; None for all that can be controlled.
    """
    known = scenario.signals
    chosen = known if tls_ids is None else [tls_id for tls_id in known if tls_id in tls_ids]
    if len(chosen) == len(known):
        return ""
    more = f" and {len(chosen) - MOST_SIGNALS} more" if len(chosen) > MOST_SIGNALS else ""
    named = ", ".join(map(printable, chosen[:MOST_SIGNALS]))
    return f"{len(chosen)} of {len(known)} signals controlled ({named}{more}); the others keep their program"


def unserved_by(results: Iterable[RunResult]) -> dict[str, list[Unserved]]:
    """Per controller that did not serve a link in some run, these links."""
    found: dict[str, set[Unserved]] = {}
    for run in results:
        if run.findings.unserved:
            found.setdefault(run.controller, set()).update(run.findings.unserved)
    return {name: sorted(links) for name, links in found.items()}


def unserved_lines(results: Sequence[RunResult], labels: Mapping[str, str] | None = None) -> list[str]:
    """A line for each controller that never served somebody.

    Args:
        labels: shorter names of the controllers.
    """
    lines = []
    for name, links in unserved_by(results).items():
        runs = [bool(run.findings.unserved) for run in results if run.controller == name]
        more = f" and {len(links) - MOST_LINKS} more links" if len(links) > MOST_LINKS else ""
        lines.append(
            f"never served by {_of(labels, name)}: {_named(links[:MOST_LINKS])}{more}, though somebody was there "
            f"(in {sum(runs)} of {len(runs)} runs)"
        )
    return lines


def warning_lines(results: Iterable[RunResult], labels: Mapping[str, str] | None = None) -> list[str]:
    """A line for each signal of whose program SUMO warns, with the controllers that run it."""
    by: dict[tuple[str, str], dict[str, None]] = {}
    for run in results:
        for pair in run.findings.warnings:
            by.setdefault(pair, {})[_of(labels, run.controller)] = None
    lines = [
        f"SUMO warns of signal {printable(tls_id)} under {', '.join(names)}: {printable(said, 200)}"
        for (tls_id, said), names in sorted(by.items())
    ]
    more = len(lines) - MOST_SIGNALS
    return lines[:MOST_SIGNALS] + ([f"SUMO warns of {more} more programs"] if more > 0 else [])


def _named(links: Iterable[Unserved]) -> str:
    """Links, signal by signal; crossings are called so."""
    by: dict[tuple[str, bool], list[str]] = {}
    for link in links:
        by.setdefault((link.tls_id, link.walkers), []).append(str(link.link_index))
    return ", ".join(
        f"{'the crossing at ' if walkers else ''}link{'s' if len(numbers) > 1 else ''} {', '.join(numbers)} "
        f"of signal {printable(tls_id)}"
        for (tls_id, walkers), numbers in by.items()
    )


def _of(labels: Mapping[str, str] | None, name: str) -> str:
    return name if labels is None else labels[name]

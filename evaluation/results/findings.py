"""In words: who was never served, and what SUMO says against a program."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from evaluation.contest import RunResult
from evaluation.findings import Unserved
from plumbing.errors import printable

MOST_LINKS, MOST_SIGNALS = 6, 8
"""So many are named; a number tells of the rest."""


def unserved_by(results: Iterable[RunResult]) -> dict[str, Counter[Unserved]]:
    """Per controller that did not serve a link, in how many of its runs it did not serve which."""
    found: dict[str, Counter[Unserved]] = {}
    for run in results:
        if run.findings.unserved:
            found.setdefault(run.controller, Counter()).update(run.findings.unserved)
    return found


def unserved_lines(results: Sequence[RunResult], labels: Mapping[str, str] | None = None) -> list[str]:
    """A line for each controller that never served somebody.

    Args:
        labels: shorter names of the controllers.
    """
    runs = Counter(run.controller for run in results)
    lines = []
    for name, links in unserved_by(results).items():
        named = [
            f"{_link(link)} ({count} of {runs[name]} runs)" for link, count in sorted(links.items())[:MOST_LINKS]
        ]
        more = f", and {len(links) - MOST_LINKS} more links" if len(links) > MOST_LINKS else ""
        lines.append(f"{_of(labels, name)} never served {', '.join(named)}{more}, though somebody was there for it")
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


def _link(link: Unserved) -> str:
    what = "the crossing at link" if link.walkers else "link"
    return f"{what} {link.link_index} of signal {printable(link.tls_id)}"


def _of(labels: Mapping[str, str] | None, name: str) -> str:
    return name if labels is None else labels[name]

"""Reads a recording of signal states and judges it: `check` returns every violation."""

from __future__ import annotations

import itertools
import xml.etree.ElementTree as ET
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from evaluation.monitor.net import BROKEN_FILE, MonitorInputError, open_xml, read_signals
from evaluation.monitor.rules import Finding, Interval, Judge, Rules


@dataclass(frozen=True)
class Recording:
    """The displays of every signal in order of time."""

    step_s: float
    intervals: dict[str, list[Interval]]


def read_states(states_file: Path) -> Recording:
    """The recorded states, equal ones joined."""
    frames: dict[str, list[tuple[int, str]]] = defaultdict(list)
    try:
        with open_xml(states_file) as stream:
            for _, element in ET.iterparse(stream):
                if element.tag == "tlsState":
                    time_ms = round(float(element.attrib["time"]) * 1000)
                    frames[element.attrib["id"]].append((time_ms, element.attrib["state"]))
                    element.clear()
    except (ET.ParseError, *BROKEN_FILE) as error:
        reason = f"missing attribute {error}" if isinstance(error, KeyError) else str(error)
        raise MonitorInputError(f"{states_file}: not a recording ({reason}); record it anew") from error
    if not frames:
        raise MonitorInputError(f"{states_file}: holds no <tlsState>; record with a SaveTLSStates timedEvent")
    times = sorted({time_ms for rows in frames.values() for time_ms, _ in rows})
    step_ms = min((b - a for a, b in itertools.pairwise(times)), default=1000)
    intervals = {tls_id: _join(states_file, tls_id, rows, step_ms) for tls_id, rows in frames.items()}
    return Recording(step_ms / 1000, intervals)


def _join(states_file: Path, tls_id: str, rows: list[tuple[int, str]], step_ms: int) -> list[Interval]:
    joined: list[Interval] = []
    for time_ms, state in rows:
        last = joined[-1] if joined else None
        if last is not None and time_ms != last.end_ms:
            raise MonitorInputError(
                f"{states_file}: signal {tls_id!r} jumps from {(last.end_ms - step_ms) / 1000:g} s to"
                f" {time_ms / 1000:g} s at a step of {step_ms / 1000:g} s; record every step once"
            )
        if last is not None and last.state == state:
            joined[-1] = Interval(last.start_ms, time_ms + step_ms, state)
        else:
            joined.append(Interval(time_ms, time_ms + step_ms, state))
    return joined


def check(
    net_file: Path | str,
    states_file: Path | str,
    rules: Rules = Rules(),  # noqa: B008 (frozen)
    tls_ids: Collection[str] | None = None,
) -> list[Finding]:
    """All violations in a recording, in order of time.

    `tls_ids` None judges every signal of the recording, rail signals apart. Raises MonitorInputError when a
    file cannot be read, the two don't fit each other, or a signal asked for is missing.
    """
    signals, recording = read_signals(Path(net_file)), read_states(Path(states_file))
    if tls_ids is None:
        tls_ids = [name for name in recording.intervals if name not in signals or not signals[name].rail]
    findings: list[Finding] = []
    for tls_id in dict.fromkeys(tls_ids):
        for known, where in ((signals, net_file), (recording.intervals, states_file)):
            if tls_id not in known:
                raise MonitorInputError(f"{where}: has no signal {tls_id!r}; give a net and its own recording")
        intervals, links = recording.intervals[tls_id], signals[tls_id]
        if links.rail:
            raise MonitorInputError(f"{net_file}: {tls_id!r} is a rail signal, not judged here; leave it out")
        needed, shortest = max(links.paths) + 1, min(len(interval.state) for interval in intervals)
        if shortest < needed:
            raise MonitorInputError(
                f"{states_file}: signal {tls_id!r} has states of {shortest} characters, {net_file} has"
                f" {needed} links; give the net that was recorded"
            )
        findings += Judge(links, intervals, rules).findings()
    return sorted(findings, key=lambda found: (found.time_s, found.tls_id, found.kind, found.links))

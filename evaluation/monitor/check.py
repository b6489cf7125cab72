"""Reads a recording of signal states and judges it: `check` returns every violation.

SUMO writes into a recording which program each signal runs, and which files it was started with. Both are taken
from there: what was controlled, and the programs that the network has from additional files.
"""

from __future__ import annotations

import html
import itertools
import re
import xml.etree.ElementTree as ET
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from evaluation.monitor.files import BROKEN_FILE, MonitorInputError, open_xml
from evaluation.monitor.net import read_signals
from evaluation.monitor.programs import lit
from evaluation.monitor.rules import Finding, Interval, Judge, Rules


@dataclass(frozen=True)
class Recording:
    """The displays of every signal in order of time."""

    step_s: float
    intervals: dict[str, list[Interval]]
    controlled: tuple[str, ...] = ()
    """The signals that did not run a program of their own, in order of appearance."""
    additional: tuple[Path, ...] = ()
    """The additional files that SUMO was started with."""


CONTROLLED = re.compile(r"intergreen(-\d+)?|online")
"""Programs of a signal under control from outside: those that this project installs, and SUMO's own name for states
that are set one by one."""
ADDITIONAL = re.compile(r'<additional-files value="([^"]*)"')
SCRATCH = ".intergreen-"
"""How the folders of files begin that are written for one run and hold no programs."""


@dataclass(frozen=True)
class Judgement:
    """What was judged, and what was found."""

    findings: list[Finding]
    """In order of time."""
    judged: tuple[str, ...]
    left: tuple[str, ...] = ()
    """Signals of the recording that were not judged, since the run did not control them."""
    missing: tuple[Path, ...] = field(default=())
    """Additional files of the run that are gone: programs in them are not known."""


def read_states(states_file: Path) -> Recording:
    """The recorded states, equal ones joined."""
    frames: dict[str, list[tuple[int, str]]] = defaultdict(list)
    controlled: dict[str, None] = {}
    header = ""
    try:
        with open_xml(states_file) as stream:
            for event, element in ET.iterparse(stream, events=("end", "comment")):
                if event == "comment":
                    header = header or element.text or ""
                elif element.tag == "tlsState":
                    time_ms = round(float(element.attrib["time"]) * 1000)
                    frames[element.attrib["id"]].append((time_ms, lit(element.attrib["state"])))
                    if CONTROLLED.fullmatch(element.get("programID", "")):
                        controlled[element.attrib["id"]] = None
                    element.clear()
    except (ET.ParseError, *BROKEN_FILE) as error:
        reason = f"missing attribute {error}" if isinstance(error, KeyError) else str(error)
        raise MonitorInputError(f"{states_file}: not a recording ({reason}); record it anew") from error
    if not frames:
        raise MonitorInputError(f"{states_file}: holds no <tlsState>; record with a SaveTLSStates timedEvent")
    times = sorted({time_ms for rows in frames.values() for time_ms, _ in rows})
    step_ms = min((b - a for a, b in itertools.pairwise(times)), default=1000)
    intervals = {tls_id: _join(states_file, tls_id, rows, step_ms) for tls_id, rows in frames.items()}
    named = [html.unescape(value).split(",") for value in ADDITIONAL.findall(header)]
    additional = [states_file.parent / name.strip() for names in named for name in names if name.strip()]
    return Recording(step_ms / 1000, intervals, tuple(controlled), tuple(additional))


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
    additional: Sequence[Path | str] = (),
    *,
    all_signals: bool = False,
) -> list[Finding]:
    """The violations that `judge` finds in a recording, in order of time."""
    return judge(net_file, states_file, rules, tls_ids, additional, all_signals=all_signals).findings


def judge(
    net_file: Path | str,
    states_file: Path | str,
    rules: Rules = Rules(),  # noqa: B008 (frozen)
    tls_ids: Collection[str] | None = None,
    additional: Sequence[Path | str] = (),
    *,
    all_signals: bool = False,
) -> Judgement:
    """Judge a recording.

    Args:
        tls_ids: the signals to judge. By default those that were controlled from outside, or where none was, all,
            those of railways apart.
        additional: files with programs of the network's, beside those that the recording names.
        all_signals: judge all by default, controlled or not.

    Raises:
        MonitorInputError: a file cannot be read, the two don't fit each other, or a signal asked for is missing.
    """
    recording = read_states(Path(states_file))
    there = [file for file in recording.additional if file.is_file()]
    signals = read_signals(Path(net_file), [*there, *map(Path, additional)])
    judgeable = [name for name in recording.intervals if name not in signals or not signals[name].rail]
    if tls_ids is None:
        ours = [] if all_signals else [name for name in judgeable if name in recording.controlled]
        tls_ids = ours or judgeable
        left = [name for name in judgeable if name not in tls_ids]
    else:
        left = []
    findings: list[Finding] = []
    for tls_id in dict.fromkeys(tls_ids):
        for known, where in ((signals, net_file), (recording.intervals, states_file)):
            if tls_id not in known:
                raise MonitorInputError(f"{where}: has no signal {tls_id!r}; give a net and its own recording")
        intervals, links = recording.intervals[tls_id], signals[tls_id]
        if links.rail:
            raise MonitorInputError(f"{net_file}: {tls_id!r} is a signal of a railway, not judged here; leave it out")
        needed, shortest = max(links.paths) + 1, min(len(interval.state) for interval in intervals)
        if shortest < needed:
            raise MonitorInputError(
                f"{states_file}: signal {tls_id!r} has states of {shortest} characters, {net_file} has"
                f" {needed} links; give the net that was recorded"
            )
        findings += Judge(links, intervals, rules).findings()
    findings.sort(key=lambda found: (found.time_s, found.tls_id, found.kind, found.links))
    missing = [file for file in recording.additional if file not in there and not _of_one_run(file)]
    return Judgement(findings, tuple(dict.fromkeys(tls_ids)), tuple(left), tuple(missing))


def _of_one_run(file: Path) -> bool:
    return any(part.startswith(SCRATCH) for part in file.parts)

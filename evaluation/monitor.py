"""An independent safety monitor: judges the signal states that SUMO recorded against the net file alone.

    python -m evaluation.monitor NET STATES [--tls ID ...] [--json]

STATES is what SUMO writes for `<timedEvent type="SaveTLSStates" dest="FILE"/>`. Exit status: 0 no finding,
1 findings, 2 bad input. A state holds from its `time` for one step. What is checked (links i and j conflict
when the junction's table makes them foes, when they enter one lane, or, on two junctions of one signal, when
their centre lines cross; never when they leave one lane):

* `conflicting_greens`: i and j both G; G against a g that does not yield to it; two g of which neither
  yields; any two of these where neither turns nor merges (two streets, a street and its crossing). A link
  index shared by connections that conflict with each other counts as such a pair.
* `unyielding_turn_on_red`: s against a G that it does not yield to, against a g when neither yields, or
  against either when it does not turn.
* `missing_yellow`, `short_yellow`, `aborted_yellow` (y, then green again), `yellow_without_green` (r, then
  y): a vehicle link that loses green shows y for `yellow_s` without a break, with `deceleration_mps2` for as
  long as its speed limit asks for. A crossing ends without yellow.
* `short_min_green`: a vehicle link's green, G and g taken together, is shorter than `min_green_s`;
  `short_walk`: a crossing's, than `walk_s`.
* `green_against_yellow`: j starts while i still shows the yellow that ended its green.
* `short_red_clearance`, `short_pedestrian_clearance`: j starts sooner after the end of i's yellow (or walk)
  than `monitor_net.clearance_s` asks for. To start is to turn green, or to turn from g to G against an i
  that j has yielded to until then: a turn that waited for gaps must not be released into a foe's tail.
* `short_protection_change`: i went from G to g, and a j that i has to yield to starts before i has shown g
  for `yellow_s` plus its red clearance (a crossing: its clearance). Who entered under G must be able to
  leave, as after a yellow.

What was on display when the recording began or ended is not judged for its length; o and O (switched off)
are not green, but a green that starts next to them is judged only after they have ended.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import sys
import xml.etree.ElementTree as ET
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from evaluation.monitor_net import BROKEN_FILE, MonitorInputError, open_xml, read_signals
from evaluation.monitor_rules import Finding, Interval, Judge, Rules
from plumbing.errors import LONGEST_LINE, printable, visible

__all__ = ["Finding", "MonitorInputError", "Rules", "check", "main"]


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


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m evaluation.monitor",
        description="Judge the signal states that SUMO recorded (SaveTLSStates) against the net file alone.",
        epilog="Exit status: 0 no finding, 1 findings, 2 bad input.",
    )
    parser.add_argument("net", type=Path, help="the .net.xml (or .net.xml.gz) that was simulated")
    parser.add_argument("states", type=Path, help="the recording: an XML file of <tlsState> elements")
    parser.add_argument("--tls", nargs="+", metavar="ID", help="judge these signals only (default: all)")
    parser.add_argument("--json", action="store_true", help="print the findings for machines")
    for rule in dataclasses.fields(Rules):
        flag = "--" + rule.name.replace("_", "-")
        parser.add_argument(flag, type=float, default=rule.default, metavar="X", help="default: %(default)s")
    given = parser.parse_args(arguments)
    try:
        rules = Rules(**{rule.name: getattr(given, rule.name) for rule in dataclasses.fields(Rules)})
        findings = check(given.net, given.states, rules, given.tls)
    except MonitorInputError as error:
        print(f"error: {printable(error, LONGEST_LINE)}", file=sys.stderr)
        return 2
    if given.json:
        print(json.dumps({"findings": [dataclasses.asdict(found) for found in findings]}))
    else:
        for found in findings:
            print(visible(f"{found.time_s:9.2f} s  {found.tls_id}  {found.kind}: {found.message}"))
        kinds = Counter(found.kind for found in findings)
        counts = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
        print(f"{len(findings)} findings: {counts}" if findings else "no finding")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())

"""The monitor's command, `python -m evaluation.monitor`; the package says what is checked."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from evaluation.monitor.check import Judgement, judge
from evaluation.monitor.files import MonitorInputError
from evaluation.monitor.rules import Rules
from plumbing.errors import LONGEST_LINE, printable, visible


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m evaluation.monitor",
        description="Judge the signal states that SUMO recorded (SaveTLSStates) against the net file alone.",
        epilog="Exit status: 0 no finding, 1 findings, 2 bad input.",
    )
    parser.add_argument("net", type=Path, help="the .net.xml (or .net.xml.gz) that was simulated")
    parser.add_argument("states", type=Path, help="the recording: an XML file of <tlsState> elements")
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--tls",
        nargs="+",
        metavar="ID",
        help="judge these signals only (default: those that the run controlled from outside; all where it did none)",
    )
    which.add_argument("--all-signals", action="store_true", help="judge the signals that it left alone, too")
    parser.add_argument(
        "--additional",
        nargs="+",
        type=Path,
        default=[],
        metavar="FILE",
        help="additional files with signal programs of the network's, beside those that the recording names",
    )
    parser.add_argument("--json", action="store_true", help="print the findings for machines")
    for rule in dataclasses.fields(Rules):
        flag = "--" + rule.name.replace("_", "-")
        parser.add_argument(flag, type=float, default=rule.default, metavar="X", help="default: %(default)s")
    given = parser.parse_args(arguments)
    try:
        rules = Rules(**{rule.name: getattr(given, rule.name) for rule in dataclasses.fields(Rules)})
        judged = judge(given.net, given.states, rules, given.tls, given.additional, all_signals=given.all_signals)
    except MonitorInputError as error:
        print(f"error: {printable(error, LONGEST_LINE)}", file=sys.stderr)
        return 2
    if given.json:
        findings = [dataclasses.asdict(found) for found in judged.findings]
        print(json.dumps({"findings": findings, "judged": judged.judged, "not_judged": judged.left}))
    else:
        _show(judged)
    for file in judged.missing:
        print(
            f"note: the recording names {printable(file)}, which is gone; a program in it is not known here, "
            "give it with --additional",
            file=sys.stderr,
        )
    return 1 if judged.findings else 0


def _show(judged: Judgement) -> None:
    for found in judged.findings:
        print(visible(f"{found.time_s:9.2f} s  {found.tls_id}  {found.kind}: {found.message}"))
    kinds = Counter(found.kind for found in judged.findings)
    counts = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
    line = f"{len(judged.findings)} findings: {counts}" if judged.findings else "no finding"
    if judged.left:
        of = len(judged.judged) + len(judged.left)
        line += f" in the {len(judged.judged)} of {of} signals that the run controlled (--all-signals judges all)"
    print(line)


if __name__ == "__main__":
    sys.exit(main())

"""The monitor's command, `python -m evaluation.monitor`; the package says what is checked."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from evaluation.monitor.check import check
from evaluation.monitor.net import MonitorInputError
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

"""A recorded day once more: its readings through the same estimator, policy and guard, and the same lines out."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from deployment.eventlog import line
from deployment.guard import Facts
from deployment.pilot import Answer, Pilot, Policy
from deployment.reading import Reading
from deployment.runtime import ask


@dataclass(frozen=True)
class Replayed:
    """What a replay found."""

    decisions: int
    different: int
    first: str
    """Of the different ones, in words."""
    writes: int
    """Commands that the log says were sent."""


def replay(records: Iterable[Mapping[str, Any]], pilot: Pilot, policy: Policy) -> Replayed:
    """Make every decision of a log again.

    Args:
        records: what `deployment.eventlog.read_log` yields.
        pilot: a new one, with the guard as it was at the start.
    """
    values: dict[str, int] = {}
    fast: tuple[str, ...] = ()
    slow: tuple[str, ...] = ()
    decisions = different = writes = 0
    first = ""
    inputs = None
    made: str | None = None
    for record in records:
        kind = record["k"]
        if kind == "start":
            fast, slow = tuple(record["fast"]), tuple(record["slow"])
        elif kind == "poll":
            values |= record["v"]
            missing = record.get("missing", ())
            asked = (*fast, *slow) if record.get("slow") else fast
            pilot.poll(Reading(record["t"], {name: values[name] for name in asked if name not in missing}))
        elif kind == "beat":
            facts = Facts(foreign_write=record.get("foreign", ""), trouble=record.get("trouble", ""))
            inputs = pilot.look(record["t"], record["n"], facts)
        elif kind == "answer":
            assert inputs is not None
            if "failure" in record and not record["failure"].startswith("the policy failed"):
                answer = Answer(record["elapsed_s"], failure=record["failure"])
            else:
                answer = dataclasses.replace(ask(policy, inputs), elapsed_s=record["elapsed_s"])
            made = line(pilot.conclude(answer).record)
        elif kind == "decision":
            decisions += 1
            if made != line(record):
                different += 1
                first = first or f"at {record['t']:g} s: the log has {line(record)}, now it is {made}"
        elif kind == "alarm":
            pilot.alarm(record["t"])
        elif kind == "begin":
            pilot.guard.begin(record["t"])
        elif kind == "verified":
            pilot.guard.verified()
        elif kind == "written":
            writes += 1
    return Replayed(decisions, different, first, writes)

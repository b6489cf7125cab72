"""Makes the decisions of a log again: its readings go through the same estimator, policy and guard."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from deployment.field.eventlog import line
from deployment.field.guard import Facts
from deployment.field.inference import ask
from deployment.field.pilot import Answer, Pilot, Policy, Row
from deployment.field.reading import Reading
from deployment.field.state import restore, state_of
from plumbing.errors import InputError


@dataclass(frozen=True)
class Replayed:
    """What a replay found."""

    decisions: int
    different: int
    """Decisions that came out otherwise, are missing or are there too often, and states and commands that do not
    follow from what stands before them."""
    first: str
    """The first difference, in words."""
    writes: int
    """How many commands the log says were sent."""


def replay(records: Iterable[Mapping[str, Any]], pilot: Pilot, policy: Policy) -> Replayed:
    """Make every decision of a log again.

    Args:
        records: what `deployment.field.eventlog.read_log` yields. Where its oldest parts are gone, the first record
            holds the state to begin with.
        pilot: a new one, with the guard as it was at the start.

    Raises:
        InputError: a record is none that a run can have written.
    """
    again = _Replay(pilot, policy)
    for number, record in enumerate(records, start=1):
        try:
            again.take(record)
        except Exception as error:  # whatever a made-up record leads to, in whatever it reaches
            what = " ".join(f"{record['k']}; {type(error).__name__}: {error}".split())
            raise InputError(f"record {number} of the log cannot be replayed; no run writes {what:.160}") from error
    return Replayed(again.decisions, again.different, again.first, again.writes)


class _Replay:
    """One replay, record by record."""

    def __init__(self, pilot: Pilot, policy: Policy) -> None:
        self.pilot, self.policy = pilot, policy
        self.decisions = self.different = self.writes = 0
        self.first = ""
        self._fast: tuple[str, ...] | None = None
        self._slow: tuple[str, ...] = ()
        self._values: dict[str, int] = {}
        self._inputs: Row | None = None
        self._made: Mapping[str, Any] | None = None
        """The decision that follows from what was read, until the log's own comes."""
        self._commanded: int | None = None
        """The beat whose command may have been written."""

    def take(self, record: Mapping[str, Any]) -> None:
        """The next record."""
        kind, pilot = record["k"], self.pilot
        if kind == "start":
            self._begin(record)
        elif kind == "poll":
            self._values |= record["v"]
            missing = record.get("missing", ())
            assert self._fast is not None, "no line 'start' before it"
            asked = (*self._fast, *self._slow) if record.get("slow") else self._fast
            pilot.poll(Reading(record["t"], {name: self._values[name] for name in asked if name not in missing}))
        elif kind == "beat":
            self._expect(self._made is None, record, "the decision before it is missing")
            facts = Facts(
                record.get("over", ""), foreign_write=record.get("foreign", ""), trouble=record.get("trouble", "")
            )
            self._inputs, self._made = pilot.look(record["t"], record["n"], facts), None
        elif kind == "answer":
            assert self._inputs is not None, "no line 'beat' before it"
            if "failure" in record and not record["failure"].startswith("the policy failed"):
                answer = Answer(record["elapsed_s"], failure=record["failure"])
            else:
                answer = dataclasses.replace(ask(self.policy, self._inputs), elapsed_s=record["elapsed_s"])
            self._inputs, self._made = None, pilot.conclude(answer).record
        elif kind == "decision":
            self._decision(record)
        elif kind == "alarm":
            pilot.alarm(record["t"])
        elif kind == "begin":
            pilot.guard.begin(record["t"])
        elif kind == "verified":
            pilot.guard.verified()
        elif kind == "written":
            self.writes += 1
            self._expect(record["beat"] == self._commanded, record, "no decision before it has this command")
            self._commanded = None

    def _begin(self, record: Mapping[str, Any]) -> None:
        """A part begins: with what is known, or for the first one that is there with what it says was known."""
        if self._fast is not None:
            known = state_of(self.pilot)
            differing = [name for name in known if line(known[name]) != line(record["state"][name])]
            self._expect(not differing, record, f"the log has another state of {', '.join(differing)}")
        elif record["part"] > 1:
            restore(self.pilot, record["state"])
            self._values = dict(record["values"])
        self._fast, self._slow = tuple(record["fast"]), tuple(record["slow"])

    def _decision(self, record: Mapping[str, Any]) -> None:
        self.decisions += 1
        made = None if self._made is None else line(self._made)
        self._made = None
        self._expect(made == line(record), record, f"the log has {line(record)}, now it is {made}")
        self._commanded = record["beat"] if "command" in record else None

    def _expect(self, fits: bool, record: Mapping[str, Any], otherwise: str) -> None:
        if not fits:
            self.different += 1
            where = f"at {record['t']:g} s" if "t" in record else f"at the beginning of part {record['part']}"
            self.first = self.first or f"{where}: {otherwise}"

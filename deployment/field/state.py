"""What a pilot knows of the past, as plain JSON and back: a part of a log that begins with it needs no earlier part.

Everything else that a pilot holds follows from its bundle. A test compares every attribute after a restoration, so
that none can be forgotten here.
"""

from __future__ import annotations

import dataclasses
import math
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from deployment.field.guard import Mode
from deployment.field.pilot import Pilot
from signals.snapshot import Snapshot

State = dict[str, dict[str, Any]]
"""By holder and attribute; a number that is not finite is "inf", "-inf" or "nan", since JSON has none."""


def state_of(pilot: Pilot) -> State:
    """All that a pilot knows of the past, between two decisions."""
    return {
        name: {attribute: _jsonable(getattr(holder, attribute)) for attribute in kept}
        for name, holder, kept in _holders(pilot)
    }


def restore(pilot: Pilot, state: Mapping[str, Mapping[str, Any]]) -> None:
    """Let a new pilot of the same bundle know what another one knew.

    Raises:
        LookupError, TypeError, ValueError: this is no such state; the pilot is of no use any more.
    """
    pilot.estimator.begin(0.0)
    for name, holder, kept in _holders(pilot):
        for attribute in kept:
            setattr(holder, attribute, _like(getattr(holder, attribute), state[name][attribute]))


def _holders(pilot: Pilot) -> Iterator[tuple[str, object, tuple[str, ...]]]:
    """The objects that hold state: name, object, and the attributes that change."""
    estimator = pilot.estimator
    yield "pilot", pilot, (
        "target", "_target_since_s", "_decided", "_up_time", "_rebooted", "_problem",
        "_beat", "_now_s", "_values",
    )  # fmt: skip
    yield "guard", pilot.guard, ("mode", "reason", "since_s", "_entries", "_verified", "_retired")
    yield "estimator", estimator, ("commanded", "_begun", "_old", "_change_began_s", "changes")
    yield "view", estimator.view, ("last_s", "_values", "_at_s")
    yield "detectors", estimator.detectors, (
        "counts", "busy_s", "faults", "_left_s", "_on", "_seen_s", "_begun_s", "_answered_s", "_rises", "_alarms",
        "_bad_until_s",
    )  # fmt: skip
    yield "machine", estimator.machine, (
        "phase", "green_since_s", "settled_at_s", "served_until_s", "green_until_s", "now_s",
        "_held_until_s", "_max_until_s",
    )  # fmt: skip
    yield "snapshot", estimator.snapshot, tuple(field.name for field in dataclasses.fields(Snapshot))
    for n, reader in enumerate(estimator.readers):
        yield f"reader {n}", reader, (
            "_time_s", "_counts", "_busy_s", "_was_green", "_since", "_known_veh", "_stood", "_occupied_since",
            "_alone_veh", "_chattered_at", "_counted_at",
        )  # fmt: skip
        yield f"queues {n}", reader.queues, (
            "_between", "_behind", "_counted", "_counted_s", "_stuck_s", "_doubted",
        )  # fmt: skip


def _jsonable(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return _jsonable(value.tolist())
    if isinstance(value, (list, tuple, deque)):
        return [_jsonable(item) for item in value]
    if isinstance(value, dict):
        return {key: _jsonable(item) for key, item in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def _like(old: Any, content: Any) -> Any:
    """What `_jsonable` made JSON of, in the form that `old` has."""
    if isinstance(old, np.ndarray):
        return np.array(content, old.dtype).reshape(old.shape)
    if isinstance(old, tuple):
        return tuple(_like(one, item) for one, item in zip(old, content, strict=True))
    if isinstance(old, deque):
        return deque(map(float, content), old.maxlen)
    if isinstance(old, Mode):
        return Mode(content)
    return float(content) if isinstance(old, float) else content

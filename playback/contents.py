"""The required content of a replay's head and sections: kinds, bounds, and what has to fit
together. docs/replay.md describes them; `check_head` and `check_section` hold a file to it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from playback.codec import Tracks
from playback.outputs import PERSON_COLUMNS, VEHICLE_COLUMNS
from plumbing.plain import listed, misfit, named, number, one_of, optional, record, row, text, whole
from signals.timing import timing_of

MOST_STEPS = 10_000_000
"""Most steps of a run: a day in steps of a hundredth of a second has fewer."""
MOST_SIGNALS = 100_000
MOST_PHASES = 4096
FAR_DM = 2**30
"""Coordinates [0.1 m]: further out than any network, and the page counts with 32 bits."""
_TEXTS = listed(text(), most=1000)
_SHA256 = text(64, "[0-9a-f]{64}")
_COUNT = whole(0, 2**40)
_TIME_S = number(0, 1e9)

_HEAD = record(
    {
        "scenario": record(
            {
                "name": text(), "given": text(), "routes": _TEXTS, "additional": _TEXTS, "demand": text(60),
                "begin_s": _TIME_S, "end_s": _TIME_S, "options": listed(row(text(), text()), most=1000),
                "files_sha256": named(_SHA256),
            },
            {"made_up": text()},
        ),
        "controller": record({"name": text()}),
        "seed": whole(0, 2**31 - 1),
        "sensing": one_of("full", "detectors"),
        "steps": whole(1, MOST_STEPS),
        "signals": listed(text(), most=MOST_SIGNALS),
        "versions": named(text()),
        "sha256": named(_SHA256),
        "result": record(
            {
                "vehicles": _COUNT, "delay_s": optional(number()), "arrived_veh": _COUNT, "stuck_veh": _COUNT,
                "positions": _COUNT,
            }
        ),
        "branch": optional(record({"at_s": _TIME_S, "before": text(), "then": text(), "of_sha256": named(_SHA256)})),
    }
)  # fmt: skip


def check_head(head: Any) -> None:
    """Raises ValueError or InputError for a head that no run of ours has."""
    misfit(_HEAD, head)
    timing, scenario = timing_of(head.get("timing")), head["scenario"]
    steps = math.ceil((scenario["end_s"] - scenario["begin_s"]) / timing.sim_step_s - 1e-9)
    if steps != head["steps"]:
        raise ValueError(f"steps is {head['steps']}, and from begin_s to end_s there are {steps}")
    _distinct("signals", head["signals"])


_PLACES = listed(whole(-FAR_DM, FAR_DM), least=2)
_NAMED_PHASE = record({"name": text(2**16), "state": text(), "min": number(0), "max": number(0, math.inf)})
_LINK = row(whole(0, 100_000), whole(0, 10**7), text(8), whole(-1, 10**7))
_NETWORK = record(
    {
        "lanes": listed(
            record({"k": text(20), "w": whole(0, 100_000), "s": _PLACES}, {"m": one_of(1), "e": text()}), most=10**7
        ),
        "junctions": listed(_PLACES),
        "joints": listed(_PLACES),
        "signals": listed(
            record(
                {"id": text(), "links": listed(_LINK)},
                {"phases": listed(_NAMED_PHASE), "row": whole(0, MOST_SIGNALS), "reason": text(2**16)},
            ),
            most=MOST_SIGNALS,
        ),
    }
)


def _network(content: Any, head: Mapping[str, Any], ids: Any) -> None:
    misfit(_NETWORK, content)
    lanes = len(content["lanes"])
    _distinct("signals", [signal["id"] for signal in content["signals"]])
    for signal in content["signals"]:
        if any(max(lane, to) >= lanes for _, lane, _, to in signal["links"]):
            raise ValueError(f"signal {signal['id']!r} has a link on a lane that is not there")
        if signal.get("row", -1) >= len(head["signals"]):
            raise ValueError(f"signal {signal['id']!r} has a row that is not there")
    shapes = [*(lane["s"] for lane in content["lanes"]), *content["junctions"], *content["joints"]]
    if any(len(shape) % 2 for shape in shapes):
        raise ValueError("a shape has x without y")


_SIGNALS = named(
    record(
        {
            "states": listed(text(100_000, "[rugGyYsoO]+"), least=1),
            "after": listed(whole(0, MOST_STEPS), least=1),
            "state": listed(whole(0, MOST_STEPS), least=1),
        }
    ),
    most=MOST_SIGNALS,
)


def _signals(content: Any, head: Mapping[str, Any], ids: Any) -> None:
    misfit(_SIGNALS, content)
    for tls_id, of in content.items():
        if len(of["after"]) != len(of["state"]) or max(of["state"]) >= len(of["states"]):
            raise ValueError(f"{tls_id!r} goes over to a state that is not there")
        if sum(of["after"]) >= head["steps"]:
            raise ValueError(f"{tls_id!r} changes after the run has ended")
        if len({len(state) for state in of["states"]}) > 1:
            raise ValueError(f"{tls_id!r} has states of different lengths")


_MEASURE = optional(number())
_COLUMNS: dict[str, Any] = {
    name: listed(_MEASURE) for name in (*VEHICLE_COLUMNS, *PERSON_COLUMNS) if name not in ("id", "speed_factor")
} | {"id": listed(text()), "type": listed(whole(0, 10**7)), "removed": listed(one_of(True, False))}
_KIND = record({"id": text(), "class": text(60), "length_m": number(0, 1e4), "width_m": number(0, 1e4)})
_VEHICLES = record(
    {
        "ids": listed(text()),
        "type_of": listed(whole(0, 10**7)),
        "types": listed(_KIND),
        "trips": record({name: _COLUMNS[name] for name in VEHICLE_COLUMNS if name != "speed_factor"}),
    }
)
_PERSONS = record(
    {"ids": listed(text()), "trips": record({name: _COLUMNS[name] for name in PERSON_COLUMNS})}
)  # fmt: skip


def _vehicles(content: Any, head: Mapping[str, Any], ids: Any) -> None:
    misfit(_VEHICLES, content)
    _distinct("ids", content["ids"])
    _same_length(content["trips"])
    if len(content["type_of"]) != len(content["ids"]):
        raise ValueError("ids and type_of differ in length")
    if max([*content["type_of"], *content["trips"]["type"]], default=-1) >= len(content["types"]):
        raise ValueError("a vehicle is of a type that is not there")


def _persons(content: Any, head: Mapping[str, Any], ids: Any) -> None:
    misfit(_PERSONS, content)
    _distinct("ids", content["ids"])
    _same_length(content["trips"])


CURVES = ("running_veh", "queue_veh", "waiting_veh", "planned_veh", "arrived_veh", "delay_s")


def _curves(content: Any, head: Mapping[str, Any], ids: Any) -> None:
    misfit(record({name: listed(number(), head["steps"], head["steps"]) for name in CURVES}), content)


DECISIONS = {
    "wanted": ("int16", 2), "shown": ("int16", 2), "phase": ("int16", 2), "changing": ("uint8", 2),
    "green_age_s": ("float32", 2), "mask": ("uint8", 3), "seen_veh": ("float32", 3), "queue_veh": ("float32", 3),
    "scores": ("float32", 3),
}  # fmt: skip
"""Type and number of dimensions; `scores` may be missing."""


def _decisions(content: Mapping[str, npt.NDArray[Any]], head: Mapping[str, Any], ids: Any) -> None:
    if not content:  # programs ran
        return
    timing = timing_of(head["timing"])
    count = math.ceil(head["steps"] / round(timing.decision_interval_s / timing.sim_step_s))
    for name, (kind, dimensions) in DECISIONS.items():
        if name not in content:
            if name != "scores":
                raise ValueError(f"{name} is missing")
            continue
        array = content[name]
        shape = (count, len(head["signals"]), *content["mask"].shape[2:])[:dimensions] if "mask" in content else ()
        if array.dtype != kind or array.shape != shape or array.ndim != dimensions:
            raise ValueError(f"{name} has type {array.dtype} and shape {array.shape}, not {kind} and {shape}")
        if name != "scores" and array.dtype.kind == "f" and not np.isfinite(array).all():
            raise ValueError(f"{name} is not finite everywhere")
    phases = content["mask"].shape[2]
    for name in ("wanted", "shown", "phase"):
        if content[name].size and not 0 <= content[name].min() <= content[name].max() < phases <= MOST_PHASES:
            raise ValueError(f"{name} holds a phase that is not there")


def _tracks(tracks: Tracks, head: Mapping[str, Any], ids: Any) -> None:
    def within(values: npt.NDArray[np.int64], low: int, high: int) -> bool:
        return not values.size or bool(low <= values.min() and values.max() <= high)

    if not within(tracks.thing, 0, len(ids) - 1):
        raise ValueError("a piece has a number without an id")
    if not within(tracks.first, 0, head["steps"] - 1) or not within(tracks.first + tracks.length, 1, head["steps"]):
        raise ValueError("a piece lies outside of the run")
    if not within(np.diff(tracks.first), 0, head["steps"]):
        raise ValueError("the pieces are not in the order of their first step")
    if not within(tracks.angle_deg, 0, 359) or not all(
        within(xy, -FAR_DM, FAR_DM) for xy in (tracks.x_dm, tracks.y_dm)
    ):
        raise ValueError("an angle or a position is out of bounds")
    order = np.lexsort((tracks.first, tracks.thing))
    thing, first, end = tracks.thing[order], tracks.first[order], (tracks.first + tracks.length)[order]
    if bool(((thing[1:] == thing[:-1]) & (first[1:] < end[:-1])).any()):
        raise ValueError("one vehicle or person is in two places at once")


_CHECKS: Mapping[str, Callable[[Any, Mapping[str, Any], Any], None]] = {
    "network": _network,
    "signals": _signals,
    "vehicles": _vehicles,
    "persons": _persons,
    "curves": _curves,
    "decisions": _decisions,
    "vehicle_tracks": _tracks,
    "person_tracks": _tracks,
}


def check_section(name: str, content: Any, head: Mapping[str, Any], ids: Any = ()) -> None:
    """Raises ValueError where a section's content is none that a run with this head has.

    Args:
        ids: for tracks, those that they number.
    """
    _CHECKS[name](content, head, ids)


def _distinct(name: str, ids: list[str]) -> None:
    if len(set(ids)) < len(ids):
        raise ValueError(f"{name} names one twice")


def _same_length(columns: Mapping[str, Any]) -> None:
    lengths = {name: len(column) for name, column in columns.items() if isinstance(column, list)}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"its columns differ in length ({lengths})")

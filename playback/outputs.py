"""SUMO's outputs of a run, read into arrays: trajectories, signal states and trips, each with its digest.

The digests are over what SUMO printed, before anything is rounded: two runs with the same digests were the same.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt
import polars as pl

from envs.sumo.outputs import not_whole, person_row, trip_options, vehicle_row
from playback.codec import IntArray, Tracks
from plumbing.digest import file_sha256

FloatArray = npt.NDArray[np.float64]
VEHICLES, PERSONS, STATES, TRIPS = "vehicles.csv", "persons.csv", "states.csv", "tripinfo.xml"
ATTRIBUTES = "x,y,angle,speed,lane,type"


def output_options(folder: Path) -> list[str]:
    """SUMO's options that write a run down in this folder, beside `states_xml`."""
    return [
        "--fcd-output", str(folder / VEHICLES), "--fcd-output.attributes", ATTRIBUTES,
        "--person-fcd-output", str(folder / PERSONS),
        *trip_options(folder / TRIPS),
    ]  # fmt: skip


@dataclass(frozen=True)
class Motion:
    """All vehicles or all persons, step by step: [T] points in the order of time, then of SUMO's list."""

    ids: tuple[str, ...]
    """[N] in the order of first appearance."""
    types: tuple[str, ...]
    """[N] their vehicle types."""
    owner: IntArray
    """[T] index into `ids`."""
    step: IntArray
    """[T] simulation step, from 0."""
    x_m: FloatArray
    y_m: FloatArray
    angle_deg: FloatArray
    speed_mps: FloatArray
    lane: npt.NDArray[np.int32]
    """[T] index into `lanes`; -1 for none."""
    lanes: tuple[str, ...]
    sha256: str

    def tracks(self) -> Tracks:
        """The same as pieces, rounded to 0.1 m."""
        order = np.lexsort((self.step, self.owner))
        owner, step = self.owner[order], self.step[order]
        new = np.ones(len(owner), bool)
        new[1:] = (np.diff(owner) != 0) | (np.diff(step) != 1)
        starts = np.flatnonzero(new)
        length = np.diff(np.append(starts, len(owner)))
        by_time = np.lexsort((owner[starts], step[starts]))
        piece = np.concatenate([np.arange(starts[n], starts[n] + length[n]) for n in by_time.tolist()] or [starts])
        points = order[piece.astype(np.int64)]
        begins = order[starts[by_time]]
        return Tracks(
            owner[starts][by_time],
            step[starts][by_time],
            length[by_time],
            np.round(self.angle_deg[begins]).astype(np.int64) % 360,
            np.round(self.x_m[points] * 10).astype(np.int64),
            np.round(self.y_m[points] * 10).astype(np.int64),
        )


def read_motion(path: Path, begin_s: float, sim_step_s: float, steps: int) -> Motion:
    """SUMO's fcd output as CSV, which has every step, also an empty one.

    Raises:
        InputError: it is not whole.
    """
    names = ("time", "id", "x", "y", "angle", "speed", "lane", "type")
    try:
        digest = file_sha256(path)
        with path.open("rb") as file:
            columns = file.readline().decode().strip().split(";")
        chosen = {name: next((c for c in columns if c.endswith(f"_{name}")), None) for name in names}
        text = {c for n, c in chosen.items() if c is not None and n in ("id", "lane", "type")}
        kinds = {c: pl.String if c in text else pl.Float64 for c in columns}
        table = pl.read_csv(path, glob=False, separator=";", quote_char=None, schema_overrides=kinds)
        _check_last(table[chosen["time"] or columns[0]], begin_s, sim_step_s, steps)
        if chosen["id"] is None:  # not one in the whole run
            return _no_motion(digest)
        table = table.filter(pl.col(chosen["id"]).is_not_null())
    except (OSError, pl.exceptions.PolarsError, ValueError) as error:
        raise not_whole(path, error) from error

    def numbers(name: str) -> FloatArray:
        return table[chosen[name] or ""].to_numpy().astype(np.float64)

    owner, ids = _coded(table[chosen["id"]])
    lane_column = chosen["lane"]
    lane, lanes = _coded(table[lane_column]) if lane_column is not None else (np.full(len(owner), -1, np.int64), ())
    _, firsts = np.unique(owner, return_index=True)
    types = table[chosen["type"] or ""].gather(firsts).to_list()
    return Motion(
        ids,
        tuple(str(name) for name in types),
        owner,
        np.round((numbers("time") - begin_s) / sim_step_s).astype(np.int64),
        numbers("x"),
        numbers("y"),
        numbers("angle"),
        numbers("speed"),
        lane.astype(np.int32),
        lanes,
        digest,
    )


def _check_last(times: pl.Series, begin_s: float, sim_step_s: float, steps: int) -> None:
    """Raises ValueError where the run's last step is missing, as on a full disk."""
    last = round((float(times[-1]) - begin_s) / sim_step_s) if len(times) else -1
    if last != steps - 1:
        raise ValueError(f"it ends after {last + 1} of {steps} steps")


def _no_motion(digest: str) -> Motion:
    none, numbers = np.zeros(0, np.int64), np.zeros(0)
    return Motion((), (), none, none, numbers, numbers, numbers, numbers, none.astype(np.int32), (), digest)


def _coded(column: pl.Series) -> tuple[IntArray, tuple[str, ...]]:
    """Codes in the order of first appearance, -1 for null; and what each stands for."""
    distinct = column.drop_nulls().unique(maintain_order=True)
    codes = column.replace_strict(distinct, pl.Series(range(len(distinct)), dtype=pl.Int64), default=-1)
    return codes.to_numpy().astype(np.int64), tuple(distinct.to_list())


@dataclass(frozen=True)
class SignalStates:
    """The displays of every signal: its distinct states, and the steps at which each began."""

    tls_ids: tuple[str, ...]
    states: tuple[tuple[str, ...], ...]
    changes: tuple[tuple[tuple[int, int], ...], ...]
    """Per tls: (step, index into its states), ascending; the first one is what it showed at first."""
    sha256: str

    def as_json(self) -> dict[str, Any]:
        """For the file: steps as differences."""
        result: dict[str, Any] = {}
        for tls_id, states, changes in zip(self.tls_ids, self.states, self.changes, strict=True):
            steps = np.diff([step for step, _ in changes], prepend=0).tolist()
            result[tls_id] = {"states": list(states), "after": steps, "state": [state for _, state in changes]}
        return result


def read_states(path: Path, begin_s: float, sim_step_s: float, steps: int) -> SignalStates:
    """SUMO's SaveTLSStates as CSV; the digest is over times, ids and states alone.

    Raises:
        InputError: it is not whole.
    """
    try:
        table = pl.read_csv(path, glob=False, separator=";", quote_char=None, infer_schema=False).select(
            pl.col("tlsState_time"), pl.col("tlsState_id"), pl.col("tlsState_state")
        )
        _check_last(table["tlsState_time"], begin_s, sim_step_s, steps)
        digest = hashlib.sha256("\n".join(map(";".join, table.rows())).encode()).hexdigest()
        at_step = np.round((table["tlsState_time"].cast(pl.Float64).to_numpy() - begin_s) / sim_step_s).astype(int)
    except (OSError, pl.exceptions.PolarsError, TypeError, ValueError) as error:
        raise not_whole(path, error) from error
    found: dict[str, tuple[dict[str, int], list[tuple[int, int]]]] = {}
    for step, tls_id, state in zip(
        at_step.tolist(), table["tlsState_id"].to_list(), table["tlsState_state"].to_list(), strict=True
    ):
        states, changes = found.setdefault(tls_id, ({}, []))
        index = states.setdefault(state, len(states))
        if not changes or changes[-1][1] != index:
            changes.append((step, index))
    ids = tuple(sorted(found))
    return SignalStates(ids, tuple(tuple(found[i][0]) for i in ids), tuple(tuple(found[i][1]) for i in ids), digest)


@dataclass(frozen=True)
class Trips:
    """SUMO's trip output: by column name, one row per vehicle that was to depart in [begin, end)."""

    vehicles: dict[str, list[Any]]
    persons: dict[str, list[Any]]
    sha256: str

    @property
    def delay_s(self) -> float:
        """Mean time loss + departure delay over all of them; NaN without vehicles."""
        delays = self.vehicles["delay_s"]
        return math.fsum(delays) / len(delays) if delays else math.nan


VEHICLE_COLUMNS = (
    "id", "type", "planned_s", "depart_s", "arrival_s", "delay_s", "time_loss_s", "depart_delay_s",
    "waiting_time_s", "stops", "distance_m", "speed_factor", "removed",
)  # fmt: skip
PERSON_COLUMNS = ("id", "depart_s", "duration_s", "waiting_time_s", "time_loss_s")
HEAD_ENDS = b"<tripinfos"


def read_trips(path: Path, end_s: float) -> Trips:
    """The trip output of a run that ended at `end_s`; the digest leaves its dated head out.

    Raises:
        InputError: it is not whole.
    """
    vehicles: dict[str, list[Any]] = {name: [] for name in VEHICLE_COLUMNS}
    persons: dict[str, list[Any]] = {name: [] for name in PERSON_COLUMNS}
    try:
        data = path.read_bytes()
        digest = hashlib.sha256(data[data.index(HEAD_ENDS) :]).hexdigest()
        for element in ElementTree.fromstring(data):
            if element.tag == "tripinfo" and (row := vehicle_row(element, end_s)) is not None:
                row["planned_s"] = round(row["planned_s"], 3)
                _append(vehicles, row | {"id": row["vehicle_id"]})
            elif element.tag == "personinfo" and (row := person_row(element)) is not None:
                _append(persons, row | {"id": row["person_id"]})
    except (ElementTree.ParseError, KeyError, ValueError, OSError) as error:
        raise not_whole(path, error) from error
    return Trips(vehicles, persons, digest)


def _append(columns: dict[str, list[Any]], row: Mapping[str, Any]) -> None:
    for name, column in columns.items():
        column.append(row[name])

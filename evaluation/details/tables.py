"""The tables of a run beside its trips: series, queues, signal states and passages, and the metrics from them.

All of it is SUMO's own output; nothing is read while a simulation runs. Together the outputs cost some percent of
SUMO's time (benchmarks/README.md), so every run with --out has them. Trajectories cost more: they are recorded
along one corridor with one seed.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import polars as pl

from envs.sumo.outputs import Trips, not_whole
from evaluation.details.approaches import Approach, approaches_of
from evaluation.details.passages import Ways, read_passages, ways_of
from evaluation.measure import percentile
from signals.network import RoadNetwork
from signals.spillback import JAM_SPACING_M

SWITCHES = "switches.xml"
"""The output of `evaluation.findings`, which every run has."""
SAMPLE_S = 10.0
"""Sampling interval of queues [s]; a red lasts longer."""
LEAST_PASSAGES = 20
"""Least vehicles of a movement for a 95th percentile."""


QUEUES = {
    "time_s": pl.Float64, "tls_id": pl.String, "edge": pl.String, "queue_m": pl.Float64, "spilled": pl.Boolean,
}  # fmt: skip
STATES = {"time_s": pl.Float64, "tls_id": pl.String, "state": pl.String}
_SERIES = {
    "time_s": "time",
    "running_veh": "running",
    "halting_veh": "halting",
    "waiting_veh": "waiting",  # to be inserted
    "inserted_veh": "inserted",
    "arrived_veh": "arrived",
}
SERIES = dict.fromkeys(_SERIES, pl.Float64)


@dataclass(frozen=True)
class DetailPlan:
    """The network's part in reading the details, the same for all runs of a scenario."""

    ways: Ways
    approaches: tuple[Approach, ...]

    @staticmethod
    def of(network: RoadNetwork) -> DetailPlan:
        """For this network."""
        return DetailPlan(ways_of(network), tuple(approaches_of(network)))


def detail_options(folder: Path) -> dict[str, str]:
    """SUMO's options for these outputs."""
    return {
        "--summary-output": str(folder / "summary.xml"),
        "--summary-output.period": f"{SAMPLE_S:g}",
        "--queue-output": str(folder / "queues.xml"),
        "--queue-output.period": f"{SAMPLE_S:g}",
        "--vehroute-output": str(folder / "routes.xml"),
        "--vehroute-output.exit-times": "true",
        "--vehroute-output.write-unfinished": "true",
    }


def read_details(folder: Path, plan: DetailPlan, trips: Trips) -> dict[str, pl.DataFrame]:
    """The tables `series`, `queues`, `states` and `passages` of a run.

    Raises:
        InputError: an output is not whole.
    """
    return {
        "series": _series(folder / "summary.xml"),
        "queues": _queues(folder / "queues.xml", plan.approaches),
        "states": read_switches(folder / SWITCHES),
        "passages": read_passages(folder / "routes.xml", plan.ways, trips),
    }


def detail_metrics(tables: Mapping[str, pl.DataFrame]) -> dict[str, float]:
    """The metrics that need these tables."""
    series, queues, passages = tables["series"], tables["queues"], tables["passages"]
    halting = series["halting_veh"].to_list()
    moments = max(1, series.height)
    spilled = queues.filter(pl.col("spilled"))
    movements = movement_table(passages).filter(pl.col("vehicles") >= LEAST_PASSAGES)
    delays = passages["delay_s"].to_list()
    worst = movements["delay_p95_s"].max()
    return {
        "queue_veh": math.fsum(halting) / moments if halting else math.nan,
        "queue_max_veh": float(max(halting, default=math.nan)),
        "spillback_share": spilled["time_s"].n_unique() / moments,
        "spillback_events": float(spill_events(queues)),
        "signal_delay_s": math.fsum(delays) / len(delays) if delays else math.nan,
        "movement_p95_s": float(worst) if isinstance(worst, float) else math.nan,
        "movement_max_s": max(delays, default=math.nan),
    }


def spill_events(queues: pl.DataFrame) -> int:
    """How often a queue comes to reach its upstream junction. Samples in a row are one event."""
    spilled = queues.filter(pl.col("spilled")).sort("tls_id", "edge", "time_s")
    same = (spilled["tls_id"] == spilled["tls_id"].shift(1)) & (spilled["edge"] == spilled["edge"].shift(1))
    near = (spilled["time_s"] - spilled["time_s"].shift(1)) <= 1.5 * SAMPLE_S
    return spilled.height - int((same & near).fill_null(False).sum())


def movement_table(passages: pl.DataFrame) -> pl.DataFrame:
    """Per movement: vehicles that came to it, vehicles that passed, and their delay there."""
    return _lost(passages, ["tls_id", "from_edge", "to_edge"])


def signal_delay_table(passages: pl.DataFrame) -> pl.DataFrame:
    """The same per signal."""
    return _lost(passages, ["tls_id"])


def _lost(passages: pl.DataFrame, keys: list[str]) -> pl.DataFrame:
    rows = []
    for key, part in sorted(passages.partition_by(keys, as_dict=True).items()):
        delays = part["delay_s"]
        rows.append(
            {
                **dict(zip(keys, key, strict=True)),
                "vehicles": part.height,
                "passed_veh": part.height - part["passed_s"].null_count(),
                "delay_s": math.fsum(delays.to_list()) / part.height,
                "delay_p95_s": percentile(delays, 95),
                "delay_max_s": percentile(delays, 100),
            }
        )
    schema = {**dict.fromkeys(keys, pl.String), "vehicles": pl.Int64, "passed_veh": pl.Int64}
    schema |= dict.fromkeys(("delay_s", "delay_p95_s", "delay_max_s"), pl.Float64)
    return pl.DataFrame(rows, schema=schema)


def _series(path: Path) -> pl.DataFrame:
    rows = [[float(of[name]) for name in _SERIES.values()] for of in _rows(path, "step")]
    return pl.DataFrame(np.array(rows).reshape(-1, len(SERIES)), schema=SERIES)


def _queues(path: Path, approaches: tuple[Approach, ...]) -> pl.DataFrame:
    """Per approach and sample: length of the queue [m], and whether it reaches the upstream junction."""
    at: dict[str, list[Approach]] = defaultdict(list)
    for approach in approaches:
        for lane in approach.behind_m:
            at[lane].append(approach)
    columns: dict[str, list[Any]] = {name: [] for name in QUEUES}
    for time_s, lanes in _queue_samples(path):
        longest: dict[tuple[str, str], list[Any]] = {}
        for lane, queue_m in lanes:
            for approach in at.get(lane, ()):
                entry = longest.setdefault((approach.tls_id, approach.edge), [0.0, False])
                entry[0] = max(entry[0], min(approach.behind_m[lane] + queue_m, approach.length_m))
                reach_m = approach.reaches_m.get(lane)
                entry[1] = entry[1] or (reach_m is not None and queue_m >= reach_m - JAM_SPACING_M)
        for (tls_id, edge), (queue_m, spilled) in longest.items():
            for name, value in zip(columns, (time_s, tls_id, edge, queue_m, spilled), strict=True):
                columns[name].append(value)
    return pl.DataFrame(columns, schema=QUEUES)


def _queue_samples(path: Path) -> Iterator[tuple[float, list[tuple[str, float]]]]:
    lanes: list[tuple[str, float]] = []
    for element in _elements(path):
        if element.tag == "lane":
            lanes.append((element.attrib["id"], float(element.attrib["queueing_length"])))
        elif element.tag == "data":
            yield float(element.attrib["timestep"]), lanes
            lanes = []


def read_switches(path: Path) -> pl.DataFrame:
    """The signals' states as they switch.

    Raises:
        InputError: the output is not whole.
    """
    rows = [(float(of["time"]), of["id"], of["state"]) for of in _rows(path, "tlsState")]
    return pl.DataFrame(rows, schema=STATES, orient="row")


def _rows(path: Path, tag: str) -> Iterator[Mapping[str, str]]:
    return (element.attrib for element in _elements(path) if element.tag == tag)


def _elements(path: Path) -> Iterator[ElementTree.Element]:
    try:
        with path.open("rb") as stream:
            for _, element in ElementTree.iterparse(stream):
                yield element
                if element.tag != "lane":
                    element.clear()
    except (ElementTree.ParseError, KeyError, ValueError, OSError) as error:
        raise not_whole(path, error) from error

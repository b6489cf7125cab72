"""Trajectories along one corridor for ten minutes, for the time-space diagram; one seed only."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import polars as pl

from envs.sumo.outputs import not_whole
from evaluation.details.corridor import Corridor
from scenarios.scenario import Scenario

WINDOW_S = 600.0
SCHEMA = {"time_s": pl.Float64, "vehicle_id": pl.String, "at_m": pl.Float64, "speed_mps": pl.Float64}


def window_of(scenario: Scenario) -> tuple[float, float]:
    """Begin and end of the recorded minutes: the middle of the run, when traffic has built up."""
    begin_s = scenario.begin_s + max(0.0, round((scenario.horizon_s - WINDOW_S) / 2))
    return begin_s, min(begin_s + WINDOW_S, scenario.end_s)


def trajectory_options(folder: Path, corridor: Corridor, scenario: Scenario) -> dict[str, str]:
    """SUMO's options for trajectories. The file with the corridor's edges is written into the folder."""
    edges = folder / "corridor.txt"
    edges.write_text("".join(f"edge:{edge}\n" for edge in corridor.begin_m))
    return {
        "--fcd-output": str(folder / "trajectories.xml"),
        "--fcd-output.attributes": "lane,pos,speed",
        "--fcd-output.filter-edges.input-file": str(edges),
        "--device.fcd.begin": f"{window_of(scenario)[0]:g}",
    }


def read_trajectories(path: Path, corridor: Corridor, scenario: Scenario) -> pl.DataFrame:
    """The place of each vehicle on the corridor at each second of the window.

    Raises:
        InputError: the output is not whole.
    """
    until_s = window_of(scenario)[1]
    rows: list[tuple[float, str, float, float]] = []
    try:
        with path.open("rb") as stream:
            for _, element in ElementTree.iterparse(stream):
                if element.tag != "timestep":
                    continue
                time_s = float(element.attrib["time"])
                for vehicle in element:
                    of = vehicle.attrib
                    at_m = corridor.at_m(of.get("lane", ""), float(of.get("pos", "0")))
                    if at_m is not None and time_s <= until_s:
                        rows.append((time_s, of["id"], at_m, float(of["speed"])))
                element.clear()
    except (ElementTree.ParseError, KeyError, ValueError, OSError) as error:
        raise not_whole(path, error) from error
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")

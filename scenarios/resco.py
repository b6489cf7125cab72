"""The eight maps of the RESCO benchmark, read where the installed sumo-rl package keeps them, never copied.

RESCO: Ault and Sharon, "Reinforcement Learning Benchmarks for Traffic Signal Control", NeurIPS 2021 Datasets
and Benchmarks. Its README says that all scenarios keep their original licences; what those are is noted here.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from plumbing.errors import InputError

_COLOGNE = "CC BY-NC-SA 3.0"  # https://sumo.dlr.de/docs/Data/Scenarios/TAPASCologne.html
_INGOLSTADT = "GPL-3.0"  # https://github.com/silaslobo/InTAS
_GRID = "CC BY-NC-SA 4.0"  # the licence lies beside the map in RESCO's repository
_UNSTATED = "not stated"


@dataclass(frozen=True)
class Map:
    description: str
    licence: str
    origin: str

    @property
    def source(self) -> str:
        of_resco = "" if self.origin == "RESCO" else " by way of RESCO"
        return f"{self.origin}{of_resco}; read from the installed sumo-rl package"


MAPS = {
    "arterial4x4": Map("synthetic 4x4 grid of arterials and side streets", _UNSTATED, "RESCO"),
    "cologne1": Map("one intersection in Cologne, 7 to 8 am", _COLOGNE, "TAPAS Cologne (DLR)"),
    "cologne3": Map("a corridor of three intersections in Cologne, 7 to 8 am", _COLOGNE, "TAPAS Cologne (DLR)"),
    "cologne8": Map("a district of eight intersections in Cologne, 7 to 8 am", _COLOGNE, "TAPAS Cologne (DLR)"),
    "grid4x4": Map("synthetic 4x4 grid", _GRID, "RESCO"),
    "ingolstadt1": Map("one intersection in Ingolstadt, 4 to 5 pm", _INGOLSTADT, "InTAS (TH Ingolstadt)"),
    "ingolstadt7": Map(
        "a corridor of seven intersections in Ingolstadt, 4 to 5 pm", _INGOLSTADT, "InTAS (TH Ingolstadt)"
    ),
    "ingolstadt21": Map(
        "a district of 21 intersections in Ingolstadt, 4 to 5 pm", _INGOLSTADT, "InTAS (TH Ingolstadt)"
    ),
}


def config_path(name: str) -> Path:
    """The map's .sumocfg. sumo_rl is found but not imported, as its import fails without SUMO_HOME."""
    spec = importlib.util.find_spec("sumo_rl")
    folders = list(spec.submodule_search_locations or ()) if spec else []
    for folder in folders:
        path = Path(folder) / "nets" / "RESCO" / name / f"{name}.sumocfg"
        if path.is_file():
            return path
    raise InputError(
        f"scenario {name!r} comes with the package sumo-rl, which is not installed or lacks it; "
        "install the project with its dependencies (pip install sumo-rl)"
    )

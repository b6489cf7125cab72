"""A town for tests whose counts forecasts were trained on: the junction `tee`, the last two days calibrated."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from demand.__main__ import main
from demand.calibration.places import Roads
from scenarios.loading import load
from tests.counted import DAY, counts_folder

DAYS = (DAY, DAY + datetime.timedelta(days=1))
APPROACHES = {"N_in": "SB", "E_in": "WB", "S_in": "NB", "W_in": "EB"}
WHOLE = "E_in"
"""Of this edge all lanes are counted together; of the others each movement."""


@dataclass(frozen=True)
class Foreseen:
    """Folders."""

    counts: Path
    days: Path
    """Calibrated from 7:00 to 7:45."""
    last_value: Path
    """A forecast: all stays as it was in the last quarter of an hour."""
    linear: Path
    """One that has learned, as ONNX."""

    @property
    def config(self) -> Path:
        """The first day."""
        return self.days / f"day-{DAYS[0]}.sumocfg"


def foreseen(base: Path) -> Foreseen:
    """Make it."""
    roads, random = Roads(load("tee").network), np.random.default_rng(5)
    rows = []
    for edge in roads.approaches["C"]:
        of = {"approach": APPROACHES[edge], "site": "C"}
        if edge == WHOLE:
            rows.append({"detector": of["approach"], "kind": "detector", "movement": None, **of})
            continue
        for to in roads.turns[edge]:
            kind = roads.kinds[edge, to]
            rows.append({"detector": of["approach"] + kind, "kind": "movement", "movement": kind, **of})
    rows = [{name: row[name] for name in ("detector", "kind", "site", "approach", "movement")} for row in rows]
    counts = {str(row["detector"]): random.poisson(25.0, 96).astype(float).tolist() for row in rows}
    days = [DAYS[-1] - datetime.timedelta(days=n) for n in range(21)]
    counts_folder(base / "counts", counts, rows, days=days, begin_s=0)
    words = ("--scenario", str(load("tee").net_file), "--days", *map(str, DAYS), "--from", "07:00", "--to", "07:45")
    assert main(["calibrate", str(base / "counts"), *words, "--out", str(base / "days")]) == 0
    for method in ("last_value", "linear"):
        how = ("--methods", method, "--seeds", "1", "--minutes", "15", "30", "--test-days", "2")
        how += ("--calibration-days", "2", "--out", str(base / method))
        assert main(["forecast", str(base / "counts"), *how]) == 0
    return Foreseen(base / "counts", base / "days", base / "last_value", base / "linear")

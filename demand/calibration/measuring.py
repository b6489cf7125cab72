"""What the detectors would have counted in a simulation: lanes by SUMO's induction loops, movements by its routes."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.etree import ElementTree
from xml.sax.saxutils import quoteattr

import numpy as np
import numpy.typing as npt

from demand.calibration.matching import bound_m
from demand.calibration.places import Place, Roads
from demand.calibration.tools import binary
from scenarios.scenario import Scenario

Row = npt.NDArray[np.float64]


def simulated_counts(
    scenario: Scenario,
    roads: Roads,
    places: Sequence[Place],
    interval_s: int,
    folder: Path,
    seed: int,
    programs: str = "",
    after_s: float = 0.0,
) -> tuple[dict[str, Row], dict[str, int]]:
    """Simulate a scenario once and count.

    Args:
        interval_s: of the counts; the scenario's window holds whole intervals.
        folder: for SUMO's outputs.
        programs: signal programs in the place of the network's own, as the text of an additional file.
        after_s: further simulated time, for what is still under way at the window's end.

    Returns:
        Per detector, [I] vehicles; and how many vehicles there were: "planned", "inserted", "arrived".

    Raises:
        InputError: SUMO refuses the scenario.
    """
    size = round((scenario.end_s - scenario.begin_s) / interval_s)
    loops = folder / "loops.add.xml"
    counted, driven, statistics = folder / "loops.xml", folder / "routes.xml", folder / "statistics.xml"
    ids = _write_loops(loops, roads, places, interval_s, counted)
    words = scenario.sumo_args((loops,), programs=programs)
    words[words.index("-e") + 1] = f"{scenario.end_s + after_s:g}"
    words += ["--seed", str(seed), "--no-step-log", "true", "--no-warnings", "true", "--duration-log.disable", "true"]
    words += ["--vehroute-output", str(driven), "--vehroute-output.exit-times", "true"]
    words += ["--vehroute-output.write-unfinished", "true", "--statistic-output", str(statistics)]
    binary("sumo", [*words, "--max-depart-delay", "-1", "--time-to-teleport", "-1"], folder)
    rows = {place.detector: np.zeros(size) for place in places}
    _read_loops(counted, ids, rows, scenario.begin_s, interval_s)
    turning: dict[tuple[str, str], list[str]] = {}
    for place in places:
        for to in place.to_edges:
            turning.setdefault((place.edge, to), []).append(place.detector)
    if turning:
        _read_turns(driven, turning, rows, scenario.begin_s, interval_s)
    return rows, _vehicles(statistics)


def _write_loops(path: Path, roads: Roads, places: Sequence[Place], interval_s: int, out: Path) -> Mapping[str, str]:
    """Write a loop for each lane. Returns the detector of each loop's id."""
    ids: dict[str, str] = {}
    lines = []
    for number, place in enumerate(places):
        if place.to_edges:
            continue
        for lane in place.lanes:
            loop = f"place-{number}-{len(ids)}"
            ids[loop] = place.detector
            lines.append(
                f'    <inductionLoop id="{loop}" lane={quoteattr(lane)} pos="{-bound_m(place, roads):.2f}" '
                f'period="{interval_s}" file={quoteattr(str(out))} friendlyPos="true"/>\n'
            )
    path.write_text(f"<additional>\n{''.join(lines)}</additional>\n", encoding="utf-8")
    return ids


def _read_loops(path: Path, ids: Mapping[str, str], rows: Mapping[str, Row], begin_s: float, interval_s: int) -> None:
    if not ids:
        return
    for _, element in ElementTree.iterparse(path):
        if element.tag == "interval":
            row = rows[ids[element.get("id", "")]]
            n = round((float(element.get("begin", "0")) - begin_s) / interval_s)
            if 0 <= n < len(row):
                row[n] += float(element.get("nVehContrib", "0"))
            element.clear()


def _read_turns(
    path: Path,
    turning: Mapping[tuple[str, str], Sequence[str]],
    rows: Mapping[str, Row],
    begin_s: float,
    interval_s: int,
) -> None:
    """A vehicle turns when it leaves the first of two edges."""
    for _, vehicle in ElementTree.iterparse(path):
        if vehicle.tag != "vehicle":
            continue
        for route in vehicle.iter("route"):
            edges, times = route.get("edges", "").split(), route.get("exitTimes", "").split()
            for (one, other), time in zip(itertools.pairwise(edges), times, strict=False):
                for detector in turning.get((one, other), ()):
                    n = int((float(time) - begin_s) // interval_s)
                    if float(time) >= begin_s and n < len(rows[detector]):
                        rows[detector][n] += 1
        vehicle.clear()


def _vehicles(path: Path) -> dict[str, int]:
    found = ElementTree.parse(path).getroot().find("vehicles")
    of = {} if found is None else found.attrib
    loaded, inserted, running = (int(of.get(name, "0")) for name in ("loaded", "inserted", "running"))
    return {"planned": loaded, "inserted": inserted, "arrived": inserted - running}

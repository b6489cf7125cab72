"""Who is on the way to each stop line, and when they get there."""

from __future__ import annotations

import dataclasses
import re
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sumo

from envs.options import EnvOptions
from envs.sumo.approaches import ApproachReader
from envs.sumo.setup import SimulationOptions, make_setup
from envs.sumo.simulation import Simulation
from native.library import SWITCH
from scenarios.loading import load
from scenarios.scenario import Scenario
from signals.planner.planner import Planner
from signals.snapshot import ARRIVAL_BIN_S, Snapshot
from signals.timing import Timing
from tests.compiled import needs_library
from tests.windows import window


@pytest.mark.parametrize("name", ["cologne1", "cologne8", "ingolstadt7", "single"])
def test_whoever_moves_in_a_zone_is_on_the_way(name: str) -> None:
    """Vehicle by vehicle there are as many as by what the lanes tell."""
    setup = make_setup(window(name, 300.0))
    simulation, random, most = Simulation(setup), np.random.default_rng(0), 0.0
    layout, snapshot = setup.layout, simulation.snapshot
    simulation.begin(seed=1)
    while not simulation.done:
        mask = snapshot.mask
        simulation.decide(np.where(mask, random.random(mask.shape), -1.0).argmax(axis=1))
        moving = layout.zone.sum(snapshot.vehicles - snapshot.halting)
        found = np.bincount(layout.stream_lane, snapshot.arriving.sum(axis=1), len(layout.controlled))
        assert found == pytest.approx(moving)
        assert np.bincount(layout.stream_lane, snapshot.share) == pytest.approx(1.0)
        most = max(most, moving.sum())
    simulation.end()
    assert most > 10


def test_vehicles_arrive_when_they_are_expected() -> None:
    """On a green that never ends, to a second or two; who turns slows down and comes up to four seconds later."""
    setup = make_setup(
        window("single", 400.0),
        SimulationOptions(timing=Timing(max_green_s=1e4, max_red_s=1e4, decision_interval_s=1.0)),
    )
    simulation, layout = Simulation(setup), setup.layout
    simulation.begin(seed=1)
    (green,) = {int(p) for p in simulation.snapshot.phase}
    lanes = [c for c in range(len(layout.controlled)) if layout.stream_served[layout.stream_lane == c, green].all()]
    expected: dict[str, list[float]] = {}
    errors = []
    low = simulation.sumo
    while not simulation.done:
        simulation.snapshot.calls[:] = False  # nobody asks for another phase
        simulation.decide(np.array([green]))
        ids = {c: low.lane.getLastStepVehicleIDs(layout.controlled[c]) for c in lanes}
        here = {v for found in ids.values() for v in found}
        errors += [simulation.now_s - at for v in set(expected) - here for at in expected.pop(v)]
        for c, found in ids.items():
            arriving = simulation.snapshot.arriving[layout.stream_lane == c].sum(axis=0)
            bins = np.flatnonzero(arriving)
            if len(found) == 1 and arriving.sum() == 1.0:  # it is this one
                expected.setdefault(found[0], []).append(simulation.now_s + (bins[0] + 0.5) * ARRIVAL_BIN_S)
    simulation.end()
    assert len(errors) > 50
    assert np.median(np.abs(errors)) < 2.0
    assert np.quantile(np.abs(errors), 0.9) < 4.0


def free_right_turn(folder: Path) -> Scenario:
    """At Z, the lane WZ_0 goes straight on (link 2) and to the left (link 3), each on a green of its own, and to the
    right by a link without a signal, on to the signal A."""
    at = {"W": (-250, 0), "Z": (0, 0), "E": (200, 0), "N": (0, 250)}
    at |= {"A": (0, -80), "S": (0, -250), "P": (-200, -80), "Q": (200, -80)}
    nodes = "".join(
        f'<node id="{name}" x="{x}" y="{y}" type="{"traffic_light" if name in "AZ" else "priority"}"/>'
        for name, (x, y) in at.items()
    )
    edges = "".join(
        f'<edge id="{way}" from="{way[0]}" to="{way[1]}" numLanes="1" speed="13.9"/>'
        for way in ("WZ", "ZW", "ZE", "EZ", "NZ", "ZN", "ZA", "AS", "PA", "AQ")
    )
    turns = "".join(
        f'<connection from="{way[:2]}" to="{way[3:]}" fromLane="0" toLane="0"/>'
        for way in ("WZ ZE", "WZ ZN", "NZ ZA", "EZ ZW", "ZA AS", "PA AQ")
    )
    free = '<connection from="WZ" to="ZA" fromLane="0" toLane="0" uncontrolled="1"/>'
    (folder / "n.nod.xml").write_text(f"<nodes>{nodes}</nodes>")
    (folder / "e.edg.xml").write_text(f"<edges>{edges}</edges>")
    (folder / "c.con.xml").write_text(f"<connections>{turns}{free}</connections>")
    net, routes = folder / "right.net.xml", folder / "right.rou.xml"
    command = [f"{sumo.SUMO_HOME}/bin/netconvert", "-n", "n.nod.xml", "-e", "e.edg.xml", "-x", "c.con.xml"]
    done = subprocess.run([*command, "-o", net.name], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = ("rGGr", "ryyr", "rrrr", "rrrG", "rrry", "rrrr", "Grrr", "yrrr", "rrrr")
    program = "".join(f'<phase duration="{20 if "G" in row else 3}" state="{row}"/>' for row in rows)
    net.write_text(re.sub(r'(<tlLogic id="Z"[^>]*>).*?(?=</tlLogic>)', rf"\1{program}", net.read_text(), flags=re.S))
    routes.write_text(
        '<routes><flow id="on" from="WZ" to="ZE" begin="0" end="60" period="5"/>'
        '<flow id="left" from="WZ" to="ZN" begin="0" end="60" period="7"/></routes>'
    )
    return load(net, routes=[routes], begin_s=0.0, end_s=60.0)


def test_a_free_turn_to_the_next_signal_does_not_part_a_lane_from_its_own(tmp_path: Path) -> None:
    """The next signal's stop line comes first in the layout; who goes before whom is the lane's own matter."""
    setup = make_setup(free_right_turn(tmp_path))
    layout, simulation = setup.layout, Simulation(setup)
    assert layout.tls_ids == ("A", "Z")
    straight, left = np.flatnonzero(layout.stream_lane == layout.controlled.index("WZ_0"))
    leaders = set()
    simulation.begin(seed=1)
    try:
        low = simulation.sumo
        while not simulation.done:
            simulation.decide(simulation.snapshot.phase)
            links = [low.vehicle.getNextTLS(v)[0][1] for v in low.lane.getLastStepVehicleIDs("WZ_0")][::-1]
            leader = {2: straight, 3: left}[links[0]]
            ahead = next((n for n, link in enumerate(links) if link != links[0]), len(links))
            lead = np.ones(len(layout.streams))
            lead[[straight, left]] = 0.0
            lead[leader] = ahead / links.count(links[0])
            assert simulation.snapshot.lead == pytest.approx(lead)
            leaders.add(leader)
    finally:
        simulation.end()
    assert leaders == {straight, left}


@needs_library
def test_what_sumo_says_of_vehicles_is_compared_once_one_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first one of the day drives away from the signals: of it nothing is asked that could differ."""
    read = ApproachReader.read

    def other(self: ApproachReader, low: Any, snapshot: Snapshot) -> None:
        read(self, low, snapshot)
        snapshot.arriving *= 2.0

    monkeypatch.setattr(ApproachReader, "read", other)
    routes = tmp_path / "away.rou.xml"
    routes.write_text(
        '<routes><vehicle id="away" depart="0"><route edges="ZE"/></vehicle>'
        '<trip id="comes" depart="20" from="WZ" to="ZE"/></routes>'
    )
    simulation = Simulation(
        make_setup(load(free_right_turn(tmp_path).net_file, routes=[routes], begin_s=0.0, end_s=40.0))
    )
    simulation.begin(seed=1)
    try:
        used = []
        while not simulation.done:
            simulation.decide(simulation.snapshot.phase)
            used.append((simulation.observe_compiled is not None, bool(simulation.snapshot.vehicles.any())))
    finally:
        simulation.end()
    assert used[0] == (True, True)
    assert used[-1][0] is False


def test_vehicles_are_read_one_by_one_only_where_somebody_plans() -> None:
    scenario = window("cologne8", 120.0)
    shown = [
        EnvOptions(scenario, observation=name, arrivals=arrivals).setup().simulation.ahead
        for name, arrivals in (("phases", False), ("phases", True), ("planned", False))
    ]
    assert shown == [False, True, True]
    told = {}
    for ahead in (True, False):
        setup = dataclasses.replace(make_setup(scenario), ahead=ahead)
        simulation, random, seen = Simulation(setup), np.random.default_rng(0), []
        simulation.begin(seed=1)
        while not simulation.done:
            mask = simulation.snapshot.mask
            simulation.decide(np.where(mask, random.random(mask.shape), -1.0).argmax(axis=1))
            seen.append(simulation.snapshot.copy())
        simulation.end()
        told[ahead] = seen
    for one, other in zip(told[True], told[False], strict=True):
        assert np.isnan(other.arriving).all()
        assert not np.isnan(one.arriving).any()
        for field in dataclasses.fields(one):
            if field.name != "arriving":
                assert getattr(one, field.name).tobytes() == getattr(other, field.name).tobytes(), field.name
    with pytest.raises(ValueError, match="arrivals=True"):
        Planner(setup.layout).costs(told[False][-1])


@needs_library
def test_without_arrivals_both_ways_read_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for way in ("0", "1"):
        monkeypatch.setenv(SWITCH, way)
        with EnvOptions(window("cologne8", 200.0)).worker() as worker:
            worker.begin(1)
            rows = []
            while not worker.done:
                worker.decide(worker.snapshot.mask.argmax(axis=1))
                rows += [worker.snapshot.share.tobytes(), worker.snapshot.lead.tobytes()]
            found.append(rows)
    assert found[0] == found[1]
    assert len(set(found[0])) > 10, "vehicles come and go on the shared lanes"

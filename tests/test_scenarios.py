"""Scenarios: names load with what they promise, builds and held-out demand are repeatable."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from controllers.programs import Actuated
from evaluation.monitor.check import check
from evaluation.monitor.rules import Rules
from plumbing.errors import InputError
from scenarios import build
from scenarios.loading import load, names
from scenarios.netfile import read_network
from scenarios.resco import MAPS
from signals.intersection import compile_signals
from tests.scenario_files import sumo

pytestmark = pytest.mark.usefixtures("own_cache")

ROOT = Path(__file__).resolve().parents[1]
SIGNALS = {
    "arterial4x4": 16,
    "cologne1": 1,
    "cologne3": 3,
    "cologne8": 8,
    "grid4x4": 16,
    "ingolstadt1": 1,
    "ingolstadt7": 7,
    "ingolstadt21": 21,
    "single": 1,
    "tee": 1,
    "arterial": 5,
    "grid": 9,
}
# counted in the files by their departures; cologne3's holds 4,494, of which SUMO skips those before 7 am
VEHICLES = {
    "arterial4x4": 2484,
    "cologne1": 2015,
    "cologne3": 2856,
    "cologne8": 2046,
    "grid4x4": 1473,
    "ingolstadt1": 1716,
    "ingolstadt7": 3031,
    "ingolstadt21": 4281,
}


@pytest.mark.wide
@pytest.mark.parametrize("name", [*MAPS, *build.EMBEDDED])
def test_every_name_loads_with_its_signals_and_vehicles(name: str) -> None:
    scenario = load(name)
    assert scenario.name == name
    assert name in names()
    assert len(scenario.network.controlled) == SIGNALS[name]
    assert scenario.horizon_s == 3600
    vehicles, persons = scenario.demand_counts()
    assert vehicles == VEHICLES.get(name, vehicles)
    assert vehicles > 1000
    assert (persons > 0) == (name == "single")
    lanes = scenario.network.lanes
    for tls, connections in scenario.network.controlled.items():
        states = {len(row.state) for row in scenario.network.programs[tls][-1].rows}
        assert states == {1 + max(c.link_index or 0 for c in connections)}
        assert all(c.from_lane in lanes and c.to_lane in lanes for c in connections)


def test_lanes_know_who_may_use_them() -> None:
    network = load("single").network
    crossings = [e for e in network.edges.values() if e.function == "crossing"]
    assert len(crossings) == 4
    assert all(len(e.crossed_edges) == 2 for e in crossings)
    assert not any(network.lanes[lane].vehicles for e in crossings for lane in e.lane_ids)
    assert not network.lanes["N_in_0"].vehicles
    assert network.lanes["N_in_1"].vehicles
    walks = [c for c in network.controlled["C"] if network.edges[c.to_edge].function == "crossing"]
    assert [c.link_index for c in walks] == [14, 15, 16, 17]
    junction = network.junctions["C"]
    assert len(junction.foes) == len(junction.response) == 18
    assert {len(bits) for bits in junction.foes} == {18}


def test_rail_only_lanes_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "tram.net.xml"
    path.write_text(
        '<net><edge id="e" from="a" to="b"><lane id="e_0" index="0" length="9" speed="9" allow="tram"/>'
        '<lane id="e_1" index="1" length="9" speed="9" disallow="tram" shape="0,0,5 9,0,5"/>'
        '<lane id="e_2" index="2" length="9" speed="9" allow="pedestrian"/></edge></net>'
    )
    lanes = read_network(path).lanes
    assert [(lane.vehicles, lane.rail) for lane in lanes.values()] == [
        (True, True),
        (True, False),
        (False, False),
    ]
    assert lanes["e_1"].shape == ((0.0, 0.0), (9.0, 0.0))
    assert lanes["e_0"].width_m == 3.2


def test_the_yellow_of_a_link_with_priority_is_a_yellow(tmp_path: Path) -> None:
    """SUMO knows it as Y; sumo-rl's 3x3grid has it."""
    plain, path = load("tee"), tmp_path / "tee.net.xml"
    text = plain.net_file.read_text()
    path.write_text(re.sub(r'(?<=state=")[^"]*', lambda state: state[0].replace("y", "Y"), text))
    assert path.read_text() != text
    other = load(path, routes=plain.route_files)
    assert other.network.programs == plain.network.programs
    assert Actuated().additional_xml(other) == Actuated().additional_xml(plain) != ""


def test_a_build_is_the_same_in_every_process(tmp_path: Path) -> None:
    here = load("grid:2x3").hashes()
    code = "import json; from scenarios.loading import load; print(json.dumps(load('grid:2x3').hashes()))"
    env = {**os.environ, "PYTHONHASHSEED": "7", "XDG_CACHE_HOME": str(tmp_path)}
    there = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, check=True
    )
    assert json.loads(there.stdout) == here


@pytest.mark.wide
def test_processes_may_build_at_once(tmp_path: Path) -> None:
    code = "from scenarios.loading import load; print(load('tee').demand_counts())"
    env = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    racing = [
        subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    assert len({process.communicate()[0] for process in racing}) == 1
    assert all(process.returncode == 0 for process in racing)
    assert not list(tmp_path.rglob("*.held"))


@pytest.mark.wide
@pytest.mark.parametrize(
    "name", ["single", "tee", *(pytest.param(name, marks=pytest.mark.slow) for name in ("arterial", "grid"))]
)
def test_the_embedded_ones_run_without_a_complaint(name: str, tmp_path: Path) -> None:
    scenario = load(name)
    result = sumo(
        [
            *scenario.sumo_args(),
            "--time-to-teleport",
            "-1",
            "--seed",
            "3",
            "--collision.check-junctions",
            "--statistic-output",
            "statistics.xml",
        ],
        tmp_path,
    )
    assert result.returncode == 0
    assert not re.search(r"Error|Warning", result.stderr.replace("pj_obj", ""))
    statistics = ElementTree.parse(tmp_path / "statistics.xml").getroot()
    assert [statistics.find("safety").get("collisions"), statistics.find("teleports").get("total")] == [
        "0",
        "0",
    ]
    vehicles = statistics.find("vehicles")
    assert int(vehicles.get("loaded")) == scenario.demand_counts()[0]
    assert int(vehicles.get("waiting")) <= 5
    assert int(vehicles.get("running")) < 150


@pytest.mark.wide
@pytest.mark.parametrize("name", [*build.EMBEDDED, "grid:1x4"])
def test_the_embedded_plans_change_as_safely_as_we_do(name: str, tmp_path: Path) -> None:
    """Between two greens a plan shows what the signal layer would, and the monitor finds nothing to report."""
    scenario = load(name)
    for item in compile_signals(scenario.network).intersections:
        index = {phase.state: phase.index for phase in item.phases}
        rows = item.program.rows
        starts = [k for k, row in enumerate(rows) if row.state in index]
        assert [index[rows[k].state] for k in starts] == list(range(len(item.phases)))
        for here, there in zip(starts, [*starts[1:], starts[0] + len(rows)], strict=True):
            old, new = (item.phases[index[rows[k % len(rows)].state]] for k in (here, there))
            shown = [(rows[k % len(rows)].duration_s, rows[k % len(rows)].state) for k in range(here + 1, there)]
            assert shown == [(i.duration_s, i.state) for i in item.changes[old.index, new.index]]
            assert old.min_green_s <= rows[here].duration_s <= old.max_green_s
    states, extra = tmp_path / "states.xml", tmp_path / "extra.add.xml"
    rows_to_save = "".join(
        f'<timedEvent type="SaveTLSStates" source="{tls}" dest="{states}"/>' for tls in scenario.network.controlled
    )
    extra.write_text(f"<additional>{rows_to_save}</additional>")
    result = sumo(["-n", str(scenario.net_file), "-a", str(extra), "-b", "0", "-e", "400"], tmp_path)
    assert result.returncode == 0, result.stderr
    assert check(scenario.net_file, states, Rules(yellow_s=4)) == []


def test_every_input_file_has_a_hash_of_its_own(tmp_path: Path) -> None:
    """Also where names and folders repeat: a change of either file has to be noticed."""
    routes = []
    for day in ("monday", "tuesday"):
        routes.append(tmp_path / day / "in" / "day.rou.xml")
        routes[-1].parent.mkdir(parents=True)
        routes[-1].write_text(f"<routes><!-- {day} --></routes>")
    found = load("single", routes=routes, begin_s=0, end_s=60).hashes()
    assert len(found) == 3
    assert len(set(found.values())) == 3


# -- held-out demand --------------------


@pytest.mark.wide
@pytest.mark.parametrize(
    "name",
    [
        "single",  # where people walk, too
        "cologne3",
        "grid4x4",  # of flows
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in [*MAPS, *build.EMBEDDED]
            if name not in ("single", "cologne3", "grid4x4")
        ),
    ],
)
def test_held_out_demand_is_another_day_and_always_the_same(name: str) -> None:
    scenario = load(name)
    first, again, other = scenario.held_out(1), load(name, demand="held-out:1"), scenario.held_out(2)
    assert first.demand == again.demand == "held-out:1"
    assert first.hashes() == again.hashes() != other.hashes()
    recorded, persons = scenario.demand_counts()
    vehicles, same_persons = first.demand_counts()
    assert persons == same_persons
    assert 0.87 * recorded < vehicles < 1.13 * recorded
    assert vehicles != recorded
    departures = first.planned.vehicles_s
    assert list(departures) == sorted(departures)
    assert scenario.begin_s <= departures[0]
    assert departures[-1] < scenario.end_s
    ids = re.findall(r'<(?:vehicle|trip) [^>]*?id="([^"]+)"', first.route_files[0].read_text())
    assert len(ids) == len(set(ids)) == vehicles


def test_a_failed_write_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    scenario = load("tee")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("os.replace", full)
        with pytest.raises(InputError, match="No space left on device; free some space"):
            scenario.held_out(1)
    assert not list(tmp_path.rglob("*held-out*.xml"))
    assert not list(tmp_path.rglob("*.held"))
    assert scenario.held_out(1).route_files[0].is_file()


# -- a user's own files --------------------


@pytest.mark.wide
def test_the_command_lists_and_fails_politely() -> None:
    def command(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "scenarios", *arguments],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )

    listed = json.loads(command("--json").stdout)
    assert [row["name"] for row in listed["scenarios"]] == names()
    assert listed["unavailable"] == []
    assert all(row["licence"] and row["source"] for row in listed["scenarios"])
    wrong = command("describe", "gird")
    assert wrong.returncode == 2
    assert wrong.stderr.startswith("error: unknown scenario 'gird'. Did you mean 'grid'?")

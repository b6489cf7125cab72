"""Scenarios: names load, a user's files keep their say, held-out demand is repeatable, errors are plain."""

from __future__ import annotations

import gzip
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from xml.etree import ElementTree

import pytest

from evaluation.monitor import Rules, check
from scenarios import build
from scenarios.demand import read_demand
from scenarios.netfile import read_network
from scenarios.resco import MAPS
from scenarios.scenario import load, names
from signals.errors import InputError
from signals.intersection import compile_signals

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


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


def sumo(arguments: Sequence[str], cwd: Path) -> subprocess.CompletedProcess[str]:
    import sumo as wheel

    return subprocess.run(
        [f"{wheel.SUMO_HOME}/bin/sumo", *arguments, "--no-step-log", "--duration-log.statistics"],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "SUMO_HOME": str(wheel.SUMO_HOME)},
    )


@pytest.fixture
def cross(tmp_path: Path) -> Path:
    """A user's folder: the net of `tee`, gzipped, beside a file of routes."""
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "my.net.xml.gz").write_bytes(gzip.compress(load("tee").net_file.read_bytes()))
    (folder / "my.rou.xml").write_text(
        '<routes><vType id="tram" vClass="bus"/><route id="we" edges="W_in E_out"/>'
        '<flow id="f" route="we" begin="100" end="400" number="30"/>'
        '<flow id="p" from="E_in" to="S_out" begin="100" end="400" probability="0.1"/>'
        '<trip id="t0" depart="100" from="E_in" to="W_out"/>'
        '<vehicle id="b0" type="tram" depart="150" line="7"><route edges="E_in W_out"/></vehicle>'
        '<vehicle id="v0" depart="0:02:40"><route edges="S_in E_out"/></vehicle></routes>'
    )
    return folder


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


def test_a_build_is_the_same_in_every_process(tmp_path: Path) -> None:
    here = load("grid:2x3").hashes()
    code = "import json; from scenarios.scenario import load; print(json.dumps(load('grid:2x3').hashes()))"
    env = {**os.environ, "PYTHONHASHSEED": "7", "XDG_CACHE_HOME": str(tmp_path)}
    there = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, check=True
    )
    assert json.loads(there.stdout) == here


def test_processes_may_build_at_once(tmp_path: Path) -> None:
    code = "from scenarios.scenario import load; print(load('tee').demand_counts())"
    env = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    racing = [
        subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    assert len({process.communicate()[0] for process in racing}) == 1
    assert all(process.returncode == 0 for process in racing)
    assert not list(tmp_path.rglob(".partial-*"))


@pytest.mark.parametrize("name", ["single", "tee", "arterial", "grid"])
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


# -- held-out demand --------------------


@pytest.mark.parametrize("name", [*MAPS, *build.EMBEDDED])
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


def test_held_out_demand_leaves_timetables_alone(cross: Path) -> None:
    scenario = load(cross / "my.net.xml.gz", routes=[cross / "my.rou.xml"])
    held_out = scenario.held_out(3)
    root = ElementTree.parse(held_out.route_files[0]).getroot()
    bus = next(v for v in root if v.get("id") == "b0")
    assert float(bus.get("depart", "")) == 150
    random_flow = next(f for f in root if f.tag == "flow")
    assert 0.09 <= float(random_flow.get("probability", "")) <= 0.11
    singles = [v for v in root if v.get("id", "").startswith("f.")]
    assert 24 <= len(singles) <= 36
    assert all(v.get("route") == "we" for v in singles)
    result = sumo([*held_out.sumo_args(), "--seed", "1"], cross)
    assert result.returncode == 0
    assert "Error" not in result.stderr


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
    assert not list(tmp_path.rglob(".partial-*"))
    assert scenario.held_out(1).route_files[0].is_file()


# -- a user's own files --------------------


def test_net_and_routes_get_their_window_from_the_demand(cross: Path) -> None:
    scenario = load(cross / "my.net.xml.gz", routes=[cross / "my.rou.xml"])
    assert (scenario.begin_s, scenario.end_s, scenario.name) == (100.0, 1000.0, "my")
    assert scenario.demand_counts() == (30 + 30 + 3, 0)
    later = load(cross / "my.net.xml.gz", routes=[cross / "my.rou.xml"], begin_s=250, end_s=400)
    assert later.demand_counts() == (15 + 15, 0)
    statistics = cross / "statistics.xml"
    result = sumo([*scenario.sumo_args(), "--statistic-output", str(statistics), "--seed", "1"], cross)
    assert result.returncode == 0
    loaded = int(ElementTree.parse(statistics).getroot().find("vehicles").get("loaded"))
    assert abs(loaded - 63) < 20  # half of them come by chance


@pytest.fixture
def configured(cross: Path) -> Path:
    """A sumocfg with a bus stop, a detector, two programs under a WAUT, outputs, a seed and a GUI."""
    state = load("tee").network.programs["C"][0].rows
    rows = "".join(f'<phase duration="{row.duration_s}" state="{row.state}"/>' for row in state)
    (cross / "plans.add.xml").write_text(
        f'<additional><tlLogic id="C" type="static" programID="day" offset="0">{rows}</tlLogic>'
        f'<tlLogic id="C" type="static" programID="night" offset="5">{rows}</tlLogic>'
        '<WAUT refTime="0" id="w" startProg="night"><wautSwitch time="50" to="day"/>'
        '<wautSwitch time="300" to="night"/></WAUT><wautJunction wautID="w" junctionID="C"/></additional>'
    )
    (cross / "stops.add.xml").write_text(
        '<additional><busStop id="s" lane="W_in_0" startPos="50" endPos="70"/>'
        '<e1Detector id="d" lane="W_in_0" pos="10" period="60" file="detector.xml"/>'
        '<timedEvent type="SaveTLSStates" source="C" dest="states.xml"/></additional>'
    )
    config = cross / "my.sumocfg"
    config.write_text(
        '<configuration><input><net-file value="my.net.xml.gz"/><route-files value="my.rou.xml"/>'
        '<additional-files value="stops.add.xml, plans.add.xml"/></input>'
        '<time><begin value="0:01:40"/><end value="500"/><step-length value="0.5"/></time>'
        '<output><tripinfo-output value="trips.xml"/><fcd-output value="fcd.xml"/></output>'
        '<report><log value="log.txt"/></report><gui_only><start value="true"/></gui_only>'
        '<random_number><seed value="42"/><random value="true"/></random_number>'
        '<processing><time-to-teleport value="77"/></processing></configuration>'
    )
    return config


def test_a_sumocfg_keeps_its_additional_files_and_writes_nothing(configured: Path, tmp_path: Path) -> None:
    scenario = load(configured)
    assert (scenario.begin_s, scenario.end_s) == (100.0, 500.0)
    assert dict(scenario.options) == {"step-length": "0.5", "time-to-teleport": "77"} | (
        {"route-steps": "0"} if not scenario.planned.in_order else {}
    )
    before = sorted(configured.parent.iterdir())
    extra = tmp_path / "extra.add.xml"
    extra.write_text(
        f'<additional><timedEvent type="SaveTLSStates" source="C" dest="{tmp_path}/seen.xml"/></additional>'
    )
    args = scenario.sumo_args(extra_additional=[extra])
    result = sumo(
        [*args, "--seed", "5", "--step-length", "1", "--tripinfo-output", str(tmp_path / "t.xml")], tmp_path
    )
    assert result.returncode == 0, result.stderr
    assert sorted(configured.parent.iterdir()) == before
    seen = ElementTree.parse(tmp_path / "seen.xml").getroot()
    programs = [(float(row.get("time", "")), row.get("programID")) for row in seen]
    assert programs[0] == (100.0, "day")
    assert programs[-1][1] == "night"


def test_a_waut_decides_which_program_is_active_and_lets_go_of_our_signals(configured: Path, tmp_path: Path) -> None:
    assert load(configured).network.programs["C"][-1].program_id == "day"
    assert load(configured, begin_s=350).network.programs["C"][-1].program_id == "night"
    scenario = load(configured)
    kept, freed = scenario.without_waut(["another"]), scenario.without_waut(["C"])
    assert "wautJunction" in kept[1].read_text()
    assert "wautJunction" not in freed[1].read_text()
    assert kept[1] == configured.parent / "plans.add.xml"  # no copy where none is needed
    extra = tmp_path / "extra.add.xml"
    extra.write_text(
        f'<additional><timedEvent type="SaveTLSStates" source="C" dest="{tmp_path}/seen.xml"/></additional>'
    )
    result = sumo(scenario.sumo_args([extra], controlled=["C"]), tmp_path)
    assert result.returncode == 0, result.stderr
    assert len({row.get("programID") for row in ElementTree.parse(tmp_path / "seen.xml").getroot()}) == 1


def test_unsorted_routes_are_not_cut_short(cross: Path) -> None:
    rows = "".join(f'<trip id="t{k}" depart="{900 - k}" from="E_in" to="W_out"/>' for k in range(0, 900, 9))
    (cross / "late.rou.xml").write_text(f"<routes>{rows}</routes>")
    scenario = load(cross / "my.net.xml.gz", routes=[cross / "late.rou.xml"])
    result = sumo([*scenario.sumo_args(), "--statistic-output", "s.xml"], cross)
    assert result.returncode == 0
    assert ElementTree.parse(cross / "s.xml").getroot().find("vehicles").get("loaded") == "100"


def test_vehicles_in_an_additional_file_count_and_are_held_out(cross: Path) -> None:
    more = cross / "more.add.xml"
    more.write_text(
        '<additional><vType id="van" vClass="delivery"/>'
        '<flow id="vans" type="van" from="W_in" to="S_out" begin="0" end="600" period="10"/></additional>'
    )
    scenario = load(cross / "my.net.xml.gz", routes=[cross / "my.rou.xml"], additional=[more], begin_s=0, end_s=600)
    assert scenario.demand_counts()[0] == 63 + 60
    held_out = scenario.held_out(4)
    assert "<flow" not in held_out.additional_files[0].read_text()
    result = sumo(held_out.sumo_args(), cross)
    assert result.returncode == 0, result.stderr


def test_flows_are_expected_as_sumo_places_them(tmp_path: Path) -> None:
    path = tmp_path / "flows.rou.xml"
    path.write_text(
        '<routes><flow id="a" from="x" to="y" begin="0" end="3600" vehsPerHour="360"/>'
        '<flow id="b" from="x" to="y" begin="0" period="exp(0.1)"/>'
        '<flow id="c" from="x" to="y" begin="0" number="10" period="100"/>'
        '<personFlow id="p" begin="0" end="100" number="5"><walk from="x" to="y"/></personFlow>'
        '<person id="q" depart="50"><walk from="x" to="y"/></person>'
        '<trip id="w" depart="triggered" from="x" to="y"/></routes>'
    )
    demand = read_demand([path])
    assert demand.counts(0, 3600) == (360 + 360 + 10 + 1, 6)
    assert demand.counts(0, 500) == (50 + 50 + 5 + 1, 6)


# -- errors --------------------


def test_each_mistake_gets_one_clear_line(cross: Path) -> None:
    net = cross / "my.net.xml.gz"

    def refused(pattern: str, *arguments: object, **options: object) -> None:
        with pytest.raises(InputError, match=pattern) as caught:
            load(*arguments, **options)  # type: ignore[arg-type]
        assert "\n" not in str(caught.value)

    def write(name: str, text: str) -> Path:
        (cross / name).write_text(text)
        return cross / name

    refused("unknown scenario 'colonge1'. Did you mean 'cologne1'", "colonge1")
    refused("does not exist; check the path. Did you mean 'my.net.xml.gz'", cross / "mine.net.xml.gz")
    refused("the size is grid:ROWSxCOLUMNS", "grid:0x4")
    refused("unknown demand 'tuesday'", "tee", demand="tuesday")
    refused("well-formed", write("broken.net.xml", "<net><edge id='a'>"))
    refused("well-formed", write("empty.net.xml", ""))
    refused("neither a SUMO configuration nor a network", cross / "my.rou.xml")
    refused("no traffic signals", write("bare.net.xml", "<net/>"))
    refused("names no network", write("bare.sumocfg", "<configuration><input/></configuration>"))
    refused("route file .*other.rou.xml does not exist", net, routes=[cross / "other.rou.xml"])
    (cross / "cut.net.xml.gz").write_bytes(net.read_bytes()[:500])
    refused("cannot be read", cross / "cut.net.xml.gz")
    misfit = write(
        "bad.rou.xml",
        '<routes><trip id="a" depart="1" from="E_in" to="X"/><trip id="b" depart="2" from="Y" to="S_out"/></routes>',
    )
    refused(r"trip 'a' uses edge 'X', .* doesn't have \(2 entries don't fit\)", net, routes=[misfit])
    lost = write("lost.rou.xml", '<routes><vehicle id="a" depart="1" route="r9"/></routes>')
    refused("vehicle 'a' takes route 'r9', which no file defines", net, routes=[lost])
    refused(
        "nothing departs between 9000 s and 9100 s",
        net,
        routes=[cross / "my.rou.xml"],
        begin_s=9000,
        end_s=9100,
    )
    refused("is not after the begin", "tee", begin_s=100, end_s=100)
    strange = write(
        "strange.add.xml",
        '<additional><tlLogic id="Z" programID="1" type="static">'
        '<phase duration="9" state="G"/></tlLogic></additional>',
    )
    refused("tlLogic 'Z' names a signal that network .* doesn't have", net, additional=[strange])


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

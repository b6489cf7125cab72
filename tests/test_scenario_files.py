"""A user's own files keep their say: nets, routes, additional files and programs; and mistakes get one clear line."""

from __future__ import annotations

import gzip
import math
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from plumbing.errors import InputError
from scenarios.demand import read_demand
from scenarios.loading import load
from scenarios.netfile import read_network
from tests.cases import CASES
from tests.scenario_files import sumo, user_folder

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture
def cross(tmp_path: Path) -> Path:
    """The net of `tee`, gzipped, beside a file of routes."""
    return user_folder(tmp_path)


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


def test_net_and_routes_get_their_window_from_the_demand(cross: Path) -> None:
    scenario = load(cross / "my.net.xml.gz", routes=[cross / "my.rou.xml"])
    assert (scenario.begin_s, scenario.end_s, scenario.name) == (100.0, 1000.0, "mine")
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


def test_edges_are_named_with_or_without_spaces_around_them(tmp_path: Path) -> None:
    """SUMO reads `from`, `to`, `via` and `edges` as lists; other ids as they stand."""
    case = CASES / "trailing_space"
    assert 'to="CE "' in (case / "r.rou.xml").read_text()
    assert load(case / "c.sumocfg").demand_counts() == (125, 0)
    assert sumo(["-n", "n.net.xml", "-r", "r.rou.xml", "-e", "60"], case).returncode == 0
    routes = tmp_path / "other.rou.xml"
    routes.write_text('<routes><trip id="a" depart="0" from=" WC" via="WC\t" to=" XE "/></routes>')
    with pytest.raises(InputError, match="trip 'a' uses edge 'XE', which"):
        load(case / "n.net.xml", routes=[routes]).demand_counts()


def test_yellow_of_a_link_with_priority_is_yellow(tmp_path: Path) -> None:
    """SUMO takes "Y" as well; a network that comes with sumo-rl is written so."""
    case = CASES / "own_clearance"
    (net := tmp_path / "n.net.xml").write_text((case / "n.net.xml").read_text().replace("yGr", "YGr"))
    assert sumo(["-n", str(net), "-e", "9"], tmp_path).returncode == 0
    assert read_network(net).programs == read_network(case / "n.net.xml").programs


def test_what_a_file_includes_counts_as_its_own(cross: Path) -> None:
    (cross / "sub").mkdir()
    (cross / "sub" / "more.rou.xml").write_text((cross / "my.rou.xml").read_text())
    (cross / "all.rou.xml").write_text('<routes><include href="sub/more.rou.xml"/></routes>')
    plain = load(cross / "my.net.xml.gz", routes=[cross / "my.rou.xml"])
    scenario = load(cross / "my.net.xml.gz", routes=[cross / "all.rou.xml"])
    assert scenario.demand_counts() == plain.demand_counts()
    assert [p.read_text() for p in scenario.held_out(1).route_files] == [
        p.read_text() for p in plain.held_out(1).route_files
    ]
    before = scenario.held_out(1).route_files
    (cross / "sub" / "more.rou.xml").write_text((cross / "my.rou.xml").read_text().replace('"30"', '"20"'))
    assert load(cross / "my.net.xml.gz", routes=[cross / "all.rou.xml"]).held_out(1).route_files != before
    (cross / "sub" / "more.rou.xml").write_text('<routes><include href="../all.rou.xml"/></routes>')
    with pytest.raises(InputError, match="includes it again"):
        load(cross / "my.net.xml.gz", routes=[cross / "all.rou.xml"])
    (cross / "sub" / "more.rou.xml").unlink()
    with pytest.raises(InputError, match=r"more\.rou\.xml does not exist"):
        load(cross / "my.net.xml.gz", routes=[cross / "all.rou.xml"])


NUMBERS = {
    "vehicle": '<trip id="a" depart="{}" from="E_in" to="W_out"/>',
    "end": '<flow id="a" begin="0" end="{}" period="3" from="E_in" to="W_out"/>',
    "period": '<flow id="a" begin="0" end="9" period="{}" from="E_in" to="W_out"/>',
    "exp": '<flow id="a" begin="0" end="9" period="exp({})" from="E_in" to="W_out"/>',
    "probability": '<flow id="a" begin="0" end="9" probability="{}" from="E_in" to="W_out"/>',
}


@pytest.mark.parametrize("value", ["1e400", "-inf", "1:2"])
@pytest.mark.parametrize("name", NUMBERS)
def test_a_number_that_is_none_is_named_with_its_file(cross: Path, name: str, value: str) -> None:
    (cross / "odd.rou.xml").write_text(f"<routes>{NUMBERS[name].format(value)}</routes>")
    with pytest.raises(InputError, match=r"odd\.rou\.xml: (trip|flow) 'a' has a value that is no number"):
        load(cross / "my.net.xml.gz", routes=[cross / "odd.rou.xml"])


def test_an_endless_flow_is_counted_not_listed(cross: Path) -> None:
    (cross / "long.rou.xml").write_text(f"<routes>{NUMBERS['end'].format('9e8')}</routes>")
    assert read_demand([cross / "long.rou.xml"]).counts(0, 1e9) == (3 * 10**8, 0)
    with pytest.raises(InputError, match=r"300000000 departures .* correct the flows' rates"):
        load(cross / "my.net.xml.gz", routes=[cross / "long.rou.xml"])


@pytest.mark.parametrize(
    ("flow", "message"),
    [
        ('begin="0" end="9" period="1e-300"', "departures between"),
        ('begin="0" end="1e-300" number="1000000000"', "departures between"),
        ('begin="0" end="9" probability="1e308"', "beyond 1e+09"),
        ('begin="0" end="9" probability="1e9"', "departures between"),
        ('begin="0" end="9" number="' + "9" * 401 + '"', "beyond 1e+09"),
        ('begin="9e307:9e307:0" period="3" number="3"', "beyond 1e+09"),
        ('begin="900000000:9:0" period="3" number="3"', "beyond 1e+09"),
    ],
)
def test_a_flow_beyond_all_measure_is_one_short_line(cross: Path, flow: str, message: str) -> None:
    (cross / "odd.rou.xml").write_text(f'<routes><flow id="a" from="E_in" to="W_out" {flow}/></routes>')
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        load(cross / "my.net.xml.gz", routes=[cross / "odd.rou.xml"])
    assert len(str(caught.value)) < 600


def test_a_flow_that_never_departs_is_told(cross: Path) -> None:
    flow = '<flow id="a" from="E_in" to="W_out" begin="0" vehsPerHour="1e-300" number="1000000000"/>'
    (cross / "rare.rou.xml").write_text(f"<routes>{flow}</routes>")
    with pytest.raises(InputError, match="nothing departs between"):
        load(cross / "my.net.xml.gz", routes=[cross / "rare.rou.xml"])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('speed="13.89"', 'speed="nan"', "'nan' is not finite"),
        ('speed="13.89"', 'speed="-1"', "'-1' is negative"),
        (' length="', ' length="-', "is negative"),
        (' shape="', ' shape="" was="', "has no shape"),
        (' via=":C', ' via=":D', "runs via lane ':D_0_0', which is missing"),
        (' fromLane="0"', ' fromLane="-1"', "uses lane -1 of edge"),
        ('<request index="1"', '<wish index="1"', "right-of-way table with gaps"),
        ('foes="', 'foes="1', "right-of-way table with gaps"),
        ('<phase duration="', '<phase duration="-', "a phase lasts -"),
        ('<phase duration="', '<phase duration="1e400" was="', "'1e400' is not finite"),
        ('encoding="UTF-8"', 'encoding="nonesuch"', "unknown encoding"),
        ('<request index="1"', '<request index="100000000000"', "'100000000000' is beyond 1e+09"),
        ('<request index="1"', '<request index="999999999"', "right-of-way table with gaps"),
        (' shape="', ' shape="1e308,0 ', "'1e308' is beyond 1e+09"),
        (' linkIndex="0"', ' linkIndex="99999999999"', "'99999999999' is beyond 1e+09"),
        *(
            (f'{name}="C"', f'{name}="C{mark}"', "quote, or what cannot")
            for name in ("tl", "<tlLogic id")
            for mark in ("&lt;", "&gt;", "&amp;", "&quot;", "'", "&#9;", "\u200b")
        ),
        (' programID="', ' programID="&lt;', "quote, or what cannot"),
        ('"W_in"', '"W_in&lt;"', "quote, or what cannot"),
    ],
)
def test_a_network_that_contradicts_itself_is_refused(cross: Path, old: str, new: str, message: str) -> None:
    text = gzip.decompress((cross / "my.net.xml.gz").read_bytes()).decode()
    assert old in text
    (cross / "odd.net.xml").write_text(text.replace(old, new))
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        load(cross / "odd.net.xml", routes=[cross / "my.rou.xml"])
    assert "odd.net.xml" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("window", [(-1.0, None), (None, math.inf), (math.nan, None), (200.0, 200.0001)])
def test_a_window_that_is_none_is_refused(cross: Path, window: tuple[float | None, float | None]) -> None:
    with pytest.raises(InputError, match=r"give (another )?--begin"):
        load(cross / "my.net.xml.gz", routes=[cross / "my.rou.xml"], begin_s=window[0], end_s=window[1])


def test_a_configuration_is_small_and_flat(cross: Path) -> None:
    start = '<configuration><net-file value="my.net.xml.gz"/><route-files value="my.rou.xml"/>'
    odd = cross / "odd.sumocfg"
    odd.write_text(f"{start}{' ' * 2**20}</configuration>")
    with pytest.raises(InputError, match="more than 1 MiB"):
        load(odd)
    odd.write_text(f"{start}{'<a>' * 64}{'</a>' * 64}</configuration>")
    with pytest.raises(InputError, match="nested more than 64 deep"):
        load(odd)


def test_a_file_that_unpacks_to_far_too_much_is_left(cross: Path) -> None:
    """Of its 200 MB no more is unpacked than what a file of its size can hold."""
    bomb = cross / "bomb.rou.xml"
    bomb.write_bytes(gzip.compress(b"<routes>") + gzip.compress(b" " * 10**8, 1) * 2 + gzip.compress(b"</routes>"))
    with pytest.raises(InputError, match=r"bomb\.rou\.xml unpacks to more than"):
        load(cross / "my.net.xml.gz", routes=[bomb])


def test_a_configuration_or_schedule_with_a_number_that_is_none_is_refused(cross: Path) -> None:
    (cross / "odd.sumocfg").write_text(
        '<configuration><net-file value="my.net.xml.gz"/><scale value="much"/></configuration>'
    )
    with pytest.raises(InputError, match="scale is 'much', which is no number"):
        load(cross / "odd.sumocfg")
    (cross / "odd.add.xml").write_text('<additional><WAUT id="w" refTime="noon" startProg="0"/></additional>')
    with pytest.raises(InputError, match=r"odd\.add\.xml: a WAUT has a time that is none"):
        load(cross / "my.net.xml.gz", routes=[cross / "my.rou.xml"], additional=[cross / "odd.add.xml"])

"""The safety monitor finds nothing in a correct recording and every seeded fault in a tampered one."""

from __future__ import annotations

import gzip
import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
import sumo

from evaluation.monitor.__main__ import main
from evaluation.monitor.check import check
from evaluation.monitor.files import MonitorInputError
from evaluation.monitor.links import clearance_s
from evaluation.monitor.net import read_signals
from evaluation.monitor.rules import Finding, Rules

BIN = Path(sumo.SUMO_HOME) / "bin"
Rows = list[tuple[float, str]]

# Links of the cross, in netconvert's order. Each approach: right, through, through, left; from N, E, S, W;
# then the crossings over the N, E, S and W leg. Rights yield to crossings, lefts to the opposing through.
CROSS_ROWS: Rows = [
    (10, "gGGrrrrrgGGrrrrrrGrG"),  # N-S through and rights, pedestrians over the E and W legs
    (20, "gGGrrrrrgGGrrrrrrrrr"),  # their clearance
    (3, "yyyrrrrryyyrrrrrrrrr"),
    (4, "rrrrrrrrrrrrrrrrrrrr"),
    (8, "rrrGrrrrrrrGrrrrrrrr"),  # N and S left, protected
    (3, "rrryrrrrrrryrrrrrrrr"),
    (4, "rrrrrrrrrrrrrrrrrrrr"),
    (10, "rrrrgGGrrrrrgGGrGrGr"),  # E-W
    (20, "rrrrgGGrrrrrgGGrrrrr"),
    (3, "rrrryyyrrrrryyyrrrrr"),
    (4, "rrrrrrrrrrrrrrrrrrrr"),
    (8, "rrrrrrrGrrrrrrrGrrrr"),  # E and W left
    (3, "rrrrrrryrrrrrrryrrrr"),
    (4, "rrrrrrrrrrrrrrrrrrrr"),
]


@pytest.fixture(scope="module")
def cross(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _cross(tmp_path_factory.mktemp("cross"), "--crossings.guess")


def _cross(folder: Path, *options: str) -> Path:
    """A four-way cross with a left-turn lane on each approach and internal junctions."""
    ends = {"N": (0, 200), "E": (200, 0), "S": (0, -200), "W": (-200, 0)}
    nodes = "".join(f'<node id="{name}" x="{x}" y="{y}"/>' for name, (x, y) in ends.items())
    edges = "".join(
        f'<edge id="{name}C" from="{name}" to="C" numLanes="3" speed="13.89" sidewalkWidth="2"/>'
        f'<edge id="C{name}" from="C" to="{name}" numLanes="2" speed="13.89" sidewalkWidth="2"/>'
        for name in ends
    )
    (folder / "n.nod.xml").write_text(f'<nodes><node id="C" x="0" y="0" type="traffic_light"/>{nodes}</nodes>')
    (folder / "e.edg.xml").write_text(f"<edges>{edges}</edges>")
    net = folder / "cross.net.xml"
    command = [BIN / "netconvert", "-n", "n.nod.xml", "-e", "e.edg.xml", "-o", net.name]
    _run([*command, "--no-turnarounds", *options], folder)
    return net


def _run(command: list[str | Path], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def _record(folder: Path, rows: Rows, tls_id: str = "C", step_s: float = 1.0, begin_s: float = 0.0) -> Path:
    """A recording as SUMO writes it."""
    states = [state for duration, state in rows for _ in range(round(duration / step_s))]
    lines = [
        f'<tlsState time="{begin_s + index * step_s:.2f}" id="{tls_id}" phase="0" state="{state}"/>'
        for index, state in enumerate(states)
    ]
    file = folder / "states.xml"
    file.write_text("<tlsStates>\n" + "\n".join(lines) + "\n</tlsStates>\n")
    return file


def _kinds(findings: list[Finding]) -> set[str]:
    return {found.kind for found in findings}


def _tampered(cycle: Rows, changes: dict[int, tuple[float, str] | None]) -> Rows:
    """Three cycles, rows of the second replaced (None: left out)."""
    second = [changes.get(index, row) for index, row in enumerate(cycle)]
    return [*cycle, *(row for row in second if row is not None), *cycle]


@pytest.mark.parametrize("step_s", [1.0, 0.5, 0.1])
def test_a_correct_recording_has_no_finding(cross: Path, tmp_path: Path, step_s: float) -> None:
    states = _record(tmp_path, CROSS_ROWS * 2, step_s=step_s, begin_s=25200)
    assert check(cross, states) == []


def test_what_sumo_itself_records_has_no_finding(cross: Path, tmp_path: Path) -> None:
    phases = "".join(f'<phase duration="{duration}" state="{state}"/>' for duration, state in CROSS_ROWS)
    (tmp_path / "add.xml").write_text(
        f'<additional><tlLogic id="C" type="static" programID="own" offset="17">{phases}</tlLogic>'
        '<timedEvent type="SaveTLSStates" dest="states.xml"/></additional>'
    )
    _run([BIN / "sumo", "-n", cross, "-a", "add.xml", "-b", "100", "-e", "500", "--no-step-log"], tmp_path)
    assert check(cross, tmp_path / "states.xml") == []
    assert 'time="499.00"' in (tmp_path / "states.xml").read_text()


FAULTS: dict[str, tuple[dict[int, tuple[float, str] | None], str, float, tuple[int, ...]]] = {
    # name: rows of the second cycle (which begins at 104 s), kind, instant, links
    "cross traffic green": ({1: (20, "gGGrrGrrgGGrrrrrrrrr")}, "conflicting_greens", 114, (1, 5)),
    "left G against opposing G": ({0: (10, "gGGGrrrrgGGrrrrrrGrG")}, "conflicting_greens", 104, (3, 9)),
    "left G against a crossing": ({0: (10, "rrrGrrrrrrrrrrrrrGrr")}, "conflicting_greens", 104, (3, 17)),
    "through against its crossing": ({0: (10, "gGGrrrrrgGGrrrrrGrrr")}, "conflicting_greens", 104, (1, 16)),
    "s that does not yield": ({7: (10, "rsrrgGGrrrrrgGGrGrGr")}, "unyielding_turn_on_red", 156, (1, 5)),
    "yellow cut by one second": ({2: (2, "yyyrrrrryyyrrrrrrrrr")}, "short_yellow", 136, (1,)),
    "yellow left out": ({2: None}, "missing_yellow", 134, (1,)),
    "yellow shown as red": ({2: (3, "rrrrrrrrrrrrrrrrrrrr")}, "missing_yellow", 134, (9,)),
    "yellow back to green": ({3: (5, "rGrrrrrrrrrrrrrrrrrr")}, "aborted_yellow", 137, (1,)),
    "yellow out of red": ({3: (4, "rrryrrrrrrryrrrrrrrr")}, "yellow_without_green", 137, (3,)),
    "clearance left out": ({3: None}, "short_red_clearance", 137, (9, 3)),
    "green in a foe's yellow": ({2: (3, "yyyGrrrryyyrrrrrrrrr")}, "green_against_yellow", 134, (9, 3)),
    "min green cut": ({4: (4, "rrrGrrrrrrrGrrrrrrrr")}, "short_min_green", 145, (3,)),
    "short walk": ({0: (6, "gGGrrrrrgGGrrrrrrGrG")}, "short_walk", 110, (17,)),
    "walk cut": ({1: (2, "gGGrrrrrgGGrrrrrrrrr")}, "short_pedestrian_clearance", 123, (17, 3)),
    "protection ends without a change": (
        {6: (4, "rrrGrrrrrrrrrrrrrrrr"), 7: (20, "rrrgrrrrrGGrrrrrrrrr")},
        "short_protection_change",
        156,
        (3, 9),
    ),
    "turn released into a foe's tail": (
        {1: (20, "rrrgrrrrrGGrrrrrrrrr"), 2: (3, "rrrgrrrrryyrrrrrrrrr"), 3: (8, "rrrGrrrrrrrrrrrrrrrr")},
        "short_red_clearance",
        137,
        (9, 3),
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_every_seeded_fault_is_found(cross: Path, tmp_path: Path, name: str) -> None:
    changes, kind, time_s, links = FAULTS[name]
    assert sum(duration for duration, _ in CROSS_ROWS) == 104
    findings = check(cross, _record(tmp_path, _tampered(CROSS_ROWS, changes)))
    assert (kind, time_s, links) in {(found.kind, found.time_s, found.links) for found in findings}
    # nothing outside the tampered cycle and the way out of it
    assert all(104 <= found.time_s < 240 for found in findings)


def test_a_yielding_turn_may_run_beside_its_foes_without_clearance(cross: Path, tmp_path: Path) -> None:
    """Permissive lefts: g from red together with the opposing G, or before it; ended together or after it."""
    permissive: Rows = [
        (6, "rrrgrrrrrrrrrrrrrrrr"),
        (20, "gGGgrrrrgGGgrrrrrrrr"),
        (3, "yyygrrrryyygrrrrrrrr"),
        (6, "rrrgrrrrrrrgrrrrrrrr"),
        (8, "rrrGrrrrrrrGrrrrrrrr"),
        (3, "rrryrrrrrrryrrrrrrrr"),
        (4, "rrrrrrrrrrrrrrrrrrrr"),
    ]
    assert check(cross, _record(tmp_path, permissive * 2)) == []


def test_a_lost_protection_that_lasts_a_change_interval_is_accepted(cross: Path, tmp_path: Path) -> None:
    lead: Rows = [(8, "rrrGrrrrrrrrrrrrrrrr"), (7, "rrrgrrrrrrrrrrrrrrrr"), (20, "rrrgrrrrrGGrrrrrrrrr")]
    assert check(cross, _record(tmp_path, lead)) == []
    lead[1] = (4, lead[1][1])
    assert _kinds(check(cross, _record(tmp_path, lead))) == {"short_protection_change"}


def test_what_the_recording_cuts_is_not_judged(cross: Path, tmp_path: Path) -> None:
    for first in range(len(CROSS_ROWS)):
        rotated = CROSS_ROWS[first:] + CROSS_ROWS[:first]
        cut = [(1, rotated[0][1]), *rotated[1:], (1, rotated[0][1])]
        assert check(cross, _record(tmp_path, cut)) == []


def test_pedestrian_clearance_is_the_crossing_length_at_walking_speed(cross: Path, tmp_path: Path) -> None:
    relations = read_signals(cross)["C"].relations
    over_leg = next(relation for relation in relations if (relation.first, relation.second) == (5, 17))
    length_m = over_leg.pairs[0][1].crossing_length_m
    assert length_m is not None
    assert 16.0 <= length_m <= 22.0  # five lanes of 3.2 m
    # walk over the E leg, then only the E approach: too early by one second, then in time
    needed_s = int(np.ceil(length_m / 1.07))
    for wait_s, kinds in ((needed_s - 2, {"short_pedestrian_clearance"}), (needed_s, set())):
        rows = [(10, "r" * 17 + "Grr"), (wait_s, "r" * 20), (10, "rrrrrGGrrrrrrrrrrrrr")]
        assert _kinds(check(cross, _record(tmp_path, rows))) == kinds
        rows[1] = (wait_s, "r" * 17 + "yrr")  # a crossing's yellow lets nobody in either
        assert _kinds(check(cross, _record(tmp_path, rows))) == kinds


def test_yellow_is_as_long_as_the_speed_asks_for(cross: Path, tmp_path: Path) -> None:
    """50 km/h and 10 ft/s²: 1 + 13.89/6.096 = 3.28 s; 120 km/h: no more than 6 s."""
    by_speed = Rules(deceleration_mps2=3.048)
    for yellow_s, kinds in ((3.2, {"short_yellow"}), (3.3, set())):
        rows = [(10, "rGGrrrrrrrrrrrrrrrrr"), (yellow_s, "ryyrrrrrrrrrrrrrrrrr"), (9, "r" * 20)]
        states = _record(tmp_path, rows, step_s=0.1)
        assert _kinds(check(cross, states, by_speed)) == kinds
        assert check(cross, states) == []
    fast = tmp_path / "fast.net.xml"
    fast.write_text(cross.read_text().replace('speed="13.89"', 'speed="33.33"'))
    for yellow_s, kinds in ((5.9, {"short_yellow"}), (6.0, set())):
        rows = [(10, "rGGrrrrrrrrrrrrrrrrr"), (yellow_s, "ryyrrrrrrrrrrrrrrrrr"), (9, "r" * 20)]
        assert _kinds(check(fast, _record(tmp_path, rows, step_s=0.1), by_speed)) == kinds


def test_a_crossing_may_have_an_index_for_each_direction(tmp_path: Path) -> None:
    (tmp_path / "x.con.xml").write_text(
        '<connections><crossing node="C" edges="NC CN" linkIndex="16" linkIndex2="17"/></connections>'
    )
    net = _cross(tmp_path, "-x", "x.con.xml")
    assert read_signals(net)["C"].is_crossing(17)
    for state in ("rGGrrrrrrrrrrrrrGr", "rGGrrrrrrrrrrrrrrG"):
        assert _kinds(check(net, _record(tmp_path, [(9, state)]))) == {"conflicting_greens"}


# Two one-lane streets that cross at right angles, stop lines 15 m before the middle, 30 m/s and 20 m/s.
# JUNCTIONS is one junction with its table, or two junctions without a common one. The second stream comes on a road
# that leads up to it askew, so that it turns.
TWO_STREETS = """<net>
  <edge id=":a" function="internal"><lane id=":a_0" index="0" speed="9" shape="0,-15 0,15"/></edge>
  <edge id=":b" function="internal"><lane id=":b_0" index="0" speed="9" shape="-15,0 15,0"/></edge>
  <edge id="a"><lane id="a_0" index="0" speed="30" length="85" shape="0,-100 0,-15"/></edge>
  <edge id="A"><lane id="A_0" index="0" speed="30" length="85" shape="0,15 0,100"/></edge>
  <edge id="b"><lane id="b_0" index="0" speed="20" length="85" shape="-75,-60 -15,0"/></edge>
  <edge id="B"><lane id="B_0" index="0" speed="20" length="85" shape="15,0 100,0"/></edge>
  {junctions}
  <connection from="a" to="A" fromLane="0" toLane="0" via=":a_0" tl="T" linkIndex="0"/>
  <connection from="b" to="{target}" fromLane="0" toLane="0" via=":b_0" tl="T" linkIndex="{second}"/>
</net>"""
ONE_JUNCTION = """<junction id="J" type="traffic_light" incLanes="a_0 b_0" intLanes=":a_0 :b_0">
  <request index="0" response="00" foes="10"/><request index="1" response="01" foes="01"/></junction>"""
TWO_JUNCTIONS = """<junction id="J" type="traffic_light" incLanes="a_0" intLanes=":a_0">
  <request index="0" response="0" foes="0"/></junction>
  <junction id="K" type="traffic_light" incLanes="b_0" intLanes=":b_0">
  <request index="0" response="0" foes="0"/></junction>"""


def _two_streets(folder: Path, junctions: str, second: int = 1, target: str = "B") -> Path:
    net = folder / "two.net.xml.gz"
    net.write_bytes(gzip.compress(TWO_STREETS.format(junctions=junctions, second=second, target=target).encode()))
    return net


def test_red_clearance_is_the_formula(tmp_path: Path) -> None:
    """(W + L)/V: the far edge of the other lane is 15 + 1.6 m from the stop line."""
    (relation,) = read_signals(_two_streets(tmp_path, ONE_JUNCTION))["T"].relations
    assert clearance_s(relation, 0, 6.1, 1.07) == pytest.approx((16.6 + 6.1) / 30, abs=0.02)
    assert clearance_s(relation, 1, 6.1, 1.07) == pytest.approx((16.6 + 6.1) / 20, abs=0.02)
    assert (relation.first_yields, relation.second_yields) == (False, True)


def test_red_clearance_may_not_be_rounded_down(tmp_path: Path) -> None:
    net = _two_streets(tmp_path, ONE_JUNCTION)
    exact = Rules(clearance_tolerance_s=0.0)
    for cleared_s, kinds in ((1.1, {"short_red_clearance"}), (1.2, set())):  # needed: 1.135 s
        rows = [(6, "rG"), (3, "ry"), (cleared_s, "rr"), (6, "Gr")]
        states = _record(tmp_path, rows, tls_id="T", step_s=0.1)
        assert _kinds(check(net, states, exact)) == kinds


def test_one_signal_over_two_junctions_is_judged_by_geometry(tmp_path: Path) -> None:
    net = _two_streets(tmp_path, TWO_JUNCTIONS)
    for state in ("GG", "Gg", "gg"):
        assert _kinds(check(net, _record(tmp_path, [(9, state)], tls_id="T"))) == {"conflicting_greens"}
    exact = Rules(clearance_tolerance_s=0.0)  # needed: 0.757 s
    for cleared_s, kinds in ((0, {"short_red_clearance"}), (1, set())):
        rows = [(6, "Gr"), (3, "yr"), (cleared_s, "rr"), (6, "rG")]
        assert _kinds(check(net, _record(tmp_path, rows, tls_id="T"), exact)) == kinds


def test_a_link_index_shared_by_conflicting_connections(tmp_path: Path) -> None:
    net = _two_streets(tmp_path, ONE_JUNCTION, second=0)
    assert _kinds(check(net, _record(tmp_path, [(9, "G")], tls_id="T"))) == {"conflicting_greens"}
    assert check(net, _record(tmp_path, [(9, "g")], tls_id="T")) == []


# what each row tells: 1 yields to 0, and 0 needs 0.75 s, 1 needs 1.125 s of clearance
@pytest.mark.parametrize(
    ("rows", "kinds"),
    [
        ([(6, "gg"), (3, "gy"), (6, "Gr")], set()),  # 0 had the right of way over 1 all along
        ([(6, "gg"), (3, "yg"), (6, "rG")], {"short_red_clearance"}),  # 1 had waited for 0
        ([(6, "gg"), (1, "yg"), (6, "yG")], {"green_against_yellow"}),
        ([(6, "Gr"), (6, "gr"), (6, "gg")], set()),  # 0 lost nothing: 1 yields to it
        ([(6, "Gr"), (3, "yr"), (6, "OG")], set()),  # switched off
        ([(6, "rr"), (2, "yr"), (6, "yG")], {"yellow_without_green"}),
        ([(6, "ss")], set()),  # two reds
        ([(6, "Gs")], set()),
        ([(6, "sG")], {"unyielding_turn_on_red"}),
        ([(6, "Gr"), (3, "yr"), (2, "ru"), (6, "rG")], set()),
        ([(6, "Gr"), (3, "ur"), (6, "rr")], {"missing_yellow"}),
        ([(6, "Gr"), (3, "yr"), (2, "Gr"), (6, "Gr")], {"aborted_yellow"}),
    ],
)
def test_pairs_of_links(tmp_path: Path, rows: Rows, kinds: set[str]) -> None:
    net = _two_streets(tmp_path, ONE_JUNCTION)
    exact = Rules(clearance_tolerance_s=0.0)
    assert _kinds(check(net, _record(tmp_path, rows, tls_id="T"), exact)) == kinds


@pytest.mark.parametrize(
    ("state", "kind"),
    [
        ("Gg", "conflicting_greens"),
        ("gg", "conflicting_greens"),
        ("Gs", "unyielding_turn_on_red"),
        ("ss", ""),
        ("Gr", ""),
    ],
)
def test_two_streets_never_share_a_green(tmp_path: Path, state: str, kind: str) -> None:
    """The table says that 1 yields to 0, but no green asks that of who goes straight on."""
    net = _two_streets(tmp_path, ONE_JUNCTION)
    assert check(net, _record(tmp_path, [(9, state)], tls_id="T")) == []
    straight = gzip.decompress(net.read_bytes()).replace(b"-75,-60 -15,0", b"-75,0 -15,0")
    net.write_bytes(gzip.compress(straight))
    assert _kinds(check(net, _record(tmp_path, [(9, state)], tls_id="T"))) == ({kind} if kind else set())


def test_who_walks_over_a_street_never_shares_its_green(cross: Path, tmp_path: Path) -> None:
    (street,) = (r for r in read_signals(cross)["C"].relations if (r.first, r.second) == (1, 16))
    assert street.streets
    assert street.first_yields
    assert _kinds(check(cross, _record(tmp_path, [(9, "rgrrrrrrrrrrrrrrGrrr")]))) == {"conflicting_greens"}
    assert check(cross, _record(tmp_path, [(9, "grrrrrrrrrrrrrrrrrrG")])) == []  # a right turn does


def test_two_greens_into_one_lane_conflict_without_a_foe_bit(tmp_path: Path) -> None:
    table = ONE_JUNCTION.replace('response="01" foes="01"', 'response="00" foes="00"').replace("10", "00")
    net = _two_streets(tmp_path, table, target="A")
    assert _kinds(check(net, _record(tmp_path, [(9, "GG")], tls_id="T"))) == {"conflicting_greens"}
    assert check(net, _record(tmp_path, [(9, "Gg")], tls_id="T")) == []


def test_rail_signals_are_left_out(tmp_path: Path) -> None:
    net = _two_streets(tmp_path, ONE_JUNCTION.replace('"traffic_light"', '"rail_signal"'))
    states = _record(tmp_path, [(2, "GG"), (1, "rr")], tls_id="T")
    assert check(net, states) == []
    with pytest.raises(MonitorInputError, match="signal of a railway"):
        check(net, states, tls_ids=["T"])


def test_the_command(cross: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(cross), str(_record(tmp_path, CROSS_ROWS))]) == 0
    assert capsys.readouterr().out == "no finding\n"
    states = _record(tmp_path, _tampered(CROSS_ROWS, {2: (2, CROSS_ROWS[2][1])}))
    assert main([str(cross), str(states), "--tls", "C", "--json"]) == 1
    findings = json.loads(capsys.readouterr().out)["findings"]
    assert {found["kind"] for found in findings} == {"short_yellow"}
    assert main([str(cross), str(_record(tmp_path, CROSS_ROWS)), "--yellow-s", "4"]) == 1
    capsys.readouterr()
    for wrong in (["--yellow-s", "nan"], ["--min-green-s", "-1"], ["--walking-speed-mps", "0"], ["--walk-s", "inf"]):
        assert main([str(cross), str(states), *wrong]) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: rule ")
        assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<tlsStates><tlsState", "not a recording"),
        ("<tlsStates/>", "holds no <tlsState>"),
        ('<a><tlsState id="C" state="r"/></a>', "missing attribute 'time'"),
        ('<a><tlsState time="x" id="C" state="r"/></a>', "not a recording"),
        ('<a><tlsState time="0" id="Q" state="r"/></a>', "has no signal 'Q'"),
        ('<a><tlsState time="0" id="C" state="rrr"/></a>', "states of 3 characters"),
        (
            "".join(["<a>", *(f'<tlsState time="{t}" id="C" state="{"r" * 20}"/>' for t in (0, 1, 3)), "</a>"]),
            "jumps from 1 s to 3 s",
        ),
    ],
)
def test_a_bad_recording_is_refused(
    cross: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, message: str
) -> None:
    file = tmp_path / "states.xml"
    file.write_text(text)
    assert main([str(cross), str(file)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert error.count("\n") == 1


def test_a_bad_net_is_refused(tmp_path: Path) -> None:
    states = _record(tmp_path, [(3, "rr")], tls_id="T")
    with pytest.raises(MonitorInputError, match="cannot be read"):
        check(tmp_path / "none.net.xml", states)
    with pytest.raises(MonitorInputError, match="not <net>"):
        check(states, states)
    net = _two_streets(tmp_path, ONE_JUNCTION.replace('":a_0 :b_0"', '":b_0 :a_0"'))
    with pytest.raises(MonitorInputError, match="intLanes does not fit request 0"):
        check(net, states)

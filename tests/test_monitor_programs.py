"""The safety monitor sees the times that a network's own program keeps, and who may take a way."""

from __future__ import annotations

import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
import sumo

from evaluation.monitor.check import check
from evaluation.monitor.files import MonitorInputError
from evaluation.monitor.links import clearance_s
from evaluation.monitor.net import read_signals
from evaluation.monitor.programs import OwnTimes, Programs, own_times
from evaluation.monitor.rules import Finding

BIN = Path(sumo.SUMO_HOME) / "bin"
CASES = Path(__file__).parent / "data" / "cases"
OWN, NEMA = CASES / "own_clearance", CASES / "nema_program" / "my.net.xml"
Rows = list[tuple[float, str]]


def _record(folder: Path, rows: Rows, tls_id: str = "C") -> Path:
    """A recording with a step of half a second."""
    states = [state for duration, state in rows for _ in range(round(duration / 0.5))]
    lines = [f'<tlsState time="{n / 2:.2f}" id="{tls_id}" state="{state}"/>' for n, state in enumerate(states)]
    file = folder / "states.xml"
    file.write_text(f"<tlsStates>{''.join(lines)}</tlsStates>")
    return file


def _short(findings: list[Finding]) -> dict[str, set[tuple[int, ...]]]:
    """The links by kind."""
    return {kind: {found.links for found in findings if found.kind == kind} for kind in {f.kind for f in findings}}


# --- what real programs keep


@pytest.mark.parametrize(
    ("file", "ends"),
    [
        ("p.add.xml", ["GGr", "yGr", "rGr", "rGG"]),  # link 1 is green at all times
        ("p2.add.xml", ["Grr", "yrr", "rrr", "rGG"]),
    ],
)
def test_a_programs_own_clearance_is_kept_beside_a_permanent_green(
    tmp_path: Path, file: str, ends: list[str]
) -> None:
    net, additional = OWN / "n.net.xml", [OWN / file]
    for cleared_s, found in (
        (9, {}),
        (8.5, {"short_red_clearance": {(0, 2)}}),
        (2, {"short_red_clearance": {(0, 2)}}),
    ):
        states = _record(tmp_path, list(zip((8, 3, cleared_s, 8), ends, strict=True)))
        findings = check(net, states, additional=additional)
        assert _short(findings) == found
        assert all("not 9.00 s as in its own program" in finding.message for finding in findings)
        assert check(net, states) == []  # the net's own program keeps none


def test_a_nema_program_names_its_yellow_and_red(tmp_path: Path) -> None:
    """Phases 2 and 6 end, 4 and 8 begin: 6 s and 5 s, of all that they serve."""
    old, new = "GGGgrrrrGGGgrrrr", "rrrrGGGgrrrrGGGg"
    for yellow_s, red_s, kinds in (
        (6, 5, set()),
        (4, 5, {"short_yellow"}),
        (6, 2, {"short_red_clearance"}),
        (4, 2, {"short_yellow", "short_red_clearance"}),
    ):
        yellow = old.replace("G", "y").replace("g", "y")
        states = _record(tmp_path, [(8, old), (yellow_s, yellow), (red_s, "r" * 16), (8, new)])
        found = _short(check(NEMA, states))
        assert set(found) == kinds
        assert all(len(links) >= 8 for links in found.values())


@pytest.mark.parametrize("name", ["own clearance", "NEMA"])
def test_what_sumo_shows_of_such_a_program_keeps_it(tmp_path: Path, name: str) -> None:
    """And the recording tells by itself which additional files the run had."""
    record = tmp_path / "record.add.xml"
    record.write_text('<additional><timedEvent type="SaveTLSStates" dest="states.xml"/></additional>')
    net, files = (OWN / "n.net.xml", [OWN / "p.add.xml"]) if name == "own clearance" else (NEMA, [])
    options = ["-a", ",".join(map(str, [*files, record])), "-e", "200", "--no-step-log"]
    subprocess.run([BIN / "sumo", "-n", net, *options], cwd=tmp_path, capture_output=True, check=True)
    states = tmp_path / "states.xml"
    assert check(net, states) == []
    # one second less of each all-red
    red = "rGr" if files else "r" * 16
    shown = ET.parse(states).getroot()
    frames = [frame.attrib for frame in shown.iter("tlsState")]
    late = next(n for n in range(1, len(frames)) if frames[n - 1]["state"] != red and frames[n]["state"] == red)
    frames[late : late + 1] = []
    for n, frame in enumerate(frames):
        frame["time"] = str(n)
    header = states.read_text().partition("<tlsStates")[0]
    lines = "".join(ET.tostring(ET.Element("tlsState", frame), encoding="unicode") for frame in frames)
    states.write_text(f"{header}<tlsStates>{lines}</tlsStates>")
    assert "short_red_clearance" in {found.kind for found in check(net, states)}


# --- who may take a way


def test_bicycles_are_cleared_at_their_own_speed(tmp_path: Path) -> None:
    """39 m and 6.1 m at 20 km/h, where the limit is 50 km/h: 8.1 s."""
    net = CASES / "bike_clearance" / "n.net.xml"
    signal = read_signals(net)["C"]
    ((bicycles,), (cars,)) = signal.paths[2], signal.paths[1]
    assert (bicycles.cycles, cars.cycles) == (True, False)
    assert (bicycles.speed_mps, cars.speed_mps) == (pytest.approx(20 / 3.6), pytest.approx(13.9))
    for cleared_s, found in ((8, {}), (4, {"short_red_clearance": {(2, 0), (2, 1)}})):
        states = _record(tmp_path, [(8, "rrG"), (3, "rry"), (cleared_s, "rrr"), (8, "GGr")])
        assert _short(check(net, states)) == found


def test_trams_have_their_length_and_run_beside_cars() -> None:
    """Links 5 and 10 lead onto a lane for trams alone. 10 passes 0 and 4 without touching them, which the table names
    as foes one way only."""
    signal = read_signals(CASES / "tram_lane" / "my.net.xml")["C"]
    lengths = {link: path.rail_length_m for link, (path,) in signal.paths.items()}
    assert lengths == {link: 22.0 if link in (5, 10) else None for link in range(14)}
    pairs = {(relation.first, relation.second): relation for relation in signal.relations}
    assert (0, 10) not in pairs
    assert (4, 10) not in pairs
    crossing = pairs[6, 10]
    longer_s = clearance_s(crossing, 10, 6.1, 1.07) - clearance_s(crossing, 10, 0.0, 1.07)
    assert longer_s == 0.0  # a tram's own length counts, whatever a car's
    assert clearance_s(crossing, 10, 29.0, 1.07) - clearance_s(crossing, 10, 0.0, 1.07) == pytest.approx(7 / 13.89)


def test_a_tram_is_cleared_in_its_length(tmp_path: Path) -> None:
    """From link 10 to 12: 9.5 m and 22 m at 50 km/h are 2.3 s; a car of 6.1 m needs 1.1 s."""
    net = CASES / "tram_lane" / "my.net.xml"
    for cleared_s, found in ((2.5, {}), (1.5, {"short_red_clearance": {(10, 12)}})):
        shown = [(8, 10, "G"), (3, 10, "y"), (cleared_s, 10, "r"), (8, 12, "G")]
        rows = [(duration, "r" * link + character + "r" * (13 - link)) for duration, link, character in shown]
        assert _short(check(net, _record(tmp_path, rows))) == found
    assert check(net, _record(tmp_path, [(8, "GrrrrrrrrrGrrr")])) == []
    assert _short(check(net, _record(tmp_path, [(8, "rrrrrrGrrrGrrr")]))) == {"conflicting_greens": {(6, 10)}}


WALK = """<net>
  <edge id=":a" function="internal"><lane id=":a_0" index="0" speed="9" length="20" shape="0,-10 0,10"/></edge>
  <edge id="a"><lane id="a_0" index="0" speed="20" length="90" shape="0,-100 0,-10"/></edge>
  <edge id="A"><lane id="A_0" index="0" speed="20" length="90" shape="0,10 0,100"/></edge>
  <edge id=":w" function="walkingarea"><lane id=":w_0" index="0" speed="3" length="1" shape="-6,0 -5,0"/></edge>
  <edge id=":v" function="walkingarea"><lane id=":v_0" index="0" speed="3" length="1" shape="5,0 6,0"/></edge>
  <edge id=":c" function="crossing"><lane id=":c_0" index="0" speed="3" length="10" shape="-5,0 5,0"/></edge>
  <tlLogic id="T" type="static" programID="0">{phases}</tlLogic>
  <junction id="J" type="traffic_light" incLanes="a_0 :w_0" intLanes=":a_0 :c_0">
    <request index="0" response="10" foes="10"/><request index="1" response="00" foes="01"/></junction>
  <connection from="a" to="A" fromLane="0" toLane="0" via=":a_0" tl="T" linkIndex="0"/>
  <connection from=":w" to=":c" fromLane="0" toLane="0" tl="T" linkIndex="1"/>
  <connection from=":c" to=":v" fromLane="0" toLane="0"/>
</net>"""


@pytest.mark.parametrize(("own_s", "needed_s"), [(15, 15), (5, 9.5), (60, 9.5)])
def test_a_crossings_own_longer_clearance_is_kept(tmp_path: Path, own_s: float, needed_s: float) -> None:
    """10 m take 9.35 s. A program that shows red for 60 s does not wait for walkers."""
    rows = [(9, "rG"), (own_s, "rr"), (20, "Gr"), (3, "yr"), (2, "rr")]
    phases = "".join(f'<phase duration="{duration}" state="{state}"/>' for duration, state in rows)
    net = tmp_path / "walk.net.xml"
    net.write_text(WALK.format(phases=phases))
    for cleared_s, found in ((needed_s, {}), (needed_s - 0.5, {"short_pedestrian_clearance": {(1, 0)}})):
        states = _record(tmp_path, [(9, "rG"), (cleared_s, "rr"), (9, "Gr")], "T")
        assert _short(check(net, states)) == found


# --- how a program is read


FOES = {0: {1: False, 3: True}, 1: {0: False}, 2: {}, 3: {0: False}}
"""Links 0 and 1 cross, 3 turns before 0 and yields to it, 2 meets nobody."""


def _own(rows: Rows, kind: str = "static", crossings_m: dict[int, float] | None = None, more: str = "") -> OwnTimes:
    phases = "".join(f'<phase duration="{duration}" state="{state}"/>' for duration, state in rows)
    programs = Programs()
    programs.add(ET.fromstring(f'<net><tlLogic id="T" programID="a" type="{kind}">{phases}</tlLogic>{more}</net>'))
    return own_times(programs.of("T"), FOES, crossings_m or {}, 5.0)


@pytest.mark.parametrize(
    ("rows", "kept_s"),
    [
        ([(20, "Grrr"), (3, "yrrr"), (4, "rrrr"), (20, "rGrr"), (5, "ryrr")], 4),
        ([(20, "GrGr"), (3, "yrGr"), (4, "rrGr"), (20, "rGGr"), (5, "ryGr")], 4),  # 2 is always green
        ([(20, "GrGr"), (3, "yryr"), (1, "rryr"), (4, "uurr"), (20, "rGrr"), (5, "ryrr")], 5),
        ([(20, "Grrr"), (3, "Yrrr"), (2, "rrrr"), (2, "rrGr"), (20, "rGGr"), (5, "ryyr")], 4),  # 2 starts with 1
        # other phases, no clearance: 2 begins and stays, begins and ends, or goes on
        ([(20, "Grrr"), (3, "yrrr"), (2, "rrrr"), (9, "rrGr"), (20, "rGGr"), (5, "ryyr")], 0),
        ([(20, "Grrr"), (3, "yrrr"), (1, "rrrr"), (20, "rrGr"), (3, "rryr"), (20, "rGrr"), (5, "ryrr")], 0),
        ([(20, "GrGr"), (3, "yrGr"), (20, "rrGr"), (3, "rryr"), (20, "rGrr"), (5, "ryrr")], 0),
        # 3 has priority until 1 begins; where it has only looked for gaps, it begins when it need not any longer
        ([(20, "Grrr"), (3, "yrrG"), (9, "rrrG"), (20, "rGrG"), (5, "ryrG")], 0),
        ([(20, "Grrg"), (3, "yrrg"), (6, "rrrg"), (9, "rrrG"), (20, "rGrG"), (5, "ryry")], 6),
    ],
)
def test_own_clearance_is_the_time_in_which_nobody_is_served(rows: Rows, kept_s: float) -> None:
    times = _own(rows)
    assert times.longest_s.get(0, 0.0) == kept_s
    assert times.clearance_s(0, 1) == kept_s
    assert times.yellow_s[0] == 3


def test_a_pair_that_the_program_never_shows_has_the_longest_clearance_of_its_link() -> None:
    rows = [(9, "Grrr"), (3, "yrrr"), (4, "rrrr"), (9, "rGrr"), (3, "ryrr"), (2, "rrrr")]
    rows += [(9, "Grrr"), (4, "yrrr"), (6, "rrrr"), (9, "rGrr"), (3, "ryrr"), (2, "rrrr")]
    times = _own(rows)
    assert (times.clearance_s(0, 1), times.clearance_s(0, 3), times.clearance_s(1, 0)) == (6, 6, 2)
    assert times.yellow_s == {0: 4, 1: 3}
    # 3 has started sooner than that in the program, if only beside 2, which goes on alone
    rows += [(9, "GrGr"), (3, "yrGr"), (5, "rrGr"), (1, "rryr"), (9, "rrrG"), (3, "rrry")]
    assert _own(rows).clearance_s(0, 3) == 6
    rows[-4] = (1, "rrGr")
    assert _own(rows).clearance_s(0, 3) == 2


@pytest.mark.parametrize(("beside_s", "kept_s"), [(12, 17), (60, 0)])
def test_a_walk_is_cleared_while_vehicles_beside_it_go_on(beside_s: float, kept_s: float) -> None:
    """Link 0 walks 16 m beside 2. A walk that ends a minute before the vehicles is not cleared for so long."""
    rows = [(9, "GrGr"), (beside_s, "rrGr"), (3, "rryr"), (2, "rrrr"), (20, "rGrr"), (3, "ryrr"), (4, "rrrr")]
    assert _own(rows, crossings_m={0: 16.0}).longest_s.get(0, 0.0) == kept_s


def test_rows_follow_their_next_and_actuated_ones_may_be_short() -> None:
    xml = (
        '<net><tlLogic id="T" programID="a" type="actuated">'
        '<phase duration="20" minDur="5" state="Grrr"/>'
        '<phase duration="3" state="yrrr" next="4 3"/>'
        '<phase duration="20" state="rGrr"/>'
        '<phase minDur="4" maxDur="9" state="rrrr" next="2"/>'
        '<phase duration="7" minDur="6" state="rrrr" next="2"/>'
        "</tlLogic></net>"
    )
    programs = Programs()
    programs.add(ET.fromstring(xml))
    assert own_times(programs.of("T"), FOES, {}, 5.0).between_s[0, 1] == 6


def test_the_last_program_counts_or_all_that_a_schedule_switches() -> None:
    def rows(red_s: float) -> Rows:
        return [(9, "Grrr"), (3, "yrrr"), (red_s, "rrrr"), (9, "rGrr"), (3, "ryrr")]

    def program(red_s: float) -> str:
        phases = "".join(f'<phase duration="{duration}" state="{state}"/>' for duration, state in rows(red_s))
        return f'<tlLogic id="T" programID="b">{phases}</tlLogic>'

    assert _own(rows(4), more=program(2)).clearance_s(0, 1) == 2
    assert _own(rows(2), more=program(4)).clearance_s(0, 1) == 4
    waut = '<WAUT id="w" startProg="a"/><wautJunction wautID="w" junctionID="T"/>'
    assert _own(rows(2), more=program(4) + waut).clearance_s(0, 1) == 2
    assert _own(rows(2), more='<tlLogic id="T" programID="b"/>').clearance_s(0, 1) == 2  # parameters alone


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<additional><tlLogic", "not a readable additional file"),
        ('<additional><tlLogic id="C"><phase duration="x" state="rrr"/></tlLogic></additional>', "'x'"),
        ('<additional><tlLogic id="C"><phase duration="inf" state="rrr"/></tlLogic></additional>', "is no time"),
        (
            '<a><tlLogic id="C"><phase duration="1" state="r"/><phase duration="1" state="rr"/></tlLogic></a>',
            "differ",
        ),
        (
            '<additional><tlLogic id="C"><phase duration="1" state="rrr" next="1"/></tlLogic></additional>',
            "leads to one that is not there",
        ),
        ('<additional><include href="gone.xml"/></additional>', "cannot be read"),
    ],
)
def test_a_bad_additional_file_is_refused(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "p.add.xml"
    file.write_text(text)
    with pytest.raises(MonitorInputError, match=message):
        check(OWN / "n.net.xml", _record(tmp_path, [(8, "GGr")]), additional=[file])


def test_included_files_are_read(tmp_path: Path) -> None:
    outer = tmp_path / "outer.add.xml"
    outer.write_text(f'<additional><include href="{OWN / "p.add.xml"}"/><include href="outer.add.xml"/></additional>')
    (program,) = read_signals(OWN / "n.net.xml", [outer])["C"].programs
    assert program.program_id == "own"

"""Which signals and links the safety monitor judges, and what it takes from a recording beside the states."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import sumo

from evaluation.monitor.__main__ import main
from evaluation.monitor.check import check, judge, read_states
from evaluation.monitor.files import MonitorInputError
from evaluation.monitor.net import read_signals

BIN = Path(sumo.SUMO_HOME) / "bin"
CASES = Path(__file__).parent / "data" / "cases"
LEVEL_CROSSING = CASES / "monitor_level_crossing" / "my.net.xml"


def _two_signals(folder: Path, link_of_b: int = 1) -> Path:
    """A net of two crossings of two streets. At the second one the link index of the crossing street is given."""
    edges, junctions, connections = "", "", ""
    for n, tls in enumerate("AB"):
        x = 500 * n
        for way, (before, inside, after) in {
            "s": (f"{x},-100 {x},-15", f"{x},-15 {x},15", f"{x},15 {x},100"),
            "w": (f"{x - 100},0 {x - 15},0", f"{x - 15},0 {x + 15},0", f"{x + 15},0 {x + 100},0"),
        }.items():
            names = f"{tls}{way}in", f":{tls}{way}", f"{tls}{way}out"
            for name, shape in zip(names, (before, inside, after), strict=True):
                edges += (
                    f'<edge id="{name}"><lane id="{name}_0" index="0" speed="20" length="85" shape="{shape}"/></edge>'
                )
            index = link_of_b if (tls, way) == ("B", "w") else "sw".index(way)
            connections += (
                f'<connection from="{names[0]}" to="{names[2]}" fromLane="0" toLane="0" via="{names[1]}_0" tl="{tls}"'
                f' linkIndex="{index}"/>'
            )
        junctions += (
            f'<junction id="{tls}" type="traffic_light"'
            f' incLanes="{tls}sin_0 {tls}win_0" intLanes=":{tls}s_0 :{tls}w_0">'
            '<request index="0" response="00" foes="10"/><request index="1" response="01" foes="01"/></junction>'
        )
    net = folder / "two.net.xml"
    net.write_text(f"<net>{edges}{junctions}{connections}</net>")
    return net


def _recorded(folder: Path, programs: dict[str, str], state: str = "GG", header: str = "") -> Path:
    """Nine steps in which every signal shows the state, by the program that is named."""
    file = folder / "states.xml"
    lines = (
        f'<tlsState time="{t}" id="{tls}" programID="{program}" phase="0" state="{state}"/>'
        for t in range(9)
        for tls, program in programs.items()
    )
    file.write_text(f"{header}<tlsStates>{''.join(lines)}</tlsStates>")
    return file


@pytest.mark.parametrize(
    ("a", "b", "judged"),
    [
        ("intergreen", "0", "A"),
        ("0", "intergreen-2", "B"),
        ("online", "0", "A"),  # SUMO's name for a state that was set
        ("intergreen", "intergreen", "AB"),
        ("0", "morning", "AB"),  # nobody controlled anything
        ("0", "intergreener", "AB"),
    ],
)
def test_the_signals_that_a_run_controlled_are_judged(tmp_path: Path, a: str, b: str, judged: str) -> None:
    net, states = _two_signals(tmp_path), _recorded(tmp_path, {"A": a, "B": b})
    assert {found.tls_id for found in check(net, states)} == set(judged)
    result = judge(net, states)
    assert (set(result.judged), set(result.left)) == (set(judged), set("AB") - set(judged))
    assert {found.tls_id for found in check(net, states, all_signals=True)} == {"A", "B"}
    assert {found.tls_id for found in check(net, states, tls_ids=["B"])} == {"B"}


def test_the_command_says_what_it_leaves_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net, states = str(_two_signals(tmp_path)), str(_recorded(tmp_path, {"A": "0", "B": "intergreen"}, "Gr"))
    assert main([net, states]) == 0
    said = "no finding in the 1 of 2 signals that the run controlled (--all-signals judges all)\n"
    assert capsys.readouterr().out == said
    assert main([net, states, "--all-signals"]) == 0
    assert capsys.readouterr().out == "no finding\n"
    assert main([net, states, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"findings": [], "judged": ["B"], "not_judged": ["A"]}
    with pytest.raises(SystemExit) as left:
        main([net, states, "--all-signals", "--tls", "A"])
    assert left.value.code == 2


def test_a_link_index_below_0_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net = _two_signals(tmp_path, link_of_b=-1)
    states = _recorded(tmp_path, {"A": "0", "B": "0"})
    assert {found.tls_id for found in check(net, states)} == {"A"}
    assert dict(read_signals(net)["B"].paths).keys() == {0}
    assert main([str(_two_signals(tmp_path, link_of_b=2)), str(states)]) == 2  # a third link, of two characters
    assert "has 3 links" in capsys.readouterr().err


def test_a_level_crossing_is_left_to_sumo(tmp_path: Path) -> None:
    """Its rails have link index -1, and its signal is SUMO's own whatever the program is."""
    record = tmp_path / "record.add.xml"
    record.write_text('<additional><timedEvent type="SaveTLSStates" dest="states.xml"/></additional>')
    trains = tmp_path / "trains.rou.xml"
    trains.write_text('<routes><trip id="t" depart="0" from="r1" to="r2" type="T"/></routes>')
    trains.write_text(trains.read_text().replace("<trip", '<vType id="T" vClass="rail"/><trip', 1))
    command = [BIN / "sumo", "-n", LEVEL_CROSSING, "-r", trains, "-a", record, "-e", "60", "--no-step-log"]
    subprocess.run(command, cwd=tmp_path, capture_output=True, check=True)
    states = tmp_path / "states.xml"
    assert len({interval.state for interval in read_states(states).intervals["X"]}) > 1  # it has closed
    for all_signals in (False, True):
        result = judge(LEVEL_CROSSING, states, all_signals=all_signals)
        assert (result.judged, result.left) == (("C",), ())
        assert {found.kind for found in result.findings} == {"short_red_clearance"}  # netconvert's program has none
    with pytest.raises(MonitorInputError, match="'X' is a signal of a railway"):
        check(LEVEL_CROSSING, states, tls_ids=["X"])


def test_lanes_are_counted_as_sumo_does(tmp_path: Path) -> None:
    """`n` says index 0 of both lanes of an edge in the junction, which SUMO does not read."""
    states = _recorded(tmp_path, {"C": "0"}, "r" * 19)
    signals = []
    for name in ("n", "good"):
        net = CASES / "monitor_index" / f"{name}.net.xml"
        assert check(net, states) == []
        signals.append(read_signals(net)["C"])
    ways = [{link: [p.line.tolist() for p in paths] for link, paths in of.paths.items()} for of in signals]
    assert ways[0] == ways[1]
    assert [(r.first, r.second) for r in signals[0].relations] == [(r.first, r.second) for r in signals[1].relations]


def _header(*files: Path) -> str:
    names = ",".join(map(str, files)).replace("--", "&#45;&#45;")
    return f'<!-- generated\n<sumoConfiguration><additional-files value="{names}"/></sumoConfiguration>\n-->\n'


def test_programs_come_from_the_files_that_the_recording_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    net = _two_signals(tmp_path)
    program = tmp_path / "a--program.add.xml"
    rows = [(9, "Gr"), (5, "yr"), (4, "rr"), (9, "rG"), (5, "ry"), (4, "rr")]
    phases = "".join(f'<phase duration="{duration}" state="{state}"/>' for duration, state in rows)
    program.write_text(f'<additional><tlLogic id="A" programID="x">{phases}</tlLogic></additional>')
    shown = [state for duration, state in ((9, "Gr"), (3, "yr"), (2, "rr"), (9, "rG")) for _ in range(duration)]
    lines = "".join(f'<tlsState time="{t}" id="A" state="{state}"/>' for t, state in enumerate(shown))
    states = tmp_path / "states.xml"
    states.write_text(f"{_header(program)}<tlsStates>{lines}</tlsStates>")
    assert {found.kind for found in check(net, states)} == {"short_yellow", "short_red_clearance"}
    # files of one run alone are gone with it and no loss; others may have held a program
    gone = tmp_path / "gone.add.xml"
    states.write_text(f"{_header(gone, tmp_path / '.intergreen-x' / 'y.add.xml')}<tlsStates>{lines}</tlsStates>")
    assert main([str(net), str(states)]) == 0
    said = capsys.readouterr()
    assert said.out == "no finding\n"
    assert said.err.startswith(f"note: the recording names {gone}, which is gone")
    assert said.err.count("\n") == 1
    assert main([str(net), str(states), "--additional", str(program)]) == 1
    states.write_text(f"<tlsStates>{lines}</tlsStates>".replace('"yr"', '"Yr"'))  # SUMO's other yellow
    assert check(net, states) == []

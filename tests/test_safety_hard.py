"""Networks that would take a signal out of our hands, or let it meet what it does not know of."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from evaluation.monitor.check import check
from plumbing.errors import InputError
from scenarios.loading import load
from signals.intersection import compile_signals
from tests.safety_runs import BIN, record, run

END_S = 120.0


@pytest.fixture(scope="module")
def crossroads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the network of a crossroads, its program of two phases, and some traffic."""
    folder = tmp_path_factory.mktemp("crossroads")
    ends = {"N": (0, 150), "E": (150, 0), "S": (0, -150), "W": (-150, 0)}
    nodes = "".join(f'<node id="{end}" x="{x}" y="{y}"/>' for end, (x, y) in ends.items())
    edges = "".join(
        f'<edge id="{way}" from="{way[0]}" to="{way[1]}" numLanes="2" speed="13.89" sidewalkWidth="2"/>'
        for end in ends
        for way in (f"{end}C", f"C{end}")
    )
    (folder / "n.nod.xml").write_text(f'<nodes><node id="C" x="0" y="0" type="traffic_light"/>{nodes}</nodes>')
    (folder / "e.edg.xml").write_text(f"<edges>{edges}</edges>")
    (folder / "my.rou.xml").write_text(
        '<routes><flow id="a" from="NC" to="CS" begin="0" end="120" period="5"/>'
        '<flow id="b" from="EC" to="CW" begin="0" end="120" period="5"/></routes>'
    )
    convert: list[str | Path] = [BIN / "netconvert", "-n", "n.nod.xml", "-e", "e.edg.xml", "--no-turnarounds"]
    run([*convert, "-o", "my.net.xml"], folder)
    run([*convert, "--crossings.guess", "-o", "walks.net.xml"], folder)
    return folder


def own_program(net: str) -> str:
    found = re.search(r"<tlLogic.*?</tlLogic>", net, re.DOTALL)
    assert found is not None
    return found[0]


@pytest.mark.wide
@pytest.mark.parametrize("kind", ["static", "actuated"])
def test_a_program_of_the_networks_may_have_the_name_of_ours(crossroads: Path, tmp_path: Path, kind: str) -> None:
    """SUMO would keep that one's kind, and not switch to it where another one runs."""
    net = (crossroads / "my.net.xml").read_text()
    named = own_program(net).replace('"0"', '"intergreen"', 1).replace("static", kind)
    (tmp_path / "my.net.xml").write_text(net.replace(own_program(net), named + own_program(net)))
    scenario = load(tmp_path / "my.net.xml", routes=[crossroads / "my.rou.xml"], begin_s=0.0, end_s=END_S)
    states, plan, changes = record(scenario, "restless", tmp_path)
    assert plan.tls_ids == ("C",)
    assert changes > 5
    assert check(scenario.net_file, states) == []


def schedule(net: str) -> str:
    """A second program, and a switch to it after 30 s."""
    return (
        own_program(net).replace('"0"', '"day"', 1)
        + '<WAUT refTime="0" id="w" startProg="0"><wautSwitch time="30" to="day"/></WAUT>'
        '<wautJunction wautID="w" junctionID="C"/>'
    )


def test_a_schedule_in_an_included_file_takes_no_signal_away(crossroads: Path, tmp_path: Path) -> None:
    net = (crossroads / "my.net.xml").read_text()
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "plans.xml").write_text(f"<additional>{schedule(net)}</additional>")
    (tmp_path / "all.add.xml").write_text('<additional><include href="deep/plans.xml"/></additional>')
    scenario = load(
        crossroads / "my.net.xml",
        routes=[crossroads / "my.rou.xml"], additional=[tmp_path / "all.add.xml"], begin_s=0.0, end_s=END_S,
    )  # fmt: skip
    assert len(scenario.network.programs["C"]) == 2
    assert "plans.xml" in scenario.hashes()
    states, _, changes = record(scenario, "restless", tmp_path)
    assert changes > 5
    assert set(re.findall('programID="([^"]*)"', states.read_text())) == {"intergreen"}
    assert check(scenario.net_file, states) == []


def test_a_schedule_in_the_net_is_refused(crossroads: Path, tmp_path: Path) -> None:
    """Ours would have to go into a copy of the whole net."""
    net = (crossroads / "my.net.xml").read_text()
    (tmp_path / "my.net.xml").write_text(net.replace("</net>", schedule(net) + "</net>"))
    with pytest.raises(InputError, match=r"holds a <WAUT>.*move it to an additional file"):
        load(tmp_path / "my.net.xml", routes=[crossroads / "my.rou.xml"])


def test_signals_that_share_a_junction_by_its_crossings_are_left_alone(crossroads: Path, tmp_path: Path) -> None:
    """The one would show green to turns over what the other gives to walkers."""
    net = (crossroads / "walks.net.xml").read_text()
    apart, crossings = re.subn(
        r'(to=":C_c\d".*?) tl="C" linkIndex="(\d+)"', lambda m: f'{m[1]} tl="P" linkIndex="{int(m[2]) - 16}"', net
    )
    assert crossings == 4
    walks = '<tlLogic id="P" type="static" programID="0"><phase duration="9" state="GrGr"/></tlLogic>'
    (tmp_path / "my.net.xml").write_text(apart.replace("<tlLogic", f"{walks}<tlLogic", 1))
    scenario = load(tmp_path / "my.net.xml", routes=[crossroads / "my.rou.xml"])
    plan = compile_signals(scenario.network)
    assert plan.tls_ids == ()
    assert {(r.tls_id, r.reason.split(",")[0]) for r in plan.refusals} == {
        ("C", "it shares a junction with tls 'P'"),
        ("P", "it shares a junction with tls 'C'"),
    }

"""The door to SUMO: which files it reads, what a copy leaves out, and that SUMO opens just what was read."""

from __future__ import annotations

import dataclasses
import gzip
import itertools
import logging
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from plumbing.errors import InputError
from scenarios import sumo_input
from scenarios.additional import is_demand
from scenarios.loading import load
from scenarios.sumo_input import admitted
from tests.scenario_files import sumo
from tests.town import SSM, Town

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture
def town(tmp_path: Path) -> Town:
    return Town(tmp_path)


@pytest.mark.wide
def test_a_file_in_which_all_is_listed_is_handed_over_as_it_is() -> None:
    for name in ("single", "cologne1", "cologne8", "ingolstadt7"):
        scenario = load(name)
        args = scenario.sumo_args()
        assert args[args.index("-n") + 1] == str(scenario.net_file)
        assert args[args.index("-r") + 1] == ",".join(map(str, scenario.route_files))


def test_what_is_left_out_is_said_once_in_one_line(town: Town, caplog: pytest.LogCaptureFixture) -> None:
    path = town.folder / "d.add.xml"
    path.write_text(
        '<additional><e1Detector id="a" lane="W_in_0" pos="1" period="9" file="o.xml"/>'
        '<timedEvent type="SaveTLSStates" source="C" dest="s.xml"/>'
        '<timedEvent type="SaveTLSProgram" source="C" dest="s.xml"/></additional>'
    )
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            copy = admitted(path, "additional file")
    (record,) = caplog.records
    assert record.message == (
        f"additional file {path}: left out, as it would write a file or is no input of SUMO's: timedEvent (2), "
        "e1Detector file"
    )
    (detector,) = ElementTree.parse(copy).getroot()
    assert detector.attrib == {"id": "a", "lane": "W_in_0", "pos": "1", "period": "9", "file": sumo_input.NOWHERE}


ODD_NAMES = ("x${NOPE}.xml", "%78.xml", "x.xml ", "x.xml,y.xml", "x.xml\t", "${NOPE}/x.xml", "ü x.xml")


@pytest.mark.wide
@pytest.mark.parametrize("name", ODD_NAMES)
def test_sumo_opens_the_file_that_was_read(town: Town, name: str) -> None:
    """It decodes, prunes and splits names, and puts the environment in: beside each lies what it would take then."""
    evil = town.kinds["routes"].replace('<vType id="car">', '<vType id="car">' + SSM.format(town.victim()))
    state, changes = re.subn(
        r'<vType id="car"([^>]*?)(/?)>',
        lambda found: f'<vType id="car"{found[1]}>{SSM.format(town.victim())}{"</vType>" if found[2] else ""}',
        town.kinds["state"],
    )
    assert changes
    for other in ("x.xml", "y.xml"):
        (town.folder / other).write_text(evil)
    town.scenario()
    mine = town.folder / name
    mine.parent.mkdir(exist_ok=True)
    mine.write_text(town.kinds["routes"])
    changed, said = town.run(load(town.folder / "net.xml", routes=[mine], end_s=40).sumo_args())
    assert not changed
    assert "Error" not in said
    if "," in name or "$" in name or name != name.strip():
        return  # a configuration splits and prunes before, and refuses variables
    for other in ("x.xml", "y.xml"):
        (town.folder / other).write_text(state)
    mine.write_text(town.kinds["state"])
    scenario, _ = town.scenario(options=f'<load-state value="{name}"/>')
    changed, _ = town.run(dataclasses.replace(scenario, begin_s=2.0).sumo_args())
    assert not changed


@pytest.mark.parametrize("kind", ["swarm", "sotl_phase", "x"])
def test_a_program_of_a_type_that_may_write_is_refused(town: Town, kind: str) -> None:
    """A swarm's parameter SWARMLOG names a file."""
    program = town.kinds["programs"].replace("delay_based", kind)
    program = program.replace("<phase", f'<param key="SWARMLOG" value="{town.victim()}"/><phase', 1)
    scenario, _ = town.scenario()
    with pytest.raises(InputError, match=f"is of type '{kind}'; give it one of NEMA, actuated"):
        scenario.sumo_args(programs=program)
    with pytest.raises(InputError, match="is of type"):
        town.scenario("additional", program)
    (tls,) = (line for line in town.net.split("<") if line.startswith("tlLogic"))
    with pytest.raises(InputError, match="is of type"):
        town.scenario("net", town.net.replace(tls, tls.replace('type="static"', f'type="{kind}"')))


def test_no_value_makes_sumo_look_into_another_file(tmp_path: Path) -> None:
    path = tmp_path / "n.net.xml"
    grid = "+proj=longlat +nadgrids=/etc/passwd +type=crs"
    bad = (
        grid,
        "+init=epsg:3857",
        "+proj=deformation +xy_grids=x",
        "+proj=defmodel +model=f",
        "+a=+b" * 40 + "!",
        "+a=/x",
    )
    good = (
        "+proj=utm +zone=32 +ellps=WGS84 +no_defs",
        "+proj=tmerc +k=1.0 +x_0=3.5e+06 +towgs84=598.1,-73.7,418.2",
        "-",
    )
    for written, kept in [*((text, "!") for text in bad), *((text, None) for text in good)]:
        path.write_text(f'<net><location netOffset="0,0" projParameter="{written}"/></net>')
        (location,) = ElementTree.parse(admitted(path, "network")).getroot()
        assert location.get("projParameter") == (kept or written)
    types = '<vType id="a" emissionClass="PHEMlight/../../x"/><vType id="b" emissionClass="HBEFA4/PC"/>'
    path.write_text(f"<routes>{types}</routes>")
    kept_types = ElementTree.parse(admitted(path, "route file")).getroot()
    assert [kind.get("emissionClass") for kind in kept_types] == [None, "HBEFA4/PC"]


def test_no_file_is_read_without_end(tmp_path: Path) -> None:
    bomb = [tmp_path / f"b{n}.xml" for n in range(30)]
    for path, following in itertools.pairwise(bomb):
        twice = f'<include href="{following.name}"/>' * 2
        path.write_text(f"<additional>{twice}</additional>")
    bomb[-1].write_text("<additional/>")
    with pytest.raises(InputError, match="includes too many files"):
        admitted(bomb[0], "additional file")
    chain = [tmp_path / f"c{n}.xml" for n in range(700)]
    for path, following in itertools.pairwise(chain):
        path.write_text(f'<additional><include href="{following.name}"/></additional>')
    chain[-1].write_text("<additional/>")
    with pytest.raises(InputError, match="includes too many files"):
        admitted(chain[0], "additional file")
    deep = tmp_path / "deep.xml"
    deep.write_text("<routes>" + '<param key="a">' * 20_000 + "</param>" * 20_000 + "</routes>")
    with pytest.raises(InputError, match="nested more than"):
        admitted(deep, "route file")
    (tmp_path / "one.xml").symlink_to(tmp_path / "two.xml")
    (tmp_path / "two.xml").symlink_to(tmp_path / "one.xml")
    bomb[0].write_text('<additional><include href="one.xml"/></additional>')
    for path in (bomb[0], tmp_path / "one.xml"):
        with pytest.raises(InputError, match=r"cannot be found|does not exist"):
            admitted(path, "additional file")


def test_only_a_files_own_vehicles_are_other_demand(tmp_path: Path) -> None:
    path = tmp_path / "c.add.xml"
    flow = '<flow id="f" begin="0" end="9" number="3" route="r"/>'
    (tmp_path / "cal.xml").write_text(f"<calibrator>{flow}</calibrator>")
    (tmp_path / "more.xml").write_text(f"<additional>{flow}</additional>")
    path.write_text(
        '<additional><include href="more.xml"/><calibrator id="c" lane="l_0" pos="1" file="cal.xml"/>'
        f'<calibrator id="d" lane="l_0" pos="1">{flow}</calibrator>{flow}</additional>'
    )
    kept = ElementTree.parse(admitted(path, "additional file", is_demand)).getroot()
    assert [[e.tag, *(child.tag for child in e)] for e in kept] == [["calibrator", "flow"]] * 2


def test_what_is_left_out_is_told_in_one_printable_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "a\x1b[31mb.xml"
    path.write_text(
        '<routes><vType id="q"><param key="device.x&#155;31m&#10;error: all your base&#8238;" value="1"/></vType>'
        f"<{'x' * 100_000}/></routes>"
    )
    with caplog.at_level(logging.WARNING):
        admitted(path, "route file")
    (record,) = caplog.records
    assert record.message.isprintable()
    assert len(record.message) < 1500


def test_text_attributes_and_order_survive_a_copy(tmp_path: Path) -> None:
    path = tmp_path / "ä.add.xml.gz"
    text = (
        '<?xml version="1.0" encoding="iso-8859-1"?><extra><!-- told -->'
        '<poi id="ü &amp; &quot;&lt;&#10;x" x="1" y="2"/>'
        "<param key='k' value=\"'\"/></extra>"
    )
    path.write_bytes(gzip.compress(text.encode("iso-8859-1")))
    copy = admitted(path, "additional file")
    assert copy.suffix == ".xml"
    root = ElementTree.parse(copy).getroot()
    assert [(e.tag, e.attrib) for e in root] == [
        ("poi", {"id": 'ü & "<\nx', "x": "1", "y": "2"}),
        ("param", {"key": "k", "value": "'"}),
    ]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "cp037"])
def test_no_encoding_hides_an_element(tmp_path: Path, encoding: str) -> None:
    declared = "" if encoding == "utf-16" else f'<?xml version="1.0" encoding="{encoding}"?>'
    path = tmp_path / "e.add.xml"
    path.write_bytes(f'{declared}<additional><edgeData id="x" file="o.xml"/></additional>'.encode(encoding))
    try:
        copy = admitted(path, "additional file")
    except InputError as error:
        copy = None
        assert "cannot be read" in str(error)  # noqa: PT017  (either will do)
    if copy is not None:
        assert copy != path
        assert not list(ElementTree.parse(copy).getroot())


def test_a_prefix_hides_no_element(tmp_path: Path) -> None:
    path = tmp_path / "e.add.xml"
    path.write_text(
        '<additional xmlns:s="u"><s:edgeData id="x" s:file="o.xml"/><poi s:file="o" id="p" x="1" y="1"/></additional>'
    )
    (poi,) = ElementTree.parse(admitted(path, "additional file")).getroot()
    assert poi.attrib == {"id": "p", "x": "1", "y": "1"}


def test_a_document_type_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "e.add.xml"
    path.write_text("<!DOCTYPE a [<!ENTITY e \"<edgeData id='x' file='o.xml'/>\">]><additional>&e;</additional>")
    with pytest.raises(InputError, match="document type"):
        admitted(path, "additional file")


def test_includes_stay_within_the_folder(town: Town, tmp_path: Path) -> None:
    outside = tmp_path / "outside.xml"
    outside.write_text("<additional/>")
    (town.folder / "link.xml").symlink_to(outside)
    (town.folder / "deep").mkdir()
    (town.folder / "deep" / "one.xml").write_text('<additional><include href="../included.xml"/></additional>')
    for href in ("../outside.xml", str(outside), "link.xml", "deep/../../outside.xml"):
        path = town.folder / "i.add.xml"
        path.write_text(f'<additional><include href="{href}"/></additional>')
        with pytest.raises(InputError, match=r"outside of .*move it below"):
            admitted(path, "additional file")
        path.write_text(f'<additional><variableSpeedSign id="s" lanes="W_in_0" file="{href}"/></additional>')
        with pytest.raises(InputError, match="outside of"):
            admitted(path, "additional file")
    town.scenario()
    path.write_text('<additional><include href="deep/one.xml"/></additional>')
    assert "include" not in admitted(path, "additional file").read_text()
    assert [p.name for p in sumo_input.parts(path, "file")] == ["i.add.xml", "one.xml", "included.xml"]
    path.write_text('<additional><poly id="a"><include href="i.add.xml"/></poly></additional>')
    with pytest.raises(InputError, match="includes it again"):
        admitted(path, "additional file")


def test_a_configuration_is_not_given_the_environment(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "s3cret")
    with pytest.raises(InputError, match=r"weight-attribute holds \$\{SECRET\}.*write out"):
        town.scenario(options='<weight-attribute value="${SECRET}"/>')
    scenario, _ = town.scenario(options='<weight-attribute value="$SECRET"/><device.taxi.vclasses value="~/x"/>')
    assert dict(scenario.options)["weight-attribute"] == "$SECRET"


def test_traffic_is_the_same_with_and_without_a_copy(tmp_path: Path) -> None:
    """A copy of the network and of the routes, made since something was left out, drives the same."""
    plain = load("cologne1", end_s=25500)
    folder = tmp_path / "copied"
    folder.mkdir()
    files = []
    for path in (plain.net_file, *plain.route_files):
        text = path.read_text()
        end = text.rindex("</")
        (folder / path.name).write_text(f'{text[:end]}<vTypeProbe id="x" file="o.xml" period="9"/>{text[end:]}')
        files.append(folder / path.name)
    copied = dataclasses.replace(plain, net_file=files[0], route_files=tuple(files[1:]))
    for number, scenario in enumerate((plain, copied)):
        args = [*scenario.sumo_args(), "--seed", "3", "--tripinfo-output", str(tmp_path / f"{number}.xml")]
        assert sumo(args, tmp_path).returncode == 0
    trips = [ElementTree.parse(tmp_path / f"{number}.xml").getroot() for number in range(2)]
    assert len(trips[0]) > 50
    assert [t.attrib for t in trips[0]] == [t.attrib for t in trips[1]]
    assert not (folder / "o.xml").exists()

"""The door to SUMO: nothing that it is handed, whatever it says and wherever it came from, writes a file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import evaluate
import replay as replay_command
from playback import container
from scenarios.config import FILE_OPTIONS, INPUTS
from scenarios.sumo_input import lists
from tests import sumo_schema as schema
from tests.town import Town, checksums, injected, parameters, writing

pytestmark = pytest.mark.usefixtures("own_cache")
NOT_LET_IN = {"edgeData", "laneData", "timedEvent", "vTypeProbe", "include", "metadata"}


def test_the_list_is_that_of_sumos_schemas() -> None:
    known, ours = schema.elements(), lists()
    assert known.keys() - ours.elements == NOT_LET_IN
    assert ours.elements <= known.keys()
    attributes = {name for element in known.keys() - NOT_LET_IN for name in known[element]}
    assert attributes - ours.attributes == schema.FILES - {"dest", "edgesFile", "href"}
    assert ours.attributes - attributes == {"targetLanes"}  # which SUMO reads and its schemas forgot
    assert schema.devices() - ours.devices == {"ssm", "fcd-replay"}


def test_no_option_on_the_list_names_a_file_that_does_not_pass_the_door() -> None:
    options, kept = schema.options(), lists().options
    assert kept.keys() <= options.keys()
    assert {name for name in kept if options[name] == "fileOptionType"} == set(FILE_OPTIONS)
    assert not {name for name in kept if name.endswith((".file", ".files", ".output", "-output", "-file", "prefix"))}
    assert not kept.keys() & INPUTS


@pytest.fixture
def town(tmp_path: Path) -> Town:
    return Town(tmp_path)


@pytest.mark.parametrize(
    "kind", ["net", "routes", "additional", "included", "trigger", "programs", "weights", "state"]
)
def test_nothing_that_can_write_gets_through(town: Town, kind: str) -> None:
    scenario, programs = town.scenario(kind, injected(town, kind))
    args = scenario.sumo_args(programs=programs)
    handed = [Path(word) for words in args for word in words.split(",") if word.startswith("/")]
    handed += [Path(file) for file in scenario.sumo_files.options.values()]
    assert len(handed) >= 6
    assert not [path for path in handed if "victim" in path.read_text()]
    changed, _ = town.run(args)
    assert not changed


def test_without_the_door_the_same_writes(town: Town) -> None:
    """Else the test above would prove nothing."""
    text = f"<additional>{''.join(writing(town))}</additional>"
    (town.folder / "raw.xml").write_text(text)
    routes = town.kinds["routes"].replace('<vType id="car">', f'<vType id="car">{parameters(town)}')
    town.scenario("routes", routes)
    args = ["-n", str(town.folder / "net.xml"), "-r", str(town.folder / "routes.xml"), "-e", "40"]
    changed, said = town.run([*args, "-a", str(town.folder / "raw.xml")])
    assert len(changed) >= len(schema.writers() - {"include", "poi", "poly", "vType", "variableSpeedSign"}), said


def test_no_option_of_a_configuration_writes(town: Town) -> None:
    files = [name for name, kind in schema.options().items() if kind == "fileOptionType"]
    files = [name for name in files if name not in (*INPUTS, *FILE_OPTIONS)]
    files += [
        "output-prefix",
        "device.ssm.file",
        "device.toc.file",
        "tripinfo",
        "summary",
        "ndump",
        "C",
        "save-config",
    ]
    options = "".join(f'<{name} value="{town.victim()}"/>' for name in files)
    options += '<device.ssm.probability value="1"/><save-state.times value="5"/><output><log value="l.txt"/></output>'
    scenario, _ = town.scenario(options=options)
    changed, said = town.run(scenario.sumo_args())
    assert not changed
    assert "Error" not in said
    assert dict(scenario.options).keys() <= lists().options.keys()


# the five ways in that were found


def attack(town: Town, arguments: Callable[[], list[str]]) -> set[Path]:
    """Which files a command has changed."""
    before = checksums(town.folder)
    evaluate.main(arguments())
    after = checksums(town.folder)
    return {path for path in before if after.get(path) != before[path]} | (after.keys() - before.keys())


SHORT = ["--seeds", "1", "--workers", "1", "--end", "40"]


def test_a_controllers_file_writes_nothing(town: Town) -> None:
    town.scenario()
    plan = town.kinds["programs"].replace("</additional>", f'<edgeData id="x" file="{town.victim()}"/></additional>')
    (town.folder / "plan.add.xml").write_text(plan)
    files = ["--routes", str(town.folder / "routes.xml"), "--controllers", str(town.folder / "plan.add.xml")]
    assert not attack(town, lambda: ["--scenario", str(town.folder / "net.xml"), *files, *SHORT])


def test_an_additional_file_writes_nothing_below_the_top(town: Town) -> None:
    town.scenario()
    (town.folder / "deep.xml").write_text(
        '<additional><poly id="q" shape="0,0 1,1 2,0" color="red">'
        f'<edgeData id="x" file="{town.victim()}"/></poly></additional>'
    )
    files = ["--routes", str(town.folder / "routes.xml"), "--additional", str(town.folder / "deep.xml")]
    assert not attack(
        town, lambda: ["--scenario", str(town.folder / "net.xml"), *files, "--controllers", "greedy", *SHORT]
    )


def test_a_network_and_a_vehicle_type_write_nothing(town: Town) -> None:
    net = town.net.replace("</net>", f'<edgeData id="x" file="{town.victim()}"/></net>')
    (town.folder / "evil.net.xml").write_text(net)
    own = '<vType id="car"><param key="has.ssm.device" value="1"/>'
    own += f'<param key="device.ssm.file" value="{town.victim()}"/>'
    (town.folder / "evil.rou.xml").write_text(town.kinds["routes"].replace('<vType id="car">', own))
    files = ["--routes", str(town.folder / "evil.rou.xml"), "--controllers", "fixed_time", "greedy"]
    assert not attack(town, lambda: ["--scenario", str(town.folder / "evil.net.xml"), *files, *SHORT])


def test_a_replay_whose_programs_were_edited_writes_nothing(town: Town, tmp_path: Path) -> None:
    recorded = tmp_path / "r.replay"
    words = ["--scenario", "tee", "--end", "60", "--controller", "actuated", "--out", str(recorded)]
    assert replay_command.main(["record", *words]) == 0
    head, sections = container.read(recorded)
    victim = Path(town.victim())
    edited = sections["programs"].replace(
        b"</additional>", f'<edgeData id="x" file="{victim}"/></additional>'.encode()
    )
    container.write(recorded, head, {**sections, "programs": edited})
    assert replay_command.main(["verify", str(recorded)]) == 0  # it runs as it did
    assert victim.read_text() == "dear to somebody\n"


# what passes, and what is said

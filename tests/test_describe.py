"""How scenarios are named and counted, and what `python -m scenarios describe` shows of them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from evaluation.report.page import _facts, _span
from plumbing.errors import InputError
from scenarios.__main__ import main, summary
from scenarios.describe import overview
from scenarios.loading import load
from scenarios.naming import name_of
from signals.intersection import compile_signals
from signals.timing import Timing
from tests.test_report import content_of, results_of


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/data/leipzig/run.sumocfg", "leipzig"),
        ("/data/leipzig/osm.net.xml.gz", "leipzig"),
        ("/data/leipzig/sumo/config.sumocfg", "leipzig"),
        ("/data/leipzig/Map.net.xml", "leipzig"),
        ("/data/leipzig/morning.sumocfg", "morning"),
        ("/data/leipzig/morning.net.xml", "morning"),
        ("/run.sumocfg", "run"),
    ],
)
def test_a_scenario_has_its_folders_name_where_its_files_says_nothing(path: str, name: str) -> None:
    assert name_of(Path(path)) == name


def test_a_relative_path_has_a_folder_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "leipzig").mkdir()
    monkeypatch.chdir(tmp_path / "leipzig")
    assert name_of(Path("run.sumocfg")) == "leipzig"


@pytest.mark.parametrize("path", ["../my.net.xml", "./../my.net.xml", "sub/../../run.sumocfg"])
def test_a_folder_above_has_its_own_name(path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "leipzig" / "input").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "leipzig" / "input")
    assert name_of(Path(path)) == "leipzig"


def test_the_changes_are_those_of_the_configurations_step(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tee, path = load("tee"), tmp_path / "my.sumocfg"

    def described(step: str, *more: str) -> str:
        path.write_text(
            f'<configuration><net-file value="{tee.net_file}"/><route-files value="{tee.route_files[0]}"/>'
            f'<begin value="0"/><end value="60"/><step-length value="{step}"/></configuration>'
        )
        assert main(["describe", str(path), *more]) == 0
        return capsys.readouterr().out

    whole, coarse = (compile_signals(tee.network, Timing(sim_step_s=step_s)).intersections[0] for step_s in (1, 2.5))
    pairs = [
        (old, new) for old, new in whole.changes if coarse.intergreen_s(old, new) != whole.intergreen_s(old, new)
    ]
    assert pairs
    changes = described("2.5", "--changes")
    for old, new in pairs:
        assert f"\n  {old} to {new}: {coarse.intergreen_s(old, new):g} s " in changes
    assert described("2.5").split("\n")[4:] == [*overview(tee.network, Timing(sim_step_s=2.5)), ""]
    assert described("2.5").split("\n")[4:] != described("1").split("\n")[4:]
    for more in ((), ("--changes",)):
        with pytest.raises(InputError, match=r"no multiple of sim_step_s 0\.3.*step-length"):
            described("0.3", *more)


def test_the_phases_come_first_and_the_changes_when_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["describe", "grid4x4"]) == 0
    short = capsys.readouterr().out
    assert main(["describe", "grid4x4", "--changes"]) == 0
    whole = capsys.readouterr().out
    assert main(["describe", "grid4x4", "--json"]) == 0
    explained = json.loads(capsys.readouterr().out)["explanation"]
    assert short.count("\n") < 200 < 1000 < whole.count("\n")
    lines = short.split("\n")
    assert "A0: 12 lanes, 36 links, 0 crossings; changes take 7 s; seen from 273 m" in lines
    phase = "  1      5 to 60  rrrrrrgggsssrrrrrrsrrrrrGggsssrrrrrr  A1A0 left (yields); bottom0A0 left+left (yields)"
    assert phase in lines
    assert "  0 to 1: 7 s" not in short
    assert "  0 to 1: 7 s" in whole
    assert explained == whole.split("\n")[4:-1], "JSON keeps everything"


def test_a_signal_that_is_left_alone_is_named_with_the_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    net = tmp_path / "dark.net.xml"
    text = load("tee").net_file.read_text()
    begin, end = text.index("<tlLogic"), text.index("</tlLogic>")
    size = len(load("tee").network.programs["C"][-1].rows[0].state)
    row = f'<tlLogic id="C" type="static" programID="0" offset="0"><phase duration="9" state="{"O" * size}"/>'
    net.write_text(text[:begin] + row + text[end:])
    assert main(["describe", str(net)]) == 0
    assert capsys.readouterr().out.endswith(
        "left to their own programs:\n  C: its program is dark or blinking in every row\n"
    )


def test_the_report_counts_the_signals_that_describe_counts() -> None:
    content = content_of(results_of("greedy", [1.0]), [])
    network = content.scenario.network
    twin = dataclasses.replace(network.controlled["GS_cluster_357187_359543"][0], tls_id="no program")
    more = dataclasses.replace(content.scenario)
    more.__dict__["network"] = dataclasses.replace(network, connections=(*network.connections, twin))
    assert len(more.network.controlled) == 2
    told = dataclasses.replace(content, scenario=more, settings={**content.settings, "versions": {}})
    assert _facts(told).startswith("1 signal, ")
    assert summary(more)["signals"] == 1


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (3800.0, "63 minutes"), (3600.0, "60 minutes"), (300.0, "5 minutes"), (60.0, "1 minute"), (100.0, "100 s"),
        (20.0, "20 s"), (629.0, "10 minutes"),
    ],
)  # fmt: skip
def test_a_window_is_told_in_round_minutes(seconds: float, text: str) -> None:
    assert _span(seconds) == text

"""SUMO's ignore-junction-blocker: off unless asked for, the same in every command, and named with every result."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

import evaluate
import train
from agents.job import command_of
from agents.run import read_settings
from envs.options import EnvOptions
from envs.sumo.setup import make_setup
from envs.workers.client import RemoteSimulation
from envs.workers.server import WorkerSetup
from plumbing.errors import InputError
from scenarios import build
from scenarios.blockers import OPTION, blocker_line, blocker_s, with_blocker
from scenarios.loading import load
from tests.blocked_exit import blocked_exit
from tests.recordings import record, run

SHORT = ("--scenario", "single", "--end", "100")
ON = (*SHORT, "--ignore-junction-blocker", "20")
LINE = "ignore-junction-blocker is on: who has stood inside a junction for 20 s"


@pytest.mark.parametrize(
    ("options", "asked", "expected"),
    [
        ((), 20.0, ((OPTION, "20"),)),
        ((), -1.0, ()),
        ((("scale", "2"), (OPTION, "5")), 20.0, (("scale", "2"), (OPTION, "20"))),
        ((("scale", "2"), (OPTION, "5")), -1.0, (("scale", "2"),)),
        (((OPTION, "0:0:20"), ("scale", "2")), 20.0, ((OPTION, "0:0:20"), ("scale", "2"))),
        (((OPTION, "-1"),), -1.0, ((OPTION, "-1"),)),
        ((), 0.0, ((OPTION, "0"),)),
    ],
)
def test_what_is_asked_for_wins_over_the_configuration(
    options: tuple[tuple[str, str], ...], asked: float, expected: tuple[tuple[str, str], ...]
) -> None:
    found = with_blocker(options, asked)
    assert found == expected
    assert blocker_s(found) == (None if asked < 0 else asked)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e30])
def test_what_is_no_time_is_refused(value: float) -> None:
    with pytest.raises(InputError, match=rf"{OPTION} is .*; give seconds"):
        load("single", ignore_junction_blocker_s=value)


def test_it_is_off_unless_asked_for() -> None:
    assert load("single").ignore_junction_blocker_s is None
    assert load("cologne3").ignore_junction_blocker_s is None
    assert blocker_line(None) == ""
    assert load("single", ignore_junction_blocker_s=20.0).scaled(1.2).ignore_junction_blocker_s == 20.0


def test_a_scenario_of_our_own_may_say_it(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = build.parse_yaml
    monkeypatch.setattr(build, "parse_yaml", lambda text: {**plain(text), "ignore_junction_blocker_s": 15})
    assert load("single").ignore_junction_blocker_s == 15.0
    assert load("single", ignore_junction_blocker_s=-1.0).ignore_junction_blocker_s is None


def test_an_environment_takes_it() -> None:
    setup = EnvOptions("single", ignore_junction_blocker_s=20.0).setup().simulation
    file = Path(setup.sumo_args[setup.sumo_args.index("-c") + 1])
    assert f'<{OPTION} value="20"/>' in file.read_text()
    with pytest.raises(InputError, match="ignore_junction_blocker_s goes with a scenario's name"):
        EnvOptions(load("single"), ignore_junction_blocker_s=20.0).setup()


def test_who_stands_inside_the_junction_is_passed(tmp_path: Path) -> None:
    """The exit of W E is held up, and somebody has driven into the junction all the same."""
    net, routes = blocked_exit(tmp_path).net_file, tmp_path / "inside.rou.xml"
    routes.write_text(
        '<routes><vType id="pushy" jmIgnoreKeepClearTime="0"/><route id="we" edges="WC CE EF"/>'
        '<vehicle id="broken" depart="0" route="we"><stop lane="CE_0" endPos="6.5" until="900"/></vehicle>'
        '<vehicle id="inside" type="pushy" depart="3" route="we"/>'
        '<flow id="n" begin="20" end="300" period="10"><route edges="NC CS"/></flow></routes>'
    )
    running = []
    for asked in (None, 20.0):
        scenario = load(net, routes=[routes], begin_s=0.0, end_s=300.0, ignore_junction_blocker_s=asked)
        with RemoteSimulation(WorkerSetup(make_setup(scenario), reward="", observation="")) as simulation:
            simulation.begin(0)
            while not simulation.done:
                simulation.decide(np.array([int(simulation.snapshot.time_s[0]) // 30 % 2]))
            running.append(simulation.end().running_veh)
    assert running[0] == 30, "nobody gets through"
    assert running[1] < 10


def test_an_evaluation_names_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--controllers", "greedy", "--seeds", "1"]
    assert evaluate.main([*SHORT, *words]) == 0
    assert OPTION not in capsys.readouterr().out
    assert evaluate.main([*ON, *words, "--out", str(tmp_path)]) == 0
    assert LINE in capsys.readouterr().out
    assert LINE in (tmp_path / "report.html").read_text()
    for name in ("summary", "settings"):
        assert json.loads((tmp_path / f"{name}.json").read_text())["ignore_junction_blocker_s"] == 20.0


def test_a_replay_runs_with_it_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = record(tmp_path / "on.replay", "greedy", *ON)
    assert found.ignore_junction_blocker_s == 20.0
    assert LINE in capsys.readouterr().out
    assert run("verify", found.path) == 0


@pytest.mark.wide
def test_a_training_remembers_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "r")
    words = ["--steps", "24", "--validate-every", "0", "--out", out]
    assert train.main([*ON, "--spillback-guard", "--vary-turns", "0.2", *words]) == 0
    told = capsys.readouterr()
    assert LINE in told.err
    settings = read_settings(Path(out))
    assert settings["job"]["ignore_junction_blocker_s"] == 20.0
    assert settings["job"]["timing"]["spillback_guard"] is True
    for line in (command_of(settings, "r"), told.out):
        assert "--ignore-junction-blocker 20.0 --spillback-guard" in line
    assert settings["job"]["vary_turns"] == 0.2
    assert " --vary-turns 0.2 " in command_of(settings, "r")
    with pytest.raises(InputError, match=r"--ignore-junction-blocker asks for 9.0, and the run began with 20.0"):
        train.main(["--out", out, "--resume", "--steps", "48", "--ignore-junction-blocker", "9"])

"""Additional files and chosen signals, the same in the environments, in training, evaluation and replays."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

import evaluate
import train
from agents.job import command_of
from agents.run import SETTINGS, read_settings, write_settings
from controllers.programs import Actuated, GivenPrograms, ProgramControl
from envs import NetworkEnv, SignalEnv, SignalsVectorEnv
from plumbing.errors import InputError
from scenarios.loading import load
from tests import failing
from tests.recordings import record, run
from tests.windows import window

WINDOW = ("--begin", "25200", "--end", "25290")
COLOGNE3 = ("--scenario", "cologne3", *WINDOW)
ONE, OTHER, THIRD = "360082", "360086", "GS_cluster_2415878664_254486231_359566_359576"


def programs_of(folder: Path) -> dict[str, set[str]]:
    """The programs that each signal showed in a run whose outputs were kept."""
    found: dict[str, set[str]] = {}
    for state in ElementTree.parse(folder / "seed-10001" / "tls_states.xml").getroot():
        found.setdefault(state.attrib["id"], set()).add(state.attrib["programID"])
    return found


# --- environments


@pytest.mark.wide
def test_an_environment_takes_additional_files(tmp_path: Path) -> None:
    more = tmp_path / "more.add.xml"
    edge = next(iter(load("single").network.edges))
    more.write_text(
        f'<additional><flow id="more" begin="0" end="60" number="30" departLane="best"><route edges="{edge}"/></flow>'
        "</additional>"
    )

    def vehicles(**options: object) -> int:
        env = SignalEnv("single", begin_s=0.0, end_s=60.0, **options)
        env.reset(seed=1)
        while not env.step(0)[3]:
            pass
        found = env.trips().height
        env.close()
        return found

    assert vehicles(additional=[more]) == vehicles() + 30
    with pytest.raises(InputError, match=r"additional file .*nowhere\.add\.xml"):
        SignalEnv("single", additional=["nowhere.add.xml"])
    with pytest.raises(InputError, match="additional goes with a scenario's name or file"):
        SignalEnv(window("single", 60), additional=[more])


def test_every_environment_takes_chosen_signals() -> None:
    network, many = (
        NetworkEnv(window("cologne3", 30), [OTHER]),
        SignalsVectorEnv(window("cologne3", 30), tls_ids=[ONE]),
    )
    signal = SignalEnv(window("cologne3", 30), tls_ids=[THIRD])
    assert (network.possible_agents, many.tls_ids, signal.tls_id) == ([OTHER], [ONE], THIRD)
    for env in (network, many, signal):
        env.close()
    with pytest.raises(InputError, match="tls_id and tls_ids both choose"):
        SignalEnv(window("cologne3", 30), tls_id=ONE, tls_ids=[ONE])


@pytest.mark.parametrize(
    ("tls_ids", "message"),
    [
        ("360082", r"tls_ids is '360082'; give a list of ids, such as \['360082'\]"),
        ([], r"tls_ids is empty; name the signals to control, or leave it out for all"),
        ([5], r"tls_ids holds 5; give ids as text"),
        ([None], r"tls_ids holds None; give ids as text"),
        (5, r"tls_ids is 5; give a list of ids"),
    ],
)
@pytest.mark.parametrize("env", [SignalEnv, NetworkEnv, SignalsVectorEnv])
def test_signals_that_are_no_list_of_ids_are_refused(env: Any, tls_ids: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        env(window("cologne3", 30), tls_ids=tls_ids)


@pytest.mark.parametrize("tls_id", [["C"], 5, b"C"])
def test_a_signal_that_is_no_id_is_refused(tls_id: Any) -> None:
    with pytest.raises(InputError, match=rf"tls_id is {re.escape(repr(tls_id))}; give the id of one signal as text"):
        SignalEnv(window("single", 30), tls_id=tls_id)


def test_files_are_given_as_a_list() -> None:
    for name in ("routes", "additional"):
        for one in ("my.rou.xml", Path("my.rou.xml")):
            with pytest.raises(InputError, match=rf"{name} is .*my\.rou\.xml.*; give a list of files, such as \["):
                NetworkEnv("single", **{name: one})
        with pytest.raises(InputError, match=rf"{name} holds 5; give files as text"):
            load("single", **{name: [5]})  # type: ignore[arg-type]
    env = NetworkEnv(window("single", 30), routes=[], additional=[])
    assert env.possible_agents == ["C"]
    env.close()


# --- programs of SUMO's


def test_programs_replace_those_of_the_chosen_signals_alone() -> None:
    scenario = load("cologne3", end_s=25290)

    def named(control: ProgramControl) -> list[str]:
        found = ElementTree.fromstring(control.programs_for(scenario, [OTHER]))
        return [element.get("id") or element.get("junctionID") or "" for element in found]

    assert named(Actuated()) == [OTHER]
    assert len(ElementTree.fromstring(Actuated().programs_for(scenario))) == 3
    waut = '<WAUT id="w" startProg="p" refTime="0"/>'
    switched = "".join(f'<wautJunction wautID="w" junctionID="{tls_id}"/>' for tls_id in (ONE, OTHER))
    assert named(GivenPrograms(f"<additional>{waut}{switched}</additional>")) == ["w", OTHER]
    assert ProgramControl().programs_for(scenario, [OTHER]) == ""


# --- commands


@pytest.mark.wide
def test_evaluate_leaves_the_others_to_their_programs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [*COLOGNE3, "--controllers", "fixed_time", "actuated", "max_pressure", "--seeds", "1", "--json"]
    words += ["--keep-sumo-output", "--out", str(tmp_path / "out")]
    assert evaluate.main([*words, "--tls-ids", OTHER, THIRD]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["tls_ids"] == [OTHER, THIRD]
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["tls_ids"] == [OTHER, THIRD]
    said = f"2 of 3 signals controlled ({OTHER}, {THIRD}); the others keep their program."
    assert said in (tmp_path / "out" / "report.html").read_text()
    delays = [entry["delay_s"]["mean"] for entry in content["controllers"]]
    shown = {
        name: programs_of(tmp_path / "out" / "sumo" / name) for name in ("fixed_time", "actuated", "max_pressure")
    }
    assert shown["actuated"] == {
        **shown["fixed_time"],
        OTHER: {"intergreen-actuated"},
        THIRD: {"intergreen-actuated"},
    }
    assert shown["max_pressure"] == {**shown["fixed_time"], OTHER: {"intergreen"}, THIRD: {"intergreen"}}
    assert json.loads((tmp_path / "out" / "settings.json").read_text())["tls_ids"] == [OTHER, THIRD]
    # kept runs are those of the same signals
    assert evaluate.main([*words, "--tls-ids", OTHER]) == 0
    told = capsys.readouterr()
    assert "3 runs in" in told.err
    assert "run anew" in told.err
    assert json.loads(told.out)["controllers"][0]["delay_s"]["mean"] == delays[0], "fixed time is what it was"
    with pytest.raises(InputError, match=r"tls '360083' is not in the network.*Did you mean '36008"):
        evaluate.main([*words, "--tls-ids", "360083"])


@pytest.mark.wide
def test_a_training_remembers_the_chosen_signals(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "r"
    words = [*COLOGNE3, "--tls-ids", OTHER, THIRD, "--steps", "24", "--validate-every", "0", "--out", str(out)]
    assert train.main(words) == 0
    told = capsys.readouterr()
    assert "on cologne3 (2 signals" in told.err
    (line,) = (line for line in told.out.splitlines() if line.startswith("judge it:"))
    assert f"--tls-ids {OTHER} {THIRD} " in line
    settings = read_settings(out)
    assert settings["job"]["tls_ids"] == [OTHER, THIRD]
    assert f"--tls-ids {OTHER} {THIRD} " in command_of(settings, "r")
    assert train.main(["--out", str(out), "--resume", "--steps", "48", "--tls-ids", THIRD, OTHER]) == 0
    assert "on cologne3 (2 signals" in capsys.readouterr().err
    assert read_settings(out)["job"]["tls_ids"] == [OTHER, THIRD]
    with pytest.raises(InputError, match=rf"--tls-ids asks for {THIRD}, and the run began with {OTHER} {THIRD}"):
        train.main(["--out", str(out), "--resume", "--steps", "72", "--tls-ids", THIRD])


def test_who_was_trained_to_control_other_signals_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_of(tmp_path / "r", [ONE, OTHER])
    words = ["--scenario", "cologne3", "--begin", "25200", "--end", "25220", "--seeds", "1"]
    words += ["--controllers", str(tmp_path / "r")]
    note = f"note: {tmp_path / 'r'} was trained to control other signals than this evaluation's\n"
    for more, noted, line in (
        ([], True, ""),
        (["--tls-ids", OTHER, ONE], False, f"\n2 of 3 signals controlled ({ONE}, {OTHER}); the others keep"),
    ):
        assert evaluate.main([*words, *more]) == 0
        told = capsys.readouterr()
        assert (note in told.err) == noted
        assert line in told.out
        assert ("signals controlled" in told.out) == bool(line)


def run_of(folder: Path, tls_ids: list[str]) -> Path:
    """A run of a policy that was never trained, on these signals of cologne3."""
    from tests.policy_runs import write_run

    write_run(folder, "cologne3", "full", window=(25200.0, 25800.0))
    settings = json.loads((folder / SETTINGS).read_text())
    settings["job"]["tls_ids"] = tls_ids
    write_settings(folder, settings)
    return folder


def test_plans_and_trees_are_of_a_runs_own_signals(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("onnx", reason="onnx is not installed: pip install 'intergreen[export]'")
    import export
    from tests.test_plans_derive import Judge

    asked: set[Any] = set()

    def judged(scenario: Any, makers: Mapping[str, Any], seeds: Sequence[int], **more: Any) -> Any:
        asked.add(more["tls_ids"])
        contest = "fixed_time" in makers
        return dict.fromkeys(makers, [1.0] * len(seeds)) if contest else Judge()(scenario, makers, seeds)

    def refused(*given: Any, **more: Any) -> Any:
        asked.add(more["tls_ids"])
        raise InputError("enough")

    run = run_of(tmp_path / "r", [ONE])
    monkeypatch.setattr(export, "delays", judged)
    words = ["--budget", "30", "--windows", "1", "--seeds", "1", "--out"]
    for name, more, tls_id in (
        ("own", [], ONE),
        ("there", ["--scenario", "cologne3", "--end", "25800"], ONE),
        ("asked", ["--tls-ids", OTHER], OTHER),
    ):
        asked.clear()
        assert export.main(["plan", str(run), *more, *words, str(tmp_path / name)]) == 0
        said = f"note: 1 of 3 signals controlled ({tls_id}); the others keep their program\n"
        assert said in capsys.readouterr().err
        assert asked == {(tls_id,)}
        assert [path.name for path in (tmp_path / name / "controllers").iterdir()] == [tls_id]
        stored = json.loads((tmp_path / name / "plans.json").read_text())
        assert [signal["tls_id"] for signal in stored["sheets"]] == stored["provenance"]["tls_ids"] == [tls_id]
    monkeypatch.setattr(export, "delays", refused)
    asked.clear()
    with pytest.raises(InputError, match="enough"):
        export.main(["tree", str(run), "--out", str(tmp_path / "tree.json")])
    assert asked == {(ONE,)}
    with pytest.raises(InputError, match="tls 'nobody' is not in the network"):
        export.main(["tree", str(run), "--tls-ids", "nobody", "--out", str(tmp_path / "tree.json")])


@pytest.mark.wide
@pytest.mark.parametrize("controller", ["max_pressure", "actuated"])
def test_a_replay_controls_the_chosen_signals_again(controller: str, tmp_path: Path) -> None:
    whole = record(tmp_path / "whole.replay", controller, *COLOGNE3)
    some = record(tmp_path / "some.replay", controller, *COLOGNE3, "--tls-ids", OTHER)
    assert some.digests["signals"] != whole.digests["signals"]
    if controller == "max_pressure":
        assert some.head["signals"] == [OTHER]
        assert some.decisions["wanted"].shape[1] == 1
        other = tmp_path / "other.replay"
        assert run("counterfactual", some.path, "--controller", "greedy", "--from", "25240", "--out", other) == 0
        assert run("verify", other) == 0
    assert run("verify", some.path) == 0
    with pytest.raises(InputError, match="not in the network"):
        run("record", *COLOGNE3, "--controller", controller, "--tls-ids", "nobody", "--out", tmp_path / "n.replay")


# --- rewards and observations that fail before a decision


@pytest.mark.wide
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reward": failing.LateReward()}, r"reward 'LateReward' fails \(KeyError: 'no such loop'\); its begin"),
        ({"reward": failing.DearReward}, r"reward 'DearReward' fails \(KeyError: 'no such file'\); its class"),
        (
            {"observation": failing.LateObservation},
            r"observation 'LateObservation' fails \(KeyError: 'no such loop'\)",
        ),
        (
            {"observation": failing.DearObservation},
            r"observation 'DearObservation' fails \(KeyError: 'no such file'\)",
        ),
    ],
)
def test_what_fails_at_its_beginning_is_named(options: dict[str, object], message: str) -> None:
    env = SignalEnv(window("single", 30), **options)
    with pytest.raises(InputError, match=message):
        env.reset(seed=0)
    env.close()

"""Replays: recorded, run again to the same, and branched off from."""

from __future__ import annotations

import importlib.util
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest

import evaluate
import replay as command
from controllers.base import Phases, choose
from controllers.heuristics import Greedy, MaxPressure, SelfOrganizing
from controllers.registry import make
from playback.curves import curves
from playback.outputs import read_motion
from playback.play import ControllerDecider, Episode, play
from playback.replay_file import Replay, Source, save
from playback.rerun import counterfactual, show, verify
from plumbing.errors import InputError
from scenarios import build, resco
from scenarios.loading import load
from signals.snapshot import Snapshot
from tests.policy_runs import write_run
from tests.recordings import COLOGNE1, record, run


@pytest.mark.wide
@pytest.mark.parametrize(
    "scenario",
    [name if name == "single" else pytest.param(name, marks=pytest.mark.slow) for name in sorted(build.EMBEDDED)],
)
def test_an_embedded_scenario_runs_again_to_the_same(
    scenario: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recorded = record(tmp_path / "run.replay", "greedy", "--scenario", scenario, "--end", "120")
    assert recorded.head["result"]["positions"] > 200
    capsys.readouterr()
    assert run("verify", recorded.path) == 0
    assert "identical in all" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("controller", ["max_pressure", "actuated"])
@pytest.mark.parametrize("scenario", [*resco.MAPS, *build.EMBEDDED])
def test_every_scenario_runs_again_to_the_same(
    scenario: str, controller: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recorded = record(tmp_path / "run.replay", controller, "--scenario", scenario)
    capsys.readouterr()
    assert run("verify", recorded.path, "--json") == 0
    verdict = json.loads(capsys.readouterr().out)
    assert verdict["identical"]
    assert verdict["positions"] == recorded.head["result"]["positions"] > 10_000


@pytest.mark.wide
@pytest.mark.parametrize("controller", ["actuated", "random", pytest.param("fixed_time", marks=pytest.mark.slow)])
def test_programs_and_chance_run_again_to_the_same(controller: str, tmp_path: Path) -> None:
    recorded = record(tmp_path / "run.replay", controller, "--scenario", "tee", "--end", "120")
    assert ("programs" in recorded.sections) == (controller != "random")
    assert run("verify", recorded.path) == 0


def test_the_same_run_gives_the_same_bytes(pressed: Replay, tmp_path: Path) -> None:
    assert record(tmp_path / "again.replay", "max_pressure").path.read_bytes() == pressed.path.read_bytes()
    other = record(tmp_path / "other.replay", "max_pressure", *COLOGNE1, "--seed", "3")
    assert other.digests["vehicles"] != pressed.digests["vehicles"]


def test_delay_is_what_the_evaluator_says(
    pressed: Replay, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    actuated = record(tmp_path / "run.replay", "actuated")
    assert actuated.delay_s != pressed.delay_s
    capsys.readouterr()
    # one seed: the first of those for evaluation, which is also what a replay takes by default
    assert evaluate.main([*COLOGNE1, "--controllers", "max_pressure", "actuated", "--seeds", "1", "--json"]) == 0
    said = {of["controller"]: of["delay_s"]["mean"] for of in json.loads(capsys.readouterr().out)["controllers"]}
    assert said == {"max_pressure": pressed.delay_s, "actuated": actuated.delay_s}


def test_curves_end_in_the_totals(pressed: Replay) -> None:
    curve, trips = pressed.content("curves"), pressed.content("vehicles")["trips"]
    steps = pressed.head["steps"]
    assert {len(values) for values in curve.values()} == {steps} == {300}
    assert curve["delay_s"][-1] == pytest.approx(sum(trips["delay_s"]), abs=0.06)
    assert sorted(curve["delay_s"]) == curve["delay_s"]
    assert curve["planned_veh"][-1] == len(trips["id"]) == pressed.head["result"]["vehicles"]
    assert curve["arrived_veh"][-1] == pressed.head["result"]["arrived_veh"]
    for step in range(steps):
        there = curve["running_veh"][step]
        assert there == (pressed.vehicle_tracks.steps == step).sum()
        assert there + curve["waiting_veh"][step] + curve["arrived_veh"][step] == curve["planned_veh"][step]


def test_positions_are_those_that_sumo_printed(tmp_path: Path) -> None:
    path = tmp_path / "vehicles.csv"
    rows = ["10.00;a;0.04;9.96;359.7;car;13.90;e_0", "10.00;b;1.00;1.00;90.00;car;0.05;", "11.00;;;;;;;"]
    rows += ["12.00;a;-3.26;5.00;10.00;car;1.00;e_0", "13.00;a;-3.31;5.00;10.00;car;0.00;f_0"]
    path.write_text("time;v_id;v_x;v_y;v_angle;v_type;v_speed;v_lane\n".replace("time;", "timestep_time;"))
    with path.open("a") as file:
        file.write("\n".join(rows) + "\n")
    motion = read_motion(path, 10.0, 1.0, 4)
    found = motion.tracks()
    assert motion.ids == ("a", "b")
    assert motion.types == ("car", "car")
    assert found.thing.tolist() == [0, 1, 0]  # a was away for a step
    assert found.first.tolist() == [0, 0, 2]
    assert found.length.tolist() == [1, 1, 2]
    assert found.x_dm.tolist() == [0, 10, -33, -33]
    assert found.y_dm.tolist() == [100, 10, 50, 50]
    assert found.angle_deg.tolist() == [0, 90, 10]
    assert [motion.lanes[n] if n >= 0 else None for n in motion.lane] == ["e_0", None, "e_0", "f_0"]


def test_output_that_is_cut_off_is_no_recording(tmp_path: Path) -> None:
    path = tmp_path / "vehicles.csv"
    for text, said in (
        ("timestep_time;vehicle_id\n0.00;\n1.00;\n", "it ends after 2 of 3 steps"),
        ("", "is not SUMO's whole output"),
    ):
        path.write_text(text)
        with pytest.raises(InputError, match=said):
            read_motion(path, 0.0, 1.0, 3)


def test_what_was_decided_is_what_was_shown(pressed: Replay) -> None:
    decisions, signals = pressed.decisions, pressed.content("signals")
    phases = pressed.content("network")["signals"][0]["phases"]
    (shown,) = signals.values()
    changes = np.cumsum(shown["after"])
    assert decisions["wanted"].shape == (60, 1)
    assert len(set(decisions["wanted"].ravel().tolist())) > 1
    number = np.arange(60)
    for d in number[decisions["changing"][:, 0] == 0][1:].tolist():
        # the state of the last step before the decision
        at = int(np.searchsorted(changes, 5 * d - 1, side="right")) - 1
        assert shown["states"][shown["state"][at]] == phases[decisions["phase"][d, 0]]["state"]
    chosen = np.where(decisions["mask"] > 0, decisions["scores"], -np.inf)
    best = chosen.max(axis=2)
    assert np.allclose(np.take_along_axis(chosen, decisions["wanted"][:, :, None].astype(int), 2)[..., 0], best)
    assert (decisions["queue_veh"] <= decisions["seen_veh"] + 1e-6).all()
    assert decisions["seen_veh"].max() > 5


@pytest.mark.wide
def test_heuristics_keep_what_they_thought() -> None:
    scenario = load("tee", end_s=60)
    for controller in (Greedy(), MaxPressure(), SelfOrganizing()):
        played = play(Episode(scenario, 1), ControllerDecider(controller))
        assert played.decisions["scores"].shape == played.decisions["mask"].shape
        assert np.abs(played.decisions["scores"]).max() > 0
    played = play(Episode(scenario, 1), ControllerDecider(make("random")))  # type: ignore[arg-type]
    assert "scores" not in played.decisions


@pytest.mark.wide
@pytest.mark.parametrize("agent", ["dqn", "ppo"])
def test_an_ensemble_keeps_the_mean_that_it_decides_by(agent: str, tmp_path: Path) -> None:
    runs = [write_run(tmp_path / name, "tee", "full", seed=seed, agent=agent) for seed, name in enumerate("ab")]
    tee = ("--scenario", "tee", "--end", "120")
    together = record(tmp_path / "both.igr", "+".join(map(str, runs)), *tee).decisions
    free = together["mask"] > 0
    chosen = np.where(free, together["scores"], -np.inf)
    wanted = np.take_along_axis(chosen, together["wanted"][:, :, None].astype(int), 2)[..., 0]
    assert np.allclose(wanted, chosen.max(axis=2))
    each = [record(tmp_path / f"{run.name}.igr", str(run), *tee).decisions["scores"][0] for run in runs]
    assert np.abs(each[0] - each[1]).max() > 1e-3
    if agent == "ppo":
        each = [np.exp(scores) / np.where(free[0], np.exp(scores), 0).sum(axis=1, keepdims=True) for scores in each]
        assert np.where(free, together["scores"], 0).sum(axis=2) == pytest.approx(1, abs=1e-3)
    # before the first decision all have seen the same
    mean = (each[0] + each[1]) / 2
    assert together["scores"][0][free[0]] == pytest.approx(mean[free[0]], rel=2e-3, abs=2e-3)


@pytest.mark.wide
@pytest.mark.parametrize("end", ["60.5", "61.3"])
def test_a_window_may_end_within_a_step(end: str, tmp_path: Path) -> None:
    recorded = record(tmp_path / "run.replay", "greedy", "--scenario", "single", "--end", end, "--sim-step", "0.5")
    assert recorded.head["steps"] == len(recorded.content("curves")["delay_s"]) == math.ceil(float(end) / 0.5)
    assert run("verify", recorded.path) == 0


def test_names_of_controllers_tell_them_apart(tmp_path: Path) -> None:
    parameters = {"greedy": {"parameters": {"hysteresis_veh": 8}}}
    content = {"format": 1, "controllers": parameters, "rule": {"runs": 1}, "scenario": "single"}
    (tmp_path / "tuned.json").write_text(json.dumps(content))
    assert command._short(f"greedy@{tmp_path}") == f"greedy@{tmp_path.name}"
    assert command._short("greedy") == "greedy"
    assert command._short(str(tmp_path)) == tmp_path.name
    assert command._short("runs/a+runs/b") == "a+b"


@pytest.mark.wide
def test_a_branch_follows_the_recording_up_to_its_moment(
    pressed: Replay, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "branch.replay"
    arguments = ("counterfactual", pressed.path, "--controller", "sotl", "--from", "25348", "--out", out, "--json")
    assert run(*arguments) == 0
    said, branch = json.loads(capsys.readouterr().out), Replay.read(out)
    assert branch.head["branch"]["at_s"] == 25350
    assert said["change_s"] == pytest.approx(branch.delay_s - pressed.delay_s)
    for name in ("wanted", "scores"):
        assert np.array_equal(branch.decisions[name][:30], pressed.decisions[name][:30])
    assert not np.array_equal(branch.decisions["wanted"][30:], pressed.decisions["wanted"][30:])
    assert branch.content("curves")["delay_s"][:140] != branch.content("curves")["delay_s"][140:280]
    verdict = verify(branch)
    assert verdict.identical
    # greedy from the first decision on is greedy
    assert run("counterfactual", pressed.path, "--controller", "greedy", "--from", "25200", "--out", out) == 0
    assert Replay.read(out).digests == record(tmp_path / "greedy.replay", "greedy").digests
    # and max-pressure goes on as it did
    assert run("counterfactual", pressed.path, "--controller", "max_pressure", "--from", "25400", "--out", out) == 0
    assert Replay.read(out).digests == pressed.digests


def test_programs_have_no_decisions_to_branch_off_from(tmp_path: Path) -> None:
    recorded = record(tmp_path / "fixed.replay", "fixed_time", "--scenario", "tee", "--end", "60")
    with pytest.raises(InputError, match="there are no decisions to branch off from"):
        run("counterfactual", recorded.path, "--controller", "greedy", "--from", "30")


class Arrivals(Greedy):
    """Longest queue first, as far as detectors can tell."""

    sensing = "detectors"

    def decide(self, snapshot: Snapshot) -> Phases:
        self.last_scores = self.layout.phase_streams.sum(
            snapshot.arrivals_veh + snapshot.occupied[self.layout.stream_lane]
        )
        return choose(self.last_scores, snapshot)


@pytest.mark.wide
def test_detectors_are_recorded_and_stay(pressed: Replay, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the controller needs detectors"):
        counterfactual(pressed, Arrivals(), 25300)
    source = Source("cologne1")
    episode = Episode(source.load(25200, 25320, "recorded"), 1, sensing="detectors")
    save(
        tmp_path / "sensed.replay",
        play(episode, ControllerDecider(Arrivals())),
        episode,
        source,
        {"name": "arrivals"},
    )
    sensed = Replay.read(tmp_path / "sensed.replay")
    assert verify(sensed).identical
    decisions = sensed.decisions
    red = np.arange(decisions["seen_veh"].shape[2]) != decisions["phase"][:, 0, None]
    assert (decisions["seen_veh"][:, 0] <= decisions["scores"][:, 0] + 1e-3)[red].all()
    assert decisions["seen_veh"].max() > 1
    _, played, began_s = counterfactual(sensed, Greedy(), 25260)
    assert began_s == 25260
    assert np.array_equal(played.decisions["wanted"][:12], decisions["wanted"][:12])
    assert played.digests["vehicles"] != sensed.digests["vehicles"]


def test_nobody_on_the_road_makes_empty_curves() -> None:
    from playback.outputs import Trips, _no_motion

    empty = Trips({name: [] for name in ("id", "planned_s", "depart_delay_s", "depart_s", "arrival_s",
                                         "time_loss_s", "speed_factor", "delay_s")}, {}, "")  # fmt: skip
    found = curves(_no_motion(""), empty, {}, 0.0, 10, 1.0)
    assert all(len(values) == 10 and not values.any() for values in found.values())
    assert math.isnan(empty.delay_s)


def test_it_plays_in_sumo_gui(pressed: Replay, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if importlib.util.find_spec("pyvirtualdisplay") is None or shutil.which("Xvfb") is None:
        monkeypatch.delenv("DISPLAY", raising=False)
        with pytest.raises(InputError, match="DISPLAY"):
            run("gui", pressed.path)
        return
    from pyvirtualdisplay.display import Display

    short = record(tmp_path / "short.replay", "greedy", "--scenario", "tee", "--end", "20")
    seen: list[float] = []
    with Display(visible=False, size=(1280, 900)):
        show(short, on_progress=seen.append)
    assert seen == [0.25, 0.5, 0.75, 1.0]
